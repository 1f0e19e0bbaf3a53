"""Scratch files of one build: in memory while they are small, then on the disk.

Most datasets are small, and creating a file only to remove it takes longer than building them.
"""

from pathlib import Path
from tempfile import SpooledTemporaryFile

LIMIT = 256 << 10
"""Bytes of one file that stay in memory."""

_BUFFER = 1 << 15


class ScratchFile:
    """Bytes that are appended and read at any position; closing the file removes them."""

    def __init__(self, folder: Path) -> None:
        """Prepare an empty file.

        Args:
            folder: Folder of the file once it exceeds `LIMIT`; created then.
        """
        self._folder = folder
        self._file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(  # noqa: SIM115 - `close`
            max_size=LIMIT, mode="w+b", buffering=_BUFFER, dir=str(folder)
        )
        self._is_at_end = True
        self.size = 0

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes."""
        if not self._is_at_end:
            self._file.seek(self.size)
            self._is_at_end = True
        if self.size <= LIMIT < self.size + len(data):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._file.write(data)
        self.size += len(data)

    def read(self, start: int = 0, size: int = -1) -> bytes:
        """Return `size` bytes from a position on, or all of them."""
        self._file.seek(start)
        self._is_at_end = False
        return self._file.read(size)

    def close(self) -> None:
        """Remove the bytes."""
        self._file.close()
