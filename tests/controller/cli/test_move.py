"""`ftctl move`: real specs and lockfiles; no server is asked, and nothing is written by halves."""

import json

import pytest

from controller.lockfile.model import Lockfile, dump_lockfile
from tests.servers.silent_backends import entry

HOSTED = "gpt-4.1-mini-2025-04-14"
TINY = "../models/tiny"
SPEC = f"""\
# 상담 분류: 누구에게 보낼까
backend: 'openai'   # until January
base_model: "{HOSTED}"
owner: 김카페
data:
  train: [{{path: data/faq.jsonl}}]
  held_out: {{fraction: 0.25}}
hyperparameters:
  n_epochs: 3   # 세 번
  batch_size: auto
  learning_rate_multiplier: 2
tracking: {{wandb: {{project: cafe}}}}
evaluation:
  metrics: [accuracy]
"""
LOCAL = ("--to", "local-gpu", "--base_model", TINY)


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def chats(count, more=()):
    lines = [
        {"messages": [said("user", f"문의 {number}"), said("assistant", f"답 {number}")]}
        for number in range(count)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [*lines, *more])


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fleet(shell):
    """Return a function that declares fine-tunes with a model in production at OpenAI."""

    def make(rows=None, **specs):
        shell.write("finetunes/data/faq.jsonl", rows or chats(40))
        entries = {}
        for number, (name, text) in enumerate(specs.items(), start=1):
            shell.write(f"finetunes/{name}.yaml", text)
            made = entry("openai", number).model_copy(update={"job": None})
            (build,) = made.builds.values()
            chosen = {"resolved_hyperparameters": {"batch_size": 2, "n_epochs": 3}}
            build = build.model_copy(update={"facts": chosen})
            entries[name] = made.model_copy(update={"builds": {build.fingerprint: build}})
        shell.write("finetunes/ftctl.lock", dump_lockfile(Lockfile(finetunes=entries)))
        return shell

    return make


def spec_of(shell, name="faq"):
    return (shell.root / "finetunes" / f"{name}.yaml").read_text("utf-8")


def test_the_whole_edit(fleet, golden):
    shell = fleet(faq=SPEC)
    code, text = shell("move", "faq", *LOCAL)
    assert code == 0
    golden("move/hosted-to-local.txt", text)
    golden("move/hosted-to-local.yaml", spec_of(shell))
    # The next plan agrees, and shows a move.
    code, plan = shell("plan")
    assert code == 0
    assert "# faq will move from openai to local-gpu" in plan
    assert "implied" not in plan
    assert shell("move", "faq", *LOCAL)[1] == "There already: faq.\nNothing to move.\n"


def test_a_dry_run_writes_nothing(fleet):
    shell = fleet(faq=SPEC)
    code, text = shell("move", "faq", *LOCAL, "--dry-run")
    assert code == 0
    assert "+backend: local-gpu   # until January" in text
    assert text.endswith("Nothing was written. Without --dry-run, 1 spec would be edited.\n")
    assert spec_of(shell) == SPEC


def test_the_output_for_programs(fleet):
    shell = fleet(faq=SPEC)
    code, value = shell.json("move", "faq", *LOCAL)
    assert code == 0
    assert value["written"] is True
    (moved,) = value["moves"]
    assert moved["from"] == {"backend": "openai", "base_model": HOSTED}
    assert moved["to"] == {"backend": "local-gpu", "base_model": TINY}
    assert {one["key"]: one["becomes"] for one in moved["translated"]} == {
        "n_epochs": {"num_train_epochs": 3},
        "batch_size": {"per_device_train_batch_size": 2},
        "learning_rate_multiplier": {"learning_rate": 0.0004},
    }
    assert [one["key"] for one in moved["not_translated"]] == ["tracking.wandb"]
    assert moved["gate"] == ["accuracy >= production.accuracy - 0.02"]
    assert moved["answers_missing"] > 0
    assert moved["diff"].startswith("--- a/finetunes/faq.yaml\n")


