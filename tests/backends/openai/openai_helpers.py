"""What tests of the openai backend share beside fixtures."""

import json

from backends.contract.jobs import BaseModel, TrainRequest
from backends.openai.api.retry_policy import RetryPolicy, RetrySettings

MODEL = "gpt-4o-mini-2024-07-18"
QUICK = RetryPolicy(window_s=0.25, pause_s=0.02, lag_s=0.0, look_s=0.0, slow_down_s=2.0)
QUICK_CHAT = RetrySettings(pause_s=0.01, total_s=0.5, at_once=4)


def write_request(folder, *, examples=12, **changes):
    """Write a dataset and return the request to train on it."""
    folder.mkdir(exist_ok=True)
    paths = {name: folder / name for name in ("train.jsonl", "held_out.jsonl", "train.origins")}
    line = json.dumps(
        {"messages": [{"role": "user", "content": "질문"}, {"role": "assistant", "content": "답"}]},
        ensure_ascii=False,
    )
    paths["train.jsonl"].write_text(f"{line}\n" * examples, "utf-8")
    paths["held_out.jsonl"].write_text(f"{line}\n" * 2, "utf-8")
    origins = "".join(f"data/cafe.csv:{n}\n" for n in range(2, examples + 2))
    paths["train.origins"].write_text(origins)
    fields = {
        "name": "cafe-consultant",
        "fingerprint": "ft1:" + "ab" * 32,
        "attempt": 1,
        "base_model": BaseModel(reference=MODEL, revision=None, identity=f"model:{MODEL}"),
        "method": "supervised",
        "hyperparameters": {
            "n_epochs": 3,
            "batch_size": "auto",
            "learning_rate_multiplier": "auto",
        },
        "seed": 42,
        "train": paths["train.jsonl"],
        "held_out": paths["held_out.jsonl"],
        "train_origins": paths["train.origins"],
    }
    return TrainRequest(**(fields | changes))
