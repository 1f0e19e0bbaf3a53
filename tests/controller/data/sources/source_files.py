"""Files to read, as a source names them."""

import gzip
from pathlib import Path

import pyarrow as pa

from controller.data.sources.inspect_file import inspect_file
from controller.data.sources.source_file import SourceFile
from controller.spec.data import Source


def source_file(path: Path, file_format: str = "", **said) -> SourceFile:
    file_format = (
        file_format or path.name.removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    )
    info = inspect_file(
        path, path.parent / "looks", file_format=file_format, encoding=said.get("encoding")
    )
    return SourceFile(
        path=path,
        display_path=path.name,
        format=file_format,
        info=info,
        source=Source.model_validate({"path": path.name, **said}),
    )


def zstd(content: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(content)
    return packed.getvalue().to_pybytes()


PACK = {"gz": gzip.compress, "zst": zstd}
