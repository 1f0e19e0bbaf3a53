"""Edits of YAML texts: the edited characters change, and nothing else."""

import pytest

from controller.move.yaml_edit import (
    EditImpossible,
    add_key,
    append_item,
    edited,
    remove_key,
    rename_key,
    set_value,
)
from controller.spec.yaml import parse_yaml

TEXT = """\
# 카페 문의: "따옴표"와 # 기호
backend: 'openai'   # 서비스
base_model: "gpt-4o-mini"

data: &rows   # an anchor that nobody uses
  train: [ {path: data/x.csv} ]   # odd blanks stay
hyperparameters:
    n_epochs: 3  # 세 번
    # of the batch
    batch_size: 4
description: >-
  긴 설명,
  두 줄

evaluation:
  metrics:
  - accuracy   # m
  compare_to: [base]
# 끝
"""


def value_of(text):
    document, problems = parse_yaml(text.encode(), "a.yaml")
    assert not problems
    return document.value


def one(text, edit):
    """Return an edited text, whose other lines are as they were."""
    changed = edit(text)
    value_of(changed)
    return changed


@pytest.mark.parametrize(
    ("edit", "old", "new"),
    [
        (set_value("backend", value="local-gpu"), "'openai'   #", "local-gpu   #"),
        (set_value("base_model", value="a: b"), '"gpt-4o-mini"', '"a: b"'),
        (set_value("base_model", value="카페 모델"), '"gpt-4o-mini"', "카페 모델"),
        (set_value("base_model", value="true"), '"gpt-4o-mini"', '"true"'),
        (set_value("hyperparameters", "n_epochs", value=0.5), "n_epochs: 3  #", "n_epochs: 0.5  #"),
        (rename_key("hyperparameters", "n_epochs", to="epochs"), "n_epochs: 3  #", "epochs: 3  #"),
        (remove_key("hyperparameters", "n_epochs"), "    n_epochs: 3  # 세 번\n", ""),
        (remove_key("description"), "description: >-\n  긴 설명,\n  두 줄\n", ""),
        (
            append_item("evaluation", "compare_to", value="production"),
            "[base]",
            "[base, production]",
        ),
        (
            append_item("evaluation", "metrics", value="f1"),
            "  - accuracy   # m\n",
            "  - accuracy   # m\n  - f1\n",
        ),
        (
            add_key("endpoint", value="eu", after="backend"),
            "# 서비스\n",
            "# 서비스\nendpoint: eu\n",
        ),
        (
            add_key("hyperparameters", "r", value=8, after="n_epochs"),
            "# 세 번\n",
            "# 세 번\n    r: 8\n",
        ),
        (
            add_key("gate", value=["a >= b.a - 0.02 @ 95%"], after="evaluation"),
            "compare_to: [base]\n",
            "compare_to: [base]\ngate:\n  - a >= b.a - 0.02 @ 95%\n",
        ),
        (
            add_key("budget", "max_usd", value=3),
            "compare_to: [base]\n",
            "compare_to: [base]\nbudget:\n  max_usd: 3\n",
        ),
        (
            set_value("evaluation", "compare_to", 0, value="base_few_shot"),
            "[base]",
            "[base_few_shot]",
        ),
    ],
)
def test_an_edit_changes_its_place_alone(edit, old, new):
    assert TEXT.count(old) == 1
    assert one(TEXT, edit) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("text", "edit", "wanted"),
    [
        ("a: 1\nb: 2", add_key("c", value="x"), "a: 1\nb: 2\nc: x"),
        ("a: 1\r\nb: 2\r\n", add_key("c", value=3, after="a"), "a: 1\r\nc: 3\r\nb: 2\r\n"),
        ("a: 1\r\nb: 2\r\n", remove_key("a"), "b: 2\r\n"),
        ("{a: 1, b: {c: 2}}\n", remove_key("a"), "{b: {c: 2}}\n"),
        ("{a: 1, b: {c: 2}}\n", remove_key("b"), "{a: 1}\n"),
        ("{a: 1, b: {c: 2}}\n", remove_key("b", "c"), "{a: 1, b: {}}\n"),
        ("{a: 1, b: {}}\n", add_key("b", "c", value=[1]), "{a: 1, b: {c: [1]}}\n"),
        ("a: 1\nb:\n  c: 2\n", remove_key("b", "c"), "a: 1\nb: {}\n"),
        ("a: 1\nb:\nc: 2\n", add_key("b", "d", value=1), "a: 1\nb: {d: 1}\nc: 2\n"),
        ("a: []\n", append_item("a", value="x, y"), 'a: ["x, y"]\n'),
        ("a:\n- b\n- c\n", append_item("a", value="d: e"), 'a:\n- b\n- c\n- "d: e"\n'),
        ("a: {x: 1}\n", add_key("a", "y", value="]"), 'a: {x: 1, y: "]"}\n'),
        (
            "a:\n  - n: 1\n    m: 2\n",
            add_key("a", 0, "o", value="z"),
            "a:\n  - n: 1\n    m: 2\n    o: z\n",
        ),
        ("a: [{n: 1}]\n", add_key("a", 0, "o", value="z"), "a: [{n: 1, o: z}]\n"),
    ],
)
def test_forms(text, edit, wanted):
    assert one(text, edit) == wanted


def test_a_mark_of_utf_8_stays():
    text = b"\xef\xbb\xbfa: 1\n"
    assert edited(text, "a.yaml", [set_value("a", value=2)], {"a": 2}) == b"\xef\xbb\xbfa: 2\n"


@pytest.mark.parametrize(
    ("text", "edit", "value"),
    [
        # The alias would change, too.
        ("a: &x {n: 1}\nb: *x\n", set_value("a", "n", value=2), {"a": {"n": 2}, "b": {"n": 1}}),
        # The anchor would be gone.
        ("a: &x 1\nb: *x\n", set_value("a", value=2), {"a": 2, "b": 1}),
        ("a: {n: 1}\n", set_value("b", "n", value=2), {"a": {"n": 1}, "b": {"n": 2}}),
        ("a: &x {n: 1}\nb: *x\n", rename_key("b", "n", to="m"), {"a": {"n": 1}, "b": {"m": 1}}),
        ("a: 1\n", append_item("a", value=2), {"a": [1, 2]}),
        ("a: 1\n", set_value("a", value=2), {"a": 3}),
    ],
)
def test_what_cannot_be_edited_alone_is_refused(text, edit, value):
    with pytest.raises(EditImpossible):
        edited(text.encode(), "a.yaml", [edit], value)


def test_an_alias_itself_can_be_replaced():
    text = "a: &x {n: 1}\nb: *x  # c\n"
    value = {"a": {"n": 1}, "b": "y"}
    found = edited(text.encode(), "a.yaml", [set_value("b", value="y")], value)
    assert found.decode() == "a: &x {n: 1}\nb: y  # c\n"
