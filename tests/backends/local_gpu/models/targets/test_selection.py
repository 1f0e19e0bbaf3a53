"""Layers by name: peft's rules, the sizes of what is chosen, and what is trained whole."""

from dataclasses import replace
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local_gpu.models.targets.selection import (
    EVERY,
    Candidate,
    Kind,
    Known,
    chooses_more,
    matches,
    matches_parameter,
    select,
)

pytestmark = pytest.mark.torch
LEAVES = ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj", "mlp.experts.0.down_proj", "q")
NAMES = [
    f"{before}layers.{number}.{leaf}"
    for before in ("model.", "model.language_model.", "transformer.h.3.")
    for number in (0, 1, 10)
    for leaf in LEAVES
]
KNOWN = Known(
    candidates=tuple(Candidate(name=name, kind=Kind.LINEAR, out=4, into=3) for name in NAMES),
    tied=False,
)
PARTS = ("q_proj", "k_proj", "down_proj", "self_attn.q_proj", "experts.0.down_proj", "proj", "q")
PATTERNS = (r".*\.q_proj", r"model\.layers\..*", r".*layers\.1\..*", "q_proj", r".*[qk]", ".*")
CHOICES = st.lists(st.sampled_from(PARTS), max_size=3)


@pytest.fixture(scope="module")
def in_peft():
    """Return a function from choices to the names that they mean in peft."""
    peft = import_module("peft")
    is_meant = import_module("peft.tuners.tuners_utils").check_target_module_exists

    def meant(**choices):
        config = peft.LoraConfig(**choices)
        return [name for name in NAMES if is_meant(config, name)]

    return meant


@given(
    wanted=CHOICES.filter(bool) | st.sampled_from(PATTERNS),
    excluded=st.none() | CHOICES | st.sampled_from(PATTERNS),
    layers=st.none() | st.lists(st.sampled_from([0, 1, 3, 10]), min_size=1, max_size=2),
)
def test_names_mean_the_layers_that_they_mean_in_peft(in_peft, wanted, excluded, layers):
    if isinstance(wanted, str):
        layers = None  # peft takes numbers of layers with names only
    settings = {"target_modules": wanted, "exclude_modules": excluded}
    settings |= {"layers_to_transform": layers}
    assert [one.name for one in select(KNOWN, settings).layers] == in_peft(**settings)


ATTENTION = Candidate(name="model.layers.1.self_attn.q_proj", kind=Kind.LINEAR, out=8, into=6)
EXPERTS = Candidate(
    name="model.layers.0.mlp.experts.gate_up_proj",
    kind=Kind.EXPERTS,
    out=10,
    into=6,
    experts=4,
    former=("gate_proj", "up_proj"),
    joins=2,
)
ROUTER = Candidate(
    name="model.layers.0.mlp.gate.weight", kind=Kind.ROUTER, out=4, into=6, former=("gate",)
)
WORDS = Candidate(name="model.embed_tokens", kind=Kind.EMBEDDING, out=6, into=100)
HEAD = Candidate(name="lm_head", kind=Kind.HEAD, out=100, into=6)
NORM = Candidate(name="model.norm", kind=Kind.OTHER, out=6, into=1)
ALL = Known(candidates=(ATTENTION, EXPERTS, ROUTER, WORDS, HEAD, NORM), tied=False)
TIED = replace(ALL, candidates=(ATTENTION, EXPERTS, ROUTER, WORDS, NORM), tied=True)


