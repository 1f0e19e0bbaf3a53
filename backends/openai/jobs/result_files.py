"""The result file of a job: its metrics by step, as CSV or as base64 of it. Pure."""

import base64
import binascii
import csv
from typing import Final

from backends.contract.inspector import Json
from backends.openai.api.protocol import number

_METRICS: Final = {
    "train_loss": "loss",
    "full_valid_loss": "held_out_loss",
    "train_mean_token_accuracy": "accuracy",
    "full_valid_mean_token_accuracy": "held_out_accuracy",
}


def result_rows(content: bytes) -> list[dict[str, str]]:
    """Return the rows of a result file by column; an unreadable file has none.

    Args:
        content: The file's bytes.
    """
    text = content.decode("utf-8-sig", "replace")
    if not _is_table(text):
        try:
            text = base64.b64decode(content).decode("utf-8-sig", "replace")
        except (binascii.Error, ValueError):
            return []
    if not _is_table(text):
        return []
    try:
        return list(csv.DictReader(text.splitlines()))
    except csv.Error:
        return []


def result_metrics(content: bytes) -> dict[str, Json]:
    """Return the last numbers of a result file.

    Args:
        content: The file's bytes; an unreadable file gives no numbers.
    """
    last: dict[str, Json] = {}
    best: float | None = None
    for row in result_rows(content):
        for column, value in row.items():
            found = number(value)
            if column and found is not None:
                last[column] = int(found) if column == "step" else found
        held_out = number(row.get("full_valid_loss")) or number(row.get("valid_loss"))
        if held_out is not None:
            best = held_out if best is None else min(best, held_out)
    metrics: dict[str, Json] = {"steps": last.pop("step")} if "step" in last else {}
    metrics |= {_METRICS.get(column, column): value for column, value in last.items()}
    if "valid_loss" in metrics:
        metrics.setdefault("held_out_loss", metrics["valid_loss"])
    if best is not None:
        metrics["best_held_out_loss"] = best
    return metrics


def _is_table(text: str) -> bool:
    return text.lstrip().lower().startswith("step")
