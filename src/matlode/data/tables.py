"""Read and write tables of materials: any Parquet table, the starter set, the full-size table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from matlode.artefacts import MALFORMED, write_atomically, write_text
from matlode.data.cleaning import find_problems
from matlode.data.crystals import ALL_CRYSTAL_COLUMNS, Crystals
from matlode.data.formulas import compute_formulas
from matlode.errors import InputError
from matlode.records import DroppedRow, replace_surrogates

TABLE_FILE = "materials.parquet"
"""File name of the table in a folder that ``write_materials`` writes."""
PART_ROWS = 16_384
"""Number of rows written at once."""
BATCH_ROWS = 4096
"""Default number of crystals read at once: a few megabytes, enough work for several threads."""
DATA_VARIABLE = "MATLODE_DATA"
"""Environment variable: a structure table, or a folder with one of TABLE_NAMES."""
TABLE_NAMES = ("structures.parquet", "materials.parquet")
"""File names of tables in folders; `matlode data import` writes the second one."""


@dataclass(frozen=True, repr=False)
class Materials:
    """A table of n materials: crystals, and their labels in a frame of the same length."""

    frame: pd.DataFrame
    """id, formula (reduced, elements in alphabetical order) and any labels; index 0..n-1."""
    crystals: Crystals
    dropped: tuple[DroppedRow, ...] = field(default=())
    """Rows that could not be read or used, with reasons."""

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        columns = list(map(str, self.frame.columns))
        named = columns if len(columns) < 5 else [*columns[:2], "...", columns[-1]]
        return f"Materials({len(self)} rows, {len(self.dropped)} dropped; {', '.join(named)})"

    def take(self, indices: NDArray[np.integer | np.bool_]) -> Materials:
        """Return the rows at ``indices`` (integers or a boolean mask)."""
        chosen = np.arange(len(self))[np.asarray(indices)]
        frame = self.frame.iloc[chosen].reset_index(drop=True)
        return Materials(frame, self.crystals.take(chosen), self.dropped)

    def label(self, column: str) -> NDArray[np.float64]:
        """Return a numeric column (n,) as floats; NaN for missing values and missing columns."""
        if column not in self.frame:
            return np.full(len(self), np.nan)
        return self.frame[column].to_numpy(dtype=float, na_value=np.nan)


def read_table(path: Path) -> Materials:
    """Read a Parquet table with the columns lattice, numbers, frac_coords and any labels.

    The optional column ``occupancies`` describes mixed sites. ``formula`` is computed from the
    crystals; missing ids are filled in; unusable rows are moved to ``dropped``. Raises InputError
    if the file cannot be read or has no crystal columns.

    >>> read_table(find_starter()).frame["formula"].nunique()
    5226
    """
    with parquet_file(path) as file:
        table = file.read()
        table.validate(full=True)  # damaged lists and strings could be read beyond their ends
        return convert_materials(table, name=path.name)


@contextmanager
def parquet_file(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, of which only the requested parts are read into memory.

    Raises InputError if the file cannot be opened, and for read errors in the block.
    """
    try:
        # the only interface of pyarrow that accepts any file name, including colons
        with (
            pa.OSFile(os.fsencode(path), "rb") as stream,
            pq.ParquetFile(stream, pre_buffer=False) as file,
        ):
            yield file
    except (*MALFORMED, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet table ({error}).") from error


def count_rows(table: Path) -> int:
    """Return the number of rows in the footer of a Parquet table.

    Raises InputError if the table cannot be read.
    """
    with parquet_file(table) as file:
        return file.metadata.num_rows


def read_crystal_batches(table: Path, n_rows: int = BATCH_ROWS) -> Iterator[Crystals]:
    """Yield the crystals of a Parquet table in order, ``n_rows`` at a time.

    Only the crystal columns of one row group are in memory. Raises InputError if the table
    cannot be read or lacks a crystal column.
    """
    with parquet_file(table) as file:
        present = [n for n in ALL_CRYSTAL_COLUMNS if n in file.schema_arrow.names]
        for batch in file.iter_batches(n_rows, columns=present):
            batch.validate(full=True)  # damaged lists could be read beyond their ends
            yield Crystals.from_table(pa.Table.from_batches([batch]))


def read_parts(path: Path, n_rows: int) -> Iterator[Materials]:
    """Yield the materials of a table in order, ``n_rows`` rows at a time; see ``read_table``."""
    with parquet_file(path) as file:
        first = 0
        for batch in file.iter_batches(n_rows):
            batch.validate(full=True)
            table = pa.Table.from_batches([batch])
            yield convert_materials(table, name=path.name, first_row=first)
            first += len(batch)
        if first == 0:
            yield convert_materials(file.read(), name=path.name)


def convert_materials(table: pa.Table, *, name: str = "table", first_row: int = 0) -> Materials:
    """Convert a table in memory; see ``read_table``. Rows are numbered from ``first_row``."""
    crystals = Crystals.from_table(table, first_row=first_row)
    labels = [c for c in table.column_names if c not in ALL_CRYSTAL_COLUMNS]
    # combined into one chunk, since pandas slices chunked string arrays slowly
    frame = (
        table.select(labels)
        .combine_chunks()
        .to_pandas(ignore_metadata=True, integer_object_nulls=True)
    )
    if "id" not in frame:
        frame.insert(
            0, "id", [f"{replace_surrogates(name)}:{first_row + row}" for row in range(len(frame))]
        )
    problems = find_problems(crystals)
    usable = np.array([reason is None for reason in problems], dtype=bool)
    dropped = tuple(
        DroppedRow(str(frame["id"].iloc[row]), reason)
        for row, reason in enumerate(problems)
        if reason is not None
    )
    materials = Materials(frame, crystals, dropped).take(usable)
    materials.frame["volume_per_atom"] = materials.crystals.volumes_per_atom_a3
    # computed from the crystals, so that formulas are comparable across tables
    materials.frame["formula"] = compute_formulas(materials.crystals)
    return materials


def write_materials(materials: Materials, folder: Path) -> None:
    """Write materials.parquet and dropped.csv (id, reason) into ``folder``.

    The column ``occupancies`` is written if there are mixed sites. ``read_table`` reads the
    result. Raises WriteError if the folder cannot be written.
    """
    mixed = bool((materials.crystals.occupancies != 1).any())
    labels = materials.frame.drop(columns="is_file", errors="ignore")
    schema = pa.Schema.from_pandas(labels, preserve_index=False)
    write_tables(
        (
            append_crystals(
                pa.Table.from_pandas(labels.iloc[rows], schema, preserve_index=False),
                crystals,
                mixed=mixed,
            )
            for rows, crystals in materials.crystals.parts(PART_ROWS)
        ),
        folder,
    )
    write_dropped(materials.dropped, folder)


def append_crystals(table: pa.Table, crystals: Crystals, *, mixed: bool) -> pa.Table:
    """Append the crystal columns to a table of labels.

    ``mixed``: whether to write occupancies; it must be the same for all parts of a file.
    """
    for name, column in crystals.columns(mixed=mixed).items():
        table = table.append_column(name, column)
    return table


def write_tables(tables: Iterable[pa.Table], folder: Path) -> Path:
    """Write tables with the same columns to materials.parquet in order, and return its path."""

    def write(stream: IO[bytes]) -> None:
        parts = regroup_tables(tables, PART_ROWS)
        first = next(parts)
        with pq.ParquetWriter(stream, first.schema) as writer:
            writer.write_table(first)
            for table in parts:
                writer.write_table(table)

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / TABLE_FILE, write)
    return folder / TABLE_FILE


