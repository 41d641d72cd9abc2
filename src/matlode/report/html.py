"""A run folder as one self-contained HTML page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from matlode.artefacts import HEADER_FILE, convert_read_errors, find_model, load_header
from matlode.errors import InputError
from matlode.evidence.dossier import POTENTIAL_ERRORS
from matlode.records import Cell
from matlode.report.cards import EVIDENCE_COLUMNS, N_BEST, list_evidence, make_cards, write_line
from matlode.report.elements import arrange_elements
from matlode.report.funnel import list_steps
from matlode.report.labels import (
    find_units,
    format_cell,
    format_heading,
    format_predicted,
    label_novelty,
    write_subscripts,
    write_title,
)
from matlode.report.links import link_id
from matlode.report.maps import LatentMap, PropertyMap, make_latent_map, make_property_map
from matlode.report.scripts import SCRIPTS, pack, pack_script, read_table_style
from matlode.report.table import choose_columns, make_rows
from matlode.run_folder import RunFolder
from matlode.run_records import CandidateRow, Details, EvidenceTable, Provenance

if TYPE_CHECKING:
    from jinja2 import Environment

N_CARDS = 100
"""Candidates with a card of their own; the table holds all."""


@dataclass(frozen=True)
class Summary:
    """The counts of the page's first sentence."""

    proposals: int
    evaluated: int
    """Distinct formulas whose crystals were evaluated; 0 in runs that did not count them."""
    candidates: int
    reported: tuple[tuple[str, int], ...]
    """How many candidates are made, computed, ..., by label; most frequent first."""
    rejected: int
    examined: int
    """Candidates that potentials examined."""


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

    primary_potential: str
    second_potential: str
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
    csv_heading: str
    """First line of candidates.csv."""


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
    rows, provenance = folder.read_rows(), folder.read_provenance()
    candidates = [row for row in rows if not row.is_known]
    details, evidence = folder.read_details(), folder.read_evidence()
    patterns = folder.read_patterns()
    structures = () if evidence is None else evidence.structures
    cards = make_cards(folder, candidates[:N_CARDS], patterns, provenance, details, structures)
    columns = choose_columns(provenance, candidates, structures)
    angles, units = patterns.two_theta_deg, find_units(provenance)
    data = PageData(
        properties=make_property_map(folder.read_known(), rows, provenance),
        latent=_map_trials(folder, rows, details),
        angles=(round(float(angles[0]), 3), round(float(angles[-1]), 3)),
        csv_heading=write_line(rows[0].to_columns()) if rows else "",
    )
    return str(
        make_page_environment("matlode.report")
        .get_template("report.html.j2")
        .render(
            provenance=provenance,
            title=write_title(provenance.goal, units),
            summary=_summarise(provenance, candidates, details, len(structures)),
            steps=list_steps(folder.read_funnel(), candidates, details.counts),
            columns=columns,
            rows=make_rows(rows, columns, {found.source_file: found for found in structures}),
            cards=cards,
            best=cards[:N_BEST],
            elements=arrange_elements(row.formula for row in candidates),
            evidence=_summarise_evidence(evidence),
            shown=provenance.goal.shown_properties,
            units=units,
            data=data,
            page_data=pack(json.dumps(asdict(data))),
            cards_data=pack(json.dumps([asdict(card.data) for card in cards])),
            notable=details.notable_elements,
            scripts=[(script.name, pack_script(script), script.licence()) for script in SCRIPTS],
            table_style=read_table_style(),
        )
    )


def _map_trials(
    folder: RunFolder, rows: Sequence[CandidateRow], details: Details
) -> LatentMap | None:
    places = folder.read_map()
    if places is None:
        return None
    return make_latent_map(places, folder.read_trials(), rows, details.map_shares)


def _summarise(
    provenance: Provenance, candidates: Sequence[CandidateRow], details: Details, examined: int
) -> Summary:
    counts = details.counts
    return Summary(
        proposals=provenance.settings.trials,
        evaluated=0 if counts is None else counts.formulas,
        candidates=len(candidates),
        reported=tuple(Counter(map(label_novelty, candidates)).most_common()),
        rejected=sum(not row.is_accepted for row in candidates),
        examined=examined,
    )


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
        evidence.primary_potential,
        evidence.second_potential,
        evidence.hull,
        _describe_errors(),
        headings,
        tuple(rows),
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


def make_page_environment(*packages: str) -> Environment:
    """Jinja, with everything escaped, for the templates of these packages."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        # the style sheet and the script are parts of the page, and hold nothing of a run
        autoescape=lambda name: name is None or name.endswith(".j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "subscripts": write_subscripts,
        "format_cell": format_cell,
        "format_predicted": format_predicted,
        "heading": format_heading,
        "label_novelty": label_novelty,
        "link_id": link_id,
        "list_evidence": list_evidence,
    }
    return environment
