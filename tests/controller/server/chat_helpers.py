"""A backend whose engine says letters, and requests to it."""

import threading

from backends.contract.completions import Chunk
from backends.contract.errors import ModelMissing
from controller.lockfile.model import Build, DataFacts, Entry, Lockfile, PartFacts, dump_lockfile
from tests.controller.server.serve_helpers import BASE, Trainer

HELLO = [{"role": "user", "content": "안녕?"}]


class Engine:
    """Says letters, one a piece; counts what happens to it."""

    def __init__(self, backend):
        self.backend = backend

    def generate(self, model, prompt, sampling):
        self.backend.asked.append((model, prompt, sampling))
        if model == "gone":
            raise ModelMissing("no such model")
        try:
            for number in range(sampling.max_tokens):
                self.backend.gate.wait(10)
                last = number == sampling.max_tokens - 1
                yield Chunk(
                    text="가나다라마"[number % 5],
                    finish_reason="length" if last else None,
                    prompt_tokens=3 if last else 0,
                    completion_tokens=sampling.max_tokens if last else 0,
                )
        finally:
            self.backend.left.set()

    def close(self):
        self.backend.closed += 1


class Talking(Trainer):
    def __init__(self, state, **options):
        super().__init__(state, **options)
        self.asked, self.opened, self.closed = [], [], 0
        self.gate, self.left = threading.Event(), threading.Event()
        self.gate.set()

    def open_engine(self, base_model):
        self.opened.append(base_model.reference)
        return Engine(self)


def ask(server, **options):
    given = {"model": BASE, "messages": HELLO, "max_tokens": 3, **options}
    return server.client.chat.completions.create(**given)


def record(root, **builds):
    """Write a lockfile in which each fine-tune has one build, in production."""
    part = PartFacts(digest="sha256:0", examples=10)
    finetunes = {}
    for number, (name, (backend, model)) in enumerate(builds.items()):
        key = f"ft1:{number:064d}"
        build = Build(
            fingerprint=key,
            attempt=1,
            backend=backend,
            job="run-1",
            model_id=model,
            inputs={},
            base_model="../models/other",
            data=DataFacts(train=part, held_out=part),
            facts={},
            submitted="2026-11-21T00:00:00Z",
            finished="2026-11-21T00:00:00Z",
        )
        finetunes[name.replace("_", "-")] = Entry(production=key, builds={key: build})
    (root / "finetunes" / "ftctl.lock").write_bytes(dump_lockfile(Lockfile(finetunes=finetunes)))