def test_all_moves_what_is_elsewhere(fleet):
    there = "backend: local-gpu\nbase_model: ../models/other\n" + SPEC.partition('"\n')[2]
    there = there.partition("hyperparameters")[0]
    shell = fleet(faq=SPEC, tea=SPEC, here=there)
    code, text = shell("move", "--all", *LOCAL)
    assert code == 0, text
    assert "There already: here." in text
    assert "Edited 2 specs." in text
    assert spec_of(shell, "here") == there
    for name, number in (("faq", 1), ("tea", 2)):
        assert f"aliases: [ft:model:{number}]\n" in spec_of(shell, name)


def test_there_and_back(fleet):
    shell = fleet(faq=SPEC)
    shell("move", "faq", *LOCAL)
    code, text = shell("move", "faq", "--to", "openai", "--base_model", HOSTED)
    assert code == 0, text
    back = spec_of(shell)
    assert "  n_epochs: 3   # 세 번\n  batch_size: 2\n  learning_rate_multiplier: 2.0\n" in back
    assert f"backend: openai   # until January\nbase_model: {HOSTED}\n" in back
    assert back.count("aliases:") == 1


def test_between_endpoints(fleet):
    shell = fleet(faq=SPEC)
    shell.write("ftctl.yaml", "endpoints: {eu: {kind: nebius, api_key_env: NEBIUS}}\n")
    code, text = shell("move", "faq", "--to", "openai@eu", "--base_model", "Qwen/Qwen3-14B")
    assert code == 0, text
    assert "learning_rate_multiplier: 2 -> learning_rate: 2e-05" in text
    new = spec_of(shell)
    assert "backend: 'openai'   # until January\nendpoint: eu\nbase_model: Qwen/Qwen3-14B\n" in new
    assert "tracking" not in new
    assert "will move from openai to openai@eu" in shell("plan")[1]


def test_models_that_are_asked_stay_where_they_are(fleet):
    more = (
        "  compare_to:\n    - base\n    - {name: luna, model: gpt-6-luna, few_shot: 2}   # 그대로\n"
    )
    judge = "  metrics: [accuracy, {judge: {model: gpt-6, rubric: kind}}]\n"
    text = SPEC.replace("  metrics: [accuracy]\n", judge + more)
    shell = fleet(faq=text)
    code, out = shell("move", "faq", *LOCAL)
    assert code == 0, out
    new = spec_of(shell)
    assert "{name: luna, model: gpt-6-luna, few_shot: 2, backend: openai}   # 그대로" in new
    assert "{judge: {model: gpt-6, rubric: kind, backend: openai}}" in new
    assert "    - production\n" in new
    assert "luna is still asked at openai" in out


# --- what is refused, all at once, and before anything is written ------------------------------

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
HELD = [
    # Weights and the developer's role are read here as they were there.
    {
        "messages": [
            said("developer", "be kind"),
            said("user", "q"),
            said("assistant", "no", weight=0),
            said("user", "q again"),
            said("assistant", "yes", weight=1),
        ]
    },
    {"messages": [said("user", [{"type": "text", "text": "q"}, IMAGE]), said("assistant", "a")]},
    {
        "messages": [
            said("user", "q"),
            {"role": "assistant", "tool_calls": [CALL]},
            said("tool", "x", tool_call_id="c1"),
            said("assistant", "a"),
        ],
        "tools": [TOOL],
    },
]


def test_data_that_the_new_home_does_not_read_is_refused_at_once(fleet):
    graded = SPEC.replace("data:", "method: reinforcement\ndata:")
    nothing = SPEC.replace("  metrics: [accuracy]\n", "  max_tokens: 9\n")
    shell = fleet(rows=chats(40, HELD), faq=SPEC, graded=graded)
    shell.write("finetunes/data/plain.jsonl", chats(40))
    more = nothing.replace("faq.jsonl", "plain.jsonl")
    shell.write("finetunes/other.yaml", more)
    code, text = shell("move", "faq", "graded", *LOCAL)
    assert code == 1
    assert "finetunes/data/faq.jsonl:42: a message contains an image" in text
    assert "finetunes/data/faq.jsonl:43: the base model's chat template does not show calls" in text
    assert (
        "finetunes/graded.yaml:5: method: the local-gpu backend does not do reinforcement" in text
    )
    assert "Move it to an endpoint that trains reinforcement" in text
    assert "3 problems in 2 files. Nothing was done." in text
    assert (spec_of(shell), spec_of(shell, "graded")) == (SPEC, graded)


