"""A fixture that shows what a spec comes to."""

import json
from dataclasses import asdict

import pytest

from controller.render.plan_json import plan_json
from controller.run.backends import backend_opener
from controller.run.reconcile import prepare_run
from controller.spec.settings import Settings
from tests.controller.every_field.case_files import write_database, write_other_forms, write_tables
from tests.controller.every_field.spec_cases import Case, data


@pytest.fixture
def observed(repo, tmp_path, monkeypatch):
    """Return a function that shows what a spec comes to."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("FAQ_URL", f"sqlite:///{tmp_path}/faq.db")
    write_database(tmp_path / "faq.db")
    write_tables(repo)
    write_other_forms(repo)

    def opener(settings: Settings):
        installed = backend_opener(repo.project)(settings)

        def open_backend(place: str):
            return repo.backend if place == "scripted" else installed(place)

        return open_backend

    def observe(case: Case, spec: dict) -> str:
        for key, value in case.world.items():
            setattr(repo.backend, key, value)
        repo.declare(**{**data(), **spec})
        prepared = prepare_run(repo.project, opener)
        shown = plan_json(prepared.plan, prepared.desired)
        # What a person decided holds every field, whatever is made of it.
        for key in ("id", "decisions", "settings"):
            del shown[key]
        for action in shown["actions"]:
            action.pop("id", None)
        desired, request = prepared.desired.get("faq"), prepared.resolved.requests.get("faq")
        facts = []
        if desired is not None and request is not None:
            dataset = prepared.resolved.datasets["faq"]
            facts = [
                desired.inputs,
                desired.evaluation_inputs,
                request.train.read_text(),
                request.held_out.read_text(),
                [asdict(one) for one in dataset.report.sources],
            ]
        return json.dumps([shown, facts], default=str, sort_keys=True)

    return observe
