"""Models that come and go, within the room that there is."""

import os
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from backends.contract.errors import BackendError, ModelMissing
from backends.local_gpu.inference.trained_models import TrainedModel

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


def trained(folder, *, adapter=False, **settings):
    defaults = {"chat_template": None, "thinking": False, "max_length": None, "dtype": "float32"}
    return TrainedModel(
        id=f"ft:{folder.name}", folder=str(folder), adapter=adapter, **(defaults | settings)
    )


@pytest.fixture
def open_pool(base_folder):
    made = import_module("backends.local_gpu.inference.model_pool")
    return lambda room: made.ModelPool(base_folder, import_module("torch").device("cpu"), room)


@pytest.fixture
def whole(base_folder, tmp_path):
    """Return a function that makes a fully trained model."""

    def make(name):
        return trained(shutil.copytree(base_folder, tmp_path / name))

    return make


def test_a_model_is_loaded_once_and_adapters_share_their_base(open_pool, whole, tmp_path):
    pool = open_pool(room=3)
    base, one = pool.load(None), whole("one")
    assert pool.load(None) is base
    assert pool.load(trained(tmp_path / "no folder", adapter=True, dtype="auto")) is base
    first = pool.load(one)
    assert first is not base
    assert pool.load(one) is first
    assert pool.models() == [base, first]


def test_another_precision_is_another_model(open_pool, tmp_path):
    pool = open_pool(room=3)
    coarse = pool.load(trained(tmp_path, adapter=True, dtype="bfloat16"))
    assert coarse.plain.dtype != pool.load(None).plain.dtype


def test_the_model_that_was_asked_longest_ago_makes_room(open_pool, whole):
    pool = open_pool(room=2)
    one, two, three = (whole(name) for name in ("one", "two", "three"))
    first, second = pool.load(one), pool.load(two)
    assert pool.load(one) is first
    third = pool.load(three)
    assert pool.models() == [first, third]
    assert pool.load(two) is not second


def test_room_for_one_model_is_never_exceeded(open_pool, whole):
    pool = open_pool(room=1)
    for model in (None, whole("one"), None, whole("two")):
        pool.load(model)
        assert len(pool.models()) == 1


def test_a_kept_base_model_makes_no_room(open_pool, whole):
    pool = open_pool(room=2)
    pool.keep_base()
    (base,) = pool.models()
    pool.load(whole("one"))
    second = pool.load(whole("two"))
    assert pool.models() == [base, second]


def test_a_model_that_is_answering_makes_no_room(open_pool, whole):
    pool = open_pool(room=2)
    first, second = pool.load(whole("one")), pool.load(whole("two"))
    for loaded in (first, second):
        loaded.batch.waiting.append("an answer")
    assert pool.load(whole("three")) is None
    second.batch.waiting.clear()
    assert pool.load(whole("four")) is not None
    assert first in pool.models()
    assert second not in pool.models()


def test_a_model_that_was_trained_again_is_loaded_again(open_pool, whole, base_folder):
    pool = open_pool(room=3)
    one = whole("one")
    before = pool.load(one)
    shutil.rmtree(one.folder)
    with pytest.raises(ModelMissing, match="the folder of model ft:one is gone"):
        pool.load(one)
    shutil.copytree(base_folder, one.folder)
    os.utime(one.folder)
    assert pool.load(one) is not before


def test_a_model_that_cannot_be_opened_takes_no_room(open_pool, whole):
    pool = open_pool(room=1)
    one = whole("one")
    Path(one.folder, "config.json").write_text("{}")
    with pytest.raises(BackendError, match="cannot be opened"):
        pool.load(one)
    assert pool.models() == []


def test_a_chat_is_opened_once_for_each_way_to_render(open_pool, tmp_path):
    pool = open_pool(room=1)
    assert pool.chat(None) is pool.chat(trained(tmp_path))
    shipped = pool.chat(trained(tmp_path, chat_template="chatml"))
    assert shipped is not pool.chat(None)


@pytest.mark.parametrize(
    ("max_length", "context", "block"),
    [(None, None, 1024), (None, 128, 128), (64, 128, 64), (64, None, 64), (500, 128, 128)],
)
def test_texts_are_read_in_the_blocks_of_their_training(
    open_pool, tmp_path, max_length, context, block
):
    asked = None if max_length is None else trained(tmp_path, max_length=max_length)
    assert open_pool(room=1).documents(asked, context).block == block
