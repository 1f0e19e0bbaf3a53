"""Base models that were not trained answer under a fine-tune's name, with its prompt."""

import json
import shutil

import openai
import pytest

from controller.lockfile.model import DataFacts, PartFacts, dump_lockfile, parse_lockfile
from controller.prompted.examples import choose_shots, shots_digest
from tests.controller.server.chat_helpers import HELLO, Talking, ask, record
from tests.controller.server.serve_helpers import BASE, refused, serving

OLD = "ft:gpt-4o-mini-2024-07-18:acme:triage:AbC"
SYSTEM = "상담원처럼 답하세요."
MODEL = "prompt:../models/other:triage:000000000000"
TRAIN = "sha256:1"
SPEC = f"""\
backend: local-gpu
base_model: ../models/other
method: prompt
prompt: {{system: {SYSTEM}, few_shot: 2}}
data: {{train: [{{path: rows.csv}}], held_out: {{fraction: 0.1}}}}
aliases: ["{OLD}"]
"""


def with_prompt(root, *, backend="local-gpu", **prompt):
    """Record a base model with a prompt in production, and keep its examples."""
    record(root, triage=(backend, MODEL))
    path = root / "finetunes/ftctl.lock"
    lockfile = parse_lockfile(path.read_bytes(), "x")
    entry = lockfile.finetunes["triage"]
    (build,) = entry.builds.values()
    part = PartFacts(digest=TRAIN, examples=3)
    changes = {
        "inputs": {"method": "prompt", "prompt": prompt},
        "data": DataFacts(train=part, held_out=part),
        "job": "",
    }
    if prompt.get("few_shot"):
        examples = [
            {"messages": [{"role": "user", "content": f"질문 {n}"}, {"role": "assistant", "content": f"답 {n}"}]}
            for n in range(3)
        ]  # fmt: skip
        train = root / "train.jsonl"
        train.write_text("".join(json.dumps(one) + "\n" for one in examples))
        shots = choose_shots(train, prompt["few_shot"], TRAIN, root / ".ftctl")
        changes["facts"] = {"examples_digest": shots_digest(shots)}
    builds = {build.fingerprint: build.model_copy(update=changes)}
    finetunes = {"triage": entry.model_copy(update={"builds": builds})}
    path.write_bytes(dump_lockfile(lockfile.model_copy(update={"finetunes": finetunes})))


@pytest.fixture
def prompted(tmp_path):
    path = tmp_path / "finetunes/triage.yaml"
    path.parent.mkdir()
    path.write_text(SPEC)
    with_prompt(tmp_path, system=SYSTEM, few_shot=2)
    with serving(tmp_path, Talking(tmp_path / "s")) as served:
        yield served


def asked(server):
    """Return the model and the messages of the last question."""
    model, prompt, _ = server.backend.asked[-1]
    return model, [dict(one) for one in prompt.messages]


@pytest.mark.parametrize("name", ["triage", OLD, MODEL])
@pytest.mark.parametrize("stream", [False, True])
def test_it_answers_to_every_name_with_its_prompt(prompted, name, stream):
    answer = ask(prompted, model=name, stream=stream)
    models = {event.model for event in answer} if stream else {answer.model}
    assert models == {MODEL}
    model, messages = asked(prompted)
    assert model is None
    assert messages[0] == {"role": "system", "content": SYSTEM}
    assert [one["role"] for one in messages[1:5]] == ["user", "assistant"] * 2
    assert messages[5:] == HELLO
    assert prompted.backend.opened == ["../models/other"]


def test_a_conversation_follows_the_examples(prompted):
    turns = [
        *HELLO,
        {"role": "assistant", "content": "네."},
        {"role": "user", "content": "고마워요"},
    ]
    ask(prompted, model="triage", messages=turns)
    assert asked(prompted)[1][5:] == turns


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_prompt_that_is_replaced_is_named(prompted, role):
    messages = [{"role": role, "content": "Classify."}, *HELLO]
    create = prompted.client.chat.completions.with_raw_response.create
    given = {"messages": messages, "max_tokens": 3}
    answer = create(model="triage", user="u-1", **given)
    assert answer.headers["x-ftctl-ignored"] == "user, messages[0]"
    assert [one["role"] for one in asked(prompted)[1]].count(role) == (role == "system")
    assert "x-ftctl-ignored" not in create(model=BASE, **given).headers
    with_prompt(prompted.root, few_shot=2)
    assert "x-ftctl-ignored" not in create(model="triage", **given).headers
    assert asked(prompted)[1][0]["content"] == "Classify."


def test_without_prompt_and_examples_it_is_the_base_model(prompted):
    with_prompt(prompted.root)
    assert ask(prompted, model=OLD).model == MODEL
    assert asked(prompted) == (None, HELLO)


def test_it_is_listed_and_cannot_be_deleted(prompted):
    listed = {model.id: model for model in prompted.client.models.list()}
    assert listed[OLD].model_extra["model_id"] == MODEL
    assert refused(prompted.client.models.delete, MODEL)[:2] == (400, "model_not_deletable")


def test_examples_that_are_not_on_this_machine_are_named(prompted):
    shutil.rmtree(prompted.state / "prompts")
    with pytest.raises(openai.NotFoundError, match="its dataset is not on this machine"):
        ask(prompted, model="triage")
    assert ask(prompted, model=BASE).model == BASE


def test_a_hosted_base_model_is_not_served(prompted):
    with_prompt(prompted.root, backend="openai", system=SYSTEM)
    with pytest.raises(
        openai.NotFoundError, match="the backend openai, which this server does not"
    ):
        ask(prompted, model=OLD)
