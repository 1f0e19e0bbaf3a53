"""Edits of any YAML document: the value is what was asked for, and other lines stay as they are."""

from copy import deepcopy

import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.move.yaml_edit import (
    add_key,
    append_item,
    edited,
    remove_key,
    rename_key,
    set_value,
)

KEYS = st.sampled_from(["data", "n_epochs", "학습률", "a b", "yes", "1", "x:y", "#z", "<<<"])
TEXTS = st.sampled_from(
    [
        "",
        "plain",
        "긴 설명, 두 줄",
        "a: b",
        "# c",
        "- d",
        "[x]",
        "it's",
        "two\nlines\n",
        "true",
        "0.5",
        "w " * 60,
        " padded ",
        "ends:",
        "tab\there",
        "accuracy >= base.accuracy - 0.02 @ 95%",
        "é\u2028é",
    ]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 99), st.floats(-1e9, 1e9), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, min_size=2, max_size=5)
STYLES = st.fixed_dictionaries(
    {
        "default_flow_style": st.sampled_from([False, None, True]),
        "indent": st.sampled_from([2, 4]),
        "line_break": st.sampled_from(["\n", "\r\n"]),
        "allow_unicode": st.booleans(),
    }
)


def written(document, style):
    return yaml.safe_dump(document, sort_keys=False, **style).encode()


def mappings(value, path=()):
    """Yield the path of each mapping that only mappings lead to."""
    yield path
    for key, item in value.items():
        if isinstance(item, dict):
            yield from mappings(item, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


@given(document=DOCUMENTS, style=STYLES, value=VALUES, data=st.data())
def test_any_key_can_be_set_and_added(document, style, value, data):
    path = data.draw(st.sampled_from(list(mappings(document))))
    key, wanted = data.draw(KEYS), deepcopy(document)
    is_new = key not in at(wanted, path)
    at(wanted, path)[key] = value
    edit = (add_key if is_new else set_value)(*path, key, value=value)
    edited(written(document, style), "a.yaml", [edit], wanted)


@given(document=DOCUMENTS, style=STYLES, value=SCALARS, data=st.data())
def test_any_list_takes_another_item(document, style, value, data):
    lists = [
        (*path, key)
        for path in mappings(document)
        for key, item in at(document, path).items()
        if isinstance(item, list)
    ]
    if lists:
        path, wanted = data.draw(st.sampled_from(lists)), deepcopy(document)
        at(wanted, path).append(value)
        edited(written(document, style), "a.yaml", [append_item(*path, value=value)], wanted)


@given(document=DOCUMENTS, style=STYLES, to=KEYS, data=st.data())
def test_any_key_can_be_renamed_and_removed(document, style, to, data):
    paths = [(*path, key) for path in mappings(document) for key in at(document, path)]
    *path, key = data.draw(st.sampled_from(paths))
    rest = deepcopy(document)
    del at(rest, path)[key]
    edited(written(document, style), "a.yaml", [remove_key(*path, key)], rest)
    if to not in at(rest, path):
        at(rest, path)[to] = at(document, path)[key]
        edited(written(document, style), "a.yaml", [rename_key(*path, key, to=to)], rest)
