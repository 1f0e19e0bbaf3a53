"""Metrics that do not fit the data: refused or warned of in the plan, before anyone pays."""

import json
import sys

import pytest

from backends.contract.completions import Completion
from controller.errors import InvalidInput
from controller.plan.actions import Blocked, Evaluate, Train
from controller.resolve.check_metrics import check_metrics
from tests.specs import load_specs

LABELS = ["환불", "교환", "배송"]
LONG = "안녕하세요, 고객님. 주문하신 상품 {0}번은 내일 오전에 도착할 예정입니다."


def table(answers) -> str:
    return "question,answer\n" + "".join(f'질문 {n}?,"{one}"\n' for n, one in enumerate(answers))


@pytest.fixture
def declare(repo):
    """Return a function that declares a fine-tune with training and held-out answers."""

    def declared(metrics, train, held_out, **changes) -> None:
        repo.write("finetunes/data/train.csv", table(train))
        repo.write("finetunes/data/held.csv", "\n" + table(f"{one}" for one in held_out))
        columns = {"user": "question", "assistant": "answer"}
        data = {
            "train": [{"path": "data/train.csv", "columns": columns}],
            "held_out": [{"path": "data/held.csv", "columns": columns}],
        }
        repo.declare(data=data, evaluation={"metrics": metrics}, **changes)

    return declared


def refused(repo) -> list[tuple[str, str, str]]:
    (blocked,) = repo.planned().plan.actions
    assert isinstance(blocked, Blocked)
    return [(one.field, one.message, one.remedy) for one in blocked.problems]


def warnings(repo) -> list[str]:
    actions = repo.planned().plan.actions
    assert isinstance(actions[0], Train)
    return [one for action in actions for one in getattr(action, "warnings", ())]


def test_numbers_are_needed_where_numbers_are_measured(repo, declare):
    declare(["exact_match", "numeric"], ["1", "2"] * 10, ["7", "3만 원", "없음", "모름"])
    assert refused(repo) == [
        (
            "evaluation.metrics[1]",
            "numeric needs a number in every expected answer: finetunes/data/held.csv:5 has none",
            "Correct the row, or measure its answers by another metric.",
        )
    ]


def test_json_is_needed_where_a_field_is_measured(repo, declare):
    declare([{"json_field": {"field": "a"}}], ["네"] * 20, ["{}", "네"])
    ((field, message, _),) = refused(repo)
    assert field == "evaluation.metrics[0]"
    assert message.startswith("json_field needs JSON in every expected answer: ")


def test_all_metrics_that_do_not_fit_are_refused_at_once(repo, declare):
    metrics = ["tool_calls", {"f1": {"label": "환블", "name": "f1_refund"}}, "f1_macro"]
    declare(metrics, LABELS * 8, LABELS)
    assert refused(repo) == [
        (
            "evaluation.metrics[0]",
            "tool_calls needs tool calls, and no held-out example expects one",
            "Remove it.",
        ),
        (
            "evaluation.metrics[1]",
            "f1_refund has the label 환블, which no held-out example expects",
            "Use one of: 환불, 교환, 배송.",
        ),
    ]


def test_what_fits_is_planned_without_a_word(repo, declare):
    declare(["f1_macro", "accuracy", {"recall": {"label": "환불"}}], LABELS * 8, LABELS)
    assert warnings(repo) == []


def test_labels_that_were_never_trained_on_are_named(repo, declare):
    declare(["accuracy"], ["환불 ", "REFUND"] * 10, ["환불", "refund", "교환", "배송"])
    assert "held-out labels that no training example has: 교환, 배송" in warnings(repo)
    declare(["accuracy"], ["환불"] * 20, [f"분류 {n}" for n in range(8)])
    (warning,) = [one for one in warnings(repo) if "no training example" in one]
    assert warning.endswith(": 분류 0, 분류 1, 분류 2, 분류 3, 분류 4 and 3 more")


def test_free_texts_are_not_labels(repo, declare):
    texts = [LONG.format(number) for number in range(24)]
    declare(["f1_macro", "chrf"], texts[:16], texts[16:])
    (warning,) = [one for one in warnings(repo) if "not labels" in one]
    assert warning == (
        "8 of 8 held-out answers are different texts, not labels, so f1_macro will be low; "
        "chrf and rouge_l compare texts"
    )
    declare(["exact_match", "chrf"], texts[:16], texts[16:])
    assert not any("not labels" in one for one in warnings(repo))


def test_chinese_and_japanese_texts_without_blanks_are_not_labels(repo, declare):
    texts = ["您好" + "您的订单明天上午会送到请您留意电话" * 3 + str(n) for n in range(24)]
    declare(["accuracy"], texts[:16], texts[16:])
    assert any("not labels" in one for one in warnings(repo))


def test_a_recorded_evaluation_is_not_checked_again(repo, declare, monkeypatch):
    declare(["accuracy"], LABELS * 8, LABELS, gate=[])
    repo.use(answer=lambda *_: Completion(text="환불", finish_reason="stop"))
    repo.settle()
    assert repo.lockfile.finetunes["faq"].builds
    read = []
    monkeypatch.setattr("controller.resolve.check_metrics._answers", read.append)
    assert repo.planned().plan.actions == ()
    assert read == []


def test_a_metric_added_later_is_checked_too(repo, declare):
    declare(["accuracy"], LABELS * 8, LABELS, gate=[])
    repo.settle()
    declare(["accuracy", "numeric"], LABELS * 8, LABELS, gate=[])
    ((_, message, _),) = refused(repo)
    assert message.startswith("numeric needs a number")
    declare(["accuracy", "chrf"], LABELS * 8, LABELS, gate=[])
    assert any(isinstance(one, Evaluate) for one in repo.planned().plan.actions)


SPEC = """\
backend: scripted
base_model: acme/base
data: {train: [{path: a.jsonl}], held_out: {fraction: 0.1}}
evaluation:
  metrics:
    - json_schema: {file: order.json}
"""


RETAINED = """\
  retain:
    - {name: old, path: old.jsonl, metric: {json_schema: {inline: {type: objekt}}}}
"""


@pytest.fixture
def loaded(tmp_path):
    """Return a function that reads a spec with a schema in a file."""

    def load(schema, more=""):
        folder = tmp_path / "finetunes"
        folder.mkdir(exist_ok=True)
        (folder / "order.json").write_text(json.dumps(schema), encoding="utf-8")
        (folder / "cafe.yaml").write_text(SPEC + more, encoding="utf-8")
        return load_specs(tmp_path)["cafe"]

    return load


def test_a_wrong_schema_is_told_with_its_line(loaded):
    assert list(check_metrics(loaded({"type": "object"}))) == []
    (problem,) = check_metrics(loaded({"type": "objekt"}))
    assert (problem.line, problem.field) == (6, "evaluation.metrics[0]")
    assert problem.message.startswith("not a JSON Schema: ")
    _, problem = check_metrics(loaded({"type": "objekt"}, RETAINED))
    assert (problem.line, problem.field) == (8, "evaluation.retain[0]")
    with pytest.raises(InvalidInput, match=r"evaluation\.metrics\[0\].*must hold a JSON object"):
        loaded([])


def test_without_the_extra_the_plan_says_what_to_install(loaded, monkeypatch):
    monkeypatch.delitem(
        sys.modules, "controller.evaluate.metrics.structured.schema_checker", raising=False
    )
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    (problem,) = check_metrics(loaded({"type": "object"}))
    assert problem.message == "json_schema needs the package jsonschema_rs"
    assert "[evaluate]" in problem.remedy