@pytest.mark.parametrize(
    ("candidate", "owner", "layer"),
    [
        (ATTENTION, "model.layers.1.self_attn.q_proj", 1),
        (EXPERTS, "model.layers.0.mlp.experts", 0),
        (ROUTER, "model.layers.0.mlp.gate", 0),
        (WORDS, "model.embed_tokens", None),
        (HEAD, "lm_head", None),
        (
            replace(ATTENTION, name="transformer.h.12.attn.c_attn"),
            "transformer.h.12.attn.c_attn",
            12,
        ),
        # The first number is that of the layer, not of the expert.
        (replace(ATTENTION, name="model.layers.7.experts.3.up"), "model.layers.7.experts.3.up", 7),
        (replace(ATTENTION, name="layers.7.up"), "layers.7.up", None),
    ],
)
def test_a_candidate_knows_its_layer(candidate, owner, layer):
    assert (candidate.owner, candidate.layer) == (owner, layer)


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, [ATTENTION, EXPERTS, ROUTER]),
        ({"target_modules": ["q_proj", "lm_head", "embed_tokens"]}, [ATTENTION, WORDS, HEAD]),
        # Experts have the names that they have in the files too; one of them is enough.
        ({"target_modules": ["gate_proj"]}, [EXPERTS]),
        ({"target_modules": ["experts.up_proj"]}, [EXPERTS]),
        ({"target_modules": ["gate"]}, [ROUTER]),
        ({"target_modules": ["gate_up_proj"]}, []),
        ({"target_modules": r".*\.(up_proj|q_proj)"}, [ATTENTION, EXPERTS]),
        ({"target_modules": ["norm"]}, []),
        (
            {"target_modules": ["q_proj"], "target_parameters": ["gate_up_proj"]},
            [ATTENTION, EXPERTS],
        ),
        ({"target_modules": ["q_proj"], "target_parameters": ["gate.weight"]}, [ATTENTION, ROUTER]),
        ({"exclude_modules": ["experts"]}, [ATTENTION, ROUTER]),
        ({"exclude_modules": ["up_proj"]}, [ATTENTION, ROUTER]),
        ({"exclude_modules": ["gate"]}, [ATTENTION, EXPERTS]),
        ({"exclude_modules": ["gate.weight"]}, [ATTENTION, EXPERTS]),
        ({"exclude_modules": r".*mlp.*"}, [ATTENTION]),
        ({"layers_to_transform": [0]}, [EXPERTS, ROUTER]),
        ({"layers_to_transform": [1]}, [ATTENTION]),
        ({"layers_to_transform": [2]}, []),
        (
            {"target_modules": ["lm_head"], "layers_to_transform": [0]},
            [],  # the output layer is in no layer
        ),
    ],
)
def test_what_hyperparameters_choose_of_a_mixture_of_experts(settings, chosen):
    found = select(ALL, {"target_modules": EVERY, **settings})
    assert [*found.layers, *found.parameters] == sorted(chosen, key=_kind)


def _kind(candidate):
    return candidate.kind in {Kind.EXPERTS, Kind.ROUTER}


@pytest.mark.parametrize(
    ("known", "names", "saved"),
    [
        (ALL, None, []),
        (ALL, ["lm_head"], [HEAD]),
        (ALL, ["embed_tokens", "lm_head"], [WORDS, HEAD]),
        (ALL, ["norm", "q_proj"], [ATTENTION, NORM]),
        # Shared weights are trained once, whichever of their names is written.
        (TIED, ["lm_head"], [WORDS]),
        (TIED, ["embed_tokens"], [WORDS]),
        (TIED, ["lm_head", "embed_tokens", "norm"], [NORM, WORDS]),
        (TIED, ["norm"], [NORM]),
    ],
)
def test_layers_that_are_trained_whole_have_no_adapter(known, names, saved):
    found = select(known, {"target_modules": EVERY, "modules_to_save": names})
    assert [*found.saved] == saved
    assert not {*found.saved} & {*found.layers, *found.parameters}
    others = {*known.candidates} - {*saved}
    assert ATTENTION in {*found.layers} or ATTENTION not in others


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        # Of a layer: rank * (out + into).
        ({"target_modules": ["q_proj"]}, 2 * (8 + 6)),
        ({"target_modules": ["gate"]}, 2 * (4 + 6)),
        # Two layers of the files that are one parameter have the rank of both.
        ({"target_modules": ["gate_proj"]}, 4 * (2 * 2) * (10 + 6)),
        # By its own name, a parameter has the rank that is written.
        ({"target_modules": ["q_proj"], "target_parameters": ["gate_up_proj"]}, 28 + 4 * 2 * 16),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, 28 + 600),
        ({"target_modules": ["q_proj"], "modules_to_save": ["norm"]}, 28 + 6),
    ],
)
def test_what_is_trained_is_counted(settings, size):
    assert select(ALL, settings).size(2) == size


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, False),
        ({"target_modules": EVERY}, False),
        ({"target_modules": ["q_proj"]}, False),
        ({"target_modules": r".*q_proj"}, True),
        ({"exclude_modules": []}, True),
        ({"layers_to_transform": [0]}, True),
        ({"target_modules": ["q_proj"], "modules_to_save": None}, False),
        ({"target_parameters": ["experts.down_proj"]}, True),
    ],
)
def test_only_other_choices_than_names_of_layers_choose_more(settings, more):
    assert chooses_more(settings) is more


@pytest.mark.parametrize(
    ("candidate", "names", "is_layer", "is_parameter"),
    [
        (EXPERTS, ["experts.gate_up_proj"], True, True),
        (EXPERTS, ["experts"], True, False),
        (EXPERTS, ["up_proj"], True, False),
        (EXPERTS, ["down_proj"], False, False),
        (ROUTER, ["gate.weight"], True, True),
        (ATTENTION, ["q_proj"], True, False),
        (ATTENTION, ["proj"], False, False),
    ],
)
def test_a_name_means_a_layer_a_parameter_or_nothing(candidate, names, is_layer, is_parameter):
    assert matches(candidate, names) is is_layer
    assert matches_parameter(candidate, names) is is_parameter
