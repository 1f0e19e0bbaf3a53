"""What cannot be chosen of a base model, in words that help: the nearest names, and what to write."""

import pytest

from backends.local_gpu.models.targets.problems import choice_problems
from backends.local_gpu.models.targets.selection import Candidate, Kind, Known
from backends.local_gpu.models.targets.stored import Stored

LAYERS = tuple(
    Candidate(name=f"model.layers.{number}.self_attn.{leaf}", kind=Kind.LINEAR, out=4, into=4)
    for number in range(3)
    for leaf in ("q_proj", "k_proj")
)
WORDS = Candidate(name="model.embed_tokens", kind=Kind.EMBEDDING, out=4, into=9)
HEAD = Candidate(name="lm_head", kind=Kind.HEAD, out=9, into=4)
NORM = Candidate(name="model.norm", kind=Kind.OTHER, out=4, into=1)
EXPERTS = Candidate(
    name="model.layers.0.mlp.experts.gate_up_proj", kind=Kind.EXPERTS, out=8, into=4, experts=2
)


def stored(*more, tied=False, named=True, layers=LAYERS):
    ends = (WORDS,) if tied else (WORDS, HEAD)
    known = Known(candidates=(*layers, *ends, NORM, *more), tied=tied)
    return Stored(known=known, weights=100, beside=0, named=named)


def told(model, **settings):
    problems = choice_problems(model, {"target_modules": "all-linear", **settings})
    return [(one.field, one.message, one.remedy) for one in problems]


ALL = "embed_tokens, k_proj, lm_head, norm, q_proj"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"modules_to_save": ["q_porj"]},
            (
                "modules_to_save",
                "the base model has no layer 'q_porj' that can be trained whole",
                f"Did you mean `q_proj`? Use some of: {ALL}.",
            ),
        ),
        (
            {"modules_to_save": ["카페"]},
            (
                "modules_to_save",
                "the base model has no layer '카페' that can be trained whole",
                f"Use some of: {ALL}.",
            ),
        ),
        (
            {"exclude_modules": ["k_prj", "q_proj"]},
            (
                "exclude_modules",
                "the base model has no layer 'k_prj', so nothing is excluded",
                "Did you mean `k_proj`? Use some of: embed_tokens, k_proj, lm_head, q_proj.",
            ),
        ),
        (
            {"exclude_modules": r".*v_proj"},
            (
                "exclude_modules",
                "the pattern '.*v_proj' matches no layer of the base model",
                "Did you mean `q_proj`? Whole names are such as model.layers.0.self_attn.q_proj.",
            ),
        ),
        (
            {"layers_to_transform": [2, 3]},
            (
                "layers_to_transform",
                "the base model has no layer 3",
                "Use numbers from 0 to 2.",
            ),
        ),
        (
            {"target_parameters": ["experts.down_proj"]},
            (
                "target_parameters",
                "experts.down_proj: the base model has no experts that share a parameter",
                "Remove it, and name layers in `target_modules`.",
            ),
        ),
        (
            {"target_modules": ["q_proj", "k_proj"], "exclude_modules": r".*_proj"},
            (
                "target_modules",
                "nothing is left that gets an adapter",
                "Exclude less, or name other layers: k_proj, q_proj.",
            ),
        ),
    ],
)
def test_what_a_model_does_not_have_is_told_with_what_it_has(settings, problem):
    assert told(stored(), **settings) == [problem]


@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ["norm", "lm_head", "model.embed_tokens", "q_proj"]},
        {"exclude_modules": ["layers.0.self_attn.q_proj", "norm"]},
        {"layers_to_transform": [0, 2]},
        {"target_modules": r".*\.q_proj"},
        {"target_modules": ["lm_head", "embed_tokens"]},
        {"quantization": "nf4", "modules_to_save": ["norm", "lm_head"]},
        {"use_dora": True, "lora_dropout": 0.1},
    ],
)
def test_what_a_model_has_is_no_problem(settings):
    assert told(stored(), **settings) == []


def test_a_pattern_on_names_that_only_the_job_knows_is_left_to_the_job():
    unnamed = stored(named=False)
    assert told(unnamed, target_modules=r"other\..*", exclude_modules=r"more\..*") == []
    # Names in lists mean the same whatever stands before them.
    assert [field for field, _, _ in told(unnamed, exclude_modules=["v"])] == ["exclude_modules"]


def test_shared_weights_are_called_by_either_name_and_get_no_adapter():
    model = stored(tied=True)
    assert told(model, modules_to_save=["lm_head"]) == []
    assert told(model, modules_to_save=["embed_tokens"]) == []
    ((_, _, remedy),) = told(model, modules_to_save=["head"])
    assert remedy.endswith(f"Use some of: {ALL}.")
    ((field, message, remedy),) = told(model, target_modules=["q_proj", "embed_tokens"])
    assert (field, remedy) == (
        "target_modules",
        "Write `modules_to_save: [embed_tokens]`, which trains them whole.",
    )
    assert message.startswith("embed_tokens cannot have an adapter: the base model uses the same")


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"use_dora": True}, "use_dora", "(experts.gate_up_proj) have no lengths to learn"),
        ({"lora_dropout": 0.1}, "lora_dropout", "(experts.gate_up_proj) drop nothing"),
    ],
)
def test_adapters_of_experts_take_neither_dropout_nor_dora(settings, field, words):
    chosen = {"target_parameters": ["experts.gate_up_proj"], "target_modules": ["q_proj"]}
    ((found, message, remedy),) = told(stored(EXPERTS), **chosen, **settings)
    assert found == field
    assert message.endswith(words)
    assert remedy == "Remove it, or exclude them: `exclude_modules: [experts, gate, router]`."
    assert told(stored(EXPERTS), **chosen) == []
    # Without experts among what is chosen, both are fine.
    assert told(stored(EXPERTS), target_modules=["q_proj"], **settings) == []


def test_a_layer_in_four_bits_is_not_trained_whole():
    problem = (
        "modules_to_save",
        "q_proj is in 4 bits, which cannot be trained whole",
        "Remove it, or remove `quantization`.",
    )
    chosen = {"target_modules": ["k_proj"], "modules_to_save": ["layers.1.self_attn.q_proj"]}
    assert told(stored(), quantization="nf4", **chosen) == [problem]
    assert told(stored(), quantization=None, **chosen) == []


@pytest.mark.parametrize(("count", "more"), [(12, ""), (13, ", and 1 more"), (30, ", and 18 more")])
def test_of_many_names_the_first_twelve_are_shown(count, more):
    many = tuple(
        Candidate(name=f"model.layers.0.part_{number:02}", kind=Kind.LINEAR, out=1, into=1)
        for number in range(count)
    )
    known = Stored(known=Known(candidates=many, tied=False), weights=9, beside=0, named=True)
    ((_, _, remedy),) = told(known, exclude_modules=["카페"])
    shown = ", ".join(f"part_{number:02}" for number in range(12))
    assert remedy == f"Use some of: {shown}{more}."
