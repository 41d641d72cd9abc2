"""A run folder as one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from matlode.artefacts import HEADER_FILE, convert_read_errors, find_model, load_header
from matlode.errors import InputError
from matlode.evidence.dossier import POTENTIAL_ERRORS
from matlode.records import Cell
from matlode.report.cards import EVIDENCE_COLUMNS, list_evidence, make_cards
from matlode.report.labels import find_units, format_heading, label_novelty
from matlode.report.maps import LatentMap, PropertyMap, make_latent_map, make_property_map
from matlode.report.scripts import SCRIPTS, pack, pack_script, read_table_style
from matlode.run_folder import RunFolder
from matlode.run_records import (
    CandidateRow,
    Counts,
    EvidenceTable,
    FunnelRow,
    PredictedValue,
    Provenance,
    RejectedFormula,
)

if TYPE_CHECKING:
    from jinja2 import Environment

N_CARDS = 100
"""Candidates with a card of their own; the table holds all."""


@dataclass(frozen=True)
class Step:
    """A step of the funnel."""

    name: str
    n_in: int
    n_passed: int
    why: str = ""
    """Why the others did not pass, where there is no reason for each of them."""
    failed: tuple[RejectedFormula, ...] = ()
    is_informational: bool = False
    """Whether candidates that fail go on to the next step all the same."""


@dataclass(frozen=True)
class Column:
    """A column of the table of candidates."""

    name: str
    title: str
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


@dataclass(frozen=True)
class ExaminedRow:
    """A row of the table of what potentials computed."""

    formula: str
    fell_apart: str
    cells: tuple[Cell, ...]
    relaxed_file: str


@dataclass(frozen=True)
class Examined:
    """What potentials computed of the best candidates."""

    judge: str
    witness: str
    hull: str
    errors: tuple[str, ...]
    """Errors of the potentials and of our models on known materials, in words."""
    headings: tuple[str, ...]
    rows: tuple[ExaminedRow, ...]


@dataclass(frozen=True)
class PageData:
    """What the plots of the page are drawn from; those of the cards are apart."""

    properties: PropertyMap
    latent: LatentMap | None
    angles: tuple[float, float]
    """First and last 2θ of the patterns, degrees."""


def write_report(folder: Path) -> Path:
    """Write report.html into a finished run folder, from its files.

    The page holds its scripts and all data, so it opens without a network.
    Raises InputError if the folder is not a finished run, or is damaged.
    """
    from jinja2 import TemplateError

    try:
        with convert_read_errors(folder, InputError):
            page = _make_page(RunFolder(folder))
    except TemplateError as error:  # an entry is of another kind
        raise InputError(f"{folder} is damaged or of another version ({error}).") from error
    return RunFolder(folder).write_report(page)


def _make_page(folder: RunFolder) -> str:
    candidates, provenance = folder.read_candidates(), folder.read_provenance()
    details, evidence = folder.read_details(), folder.read_evidence()
    patterns = folder.read_patterns()
    places = folder.read_map()
    structures = () if evidence is None else evidence.structures
    cards = make_cards(folder, candidates[:N_CARDS], patterns, provenance, details, structures)
    columns = _choose_columns(provenance, candidates)
    angles = patterns.two_theta_deg
    data = PageData(
        properties=make_property_map(folder.read_known(), candidates, provenance),
        latent=(
            None
            if places is None
            else make_latent_map(places, folder.read_trials(), details.map_shares)
        ),
        angles=(round(float(angles[0]), 3), round(float(angles[-1]), 3)),
    )
    return str(
        make_page_environment("matlode.report")
        .get_template("report.html.j2")
        .render(
            provenance=provenance,
            steps=_list_steps(folder.read_funnel(), candidates, details.counts),
            columns=columns,
            rows=[_make_row(row, columns) for row in folder.read_rows()],
            cards=cards,
            evidence=_summarise_evidence(evidence),
            shown=provenance.goal.shown_properties,
            units=find_units(provenance),
            heading=format_heading,
            label_novelty=label_novelty,
            data=data,
            page_data=asdict(data),
            cards_data=pack(json.dumps([asdict(card.data) for card in cards])),
            notable=details.notable_elements,
            scripts=[(script.name, pack_script(script), script.licence()) for script in SCRIPTS],
            table_style=read_table_style(),
        )
    )


def _list_steps(
    rules: Sequence[FunnelRow], candidates: Sequence[CandidateRow], counts: Counts | None
) -> list[Step]:
    """The funnel: rules, and the steps before and after them where the run counts these."""
    screens = [
        Step(
            rule.rule.replace("_", " "),
            rule.n_in,
            rule.n_passed,
            failed=rule.failed,
            is_informational=not rule.required,
        )
        for rule in rules
    ]
    if counts is None:
        return screens
    n_screened = rules[0].n_in if rules else len(candidates)
    return [
        Step(
            "proposals",
            max(counts.proposed, counts.evaluated),
            counts.evaluated,
            "led to no crystal: no known structure has the stoichiometry of a new formula",
        ),
        Step(
            "crystals evaluated, the likeliest to be stable of each formula",
            counts.formulas,
            n_screened,
            "have a lower merit, or are close to a better one of the same elements",
        ),
        *screens,
        Step(
            "screened crystals",
            n_screened,
            len(candidates),
            "more of the same elements or structure type, or below the end of the table",
        ),
    ]


def _summarise_evidence(evidence: EvidenceTable | None) -> Examined | None:
    """What potentials computed; None if no structure was examined (`matlode relax`)."""
    if evidence is None or not evidence.structures:
        return None
    rows = []
    for row in evidence.structures:
        cells = tuple(value for _, value in list_evidence(row))
        rows.append(ExaminedRow(row.formula, row.fell_apart, cells, row.relaxed_file))
    headings = tuple(title for _, title in EVIDENCE_COLUMNS)
    return Examined(
        evidence.judge, evidence.witness, evidence.hull, _describe_errors(), headings, tuple(rows)
    )


def _describe_errors() -> tuple[str, ...]:
    """Errors of the potentials and of our models on known materials, in words."""
    place = find_model(POTENTIAL_ERRORS)
    if not (place / HEADER_FILE).exists():
        return ()
    lines = []
    for endpoint, rows in groupby(load_header(place)["rows"], key=lambda row: row["endpoint"]):
        of_endpoint = list(rows)
        errors = ", ".join(f"{row['model']} {row['scores']['mae']:.3g}" for row in of_endpoint)
        first = of_endpoint[0]
        lines.append(
            f"{endpoint.replace('_', ' ')}, {first['unit']}: {errors} ({first['rows']} materials)"
        )
    return tuple(lines)


def _choose_columns(
    provenance: Provenance, candidates: Sequence[CandidateRow]
) -> tuple[Column, ...]:
    """Columns of the table of candidates; of properties, those that the run's table has."""
    names = ["bulk_modulus", "shear_modulus", "formation_energy", "hull_probability_50_mev"]
    units = find_units(provenance)
    properties = [
        Column(
            name,
            format_heading(name, units.get(name, "")),
            bool(candidates) and candidates[0].interval(name) is not None,
        )
        for name in dict.fromkeys([*provenance.goal.shown_properties, *names])
        if not candidates or candidates[0].value(name) is not None
    ]
    return (
        Column("rank", "#"),
        Column("formula", "formula"),
        *properties,
        Column("crystal_system", "crystal system"),
        Column("space_group", "space group"),
        Column("charge_neutral", "charges balance"),
        Column("novelty", "novelty"),
        Column("prototype", "structure type"),
        Column("in_ranges", "in ranges"),
        Column("verdict", "verdict"),
    )


def _make_row(row: CandidateRow, columns: Sequence[Column]) -> TableRow:
    values = row.to_columns()
    return TableRow(
        row,
        tuple(
            TableCell(column, values[column.name], row.interval(column.name)) for column in columns
        ),
    )


def make_page_environment(*packages: str) -> Environment:
    """Jinja, with everything escaped, for the templates of these packages."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        # the style sheet and the script are parts of the page, and hold nothing of a run
        autoescape=lambda name: name is None or name.endswith(".j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
