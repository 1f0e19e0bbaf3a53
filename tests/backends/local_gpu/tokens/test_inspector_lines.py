"""Whole files of examples that pass at a glance, and lines that are looked at one by one."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.contract.jobs import BaseModel
from backends.local_gpu.tokens.inspector import LocalInspector
from tests.backends.local_gpu.tokens.conversations import DROPS, PLAIN, STRICT

pytestmark = pytest.mark.torch


def test_what_a_template_looks_for_is_looked_at_one_by_one(open_inspector, changed_base):
    inspector = open_inspector(changed_base(chat_template__jinja=DROPS))
    plain, telling = ({"messages": [PLAIN[0], {**PLAIN[1], "content": t}]} for t in "ab")
    telling["messages"][1]["content"] = "a</think>b"
    for conversation, cleared in ((plain, True), (telling, False)):
        assert inspector.all_pass(json.dumps(conversation).encode()) == cleared


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


def test_plain_texts_are_looked_at_one_by_one(open_inspector, pretraining):
    assert open_inspector().all_pass(b'{"messages":[{"content":"a","role":"user"}]}')
    assert not pretraining().all_pass(b'{"text":"a"}')
