"""Tables with a crystal in each row: CSV, JSON, JSON lines, Parquet."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pandas as pd

from matlode.artefacts import understood
from matlode.data.crystals import CRYSTAL_COLUMNS
from matlode.data.readers.source import CHUNK, ReadOptions, Source, pack_records
from matlode.data.structures import is_structure_dict
from matlode.data.tables import parquet_file, read_parts
from matlode.errors import InputError
from matlode.records import DroppedRow

MAX_GROWTH = 200
"""Of gzipped text: tables of numbers and CIFs shrink to a twentieth, nothing but a bomb to less."""

Records = Iterator[Mapping[str, Any] | DroppedRow]


def open_parquet(path: str, options: ReadOptions) -> Source:
    """matlode's own table (lattice, numbers, frac_coords), or any with a structure column."""
    file = Path(path)
    with parquet_file(file) as table:
        n_rows, names = table.metadata.num_rows, table.schema_arrow.names
    own = options.structure_column is None and set(CRYSTAL_COLUMNS) <= set(names)
    if not own:
        return replace(_open(file, _parquet_rows, options), n_rows=n_rows)
    return Source(name=path, chunks=read_parts(file, CHUNK), files=(file,), n_rows=n_rows)


def open_csv(path: str, options: ReadOptions) -> Source:
    """Comma-separated values with a heading; also gzipped."""
    return _open(Path(path), _csv_rows, options)


def open_json_lines(path: str, options: ReadOptions) -> Source:
    """One JSON object per line, a row or a crystal itself; also gzipped."""
    return _open(Path(path), _json_lines_rows, options)


def open_json(path: str, options: ReadOptions) -> Source:
    """A JSON list of rows or crystals, a single one, or a pandas frame; also gzipped.

    It is read as a whole; prefer JSON lines for what is large.
    """
    return _open(Path(path), _json_rows, options)


def _open(file: Path, rows: Callable[[Path], Records], options: ReadOptions) -> Source:
    chunks = pack_records(rows(file), name=file.name, options=options, folder=file.parent)
    return Source(name=str(file), chunks=chunks, files=(file,))


def _parquet_rows(file: Path) -> Records:
    with parquet_file(file) as table:
        for batch in table.iter_batches(batch_size=CHUNK):
            batch.validate(full=True)
            yield from batch.to_pylist()


def _csv_rows(file: Path) -> Records:
    with (
        understood(f"{file}: not readable as CSV; it", InputError),
        _bytes(file) as stream,
        # all as text: a chunk cannot know what the next one holds
        pd.read_csv(stream, dtype=str, keep_default_na=False, chunksize=CHUNK) as chunks,
    ):
        for chunk in chunks:
            if not isinstance(chunk.index, pd.RangeIndex):
                raise InputError(f"{file}: its rows have more fields than there are headings.")
            for row in chunk.to_dict("records"):
                yield {str(name): value for name, value in row.items()}


def _json_lines_rows(file: Path) -> Records:
    for number, line in enumerate(_lines(file), start=1):
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


def _json_rows(file: Path) -> Records:
    with understood(f"{file}: not readable as JSON; it", InputError), _text(file) as stream:
        content = json.load(stream)
    with understood(f"{file}: no table of JSON; it", InputError):
        rows = list(_rows_of(content, file))
    yield from rows


def _rows_of(content: Any, file: Path) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        yield from content
    elif is_structure_dict(content):
        yield content
    elif isinstance(content, dict) and content.keys() >= {"columns", "data"}:
        for row in content["data"]:
            yield dict(zip(content["columns"], row, strict=True))
    elif isinstance(content, dict) and all(isinstance(part, dict) for part in content.values()):
        # pandas writes column → row → value
        for key in next(iter(content.values()), {}):
            yield {column: values.get(key) for column, values in content.items()}
    else:
        raise InputError(
            f"{file}: wanted a JSON list of objects, a crystal, or a frame as pandas writes it."
        )


def _lines(file: Path) -> Iterator[str]:
    with understood(f"{file}: not readable as JSON lines; it", InputError), _text(file) as stream:
        yield from stream


def _text(file: Path) -> IO[str]:
    """The text of a file; unpacked, if it is gzipped."""
    return io.TextIOWrapper(_bytes(file), encoding="utf-8")


def _bytes(file: Path) -> IO[bytes]:
    if file.suffix != ".gz":
        return file.open("rb")
    return io.BufferedReader(_Unpacked(file), 1 << 16)


class _Unpacked(io.RawIOBase):
    """What a gzipped file holds, as long as it grows no more than text does."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream = gzip.open(file, "rb")  # noqa: SIM115 (closed by close)
        self._left = MAX_GROWTH * file.stat().st_size + (1 << 20)

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        data = self._stream.read(len(room))
        self._left -= len(data)
        if self._left < 0:
            raise InputError(
                f"{self._file} unpacks to more than {MAX_GROWTH} times its size, which no table "
                "does; unpack it yourself if you trust it."
            )
        room[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
