"""Names, times and texts that a service may answer with: nothing odd reaches a file or a terminal."""

import re

import pytest

from controller.lockfile.store import read_lockfile
from tests.controller.adopt.adopted_files import NO_CHANGES, data, spec, written
from tests.controller.adopt.hosted_service import rows


def test_two_models_of_one_name_get_distinct_names(shell, service):
    service.train("triage", rows(40))
    service.train("triage", rows(40, 50))

    assert shell("adopt", "--all")[0] == 0

    assert {"triage.yaml", "triage-000000.yaml"} < written(shell)
    assert data(shell, "triage-000000") == rows(40)
    assert NO_CHANGES in shell("plan")[1]


def test_a_seed_that_no_spec_can_have_is_told(shell, service):
    service.train("triage", seed=2**40)

    assert shell("adopt", "--all")[0] == 0

    assert f"# The service reports the seed {2**40}, which no spec can have." in spec(
        shell, "triage"
    )
    assert NO_CHANGES in shell("plan")[1]


def test_texts_of_a_service_reach_no_terminal_raw(shell, service):
    service.train("triage", user_provided_suffix="a\x1b[31mb", data=rows(10))
    text = shell("adopt")[1] + shell("adopt", "--all")[1]
    assert "\x1b" not in text
    assert re.search(r"suffix: a\\x1b\[31mb", spec(shell, "a-31mb"))


@pytest.mark.parametrize("time", [10**18, -(10**18), 1.5e308, 253_402_300_800])
def test_a_time_that_no_calendar_has_is_no_time(shell, service, time):
    job = service.train("triage", created_at=time, finished_at=time)
    service.models[job["fine_tuned_model"]]["created"] = time
    orphan = "ft:gpt-4.1-2025-04-14:acme:orphan:Zz9"
    service.models[orphan] = {"id": orphan, "owned_by": "acme", "created": time}
    assert {one["date"] for one in shell.json("adopt")[1]["models"]} == {None}
    code, text = shell("adopt", "--all")
    assert (code, "2 models adopted" in text) == (0, True), text
    assert NO_CHANGES in shell("plan")[1]


HALF = "a\ud800b"
"""Half a character, as JSON can hold it and nothing else can."""


@pytest.mark.parametrize(
    "field",
    ["fine_tuned_model", "model", "training_file", "organization_id", "user_provided_suffix"],
)
def test_half_a_character_in_one_job_stops_no_other(shell, service, field):
    service.train("faq")
    job = service.train("triage", **{field: HALF})
    if field == "fine_tuned_model":
        service.models[HALF] = {"id": HALF, "owned_by": "org", "created": 1}
    code, text = shell("adopt", "--all")
    assert "defect" not in text
    assert code == (1 if field == "model" else 0), text
    assert "faq.yaml" in written(shell)
    assert job["id"]
    assert NO_CHANGES in shell("plan")[1]


def test_a_model_id_with_a_line_end_stays_on_its_line(shell, service):
    model = "ft:a:b:c\n= faq: ft:x is adopted, in production\x1b[31m:d"
    job = service.train("triage", fine_tuned_model=model)
    service.models = {model: {"id": model, "owned_by": "org", "created": 1}}
    code, text = shell("adopt", job["id"])
    assert code == 0
    assert r"= triage: ft:a:b:c\n= faq: ft:x is adopted" in text
    assert "\n= faq" not in text


def test_a_suffix_of_a_megabyte_is_shortened_in_the_comment(shell, service):
    service.train("triage", user_provided_suffix="가" * 1_000_000)
    code, text = shell("adopt", "--all")
    assert code == 0, text
    (name,) = read_lockfile(shell.root, shell.root / ".ftctl").finetunes
    assert len(spec(shell, name)) < 3_000
    assert NO_CHANGES in shell("plan")[1]
