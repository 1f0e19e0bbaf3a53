"""Answers of a cluster, whatever it writes for a number."""

import json

import pytest

from backends.launchers.launcher import Capacity, PlacedState
from backends.launchers.ray.answers import capacity, ended_s, placed, placed_jobs


@pytest.mark.parametrize(
    ("end_time", "seconds"),
    [
        ("1790000000500", 1_790_000_000.5),
        ("0", 0.0),
        ("null", None),
        ("true", None),
        ('"1790000000500"', None),
        ("NaN", None),
        ("Infinity", None),
        ("1" + 400 * "0", None),
    ],
)
def test_an_end_is_a_time_or_not_known(end_time, seconds):
    assert ended_s(json.loads(f'{{"end_time":{end_time}}}')) == seconds


def nodes(*resources):
    told = ",".join(f'{{"resources_total":{one}}}' for one in resources)
    return json.loads(f'{{"data":{{"result":{{"result":[{told}]}}}}}}')


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (["{}"], (0, 0)),
        (['{"GPU":8.0,"CPU":64}', '{"GPU":4}', '{"CPU":16}'], (12, 2)),
        (['{"CPU":64}', '{"CPU":16}', "{}"], (0, 2)),
        (['{"GPU":Infinity}', '{"GPU":NaN}', '{"GPU":true}', '{"GPU":"8"}'], (0, 0)),
        (['{"GPU":1' + 400 * "0" + "}", '{"GPU":2}', "null", "7"], (2, 1)),
    ],
)
def test_nodes_are_counted_by_what_is_a_number(resources, expected):
    found = capacity(nodes(*resources))
    assert (found.gpus, found.nodes) == expected


@pytest.mark.parametrize("answer", [None, [], {}, {"data": None}, {"data": {"result": {}}}])
def test_what_is_no_list_of_nodes_tells_nothing(answer):
    assert capacity(answer) == Capacity()


def test_a_job_of_an_unknown_state_is_open_and_a_list_without_one_is_empty():
    assert placed({"status": "RESTARTING"}).state is PlacedState.RUNNING
    assert placed({"status": "FAILED", "message": "a\nb"}).words == "FAILED (a b)"
    assert placed({"status": "RUNNING", "message": "a"}).words == "RUNNING"
    assert placed({"status": 1}) is None
    assert placed_jobs({"jobs": []}) is None
    known = {"submission_id": "a", "status": "PENDING", "metadata": {"comment": "c"}}
    assert list(placed_jobs([known, {"status": "RUNNING"}, 7, {"submission_id": "b"}])) == ["a"]
    assert placed_jobs([known])["a"].comment == "c"
