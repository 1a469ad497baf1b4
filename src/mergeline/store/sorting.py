"""Rows of whole numbers, sorted on disk: any number of them in the memory of a few.

In: rows of one width, each number from 0 to 2**63 - 1, in any order. Out: the same rows in order. Never: more than
`ROWS_IN_MEMORY_MAX` rows in memory (and a buffer for each so many), or a file that outlives the block.
"""

import heapq
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Final, Self

from mergeline.errors import SetupError

ROWS_IN_MEMORY_MAX: Final = 400_000
BUFFER_BYTES: Final = 48 * 1024


class SortedRows:
    """Put rows in, then iterate, once; a context manager that removes its file."""

    def __init__(self, width: int) -> None:
        self._struct = struct.Struct(f">{width}Q")  # big-endian: bytes sort as the numbers do
        self._rows: list[bytes] = []
        self._runs: list[tuple[int, int]] = []
        """Where each sorted run begins and ends in the file."""
        with _written():
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="mergeline-")  # noqa: SIM115 - closed by the block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, *row: int) -> None:
        """Take a row."""
        self._rows.append(self._struct.pack(*row))
        if len(self._rows) >= ROWS_IN_MEMORY_MAX:
            self._write_run()

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """The rows in order."""
        self._write_run()
        return map(self._struct.unpack, heapq.merge(*(self._read(*run) for run in self._runs)))

    def _write_run(self) -> None:
        self._rows.sort()
        begin = self._file.tell()
        with _written():
            self._file.writelines(self._rows)
            self._file.flush()
        self._runs.append((begin, self._file.tell()))
        self._rows.clear()

    def _read(self, begin: int, end: int) -> Iterator[bytes]:
        size = self._struct.size
        step = BUFFER_BYTES // size * size
        for at in range(begin, end, step):
            self._file.seek(at)
            block = self._file.read(min(step, end - at))
            yield from (block[one : one + size] for one in range(0, len(block), size))


@contextmanager
def _written() -> Iterator[None]:
    """Raises `SetupError` where the file cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or "none can be written to"
        raise SetupError(
            f"The folder for temporary files: {reason}. Mount one with room at /tmp, or set TMPDIR."
        ) from None
