"""Arrays and tables in unnamed temporary files, so that large ones need no memory.

The files are in the folder of temporary files (TMPDIR). If that is a file system in memory, no
memory is saved.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from matlode.data.crystals import Crystals
from matlode.errors import WriteError

_CRYSTALS_AT_ONCE = 4096
_FIELDS: dict[str, tuple[DTypeLike, tuple[int, ...]]] = {
    "lattices": (np.float64, (3, 3)),
    "numbers": (np.int64, ()),
    "frac_coords": (np.float64, (3,)),
    "occupancies": (np.float64, ()),
}


class MappedArray:
    """An array that is mapped to the content of a file."""

    def __init__(self, file: IO[bytes], dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        if file.tell() == 0:
            _write(file, b"\0")  # an empty file cannot be mapped
        with _convert_os_errors():
            file.flush()
        self._mapped = mmap.mmap(file.fileno(), 0)
        self.values: NDArray[Any] = np.frombuffer(self._mapped, dtype, math.prod(shape))
        self.values = self.values.reshape(shape)

    @classmethod
    def zeros(cls, dtype: DTypeLike, shape: tuple[int, ...]) -> MappedArray:
        """Return an array of zeros. Raises WriteError if the disk is full.

        The space is allocated in advance, since writing to a mapped array on a full disk would
        kill the process.
        """
        n_bytes = max(math.prod(shape) * np.dtype(dtype).itemsize, 1)
        with _open_unnamed_file() as file:
            with _convert_os_errors():
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, n_bytes)
                file.truncate(n_bytes)
                file.seek(n_bytes)
            return cls(file, dtype, shape)

    def release_memory(self) -> None:
        """Release the memory of the mapped pages if the operating system supports it."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)


class SpooledCrystals:
    """A batch of crystals that is stored on disk."""

    def __init__(self, parts: Iterable[Crystals]) -> None:
        """Store consecutive parts. Raises WriteError if the disk is full."""
        counts = [np.zeros(1, np.int64)]
        with ExitStack() as stack:
            files = {name: stack.enter_context(_open_unnamed_file()) for name in _FIELDS}
            for part in parts:
                counts.append(part.n_atoms)
                for name, file in files.items():
                    dtype, _ = _FIELDS[name]
                    _write(file, np.ascontiguousarray(getattr(part, name), dtype).tobytes())
            offsets = np.cumsum(np.concatenate(counts))
            n, n_atoms = len(offsets) - 1, int(offsets[-1])
            self._arrays = {
                name: MappedArray(files[name], dtype, (n if name == "lattices" else n_atoms, *row))
                for name, (dtype, row) in _FIELDS.items()
            }
        arrays = {name: array.values for name, array in self._arrays.items()}
        self.crystals = Crystals(offsets=offsets, **arrays)
        """All crystals in order."""

    def taken(self, keep: NDArray[np.bool_]) -> SpooledCrystals:
        """Return the crystals selected by a mask (n,)."""
        return SpooledCrystals(
            part.take(keep[rows]) for rows, part in self.parts(_CRYSTALS_AT_ONCE)
        )

    def parts(self, n: int) -> Iterator[tuple[slice, Crystals]]:
        """Yield slices of rows and their crystals as ``Crystals.parts`` does."""
        for rows, part in self.crystals.parts(n):
            yield rows, part
            for array in self._arrays.values():
                array.release_memory()


class SpooledTables:
    """Tables with arbitrary columns, stored on disk until the object is closed."""

    def __init__(self) -> None:
        """Open the file. Raises WriteError if that fails."""
        self._open = ExitStack()
        self._file = self._open.enter_context(_open_unnamed_file())
        self._end = 0

    def add(self, table: pa.Table) -> slice:
        """Store a table and return its place. Raises WriteError if the disk is full."""
        packed = pa.BufferOutputStream()
        with pa.ipc.new_stream(packed, table.schema) as writer:
            writer.write_table(table)
        data = packed.getvalue()
        with _convert_os_errors():
            self._file.seek(self._end)
            self._file.write(data)
            self._file.flush()
        place = slice(self._end, self._end + data.size)
        self._end = place.stop
        return place

    def read(self, place: slice) -> pa.Table:
        """Return the table that ``add`` stored at ``place``."""
        self._file.seek(place.start)
        with pa.ipc.open_stream(self._file.read(place.stop - place.start)) as reader:
            return reader.read_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()


@contextmanager
def _open_unnamed_file() -> Iterator[IO[bytes]]:
    """Open a file that disappears when its last user closes it. Raises WriteError if it fails."""
    with ExitStack() as stack:
        with _convert_os_errors():
            file = stack.enter_context(TemporaryFile())
        try:
            yield file
        finally:
            # an error was already reported when writing, or the content is not needed any more
            with suppress(OSError):
                file.close()


def _write(file: IO[bytes], data: bytes) -> None:
    with _convert_os_errors():
        file.write(data)


@contextmanager
def _convert_os_errors() -> Iterator[None]:
    """Convert each OSError of the block to a WriteError that says what to do."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"no space for temporary files ({error.strerror or error}); free some space in the "
            "folder of temporary files, or set the environment variable TMPDIR to another folder."
        ) from error
