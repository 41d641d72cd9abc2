"""What a reader gives: materials chunk by chunk, and where they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from matlode.data.cleaning import crystal_problems
from matlode.data.crystals import Crystals
from matlode.data.formulas import reduced_formulas
from matlode.data.labels import Column
from matlode.data.readers.parsing import parse_all
from matlode.data.structures import (
    is_structure_dict,
    is_structure_file,
    read_structure,
    structure_from,
)
from matlode.data.tables import Materials
from matlode.errors import InputError, suggest
from matlode.records import DroppedRow, legible

if TYPE_CHECKING:
    from pymatgen.core import Structure

CHUNK = 2048
"""Rows converted at once: large files never stand in memory as Python objects as a whole."""

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
"""Names under which tables keep the crystal or its file, the first present is taken."""
ID_COLUMNS = ("id", "material_id", "jid", "mp_id", "mpid", "entry_id", "task_id", "_id")
"""Names under which tables keep the row's name."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a reader may be told."""

    structure_column: str | None = None
    """Of CSV, JSON and Parquet files; None: the first of the usual names."""
    filter: str | None = None
    """Of OPTIMADE databases, in the OPTIMADE filter language."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Something that holds materials, opened."""

    name: str
    """Path or database, with the version where it tells one."""
    chunks: Iterator[Materials]
    """Labels as they stand there; what cannot be used is in ``dropped``."""
    files: tuple[Path, ...] = ()
    n_rows: float = math.inf
    """Infinity where it does not show before all is read."""
    licence: str = UNKNOWN_LICENCE
    """As the source states it; never guessed."""
    citation: str | None = None
    columns: tuple[Column, ...] = ()
    """Its columns that have another name or unit with us."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", legible(self.name))


def pack(
    frame: pd.DataFrame, items: Sequence[Any], parse: Callable[[Any], Any] = structure_from
) -> Materials:
    """Materials of items (paths, texts, dictionaries) and their labels (with ``id``), row by row.

    Raises nothing for a single row: it ends in ``dropped`` with its reason.
    """
    parsed = parse_all(parse, items)
    reasons = list(parsed.reasons)
    rows = np.array([row for row, reason in enumerate(reasons) if reason is None], dtype=int)
    problems = _problems(parsed.crystals)
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
    kept["formula"] = reduced_formulas(crystals)
    kept["volume_per_atom"] = crystals.volumes_per_atom_a3 if len(crystals) else np.zeros(0)
    return Materials(kept.reset_index(drop=True), crystals, dropped)


def _problems(crystals: Crystals) -> list[str | None]:
    """As ``crystal_problems``, formulas that cannot be written included."""
    problems = crystal_problems(crystals)
    for index, problem in enumerate(problems):
        if problem is None:
            try:
                reduced_formulas(crystals.take([index]))
            except InputError as error:
                problems[index] = str(error).removeprefix("crystal 0: ")
    return problems


def pack_records(
    records: Iterable[Mapping[str, Any] | DroppedRow],
    *,
    name: str,
    options: ReadOptions,
    folder: Path | None = None,
) -> Iterator[Materials]:
    """Chunks of materials from rows: dictionaries of labels, one value of each the crystal,
    or the name of its file in ``folder``.

    Rows without an id are named ``name:row``. A DroppedRow among them is passed on. Raises
    InputError if there are no rows or no column holds the crystals.
    """
    structure_column: str | None = None
    numbered = enumerate(records)
    part = list(islice(numbered, CHUNK))
    if not part:
        raise InputError(f"{name}: holds no rows.")
    while part:
        dropped = [row for _, row in part if isinstance(row, DroppedRow)]
        rows = [
            (at, {"structure": row} if is_structure_dict(row) else row)
            for at, row in part
            if not isinstance(row, DroppedRow)
        ]
        if rows and structure_column is None:
            structure_column = _structure_column(rows[0][1], name, options)
        present = []
        for at, row in rows:
            if _is_missing(row.get(str(structure_column))):
                dropped.append(DroppedRow(_id(row, name, at), "has no structure"))
            else:
                present.append((at, row))
        # as they came: pandas would type each chunk by itself
        frame = pd.DataFrame([_labels(row, structure_column) for _, row in present], dtype=object)
        frame["id"] = [_id(row, name, at) for at, row in present]
        crystals = [_crystal(row[str(structure_column)], folder) for _, row in present]
        materials = pack(frame, crystals, _read)
        yield Materials(materials.frame, materials.crystals, (*dropped, *materials.dropped))
        part = list(islice(numbered, CHUNK))


def _crystal(value: Any, folder: Path | None) -> Any:
    """The value, or the path of the CIF or POSCAR file that it names."""
    if folder is None or not isinstance(value, str) or "\n" in value.strip():
        return value
    path = folder / value.strip()
    return path if is_structure_file(path) else value


def _read(item: Any) -> Structure:
    return read_structure(item) if isinstance(item, Path) else structure_from(item)


def _structure_column(row: Mapping[str, Any], name: str, options: ReadOptions) -> str:
    wanted = options.structure_column
    if wanted is not None:
        if wanted not in row:
            raise InputError(f'{name}: no column "{wanted}". {suggest(wanted, map(str, row))}')
        return wanted
    lower = {str(key).lower(): str(key) for key in row}
    for usual in STRUCTURE_COLUMNS:
        if usual in lower:
            return lower[usual]
    raise InputError(
        f"{name}: no column holds crystals; looked for {', '.join(STRUCTURE_COLUMNS)}, found "
        f"{', '.join(map(str, row)) or 'none'}. Name it with --structure-column."
    )


def _labels(row: Mapping[str, Any], structure_column: str | None) -> dict[str, Any]:
    crystal = (structure_column, *STRUCTURE_COLUMNS)
    return {
        legible(str(key)): legible(value) if isinstance(value, str) else value
        for key, value in row.items()
        if str(key).lower() not in crystal and key != structure_column
    }


def _id(row: Mapping[str, Any], name: str, at: int) -> str:
    for key in ID_COLUMNS:
        if not _is_missing(row.get(key)):
            return legible(str(row[key]))
    return legible(f"{name}:{at}")


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and np.isnan(value))
