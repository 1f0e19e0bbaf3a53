"""Personal data in examples: masked, refused or noted, wherever it stands."""

import json

import pytest

from controller.data.errors import PersonalDataFound
from controller.data.examples.example import Example, to_canonical
from controller.data.transforms.pii.apply import PiiPolicy
from controller.spec.data import Prepare

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


# --- all of an example ---------------------------------------------------------------------------


def treated(example, does="mask", recipe=2):
    return PiiPolicy(Prepare(pii=does), recipe).apply(example)


def call(arguments, name="send", number="c1"):
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(**definition):
    return {"type": "function", "function": {"name": "send", **definition}}


QUESTION = {"role": "user", "content": "보내 줘"}
ANSWER = {"role": "assistant", "content": "네"}
HIDDEN = {
    "arguments that are an object": Example([QUESTION, {**ANSWER, "tool_calls": [call({"to": MAIL})]}]),
    "arguments that are text": Example([QUESTION, {**ANSWER, "tool_calls": [call(json.dumps({"to": [MAIL]}))]}]),
    "escaped arguments": Example([QUESTION, {**ANSWER, "tool_calls": [call('{"to": "kim\\u0040example.com"}')]}]),
    "a key of arguments": Example([QUESTION, {**ANSWER, "tool_calls": [call(json.dumps({MAIL: 1}))]}]),
    "a number in arguments": Example([QUESTION, {**ANSWER, "tool_calls": [call('{"card": 4111111111111111}')]}]),
    "a call's id": Example([QUESTION, {**ANSWER, "tool_calls": [call("{}", number=MAIL)]}]),
    "who speaks": Example([{**QUESTION, "name": MAIL}, ANSWER]),
    "what is thought": Example([QUESTION, {**ANSWER, "reasoning_content": f"{MAIL}에 보내자"}]),
    "a refusal": Example([QUESTION, {"role": "assistant", "content": None, "refusal": MAIL}]),
    "a part that refuses": Example([QUESTION, {**ANSWER, "content": [{"type": "refusal", "refusal": MAIL}]}]),
    "what nobody knows": Example([QUESTION, {**ANSWER, "annotations": [{"by": {"mail": MAIL}}]}]),
    "a description": Example([QUESTION, ANSWER], [tool(description=f"an {MAIL} 보낸다")]),
    "an enum": Example([QUESTION, ANSWER], [tool(parameters={"properties": {"to": {"enum": [MAIL]}}})]),
    "a default": Example([QUESTION, ANSWER], [tool(parameters={"properties": {"to": {"default": MAIL}}})]),
    "a property": Example([QUESTION, ANSWER], [tool(parameters={"properties": {MAIL: {}}})]),
    "the answer not preferred": Example([QUESTION, ANSWER], rejected={**ANSWER, "tool_calls": [call({"to": MAIL})]}),
    "a key that a grader reads": Example([QUESTION], graded={"answer": {MAIL: 1}}),
    "a text": Example([], text=MAIL),
}  # fmt: skip


@pytest.mark.parametrize("where", HIDDEN)
@pytest.mark.parametrize("does", ["mask", "reject", "warn"])
def test_personal_data_passes_nowhere(where, does):
    example = HIDDEN[where]
    if does == "reject":
        with pytest.raises(PersonalDataFound, match=r"personal data: 1 (email|card)"):
            treated(example, does)
        return
    new, found = treated(example, does)
    assert found in ("1 email", "1 card")
    line = to_canonical(new)[0].decode()
    if does == "warn":
        assert new is example
        return
    assert json.loads(line)
    assert MAIL not in line
    assert "u0040" not in line
    assert "4111111111111111" not in line
    assert "[EMAIL_1]" in line or "[CARD_1]" in line


def test_arguments_stay_json_when_they_are_masked():
    example = Example([QUESTION, {**ANSWER, "tool_calls": [call('{"z": "01012345678", "a": 1}')]}])
    new, _ = treated(example)
    arguments = new.messages[1]["tool_calls"][0]["function"]["arguments"]
    assert arguments == '{"z": "[PHONE_1]", "a": 1}'


