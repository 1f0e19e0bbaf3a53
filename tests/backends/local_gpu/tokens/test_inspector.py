"""How a local model reads examples: counted and shown as the trainer does it, under one identity."""

import pickle
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.contract.errors import BackendError
from backends.local_gpu.tokens.chat_tokens import load_chat
from tests.backends.local_gpu.tokens.conversations import NO_SYSTEM, PLAIN

pytestmark = pytest.mark.torch

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="<"), min_size=1, max_size=40
) | st.text("가각힣ㄱᄀ뷁쀍 한글😀👩‍🚀é\n", min_size=1, max_size=20)


@pytest.fixture(params=[None, "chatml"])
def reading(request, open_inspector, base_folder):
    """Return an inspector, and the chat that it reads with, opened once for all examples."""
    return open_inspector(chat_template=request.param), load_chat(base_folder, request.param)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(question=TEXTS, answer=TEXTS)
def test_what_is_shown_is_what_is_trained(reading, example, question, answer):
    inspector, chat = reading
    conversation = example(question, answer)
    (encoded,) = chat.encode([conversation])
    pieces = inspector.show(conversation)

    assert inspector.count([conversation, conversation]) == [len(encoded.ids)] * 2
    assert "".join(piece.text for piece in pieces) == chat.template.render(conversation).text
    assert all(piece.text and "\ufffd" not in piece.text.replace(question, "") for piece in pieces)
    learned = "".join(piece.text for piece in pieces if piece.trained)
    assert learned.rstrip() == f"{answer}<|im_end|>".rstrip()


def test_bytes_of_one_character_are_one_piece(open_inspector, example):
    pieces = open_inspector().show(example("뷁", "쀍"))
    assert [piece.text for piece in pieces if piece.trained] == ["쀍", "<|im_end|>"]


def test_answers_of_weight_0_are_shown_as_not_learned(open_inspector, example):
    shown = example("a", "b")["messages"]
    shown = [shown[0], {**shown[1], "weight": 0}, *example("c", "d")["messages"]]
    pieces = open_inspector().show({"messages": shown})
    assert "".join(piece.text for piece in pieces if piece.trained) == "d<|im_end|>"


def test_it_travels_without_its_tokenizer(open_inspector, example):
    inspector = open_inspector()
    counted = inspector.count([example("a", "b")])
    sent = pickle.dumps(inspector)
    assert len(sent) < 1000
    copy = pickle.loads(sent)
    assert (copy, copy.identity) == (inspector, inspector.identity)
    assert copy.count([example("a", "b")]) == counted


def test_identity_is_the_tokenizer_and_the_template(
    open_inspector, pretraining, base_folder, changed_base
):
    own = open_inspector()
    moved = changed_base()
    shutil.copyfile(moved / "config.json", moved / "generation_config.json")
    assert open_inspector(moved).identity == own.identity
    tokenizer = (base_folder / "tokenizer.json").read_text()
    others = [
        open_inspector(chat_template="chatml"),
        open_inspector(changed_base(chat_template__jinja=NO_SYSTEM)),
        open_inspector(changed_base(tokenizer__json=tokenizer + " ")),
        pretraining(),
        pretraining(max_length=64),
    ]
    identities = [own.identity, *(other.identity for other in others)]
    assert len(set(identities)) == len(identities)
    assert not any(str(base_folder.parent) in identity for identity in identities)


def test_identity_compiles_no_template(open_inspector, base_folder):
    inspector = open_inspector(base_folder)
    assert inspector.identity
    assert "_template" not in vars(inspector)  # every plan asks every model for its identity


def test_identity_of_a_model_of_the_hub_knows_what_is_refused(
    backend, base_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    revision = "a" * 40
    base = backend.resolve_base_model("acme/base", revision, tmp_path)
    hyperparameters = backend.parse_hyperparameters("supervised", {})
    folder = tmp_path / "models--acme--base" / "snapshots" / revision
    folder.mkdir(parents=True)
    told = {"messages": [{"role": "user", "content": "<|im_end|>"}, PLAIN[1]]}

    found = {}
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        shutil.copyfile(base_folder / name, folder / name)
        inspector = backend.inspector(base, "supervised", hyperparameters)
        try:
            inspector.check(told)
            refused = False
        except BackendError:
            refused = True
        found[inspector.identity] = (inspector.limits.max_tokens, refused)
    assert list(found.values()) == [(None, False), (128, False), (128, True)]


def test_the_longest_example_is_what_the_model_reads(open_inspector, pretraining):
    assert open_inspector().limits.max_tokens == 128
    assert pretraining().limits.max_tokens is None


def test_a_plain_text_ends_and_is_learned_whole(pretraining):
    inspector = pretraining()
    text = "카페는 아홉 시에 엽니다.\n뷁!"
    pieces = inspector.show({"text": text})
    assert "".join(piece.text for piece in pieces) == f"{text}<|endoftext|>"
    assert [piece.trained for piece in pieces] == [False] + [True] * (len(pieces) - 1)
    short = inspector.count([{"text": "a"}, {"text": text}])
    assert short[0] == 2


@pytest.mark.parametrize(
    ("given_example", "message"),
    [
        ({"text": ""}, "empty text"),
        ({"text": "a<|endoftext|>b"}, "the text contains the control token"),
        ({"messages": PLAIN}, "reads plain texts, and this example is not a plain text"),
    ],
)
def test_plain_texts_are_checked(open_inspector, pretraining, given_example, message):
    inspector = pretraining()
    with pytest.raises(BackendError, match=message):
        inspector.check(given_example)
    inspector.check({"text": "카페"})
    with pytest.raises(BackendError, match="reads conversations, and this has 'text'"):
        open_inspector().check({"text": "카페"})
