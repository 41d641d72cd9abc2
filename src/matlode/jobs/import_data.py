"""Structures from anywhere into one table: cleaned, in one unit, each once, with their origin."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from matlode.data.readers import gather, joined, open_source
from matlode.data.readers.source import UNKNOWN_LICENCE, ReadOptions, Source
from matlode.data.structures import space_group_number
from matlode.data.tables import Materials, checksum, write_materials
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
    parts, records = [], []
    for done, name in enumerate(sources):
        progress("read", done, len(sources), note=str(name))
        materials, record = _read(name, settings)
        parts.append(materials)
        records.append(record)
    progress("read", len(sources), len(sources))
    materials = _described(joined(parts), progress)
    if settings.drop_disordered:
        materials = _without_disordered(materials)
    if not settings.keep_duplicates:
        materials = _without_duplicates(materials)
    provenance = _provenance(materials, records, settings)
    write_materials(materials, out)
    write_json(out / PROVENANCE_FILE, provenance)
    return Imported(materials, provenance)


def _read(name: str | Path, settings: ImportSettings) -> tuple[Materials, dict[str, Any]]:
    """One source with our columns and cells, and what is to be remembered of it."""
    options = ReadOptions(structure_column=settings.structure_column, filter=settings.filter)
    source = open_source(name, options)
    given = gather(source)
    labels = _labels(given, source, settings)
    reduced = reduce_cells(given.crystals, settings.cell)
    frame = _per_cell(labels.frame, given.crystals, reduced)
    frame = _with_origin(frame, source, settings.licence)
    materials = replace(given, frame=frame, crystals=reduced)
    record = {
        "source": source.name,
        "licence": _licence(source, settings.licence),
        "citation": source.citation,
        "files": len(source.files),
        "sha256": _digest(source.files),
        "read": len(given) + len(given.dropped),
        "usable": len(given),
        "labels_left_empty": labels.unreadable,
        "converted": [asdict(c) for c in source.columns if c.name in frame],
    }
    return materials, record


def _labels(given: Materials, source: Source, settings: ImportSettings) -> CleanLabels:
    frame = given.frame.drop(columns="is_file", errors="ignore")
    if not len(frame):
        return CleanLabels(frame, {})
    formulas = [parse_formula(formula) for formula in frame["formula"]]
    crystals = given.crystals
    return clean_labels(
        frame,
        known=source.columns,
        asked=settings.columns,
        atoms_per_cell=np.add.reduceat(crystals.occupancies, crystals.offsets[:-1]),
        atoms_per_formula=np.array([sum(amounts.values()) for amounts in formulas]),
    )


def _per_cell(frame: pd.DataFrame, before: Crystals, after: Crystals) -> pd.DataFrame:
    """Labels that grow with the cell, of the new cell."""
    scale = after.volumes_a3 / before.volumes_a3
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


def _described(materials: Materials, progress: Progress) -> Materials:
    """With the columns that follow from the crystals."""
    crystals = materials.crystals
    groups = []
    for index in range(len(crystals)):
        groups.append(space_group_number(crystals, index))
        if index % 1000 == 0:
            progress("space groups", index, len(crystals))
    progress("space groups", len(crystals), len(crystals))
    frame = materials.frame
    density = _densities(crystals)
    if "density" in frame:
        density = np.where(np.isnan(materials.label("density")), density, frame["density"])
    facts = {
        "space_group": np.array(groups, dtype=int),
        "n_sites": site_counts(crystals),
        "volume": crystals.volumes_a3,
        "density": density,
        "disordered": is_disordered(crystals),
    }
    return replace(materials, frame=frame.assign(**facts))


def _densities(crystals: Crystals) -> NDArray[np.float64]:
    """(n,), g/cm³."""
    from pymatgen.core import Element

    kinds = np.unique(crystals.numbers)
    masses = np.zeros(int(kinds.max(initial=0)) + 1)
    masses[kinds] = [float(Element.from_Z(int(z)).atomic_mass) for z in kinds]
    weights = np.append(0.0, np.cumsum(masses[crystals.numbers] * crystals.occupancies))
    return np.diff(weights[crystals.offsets]) / crystals.volumes_a3 * _G_PER_CM3


def _without(materials: Materials, dropped: dict[int, str]) -> Materials:
    """Without some rows, each with its reason."""
    keep = np.array([row not in dropped for row in range(len(materials))], dtype=bool)
    ids = materials.frame["id"]
    told = tuple(DroppedRow(str(ids.iloc[row]), dropped[row]) for row in sorted(dropped))
    return replace(materials.take(keep), dropped=(*materials.dropped, *told))


def _without_disordered(materials: Materials) -> Materials:
    rows = np.flatnonzero(materials.frame["disordered"].to_numpy(dtype=bool))
    return _without(
        materials, {int(row): "disordered: a site is mixed or partly filled" for row in rows}
    )


def _without_duplicates(materials: Materials) -> Materials:
    frame = materials.frame
    pairs = duplicate_pairs(materials.crystals, list(frame["formula"]), list(frame["space_group"]))
    labels = [name for name in frame.columns if name in UNITS and name not in CRYSTAL_FACTS]
    chosen = choose_keepers(pairs, frame[labels].notna().sum(axis=1).to_numpy())
    reasons = {}
    for row, pair in chosen.items():
        kept = frame["id"].iloc[pair.second if pair.first == row else pair.first]
        # rounded down: 0.99996 is not 1
        cosine = np.floor(1e4 * pair.cosine) / 1e4
        reasons[row] = f"duplicate of {kept} (cosine {cosine:.4f})"
    return _without(materials, reasons)


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
