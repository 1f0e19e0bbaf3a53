"""Where recipes surely agree, data is not built by an older one as well: that may never be wrong."""

from hypothesis import given
from hypothesis import strategies as st

from controller.data.errors import DataError
from controller.data.examples.example import to_canonical
from controller.data.examples.row_formats import row_converter
from controller.data.recipes import FIRST, NEWEST, is_the_same_by_all
from controller.data.transforms.normalise import normalise

TEXTS = st.text(max_size=5) | st.sampled_from(
    ["질문", '[{"role": "user"}]', "{}", "\n\nHuman: a\n\nAssistant: b", " [1]", "true", "1.50"]
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXTS},
    optional={"weight": st.sampled_from([0, 1]), "name": TEXTS, "tool_calls": st.none()},
)
TURNS = st.lists(TURN, min_size=1, max_size=3)
SHARED = st.lists(
    st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt", "system"]), "value": TEXTS}),
    min_size=1,
    max_size=3,
)
SHAPES = [
    {"messages": TURNS},
    {"prompt": TEXTS | TURNS, "completion": TEXTS | TURNS},
    {"instruction": TEXTS, "input": TEXTS, "output": TEXTS},
    {"conversations": SHARED},
]
BESIDE = {
    "system": TEXTS,
    "system_prompt": TEXTS,
    "tools": st.just([]) | TEXTS,
    "functions": st.just([]),
    "parallel_tool_calls": st.booleans(),
    "id": st.integers(0, 9),
}


@st.composite
def rows(draw):
    beside = draw(st.lists(st.sampled_from(sorted(BESIDE)), unique=True, max_size=2))
    values = {**draw(st.sampled_from(SHAPES)), **{key: BESIDE[key] for key in beside}}
    return {key: draw(value) for key, value in values.items()}


def made(row, recipe):
    example = normalise(row_converter(None, None, recipe=recipe)(row))
    return to_canonical(example, recipe)[0]


@given(row=rows())
def test_a_row_of_which_recipes_are_said_to_agree_becomes_the_same(row):
    if not is_the_same_by_all(row):
        return
    try:
        newest = made(row, NEWEST)
    except (DataError, ValueError):
        return
    assert newest == made(row, FIRST)


def test_rows_that_recipes_read_differently_are_known():
    plain = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert is_the_same_by_all(plain)
    assert not is_the_same_by_all({**plain, "system": "c"})
    assert not is_the_same_by_all({"prompt": "a", "completion": '{"b": 1}'})
