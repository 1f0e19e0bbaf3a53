"""What a local model cannot learn from: refused before the job, in words that help."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from backends.contract.errors import BackendError, BaseModelMissing
from backends.installation import install_command
from backends.local_gpu.tokens.chat_tokens import load_chat
from tests.backends.local_gpu.tokens.conversations import (
    CALL,
    CALLS,
    DROPS,
    ENDLESS,
    EVERY,
    FORGETFUL,
    NO_SYSTEM,
    PLAIN,
    REFUSES_SYSTEM,
    STRICT,
    SYSTEM,
    TOOL,
)

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[4]


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


def test_a_template_that_shows_everything_is_not_warned_of(open_inspector, pretraining):
    assert open_inspector(chat_template="chatml").warnings(EVERY) == []
    assert pretraining().warnings(EVERY) == []


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
