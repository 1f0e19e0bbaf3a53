"""Models and chat, as the official SDK sees them."""

import threading
import time

import pytest

from backends.contract.completions import Chunk, Completion
from backends.contract.errors import ModelMissing
from controller.server.limits import Limits
from tests.controller.server.chat_helpers import HELLO, Engine, Talking, ask, record
from tests.controller.server.serve_helpers import BASE, Trainer, refused, serving, until, upload


@pytest.fixture
def talking(tmp_path):
    with serving(tmp_path, Talking(tmp_path / "s")) as server:
        yield server


def test_an_answer_whole(talking):
    answer = ask(talking, temperature=0, seed=5, stop=["끝"])
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("가나다", "length")
    assert (answer.object, answer.model) == ("chat.completion", BASE)
    assert answer.usage.to_dict() == {
        "prompt_tokens": 3,
        "completion_tokens": 3,
        "total_tokens": 6,
    }
    [(model, prompt, sampling)] = talking.backend.asked
    assert (model, prompt.messages) == (None, HELLO)
    assert (sampling.temperature, sampling.seed, sampling.stop) == (0, 5, ("끝",))


def test_an_answer_streamed(talking):
    chunks = [*ask(talking, stream=True, stream_options={"include_usage": True}, n=2)]
    said = {0: "", 1: ""}
    ends = []
    for chunk in chunks[:-1]:
        [choice] = chunk.choices
        said[choice.index] += choice.delta.content or ""
        ends += [choice.finish_reason] if choice.finish_reason else []
    assert said == {0: "가나다", 1: "가나다"}
    assert ends == ["length", "length"]
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 6)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"


def test_pieces_come_as_they_are_made(talking):
    talking.backend.gate.clear()
    pieces = []

    def read():
        pieces.extend(ask(talking, stream=True))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    time.sleep(0.2)
    assert pieces == []
    talking.backend.gate.set()
    thread.join(10)
    assert len(pieces) == 3


def test_an_answer_nobody_reads_is_given_up(talking):
    stream = ask(talking, stream=True, max_tokens=100_000)
    next(iter(stream))
    assert not talking.backend.left.is_set()
    stream.close()
    assert talking.backend.left.wait(10)


def test_many_ask_at_once_and_share_one_engine(talking, eventually):
    talking.backend.gate.clear()
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(talking, n=2)), daemon=True)
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: len(talking.backend.asked) >= 16)
    assert len(talking.backend.asked) == 16
    talking.backend.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(answers) == 8
    assert talking.backend.opened == [f"../models/{BASE}"]
    seeds = {sampling.seed for _, _, sampling in talking.backend.asked}
    assert len(seeds) == 16


def test_what_cannot_be_met_is_refused(talking):
    for options, expected in [
        ({"model": "gpt-4.1-mini"}, (404, "model_not_found", "model")),
        ({"messages": []}, (400, "invalid_value", "messages")),
        ({"messages": [{"role": "robot"}]}, (400, "invalid_value", "messages[0].role")),
        ({"n": 17}, (400, "invalid_value", "n")),
        ({"temperature": 2.1}, (400, "invalid_value", "temperature")),
        ({"max_tokens": 0}, (400, "invalid_value", "max_tokens")),
        ({"stop": ["a", "b", "c", "d", "e"]}, (400, "invalid_value", "stop")),
        ({"top_p": 0.5}, (400, "unsupported_value", "top_p")),
        ({"logprobs": True}, (400, "unsupported_value", "logprobs")),
        (
            {"response_format": {"type": "json_object"}},
            (400, "unsupported_value", "response_format"),
        ),
    ]:
        assert refused(ask, talking, **options) == expected
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    found = refused(ask, talking, messages=[{"role": "user", "content": [image]}])
    assert found == (400, "invalid_value", "messages[0].content")
    assert talking.backend.asked == []


def test_text_parts_are_one_text(talking):
    parts = [{"type": "text", "text": "안"}, {"type": "text", "text": "녕?"}]
    ask(talking, messages=[{"role": "user", "content": parts}])
    [(_, prompt, _)] = talking.backend.asked
    assert prompt.messages == HELLO


