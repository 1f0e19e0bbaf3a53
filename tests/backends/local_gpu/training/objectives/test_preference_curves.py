"""Trainings on preferences that go wrong, and that stop: real losses of `dpo` and `kto`."""

import pytest

from backends.local_gpu.json_files import read_json, read_lines
from controller.evaluate.curves.findings import findings_of
from controller.evaluate.curves.points import thinned
from tests.backends.local_gpu.training.objectives.preferences import marked, pair

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
POLITE, BLUNT = "Certainly, from nine to six.", "We are open from nine to six, every day."
METHODS = pytest.mark.parametrize("method", ["dpo", "kto"])
QUICK = {"finetuning_type": "full", "learning_rate": 1e-3, "lr_scheduler_type": "constant"}


def rows(method, first, count, wanted=POLITE, other=BLUNT):
    numbers = range(first, first + count)
    if method == "dpo":
        return [pair(f"How long, {number}?", wanted, other) for number in numbers]
    return [
        marked(f"How long, {number}?", wanted if number % 2 else other, bool(number % 2))
        for number in numbers
    ]


@pytest.fixture
def contradict(train_here):
    """Return a function that learns preferences and measures the opposite ones."""

    def run(method, **settings):
        held_out = rows(method, 16, 8, wanted=BLUNT, other=POLITE)
        chosen = QUICK | {"num_train_epochs": 6} | settings
        return train_here(
            recipe=2, method=method, rows=rows(method, 0, 16), held_out=held_out, **chosen
        )

    return run


def names(backend, run, method, **known):
    points = thinned(backend.curve(run.job_id))
    return [finding.name for finding in findings_of(points, method=method, **known)]


@METHODS
def test_a_rising_held_out_loss_is_named(contradict, backend, method):
    run = contradict(method, eval_steps=2)
    measured = [point for point in backend.curve(run.job_id) if point.held_out_loss is not None]
    assert [point.step for point in measured] == list(range(0, 13, 2))
    assert names(backend, run, method) == ["overfitting"]


@pytest.mark.parametrize(
    ("method", "rate", "epochs", "name"),
    [
        # Few steps: later, such a loss is low or high by chance, and by the rounding of a machine.
        ("dpo", 0.9, 2, "divergence"),
        # The loss of kto has a ceiling: it ends where it began.
        ("kto", 0.3, 6, "plateau"),
    ],
)
def test_a_huge_rate_is_named(train_here, backend, method, rate, epochs, name):
    run = train_here(
        recipe=2,
        method=method,
        rows=rows(method, 0, 8) + rows(method, 8, 8, wanted=BLUNT, other=POLITE),
        held_out=rows(method, 16, 8),
        **QUICK | {"learning_rate": rate, "num_train_epochs": epochs},
    )
    assert names(backend, run, method) == [name]


@METHODS
def test_it_stops_and_keeps_the_weights_and_rewards_of_its_best_step(contradict, backend, method):
    rule = {"patience": 2}
    run = contradict(method, eval_steps=2, early_stopping=rule)
    facts = read_json(run.result)["facts"]
    assert (facts["steps"], facts["best_step"], facts["planned_steps"]) == (6, 2, 12)
    assert names(backend, run, method, keeps_best=True) == []
    (best,) = [
        line
        for line in read_lines(run.progress)
        if line.get("step") == 2 and "held_out" in str(line)
    ]
    for key in ("held_out_loss", "held_out_reward_margin", "held_out_reward_accuracy"):
        assert facts[key] == best[key], key
    shorter = contradict(method, fingerprint="b" * 64, max_steps=2)
    assert read_json(shorter.result)["facts"]["weights_digest"] == facts["weights_digest"]
