"""The table of scores: who was compared stands in it."""

import pytest

from controller.lockfile.model import Build, DataFacts, Entry, Evaluation, Lockfile, PartFacts
from controller.render.status import score_table

PART = PartFacts(digest="sha256:0", examples=10)
KEY = "ft1:" + "a" * 64


def entry(**scores):
    measured = Evaluation(fingerprint="ev1:b", inputs={}, scores=scores, evaluated="2026-11-29")
    build = Build(
        fingerprint=KEY,
        attempt=1,
        backend="local-gpu",
        job="run-1",
        model_id="ft:m",
        inputs={},
        base_model="m",
        data=DataFacts(train=PART, held_out=PART),
        facts={},
        submitted="2026-11-29",
        finished="2026-11-29",
        evaluation=measured,
    )
    return Entry(production=KEY, builds={KEY: build})


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({}, []),
        (
            {"카페": entry(candidate={"accuracy": 0.9})},
            ["FINE-TUNE  METRIC    BASE  TUNED  GATE", "카페       accuracy  -     0.9"],
        ),
        (
            {
                "moved": entry(candidate={"accuracy": 0.9}, production={"accuracy": 0.88}),
                "new": entry(candidate={"accuracy": 0.9}, base={"accuracy": 0}, production={}),
            },
            [
                "FINE-TUNE  METRIC    BASE  PRODUCTION  TUNED  GATE",
                "moved      accuracy  -     0.88        0.9",
                "new        accuracy  0     -           0.9",
            ],
        ),
    ],
)
def test_production_has_a_column_where_one_was_compared_with_it(entries, expected):
    lines = score_table(Lockfile(finetunes=entries)).splitlines()
    assert [line.rstrip() for line in lines] == expected
