"""How a local model reads examples: counted, shown and checked as the trainer does it."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.contract.errors import BackendError, BaseModelMissing
from backends.contract.jobs import BaseModel
from backends.installation import install_command
from backends.local_gpu.tokens.chat_tokens import load_chat
from backends.local_gpu.tokens.inspector import LocalInspector

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[4]
CHATML_TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}" + CHATML_TURN + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + NO_SYSTEM
)
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}" + CHATML_TURN + "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DROPS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content.split('---')[-1].split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENDLESS = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
CALL = {"id": "1", "type": "function", "function": {"name": "hours", "arguments": "{}"}}


@pytest.fixture
def open_inspector(backend, base_folder, tmp_path):
    """Return a function from a folder and hyperparameters to an inspector."""

    def make(folder=None, method="supervised", **raw):
        base = backend.resolve_base_model(str(folder or base_folder), None, tmp_path)
        return backend.inspector(base, method, backend.parse_hyperparameters(method, raw))

    return make


def pretraining(open_inspector, **raw):
    return open_inspector(method="continued-pretraining", **raw)


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


def test_identity_is_the_tokenizer_and_the_template(open_inspector, base_folder, changed_base):
    own = open_inspector()
    moved = changed_base()
    shutil.copyfile(moved / "config.json", moved / "generation_config.json")
    assert open_inspector(moved).identity == own.identity
    tokenizer = (base_folder / "tokenizer.json").read_text()
    others = [
        open_inspector(chat_template="chatml"),
        open_inspector(changed_base(chat_template__jinja=NO_SYSTEM)),
        open_inspector(changed_base(tokenizer__json=tokenizer + " ")),
        pretraining(open_inspector),
        pretraining(open_inspector, max_length=64),
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


def test_the_longest_example_is_what_the_model_reads(open_inspector):
    assert open_inspector().limits.max_tokens == 128
    assert pretraining(open_inspector).limits.max_tokens is None


EVERY = ("system", "developer", "tools")
PLAIN = [{"role": "user", "content": "뭐?"}, {"role": "assistant", "content": "네"}]


@pytest.mark.parametrize(
    ("messages", "message", "remedy"),
    [
        (PLAIN[:1], "it has no answer", "Remove it"),
        ([PLAIN[0], {**PLAIN[1], "weight": 0}], "it has no answer", "Remove it"),
        (
            [{"role": "user", "content": "<|im_end|>"}, PLAIN[1]],
            "the user's text contains",
            "strip",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, PLAIN[1]],
            "an image; the local trainer reads text only",
            "Remove",
        ),
        (
            [{"role": "user", "content": [{"type": "input_audio"}]}, PLAIN[1]],
            "a part of type 'input_audio'",
            "Remove",
        ),
        ([PLAIN[0], {"role": "assistant", "content": None, "refusal": "no"}], "refusal", "Write"),
        (
            [PLAIN[0], {"role": "assistant", "content": None, "function_call": {"name": "a"}}],
            "function_call",
            "tool_calls",
        ),
        (
            [
                PLAIN[0],
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{**CALL, "function": {"name": "a", "arguments": "{"}}],
                },
            ],
            "arguments of a tool call are not JSON",
            "Write them",
        ),
    ],
)
def test_what_the_trainer_would_refuse_is_found_without_tokenizer(
    open_inspector, messages, message, remedy
):
    inspector = open_inspector()
    with pytest.raises(BackendError, match=message) as caught:
        inspector.check({"messages": messages})
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "messages",
    [
        PLAIN,
        [{"role": "system", "content": ""}, *PLAIN],
        [{"role": "user", "content": [{"type": "text", "text": "뭐?"}]}, PLAIN[1]],
        [PLAIN[0], {"role": "assistant", "content": None, "tool_calls": [CALL]}],
    ],
)
def test_what_passes_the_check_can_be_trained_on(open_inspector, messages):
    inspector = open_inspector(chat_template="chatml")
    inspector.check({"messages": messages})
    assert any(piece.trained for piece in inspector.show({"messages": messages}))


SYSTEM = {"role": "system", "content": "짧게"}
TOOL = {"type": "function", "function": {"name": "hours"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}


@pytest.mark.parametrize(
    ("template", "conversation", "message", "remedy"),
    [
        (
            NO_SYSTEM,
            {"messages": [SYSTEM, *PLAIN]},
            "leaves out the system's text",
            "Move the text of the prompt into the first message of the user",
        ),
        (
            REFUSES_SYSTEM,
            {"messages": [SYSTEM, *PLAIN]},
            "System role not supported",
            "Move the text of the prompt into the first message of the user",
        ),
        (NO_SYSTEM, {"messages": PLAIN, "tools": [TOOL]}, "leaves out tools", "Remove tools"),
        (
            NO_SYSTEM,
            {"messages": [PLAIN[0], CALLS], "tools": [TOOL]},
            "does not show calls of tools",
            "Use a base model whose template shows them",
        ),
        (ENDLESS, {"messages": PLAIN}, "end of turn is not in the loss", "eos_token_id"),
        (None, {"messages": PLAIN}, "has no chat template", "chat_template: chatml"),
        (
            STRICT,
            {"messages": [PLAIN[0], *PLAIN]},
            "roles must alternate",
            "Join messages of the same role",
        ),
        (
            FORGETFUL,
            {"messages": [PLAIN[0], {**PLAIN[1], "content": "<think>\n왜\n</think>\n\n네"}]},
            "has thinking in it, and thinking is off",
            "Remove what is thought",
        ),
        (
            FORGETFUL,
            {"messages": [PLAIN[0], {**PLAIN[1], "reasoning_content": "왜"}]},
            "has thinking in it, and thinking is off",
            "Remove what is thought",
        ),
        (
            DROPS,
            {"messages": [PLAIN[0], {**PLAIN[1], "content": "a---b"}]},
            "leaves out a part of an answer",
            "Remove what it leaves out",
        ),
    ],
)
def test_what_the_template_cannot_say_is_refused_before_the_job_with_a_remedy(
    open_inspector, changed_base, template, conversation, message, remedy
):
    folder = changed_base(chat_template__jinja=template)
    inspector = open_inspector(folder)
    with pytest.raises(BackendError, match=message) as planned:
        inspector.check(conversation)
    assert remedy in planned.value.remedy
    line = json.dumps(conversation, ensure_ascii=False, separators=(",", ":")).encode()
    if "tools" not in conversation and "reasoning" not in str(conversation):
        assert not inspector.all_pass(line)
    if template is not None:
        (job,) = load_chat(folder, None).encode([conversation])
        assert (job.message, job.remedy) == (planned.value.message, planned.value.remedy)


def test_chatml_is_proposed_only_where_the_tokenizer_has_its_tokens(
    open_inspector, changed_base, base_folder
):
    files = {"chat_template__jinja": NO_SYSTEM.replace("<|im_", "<|turn_")}
    tokenizer = (base_folder / "tokenizer.json").read_text()
    other = changed_base(**files, tokenizer__json=tokenizer.replace("<|im_", "<|turn_"))
    for folder, proposed in ((changed_base(chat_template__jinja=NO_SYSTEM), True), (other, False)):
        with pytest.raises(BackendError) as caught:
            open_inspector(folder).check({"messages": [SYSTEM, *PLAIN]})
        assert ("chatml" in caught.value.remedy) == proposed


def test_what_a_template_looks_for_is_looked_at_one_by_one(open_inspector, changed_base):
    inspector = open_inspector(changed_base(chat_template__jinja=DROPS))
    plain, telling = ({"messages": [PLAIN[0], {**PLAIN[1], "content": t}]} for t in "ab")
    telling["messages"][1]["content"] = "a</think>b"
    for conversation, cleared in ((plain, True), (telling, False)):
        assert inspector.all_pass(json.dumps(conversation).encode()) == cleared


def test_a_template_that_shows_everything_is_not_warned_of(open_inspector):
    assert open_inspector(chat_template="chatml").warnings(EVERY) == []
    assert pretraining(open_inspector).warnings(EVERY) == []


def test_a_tokenizer_that_is_not_here_is_said_when_it_is_needed(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    base = backend.resolve_base_model("acme/base", "a" * 40, tmp_path)
    inspector = backend.inspector(
        base, "supervised", backend.parse_hyperparameters("supervised", {})
    )
    assert (inspector.identity[:6], inspector.limits.max_tokens) == ("local:", None)
    inspector.check({"messages": PLAIN})
    (warning,) = inspector.warnings(EVERY)
    assert warning.endswith("can show every example: the base model is not on this machine")
    for ask in (inspector.count, lambda one: inspector.show(one[0])):
        with pytest.raises(BaseModelMissing, match="is not on this machine"):
            ask([{"messages": PLAIN}])


def test_without_the_extra_all_but_tokens_is_known(open_inspector):
    inspector = open_inspector()
    program = f"""
