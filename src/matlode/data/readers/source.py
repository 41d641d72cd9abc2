"""The result of a reader: chunks of materials, and information on their source."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from matlode.data.cleaning import find_problems
from matlode.data.crystals import Crystals
from matlode.data.formulas import compute_formulas
from matlode.data.labels import Column
from matlode.data.readers.parsing import parse_all
from matlode.data.structures import (
    convert_structure,
    is_structure_dict,
    is_structure_file,
    read_structure,
)
from matlode.data.tables import Materials
from matlode.errors import InputError, suggest
from matlode.records import DroppedRow, replace_surrogates

if TYPE_CHECKING:
    from pymatgen.core import Structure

Row: TypeAlias = Mapping[str, object]
"""A row of a source: values of any type by column."""
ItemT = TypeVar("ItemT")

CHUNK = 2048
"""Rows converted at once, so that large files are never in memory as Python objects as a whole."""

NOTE_COLUMN = "reading_note"
"""Column with what was assumed in reading a crystal; only if something was."""
UNKNOWN_LICENCE = "unknown"

STRUCTURE_COLUMNS = (
    "structure",
    "cif",
    "poscar",
    "atoms",
    "crystal",
    "final_structure",
    "crystal_structure",
    "structure_file",
    "cif_file",
    "file",
    "filename",
    "path",
)
"""Usual names of the column with the crystal or its file; the first that exists is used."""
ID_COLUMNS = ("id", "material_id", "jid", "mp_id", "mpid", "entry_id", "task_id", "_id")
"""Usual names of the column with the id of the row."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options of readers."""

    structure_column: str | None = None
    """Column with the crystals in CSV, JSON and Parquet files; None: the first usual name."""
    filter: str | None = None
    """Filter for OPTIMADE databases, in the OPTIMADE filter language."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """An opened source of materials."""

    name: str
    """Path or database, with its version if known."""
    chunks: Iterator[Materials]
    """Materials with unconverted labels; rows that cannot be used are in ``dropped``."""
    files: tuple[Path, ...] = ()
    n_other_files: int = 0
    """Number of files of a folder that are no structures by their names."""
    n_rows: float = math.inf
    """Number of rows; infinity if unknown before all rows are read."""
    licence: str = UNKNOWN_LICENCE
    """Licence as stated by the source."""
    citation: str | None = None
    columns: tuple[Column, ...] = ()
    """Conversions of columns that have another name or unit in matlode."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", replace_surrogates(self.name))


def pack(
    frame: pd.DataFrame, items: Sequence[ItemT], parse: Callable[[ItemT], Structure]
) -> Materials:
    """Parse items (paths, texts, dictionaries) and combine them with their labels, row by row.

    ``frame`` must have the column ``id``. Rows that cannot be used are moved to ``dropped`` with
    the reason.
    """
    parsed = parse_all(parse, items)
    reasons = list(parsed.reasons)
    rows = np.array([row for row, reason in enumerate(reasons) if reason is None], dtype=int)
    problems = _find_problems(parsed.crystals)
    for row, problem in zip(rows, problems, strict=True):
        reasons[row] = problem
    crystals = parsed.crystals.take([at for at, problem in enumerate(problems) if problem is None])
    is_file = "is_file" in frame
    dropped = tuple(
        DroppedRow(str(frame["id"].iloc[row]), reason, is_file=is_file)
        for row, reason in enumerate(reasons)
        if reason is not None
    )
    kept = frame.iloc[[row for row, reason in enumerate(reasons) if reason is None]].copy()
    notes = [n for n, problem in zip(parsed.notes, problems, strict=True) if problem is None]
    if any(notes):
        kept[NOTE_COLUMN] = [note or None for note in notes]
    kept["formula"] = compute_formulas(crystals)
    kept["volume_per_atom"] = crystals.volumes_per_atom_a3 if len(crystals) else np.zeros(0)
    return Materials(kept.reset_index(drop=True), crystals, dropped)


def _find_problems(crystals: Crystals) -> list[str | None]:
    """Return the problems of ``find_problems`` and those with formulas."""
    problems = find_problems(crystals)
    for index, problem in enumerate(problems):
        if problem is None:
            try:
                compute_formulas(crystals.take([index]))
            except InputError as error:
                problems[index] = str(error).removeprefix("crystal 0: ")
    return problems


def pack_records(
    records: Iterable[Row | DroppedRow],
    *,
    name: str,
    options: ReadOptions,
    folder: Path | None = None,
) -> Iterator[Materials]:
    """Yield chunks of materials from rows of labels.

    One column contains the crystals, or the names of their files in ``folder``. Rows without an
    id get the id ``name:row``. DroppedRow objects are passed on. Raises InputError if there are
    no rows or no column with crystals.
    """
    structure_column: str | None = None
    numbered = enumerate(records)
    part = list(islice(numbered, CHUNK))
    if not part:
        raise InputError(f"{name} contains no rows; expected one row per crystal.")
    while part:
        dropped = [row for _, row in part if isinstance(row, DroppedRow)]
        rows = [
            (at, {"structure": row} if is_structure_dict(row) else row)
            for at, row in part
            if not isinstance(row, DroppedRow)
        ]
        if rows and structure_column is None:
            structure_column = _find_structure_column(rows[0][1], name, options)
        present = []
        for at, row in rows:
            if _is_missing(row.get(str(structure_column))):
                dropped.append(DroppedRow(_make_id(row, name, at), "has no structure"))
            else:
                present.append((at, row))
        # as objects, since pandas would infer the types of each chunk separately
        labels = [_select_labels(row, structure_column) for _, row in present]
        frame = pd.DataFrame(labels, dtype=object)
        frame["id"] = [_make_id(row, name, at) for at, row in present]
        crystals = [_locate(row[str(structure_column)], folder) for _, row in present]
        materials = pack(frame, crystals, _read)
        yield Materials(materials.frame, materials.crystals, (*dropped, *materials.dropped))
        part = list(islice(numbered, CHUNK))


def _locate(value: object, folder: Path | None) -> object:
    """Return the path of the CIF or POSCAR file that ``value`` names, else ``value`` itself."""
    if folder is None or not isinstance(value, str) or "\n" in value.strip():
        return value
    path = folder / value.strip()
    return path if is_structure_file(path) else value


def _read(item: object) -> Structure:
    return read_structure(item) if isinstance(item, Path) else convert_structure(item)


def _find_structure_column(row: Row, name: str, options: ReadOptions) -> str:
    given = options.structure_column
    if given is not None:
        if given not in row:
            raise InputError(f'{name}: no column "{given}". {suggest(given, map(str, row))}')
        return given
    lower = {str(key).lower(): str(key) for key in row}
    for usual in STRUCTURE_COLUMNS:
        if usual in lower:
            return lower[usual]
    raise InputError(
        f"{name}: no column contains crystals; looked for {', '.join(STRUCTURE_COLUMNS)}, found "
        f"{', '.join(map(str, row)) or 'none'}. Give its name with --structure-column."
    )


def _select_labels(row: Row, structure_column: str | None) -> dict[str, object]:
    crystal = (structure_column, *STRUCTURE_COLUMNS)
    return {
        replace_surrogates(str(key)): replace_surrogates(value) if isinstance(value, str) else value
        for key, value in row.items()
        if str(key).lower() not in crystal and key != structure_column
    }


def _make_id(row: Row, name: str, at: int) -> str:
    for key in ID_COLUMNS:
        if not _is_missing(row.get(key)):
            return replace_surrogates(str(row[key]))
    return replace_surrogates(f"{name}:{at}")


def _is_missing(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and np.isnan(value))
