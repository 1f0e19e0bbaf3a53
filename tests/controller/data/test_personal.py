"""Personal data in examples: masked, refused or noted, wherever it stands."""

import json

import pytest

MAIL = "kim@example.com"
PHONE = "010-1234-5678"


def chat(*messages, **more) -> str:
    return json.dumps({"messages": list(messages), **more}, ensure_ascii=False) + "\n"


def asked(text):
    return {"role": "user", "content": text}


def answered(text, **more):
    return {"role": "assistant", "content": text, **more}


PERSONAL = chat(
    asked([{"type": "text", "text": f"{MAIL} 로 보내줘, {PHONE}"}]),
    answered(
        None,
        tool_calls=[
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "send", "arguments": json.dumps({"to": MAIL, "n": 2})},
            }
        ],
    ),
    {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
    answered(f"{MAIL}에 보냈습니다."),
)


@pytest.fixture
def repository(repository, chat_lines):
    repository.write("a.jsonl", PERSONAL + chat_lines)
    return repository


def first(dataset) -> dict:
    path = dataset.train.path if "_1]" in dataset.train.path.read_text() else dataset.held_out.path
    return next(json.loads(line) for line in path.read_text().splitlines() if "_1]" in line)


def test_the_same_value_has_the_same_placeholder_all_through_an_example(repository):
    dataset = repository.build("a.jsonl", prepare={"pii": "mask"})
    everything = dataset.train.path.read_text() + dataset.held_out.path.read_text()
    assert MAIL not in everything
    assert PHONE not in everything
    question, call, _, answer = first(dataset)["messages"]
    assert question["content"][0]["text"] == "[EMAIL_1] 로 보내줘, [PHONE_1]"
    arguments = call["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"to": "[EMAIL_1]", "n": 2}
    assert answer["content"] == "[EMAIL_1]에 보냈습니다."
    [step] = [step for step in dataset.report.steps if step.name == "pii"]
    assert (step.changed, step.noted) == (1, 0)
    assert step.reasons == ("finetunes/a.jsonl:1: 3 email, 1 phone",)


def test_a_warning_changes_nothing(repository):
    plain = repository.build("a.jsonl")
    warned = repository.build("a.jsonl", prepare={"pii": "warn"})
    assert warned.train.digest == plain.train.digest
    [step] = [step for step in warned.report.steps if step.name == "pii"]
    assert (step.changed, step.noted) == (0, 1)


def test_what_is_refused_is_named_by_kind_and_never_shown(repository):
    (problem,) = repository.problems("a.jsonl", prepare={"pii": "reject"})
    assert (problem.file, problem.line) == ("finetunes/a.jsonl", 1)
    assert problem.message == "personal data: 3 email, 1 phone"
    assert MAIL not in str(problem)


def test_what_a_grader_reads_is_masked_too(repository):
    rows = "".join(
        chat(asked(f"질문 {n}"), answer=[MAIL, {"phone": PHONE}], level=3) for n in range(30)
    )
    repository.write("graded.jsonl", rows)
    dataset = repository.build("graded.jsonl", method="reinforcement", prepare={"pii": "mask"})
    one = json.loads(dataset.train.path.read_text().splitlines()[0])
    assert (one["answer"], one["level"]) == (["[EMAIL_1]", {"phone": "[PHONE_1]"}], 3)


def test_texts_are_masked(repository):
    repository.write("a.txt", "\n".join(f"글 {n}: {MAIL}" for n in range(30)))
    source = {"path": "a.txt", "chunk": "line"}
    dataset = repository.build(source, method="continued-pretraining", prepare={"pii": "mask"})
    assert MAIL not in dataset.train.path.read_text()
    assert dataset.train.examples + dataset.held_out.examples == 30
