"""Tables of materials: reading them, the embedded starter set, and the full-size one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from matlode.artefacts import MALFORMED, write_atomically, write_text
from matlode.data.cleaning import crystal_problems
from matlode.data.crystals import ALL_CRYSTAL_COLUMNS, Crystals
from matlode.data.formulas import reduced_formulas
from matlode.errors import InputError
from matlode.records import DroppedRow, legible

TABLE_FILE = "materials.parquet"
"""The table in a folder that ``write_materials`` made."""
PART_ROWS = 16_384
"""Rows written at once."""
DATA_VARIABLE = "MATLODE_DATA"
"""Environment variable: a structure table, or a folder with one of TABLE_NAMES."""
TABLE_NAMES = ("structures.parquet", "materials.parquet")
"""Of tables in folders; the second is what `matlode data import` writes."""


@dataclass(frozen=True)
class Materials:
    """Known or given materials: crystals and a frame of the same length beside them."""

    frame: pd.DataFrame
    """id, formula (reduced, elements in alphabetical order) and any labels; index 0..n-1."""
    crystals: Crystals
    dropped: tuple[DroppedRow, ...] = field(default=())
    """What could not be read or used, with reasons."""

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, indices: NDArray[Any]) -> Materials:
        """The rows at ``indices`` (integers or a boolean mask)."""
        chosen = np.arange(len(self))[np.asarray(indices)]
        frame = self.frame.iloc[chosen].reset_index(drop=True)
        return Materials(frame, self.crystals.take(chosen), self.dropped)

    def label(self, column: str) -> NDArray[np.float64]:
        """A numeric column as floats, NaN where it is unknown or the table lacks it."""
        if column not in self.frame:
            return np.full(len(self), np.nan)
        return self.frame[column].to_numpy(dtype=float, na_value=np.nan)


def read_table(path: Path) -> Materials:
    """A Parquet table with the columns lattice, numbers, frac_coords and any labels.

    Mixed sites stand in a column ``occupancies``. ``formula`` is made from the crystals (and
    ``id``, if missing); unusable rows end in ``dropped``.
    Raises InputError if the file cannot be read or holds no crystals.
    """
    with parquet_file(path) as file:
        table = file.read()
        table.validate(full=True)  # damaged lists and texts would be read beyond their ends
        return materials_from_table(table, name=path.name)


@contextmanager
def parquet_file(path: Path) -> Iterator[pq.ParquetFile]:
    """A file of which no more is in memory than was asked for; whatever the block stumbles over in
    it is an InputError."""
    try:
        # of pyarrow's ways the one that takes any name, a colon in it too
        with (
            pa.OSFile(os.fsencode(path), "rb") as stream,
            pq.ParquetFile(stream, pre_buffer=False) as file,
        ):
            yield file
    except (*MALFORMED, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet table ({error}).") from error


def read_parts(path: Path, n_rows: int) -> Iterator[Materials]:
    """What ``read_table`` gives, ``n_rows`` rows of the file at a time, in order."""
    with parquet_file(path) as file:
        first = 0
        for batch in file.iter_batches(n_rows):
            batch.validate(full=True)
            table = pa.Table.from_batches([batch])
            yield materials_from_table(table, name=path.name, first_row=first)
            first += len(batch)
        if first == 0:
            yield materials_from_table(file.read(), name=path.name)


def materials_from_table(table: pa.Table, *, name: str = "table", first_row: int = 0) -> Materials:
    """Materials of a table in memory; see ``read_table``. Rows are counted from ``first_row``."""
    crystals = Crystals.from_table(table, first_row=first_row)
    labels = [c for c in table.column_names if c not in ALL_CRYSTAL_COLUMNS]
    # one chunk: pandas' string arrays split slowly otherwise; integers stay what they are
    frame = (
        table.select(labels)
        .combine_chunks()
        .to_pandas(ignore_metadata=True, integer_object_nulls=True)
    )
    if "id" not in frame:
        frame.insert(0, "id", [f"{legible(name)}:{first_row + row}" for row in range(len(frame))])
    problems = crystal_problems(crystals)
    usable = np.array([reason is None for reason in problems], dtype=bool)
    dropped = tuple(
        DroppedRow(str(frame["id"].iloc[row]), reason)
        for row, reason in enumerate(problems)
        if reason is not None
    )
    materials = Materials(frame, crystals, dropped).take(usable)
    materials.frame["volume_per_atom"] = materials.crystals.volumes_per_atom_a3
    # from the crystals themselves: however a table writes its formulas, ours compare
    materials.frame["formula"] = reduced_formulas(materials.crystals)
    return materials


def write_materials(materials: Materials, folder: Path) -> None:
    """Write materials.parquet and dropped.csv (id, reason) into ``folder``.

    Mixed sites add the column ``occupancies``. ``read_table`` reads what was written.
    """
    mixed = bool((materials.crystals.occupancies != 1).any())
    labels = materials.frame.drop(columns="is_file", errors="ignore")
    schema = pa.Schema.from_pandas(labels, preserve_index=False)
    write_tables(
        (
            with_crystals(
                pa.Table.from_pandas(labels.iloc[rows], schema, preserve_index=False),
                crystals,
                mixed=mixed,
            )
            for rows, crystals in materials.crystals.parts(PART_ROWS)
        ),
        folder,
    )
    write_dropped(materials.dropped, folder)


def with_crystals(table: pa.Table, crystals: Crystals, *, mixed: bool) -> pa.Table:
    """Labels with the columns of their crystals; ``mixed`` if any of a file has a mixed site."""
    for name, column in crystals.columns(mixed=mixed).items():
        table = table.append_column(name, column)
    return table


def write_tables(tables: Iterable[pa.Table], folder: Path) -> Path:
    """Write materials.parquet of tables with the same columns, in order; gives its path."""

    def write(stream: IO[bytes]) -> None:
        parts = regrouped(tables, PART_ROWS)
        first = next(parts)
        with pq.ParquetWriter(stream, first.schema) as writer:
            writer.write_table(first)
            for table in parts:
                writer.write_table(table)

    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / TABLE_FILE, write)
    return folder / TABLE_FILE


def regrouped(tables: Iterable[pa.Table], n_rows: int) -> Iterator[pa.Table]:
    """The rows of tables (one at least) with the same columns, in order, ``n_rows`` at a time; of
    no rows an empty table."""
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
    """Write dropped.csv (id, reason) into ``folder``."""
    told = pd.DataFrame([(row.id, row.reason) for row in dropped], columns=["id", "reason"])
    write_text(folder / "dropped.csv", told.to_csv(index=False))


def load_starter() -> Materials:
    """The embedded starter set: 5,785 structures of 5,226 formulas (see starter/NOTICE)."""
    return read_table(starter_path())


def starter_path() -> Path:
    """Where the embedded starter set lies."""
    return Path(str(resources.files("matlode.data") / "starter" / "starter.parquet"))


def full_table_path(option: Path | None = None) -> Path | None:
    """The full-size structure table: the option, else $MATLODE_DATA, else None.

    Raises InputError if a place is named but nothing is there.
    """
    named = option or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if named is None:
        return None
    places = [named / name for name in TABLE_NAMES] if named.is_dir() else [named]
    for path in places:
        if path.is_file():
            return path
    raise InputError(
        f"no structure table at {named}; name a Parquet file, or a folder that holds "
        f"{' or '.join(TABLE_NAMES)} (--data or ${DATA_VARIABLE})."
    )


def load_materials(option: Path | None = None) -> Materials:
    """The full-size table where one is named (``full_table_path``), else the starter set."""
    path = full_table_path(option)
    return load_starter() if path is None else read_table(path)


def checksum(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
