"""Arrays and tables in files without names: what is large and used in parts needs no memory.

The files are in the folder of temporary files (TMPDIR); where that is memory itself, nothing is
gained by them.
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
    """An array whose content is a file's, from its beginning."""

    def __init__(self, file: IO[bytes], dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        if file.tell() == 0:
            _write(file, b"\0")  # nothing cannot be mapped
        with _room():
            file.flush()
        self._mapped = mmap.mmap(file.fileno(), 0)
        self.values: NDArray[Any] = np.frombuffer(self._mapped, dtype, math.prod(shape))
        self.values = self.values.reshape(shape)

    @classmethod
    def zeros(cls, dtype: DTypeLike, shape: tuple[int, ...]) -> MappedArray:
        """Raises WriteError if the disk has no room for all of it: later that would be a signal."""
        n_bytes = max(math.prod(shape) * np.dtype(dtype).itemsize, 1)
        with _unnamed_file() as file:
            with _room():
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, n_bytes)
                file.truncate(n_bytes)
                file.seek(n_bytes)
            return cls(file, dtype, shape)

    def let_go(self) -> None:
        """Have the system take back the memory that parts of the file are in, where it can."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)


class SpooledCrystals:
    """Crystals that came part by part, on the disk."""

    def __init__(self, parts: Iterable[Crystals]) -> None:
        """Raises WriteError if the disk has no room for them."""
        counts = [np.zeros(1, np.int64)]
        with ExitStack() as stack:
            files = {name: stack.enter_context(_unnamed_file()) for name in _FIELDS}
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
        """All of them, in order."""

    def taken(self, keep: NDArray[np.bool_]) -> SpooledCrystals:
        """Those of a mask (n,)."""
        return SpooledCrystals(
            part.take(keep[rows]) for rows, part in self.parts(_CRYSTALS_AT_ONCE)
        )

    def parts(self, n: int) -> Iterator[tuple[slice, Crystals]]:
        """Their rows and they, ``n`` at a time; of none an empty part."""
        for rows, part in self.crystals.parts(n):
            yield rows, part
            for array in self._arrays.values():
                array.let_go()


class SpooledTables:
    """Tables, each with columns of its own, on the disk until they are closed."""

    def __init__(self) -> None:
        """Raises WriteError if there can be no file."""
        self._open = ExitStack()
        self._file = self._open.enter_context(_unnamed_file())
        self._end = 0

    def add(self, table: pa.Table) -> slice:
        """Where it lies; raises WriteError if the disk has no room for it."""
        packed = pa.BufferOutputStream()
        with pa.ipc.new_stream(packed, table.schema) as writer:
            writer.write_table(table)
        data = packed.getvalue()
        with _room():
            self._file.seek(self._end)
            self._file.write(data)
            self._file.flush()
        place = slice(self._end, self._end + data.size)
        self._end = place.stop
        return place

    def read(self, place: slice) -> pa.Table:
        """The table that lies there."""
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
def _unnamed_file() -> Iterator[IO[bytes]]:
    """Gone with the last who holds it; raises WriteError if there can be none."""
    with ExitStack() as stack:
        with _room():
            file = stack.enter_context(TemporaryFile())
        try:
            yield file
        finally:
            # what finds no room now was told, or nobody wants it
            with suppress(OSError):
                file.close()


def _write(file: IO[bytes], data: bytes) -> None:
    with _room():
        file.write(data)


@contextmanager
def _room() -> Iterator[None]:
    """What the system refuses in the block is told as a WriteError with what to do."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"no room for what does not fit into memory ({error.strerror or error}); make some in "
            "the folder of temporary files, or name another in the environment variable TMPDIR."
        ) from error
