"""Old names of models: call sites of a hosted fine-tune stay as they are."""

import logging
import re
from urllib.parse import quote

import openai
import pytest

from controller.help import FOLDER
from tests.controller.server.chat_helpers import HELLO, Talking, ask, record
from tests.controller.server.serve_helpers import BASE, TOKEN, refused, serving
from tests.openai_api.description import errors, named

OLD = "ft:gpt-4o-mini-2024-07-18:acme:triage:AbC"
SLASHED = "acme/상담 v1"
SPEC = """\
backend: local-gpu
base_model: ../models/other
data: {{train: [{{path: rows.csv}}], held_out: {{fraction: 0.1}}}}
aliases: {aliases}
"""


def declare(root, name="triage", aliases=(OLD,)):
    listed = "[" + ", ".join(f'"{alias}"' for alias in aliases) + "]"
    path = root / "finetunes" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(SPEC.format(aliases=listed))
    return path


@pytest.fixture
def moved(tmp_path):
    """A server of a fine-tune that was hosted, and now has a build of this machine."""
    declare(tmp_path, aliases=(OLD, SLASHED))
    record(tmp_path, triage=("local-gpu", "local:1"))
    with serving(tmp_path, Talking(tmp_path / "s")) as served:
        yield served


def answered(server):
    """Return the backend's model IDs that were asked since the last look."""
    models = [model for model, _, _ in server.backend.asked]
    server.backend.asked.clear()
    return models


def call_site(client):
    """Return an answer and a streamed one: code that was written for the hosted model."""
    completion = client.chat.completions.create(
        model="ft:gpt-4o-mini-2024-07-18:acme:triage:AbC",
        messages=[
            {"role": "system", "content": "Classify the ticket."},
            {"role": "user", "content": "환불해 주세요"},
        ],
        temperature=0,
        max_tokens=3,
        seed=7,
        user="u-1",
        store=True,
        metadata={"team": "care"},
    )
    stream = client.chat.completions.create(
        model="ft:gpt-4o-mini-2024-07-18:acme:triage:AbC",
        messages=[{"role": "user", "content": "환불해 주세요"}],
        max_completion_tokens=3,
        stream=True,
        stream_options={"include_usage": True},
    )
    return completion, list(stream)


