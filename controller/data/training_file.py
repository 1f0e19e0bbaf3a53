"""A file in OpenAI's training format, such as an upload: checked and written as canonical JSONL.

The rows pass through the steps that every dataset passes through, with the model's own checks, so
that equal examples have equal bytes everywhere. Every example is kept, duplicates included. Memory
does not grow with the file.
"""

from array import array
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from backends.contract.inspector import ExampleInspector
from backends.contract.methods import METHODS, SUPERVISED
from controller.data.errors import DataError
from controller.data.pipeline.batch_result import BatchResult
from controller.data.pipeline.batches import read_batches
from controller.data.pipeline.build_request import BuildRequest
from controller.data.pipeline.prepare_rows import RowPreparation
from controller.data.pipeline.problems import Problems
from controller.data.pipeline.process_pool import process_pool
from controller.data.sources.inspect_file import inspect_file
from controller.data.sources.source_file import SourceFile, SourceLabel
from controller.data.storage.hashing_writer import HashingWriter
from controller.errors import Problem
from controller.spec.data import Data, Prepare, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFile:
    """Result of checking a training file; its canonical form is usable if there is no problem."""

    sha256: str
    """SHA-256 of the canonical bytes, in hex."""
    examples: int
    problems: tuple[Problem, ...]
    """Problems of the first lines that have some, with line numbers; a count of the others last."""


def check_training_file(
    source: Path,
    target: Path,
    *,
    name: str,
    inspector: ExampleInspector | None,
    method: str = SUPERVISED.name,
) -> TrainingFile:
    """Check a training file, and write its canonical form and `<target's stem>.origins` beside it.

    Args:
        source: JSONL in the format of OpenAI's fine-tuning; may be in any known encoding.
        target: Canonical JSONL; replaced if it exists.
        name: Name of the file in problems and origins: `file-abc`.
        inspector: The base model's view on examples; None to skip its checks.
        method: Training method, which decides the form of an example.

    Raises:
        OSError: The file cannot be read, or the canonical form cannot be written.
    """
    problems = Problems(SourceLabel(name))
    with ExitStack() as stack:
        lines = stack.enter_context(closing(HashingWriter(target)))
        origins = stack.enter_context(closing(HashingWriter(target.with_suffix(".origins"))))
        try:
            preparation = _preparation(source, name, method, inspector)
            for result in _results(preparation):
                for block in result.blocks:
                    if isinstance(block.json_lines, bytes):
                        lines.add(block.json_lines, block.examples)
                    numbers = array("I", block.columns["line"])
                    origins.add(preparation.file.label.of_rows(numbers).encode(), block.examples)
                problems.add_batch(result)
        except DataError as error:
            problems.add(None, error)
        written = lines.finish()
        origins.finish()
    return TrainingFile(
        sha256=written.sha256, examples=written.lines, problems=tuple(problems.all())
    )


def _preparation(
    path: Path, name: str, method: str, inspector: ExampleInspector | None
) -> RowPreparation:
    source = Source(path=name, shape="chat" if METHODS[method].recognises_rows else None)
    info = inspect_file(path, file_format="jsonl")
    unchanged = Prepare(deduplicate="off")
    # Every example is written as one of the train split, which a file of its own accompanies.
    data = Data(train=[source], held_out=[source], prepare=unchanged)
    return RowPreparation(
        request=BuildRequest(data=data, file=name, method=method, inspector=inspector),
        file=SourceFile(path=path, display_path=name, format="jsonl", info=info, source=source),
    )


def _results(preparation: RowPreparation) -> Iterator[BatchResult]:
    file = preparation.file
    with process_pool(file.path.stat().st_size) as map_ordered:
        yield from map_ordered(preparation, read_batches(file, None, preparation.conditions))
