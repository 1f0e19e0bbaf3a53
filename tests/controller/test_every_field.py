"""Every field of a spec and of `ftctl.yaml` changes something that can be seen, or is refused.

The models are walked: a field without a case fails, and so does a case whose other value changes
nothing. A case must change what is built, trained, asked, charged, done or shown: the digests of
what a person decided prove nothing, as they hold every field.
"""

import json
import re
import runpy
import sqlite3
import types
import typing
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from pydantic import BaseModel

from backends.local_gpu import hyperparameters as local
from backends.pydantic_errors import OfForms
from controller.cli import run
from controller.render.plan_json import plan_json
from controller.run.backends import backend_opener
from controller.run.reconcile import prepare_run
from controller.spec.model import Spec
from controller.spec.sections.machines import machines_of
from controller.spec.settings import Settings, load_settings, public_id, records_branch
from controller.store.builds import ModelStore, push_build
from controller.store.privacy import named_builds, privacy_of
from controller.store.progress import unreported
from controller.track.targets import targets_of

ROOT = Path(__file__).parents[2]
write_xlsx = runpy.run_path(str(Path(__file__).parent / "data/readers/test_excel.py"))["write_xlsx"]
CHAT = {"columns": {"user": "q", "assistant": "a"}}
MAIL = "mail me: kim@example.com or 02-123-4567 or +1 202-555-0143"


@dataclass(frozen=True)
class Case:
    """Two specs that differ in one field."""

    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)
    world: dict = field(default_factory=dict)
    """What is set up in the scripted backend."""
    recorded: bool = False
    """Whether the first spec is applied before."""


def source(**keys) -> dict:
    return {"path": "data/rows.csv", **CHAT, **keys}


def data(train=None, **keys) -> dict:
    return {"data": {"train": [train or source()], "held_out": {"fraction": 0.25}, **keys}}


def prepare(**keys) -> dict:
    return data(prepare=keys)


def held_out(**keys) -> dict:
    return data(held_out={"fraction": 0.25, **keys})


def elsewhere(key: str, one: str, two: str, **more) -> tuple[dict, dict]:
    """Return two specs with a source elsewhere, which differ in one key."""
    return data({**more, key: one, **CHAT}), data({**more, key: two, **CHAT})


def rival(**keys) -> dict:
    """Return an evaluation with another model."""
    return {"evaluation": {"compare_to": [{"name": "luna", "few_shot": 2, **keys}]}}


def judge(**keys) -> dict:
    settings = {"model": "acme/larger", "rubric": "polite", **keys}
    return {"evaluation": {"metrics": [{"judge": settings}]}}


def human(**keys) -> dict:
    return {"evaluation": {"metrics": [{"human": {"sheet": "data/scores.csv", **keys}}]}}


def retain(**keys) -> dict:
    own = {**source(), "name": "old", "metric": "exact_match", **keys}
    return {"evaluation": {"retain": [own]}}


def of_html(**keys) -> dict:
    return data({"path": "data/page.html", **keys}, held_out={"fraction": 0.5})


SQL = {"sql": "select q, a from faq"}
FAQ = {"connection": "FAQ_URL"}
PAIRS = {"backend": "openai", "base_model": "gpt-4.1-mini-2025-04-14", "method": "dpo"}
HUB = {"hub": "cafe/faq"}
TABLE = {"path": "data/table.html", "extract": "tables"}
TEXT = {"method": "continued-pretraining", "backend": "local-gpu", "base_model": "../models/tiny"}
MARKED = TEXT | {"method": "kto"}


