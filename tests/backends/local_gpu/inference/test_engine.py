import gc
import json
import os
import queue
import random
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backends.atomic_files import write_atomic
from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError, ModelMissing, PromptRefused
from backends.contract.jobs import TrainRequest
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.inference.engine import open_engine
from backends.local_gpu.jobs.run_dir import create
from tests.asking import complete

pytestmark = [
    pytest.mark.torch,
    # peft asks transformers by the old name.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

LONG = 100_000
QUESTIONS = [
    "카페",
    "How long are you open?",
    "영업 시간이 어떻게 되나요? 매일 아홉 시부터 여섯 시까지 엽니다.",
    "🙂 Where is the nearest cafe? It is two streets down, on the left. " * 2,
]


class World:
    """A base model, models made from it, and an engine."""

    def __init__(self, folder, base_folder):
        self.state = folder / "state"
        self.backend = LocalGpuBackend(self.state)
        self.base = self.backend.resolve_base_model(str(base_folder), None, folder)
        self.base_folder = base_folder
        self.data = folder / "data.jsonl"
        self.data.write_text("")
        self.engine = open_engine(self.state, self.base)

    def make(self, seed, **settings):
        """Make a run whose model is random instead of trained."""
        import torch  # noqa: PLC0415 - tests without the training packages import this file too
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415
        from transformers import AutoModelForCausalLM  # noqa: PLC0415

        request = TrainRequest(
            name="cafe",
            fingerprint=f"ft1:{seed:016x}{0:048x}",
            attempt=1,
            base_model=self.base,
            method="supervised",
            hyperparameters=self.backend.parse_hyperparameters("supervised", settings),
            seed=seed,
            train=self.data,
            held_out=self.data,
            train_origins=self.data,
        )
        run = create(self.state, request)
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(self.base_folder)
        if request.hyperparameters["finetuning_type"] == "lora":
            config = LoraConfig(
                task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
            )
            model = get_peft_model(model, config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.05)
        model.save_pretrained(run.model)
        (run.model / "provenance.json").write_text("{}")
        write_atomic(run.result, b"{}")
        return f"ft:tiny:cafe:{run.name}"


@pytest.fixture(scope="module")
def world(tmp_path_factory, base_folder):
    # As far as it reads, an answer can take long enough to be interrupted.
    folder = tmp_path_factory.mktemp("engine")
    long = folder / "base"
    long.mkdir()
    for file in base_folder.iterdir():
        (long / file.name).write_bytes(file.read_bytes())
    config = json.loads((long / "config.json").read_text())
    (long / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2 * LONG}))
    made = World(folder, long)
    # From here on it has a process, started as users start it, which tests below watch and kill.
    whole(made.engine.generate(None, ask("a"), Sampling(max_tokens=1)))
    yield made
    made.engine.close()
    assert list((made.state / "engines").iterdir()) == []


@pytest.fixture(scope="module")
def models(world):
    return [None, world.make(1), world.make(2), world.make(3, finetuning_type="full")]


def ask(text):
    return Prompt(messages=[{"role": "user", "content": text}])


ENDLESS = ask("카페")
"""What the tiny base model answers with text, for ever."""


def whole(chunks):
    chunks = list(chunks)
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    return "".join(chunk.text for chunk in chunks), chunks[-1].finish_reason


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.usefixtures("warm")
def test_alone_or_together_answers_are_those_of_complete(world, models):
    greedy = Sampling(max_tokens=24)
    prompts = [ask(text) for text in QUESTIONS]
    answers = complete(world.backend, world.base, models, prompts, greedy)
    expected = [
        (models[m], prompts[p], (answers[m][p].text, answers[m][p].finish_reason))
        for m in range(len(models))
        for p in range(len(prompts))
    ]
    assert len({text for _, _, (text, _) in expected}) > len(models)
    for model, prompt, answer in expected[:: len(prompts) + 1]:
        assert whole(world.engine.generate(model, prompt, greedy)) == answer
    random.Random(0).shuffle(expected)
    with ThreadPoolExecutor(16) as threads:
        found = list(
            threads.map(lambda one: whole(world.engine.generate(one[0], one[1], greedy)), expected)
        )
    assert found == [answer for _, _, answer in expected]


