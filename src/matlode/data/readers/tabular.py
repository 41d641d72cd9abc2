"""Tables with a crystal in each row: CSV, JSON, JSON lines, Parquet."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from matlode.data.crystals import CRYSTAL_COLUMNS
from matlode.data.readers.source import CHUNK, ReadOptions, Source, pack_records
from matlode.data.structures import is_structure_dict
from matlode.data.tables import read_table
from matlode.errors import InputError
from matlode.records import DroppedRow

Records = Iterator[Mapping[str, Any] | DroppedRow]


def open_parquet(path: str, options: ReadOptions) -> Source:
    """matlode's own table (lattice, numbers, frac_coords), or any with a structure column."""
    file = Path(path)
    try:
        names = pq.read_schema(file).names
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet table ({error}).") from error
    own = options.structure_column is None and set(CRYSTAL_COLUMNS) <= set(names)
    if not own:
        return _open(file, _parquet_rows, options)
    return Source(name=path, chunks=iter([read_table(file)]), files=(file,))


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
    chunks = pack_records(rows(file), name=file.name, options=options)
    return Source(name=str(file), chunks=chunks, files=(file,))


def _parquet_rows(file: Path) -> Records:
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(batch_size=CHUNK):
            yield from batch.to_pylist()


def _csv_rows(file: Path) -> Records:
    try:
        # all as text: a chunk cannot know what the next one holds
        with pd.read_csv(file, dtype=str, keep_default_na=False, chunksize=CHUNK) as chunks:
            for chunk in chunks:
                for row in chunk.to_dict("records"):
                    yield {str(name): value for name, value in row.items()}
    except (ValueError, UnicodeError, OSError) as error:
        raise InputError(f"{file}: not readable as CSV ({error}).") from error


def _json_lines_rows(file: Path) -> Records:
    with _text(file) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                yield DroppedRow(f"{file.name}:line {number}", f"not readable as JSON: {error}")
                continue
            if isinstance(row, dict):
                yield row
            else:
                reason = f"a JSON object was wanted, found a {type(row).__name__}"
                yield DroppedRow(f"{file.name}:line {number}", reason)


def _json_rows(file: Path) -> Records:
    try:
        with _text(file) as stream:
            content = json.load(stream)
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: not readable as JSON ({error}).") from error
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


def _text(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8")
    return file.open(encoding="utf-8")
