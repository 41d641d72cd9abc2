"""The table of candidates: which columns it has, which of them are shown at first, and its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matlode.records import Cell
from matlode.report.labels import find_units, format_heading
from matlode.run_records import CandidateRow, EvidenceRow, PredictedValue, Provenance

N_SHOWN_PROPERTIES = 2
"""Properties of the goal that are shown at first, beside the probability of being stable."""
STABLE = "hull_probability_50_mev"
HULL = "energy_above_hull_ev"
"""Column of what potentials computed."""
PROPERTIES = ("bulk_modulus", "shear_modulus", "formation_energy", STABLE)
"""Those that every table has, whatever the goal."""
TITLES = {STABLE: "P(stable)"}
"""Names of properties that are too long for a heading."""
MEANINGS = {STABLE: "probability of being within 0.05 eV/atom of the convex hull"}
"""Meanings that an endpoint's description gives by reference to another one."""


@dataclass(frozen=True)
class Column:
    """A column of the table of candidates."""

    name: str
    title: str
    help: str
    """What the values mean: the tooltip, and a line of the legend."""
    unit: str = ""
    shown: bool = False
    """Whether it is shown before the reader chooses columns."""
    has_interval: bool = False


@dataclass(frozen=True)
class TableCell:
    """A cell of the table of candidates."""

    column: Column
    value: Cell
    interval: PredictedValue | None = None


@dataclass(frozen=True)
class TableRow:
    """A row of the table of candidates."""

    candidate: CandidateRow
    cells: tuple[TableCell, ...]


def choose_columns(
    provenance: Provenance, candidates: Sequence[CandidateRow], evidence: Sequence[EvidenceRow]
) -> tuple[Column, ...]:
    """Columns of the table; of properties, those that the run's table has."""
    return (
        Column("rank", "#", "Rank; tick the box to pin a candidate.", shown=True),
        Column("formula", "formula", "Opens the candidate's card.", shown=True),
        *_choose_properties(provenance, candidates),
        *([_HULL_COLUMN] if any(row.hull is not None for row in evidence) else []),
        *_OTHER_COLUMNS,
    )


_HULL_COLUMN = Column(
    HULL, "above hull, eV/atom", "Energy above the hull, computed by the primary potential.",
    unit="eV/atom", shown=True,
)  # fmt: skip
_OTHER_COLUMNS = (
    Column("space_group", "symmetry", "Crystal system and number of the space group.", shown=True),
    Column(
        "novelty",
        "reported",
        "Made: the formula is in the list of synthesised compounds. Computed: in the list of "
        "calculated ones. In no list: in neither. Known structure: this structure is known.",
        shown=True,
    ),
    Column(
        "merit",
        "score",
        "Weighted mean of the normalised objectives minus penalties for violated ranges; "
        "higher is better.",
        shown=True,
    ),
    Column("crystal_system", "crystal system", "Of the crystal that can be downloaded."),
    Column(
        "charge_neutral",
        "charges balance",
        "Whether common oxidation states add up to zero, or bonds are metallic or covalent.",
    ),
    Column("prototype", "structure type", "Of the known structure that it is built from."),
    Column("in_ranges", "in ranges", "Whether all ranges of the goal are met."),
    Column("verdict", "verdict", "Accepted: passes all required rules."),
)


def _choose_properties(
    provenance: Provenance, candidates: Sequence[CandidateRow]
) -> tuple[Column, ...]:
    goal = provenance.goal
    units = find_units(provenance)
    names = [
        name
        for name in dict.fromkeys([*goal.shown_properties, *PROPERTIES])
        if not candidates or candidates[0].value(name) is not None
    ]
    first = [name for name in names if name != STABLE][:N_SHOWN_PROPERTIES]
    return tuple(
        Column(
            name,
            TITLES.get(name, format_heading(name, units.get(name, ""))),
            _describe(name),
            units.get(name, ""),
            name in first or name == STABLE,
            bool(candidates) and candidates[0].interval(name) is not None,
        )
        for name in [*first, *(name for name in names if name not in first)]
    )


def _describe(name: str) -> str:
    from matlode.properties.endpoints import ENDPOINTS

    described = ENDPOINTS[name].description if name in ENDPOINTS else ""
    meaning = MEANINGS.get(name) or described or name.replace("_", " ")
    return f"{meaning[:1].upper()}{meaning[1:].rstrip('.')}; predicted, with its 90 % interval."


def make_rows(
    rows: Sequence[CandidateRow], columns: Sequence[Column], evidence: Mapping[str, EvidenceRow]
) -> list[TableRow]:
    """Rows of the table; ``evidence`` is by the name of the structure's file."""
    return [
        TableRow(row, tuple(_make_cell(row, column, evidence) for column in columns))
        for row in rows
    ]


def _make_cell(row: CandidateRow, column: Column, evidence: Mapping[str, EvidenceRow]) -> TableCell:
    if column.name == HULL:
        examined = evidence.get(Path(row.structure_file).name)
        hull = None if examined is None else examined.hull
        return TableCell(column, None if hull is None else hull.energy_above_hull_ev)
    return TableCell(column, row.to_columns()[column.name], row.interval(column.name))
