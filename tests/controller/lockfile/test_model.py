"""The lockfile's text, there and back."""

import json

import pytest

from controller.errors import LockfileInvalid
from controller.lockfile.model import Lockfile, dump_lockfile, parse_lockfile

NAME = "finetunes/ftctl.lock"


def complete(make) -> Lockfile:
    cafe = make.desired("카페", gate=["held_out_loss < base.held_out_loss"])
    newer = make.desired("카페", seed=7, evaluation={"metrics": ["accuracy"]})
    build = make.build(cafe)
    return Lockfile(
        finetunes={
            "cafe": make.entry(
                build,
                make.build(newer, evaluated=False, model_id="ft:카페:2", facts={"loss": 1.5}),
                production=build,
                candidate=newer.fingerprint,
                protect=True,
                job=make.open_job(make.desired(seed=8), id="job-3"),
                failures={make.desired(seed=9).fingerprint: make.failure()},
                attempts={make.desired(seed=9).fingerprint: 2},
            ),
            "alpha": make.entry(),
        }
    )


def test_the_text_is_the_golden_one(make, golden):
    golden("render/ftctl.lock", dump_lockfile(complete(make)).decode())


def test_reading_gives_back_what_was_written(make):
    lockfile = complete(make)
    text = dump_lockfile(lockfile)
    assert parse_lockfile(text, NAME) == lockfile
    assert dump_lockfile(parse_lockfile(text, NAME)) == text


def test_the_text_has_sorted_keys_and_ends_with_a_line(make):
    text = dump_lockfile(complete(make))
    assert text.endswith(b"}\n")
    assert list(json.loads(text)["finetunes"]) == ["alpha", "cafe"]
    assert "카페".encode() in text


def test_what_is_empty_is_not_written(make):
    text = json.loads(dump_lockfile(Lockfile(finetunes={"a": make.entry()})))
    assert text["finetunes"] == {"a": {}}


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        (b"", "is corrupt", "git checkout --"),
        (b"{", "ftctl.lock:1: is corrupt", "nothing is retrained"),
        (b"\xff\xfe", "is corrupt", "git checkout --"),
        (b"[]", "is corrupt: it names no format", "git checkout --"),
        (b"{}", "is corrupt: it names no format", "git checkout --"),
        (b'{"format": "1"}', "is corrupt: it names no format", "git checkout --"),
        (b'{"format": 0}', "is corrupt", "git checkout --"),
        (b'{"format": true}', "is corrupt: it names no format", "git checkout --"),
        (b'{"format": 2}', "has format 2; this ftctl reads formats up to 1", "ftctl help install"),
        (b'{"format": 1, "finetunes": []}', "is corrupt: finetunes", "git checkout --"),
        (b'{"format": 1, "finetunes": {"a": {"x": 1}}}', "finetunes.a.x", "git checkout --"),
        (b'{"format": 1, "finetunes": {"a": {"production": "ft1:x"}}}', "a.production", "git checkout"),
        (b"[" * 100_000, "is corrupt", "git checkout --"),
        (b'{\n<<<<<<< HEAD\n"format": 1\n=======\n', "has merge conflict markers", "--theirs"),
        (b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> x\n", "has merge conflict markers", "--theirs"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_with_a_way_out(text: bytes, message: str, remedy: str):
    with pytest.raises(LockfileInvalid) as caught:
        parse_lockfile(text, NAME)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_scores_without_those_of_the_candidate_are_corrupt(make):
    text = json.loads(dump_lockfile(complete(make)))
    (build, *_) = text["finetunes"]["cafe"]["builds"].values()
    del build["evaluation"]["scores"]["candidate"]
    with pytest.raises(LockfileInvalid, match="must have the scores of the candidate"):
        parse_lockfile(json.dumps(text).encode(), NAME)