@pytest.mark.parametrize(
    ("arguments", "masked"),
    [
        ({"password": "P@$$w0rd1"}, {"password": "[SECRET_1]"}),
        ({"apiKey": "9f8e7d6c5b4a39281706"}, {"apiKey": "[SECRET_1]"}),
        ({"전화번호": "0212345678"}, {"전화번호": "[PHONE_1]"}),
        ({"home_phone": ["0212345678"]}, {"home_phone": ["[PHONE_1]"]}),
        ({"amount": "0212345678"}, {"amount": "0212345678"}),
    ],
)
def test_a_key_says_what_its_value_is(arguments, masked):
    example = Example([QUESTION, {**ANSWER, "tool_calls": [call(arguments)]}])
    new, _ = treated(example)
    assert new.messages[1]["tool_calls"][0]["function"]["arguments"] == masked


@pytest.mark.parametrize(
    "example",
    [
        Example([QUESTION, {**ANSWER, "tool_calls": [call({}, name=MAIL)]}]),
        Example([QUESTION, ANSWER], [tool(**{MAIL: 1})]),
        Example([QUESTION], graded={MAIL: 1}),
        Example([{**QUESTION, MAIL: "1"}, ANSWER]),
        Example([{**QUESTION, "content": [{"type": MAIL, "text": "a"}]}, ANSWER]),
    ],
)
def test_what_cannot_be_masked_is_refused(example):
    with pytest.raises(PersonalDataFound, match="cannot be masked"):
        treated(example)


@pytest.mark.parametrize("url", ["https://example.com/a.png", "data:image/png;base64,iVBORw0KGgo="])
def test_an_image_is_not_looked_at_and_says_so(url):
    image = {"type": "image_url", "image_url": {"url": url}}
    example = Example([{**QUESTION, "content": [image]}, ANSWER])
    for does in ("mask", "reject"):
        with pytest.raises(PersonalDataFound, match="image: its content cannot be searched"):
            treated(example, does)
    assert treated(example, "warn") == (example, "1 image")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            [{"type": "text", "text": "이 사진", "image_url": {"url": "https://a.io/b.png"}}],
            "1 image",
        ),
        ([{"type": "tool_result", "text": "x", "content": []}], "1 file"),
        (
            [{"type": "text", "text": "x", "seen": {"src": "data:image/png;base64,iVBORw0"}}],
            "1 file",
        ),
    ],
)
def test_what_is_shown_within_other_parts_is_not_looked_at_and_says_so(content, said):
    example = Example([{**QUESTION, "content": content}, ANSWER])
    for does in ("mask", "reject"):
        with pytest.raises(PersonalDataFound, match="its content cannot be searched"):
            treated(example, does)
    assert treated(example, "warn") == (example, said)


def test_two_keys_that_become_one_are_refused():
    example = Example([QUESTION, {**ANSWER, "tool_calls": [call({MAIL: 1, MAIL.upper(): 2})]}])
    with pytest.raises(PersonalDataFound, match="two keys of one object"):
        treated(example)


def test_the_first_recipe_masks_what_it_masked():
    example = Example(
        [
            {"role": "user", "content": MAIL, "name": MAIL},
            {**ANSWER, "tool_calls": [call({"to": MAIL}), call(json.dumps({"to": MAIL}))]},
        ]
    )
    new, found = treated(example, recipe=1)
    assert found == "2 email"
    assert new.messages[0] == {"role": "user", "content": "[EMAIL_1]", "name": MAIL}
    first, second = new.messages[1]["tool_calls"]
    assert first["function"]["arguments"] == {"to": MAIL}
    assert second["function"]["arguments"] == '{"to": "[EMAIL_1]"}'
    # What only refuses needs no recipe of its own.
    with pytest.raises(PersonalDataFound):
        treated(HIDDEN["a description"], "reject", recipe=1)


def test_a_source_that_sets_rows_aside_does_not_set_personal_data_aside(repository):
    source = {"path": "a.jsonl", "unusable": "drop"}
    (problem,) = repository.problems(source, prepare={"pii": "reject"})
    assert problem.message == "personal data: 3 email, 1 phone"