def regroup_tables(tables: Iterable[pa.Table], n_rows: int) -> Iterator[pa.Table]:
    """Yield the rows of at least one table with the same columns, ``n_rows`` at a time, in order.

    If there are no rows, one empty table is yielded.
    """
    waiting: list[pa.Table] = []
    some = False
    for table in tables:
        waiting.append(table)
        while sum(map(len, waiting)) >= n_rows:
            together = pa.concat_tables(waiting)
            waiting = [together.slice(n_rows)]
            some = True
            yield together.slice(0, n_rows).combine_chunks()
    rest = pa.concat_tables(waiting)
    if len(rest) or not some:
        yield rest.combine_chunks()


def write_dropped(dropped: Sequence[DroppedRow], folder: Path) -> None:
    """Write dropped.csv (id, reason) into ``folder``.

    Spreadsheets would calculate ids that begin with =, +, - or @; an apostrophe makes them text.
    """
    rows = [
        (f"'{row.id}" if row.id.startswith(("=", "+", "-", "@")) else row.id, row.reason)
        for row in dropped
    ]
    frame = pd.DataFrame(rows, columns=["id", "reason"])
    write_text(folder / "dropped.csv", frame.to_csv(index=False))


def load_starter() -> Materials:
    """Load the embedded starter set: 5,785 structures of 5,226 formulas (see starter/NOTICE).

    >>> load_starter()
    Materials(5785 rows, 0 dropped; id, formula, ..., volume_per_atom)
    """
    return read_table(find_starter())


def find_starter() -> Path:
    """Return the path of the embedded starter set."""
    return Path(str(resources.files("matlode.data") / "starter" / "starter.parquet"))


def find_full_table(option: Path | None = None) -> Path | None:
    """Return the path of the full-size structure table: ``option``, else $MATLODE_DATA, else None.

    Raises InputError if a path is given but no table exists there.
    """
    named = option or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None:
        return None
    places = [named / name for name in TABLE_NAMES] if named.is_dir() else [named]
    for path in places:
        if path.is_file():
            return path
    raise InputError(
        f"no structure table at {named}; give a Parquet file, or a folder that contains "
        f"{' or '.join(TABLE_NAMES)} (--data or ${DATA_VARIABLE})."
    )


def load_materials(option: Path | None = None) -> Materials:
    """Read the full-size table if one is given (``find_full_table``), else the starter set."""
    path = find_full_table(option)
    return load_starter() if path is None else read_table(path)


def checksum(path: Path) -> str:
    """Return the SHA-256 checksum of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
