"""Structures from anywhere into one table: cleaned, in one unit, each once, with their origin."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode import __version__
from matlode.artefacts import write_json
from matlode.data.cells import Cell, is_disordered, reduce_cells, site_counts
from matlode.data.crystals import Crystals
from matlode.data.formulas import parse_formula
from matlode.data.labels import CleanLabels, Column, clean_labels
from matlode.data.readers import joined_frames, open_source
from matlode.data.readers.source import UNKNOWN_LICENCE, ReadOptions, Source
from matlode.data.spool import SpooledCrystals
from matlode.data.structures import space_group_number
from matlode.data.tables import PART_ROWS, Materials, checksum, write_dropped, write_parts
from matlode.data.units import PER_CELL_COLUMNS, UNITS
from matlode.errors import InputError
from matlode.progress import Progress, silent
from matlode.records import DroppedRow
from matlode.representation.duplicates import choose_keepers, duplicate_pairs

PROVENANCE_FILE = "provenance.json"
ORIGIN_COLUMNS = ("source", "source_id", "licence")
"""Where each row comes from; rows that say so already keep it."""
CRYSTAL_FACTS = (
    "formula",
    "space_group",
    "n_sites",
    "volume",
    "volume_per_atom",
    "density",
    "disordered",
)
"""Columns made from the crystals themselves, after the cell is chosen."""
_FACTS_AT_ONCE = 1024
_G_PER_CM3 = 1.66053906660
"""One atomic mass unit per Å³, CODATA 2018."""


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """What an import does with what it reads."""

    cell: Cell = Cell.PRIMITIVE
    """Of ordered crystals; disordered ones stay as they are."""
    columns: tuple[Column, ...] = ()
    """Columns of the sources that are ours under another name or in another unit."""
    structure_column: str | None = None
    """Of tables; None: the usual names."""
    keep_duplicates: bool = False
    drop_disordered: bool = False
    licence: str | None = None
    """Of rows whose source states none."""
    filter: str | None = None
    """Of OPTIMADE databases."""

    @property
    def options(self) -> ReadOptions:
        """What readers are told."""
        return ReadOptions(structure_column=self.structure_column, filter=self.filter)


@dataclass(frozen=True)
class Imported:
    """What an import brought."""

    materials: Materials
    provenance: dict[str, Any]
    """As in provenance.json: sources, counts, columns with units, options."""


def import_data(
    sources: Sequence[str | Path],
    out: Path,
    *,
    settings: ImportSettings | None = None,
    progress: Progress = silent,
) -> Imported:
    """Read the sources and write materials.parquet, dropped.csv and provenance.json to ``out``.

    Raises InputError if a source cannot be read at all, or an asked column is in none of them
    or cannot be converted. Whatever concerns a single row or file is told in dropped.csv.
    """
    settings = settings or ImportSettings()
    if not sources:
        raise InputError("nothing to import: name at least one file, folder, table or database.")
    given = [_Given(open_source(name, settings.options)) for name in sources]
    spool = SpooledCrystals(_reduced(given, settings.cell, progress))
    described = [_of_source(one, settings) for one in given]
    frame = _described(joined_frames([frame for frame, _ in described]), spool, progress)
    dropped = [row for one in given for row in one.dropped]
    table = _Table(frame, spool, tuple(dropped))
    if settings.drop_disordered:
        table = table.without(_disordered(table))
    if not settings.keep_duplicates:
        table = table.without(_duplicates(table))
    materials = Materials(table.frame, table.spool.crystals, table.dropped)
    provenance = _provenance(materials, [record for _, record in described], settings)
    mixed = bool(table.frame["disordered"].any())
    write_parts(table.frame, table.spool.parts(PART_ROWS), out, mixed=mixed)
    write_dropped(table.dropped, out)
    write_json(out / PROVENANCE_FILE, provenance)
    return Imported(materials, provenance)


@dataclass
class _Given:
    """A source, and what was read of it but for the crystals."""

    source: Source
    frames: list[pd.DataFrame] = field(default_factory=list)
    """Labels as they stand there, chunk by chunk."""
    atoms: list[NDArray[np.float64]] = field(default_factory=list)
    """Atoms per cell, as given."""
    scales: list[NDArray[np.float64]] = field(default_factory=list)
    """By how much the cells became larger."""
    dropped: list[DroppedRow] = field(default_factory=list)

    def reduced(self, cell: Cell) -> Iterator[Crystals]:
        """The crystals in their cells; the rest is kept."""
        for chunk in self.source.chunks:
            given = chunk.crystals
            reduced = reduce_cells(given, cell)
            self.frames.append(chunk.frame)
            self.atoms.append(np.add.reduceat(given.occupancies, given.offsets[:-1]))
            self.scales.append(reduced.volumes_a3 / given.volumes_a3)
            self.dropped += chunk.dropped
            yield reduced


@dataclass(frozen=True)
class _Table:
    """All sources as one table, its crystals on the disk."""

    frame: pd.DataFrame
    spool: SpooledCrystals
    dropped: tuple[DroppedRow, ...]

    def without(self, reasons: Mapping[int, str]) -> _Table:
        """Without some rows, each with its reason."""
        if not reasons:
            return self
        keep = np.array([row not in reasons for row in range(len(self.frame))], dtype=bool)
        ids = self.frame["id"]
        told = tuple(DroppedRow(str(ids.iloc[row]), reasons[row]) for row in sorted(reasons))
        frame = self.frame[keep].reset_index(drop=True)
        return _Table(frame, self.spool.taken(keep), (*self.dropped, *told))


def _reduced(given: Sequence[_Given], cell: Cell, progress: Progress) -> Iterator[Crystals]:
    for done, one in enumerate(given):
        progress("read", done, len(given), note=one.source.name)
        yield from one.reduced(cell)
    progress("read", len(given), len(given))


def _of_source(given: _Given, settings: ImportSettings) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Labels of a source in our columns, for our cells, and what is to be remembered of it."""
    source = given.source
    labels = _labels(joined_frames(given.frames), given, settings)
    frame = _with_origin(_per_cell(labels.frame, given), source, settings.licence)
    record = {
        "source": source.name,
        "licence": _licence(source, settings.licence),
        "citation": source.citation,
        "files": len(source.files),
        "sha256": _digest(source.files),
        "read": len(frame) + len(given.dropped),
        "usable": len(frame),
        "labels_left_empty": labels.unreadable,
        "converted": [asdict(c) for c in source.columns if c.name in frame],
    }
    return frame, record


