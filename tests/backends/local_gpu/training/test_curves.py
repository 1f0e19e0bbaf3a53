"""Losses of real trainings on a tiny model, and what is found wrong with them."""

import json

import pytest

from backends.contract.completions import Prompt, Sampling
from controller.evaluate.curves.findings import findings_of
from controller.evaluate.curves.points import thinned

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
FULL = {"finetuning_type": "full", "recipe": 2}
OTHER = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|endoftext|>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def names(points, **known):
    return [finding.name for finding in findings_of(thinned(points), **known)]


def test_each_step_of_a_fast_training_is_in_its_curve(train_here, backend):
    run = train_here(num_train_epochs=2, per_device_train_batch_size=8)

    points = list(backend.curve(run.job_id))

    assert [point.step for point in points] == list(range(7))
    assert [point.step for point in points if point.held_out_loss] == [0, 3, 6]
    assert [point.step for point in points if point.train_loss] == [1, 2, 3, 4, 5, 6]
    facts = json.loads(run.result.read_bytes())["facts"]
    losses = [point.train_loss for point in points if point.train_loss]
    assert sum(losses) / 6 == pytest.approx(facts["train_loss"])
    assert points[-1].held_out_loss == facts["held_out_loss"]
    assert (points[0].epoch, points[-1].epoch) == (0.0, 2.0)
    assert points[1].learning_rate == 1e-3
    assert set(names(points)) <= {"wrong template"}  # a random model starts near chance


def test_few_rows_and_many_epochs_are_named_overfitting(train_here, backend, examples, example):
    strangers = [example("주차 되나요?", "건물 뒤에 세 대까지 됩니다."), example("Hi", "Hello!")]
    run = train_here(
        **FULL,
        rows=examples(4),
        held_out=strangers,
        learning_rate=3e-3,
        num_train_epochs=25,
        lr_scheduler_type="constant",
    )

    points = list(backend.curve(run.job_id))

    assert points[-1].train_loss < 1
    assert "overfitting" in names(points)
    assert "divergence" not in names(points)


def test_a_huge_rate_is_named_divergence(train_here, backend):
    run = train_here(**FULL, learning_rate=1.0, num_train_epochs=4)

    points = list(backend.curve(run.job_id))

    assert names(points)[0] == "divergence"
    assert "plateau" not in names(points)


def base_loss(backend, base, rows):
    """Return the loss of a base model's own answers, as an evaluation measures it."""
    prompts = [Prompt(messages=row["messages"][:-1], reference=row["messages"][-1]) for row in rows]
    model = backend.resolve_base_model(str(base), None, base)
    answered = backend.complete(model, [None], prompts, Sampling(max_tokens=1))
    given = [one.completion for one in answered]
    tokens = sum(answer.reference_tokens for answer in given)
    return sum(answer.reference_loss * answer.reference_tokens for answer in given) / tokens


@pytest.mark.usefixtures("warm")
def test_another_template_than_the_base_models_is_named(
    train_here, backend, changed_base, examples
):
    taught = train_here(
        **FULL,
        base=changed_base(chat_template__jinja=OTHER),
        rows=examples(16),
        learning_rate=3e-3,
        num_train_epochs=12,
    )
    base, held_out = taught.model, examples(24)[16:]
    own = base_loss(backend, base, held_out)
    found = {}
    for letter, settings in (("b", {}), ("c", {"chat_template": "chatml"})):
        run = train_here(
            fingerprint=letter * 64, base=base, held_out=held_out, num_train_epochs=1, **settings
        )
        points = list(backend.curve(run.job_id))
        found[letter] = names(points, base_loss=own)
        assert (points[0].held_out_loss == pytest.approx(own, rel=1e-3)) == (letter == "b")
    assert found == {"b": [], "c": ["wrong template"]}
