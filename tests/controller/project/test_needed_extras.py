"""`ftctl extras`: what CI installs for the specs of a repository."""

import json

import pytest

from controller.cli import run

DATA = "data: {{train: [{train}], held_out: {{fraction: 0.2}}{prepare}}}\n"


def spec(backend="local-gpu", train="{path: data/a.jsonl}", prepare="", more=""):
    prepare = f", prepare: {{{prepare}}}" if prepare else ""
    base = "acme/base" if backend == "local-gpu" else "gpt-4o-mini-2024-07-18"
    data = DATA.format(train=train, prepare=prepare)
    return f"backend: {backend}\nbase_model: {base}\n{data}{more}"


@pytest.fixture
def extras(tmp_path, capsys):
    def type_extras(*texts, settings="", lockfile=None):
        (tmp_path / "finetunes").mkdir(exist_ok=True)
        (tmp_path / "ftctl.yaml").write_text(settings)
        for number, text in enumerate(texts):
            (tmp_path / f"finetunes/a{number}.yaml").write_text(text)
        if lockfile:
            (tmp_path / "finetunes/ftctl.lock").write_text(lockfile)
        both = []
        for options in ([], ["--plan"]):
            assert run(["--dir", str(tmp_path), "extras", *options]) == 0
            both.append(capsys.readouterr().out.split())
        return both

    return type_extras


@pytest.mark.parametrize(
    ("text", "to_apply", "to_plan"),
    [
        (spec(), ["evaluate", "local"], ["plan"]),
        (spec("openai"), ["evaluate", "openai"], ["openai"]),
        (
            spec(train='{sql: "select 1", connection: A}'),
            ["evaluate", "local", "sql"],
            ["plan"],
        ),
        (spec(train="{hub: a/b}"), ["evaluate", "hub", "local"], ["plan"]),
        (spec(train='{url: "https://a/b.csv"}'), ["data", "evaluate", "local"], ["plan"]),
        (spec(train="{path: data/A.PARQUET}"), ["data", "evaluate", "local"], ["data", "plan"]),
        (spec(train="{path: data/rows}"), ["data", "evaluate", "local"], ["data", "plan"]),
        (spec(train="{path: data/*.csv}"), ["evaluate", "local"], ["plan"]),
        (spec(prepare="pii: mask"), ["data", "evaluate", "local"], ["data", "plan"]),
        (spec(prepare="deduplicate: near"), ["data", "evaluate", "local"], ["data", "plan"]),
        (
            spec(more="hyperparameters: {quantization: nf4}\n"),
            ["evaluate", "local", "quantization"],
            ["plan"],
        ),
        (
            spec(
                more="evaluation: {metrics: [{judge: {endpoint: default, model: m, rubric: r}}]}\n"
            ),
            ["evaluate", "local", "openai"],
            ["openai", "plan"],
        ),
    ],
)
def test_only_what_the_specs_need(extras, text, to_apply, to_plan):
    assert extras(text) == [to_apply, to_plan]


def test_no_torch_for_a_repository_that_trains_at_a_server(extras):
    assert "local" not in extras(spec("openai"), spec("openai", prepare="strip_html: true"))[0]


def test_an_open_job_is_followed_although_its_spec_has_moved(extras):
    part = {"digest": "d", "examples": 1}
    job = {
        "id": "j",
        "backend": "openai@eu",
        "fingerprint": f"ft1:{'0' * 64}",
        "attempt": 1,
        "inputs": {},
        "base_model": "b",
        "submitted": "2026-11-01T00:00:00Z",
        "data": {"train": part, "held_out": part},
    }
    lockfile = json.dumps({"format": 1, "finetunes": {"a0": {"job": job}}})
    assert extras(spec(), lockfile=lockfile)[0] == ["evaluate", "local", "openai"]


def test_trackers_are_for_apply(extras):
    assert extras(spec(), settings="tracking: {trackio: {project: a}}\n") == [
        ["evaluate", "local", "trackio"],
        ["plan"],
    ]


def test_a_store_is_for_apply(extras):
    assert extras(spec(), settings="store: {url: s3://models}\n") == [
        ["evaluate", "local", "store"],
        ["plan"],
    ]


def test_a_broken_spec_hides_no_other(extras):
    assert extras("backend: [", spec("openai"))[0] == ["evaluate", "openai"]
