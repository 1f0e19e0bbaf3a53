"""A backend of tests, `acme`, and a call of each of its methods."""

from pathlib import Path

from backends.contract.completions import Prompt, Sampling
from backends.contract.exports import ExportRequest
from backends.contract.guard.guarded import guard
from backends.contract.jobs import (
    BaseModel,
    TrainRequest,
)
from backends.testing import ScriptedBackend

BASE = BaseModel(reference="acme/base", revision="1", identity="scripted:acme/base@1")
KEY = "ft1:" + "ab" * 32
NOWHERE = Path("/nonexistent")
REQUEST = TrainRequest(
    name="faq",
    fingerprint=KEY,
    attempt=1,
    base_model=BASE,
    method="supervised",
    hyperparameters={"learning_rate": 1e-4, "num_train_epochs": 3},
    seed=42,
    train=NOWHERE,
    held_out=NOWHERE,
    train_origins=NOWHERE,
)
PROMPT = Prompt(messages=[{"role": "user", "content": "?"}])
REMEDY = (
    "Report it to the authors of acme; `backends.testing.check_backend` shows what the contract "
    "asks."
)
EXPORT = ExportRequest(model_id="model-1", name="faq", format="adapter", folder=NOWHERE)
CALLS = {
    "capabilities": lambda b: b.capabilities(),
    "parse_hyperparameters": lambda b: b.parse_hyperparameters("supervised", {}),
    "common_names": lambda b: b.common_names(),
    "resolve_base_model": lambda b: b.resolve_base_model("acme/base", None, NOWHERE),
    "inspector": lambda b: b.inspector(BASE, "supervised", {}),
    "estimate": lambda b: b.estimate(REQUEST, 10, None),
    "find_jobs": lambda b: b.find_jobs(iter([KEY])),
    "find_jobs_by_name": lambda b: b.find_jobs_by_name(iter(["faq"])),
    "verify_job": lambda b: b.verify_job(REQUEST, "job-1"),
    "submit": lambda b: b.submit(REQUEST),
    "observe": lambda b: b.observe(iter(["job-1"])),
    "events": lambda b: list(b.events("job-1")),
    "curve": lambda b: list(b.curve("job-1")),
    "cancel": lambda b: b.cancel("job-1"),
    "complete": lambda b: list(b.complete(BASE, [None], [PROMPT, PROMPT], Sampling())),
    "export_model": lambda b: list(b.export_model(EXPORT)),
    "weights_folder": lambda b: b.weights_folder("model-1"),
    "answers": lambda b: b.answers(BASE),
    "estimate_answers": lambda b: b.estimate_answers(BASE, None, [PROMPT], Sampling()),
    "stored_completions": lambda b: list(b.stored_completions(None, {})),
    "stored_messages": lambda b: b.stored_messages("chatcmpl-1"),
    "open_engine": lambda b: b.open_engine(BASE),
    "delete": lambda b: b.delete("model-1"),
}


def acme(folder: Path, **methods):
    """Return a guarded backend of which some methods are replaced."""
    kind = type("Acme", (ScriptedBackend,), methods)
    return guard("acme", lambda: kind(folder), built_in=False)
