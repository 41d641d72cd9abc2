"""Readers of tables with a crystal in each row: CSV, JSON, JSON lines, Parquet."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pandas as pd

from matlode.artefacts import convert_read_errors
from matlode.data.crystals import CRYSTAL_COLUMNS
from matlode.data.readers.source import CHUNK, ReadOptions, Row, Source, pack_records
from matlode.data.structures import is_structure_dict
from matlode.data.tables import parquet_file, read_parts
from matlode.errors import InputError
from matlode.records import DroppedRow

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_GROWTH = 200
"""Largest ratio of uncompressed and compressed size. Tables of numbers and CIFs have about 20;
larger ratios indicate a decompression bomb."""

Records = Iterator[Row | DroppedRow]


def open_parquet(path: str, options: ReadOptions) -> Source:
    """Open a table of matlode (lattice, numbers, frac_coords), or one with a structure column."""
    file = Path(path)
    with parquet_file(file) as table:
        n_rows, names = table.metadata.num_rows, table.schema_arrow.names
    own = options.structure_column is None and set(CRYSTAL_COLUMNS) <= set(names)
    if not own:
        return replace(_open(file, _read_parquet_rows, options), n_rows=n_rows)
    return Source(name=path, chunks=read_parts(file, CHUNK), files=(file,), n_rows=n_rows)


def open_csv(path: str, options: ReadOptions) -> Source:
    """Open a file of comma-separated values with a header line; also gzipped."""
    return _open(Path(path), _read_csv_rows, options)


def open_json_lines(path: str, options: ReadOptions) -> Source:
    """Open a file with one JSON object per line: a row, or a crystal itself; also gzipped."""
    return _open(Path(path), _read_json_lines, options)


def open_json(path: str, options: ReadOptions) -> Source:
    """Open a JSON list of rows or crystals, a single crystal, or a pandas frame; also gzipped.

    The file is read into memory as a whole; prefer JSON lines for large tables.
    """
    return _open(Path(path), _read_json_rows, options)


def _open(file: Path, rows: Callable[[Path], Records], options: ReadOptions) -> Source:
    chunks = pack_records(rows(file), name=file.name, options=options, folder=file.parent)
    return Source(name=str(file), chunks=chunks, files=(file,))


def _read_parquet_rows(file: Path) -> Records:
    with parquet_file(file) as table:
        for batch in table.iter_batches(batch_size=CHUNK):
            batch.validate(full=True)
            yield from batch.to_pylist()


def _read_csv_rows(file: Path) -> Records:
    with (
        convert_read_errors(f"{file}: not readable as CSV; it", InputError),
        _open_bytes(file) as stream,
        # all values as text, since the types of later chunks are unknown
        pd.read_csv(stream, dtype=str, keep_default_na=False, chunksize=CHUNK) as chunks,
    ):
        for chunk in chunks:
            if not isinstance(chunk.index, pd.RangeIndex):
                raise InputError(
                    f"{file}: rows have more fields than the header line; correct the header, or "
                    "quote fields that contain commas."
                )
            for row in chunk.to_dict("records"):
                yield {str(name): value for name, value in row.items()}


def _read_json_lines(file: Path) -> Records:
    for number, line in enumerate(_read_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield DroppedRow(f"{file.name}:line {number}", f"not readable as JSON: {error}")
            continue
        if isinstance(row, dict):
            yield row
        else:
            reason = f"a JSON object was wanted, found a {type(row).__name__}"
            yield DroppedRow(f"{file.name}:line {number}", reason)


def _read_json_rows(file: Path) -> Records:
    with (
        convert_read_errors(f"{file}: not readable as JSON; it", InputError),
        _open_text(file) as stream,
    ):
        content = json.load(stream)
    with convert_read_errors(f"{file}: not a JSON table; it", InputError):
        rows = list(_extract_rows(content, file))
    yield from rows


def _extract_rows(content: object, file: Path) -> Iterator[Row]:
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        yield from content
    elif isinstance(content, dict) and is_structure_dict(content):
        yield content
    elif isinstance(content, dict) and content.keys() >= {"columns", "data"}:
        for row in content["data"]:
            yield dict(zip(content["columns"], row, strict=True))
    elif isinstance(content, dict) and all(isinstance(part, dict) for part in content.values()):
        # pandas writes {column: {row: value}}
        for key in next(iter(content.values()), {}):
            yield {column: values.get(key) for column, values in content.items()}
    else:
        raise InputError(
            f"{file}: not a table; expected a JSON list of objects, a crystal, or a frame in the "
            "format of pandas."
        )


def _read_lines(file: Path) -> Iterator[str]:
    with (
        convert_read_errors(f"{file}: not readable as JSON lines; it", InputError),
        _open_text(file) as stream,
    ):
        yield from stream


def _open_text(file: Path) -> IO[str]:
    """Open a text file, which may be gzipped."""
    return io.TextIOWrapper(_open_bytes(file), encoding="utf-8")


def _open_bytes(file: Path) -> IO[bytes]:
    if file.suffix != ".gz":
        return file.open("rb")
    return io.BufferedReader(_GzipReader(file), 1 << 16)


class _GzipReader(io.RawIOBase):
    """The content of a gzipped file; raises InputError if it grows more than ``MAX_GROWTH``."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream = gzip.open(file, "rb")  # noqa: SIM115 (closed by close)
        self._left = MAX_GROWTH * file.stat().st_size + (1 << 20)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer).cast("B")
        data = self._stream.read(len(room))
        self._left -= len(data)
        if self._left < 0:
            raise InputError(
                f"{self._file} unpacks to more than {MAX_GROWTH} times its size, which is unusual "
                "for a table; unpack it yourself if you trust it."
            )
        room[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
