"""Rules of a service for whole files, and the identity of an encoding."""

import pytest

from backends.contract.backend import Endpoint
from backends.contract.errors import BackendError
from backends.contract.inspector import Limits
from backends.openai.backend import OpenAIBackend
from backends.openai.examples.inspector import OpenAIInspector
from tests.backends.openai.examples.example_parts import ANSWER, USER


@pytest.mark.parametrize(
    ("endpoint", "fewest", "largest", "longest"),
    [
        ({}, 10, 8e9, 65_536),
        ({"kind": "azure", "base_url": "https://x.openai.azure.com/openai/v1/"}, 10, 512e6, None),
        ({"kind": "compatible", "base_url": "https://a.example/v1"}, 1, None, None),
        ({"base_url": "http://127.0.0.1:9/v1"}, 1, None, None),
    ],
)
def test_only_the_service_has_the_service_s_rules(tmp_path, endpoint, fewest, largest, longest):
    backend = OpenAIBackend(tmp_path, Endpoint(name="x", **endpoint), environment={})
    base = backend.resolve_base_model("gpt-4.1-mini", None, tmp_path)
    inspector = backend.inspector(base, "supervised", {})
    limits = inspector.limits
    assert (limits.min_examples, limits.max_bytes, limits.max_tokens) == (fewest, largest, longest)
    wrong = {"messages": [{**USER, "weight": 1}, ANSWER]}
    if fewest == 1:
        inspector.check(wrong)
    else:
        with pytest.raises(BackendError, match="weight"):
            inspector.check(wrong)


def test_only_reinforcement_has_a_most_of_examples(tmp_path):
    backend = OpenAIBackend(tmp_path, Endpoint(name="x"), environment={})
    base = backend.resolve_base_model("o4-mini-2025-04-16", None, tmp_path)
    graded = backend.inspector(base, "reinforcement", {}).limits
    assert (graded.max_examples, graded.max_held_out) == (50_000, 1_000)
    other = backend.inspector(base, "supervised", {}).limits
    assert (other.max_examples, other.max_held_out) == (None, None)


def test_identity_is_the_encoding_and_the_method():
    models = ("gpt-4.1", "gpt-4.1-mini", "ft:gpt-4o:acme::1", "gpt-3.5-turbo-0125")
    found = [OpenAIInspector(model=model, method="supervised").identity for model in models]
    assert found[0] == found[1] == found[2] != found[3]
    assert OpenAIInspector(model="gpt-4.1", method="dpo").identity != found[0]


def test_what_one_server_takes_is_not_believed_for_another():
    inspectors = [
        OpenAIInspector(model="gpt-4.1", method="supervised", kind=kind, limits=limits)
        for kind in ("openai", "azure", "compatible")
        for limits in (Limits(), Limits(min_examples=10), Limits(max_bytes=1), Limits(max_tokens=1))
    ]
    assert len({inspector.identity for inspector in inspectors}) == len(inspectors)
