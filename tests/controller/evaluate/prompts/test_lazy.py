"""Prompts that are made when they are needed behave as lists of the same prompts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.completions import Prompt
from controller.evaluate.prompts.lazy import LazyPrompts, changed, joined, picked, places_of


def numbered(numbers):
    return [Prompt(messages=({"role": "user", "content": str(number)},)) for number in numbers]


def with_logprobs(prompt):
    return replace(prompt, logprobs=3)


PARTS = st.lists(st.lists(st.integers(0, 9), max_size=4).map(numbered), max_size=4)
BOUNDS = st.none() | st.integers(-12, 12)
SLICES = st.builds(slice, BOUNDS, BOUNDS, st.none() | st.sampled_from([-3, -1, 1, 2]))


@given(PARTS, SLICES, st.data())
def test_lazy_prompts_are_read_as_a_list_is(parts, wanted, data):
    whole = [prompt for part in parts for prompt in part]
    places = data.draw(st.permutations(range(len(whole))))
    cases = [
        (joined(parts), whole),
        (changed(joined(parts), with_logprobs), [with_logprobs(prompt) for prompt in whole]),
        (picked(whole, places), [whole[place] for place in places]),
        (LazyPrompts(len(whole), whole.__getitem__), whole),
    ]
    for lazy, expected in cases:
        assert len(lazy) == len(expected)
        assert list(lazy) == expected
        assert list(lazy[wanted]) == expected[wanted]
        assert [lazy[place] for place in range(-len(expected), len(expected))] == expected * 2
        for outside in (len(expected), -len(expected) - 1):
            with pytest.raises(IndexError):
                lazy[outside]


@given(PARTS)
def test_the_places_of_joined_parts_name_each_parts_prompts(parts):
    prompts = joined(parts)
    assert [[prompts[place] for place in places] for places in places_of(parts)] == parts
