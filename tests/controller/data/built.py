"""A built dataset, as tests compare it."""

import json
from pathlib import Path

from controller.data.dataset import Dataset


def digests(dataset: Dataset) -> tuple[str, str]:
    return dataset.train.digest, dataset.held_out.digest


def examples(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