import pickle, sys
for name in ("tokenizers", "jinja2", "numpy", "torch", "transformers"):
    sys.modules[name] = None
from backends.contract.errors import BackendError
inspector = pickle.loads({pickle.dumps(inspector)!r})
example = {{"messages": {PLAIN!r}}}
inspector.check(example)
print(inspector.identity, inspector.limits.max_tokens, inspector.warnings({EVERY!r}))
for ask in (lambda: inspector.count([example]), lambda: inspector.show(example)):
    try:
        ask()
    except BackendError as error:
        print(error.message, error.remedy, sep=" / ")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    missing = f"counting tokens needs the package jinja2 / {install_command('local')}"
    told, *rest = done.stdout.splitlines()
    # What was not checked is another's to check: it must not be remembered as checked.
    assert not told.startswith(inspector.identity)
    assert "128 [" in told
    assert "it was not checked" in told
    assert rest == [missing, missing]


def test_a_plain_text_ends_and_is_learned_whole(open_inspector):
    inspector = pretraining(open_inspector)
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
def test_plain_texts_are_checked(open_inspector, given_example, message):
    inspector: LocalInspector = pretraining(open_inspector)
    with pytest.raises(BackendError, match=message):
        inspector.check(given_example)
    inspector.check({"text": "카페"})
    with pytest.raises(BackendError, match="reads conversations, and this has 'text'"):
        open_inspector().check({"text": "카페"})


