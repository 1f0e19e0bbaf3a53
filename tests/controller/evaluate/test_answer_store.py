"""Answers are kept line by line, whatever dies, and nobody is asked twice."""

import json
import logging
import re
from collections import Counter
from dataclasses import replace

import pytest

from backends.contract.completions import Completion, Sampling
from backends.contract.errors import BackendError, ModelMissing
from backends.contract.jobs import BaseModel
from backends.testing import ScriptedBackend
from controller.errors import FtctlError
from controller.evaluate.answer_file import AnswerFile, AnswerKey, prompt_key
from controller.evaluate.answer_store import AnswerStore, Asked
from controller.state_folder import StateNotWritten
from tests.controller.evaluate.kept_answers import ANSWER, KEY, PROMPT, asked

BASE = BaseModel(reference="acme/base", revision="1", identity="scripted:acme/base@1")


def questions(count):
    return [asked(f"질문 {number}") for number in range(count)]


def echo(model, prompt):
    return Completion(text=f"{model}|{prompt.messages[-1]['content']}", finish_reason="stop")


def file_of(store_folder):
    (path,) = store_folder.glob("*.jsonl")
    return path


def test_only_what_is_missing_is_asked_and_equal_prompts_once(tmp_path):
    heard = Counter()

    def answer(model, prompt):
        heard[model, prompt.messages[-1]["content"]] += 1
        return echo(model, prompt)

    backend = ScriptedBackend(tmp_path / "state", answer=answer)
    prompts = [*questions(3), *questions(2)]
    store = AnswerStore(tmp_path / "answers")
    assert store.missing(KEY, prompts) == [0, 1, 2]
    assert store.ask(backend, BASE, {KEY: None}, prompts) == Asked(asked=3, kept=0)
    assert store.missing(KEY, prompts) == []
    assert [one.text for one in store.read(KEY, prompts)] == [
        f"None|질문 {number}" for number in (0, 1, 2, 0, 1)
    ]
    again = AnswerStore(tmp_path / "answers")
    assert again.ask(backend, BASE, {KEY: None}, questions(4)) == Asked(asked=1, kept=3)
    assert again.ask(backend, BASE, {KEY: None}, questions(4)) == Asked(asked=0, kept=4)
    assert set(heard.values()) == {1}
    assert backend.calls["complete"] == 2


def test_each_model_is_asked_for_what_it_lacks_and_all_are_named(tmp_path):
    named = []

    class Watching(ScriptedBackend):
        def complete(self, base_model, models, prompts, sampling, skip=()):
            named.append((tuple(models), len(prompts)))
            return super().complete(base_model, models, prompts, sampling, skip)

        def require_models(self, models):
            pass

    backend = Watching(tmp_path / "state", answer=echo)
    store = AnswerStore(tmp_path / "answers")
    other = AnswerKey("another", Sampling())
    store.ask(backend, BASE, {KEY: "ft:1"}, questions(3))
    found = store.ask(backend, BASE, {KEY: "ft:1", other: None}, questions(4))
    assert found == Asked(asked=1 + 4, kept=3)
    # Places of prompts stay those of the held-out set, for the draws and for messages.
    assert named == [(("ft:1",), 3), (("ft:1", None), 4)]
    with pytest.raises(ValueError, match="one decoding"):
        store.ask(backend, BASE, {KEY: None, replace(KEY, sampling=Sampling(seed=1)): None}, [])


def test_answers_before_an_error_are_kept(tmp_path):
    def answer(model, prompt):
        if prompt.messages[-1]["content"] == "질문 2":
            raise BackendError("the server is gone")
        return echo(model, prompt)

    backend = ScriptedBackend(tmp_path / "state", answer=answer)
    store = AnswerStore(tmp_path / "answers")
    with pytest.raises(BackendError, match="is gone"):
        store.ask(backend, BASE, {KEY: None}, questions(4))
    assert AnswerStore(tmp_path / "answers").missing(KEY, questions(4)) == [2, 3]
    with pytest.raises(FtctlError, match="no answer to prompt 3 of 4"):
        list(store.read(KEY, questions(4)))