@pytest.mark.usefixtures("warm")
def test_draws_follow_the_request_s_seed_and_not_the_company(world, models):
    def draw(seed):
        sampling = Sampling(max_tokens=20, temperature=1.0, seed=seed)
        return whole(world.engine.generate(models[seed % 3], ask("카페"), sampling))

    alone = [draw(seed) for seed in range(6)]
    assert len(set(alone)) == 6
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(draw, range(6))) == alone


@pytest.mark.usefixtures("warm")
def test_the_last_piece_counts_tokens(world):
    chunks = list(world.engine.generate(None, ask("카페"), Sampling(max_tokens=5)))
    assert (chunks[-1].finish_reason, chunks[-1].completion_tokens) == ("length", 5)
    assert chunks[-1].prompt_tokens > 5
    assert {chunk.completion_tokens for chunk in chunks[:-1]} <= {0}
    (only,) = world.engine.generate(None, ask("카페"), Sampling(max_tokens=0))
    assert (only.text, only.finish_reason, only.completion_tokens) == ("", "length", 0)


@pytest.mark.usefixtures("warm")
def test_an_answer_ends_before_a_stop_text(world):
    text, _ = whole(world.engine.generate(None, ask("카페"), Sampling(max_tokens=40)))
    stop = text[10:14]
    sampling = Sampling(max_tokens=40, stop=["never said", stop])
    assert whole(world.engine.generate(None, ask("카페"), sampling)) == (
        text[: text.index(stop)],
        "stop",
    )


@pytest.mark.usefixtures("warm")
def test_what_cannot_be_asked(world, models):
    with pytest.raises(ModelMissing):
        world.engine.generate("ft:x:y:" + "f" * 16 + "-1", ask("a"), Sampling())
    with pytest.raises(PromptRefused, match="the base model reads 200000"):
        next(world.engine.generate(None, ask("a " * LONG), Sampling(max_tokens=5)))
    torn = world.make(9)
    weights = world.state / "runs" / torn.rpartition(":")[2] / "model/adapter_model.safetensors"
    kept = weights.read_bytes()
    before, _ = whole(world.engine.generate(models[1], ask("카페"), Sampling(max_tokens=9)))
    weights.write_bytes(kept[:-50])
    with pytest.raises(BackendError, match="cannot be loaded"):
        next(world.engine.generate(torn, ask("a"), Sampling()))
    weights.unlink()
    with pytest.raises(ModelMissing, match="are gone"):
        next(world.engine.generate(torn, ask("a"), Sampling()))
    # The others do not notice, and the model can be made again under the same ID.
    after, _ = whole(world.engine.generate(models[1], ask("카페"), Sampling(max_tokens=9)))
    assert after == before
    weights.write_bytes(kept)
    first, _ = whole(world.engine.generate(torn, ask("카페"), Sampling(max_tokens=9)))
    other = world.state / "runs" / models[1].rpartition(":")[2] / "model" / weights.name
    weights.write_bytes(other.read_bytes())
    second, _ = whole(world.engine.generate(torn, ask("카페"), Sampling(max_tokens=9)))
    assert first != second == before


@pytest.mark.usefixtures("warm")
def test_more_models_than_stay_loaded(world):
    # Twice through twelve adapters and three whole models, each giving the same answer again.
    many = [world.make(20 + n) for n in range(12)]
    many += [world.make(40 + n, finetuning_type="full") for n in range(3)]
    sampling = Sampling(max_tokens=6)
    with ThreadPoolExecutor(5) as threads:
        first, second = (
            list(
                threads.map(lambda m: whole(world.engine.generate(m, ask("카페"), sampling)), many)
            )
            for _ in range(2)
        )
    assert first == second
    assert len(set(first)) > 10


