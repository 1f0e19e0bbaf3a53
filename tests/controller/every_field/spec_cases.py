"""Two specs for every field of a spec, which differ in that field."""

from dataclasses import dataclass, field

from controller.spec.model import Spec
from tests.controller.every_field.fields import fields_of

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


SQL = {"sql": "select q, a from faq"}
FAQ = {"connection": "FAQ_URL"}
PAIRS = {"backend": "openai", "base_model": "gpt-4.1-mini-2025-04-14", "method": "dpo"}
HUB = {"hub": "cafe/faq"}
TABLE = {"path": "data/table.html", "extract": "tables"}
TEXT = {"method": "continued-pretraining", "backend": "local-gpu", "base_model": "../models/tiny"}
MARKED = TEXT | {"method": "kto"}
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
