"""Structures from anywhere into one table: cleaned, in one unit, each once, with their origin."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import write_json
from matlode.data.cells import Cell
from matlode.data.labels import CleanLabels, Column, RawLabels
from matlode.data.readers import open_source
from matlode.data.readers.source import UNKNOWN_LICENCE, ReadOptions, Source
from matlode.data.spool import SpooledCrystals, SpooledTables
from matlode.data.tables import (
    Materials,
    checksum,
    read_table,
    write_dropped,
    write_tables,
)
from matlode.data.units import UNITS
from matlode.errors import InputError
from matlode.jobs.import_pool import Given, Pool, Survey
from matlode.progress import Progress, silent
from matlode.records import DroppedRow, replace_surrogates
from matlode.representation.duplicates import find_duplicates
from matlode.version import __version__

PROVENANCE_FILE = "provenance.json"


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """Settings of an import."""

    cell: Cell = Cell.PRIMITIVE
    """Cell of ordered crystals; disordered ones keep theirs."""
    columns: tuple[Column, ...] = ()
    """Columns of the sources to rename or convert."""
    structure_column: str | None = None
    """Column of tables that holds the crystal (default: the usual names)."""
    keep_duplicates: bool = False
    drop_disordered: bool = False
    licence: str | None = None
    """Licence of rows whose source states none."""
    filter: str | None = None
    """Filter for OPTIMADE databases."""

    @property
    def options(self) -> ReadOptions:
        """Options for the readers."""
        return ReadOptions(structure_column=self.structure_column, filter=self.filter)


@dataclass(frozen=True)
class Imported:
    """Result of an import."""

    table: Path
    """The Parquet file."""
    dropped: tuple[DroppedRow, ...]
    provenance: dict[str, Any]
    """Content of provenance.json: sources, counts, columns with units, options."""

    @cached_property
    def materials(self) -> Materials:
        """The whole table, read on first use."""
        return replace(read_table(self.table), dropped=self.dropped)


def import_data(
    sources: str | Path | Sequence[str | Path],
    out: Path,
    *,
    settings: ImportSettings | None = None,
    progress: Progress = silent,
) -> Imported:
    """Read the sources and write materials.parquet, dropped.csv and provenance.json to ``out``.

    Rows and files that cannot be used are listed with reasons in dropped.csv. Raises InputError
    if a source cannot be read at all, or if a requested column does not exist or cannot be
    converted.

    >>> imported = import_data(["salt.cif"], Path("table"))
    >>> imported.table.name, imported.dropped
    ('materials.parquet', ())
    """
    settings = settings or ImportSettings()
    sources = [sources] if isinstance(sources, str | Path) else sources
    if not sources:
        raise InputError("nothing to import: name at least one file, folder, table or database.")
    with SpooledTables() as spool:
        given = [_given(open_source(name, settings.options), spool, settings) for name in sources]
        pool = Pool(given, settings.cell, settings.columns, progress)
        survey = pool.survey(progress)
        reasons = _find_unwanted(survey, pool.crystals, settings)
        table = write_tables(pool.tables(survey, without=list(reasons)), out)
    left_out = [DroppedRow(survey.id(row), reasons[row]) for row in sorted(reasons)]
    dropped = (*(row for one in given for row in one.dropped), *left_out)
    records = list(map(_summarise, given, pool.labels, survey.unreadable))
    n_kept = len(survey.ids) - len(reasons)
    provenance = _provenance(pool.columns, n_kept, dropped, records, settings)
    write_dropped(dropped, out)
    write_json(out / PROVENANCE_FILE, provenance)
    return Imported(table, dropped, provenance)


def _given(source: Source, spool: SpooledTables, settings: ImportSettings) -> Given:
    unstated = source.licence == UNKNOWN_LICENCE
    licence = (settings.licence if unstated else None) or source.licence
    return Given(source, replace_surrogates(licence), RawLabels(spool))


def _find_unwanted(
    survey: Survey, spool: SpooledCrystals, settings: ImportSettings
) -> dict[int, str]:
    """Row → reason, for rows that the settings exclude."""
    reasons: dict[int, str] = {}
    if settings.drop_disordered:
        reason = "disordered: a site is mixed or partly filled"
        reasons |= dict.fromkeys(np.flatnonzero(survey.disordered).tolist(), reason)
    if not settings.keep_duplicates:
        left = np.ones(len(survey.ids), dtype=bool)
        left[list(reasons)] = False
        reasons |= _find_duplicates(survey, spool.taken(left) if reasons else spool, left)
    return reasons


def _find_duplicates(
    survey: Survey, spool: SpooledCrystals, left: NDArray[np.bool_]
) -> dict[int, str]:
    """Row → reason, for duplicates among the rows of the mask ``left`` (n,), whose crystals are
    in the spool."""
    rows = np.flatnonzero(left)
    formulas = survey.formulas.take(rows).to_pandas()
    found = find_duplicates(
        spool.crystals, formulas, survey.space_groups[rows], survey.n_labels[rows]
    )
    reasons = {}
    for duplicate in found:
        # rounded down: 0.99996 is not 1
        cosine = np.floor(1e4 * duplicate.cosine) / 1e4
        kept = survey.id(rows[duplicate.of])
        reasons[int(rows[duplicate.row])] = f"duplicate of {kept} (cosine {cosine:.4f})"
    return reasons


def _summarise(given: Given, labels: CleanLabels, unreadable: Mapping[str, int]) -> dict[str, Any]:
    """Entry of a source in provenance.json."""
    source = given.source
    n_usable = sum(map(len, given.scales))
    return {
        "source": source.name,
        "licence": given.licence,
        "citation": source.citation,
        "files": len(source.files),
        "other_files": source.n_other_files,
        "sha256": _digest(source.files),
        "read": n_usable + len(given.dropped),
        "usable": n_usable,
        "labels_left_empty": dict(unreadable),
        "converted": [asdict(c) for c in source.columns if c in labels.columns.values()],
    }


def _provenance(
    columns: Sequence[str],
    n_kept: int,
    dropped: Sequence[DroppedRow],
    records: Sequence[Mapping[str, Any]],
    settings: ImportSettings,
) -> dict[str, Any]:
    return {
        "matlode": __version__,
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": asdict(settings),
        "sources": list(records),
        "rows": {
            "read": sum(record["read"] for record in records),
            "kept": n_kept,
            "dropped": len(dropped),
            "dropped_by_reason": dict(Counter(_generalise(row.reason) for row in dropped)),
        },
        "columns": {name: UNITS.get(name) for name in columns},
    }


def _generalise(reason: str) -> str:
    """Remove from a reason what is specific to one row."""
    if reason.startswith("duplicate of"):
        return "duplicate"
    return re.sub(r"\d[\d.e+-]*", "N", re.split(r"[:;(]", reason)[0]).strip()


def _digest(files: Sequence[Path]) -> str | None:
    """SHA-256 of a file; for several files, of the lines that sha256sum prints."""
    if len(files) <= 1:
        return checksum(files[0]) if files else None
    lines = "".join(f"{checksum(path)}  {path}\n" for path in files)
    return hashlib.sha256(os.fsencode(lines)).hexdigest()
