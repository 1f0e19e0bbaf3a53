"""Fields of a spec that nothing would come of at its backend are refused by name."""

import pytest

from backends.contract.backend import Endpoint
from backends.contract.errors import FieldProblem, HyperparametersInvalid
from backends.local_gpu.backend import LocalGpuBackend
from backends.openai.backend import create
from controller.errors import InvalidInput
from controller.resolve.answers import Answers
from controller.resolve.validate import check_spec, in_spec
from tests.specs import load_specs

SPEC = """\
backend: {backend}
base_model: ./base
data:
  train: [{{path: data/rows.jsonl}}]
  held_out: {{fraction: 0.1}}
"""


@pytest.fixture
def loaded(tmp_path):
    """Return a function that reads a spec."""

    def load(backend, more):
        (tmp_path / "finetunes").mkdir(exist_ok=True)
        text = SPEC.format(backend=backend) + more
        (tmp_path / "finetunes" / "cafe.yaml").write_text(text)
        return load_specs(tmp_path)["cafe"]

    return load


@pytest.fixture
def told(loaded, tmp_path):
    """Return a function that checks a spec and returns what is wrong."""

    def check(backend, more):
        opened = {
            "local-gpu": lambda: LocalGpuBackend(tmp_path / "state"),
            "openai": lambda: create(tmp_path / "state", Endpoint(name="default")),
        }
        found = check_spec(loaded(backend, more), lambda _: opened[backend](), Answers())
        return [(one.line, one.field, one.message) for one in found]

    return check


def test_tracking_is_refused_where_nobody_reads_it(told):
    more = "tracking: {wandb: {project: cafe}}\n"
    assert told("local-gpu", more) == [
        (6, "tracking.wandb", "the local-gpu backend reports no metrics to wandb")
    ]
    assert told("openai", more) == []


def test_hours_are_limited_where_they_are_counted(told):
    more = "budget: {max_gpu_hours: 2}\n"
    assert told("local-gpu", more) == []
    assert told("openai", more) == [
        (6, "budget.max_gpu_hours", "the openai backend does not count GPU hours")
    ]
    assert told("openai", "budget: {max_usd: 2}\n") == []


def test_gpus_are_for_a_backend_that_has_some_and_must_divide_a_step(told):
    assert told("local-gpu", "hardware: {gpus: 4}\n") == []
    assert told("openai", "hardware: {gpus: 1}\n") == []
    assert told("openai", "hardware: {gpus: 2}\n") == [
        (6, "hardware.gpus", "the openai backend decides itself on what it trains")
    ]
    ((line, field, message),) = told("local-gpu", "hardware: {gpus: 3}\n")
    assert (line, field) == (6, "hardware.gpus")
    assert message.startswith("the 8 examples of a step")
    assert message.endswith("cannot be divided among 3 GPUs")


def test_all_of_them_are_told_at_once(told):
    more = "tracking: {wandb: {project: cafe}}\nhyperparameters: {ranks: 3}\n"
    assert [field for _, field, _ in told("local-gpu", more)] == [
        "tracking.wandb",
        "hyperparameters.ranks",
    ]


def test_what_a_backend_finds_wrong_is_told_at_the_line_of_the_spec(loaded):
    spec = loaded("local-gpu", "hyperparameters:\n  r: 4\n  target_modules: [q_porj]\n")
    problem = FieldProblem(field="target_modules", message="no such layer", remedy="q_proj?")
    with pytest.raises(InvalidInput) as caught, in_spec(spec):
        raise HyperparametersInvalid([problem])
    (found,) = caught.value.problems
    assert (found.line, found.field) == (8, "hyperparameters.target_modules")
    assert (found.message, found.remedy) == ("no such layer", "q_proj?")