def test_answers_of_a_model_that_is_gone_still_count(tmp_path):
    backend = ScriptedBackend(tmp_path / "state", script=["succeeded"], answer=echo)
    key, store = AnswerKey("ft:gone", Sampling()), AnswerStore(tmp_path / "answers")
    with pytest.raises(ModelMissing):
        store.ask(backend, BASE, {key: "ft:gone"}, questions(1))
    AnswerFile(tmp_path / "answers", key).append(prompt_key(questions(1)[0]), ANSWER)
    found = AnswerStore(tmp_path / "answers").ask(backend, BASE, {key: "ft:gone"}, questions(1))
    assert found == Asked(asked=0, kept=1)


@pytest.fixture
def kept(tmp_path):
    """Return the path of a file with three answers."""
    backend = ScriptedBackend(tmp_path / "state", answer=echo)
    AnswerStore(tmp_path).ask(backend, BASE, {KEY: None}, questions(3))
    return file_of(tmp_path)


def test_a_file_torn_anywhere_loses_only_the_torn_answer(tmp_path, kept):
    whole = kept.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(0, len(whole) + 1, 7):
        kept.write_bytes(whole[:size])
        store = AnswerStore(tmp_path)
        lines = sum(end <= size for end in ends)
        assert len(store.missing(KEY, questions(3))) == 3 - max(0, lines - 1)
        backend = ScriptedBackend(tmp_path / "state", answer=echo)
        store.ask(backend, BASE, {KEY: None}, questions(3))
        assert kept.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe{}\n",
        b"[]\n",
        b"{}\n",
        b'{"prompt":"zz","completion":{"text":"","finish_reason":"stop"}}\n',
        b"[" * 100_000 + b"\n",
        b"\n",
        "text",
        "loss",
        "digest",
        "more",
    ],
)
def test_a_damaged_line_is_named_and_its_prompt_asked_again(tmp_path, kept, caplog, damage):
    lines = kept.read_bytes().splitlines(keepends=True)
    if isinstance(damage, str):
        content = json.loads(lines[2])
        if damage == "digest":
            content["prompt"] = content["prompt"][:10]
        else:
            wrong = {"text": 7, "loss": "much", "more": 1}[damage]
            content["completion"][damage.replace("loss", "reference_loss")] = wrong
        lines[2] = json.dumps(content).encode() + b"\n"
    else:
        lines[2] = damage
    kept.write_bytes(b"".join(lines))
    with caplog.at_level(logging.WARNING):
        store = AnswerStore(tmp_path)
        assert store.missing(KEY, questions(3)) == [1]
    assert f"{kept}:3: not a kept answer (" in caplog.text
    assert len(caplog.text) < 1000
    backend = ScriptedBackend(tmp_path / "state", answer=echo)
    assert store.ask(backend, BASE, {KEY: None}, questions(3)) == Asked(asked=1, kept=2)
    assert [one.text for one in AnswerStore(tmp_path).read(KEY, questions(3))] == [
        f"None|질문 {number}" for number in range(3)
    ]


def test_a_file_of_another_model_is_refused(tmp_path, kept):
    other = AnswerKey("another", Sampling())
    kept.rename(tmp_path / other.name)
    with pytest.raises(
        FtctlError, match="has other answers than its name says: Answers of 카페"
    ) as e:
        AnswerStore(tmp_path).missing(other, questions(1))
    assert e.value.remedy.startswith("Restore it from git, if it was committed. Otherwise delete")
    assert e.value.remedy.endswith(f"which asks again: rm '{tmp_path / other.name}'")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    folder = tmp_path / "file" / "answers"
    folder.parent.write_text("")
    backend = ScriptedBackend(tmp_path / "state", answer=echo)
    with pytest.raises(StateNotWritten, match="the state folder cannot be written"):
        AnswerStore(folder).ask(backend, BASE, {KEY: None}, questions(1))


def test_committed_answers_count_first_and_are_not_written(tmp_path):
    own, committed = tmp_path / "own", tmp_path / "committed"
    first, second, third = map(prompt_key, questions(3))
    AnswerFile(own, KEY).append(first, Completion(text="raw", finish_reason="stop"))
    AnswerFile(own, KEY).append(second, Completion(text="own", finish_reason="stop"))
    AnswerFile(committed, KEY).append(first, Completion(text="masked", finish_reason="stop"))
    AnswerFile(committed, KEY).append(third, Completion(text="theirs", finish_reason="stop"))
    before = {path.name: path.read_bytes() for path in committed.iterdir()}

    store = AnswerStore(own, committed)
    assert store.missing(KEY, questions(4)) == [3]
    assert [one.text for one in store.read(KEY, questions(3))] == ["masked", "own", "theirs"]
    assert {path.name: path.read_bytes() for path in committed.iterdir()} == before


