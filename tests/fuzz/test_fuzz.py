"""A small sample of the cases of `python -m tests.fuzz.specs` and `...data_files`."""

import json
import random

import pytest

from controller.spec.model import Spec
from controller.spec.settings import Settings
from tests.fuzz import data_files, specs
from tests.fuzz.harness import Outcome, defects, placed
from tests.fuzz.repository import repository
from tests.fuzz.schema_values import Corpus

SPECS = 100
FILES = 50


@pytest.fixture(scope="module")
def repo():
    with repository() as made:
        yield made


def test_damaged_specs_settings_lockfiles_and_plans_end_in_words(repo):
    corpora = specs.Corpora(repo)
    wrong = {
        seed: found for seed in range(1, SPECS) if (found := specs.run_case(seed, repo, corpora)[2])
    }
    assert wrong == {}
    # Every key of the schema has a valid spec, so that new keys are damaged too.
    for corpus, model in ((corpora.specs, Spec), (corpora.settings, Settings)):
        for value in corpus:
            model.model_validate(value)


def test_damaged_data_files_end_in_words(repo):
    ended = {seed: data_files.run_case(seed, repo) for seed in range(1, FILES)}
    assert {seed: found for seed, (_, _, found) in ended.items() if found} == {}
    assert {"jsonl", "csv", "parquet", "xlsx", "html"} <= {kind for kind, _, _ in ended.values()}
    assert {int(outcome.code) for _, outcome, _ in ended.values()} <= {0, 1}


@pytest.mark.parametrize("name", ["deep.jsonl", "cells.html", "cells.csv"])
def test_a_small_file_that_asks_for_everything_ends_in_words(name: str, repo):
    _, outcome, found = data_files.run_bomb(name, data_files.bombs(name)[name], repo)
    assert (outcome.code, found) == (1, [])


def outcome(**changed) -> Outcome:
    return Outcome(**{"code": 0, "out": "", "err": "", "cpu_s": 0.1, "grown_mib": 1.0, **changed})


@pytest.mark.parametrize(
    ("ended", "found"),
    [
        (outcome(), []),
        (outcome(code=3), ["exit code 3"]),
        (outcome(code=-1), ["exit code -1"]),
        (outcome(code=1), ["an error without a word"]),
        (outcome(code=1, err="Traceback (most recent call last)\n"), ["a traceback"]),
        (outcome(code=1, err="a" * 900), ["a line of 900 characters"]),
        (outcome(out="\x1b[2J"), ["a control character: '\\x1b'"]),
        (outcome(grown_mib=2_000.0), ["2000 MiB of memory"]),
    ],
)
def test_what_no_file_may_lead_to_is_found(ended: Outcome, found: list[str]):
    assert defects(ended) == found


def test_a_problem_of_a_field_without_a_line_is_found():
    problem = {"file": "a.yaml", "field": "seed", "line": None, "message": "is wrong"}
    text = json.dumps({"problems": [problem, problem | {"line": 3}, problem | {"file": "b.yaml"}]})
    assert placed(outcome(out=text), "a.yaml") == ["no line for seed: is wrong"]


def test_equal_seeds_are_equal_cases():
    values = [Corpus(Settings, random.Random(3)).values for _ in range(2)]
    assert values[0] == values[1]
