"""`method: prompt` at a hosted service, from the command line to its requests over HTTP."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from controller.cli import run
from controller.lockfile.store import read_lockfile
from tests.backends.openai.servers.fault_server import KEY, Fault

TUNED = "ft:gpt-4o-mini-2024-07-18:acme:triage:AbC"
LUNA = "gpt-5-mini"
SYSTEM = "한 단어로 답하세요."
ROWS = "".join(
    json.dumps(
        {
            "messages": [
                {"role": "user", "content": f"문의 {number}"},
                {"role": "assistant", "content": ("환불", "교환")[number % 2]},
            ]
        },
        ensure_ascii=False,
    )
    + "\n"
    for number in range(40)
)
DATA = {"train": [{"path": "data/rows.jsonl"}], "held_out": {"fraction": 0.5}}
PROMPT = {"method": "prompt", "base_model": LUNA, "prompt": {"system": SYSTEM, "few_shot": 2}}


@pytest.fixture
def repository(tmp_path, server, monkeypatch, capsys):
    """Return a function that types a command into a repository; the service answers at its URL."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for model in (TUNED, LUNA):
        server.models[model] = {"id": model, "object": "model", "created": 1, "owned_by": "acme"}
    server.answer = answer
    (tmp_path / "finetunes/data").mkdir(parents=True)
    (tmp_path / "finetunes/data/rows.jsonl").write_text(ROWS)

    def type_in(*arguments):
        code = run(["--dir", str(tmp_path), *arguments])
        out, err = capsys.readouterr()
        return code, out + err

    type_in.root = tmp_path
    return type_in


def answer(body):
    """Answer right if a prompt and two examples stand before the question, or if it was tuned."""
    number = int(body["messages"][-1]["content"].rpartition(" ")[2])
    is_shown = len(body["messages"]) == 6 and body["messages"][0]["content"] == SYSTEM
    return ("환불", "교환")[number % 2] if is_shown or body["model"] == TUNED else "모름"


def declare(type_in, name="triage", **spec):
    path = type_in.root / f"finetunes/{name}.yaml"
    path.write_text(json.dumps({"backend": "openai", **spec}, ensure_ascii=False))


def entry_of(type_in, name="triage"):
    return read_lockfile(type_in.root, type_in.root / ".ftctl").finetunes[name]


def asked(server):
    """Return the models of all chat requests, and forget them."""
    bodies = [body for _, path, _, body in server.requests if path == "/chat/completions"]
    server.requests.clear()
    return [body["model"] for body in bodies]


def test_from_a_hosted_fine_tune_to_its_successor_with_a_prompt(repository, server):
    evaluation = {"metrics": ["accuracy"], "compare_to": ["production"]}
    gate = ["accuracy >= production.accuracy - 0.2 @ 95%"]
    declare(
        repository,
        base_model=TUNED,
        method="prompt",
        data=DATA,
        evaluation={"metrics": ["accuracy"], "compare_to": []},
    )
    code, text = repository("apply", "--auto-approve")
    assert code == 0, text
    first = entry_of(repository).production
    count = entry_of(repository).builds[first].data.held_out.examples
    assert asked(server) == [TUNED] * count
    # The service switches the old model off; what it said is kept.
    del server.models[TUNED]
    declare(repository, data=DATA, evaluation=evaluation, gate=gate, **PROMPT)
    code, text = repository("apply", "--auto-approve")
    assert code == 0, text
    assert asked(server) == [LUNA] * count
    entry = entry_of(repository)
    build = entry.builds[entry.production]
    assert build.model_id == f"prompt:{LUNA}:triage:{build.fingerprint[4:16]}"
    scores = {role: one["accuracy"] for role, one in build.evaluation.scores.items()}
    assert scores == {"candidate": 1, "production": 1}
    assert server.jobs == {}
    assert repository("plan")[1].startswith("No changes.")
    assert repository("chat", "triage", "-m", "문의 3") == (0, "교환\n")


def test_a_model_that_the_service_does_not_have_is_refused_before_anything_is_recorded(
    repository, server
):
    declare(repository, base_model="ft:gone:acme::x", method="prompt")
    code, text = repository("apply", "--auto-approve")
    assert code == 1
    assert "cannot be asked for ft:gone:acme::x" in text
    assert read_lockfile(repository.root, repository.root / ".ftctl").finetunes == {}
    assert asked(server) == []


def test_an_evaluation_that_breaks_off_continues_without_asking_twice(repository, server):
    declare(repository, data=DATA, evaluation={"metrics": ["accuracy"], "compare_to": []}, **PROMPT)
    refused = {"error": {"message": "no", "type": "x", "code": "invalid_api_key"}}
    server.put_fault("POST", "/chat/completions", Fault("401", body=refused))
    assert repository("apply", "--auto-approve")[0] != 0
    entry = entry_of(repository)
    assert entry.production is None
    count = entry.builds[entry.candidate].data.held_out.examples
    (file,) = (repository.root / ".ftctl/answers").iterdir()
    kept = file.read_text()
    assert 1 < len(kept.splitlines()) < count + 1
    assert repository("apply", "--auto-approve")[0] == 0
    assert file.read_text().startswith(kept)
    assert len(file.read_text().splitlines()) == count + 1
    assert entry_of(repository).production == entry.candidate


def test_the_end_of_the_base_model_is_the_end_of_the_build(repository, server):
    day = (datetime.now(UTC).date() + timedelta(days=40)).isoformat()
    server.models[TUNED]["shutdown_date"] = day
    declare(repository, base_model=TUNED, method="prompt")
    text = repository("plan")[1]
    assert f"the base model is switched off on {day} (40 days left" in text
    assert repository("apply", "--auto-approve")[0] == 0
    status = json.loads(repository("status", "--json")[1])["finetunes"]["triage"]
    assert (status["days_left"], status["shutdown"]["date"]) == (40, day)
    assert repository("status", "--expiring", "60")[0] == 9
    del server.models[TUNED]
    assert "gone" in repository("status")[1]