def test_an_unchanged_call_site_of_the_official_sdk(moved, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", moved.url)
    monkeypatch.setenv("OPENAI_API_KEY", TOKEN)
    with openai.OpenAI() as client:
        completion, events = call_site(client)
    assert completion.choices[0].message.content == "가나다"
    assert completion.usage.completion_tokens == 3
    # OpenAI names the snapshot that an alias stands for, not the alias.
    assert completion.model == "local:1"
    assert {event.model for event in events} == {"local:1"}
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text == "가나다"
    assert events[-1].usage.completion_tokens == 3
    assert answered(moved) == ["local:1", "local:1"]
    assert moved.backend.opened == ["../models/other"]


@pytest.mark.parametrize(
    ("name", "public_id"),
    [
        (OLD, "local:1"),
        (SLASHED, "local:1"),
        ("triage", "local:1"),
        ("local:1", "local:1"),
        (BASE, BASE),
    ],
)
def test_the_model_of_an_answer(moved, name, public_id):
    assert ask(moved, model=name).model == public_id
    with ask(moved, model=name, stream=True) as stream:
        assert {event.model for event in stream} == {public_id}
    assert moved.client.models.retrieve(public_id).id == public_id


def test_aliases_are_listed_and_described_with_what_they_stand_for(moved):
    listed = {model.id: model for model in moved.client.models.list()}
    assert [*listed] == [BASE, "org/hub-model", "triage", OLD, SLASHED]
    for name in (OLD, SLASHED):
        model = moved.client.models.retrieve(name)
        assert model == listed[name]
        assert (model.id, model.model_extra["alias_of"]) == (name, "triage")
        assert model.model_extra["model_id"] == "local:1"
    assert listed["triage"].model_extra["model_id"] == "local:1"
    assert "alias_of" not in listed["triage"].model_extra
    assert "model_id" not in listed[BASE].model_extra
    answer = moved.send("GET", "/v1/models").json()
    assert errors(answer, named("ListModelsResponse")) == []


@pytest.mark.parametrize("name", [OLD, SLASHED, "a/b:c", "50% off", "what?", "#1", "a//b", "a+b"])
@pytest.mark.parametrize("safe", ["", "/:"])
def test_any_name_fits_into_a_url(tmp_path, name, safe):
    declare(tmp_path, aliases=[name])
    record(tmp_path, triage=("local-gpu", "local:1"))
    with serving(tmp_path, Talking(tmp_path / "s")) as server:
        answer = server.send("GET", f"/v1/models/{quote(name, safe=safe)}")
        assert (answer.status_code, answer.json()["id"]) == (200, name)
        assert server.client.models.retrieve(name).id == name
        assert refused(server.client.models.delete, name)[:2] == (400, "model_not_deletable")


def test_a_promotion_and_a_new_alias_take_effect_without_a_restart(moved):
    ask(moved, model=OLD)
    record(moved.root, triage=("local-gpu", "local:2"))
    assert ask(moved, model=OLD).model == "local:2"
    assert answered(moved) == ["local:1", "local:2"]
    declare(moved.root, aliases=("another",))
    assert ask(moved, model="another").model == "local:2"
    assert refused(ask, moved, model=OLD) == (404, "model_not_found", "model")
    declare(moved.root, "faq", aliases=(OLD,))
    record(moved.root, triage=("local-gpu", "local:2"), faq=("local-gpu", "local:3"))
    assert ask(moved, model=OLD).model == "local:3"
    (moved.root / "finetunes" / "faq.yaml").unlink()
    assert refused(ask, moved, model=OLD) == (404, "model_not_found", "model")


def test_an_adopted_build_with_the_same_name_gives_way_to_the_new_one(tmp_path):
    declare(tmp_path)
    # Not promoted yet: the hosted model is still in production, and this server cannot ask it.
    record(tmp_path, triage=("openai", OLD))
    with serving(tmp_path, Talking(tmp_path / "s")) as server:
        assert refused(ask, server, model=OLD) == (404, "model_not_served", "model")
        with pytest.raises(
            openai.NotFoundError, match="an alias of triage, which is the model ft:gp"
        ):
            ask(server, model=OLD)
        assert OLD not in {model.id for model in server.client.models.list()}
        record(tmp_path, hosted=("openai", OLD), triage=("local-gpu", "local:1"))
        assert ask(server, model=OLD).model == "local:1"


def test_an_alias_without_a_model_in_production_says_so(tmp_path):
    declare(tmp_path)
    with serving(tmp_path, Talking(tmp_path / "s")) as server:
        assert refused(ask, server, model=OLD) == (404, "model_not_served", "model")
        with pytest.raises(
            openai.NotFoundError, match="alias of triage, which has no model in prod"
        ):
            server.client.models.retrieve(OLD)


def test_a_name_that_stands_for_two_things_answers_for_neither(moved):
    declare(moved.root, "faq", aliases=(OLD,))
    record(moved.root, triage=("local-gpu", "local:1"), faq=("local-gpu", "local:3"))
    with pytest.raises(openai.NotFoundError, match="as an alias, it is also an alias of"):
        ask(moved, model=OLD)
    assert OLD not in {model.id for model in moved.client.models.list()}
    assert ask(moved, model=SLASHED).model == "local:1"
    record(
        moved.root,
        triage=("local-gpu", "local:1"),
        faq=("local-gpu", "local:3"),
        far=("openai", "ft:far"),
    )
    # A name that means something without the alias keeps its meaning.
    declare(moved.root, "faq", aliases=("triage", BASE, "local:1", "far"))
    with pytest.raises(openai.NotFoundError, match="far is the model ft:far of the backend openai"):
        ask(moved, model="far")
    assert ask(moved, model="triage").model == "local:1"
    assert ask(moved, model=BASE).model == BASE


def test_a_spec_that_cannot_be_read_for_a_moment_keeps_its_aliases(moved, caplog):
    ask(moved, model=OLD)
    path = declare(moved.root)
    good = path.read_text()
    with caplog.at_level(logging.WARNING):
        path.write_text(good + "colour: red\n")
        assert ask(moved, model=OLD).model == "local:1"
    assert "the aliases of triage stay as they were" in caplog.text
    assert "triage.yaml:5: colour: is not a known key" in caplog.text
    path.write_text(good.replace(OLD, "mended"))
    assert ask(moved, model="mended").model == "local:1"


def rows():
    """Return the table of `ftctl help migration`: what callers send, and the result."""
    text = (FOLDER / "migration.md").read_text("utf-8")
    found = re.findall(r"^\| `(.+)` \| (honoured|ignored|refused) \|$", text, re.MULTILINE)
    assert len(found) > 20
    return found


@pytest.fixture(scope="module")
def module_server(tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    declare(root)
    record(root, triage=("local-gpu", "local:1"))
    with serving(root, Talking(root / "s")) as served:
        yield served


@pytest.mark.parametrize(("sent", "result"), rows())
def test_the_table_of_parameters_is_true(module_server, sent, result):
    body = f'{{"model": "{OLD}", "messages": [{{"role": "user", "content": "a"}}], {sent}}}'
    if "max_" not in sent:
        body = f'{body[:-1]}, "max_tokens": 2}}'
    answer = module_server.send("POST", "/v1/chat/completions", content=body.encode())
    first = re.findall(r'"(\w+)":', sent)[0]
    ignored = answer.headers.get("x-ftctl-ignored")
    if result == "refused":
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "unsupported_value")
        assert error["param"] == first
        assert f"'{first}'" in error["message"]
    else:
        assert answer.status_code == 200, answer.text
        assert ignored == (first if result == "ignored" else None)


def test_several_ignored_parameters_are_named_in_one_header(module_server):
    raw = module_server.client.chat.completions.with_raw_response
    options = {"model": OLD, "messages": HELLO, "max_tokens": 2}
    answer = raw.create(**options, user="u", store=False, metadata={"a": "b"})
    assert answer.headers["x-ftctl-ignored"] == "metadata, store, user"
    answer = raw.create(**options, stream=True, user="u")
    assert answer.headers["x-ftctl-ignored"] == "user"
    nothing = {"user": None, "store": None}
    answer = raw.create(**options, extra_body=nothing)
    assert "x-ftctl-ignored" not in answer.headers