def _labels(frame: pd.DataFrame, given: _Given, settings: ImportSettings) -> CleanLabels:
    frame = frame.drop(columns="is_file", errors="ignore")
    if not len(frame):
        return CleanLabels(frame, {})
    return clean_labels(
        frame,
        known=given.source.columns,
        asked=settings.columns,
        atoms_per_cell=np.concatenate(given.atoms),
        atoms_per_formula=np.array([sum(parse_formula(f).values()) for f in frame["formula"]]),
    )


def _per_cell(frame: pd.DataFrame, given: _Given) -> pd.DataFrame:
    """Labels that grow with the cell, of the new cell."""
    scale = np.concatenate([np.zeros(0), *given.scales])
    present = [name for name in PER_CELL_COLUMNS if name in frame]
    return frame.assign(**{name: frame[name] * scale for name in present})


def _with_origin(frame: pd.DataFrame, source: Source, licence: str | None) -> pd.DataFrame:
    values = {
        "source": source.name,
        "source_id": frame["id"].astype(str),
        "licence": _licence(source, licence),
    }
    for column in ORIGIN_COLUMNS:
        known = frame[column] if column in frame else pd.Series(None, frame.index, dtype=object)
        fill = pd.Series(values[column], frame.index, dtype=object)
        frame = frame.assign(**{column: known.astype(object).where(known.notna(), fill)})
    return frame