def test_too_many_answers_at_once_are_told_to_come_back(tmp_path, eventually):
    with serving(tmp_path, Talking(tmp_path / "s"), Limits(chats=1)) as server:
        server.backend.gate.clear()
        stream = threading.Thread(target=lambda: [*ask(server, stream=True)], daemon=True)
        stream.start()
        eventually(lambda: server.backend.asked)
        assert refused(ask, server) == (429, "rate_limit_exceeded", None)
        server.backend.gate.set()
        stream.join(10)
        # And the SDK itself waits and asks again.
        assert ask(server).choices[0].message.content == "가나다"


def test_engines_close_when_idle_when_others_are_wanted_and_at_the_end(tmp_path, eventually):
    limits = Limits(engines=1, engine_idle_s=0.1, sweep_s=0.05)
    with serving(tmp_path, Talking(tmp_path / "s"), limits) as server:
        ask(server)
        ask(server, model="org/hub-model")
        assert server.backend.closed == 1
        eventually(lambda: server.backend.closed >= 2)
        ask(server)
        assert len(server.backend.opened) == 3
    assert server.backend.closed == 3


def test_a_fine_tune_answers_under_its_name(talking):
    file = upload(talking.client)
    job = talking.client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
    made = until(talking.client, job.id, "succeeded").fine_tuned_model
    record(
        talking.root,
        cafe_local=("local-gpu", "ft:other:cafe:1"),
        cafe_here=("openai", made),
        cafe_far=("openai", "ft:gpt-4.1-mini:org::x"),
        cafe_gone=("local-gpu", "gone"),
    )
    ask(talking, model="cafe-local")
    ask(talking, model="ft:other:cafe:1")
    assert [model for model, _, _ in talking.backend.asked] == ["ft:other:cafe:1"] * 2
    assert talking.backend.opened == ["../models/other"]
    ask(talking, model="cafe-here")
    assert talking.backend.opened[1:] == [f"../models/{BASE}"]
    assert refused(ask, talking, model="cafe-far") == (404, "model_not_served", "model")
    assert refused(ask, talking, model="cafe-gone") == (404, "model_not_found", "model")
    found = refused(ask, talking, model="cafe-gone", stream=True)
    assert found == (404, "model_not_found", "model")


def test_models_are_listed_described_and_deleted(talking):
    client = talking.client
    job = client.fine_tuning.jobs.create(model="org/hub-model", training_file=upload(client).id)
    made = until(client, job.id, "succeeded").fine_tuned_model
    assert made.startswith("ft:org/hub-model:local::")
    record(talking.root, cafe=("openai", made))
    names = [model.id for model in client.models.list()]
    assert names == [BASE, "org/hub-model", made, "cafe"]
    for name in names:
        assert client.models.retrieve(name).id == name
    assert refused(client.models.delete, BASE) == (400, "model_not_deletable", "model")
    assert refused(client.models.delete, "cafe") == (400, "model_not_deletable", "model")
    assert refused(client.models.delete, "ft:nope") == (404, "model_not_found", "model")
    assert client.models.delete(made).deleted
    assert refused(client.models.retrieve, made) == (404, "model_not_found", "model")
    assert refused(ask, talking, model=made) == (404, "model_not_found", "model")
    kept = client.fine_tuning.jobs.retrieve(job.id)
    assert (kept.status, kept.fine_tuned_model) == ("succeeded", made)


def test_an_answer_that_breaks_off_says_so(talking):
    class Breaking(Engine):
        def generate(self, *_):
            yield Chunk(text="가")
            raise ModelMissing("deleted meanwhile")

    talking.backend.open_engine = lambda _: Breaking(talking.backend)
    with pytest.raises(Exception, match="does not exist"):
        [*ask(talking, stream=True)]
    assert refused(ask, talking) == (404, "model_not_found", "model")


def test_the_scripted_engine_answers_too(tmp_path):
    answer = Completion(text="네, 열어요.", finish_reason="stop")
    with serving(tmp_path, Trainer(tmp_path / "s", answer=lambda *_: answer)) as server:
        assert ask(server).choices[0].message.content == "네, 열어요."


def test_a_base_model_that_left_is_named(talking):
    talking.backend.missing = frozenset({"org/hub-model"})
    assert refused(ask, talking, model="org/hub-model") == (404, "model_not_served", "model")