def test_log_probabilities_stand_beside_an_answer(tmp_path):
    (digest,) = map(prompt_key, questions(1))
    token = {"token": "환불", "logprob": -0.5, "top": [["환불", -0.5]]}
    AnswerFile(tmp_path, KEY).append(
        digest, Completion(text="환불", finish_reason="stop", logprobs=[token])
    )
    (path,) = tmp_path.iterdir()
    line = json.loads(path.read_text("utf-8").splitlines()[1])
    assert line["logprobs"] == [token]
    assert "logprobs" not in line["completion"]
    assert list(AnswerFile(tmp_path, KEY).read(digest).logprobs) == [token]


@pytest.mark.parametrize(
    ("answer", "kept_at", "wanted_at", "counts"),
    [
        (Completion(text="예약", finish_reason="stop", completion_tokens=2), 256, 16, True),
        (Completion(text="예약", finish_reason="stop", completion_tokens=2), 16, 256, True),
        (Completion(text="길다", finish_reason="stop", completion_tokens=17), 256, 16, False),
        (Completion(text="잘렸다", finish_reason="length", completion_tokens=16), 16, 256, False),
        (Completion(text="몇 개인지 모른다", finish_reason="stop"), 256, 16, False),
        (Completion(text="몇 개인지 모른다", finish_reason="stop"), 16, 256, True),
    ],
)
@pytest.mark.parametrize("folder", ["answers", "recorded"])
def test_a_greedy_answer_that_ended_counts_under_another_limit(
    tmp_path, answer, kept_at, wanted_at, counts, folder
):
    key = AnswerKey("카페 모델", Sampling(max_tokens=kept_at))
    AnswerFile(tmp_path / folder, key).append(prompt_key(PROMPT), answer)
    AnswerFile(tmp_path / folder, replace(key, model="다른 모델")).append(
        prompt_key(asked("다른 질문")), answer
    )
    store = AnswerStore(tmp_path / "answers", tmp_path / "recorded")
    wanted = AnswerKey("카페 모델", Sampling(max_tokens=wanted_at))
    found = [one and one.text for one in store.find(wanted, [PROMPT])]
    assert found == [answer.text if counts else None]
    assert store.missing(wanted, [PROMPT, asked("다른 질문")]) == ([1] if counts else [0, 1])


def test_a_drawn_answer_counts_under_its_own_limit_only(tmp_path):
    key = AnswerKey("카페 모델", Sampling(max_tokens=256, temperature=1.0))
    AnswerFile(tmp_path, key).append(prompt_key(PROMPT), ANSWER)
    wanted = replace(key, sampling=replace(key.sampling, max_tokens=16))
    assert AnswerStore(tmp_path).missing(wanted, [PROMPT]) == [0]


@pytest.mark.parametrize(
    ("loss", "tokens", "counts"), [(None, 0, True), (0.5, 3, False), (None, 3, False)]
)
def test_a_corrected_reference_asks_again_only_where_its_loss_is_measured(
    tmp_path, loss, tokens, counts
):
    labelled = replace(PROMPT, reference={"role": "assistant", "content": "주차"})
    corrected = replace(PROMPT, reference={"role": "assistant", "content": "예약"})
    answer = Completion(
        text="예약", finish_reason="stop", reference_loss=loss, reference_tokens=tokens
    )
    AnswerFile(tmp_path, KEY).append(prompt_key(labelled), answer)
    for store in (AnswerStore(tmp_path), AnswerStore(tmp_path / "none", tmp_path)):
        assert store.missing(KEY, [labelled]) == []
        assert store.missing(KEY, [corrected]) == ([] if counts else [0])
        found = [one and one.text for one in store.find(KEY, [corrected])]
        assert found == ["예약" if counts else None]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS.*\n.*git lfs pull"),
        (b'{"about": "Answers of triage.", "format": 2}\n', "has the format 2, not 1"),
        (b'{"about": "Answers of triage.", "format": 1}\n', "Restore it from git"),
    ],
)
def test_committed_answers_of_another_form_are_refused_and_stay(tmp_path, kept, first, said):
    damaged = first + kept.read_bytes().partition(b"\n")[2]
    kept.write_bytes(damaged)
    with pytest.raises(FtctlError) as caught:
        AnswerStore(tmp_path).missing(KEY, questions(3))
    assert re.search(said, str(caught.value))
    assert kept.read_bytes() == damaged