def test_a_move_that_nothing_judges_is_refused(fleet):
    shell = fleet(faq=SPEC.replace("  metrics: [accuracy]\n", "  max_tokens: 9\n"))
    code, text = shell("move", "faq", *LOCAL)
    assert code == 1
    assert "gate: nothing can judge the move from openai to local-gpu" in text
    assert "Add a metric, such as `evaluation: {metrics: [exact_match]}`" in text
    assert "local-gpu" not in spec_of(shell)


def test_a_gate_on_a_loss_that_the_service_does_not_measure_is_refused(fleet):
    asked = "  metrics: [accuracy]\n  compare_to: [base, production]\n"
    gate = "gate: [held_out_loss <= production.held_out_loss]\n"
    shell = fleet(faq=SPEC.replace("  metrics: [accuracy]\n", asked) + gate)
    code, text = shell("move", "faq", *LOCAL)
    assert code == 1
    assert "finetunes/faq.yaml:16: gate[0]: openai measures no held_out_loss, so" in text
    assert "local-gpu" not in spec_of(shell)


@pytest.mark.parametrize(
    ("written", "remark"),
    [
        ("gate: []\n", "! the spec has `gate: []`: whatever is trained goes into production"),
        ("gate: [accuracy >= 0.5]\n", "! the gate stays as it is, and does not compare"),
    ],
)
def test_a_gate_that_is_written_stays(fleet, written, remark):
    shell = fleet(faq=SPEC + written)
    code, text = shell("move", "faq", *LOCAL)
    assert code == 0
    assert remark in text
    assert written in spec_of(shell)
    assert "compare_to" not in spec_of(shell)


def test_a_base_model_that_another_machine_may_have_is_written_and_told(fleet):
    shell = fleet(faq=SPEC)
    code, text = shell("move", "faq", "--to", "local-gpu", "--base_model", "Qwen/Qwen3-4B")
    assert code == 0
    assert "! the data was not checked for local-gpu: the hub does not answer" in text
    assert "base_model: Qwen/Qwen3-4B\n" in spec_of(shell)
    # What is recorded of the held-out set decides the gate.
    assert "accuracy >= production.accuracy - 0.02\n" in spec_of(shell)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["faq", "--to", "local-gpu"], f"base_model: the hub does not answer about {HOSTED}"),
        (["faq", "--to", "local-gpu", "--base_model", "../models/none"], "base_model: "),
        (["faq", "--to", "local-gqu"], "no backend is called 'local-gqu'"),
        (["faq", "--to", "openai@eu"], "no endpoint is called 'eu'"),
        (["faq", "--to", "openai@"], "is not BACKEND or BACKEND@ENDPOINT"),
        (["fag", "--to", "local-gpu"], "no fine-tune is called fag"),
        (["--to", "local-gpu"], "name the fine-tunes to move, or type --all"),
        (["faq", "--all", "--to", "local-gpu"], "name the fine-tunes to move, or type --all"),
        (["faq", "--to", "local-gpu", "--base_model", ""], "--base_model is empty"),
    ],
)
def test_what_cannot_be(fleet, arguments, message):
    shell = fleet(faq=SPEC)
    code, text = shell("move", *arguments)
    assert code == 1
    assert message in text
    assert spec_of(shell) == SPEC


def test_a_form_that_cannot_be_edited_alone_is_left_to_a_person(fleet):
    # The anchor would go with the text that is replaced.
    text = SPEC.replace('base_model: "', 'base_model: &m "').replace("owner: 김카페", "owner: *m")
    shell = fleet(faq=text)
    code, out = shell("move", "faq", *LOCAL)
    assert code == 1
    reason = "cannot be edited in place: is not YAML: found undefined alias"
    assert f"finetunes/faq.yaml:2: {reason}" in out
    assert "by hand" in out
    assert spec_of(shell) == text


def test_a_broken_spec_is_reported_and_nothing_is_written(fleet):
    shell = fleet(faq=SPEC, tea="backend: [\n")
    code, text = shell("move", "--all", *LOCAL)
    assert code == 1
    assert "finetunes/tea.yaml" in text
    assert spec_of(shell) == SPEC
