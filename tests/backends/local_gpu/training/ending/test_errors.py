"""What is said of a training that ended too early: enough hours, and a remedy for each error."""

import re
from importlib import import_module

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def errors():
    return import_module("backends.local_gpu.training.ending.errors")


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (1.0, "1.0"),
        (1.2, "1.2"),
        (1.24, "1.3"),
        (0.0123, "0.013"),
        (9.91, "10"),
        (48.0, "48"),
        (124.0, "130"),
        (1001.0, "1100"),
    ],
)
def test_hours_are_written_with_two_digits(errors, hours, text):
    assert float(errors.enough_hours(hours)) == float(text)


@given(st.floats(1e-6, 1e6))
@example(1.24)
@example(124.0)
def test_a_budget_of_the_hours_that_are_named_is_enough_and_not_much_more(hours):
    text = import_module("backends.local_gpu.training.ending.errors").enough_hours(hours)
    # It is copied into a spec by a person.
    assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", text)
    assert hours <= float(text) <= 1.1001 * hours


OUT = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize(
    ("error", "message", "remedy"),
    [
        (
            lambda torch: torch.OutOfMemoryError(f"{OUT}\nGPU 0 has 1 GiB free."),
            f"out of memory (OutOfMemoryError: {OUT})",
            "halve `per_device_train_batch_size`",
        ),
        (lambda _: MemoryError(), "out of memory (MemoryError: )", "`gradient_accumulation_steps`"),
        (
            lambda _: ValueError("카페: sizes differ\nby 3"),
            "ValueError: 카페: sizes differ\nby 3",
            "the whole traceback is in the job's log: `ftctl logs NAME`",
        ),
        (lambda _: KeyError("loss"), "KeyError: 'loss'", "`ftctl logs NAME`"),
    ],
)
def test_an_error_that_nobody_expected_is_told_with_what_to_do(errors, error, message, remedy):
    told, advice = errors.explain(error(import_module("torch")))
    assert told == message
    assert remedy in advice