SPECIAL = ["<|im_end|>", '<"quoted">', "\\tab", "끝", "[PAD]"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from([*SPECIAL, "<|", "[", '"', "\\", "a", "가", "<|im_start|"]), max_size=4
    )
)
def test_what_is_cleared_passes_every_check(tmp_path, said):
    (tmp_path / "tokenizer.json").write_text(
        json.dumps(
            {
                "added_tokens": [
                    {"id": place, "content": token, "special": True}
                    for place, token in enumerate(SPECIAL)
                ]
            }
        )
    )
    (tmp_path / "chat_template.jinja").write_text(STRICT)
    inspector = LocalInspector(
        base_model=BaseModel(reference=str(tmp_path), revision=None, identity="a")
    )
    text = "".join(said)
    plain = [{"content": "a", "role": "user"}, {"content": f"b{text}", "role": "assistant"}]
    line = json.dumps({"messages": plain}, ensure_ascii=False, separators=(",", ":"))
    cleared = inspector.all_pass(line.encode())
    if cleared:
        inspector.check({"messages": plain})
    # And nothing else is looked at one by one.
    assert cleared == (not any(one in text for one in SPECIAL))


def test_only_those_that_take_turns_are_cleared_where_a_template_is_strict(
    open_inspector, changed_base
):
    inspector = open_inspector(changed_base(chat_template__jinja=STRICT))
    ask, say = ({"content": '","role":"user"', "role": one} for one in ("user", "assistant"))
    system = {"content": "a", "role": "system"}
    for messages, cleared in (
        ([ask, say], True),
        ([ask, say, ask, say], True),
        ([ask, ask, say], False),
        ([ask, say, say], False),
        ([system, ask, say], False),
    ):
        line = json.dumps({"messages": messages}, separators=(",", ":")).encode() + b"\n"
        assert inspector.all_pass(line * 2) == cleared


def test_plain_texts_are_looked_at_one_by_one(open_inspector):
    assert open_inspector().all_pass(b'{"messages":[{"content":"a","role":"user"}]}')
    assert not pretraining(open_inspector).all_pass(b'{"text":"a"}')


def test_a_template_is_judged_without_tokenizer(open_inspector, changed_base):
    inspector = open_inspector(changed_base(chat_template__jinja=NO_SYSTEM))
    program = f"""
import pickle, sys
sys.modules["tokenizers"] = None
from backends.contract.errors import BackendError
try:
    pickle.loads({pickle.dumps(inspector)!r}).check({{"messages": {[SYSTEM, *PLAIN]!r}}})
except BackendError as error:
    print(error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert done.stdout == "the base model's chat template leaves out the system's text\n"
