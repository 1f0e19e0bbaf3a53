"""Read Parquet by pyarrow, some rows of a column chunk at a time."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import compute, types
from pyarrow.parquet import ParquetFile

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.readers.csv_table import header
from controller.data.readers.json_values import as_json
from controller.data.sources.source_file import CHUNK, NumberedRow, SourceFile

_Arrow: TypeAlias = Any
"""Pyarrow has no types."""

_BATCH_BYTES = 8 << 20
_BATCH_ROWS = 5_000


def read(file: SourceFile) -> Iterator[NumberedRow]:
    """Yield the rows of a file, each with its number."""
    try:
        # Without buffers, whole column chunks are read, of any size.
        table = ParquetFile(str(file.path), buffer_size=CHUNK, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise _error(
            "not a Parquet file", error, "Name a Parquet file, or its format: format: csv"
        ) from None
    with table:
        header(table.schema_arrow.names)
        number = 0
        try:
            for batch in table.iter_batches(batch_size=_batch_rows(table.metadata)):
                for row in _rows(batch):
                    number += 1
                    yield number, row
        except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
            problem = _error("the Parquet data cannot be read", error, "Copy the whole file again.")
            problem.line, problem.whole = number + 1, False
            raise problem from None


def _batch_rows(metadata: _Arrow) -> int:
    size = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    rows: int = max(1, min(_BATCH_ROWS, _BATCH_BYTES * metadata.num_rows // max(size, 1)))
    return rows


def _rows(batch: _Arrow) -> Iterator[dict[str, Json]]:
    names = batch.schema.names
    columns = [_values(column) for column in batch.columns]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _values(column: _Arrow) -> list[Json]:
    values: list[Json]
    if _is_json(column.type):
        values = column.to_pylist()
        return values
    target = _in_microseconds(column.type)
    if target != column.type:
        # Python has no nanoseconds.
        column = compute.cast(column, target, safe=False)
    return [as_json(value) for value in column.to_pylist(maps_as_pydicts="strict")]


def _is_json(kind: _Arrow) -> bool:
    if types.is_struct(kind):
        return all(_is_json(field.type) for field in kind)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        return _is_json(kind.value_type)
    is_plain = (
        types.is_string, types.is_large_string, types.is_integer, types.is_floating,
        types.is_boolean, types.is_null,
    )  # fmt: skip
    return any(is_kind(kind) for is_kind in is_plain)


def _in_microseconds(kind: _Arrow) -> _Arrow:
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if types.is_time64(kind):
        return pa.time64("us")
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_struct(kind):
        return pa.struct([field.with_type(_in_microseconds(field.type)) for field in kind])
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_microseconds(kind.value_type)))
    return kind


def _error(message: str, error: Exception, remedy: str) -> DataError:
    if isinstance(error, OSError) and error.errno is not None:
        # An error of the disk and not of the file.
        raise error
    reason = str(error).partition("\n")[0].rstrip(".")
    return DataError(message, f"{remedy} (pyarrow: {reason})", whole=True)
