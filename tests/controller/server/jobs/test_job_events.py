"""Events and metrics of a job: which are shown, in what order, and the result file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import Event
from controller.server.jobs.job_events import by_step, metrics_of, newest_first, note, result_csv


def event(message="said", time_s=1.0, **data):
    return Event(time_s=time_s, message=message, data=data)


@pytest.mark.parametrize(
    ("data", "metrics"),
    [
        ({}, {}),
        ({"loss": 1.0}, {}),
        ({"step": 3}, {"step": 3}),
        ({"step": 3, "loss": 1.5, "other": 7}, {"step": 3, "train_loss": 1.5}),
        (
            {"step": 3, "total_steps": 9, "loss": 1, "held_out_loss": 2},
            {"step": 3, "total_steps": 9, "train_loss": 1, "full_valid_loss": 2},
        ),
        ({"step": 3, "loss": None, "held_out_loss": "?"}, {"step": 3}),
        ({"step": "3", "loss": 1.0}, {}),
    ],
)
def test_metrics_have_the_names_of_the_protocol(data, metrics):
    assert metrics_of(event(**data)) == metrics


def test_a_repeated_step_counts_once_with_its_last_metrics():
    events = [
        event(step=2, loss=9.0),
        event(step=1, loss=3.0),
        event("no metrics"),
        event(step=2, held_out_loss=4.0),
        event(step=2, loss=1.0),
    ]
    assert by_step(events) == [
        {"step": 1, "train_loss": 3.0},
        {"step": 2, "train_loss": 1.0, "full_valid_loss": 4.0},
    ]


def test_a_loss_that_diverged_is_in_the_message_and_the_result_file(tmp_path):
    events = [event(step=1, loss=float("nan"), held_out_loss=2.0)]
    (shown,) = newest_first("ftjob-1", tmp_path / "none", events, 0.0)
    assert shown.message == "Step 1: training loss=nan, full validation loss=2.0000"
    assert json.loads(json.dumps(shown.as_json(), allow_nan=False))["data"] == {
        "step": 1,
        "full_valid_loss": 2.0,
    }
    assert result_csv(by_step(events)).splitlines()[1] == b"1,nan,,2.0,"


def test_the_result_file_has_a_row_for_each_step():
    steps = [
        {"step": 1, "train_loss": 0.5, "total_steps": 2},
        {"step": 2, "full_valid_loss": 0.25},
    ]
    assert result_csv(steps).decode().splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy",
        "1,0.5,,,",
        "2,,,0.25,",
    ]
    assert result_csv([]).count(b"\n") == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"step": 1}, "Step 1"),
        ({"step": 1, "total_steps": 9}, "Step 1/9"),
        ({"step": 1, "loss": 0.12345}, "Step 1: training loss=0.1235"),
        (
            {"step": 4, "total_steps": 9, "loss": 1, "held_out_loss": 2},
            "Step 4/9: training loss=1.0000, full validation loss=2.0000",
        ),
        ({}, "said"),
    ],
)
def test_a_message_for_people(tmp_path, data, message):
    [shown] = newest_first("ftjob-1", tmp_path / "none", [event(**data)], 0)
    assert shown.message == message
    assert shown.as_json()["type"] == ("metrics" if data else "message")


def test_events_of_both_sources_newest_first(tmp_path):
    file = tmp_path / "events.jsonl"
    note(file, 2.0, "두 번째")
    note(file, 5.0, "last", "error")
    reported = [event("before the job", 1.0), event("third", 3.0), event("fourth", 4.0)]
    events = newest_first("ftjob-1", file, reported, since_s=2.0)
    said = [(one.created_s, one.message, one.level) for one in events]
    assert said == [
        (5.0, "last", "error"),
        (4.0, "fourth", "info"),
        (3.0, "third", "info"),
        (2.0, "before the job", "info"),
        (2.0, "두 번째", "info"),
    ]


@pytest.mark.parametrize("cut", [1, 20, 40])
def test_half_a_line_is_skipped(tmp_path, cut):
    file = tmp_path / "events.jsonl"
    note(file, 1.0, "whole")
    with file.open("ab") as end:
        end.write(json.dumps({"time_s": 2.0, "level": "info", "message": "half"}).encode()[:cut])
    assert [one.message for one in newest_first("ftjob-1", file, [], 0)] == ["whole"]


@pytest.mark.parametrize("line", ["7", "null", "[]", "{}", '{"time_s": 1, "message": "m"}', "\xff"])
def test_a_strange_line_is_skipped(tmp_path, line):
    file = tmp_path / "events.jsonl"
    file.write_text(f"{line}\n")
    note(file, 1.0, "whole")
    assert [one.message for one in newest_first("ftjob-1", file, [], 0)] == ["whole"]


@given(times=st.lists(st.floats(0, 1e6), max_size=20), more=st.lists(st.floats(0, 1e6)))
def test_an_event_keeps_its_id_while_others_come(tmp_path_factory, times, more):
    none = tmp_path_factory.getbasetemp() / "none"

    def ids(*every):
        reported = [event(f"event {number}", time_s) for number, time_s in enumerate(every)]
        return {one.message: one.id for one in newest_first("ftjob-1", none, reported, 0)}

    before, after = ids(*times), ids(*times, *more)
    assert len(set(after.values())) == len(times) + len(more)
    assert before.items() <= after.items()