def _licence(source: Source, asked: str | None) -> str:
    return asked if asked and source.licence == UNKNOWN_LICENCE else source.licence


def _described(frame: pd.DataFrame, spool: SpooledCrystals, progress: Progress) -> pd.DataFrame:
    """With the columns that follow from the crystals."""
    parts = []
    for rows, crystals in spool.parts(_FACTS_AT_ONCE):
        progress("space groups", rows.start, len(frame))
        parts.append(_facts(crystals))
    progress("space groups", len(frame), len(frame))
    facts = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if "density" in frame:
        given = frame["density"].to_numpy(dtype=float, na_value=np.nan)
        facts["density"] = np.where(np.isnan(given), facts["density"], given)
    return frame.assign(**facts)


def _facts(crystals: Crystals) -> dict[str, NDArray[Any]]:
    groups = [space_group_number(crystals, index) for index in range(len(crystals))]
    return {
        "space_group": np.array(groups, dtype=int),
        "n_sites": site_counts(crystals),
        "volume": crystals.volumes_a3,
        "density": _densities(crystals),
        "disordered": is_disordered(crystals),
    }


def _densities(crystals: Crystals) -> NDArray[np.float64]:
    """(n,), g/cm³."""
    from pymatgen.core import Element

    kinds = np.unique(crystals.numbers)
    masses = np.zeros(int(kinds.max(initial=0)) + 1)
    masses[kinds] = [float(Element.from_Z(int(z)).atomic_mass) for z in kinds]
    weights = np.append(0.0, np.cumsum(masses[crystals.numbers] * crystals.occupancies))
    return np.diff(weights[crystals.offsets]) / crystals.volumes_a3 * _G_PER_CM3


def _disordered(table: _Table) -> dict[int, str]:
    rows = np.flatnonzero(table.frame["disordered"].to_numpy(dtype=bool))
    return {int(row): "disordered: a site is mixed or partly filled" for row in rows}


def _duplicates(table: _Table) -> dict[int, str]:
    frame = table.frame
    pairs = duplicate_pairs(table.spool.crystals, frame["formula"], frame["space_group"])
    labels = [name for name in frame.columns if name in UNITS and name not in CRYSTAL_FACTS]
    chosen = choose_keepers(pairs, frame[labels].notna().sum(axis=1).to_numpy())
    reasons = {}
    for row, pair in chosen.items():
        kept = frame["id"].iloc[pair.second if pair.first == row else pair.first]
        # rounded down: 0.99996 is not 1
        cosine = np.floor(1e4 * pair.cosine) / 1e4
        reasons[row] = f"duplicate of {kept} (cosine {cosine:.4f})"
    return reasons


def _provenance(
    materials: Materials, records: list[dict[str, Any]], settings: ImportSettings
) -> dict[str, Any]:
    return {
        "matlode": __version__,
        "imported": datetime.now(UTC).isoformat(timespec="seconds"),
        "options": asdict(settings),
        "sources": records,
        "rows": {
            "read": sum(record["read"] for record in records),
            "kept": len(materials),
            "dropped": len(materials.dropped),
            "dropped_by_reason": dict(Counter(_kind(row.reason) for row in materials.dropped)),
        },
        "columns": {str(name): UNITS.get(str(name)) for name in materials.frame.columns},
    }


def _kind(reason: str) -> str:
    """A reason without what is special to one row."""
    if reason.startswith("duplicate of"):
        return "duplicate"
    return re.sub(r"\d[\d.e+-]*", "N", re.split(r"[:;(]", reason)[0]).strip()


def _digest(files: Sequence[Path]) -> str | None:
    """SHA-256 of a file; of several, of the lines "digest  name" that sha256sum would print."""
    if len(files) <= 1:
        return checksum(files[0]) if files else None
    lines = "".join(f"{checksum(path)}  {path}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()
