"""What is verified and declared of a hosted model, and what its spec may not change."""

import json
from dataclasses import replace

import pytest

from backends.contract.inventory import HostedModel
from controller.adopt.builds import Provenance, adopted_build, with_adopted
from controller.adopt.hosted_spec import (
    KeptData,
    KeptFile,
    declared_facts,
    differences,
    hosted_spec,
    verified_facts,
)
from controller.lockfile.model import Entry
from controller.spec.model import Spec

TRAIN = KeptFile(path="data/triage.jsonl", sha256="a", rows=40, size_bytes=9, file_id="file-1")
HELD_OUT = KeptFile(path="data/triage.held-out.jsonl", sha256="b", rows=4, size_bytes=9)
HOSTED = HostedModel(
    model_id="ft:base:acme:triage:1",
    is_listed=True,
    job_id="ftjob-1",
    base_model="gpt-4o-mini",
    hyperparameters={"n_epochs": 3},
    seed=7,
    created_s=1_000.0,
    finished_s=1_250.0,
)
DATA = KeptData(train=TRAIN, validation=HELD_OUT)


def made(hosted=HOSTED, endpoint=""):
    return hosted_spec(hosted, name="triage", endpoint=endpoint, data=DATA, held_out="validation")


def spec(**changes):
    return Spec.model_validate({**json.loads(json.dumps(made().values)), **changes})


def test_a_spec_as_it_was_adopted_has_no_differences():
    assert list(differences(spec(), made())) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backend": "local-gpu"}, "backend is 'local-gpu', not 'openai'"),
        ({"endpoint": "eu"}, "endpoint is 'eu', not None"),
        ({"base_model": "gpt-4o"}, "base_model is 'gpt-4o', not 'gpt-4o-mini'"),
        ({"method": "dpo"}, "method is 'dpo', not 'supervised'"),
        ({"seed": 8}, "seed is 8, not 7"),
        ({"hyperparameters": {"n_epochs": 4}}, "hyperparameters are others"),
        ({"hyperparameters": {}}, "hyperparameters are others"),
    ],
)
def test_a_spec_that_asks_for_something_else_is_told_by_field(changes, said):
    assert list(differences(spec(**changes), made())) == [said]


def test_what_a_service_does_not_tell_is_the_default_of_a_spec():
    silent = made(replace(HOSTED, seed=None, hyperparameters={}))
    plain = spec(hyperparameters={}, seed=Spec.model_fields["seed"].default)
    assert list(differences(plain, silent)) == []
    assert list(differences(spec(hyperparameters={}), silent)) == [
        f"seed is 7, not {Spec.model_fields['seed'].default}"
    ]


REPORTED = "are those that the job reports"


@pytest.mark.parametrize(
    ("hosted", "data", "verified", "declared"),
    [
        (
            HOSTED,
            DATA,
            [
                "the service lists the model ft:base:acme:triage:1",
                "job ftjob-1 reports that it made the model",
                f"base model, method, hyperparameters, seed {REPORTED}",
                "the bytes of data/triage.jsonl are those of file file-1",
            ],
            ["the model was trained on these examples; no proof of that exists"],
        ),
        (
            replace(HOSTED, is_listed=None, seed=None),
            KeptData(train=replace(TRAIN, file_id=None)),
            [
                "job ftjob-1 reports that it made the model",
                f"base model, method, hyperparameters {REPORTED}",
            ],
            [
                "the model is still there: the service does not list it",
                "data/triage.jsonl was put there by a person",
                "the model was trained on these examples; no proof of that exists",
            ],
        ),
        (
            replace(HOSTED, job_id=None),
            KeptData(train=replace(TRAIN, file_id=None, sha256="")),
            ["the service lists the model ft:base:acme:triage:1"],
            [
                "the job is not shown: base model and hyperparameters are not known",
                "the data is what the spec names, as a person wrote it",
                "the model was trained on these examples; no proof of that exists",
            ],
        ),
        (
            HOSTED,
            KeptData(),
            [
                "the service lists the model ft:base:acme:triage:1",
                "job ftjob-1 reports that it made the model",
            ],
            ["the training data is gone: nothing is known of it"],
        ),
    ],
)
def test_what_was_seen_and_what_is_only_said(hosted, data, verified, declared):
    assert verified_facts(hosted, data) == verified
    assert declared_facts(hosted, data, "validation") == declared


@pytest.mark.parametrize("held_out", ["fraction", "training"])
def test_examples_that_the_model_was_trained_on_are_declared(held_out):
    assert declared_facts(HOSTED, DATA, held_out)[-1] == (
        "the held-out examples were training examples of this model"
    )


def adopted(make, hosted=HOSTED, **changes):
    provenance = Provenance(
        verified=[], declared=[], files=[TRAIN], submitted="2026-01-01T00:00:00Z", finished="later"
    )
    return adopted_build(hosted, make.desired("triage", **changes), provenance)


@pytest.mark.parametrize(
    ("created", "finished", "seconds"),
    [(1_000.0, 1_250.0, 250.0), (None, 1_250.0, None), (1_000.0, None, None)],
)
def test_a_build_has_the_time_that_its_job_took(make, created, finished, seconds):
    build = adopted(make, replace(HOSTED, created_s=created, finished_s=finished))
    assert build.facts.get("seconds") == seconds
    assert build.facts["adopted"]["files"] == {
        "data/triage.jsonl": {"id": "file-1", "sha256": "a", "rows": 40}
    }


def test_an_adopted_model_goes_live_where_nothing_is(make):
    build = adopted(make)
    assert with_adopted(Entry(), build).production == build.fingerprint


def test_an_adopted_model_takes_the_place_of_itself_alone(make):
    """The same model whose data was found later; never a build that this repository trained."""
    without, found = adopted(make, seed=1), adopted(make, seed=2)
    entry = with_adopted(with_adopted(Entry(), without), found)
    assert entry.production == found.fingerprint
    assert set(entry.builds) == {without.fingerprint, found.fingerprint}
    other = adopted(make, replace(HOSTED, model_id="ft:base:acme:triage:2"), seed=3)
    assert with_adopted(entry, other).production == found.fingerprint
    own = make.build(make.desired("triage", seed=4), model_id=found.model_id)
    trained = make.entry(own, production=own)
    assert with_adopted(trained, found).production == own.fingerprint
