"""Specs whose held-out examples decide which weights are kept."""

import pytest

from controller.plan.actions import Train
from controller.render.plan import plan_text
from controller.run.backends import backend_opener
from controller.run.reconcile import prepare_run

HELD_OUT = [{"path": "data/held_out.txt"}]
STOPS = {"early_stopping": {"patience": 2}}


@pytest.fixture
def plan(repo):
    """Return a function that declares a local training of texts and plans it."""
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        repo.write(f"models/tiny/{name}", "{}")
    repo.write("finetunes/data/train.txt", "".join(f"글 {n}.\n\n" for n in range(40)))
    repo.write("finetunes/data/held_out.txt", "다른 글.\n\n한 편 더.")

    def planned(**settings):
        repo.declare(
            backend="local-gpu",
            base_model="../models/tiny",
            method="continued-pretraining",
            data={"train": [{"path": "data/train.txt"}], "held_out": HELD_OUT},
            hyperparameters=settings,
        )
        prepared = prepare_run(repo.project, backend_opener(repo.project))
        (action,) = prepared.plan.actions
        return action, plan_text(prepared.plan, prepared.resolved.desired)

    return planned


def test_the_held_out_set_joins_the_identity_where_it_decides(repo, plan):
    prints = []
    for text in ("다른 글.", "또 다른 글."):
        repo.write("finetunes/data/held_out.txt", text)
        for settings in ({}, {"eval_steps": 4}, STOPS, STOPS | {"eval_steps": 4}):
            action, _ = plan(**settings)
            assert isinstance(action, Train)
            prints.append(action.fingerprint)
    plain, often, *stops = prints[:4]
    # Where the loss decides nothing, neither does when it is measured.
    assert plain == often
    assert len({plain, *stops}) == 3
    assert [one in prints[4:] for one in prints[:4]] == [True, True, False, False]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_steps": 7}, "at most 7 steps, may stop earlier"),
        (STOPS | {"eval_steps": 2, "max_steps": 9}, "at most 9 steps, may stop earlier"),
        (STOPS, "may stop earlier"),
    ],
)
def test_a_plan_tells_that_a_training_may_stop_earlier(plan, settings, words):
    action, text = plan(**settings)
    assert f"{words}\n" in text
    assert action.json()["cost"].get("may_stop_earlier", False) is ("earlier" in words)