def fields_of(model: type[BaseModel], prefix: str = ""):
    """Yield every field of a model and of the models in it, by dotted path."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path
        for inner in models_in(info.annotation):
            yield from fields_of(inner, f"{path}.")


def models_in(annotation) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, type) and issubclass(annotation, OfForms):
        return annotation.forms()
    found = [one for part in typing.get_args(annotation) for one in models_in(part)]
    return list(dict.fromkeys(found)) if not isinstance(annotation, types.NoneType) else []


NOTHING: dict[str, tuple] = {}
LABELS = {"labels": (["a"], ["b"])}
ONE_LABEL = {"label": ("a", "b")}
TOKENS = {"tokenize": ("auto", "words")}
MEASURES: dict[str, dict[str, tuple]] = {
    "exact_match": {"name": ("one", "two"), "normalise": ([], ["case"])},
    "contains": {
        "texts": (["a", "b"], ["b"]),
        "match": ("all", "any"),
        "normalise": ([], ["case"]),
    },
    "regex_match": {"pattern": ("a", "b")},
    "numeric": {"absolute": (0.0, 1.0), "relative": (0.0, 0.1), "which": ("last", "first")},
    **dict.fromkeys(("accuracy", "balanced_accuracy", "unknown_labels"), LABELS),
    **dict.fromkeys(("precision_macro", "recall_macro", "f1_macro"), LABELS),
    **dict.fromkeys(("precision_micro", "recall_micro", "f1_micro"), LABELS),
    **dict.fromkeys(("precision", "recall", "f1"), ONE_LABEL),
    "chrf": {},
    "bleu": TOKENS,
    "rouge_l": TOKENS,
    "json_valid": {},
    "json_schema": {"inline": ({"type": "object"}, {"type": "array"})},
    "json_field": {"field": ("a", "b")},
    "promptfoo": {
        "inline": tuple(
            {"defaultTest": {"assert": [{"type": "contains", "value": text}]}} for text in "ab"
        ),
        "question": ("question", "asked"),
    },
    **dict.fromkeys(("tool_calls", "tool_names", "tool_arguments"), NOTHING),
    **dict.fromkeys(("perplexity", "answer_tokens", "latency_p50", "latency_p95"), NOTHING),
    "cost_per_1000": {"input_per_million": (1.0, 2.0), "output_per_million": (1.0, 2.0)},
}
"""Two values for each setting of each metric. That every metric has a `name` is shown by one."""


def measured(metric: str, settings: dict) -> dict:
    read = data(source(path="data/json.csv")) if metric == "json_field" else data()
    return {**read, "evaluation": {"metrics": [{metric: settings}]}}


def measures() -> dict[str, Case]:
    cases = {}
    for metric, values in MEASURES.items():
        path = f"evaluation.metrics.{metric}"
        first = {key: one for key, (one, _) in values.items()}
        read = {key: one for key, one in measured(metric, first).items() if key == "data"}
        cases[path] = Case(read, measured(metric, first))
        for key, (_, other) in values.items():
            changed = measured(metric, {**first, key: other})
            cases[f"{path}.{key}"] = Case(measured(metric, first), changed)
    schemas = [measured("json_schema", {"file": f"data/{name}.json"}) for name in ("one", "two")]
    cases["evaluation.metrics.json_schema.file"] = Case(*schemas)
    tests = [measured("promptfoo", {"file": f"data/{name}.yaml"}) for name in ("one", "two")]
    cases["evaluation.metrics.promptfoo.file"] = Case(*tests)
    return cases


def machine_cases() -> dict[str, tuple[str, str]]:
    def declared(**other):
        keys = {"launcher": "slurm", "runs": "/shared/ftctl"} | other
        return json.dumps({"machines": {"hpc": keys}})

    changed = {
        "launcher": {"launcher": "ray", "address": "http://127.0.0.1:8265"},
        "runs": {"runs": "/scratch/ftctl"},
        "runtime": {"runtime": {"venv": "/opt/ftctl"}},
        "runtime.venv": {"runtime": {"venv": "/opt/ftctl"}},
        "runtime.image": {"runtime": {"image": "acme/ftctl"}},
        "devices": {"devices": "cpu"},
        "private": {"private": True},
        "environment": {"environment": {"HF_HOME": "/shared/hf"}},
    }
    cases = {f"machines.{key}": (declared(), declared(**keys)) for key, keys in changed.items()}
    return {"machines": ("{}", declared()), **cases}


SPEC: dict[str, Case] = {
    "backend": Case({}, {"backend": "openai"}),
    "endpoint": Case({"backend": "openai"}, {"backend": "openai", "endpoint": "own"}),
    "base_model": Case({}, {"base_model": "acme/other"}),
    "base_model.finetune": Case(
        {"base_model": {"finetune": "cafe"}}, {"base_model": {"finetune": "tea"}}
    ),
    "base_model.adapter": Case(
        {"method": "prompt", "base_model": {"finetune": "faq"}},
        {"method": "prompt", "base_model": {"finetune": "faq", "adapter": "continue"}},
    ),
    "revision": Case({}, {"revision": "main"}),
    "method": Case({}, {"method": "dpo"}),
    "prompt": Case({"method": "prompt"}, {"method": "prompt", "prompt": {"few_shot": 2}}),
    "prompt.system": Case(
        {"method": "prompt", "prompt": {"system": "Be brief."}},
        {"method": "prompt", "prompt": {"system": "짧게 답하세요."}},
    ),
    "prompt.few_shot": Case(
        {"method": "prompt", "prompt": {"few_shot": 2}},
        {"method": "prompt", "prompt": {"few_shot": 3}},
    ),
    "hyperparameters": Case({}, {"hyperparameters": {"num_train_epochs": 7}}),
    "seed": Case({}, {"seed": 7}),
    "data": Case({}, data(source(path="data/more.csv"))),
    "data.train": Case(data(), data(source(path="data/more.csv"))),
    "data.train.path": Case(data(), data(source(path="data/more.csv"))),
    "data.train.url": Case(
        *elsewhere("url", "http://127.0.0.1:9/one.csv", "http://127.0.0.1:9/two.csv")
    ),
    "data.train.sql": Case(
        *elsewhere("sql", "select q, a from faq", "select a as q, q as a from faq", **FAQ)
    ),
    "data.train.connection": Case(*elsewhere("connection", "FAQ_URL", "OTHER_URL", **SQL)),
    "data.train.hub": Case(*elsewhere("hub", "cafe/faq", "cafe/other")),
    "data.train.config": Case(*elsewhere("config", "ko", "en", **HUB)),
    "data.train.revision": Case(*elsewhere("revision", "1" * 40, "2" * 40, **HUB)),
    "data.train.split": Case(*elsewhere("split", "train", "test", **HUB)),
    "data.train.format": Case(data(source(format="csv")), data(source(format="jsonl"))),
    "data.train.encoding": Case(data(source(encoding="utf-8")), data(source(encoding="cp949"))),
    "data.train.delimiter": Case(data(), data(source(delimiter=";"))),
    "data.train.sheet": Case(
        data(source(path="data/book.xlsx")), data(source(path="data/book.xlsx", sheet="second"))
    ),
    "data.train.extract": Case(data({"path": "data/table.html", **CHAT}), data({**TABLE, **CHAT})),
    "data.train.chunk": Case(
        TEXT | data({"path": "data/prose.txt", "chunk": "line"}),
        TEXT | data({"path": "data/prose.txt", "chunk": "paragraph"}),
    ),
    "data.train.columns": Case(data(), data(source(columns={"user": "a", "assistant": "q"}))),
    "data.train.columns.user": Case(data(), data(source(columns={"user": "s", "assistant": "a"}))),
    "data.train.columns.assistant": Case(
        data(), data(source(columns={"user": "q", "assistant": "s"}))
    ),
    "data.train.columns.system": Case(
        data(), data(source(columns={"user": "q", "assistant": "a", "system": "s"}))
    ),
    "data.train.columns.chosen": Case(
        PAIRS | data(source(columns={"user": "q", "chosen": "a", "rejected": "s"})),
        PAIRS | data(source(columns={"user": "q", "chosen": "b", "rejected": "s"})),
    ),
    "data.train.columns.rejected": Case(
        PAIRS | data(source(columns={"user": "q", "chosen": "a", "rejected": "s"})),
        PAIRS | data(source(columns={"user": "q", "chosen": "a", "rejected": "b"})),
    ),
    "data.train.columns.label": Case(
        MARKED | data({"path": "data/marked.csv", "columns": {**CHAT["columns"], "label": "up"}}),
        MARKED | data({"path": "data/marked.csv", "columns": {**CHAT["columns"], "label": "q"}}),
    ),
    "data.train.columns.text": Case(
        TEXT | data({"path": "data/rows.csv", "columns": {"text": "q"}}),
        TEXT | data({"path": "data/rows.csv", "columns": {"text": "a"}}),
    ),
    "data.train.shape": Case(
        data({"path": "data/rows.jsonl"}),
        data({"path": "data/rows.jsonl", "shape": "alpaca"}),
    ),
    "data.train.quote": Case(
        data(source(path="data/quoted.csv")), data(source(path="data/quoted.csv", quote="none"))
    ),
    "data.train.header": Case(
        data(source(path="data/late.csv")), data(source(path="data/late.csv", header=2))
    ),
    "data.train.root": Case(
        data({"path": "data/rows.json"}), data({"path": "data/rows.json", "root": "rows"})
    ),
    "data.train.strip_end": Case(data(), data(source(strip_end=["0"]))),
    "data.train.ignore": Case(
        data({"path": "data/extra.jsonl"}), data({"path": "data/extra.jsonl", "ignore": ["label"]})
    ),
    "data.train.unusable": Case(
        data(source(path="data/empty.csv")), data(source(path="data/empty.csv", unusable="drop"))
    ),
    "data.train.where": Case(data(), data(source(where=["n >= 10"]))),
    "data.train.limit": Case(data(), data(source(limit=20))),
    "data.train.sample": Case(data(), data(source(sample={"examples": 20}))),
    "data.train.sample.examples": Case(
        data(source(sample={"examples": 30})), data(source(sample={"examples": 20}))
    ),
    "data.train.sample.fraction": Case(
        data(source(sample={"fraction": 0.9})), data(source(sample={"fraction": 0.6}))
    ),
    "data.train.sample.seed": Case(
        data(source(sample={"examples": 20})), data(source(sample={"examples": 20, "seed": 1}))
    ),
    "data.train.weight": Case(data(), data(source(weight=2))),
    "data.train.license": Case(data(), data(source(license="CC-BY-4.0"))),
    "data.train.sensitivity": Case(
        data(), data(source(sensitivity="private")), world={"remote": True}
    ),
    "data.held_out": Case(data(), data(held_out=[source(path="data/more.csv")])),
    "data.held_out.fraction": Case(held_out(), held_out(fraction=0.5)),
    "data.held_out.seed": Case(held_out(), held_out(seed=1)),
    "data.held_out.group_by": Case(held_out(), held_out(group_by="g")),
    "data.held_out.stratify_by": Case(held_out(), held_out(stratify_by="g")),
    "data.system": Case(data(), data(system="You are a barista.")),
    "data.prepare": Case(data(), prepare(deduplicate="off")),
    "data.prepare.strip_html": Case(data(), prepare(strip_html=True)),
    "data.prepare.collapse_whitespace": Case(data(), prepare(collapse_whitespace=True)),
    "data.prepare.drop_empty": Case(
        data(source(path="data/empty.csv")),
        data(source(path="data/empty.csv"), prepare={"drop_empty": True}),
    ),
    "data.prepare.deduplicate": Case(data(), prepare(deduplicate="off")),
    "data.prepare.similarity": Case(data(), prepare(similarity=0.6)),
    "data.prepare.pii": Case(data(), prepare(pii="mask")),
    "data.prepare.pii_regions": Case(prepare(pii="mask"), prepare(pii="mask", pii_regions=["FR"])),
    "data.prepare.max_tokens": Case(prepare(max_tokens=64), prepare(max_tokens=8)),
    "data.prepare.over_length": Case(
        prepare(max_tokens=12), prepare(max_tokens=12, over_length="drop")
    ),
    "data.license": Case(data(), data(license="CC-BY-4.0")),
    "data.sensitivity": Case(data(), data(sensitivity="private"), world={"remote": True}),
    "evaluation": Case({}, {"evaluation": {"max_tokens": 8}}),
    "evaluation.metrics": Case({}, {"evaluation": {"metrics": ["exact_match"]}}),
    **measures(),
    "evaluation.metrics.judge": Case({}, judge()),
    **{
        f"evaluation.metrics.judge.{key}": Case(judge(), judge(**{key: value}))
        for key, value in {
            "backend": "local-gpu",
            "model": "acme/other",
            "max_tokens": 64,
            "rubric": "kind",
            "scale": [0, 1],
            "against": "base",
        }.items()
    },
    "evaluation.metrics.judge.endpoint": Case(
        judge(backend="openai"), judge(backend="openai", endpoint="eu")
    ),
    "evaluation.metrics.human": Case({}, human()),
    "evaluation.metrics.human.sheet": Case(human(), human(sheet="data/other.csv")),
    "evaluation.metrics.human.scale": Case(human(), human(scale=[0, 1])),
    "evaluation.retain": Case({}, {"evaluation": {"retain": ["json"]}}),
    "evaluation.retain.name": Case(retain(), retain(name="other")),
    "evaluation.retain.path": Case(retain(), retain(path="data/more.csv")),
    "evaluation.retain.columns": Case(retain(), retain(columns={"user": "a", "assistant": "q"})),
    "evaluation.retain.metric": Case(retain(), retain(metric="accuracy")),
    "evaluation.compare_to": Case({}, {"evaluation": {"compare_to": []}}),
    "evaluation.compare_to.name": Case(rival(), rival(name="terra")),
    "evaluation.compare_to.backend": Case(rival(), rival(backend="local-gpu")),
    "evaluation.compare_to.endpoint": Case(
        rival(backend="openai"), rival(backend="openai", endpoint="eu")
    ),
    "evaluation.compare_to.model": Case(rival(), rival(model="acme/larger")),
    "evaluation.compare_to.prompt": Case(rival(), rival(prompt="짧게 답하세요.")),
    "evaluation.compare_to.few_shot": Case(rival(), rival(few_shot=4)),
    "evaluation.temperature": Case({}, {"evaluation": {"temperature": 0.7}}),
    "evaluation.group_by": Case({}, {"evaluation": {"group_by": "q"}}),
    "evaluation.slices": Case({}, {"evaluation": {"slices": ["label"]}}),
    "evaluation.max_tokens": Case({}, {"evaluation": {"max_tokens": 8}}),
    "gate": Case({}, {"gate": ["stop_rate >= 2"]}, recorded=True),
    "budget": Case({}, {"budget": {"max_usd": 1}}, world={"usd": (2.0, 3.0)}),
    "budget.max_usd": Case({}, {"budget": {"max_usd": 1}}, world={"usd": (2.0, 3.0)}),
    "budget.max_gpu_hours": Case({}, {"budget": {"max_gpu_hours": 1}}),
    "hardware": Case({}, {"hardware": {"gpus": 2}}),
    "hardware.gpus": Case({}, {"hardware": {"gpus": 2}}),
    "hardware.machine": Case({}, {"hardware": {"machine": "cluster"}}),
    "hardware.nodes": Case(
        {"hardware": {"machine": "cluster", "gpus": 2}},
        {"hardware": {"machine": "cluster", "gpus": 2, "nodes": 2}},
    ),
    "hardware.memory": Case(
        {"hardware": {"machine": "cluster"}},
        {"hardware": {"machine": "cluster", "memory": "64GB"}},
    ),
    "lifecycle": Case({}, {"lifecycle": {"suspend": True}}),
    "lifecycle.suspend": Case({}, {"lifecycle": {"suspend": True}}),
    "lifecycle.protect": Case({}, {"lifecycle": {"protect": True}}, recorded=True),
    "lifecycle.pin": Case({}, {"lifecycle": {"pin": "0000"}}),
}
SHOWN = {
    "description": Case({}, {"description": "An advisor for cafes."}, recorded=True),
    "owner": Case({}, {"owner": "growth@example.com"}, recorded=True),
    "labels": Case({}, {"labels": {"team": "growth"}}, recorded=True),
    "aliases": Case({}, {"aliases": ["ft:gpt-4o-mini:acme:faq:AbC"]}, recorded=True),
}
ELSEWHERE = frozenset(path for path in fields_of(Spec) if path.startswith("tracking"))
"""Sent with the job: `tests/backends/openai/test_every_setting.py`."""


def test_every_field_of_a_spec_has_a_case():
    # Sources are held out as they are trained on, but for their weight. What is retained is read
    # and scored as every source and every metric.
    equal = {
        r"^data\.held_out\.(?!fraction|seed|group_by|stratify_by)": "data.train.",
        r"^evaluation\.retain\.columns\.": "data.train.columns.",
        r"^evaluation\.retain\.metric\.": "evaluation.metrics.",
        r"^evaluation\.metrics\.\w+\.name$": "evaluation.metrics.exact_match.name",
    }
    found = set(fields_of(Spec))
    for pattern, other in equal.items():
        found = {re.sub(pattern, other, one) for one in found}
    assert found == SPEC.keys() | SHOWN.keys() | ELSEWHERE


def write_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table faq (q text, a text)")
        values = [(f"q{n}", f"a{n}") for n in range(40)]
        database.executemany("insert into faq values (?, ?)", values)
        database.commit()


def write_tables(repo) -> None:
    rows = "q,a,s,b,n,g\n" + "".join(
        f"<b>q{n}</b>  {MAIL if n == 7 else ''},answer number {n},s{n},b{n},{n},{n % 5}\n"
        for n in range(40)
    )
    repo.write("finetunes/data/rows.csv", rows + "same,same,s,b,1,1\n" * 3)
    repo.write("finetunes/data/quoted.csv", rows.replace("answer number", '"answer"'))
    objects = "".join(f'q{n},"{{""a"": {n}}}"\n' for n in range(40))
    repo.write("finetunes/data/json.csv", f"q,a\n{objects}")
    marked = "".join(f"q{n},a{n},{n % 2}\n" for n in range(40))
    repo.write("finetunes/data/marked.csv", f"q,a,up\n{marked}")
    repo.write("finetunes/data/one.json", '{"type": "object"}')
    repo.write("finetunes/data/two.json", '{"type": "array"}')
    for name in ("one", "two"):
        text = f"defaultTest: {{assert: [{{type: equals, value: {name}}}]}}"
        repo.write(f"finetunes/data/{name}.yaml", text)
    repo.write("finetunes/data/late.csv", f"q,a,s,b,n,g\n{rows}")
    repo.write("finetunes/data/more.csv", rows.replace("<b>q", "other q"))
    repo.write("finetunes/data/empty.csv", f"{rows},,s,b,1,1\n")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        repo.write(f"models/tiny/{name}", "{}")


def write_other_forms(repo) -> None:
    lines = (
        {"prompt": f"p{n}", "completion": f"c{n}", "instruction": f"i{n}", "output": "o"}
        for n in range(40)
    )
    repo.write("finetunes/data/rows.jsonl", "".join(json.dumps(one) + "\n" for one in lines))
    chats = [
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(40)
    ]
    extra = (json.dumps({**chat, "label": n % 2 == 0}) for n, chat in enumerate(chats))
    repo.write("finetunes/data/extra.jsonl", "\n".join(extra))
    repo.write("finetunes/data/rows.json", json.dumps({"rows": chats, "others": chats[:1]}))
    cells = "".join(f"<tr><td>q{n}</td><td>a{n}</td></tr>" for n in range(40))
    table = f"<table><tr><th>q</th><th>a</th></tr>{cells}</table>"
    repo.write("finetunes/data/table.html", f"<html><body>{table}</body></html>")
    repo.write("finetunes/data/prose.txt", "\n\n".join(f"One {n}.\nTwo {n}." for n in range(40)))
    sheets = {
        name: [["q", "a"], *([f"q{n}", f"a{n}"] for n in range(start, start + 40))]
        for name, start in (("first", 0), ("second", 100))
    }
    write_xlsx(repo.root / "finetunes/data/book.xlsx", sheets)


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


@pytest.mark.parametrize("path", SPEC)
def test_another_value_changes_something_or_is_refused(path, repo, observed):
    case = SPEC[path]
    if case.recorded:
        repo.declare(**{**data(), **case.before})
        repo.settle()
    before, after = observed(case, case.before), observed(case, case.after)
    assert before != after


@pytest.mark.parametrize("path", SHOWN)
@pytest.mark.usefixtures("observed")
def test_what_is_for_people_is_shown_to_people(path, repo, capsys):
    case = SHOWN[path]
    repo.declare(**{**data(), **case.before})
    repo.settle()

    def shown() -> str:
        texts = []
        for arguments in (["show", "faq"], ["status", "--label", "team=growth", "--json"]):
            assert run(["--dir", str(repo.root), *arguments]) == 0
            texts.append(capsys.readouterr().out)
        return "".join(texts)

    before = shown()
    repo.declare(**{**data(), **case.after})
    assert shown() != before


_HPC = "machines: {hpc: {launcher: slurm, partition: gpu, runs: /shared}}"
SETTINGS: dict[str, tuple[str, str]] = {
    "serve": ("{}", "serve: {base_models: [../models/tiny]}"),
    "serve.base_models": ("{}", "serve: {base_models: [../models/tiny]}"),
    "serve.shutdown_dates": ("{}", "serve: {shutdown_dates: {tiny: 2027-01-14}}"),
    "serve.hardware": ("{}", "serve: {hardware: {gpus: 2}}"),
    "serve.hardware.gpus": ("{}", "serve: {hardware: {gpus: 2}}"),
    "serve.hardware.machine": (_HPC, f"{_HPC}\nserve: {{hardware: {{machine: hpc}}}}"),
    "serve.hardware.nodes": (
        f"{_HPC}\nserve: {{hardware: {{machine: hpc, gpus: 2}}}}",
        f"{_HPC}\nserve: {{hardware: {{machine: hpc, gpus: 2, nodes: 2}}}}",
    ),
    "serve.hardware.memory": (
        f"{_HPC}\nserve: {{hardware: {{machine: hpc}}}}",
        f"{_HPC}\nserve: {{hardware: {{machine: hpc, memory: 64GB}}}}",
    ),
    "budget": ("{}", "budget: {max_usd: 1}"),
    "budget.max_usd": ("{}", "budget: {max_usd: 1}"),
    "budget.approve_above_usd": ("{}", "budget: {approve_above_usd: 1}"),
    "lockfile": ("{}", "lockfile: {branch: records}"),
    "lockfile.branch": ("{}", "lockfile: {branch: records}"),
    "policies": ("{}", "policies: {require_license: true}"),
    "policies.require_license": ("{}", "policies: {require_license: true}"),
    "policies.licenses": ("policies: {licenses: [MIT]}", "policies: {licenses: [CC0-1.0]}"),
    **machine_cases(),
    "store": ("{}", "store: {url: ../a}"),
    "store.url": ("store: {url: ../a}", "store: {url: ../b}"),
    "store.private": ("store: {url: ../a}", "store: {url: ../a, private: true}"),
    "tracking": ("{}", "tracking: {trackio: {project: a}}"),
    "tracking.mlflow": ("{}", "tracking: {mlflow: {experiment: a}}"),
    "tracking.mlflow.experiment": (
        "tracking: {mlflow: {experiment: a}}",
        "tracking: {mlflow: {experiment: b}}",
    ),
    "tracking.mlflow.tracking_uri": (
        "tracking: {mlflow: {experiment: a}}",
        "tracking: {mlflow: {experiment: a, tracking_uri: 'http://m:5000'}}",
    ),
    "tracking.wandb": ("{}", "tracking: {wandb: {project: a}}"),
    "tracking.wandb.project": (
        "tracking: {wandb: {project: a}}",
        "tracking: {wandb: {project: b}}",
    ),
    "tracking.wandb.entity": (
        "tracking: {wandb: {project: a}}",
        "tracking: {wandb: {project: a, entity: acme}}",
    ),
    "tracking.tensorboard": ("{}", "tracking: {tensorboard: {folder: a}}"),
    "tracking.tensorboard.folder": (
        "tracking: {tensorboard: {folder: a}}",
        "tracking: {tensorboard: {folder: b}}",
    ),
    "tracking.trackio": ("{}", "tracking: {trackio: {project: a}}"),
    "tracking.trackio.project": (
        "tracking: {trackio: {project: a}}",
        "tracking: {trackio: {project: b}}",
    ),
}


@pytest.mark.parametrize("path", [path for path in SETTINGS if path.startswith("machines")])
def test_a_backend_learns_the_machines_that_the_settings_declare(path, repo):
    """`tests/backends/local_gpu/machines` places jobs by them."""
    seen = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        seen.append(machines_of(load_settings(repo.root).machines))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("path", [path for path in SETTINGS if path.startswith("serve.hardware")])
def test_jobs_of_clients_run_on_what_the_settings_say(path, repo):
    """`tests/controller/server/test_machines.py` places one."""
    asked = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        asked.append(load_settings(repo.root).serve.hardware.asked)
    assert asked[0] != asked[1]


def test_every_setting_of_a_repository_has_a_case():
    """But for what servers are asked with: `tests/backends/openai/test_every_setting.py`."""
    found = {path for path in fields_of(Settings) if not path.startswith("endpoints")}
    assert found == SETTINGS.keys()


@pytest.mark.parametrize(
    "path", [path for path in SETTINGS if path.partition(".")[0] in {"budget", "policies"}]
)
def test_another_setting_changes_the_plan(path, repo, observed):
    seen = []
    licensed = data(source(license="MIT")) if path == "policies.licenses" else {}
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        seen.append(observed(Case(world={"usd": (2.0, 3.0)}), licensed))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("path", ["serve", "serve.base_models"])
def test_what_is_served_is_what_the_settings_name(path, repo):
    served = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        served.append([public_id(one) for one in load_settings(repo.root).serve.base_models])
    assert served == [[], ["tiny"]]


def test_what_ends_is_what_the_settings_name(repo):
    """`tests/controller/server/test_models.py` reads the dates at the server."""
    served = []
    for text in SETTINGS["serve.shutdown_dates"]:
        repo.write("ftctl.yaml", text)
        served.append(load_settings(repo.root).serve.shutdown_dates)
    assert served == [{}, {"tiny": "2027-01-14"}]


@pytest.mark.parametrize("path", ["lockfile", "lockfile.branch"])
def test_the_lockfile_is_where_the_settings_say(path, repo):
    """`tests/workflows` has CI push it there."""
    read = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        read.append(records_branch(repo.root))
    assert read == [None, "records"]


@pytest.mark.parametrize("path", [path for path in SETTINGS if path.startswith("store")])
@pytest.mark.usefixtures("observed")
def test_another_store_gets_other_models(path, repo):
    """A model of private data, which only a store that is marked private gets."""
    repo.declare(**data(sensitivity="private" if path == "store.private" else "internal"))
    repo.settle()
    for name in ("a", "b"):
        (repo.root.parent / name).mkdir()
    stored = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        settings = load_settings(repo.root).store
        for name, build in named_builds(repo.lockfile.finetunes) if settings else ():
            if privacy_of(repo.project, settings).refusal(name, build) is None:
                store = ModelStore(project=repo.project, settings=settings)
                push_build(store, build, repo.backend, unreported)
        found = repo.root.parent.glob("[ab]/builds/*/*")
        stored.append(sorted({one.parents[2].name for one in found}))
    assert stored[0] != stored[1]


@pytest.mark.parametrize("path", [path for path in SETTINGS if path.startswith("tracking")])
def test_another_setting_of_a_tracker_reaches_its_library(path, repo):
    """`tests/controller/track/test_sinks.py` reads back what the libraries do with it."""
    seen = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        seen.append(list(targets_of(load_settings(repo.root).tracking, {})))
    assert seen[0] != seen[1]


LOCAL = {
    "finetuning_type": "full",
    "num_train_epochs": 5,
    "learning_rate": 1e-5,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
    "weight_decay": 0.1,
    "max_grad_norm": 0.5,
    "dtype": "float32",
    "gradient_checkpointing": "on",
    "packing": True,
    "max_tokens_per_batch": 4096,
    "optim": "adamw_8bit",
    "quantization": "nf4",
    "use_dora": True,
    "loraplus_lr_ratio": 16.0,
    "chat_template": "chatml",
    "thinking": "on",
    "max_length": 64,
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "use_rslora": False,
    "target_modules": ["q_proj"],
    "target_parameters": ["experts.down_proj"],
    "exclude_modules": ["k_proj"],
    "layers_to_transform": [1],
    "modules_to_save": ["lm_head"],
    "beta": 0.3,
    "loss_type": "ipo",
    "desirable_weight": 1.5,
    "undesirable_weight": 1.5,
    "max_steps": 7,
    "eval_steps": 7,
    "early_stopping": {"patience": 2},
    "early_stopping.patience": 2,
    "early_stopping.min_delta": 0.5,
}
METHODS_OF = {"max_length": "continued-pretraining", "beta": "dpo", "loss_type": "dpo"}
METHODS_OF |= dict.fromkeys(("desirable_weight", "undesirable_weight"), "kto")


def test_every_local_hyperparameter_has_a_case():
    models = (one for one in vars(local).values() if isinstance(one, type))
    own = [one for one in models if issubclass(one, BaseModel) and one is not BaseModel]
    known = {name.rpartition(".")[2] for name in LOCAL}
    assert {name for model in own for name in model.model_fields} == known


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_hyperparameter_is_part_of_the_identity_and_read_by_the_trainer(name):
    method = METHODS_OF.get(name, "supervised")
    outer, _, name = name.rpartition(".")
    written = {name: LOCAL[f"{outer}.{name}" if outer else name]}
    before, after = ({outer: {}}, {outer: written}) if outer else ({}, written)
    assert local.parse(method, after) != local.parse(method, before)
    folder = ROOT / "backends/local_gpu"
    readers = [path for path in folder.rglob("*.py") if path.name != "hyperparameters.py"]
    assert any(f'"{name}"' in path.read_text() for path in readers), "nothing reads it"
