"""Steps from a cache are those that read everything, or the cache is given up, and said so."""

import logging
from functools import partial
from importlib import import_module
from inspect import signature

import pytest

from tests.backends.local_gpu.inference.architectures import KINDS, tiny_model
from tests.backends.local_gpu.inference.test_continuous_batching import begin

pytestmark = pytest.mark.torch
PROMPTS = [[5, 6, 7, 8, 9, 10], [11, 12]]


@pytest.fixture
def forward_of():
    """Return a function that makes the forward pass of a model, compared with the whole one."""
    torch = import_module("torch")
    cached = import_module("backends.local_gpu.inference.cached_forward")

    def made(model):
        forward = cached.CachedForward(model.eval())
        with torch.inference_mode():
            forward.verify(model)
        return forward

    return made


def said_of(caplog):
    """Return what the module under test has warned of."""
    return [one.getMessage() for one in caplog.records if one.name.startswith("backends.")]


def last_logits(model, ids):
    """Return the logits after a prompt, as the model itself computes them."""
    torch = import_module("torch")
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]


def stepped(forward, model):
    """Read two prompts of different lengths but for their last tokens, then these; return the logits."""
    torch = import_module("torch")
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in PROMPTS])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in PROMPTS])
    cache = forward.new_cache()
    with torch.inference_mode():
        forward.logits(model, cache, ids[:, :-1], mask[:, :-1])
        return forward.logits(model, cache, ids[:, -1:], mask)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", KINDS)
def test_each_family_is_continued_from_its_cache_or_read_whole(kind, forward_of, caplog):
    torch, model = import_module("torch"), tiny_model(kind)
    forward = forward_of(model)
    assert not said_of(caplog), "no family that is tested loses its cache"
    if not forward.has_cache:
        assert model.config.model_type in {"recurrent_gemma", "rwkv", "xlstm"}
        return
    found = stepped(forward, model)
    for place, row in enumerate(PROMPTS):
        torch.testing.assert_close(found[place], last_logits(model, row), rtol=1e-3, atol=1e-4)


def renamed(model, name):
    """Let a model take its cache by another name, as a version of transformers may."""
    taken = model.forward
    (own,) = {"cache", "past_key_values", "cache_params"} & set(signature(taken).parameters)

    def forward(
        input_ids, attention_mask, position_ids, *, logits_to_keep=0, use_cache=True, **more
    ):
        more = {own if key == name else key: value for key, value in more.items() if key == name}
        return taken(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            use_cache=use_cache,
            **more,
        )

    parameters = signature(forward).parameters
    shown = [parameters[key] for key in parameters if key != "more"]
    shown.append(parameters["use_cache"].replace(name=name, default=None))
    forward.__signature__ = signature(forward).replace(parameters=shown)
    model.forward = forward
    return model


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["cache", "past_key_values", "cache_params"])
def test_the_cache_is_given_by_the_name_that_the_model_takes(name, forward_of, caplog):
    torch, model = import_module("torch"), tiny_model("columns")
    expected = [last_logits(model, row) for row in PROMPTS]
    model = renamed(model, name)
    forward = forward_of(model)
    assert forward.has_cache
    assert not said_of(caplog)
    torch.testing.assert_close(stepped(forward, model), torch.stack(expected), rtol=1e-3, atol=1e-4)


def losing(_model, inputs, named):
    """Drop the cache, as a model does that takes it by a name nobody gives."""
    for name in ("cache", "past_key_values", "cache_params"):
        named.pop(name, None)
    return inputs, named | {"use_cache": False}


def hiding(_model, inputs, named):
    """Let no token see the padding's mask, so that rows see what is not theirs."""
    mask = named["attention_mask"]
    return inputs, named | {"attention_mask": mask * 0 + 1}


def refusing(_model, inputs, named):
    if named["input_ids"].shape[1] == 1:
        raise TypeError("forward() got an unexpected keyword argument 'cache'")
    return inputs, named


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (losing, ""),  # versions differ in whether a lost cache is an error or a wrong answer
        (hiding, "a step from it differs from reading all tokens again"),
        (refusing, "TypeError: forward() got an unexpected keyword argument 'cache'"),
    ],
)
def test_a_cache_that_changes_answers_is_given_up_and_said_so(fault, reason, forward_of, caplog):
    model = tiny_model("columns")
    model.register_forward_pre_hook(fault, with_kwargs=True)
    with caplog.at_level(logging.WARNING):
        forward = forward_of(model)
    assert not forward.has_cache
    (said,) = said_of(caplog)
    assert said.startswith("the cache of llama is not used with transformers ")
    assert reason in said
    assert "slow but right" in said


def test_a_cache_from_which_no_number_comes_is_given_up(forward_of, caplog):
    def poison(_model, _inputs, named, out):
        if named["use_cache"] and named["input_ids"].shape[1] == 1:
            out.logits = out.logits * float("nan")

    model = tiny_model("columns")
    model.register_forward_hook(poison, with_kwargs=True)
    assert not forward_of(model).has_cache
    (said,) = said_of(caplog)
    assert "a step from it differs" in said


def test_a_model_that_takes_no_cache_is_read_whole(forward_of, caplog):
    model = tiny_model("columns")
    plain = model.forward

    def forward(input_ids, attention_mask=None, position_ids=None):
        return plain(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids)

    model.forward = forward
    made = forward_of(model)
    assert not made.has_cache
    assert not said_of(caplog)


@pytest.mark.usefixtures("one_thread")
def test_answers_without_a_cache_are_those_of_one():
    """What a model that lost its cache answers is right, one answer at a time."""
    batching = import_module("backends.local_gpu.inference.continuous_batching")
    torch, model = import_module("torch"), tiny_model("columns")
    whole = partial(last_logits, model)
    model.register_forward_pre_hook(losing, with_kwargs=True)
    batch = batching.Batch(model, torch.float32)
    ids = list(PROMPTS[0])
    for _ in range(4):
        ids.append(int(whole(ids).argmax()))
    answers = [begin(0, PROMPTS[0], 4, None), begin(2, PROMPTS[0], 4, None)]
    batch.waiting.extend(answers)
    while batch.busy:
        batch.step()
        assert len(batch.running) <= 1
    assert [answer.made for answer in answers] == [ids[len(PROMPTS[0]) :]] * 2
