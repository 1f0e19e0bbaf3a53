"""`ftctl evaluate`: the newest scoring, on request, and nothing of it without one."""

import json
import shutil

import pytest

from controller.plan.fingerprint import EVALUATION_SCHEME, fingerprint

pytestmark = pytest.mark.usefixtures("installed")

TOOL = {"type": "function", "function": {"name": "book", "parameters": {"type": "object"}}}
SPEC = """\
backend: scripted
base_model: acme/base
data: {train: [{path: data/calls.jsonl}], held_out: {fraction: 0.25}}
evaluation: {metrics: [exact_match], compare_to: [base, production]}
gate: ["exact_match >= 0.5"]
"""


def row(number: int):
    function = {"name": "book", "arguments": json.dumps({"day": number})}
    call = {"id": f"call_{number}", "type": "function", "function": function}
    return {
        "messages": [
            {"role": "user", "content": f"{number}일에 예약해 주세요."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        "tools": [TOOL],
    }


@pytest.fixture
def recorded(shell):
    """Return a repository whose production was measured by version 1 of scoring."""
    lines = [json.dumps(row(number), ensure_ascii=False) for number in range(24)]
    shell.write("finetunes/data/calls.jsonl", "\n".join(lines))
    shell.write("finetunes/faq.yaml", SPEC)
    assert shell("apply", "--auto-approve")[0] == 0
    edit(shell, first_version)
    return shell


def edit(shell, change) -> None:
    path = shell.root / "finetunes/ftctl.lock"
    lockfile = json.loads(path.read_text())
    change(lockfile["finetunes"]["faq"])
    path.write_text(json.dumps(lockfile))


def build_of(entry):
    (build,) = entry["builds"].values()
    return build


def first_version(entry) -> None:
    evaluation = build_of(entry)["evaluation"]
    assert evaluation["inputs"].pop("version") == 2
    evaluation["fingerprint"] = fingerprint(EVALUATION_SCHEME, evaluation["inputs"])


def blocked(entry) -> None:
    """Let the build be a candidate that scored 0, because its calls were compared as text."""
    build = build_of(entry)
    build["evaluation"]["scores"]["candidate"]["exact_match"] = 0.0
    build["verdict"] = {
        "passed": False,
        "gate": ["exact_match >= 0.5"],
        "failures": ["exact_match >= 0.5: exact_match is 0"],
    }
    entry["candidate"] = entry.pop("production")


def evaluation_of(shell):
    return build_of(shell.json("show", "faq")[1])["evaluation"]


def test_an_upgrade_measures_nothing_and_says_so_in_one_line(recorded):
    code, text = recorded("plan", "--detailed-exitcode")
    assert code == 0
    first, note = text.splitlines()
    assert first == "No changes. The one fine-tune matches its spec."
    assert note.startswith("Note: faq: scores of version 1 stand; version 2 may")
    assert note.endswith("compared as calls. To measure again: ftctl evaluate faq")
    before = (recorded.root / "finetunes/ftctl.lock").read_bytes()
    assert recorded("apply", "--auto-approve")[0] == recorded("reconcile")[0] == 0
    assert (recorded.root / "finetunes/ftctl.lock").read_bytes() == before


def test_production_is_measured_again_on_request(recorded):
    code, text = recorded("evaluate", "faq")
    assert code == 0, text
    assert '~ finetune "faq" (scripted, base acme/base)' in text
    assert "asks = nobody: all 12 answers are kept, at $0.00" in text
    assert "Complete: 1 evaluated." in text
    assert evaluation_of(recorded)["inputs"]["version"] == 2
    assert recorded("plan")[1] == "No changes. The one fine-tune matches its spec.\n"


def test_a_blocked_candidate_is_promoted_once_its_calls_are_compared_as_calls(recorded):
    edit(recorded, blocked)
    assert "did not pass the gate" in recorded("plan")[1]
    code, text = recorded("evaluate", "faq")
    assert code == 1
    assert "Approve beforehand: ftctl evaluate faq --auto-approve" in text
    code, text = recorded("evaluate", "faq", "--auto-approve")
    assert code == 0, text
    assert "Complete: 1 evaluated, 1 promoted." in text
    assert evaluation_of(recorded)["scores"]["candidate"]["exact_match"] == 1.0


def test_scores_of_versions_that_agree_get_no_line(shell):
    shell.declare(more="evaluation: {metrics: [exact_match]}\n")
    assert shell("apply", "--auto-approve")[0] == 0
    edit(shell, first_version)
    assert shell("plan")[1] == "No changes. The one fine-tune matches its spec.\n"
    assert shell("apply", "--auto-approve")[1] == shell("plan")[1]


def test_for_programs_it_is_an_object_a_line(recorded):
    code, text = recorded("evaluate", "faq", "--json")
    assert code == 0
    assert [json.loads(line)["type"] for line in text.splitlines()][-1] == "end"


def test_mistakes_are_told(recorded):
    code, text = recorded("evaluate", "fqa")
    assert (code, text.splitlines()) == (
        1,
        ["no spec is called 'fqa'", "    Did you mean `faq`?"],
    )
    recorded.declare("other")
    code, text = recorded("evaluate", "other")
    assert code == 1
    assert "other has no model yet" in text
    recorded.write("finetunes/faq.yaml", SPEC.replace("exact_match >= 0.5", "exact_match"))
    code, text = recorded("evaluate", "faq")
    assert code == 1
    assert "finetunes/faq.yaml:5: gate[0]" in text
    # One with a problem is declared all the same.
    assert recorded("evaluate", "zzz")[1].endswith("Use one of: faq, other.\n")


def test_kept_answers_of_a_model_that_is_gone_are_scored_again(recorded):
    recorded.backend.delete(build_of(recorded.json("show", "faq")[1])["model_id"])
    code, text = recorded("evaluate", "faq")
    assert code == 0, text


def test_a_silent_backend_is_no_defect(recorded):
    shutil.rmtree(recorded.root / ".ftctl" / "answers")
    recorded.backend.delete(build_of(recorded.json("show", "faq")[1])["model_id"])
    code, text = recorded("evaluate", "faq")
    assert code == 1
    assert "there is no model" in text
    assert "defect" not in text