@pytest.mark.usefixtures("warm")
def test_an_answer_that_nobody_reads_is_given_up(world):
    pid = world.engine.pid
    streams = [world.engine.generate(None, ENDLESS, Sampling(max_tokens=LONG)) for _ in range(3)]
    for stream in streams:
        next(stream)
    streams[0].close()
    del stream, streams
    gc.collect()
    end = time.monotonic() + 20
    while True:
        before = cpu_s(pid)
        time.sleep(0.3)
        if cpu_s(pid) - before < 0.1:
            break
        assert time.monotonic() < end, "still decoding"
    never_begun = world.engine.generate(None, ENDLESS, Sampling(max_tokens=LONG))
    never_begun.close()
    assert whole(world.engine.generate(None, ask("a"), Sampling(max_tokens=2)))[1] == "length"
    assert world.engine.pid == pid


@pytest.mark.usefixtures("warm")
def test_a_killed_child_is_told_of_and_replaced(world):
    before = whole(world.engine.generate(None, ask("카페"), Sampling(max_tokens=9)))
    pid = world.engine.pid
    caught = queue.SimpleQueue()

    def wait():
        try:
            for _ in world.engine.generate(None, ENDLESS, Sampling(max_tokens=LONG)):
                caught.put(None)
        except BackendError as error:
            caught.put(error)

    waiting = [threading.Thread(target=wait, daemon=True) for _ in range(4)]
    for thread in waiting:
        thread.start()
    assert caught.get(timeout=110) is None
    os.kill(pid, signal.SIGKILL)
    for thread in waiting:
        thread.join(30)
    errors = []
    while not caught.empty():
        if (error := caught.get()) is not None:
            errors.append(error)
    assert len(errors) == 4
    assert {error.message for error in errors} == {
        "the process that keeps the models was ended by SIGKILL"
    }
    assert whole(world.engine.generate(None, ask("카페"), Sampling(max_tokens=9))) == before
    assert world.engine.pid != pid


@pytest.mark.usefixtures("warm")
def test_closing_ends_the_child_and_tells_who_waits(world):
    engine = open_engine(world.state, world.base)
    stream = engine.generate(None, ENDLESS, Sampling(max_tokens=LONG))
    next(stream)
    pid = engine.pid
    engine.close()
    engine.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(BackendError, match="closed"):
        list(stream)
    with pytest.raises(BackendError, match="closed"):
        next(engine.generate(None, ask("a"), Sampling()))


@pytest.mark.usefixtures("warm")
def test_a_base_model_that_cannot_be_opened(world, tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    for file in world.base_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    engine = open_engine(
        tmp_path / "state", world.backend.resolve_base_model(str(folder), None, tmp_path)
    )
    try:
        (folder / "config.json").write_text("{}")
        with pytest.raises(BackendError, match="cannot be opened"):
            next(engine.generate(None, ask("a"), Sampling()))
        (folder / "config.json").write_bytes((world.base_folder / "config.json").read_bytes())
        assert whole(engine.generate(None, ask("a"), Sampling(max_tokens=2)))[1] == "length"
    finally:
        engine.close()


def test_what_killed_processes_left_is_removed_and_what_lives_stays(world, warm):
    del warm
    root = world.state / "engines"
    (living,) = root.iterdir()
    left, begun = root / "left", root / "begun"
    for folder in (left, begun):
        folder.mkdir()
        (folder / "prompts.jsonl").write_text("held out")
    for folder in (left, living):
        os.utime(folder, (0, 0))
    other = open_engine(world.state, world.base)
    try:
        whole(other.generate(None, ask("a"), Sampling(max_tokens=1)))
        found = {*root.iterdir()}
        assert {living, begun} < found
        assert left not in found
    finally:
        other.close()
        shutil.rmtree(begun)
    assert [*root.iterdir()] == [living]
