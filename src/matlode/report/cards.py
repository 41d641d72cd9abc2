"""What a report shows of each candidate: from the run folder's files, in the page's form."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.data.structures import read_structure
from matlode.records import Cell, Prediction
from matlode.report.labels import find_units, format_cell, format_heading, format_predicted
from matlode.report.links import Link, link_formula
from matlode.report.structure_picture import AT_BORDER, draw_structure
from matlode.run_folder import RunFolder, explain_candidate
from matlode.run_records import (
    BuiltStructure,
    CandidateDetails,
    CandidateRow,
    Details,
    EvidenceRow,
    Explanation,
    PatternTable,
    PeakRow,
    PredictedValue,
    Provenance,
)

if TYPE_CHECKING:
    from markupsafe import Markup

N_BEST = 5
"""Candidates that the page begins with."""
WEAKEST_PEAK = 0.03
"""Maxima below this part of the strongest point are not marked."""
EVIDENCE_COLUMNS = (
    ("space_group", "space group"),
    ("unchanged", "structure kept"),
    ("formation_energy_ev", "formation energy, eV/atom"),
    ("second_potential_formation_energy_ev", "by the second potential"),
    ("energy_above_hull_ev", "above hull, eV/atom"),
    ("second_potential_energy_above_hull_ev", "by the second potential"),
    ("decomposition", "decomposes into"),
    ("known_phases", "known phases"),
    ("predicted_bulk_modulus_gpa", "K predicted, GPa"),
    ("bulk_modulus_gpa", "K computed"),
    ("predicted_shear_modulus_gpa", "G predicted, GPa"),
    ("shear_modulus_gpa", "G computed"),
    ("born_stable", "elastically stable"),
    ("lowest_gamma_thz", "lowest frequency at Γ, THz"),
)
"""Column of evidence.csv → heading."""

Peak = tuple[float, float, str]
"""2θ in degrees, height, name."""


@dataclass(frozen=True)
class ShownPrediction:
    """A row of a card's table of predictions."""

    name: str
    label: str
    unit: str
    wanted: bool
    """Whether the goal is about it."""
    value: float
    low: float | None
    """Ends of its interval; None where they are unknown."""
    high: float | None
    text: str
    """The value with the digits that are shown."""
    interval: str


@dataclass(frozen=True)
class View:
    """A structure as chemiscope takes it."""

    size: int
    names: tuple[str, ...]
    x: list[float]
    y: list[float]
    z: list[float]
    cell: list[float]


@dataclass(frozen=True)
class DrawnPattern:
    """A powder pattern with its peaks."""

    intensities: list[int]
    """Thousandths, which is what a pixel can show."""
    peaks: list[Peak]


@dataclass(frozen=True)
class CardData:
    """What scripts draw, and what can be downloaded."""

    pattern: DrawnPattern
    views: Mapping[str, View]
    """Structures by title."""
    files: Mapping[str, str]
    """Name → text."""
    predictions: tuple[ShownPrediction, ...]
    row: str
    """The candidate's row of candidates.csv."""


@dataclass(frozen=True)
class Card:
    """A candidate, as the page's template shows it."""

    row: CandidateRow
    cif: str
    """Name of its structure's file; empty if it is not there."""
    explanation: Explanation
    details: CandidateDetails | None
    links: tuple[Link, ...]
    """Searches for its formula."""
    evidence: EvidenceRow | None
    """What potentials computed."""
    picture: Markup | None
    """Its structure, of the best candidates only."""
    data: CardData

    def find(self, name: str) -> ShownPrediction | None:
        """A prediction by its name."""
        return next((shown for shown in self.data.predictions if shown.name == name), None)


def make_cards(
    folder: RunFolder,
    candidates: Sequence[CandidateRow],
    patterns: PatternTable,
    provenance: Provenance,
    details: Details,
    evidence: Sequence[EvidenceRow],
) -> list[Card]:
    """One card per candidate; ``patterns`` are those of all candidates."""
    details_of = {found.rank: found for found in details.candidates}
    evidence_of = {found.source_file: found for found in evidence}
    verdicts, funnel = folder.read_verdicts(), folder.read_funnel()
    cards = []
    for index, row in enumerate(candidates):
        found = details_of.get(row.rank)
        examined = evidence_of.get(Path(row.structure_file).name)
        explanation = explain_candidate(row, verdicts.get(row.rank, ()), funnel, found)
        structure_file = folder.find_structure(row)
        views = _collect_views(folder, structure_file, found, examined)
        card = Card(
            row=row,
            cif="" if structure_file is None else structure_file.name,
            explanation=explanation,
            details=found,
            links=link_formula(row.formula),
            evidence=examined,
            picture=_draw_view(views) if index < N_BEST else None,
            data=CardData(
                pattern=_draw_pattern(patterns.realised[index], patterns.two_theta_deg, found),
                views=views,
                files=_collect_files(folder, row, structure_file, explanation, found, examined),
                predictions=_list_predictions(row, found, provenance),
                row=write_line(row.to_columns().values()),
            ),
        )
        cards.append(card)
    return cards


def list_evidence(row: EvidenceRow) -> tuple[tuple[str, Cell], ...]:
    """(heading, value) of what potentials computed; None for what they did not."""
    columns = row.to_columns()
    return tuple((title, columns.get(name)) for name, title in EVIDENCE_COLUMNS)


def _list_predictions(
    row: CandidateRow, details: CandidateDetails | None, provenance: Provenance
) -> tuple[ShownPrediction, ...]:
    """All properties, those of the goal first; without details, those of the table."""
    goal = provenance.goal.shown_properties
    if details is not None and details.predictions:
        found: Mapping[str, Prediction | PredictedValue | float] = details.predictions
    else:
        names = dict.fromkeys([*goal, "bulk_modulus", "shear_modulus"])
        known = {name: row.interval(name) or row.value(name) for name in names}
        found = {name: value for name, value in known.items() if value is not None}
    wanted = [name for name in goal if name in found]
    units = find_units(provenance)
    return tuple(
        _show_prediction(name, found[name], units.get(name, ""), wanted=name in wanted)
        for name in dict.fromkeys([*wanted, *found])
    )


def _show_prediction(
    name: str, predicted: Prediction | PredictedValue | float, unit: str, *, wanted: bool
) -> ShownPrediction:
    label = format_heading(name, unit)
    if isinstance(predicted, float):
        text = format_cell(predicted, unit)
        return ShownPrediction(name, label, unit, wanted, predicted, None, None, text, "")
    text, interval = format_predicted(predicted, unit)
    return ShownPrediction(
        name, label, unit, wanted, predicted.value, predicted.low, predicted.high, text, interval
    )


def write_line(cells: Iterable[Cell]) -> str:
    """A line of a CSV table."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _draw_pattern(
    pattern: NDArray[np.floating],
    angles: NDArray[np.floating],
    details: CandidateDetails | None,
) -> DrawnPattern:
    """The pattern, with the indices of the peaks if the run has them."""
    if details is None or details.structure is None:
        return DrawnPattern(_to_thousandths(pattern), _find_maxima(pattern, angles))
    return DrawnPattern(
        _to_thousandths(pattern), _name_peaks(details.structure.peaks, pattern, angles)
    )


def _name_peaks(
    peaks: Sequence[PeakRow], pattern: NDArray[np.floating], angles: NDArray[np.floating]
) -> list[Peak]:
    heights = np.interp([peak.two_theta_deg for peak in peaks], angles, pattern)
    return [
        (peak.two_theta_deg, round(float(height), 3), " ".join(map(str, peak.hkl)))
        for peak, height in zip(peaks, heights, strict=True)
        if height >= WEAKEST_PEAK
    ]


def _find_maxima(pattern: NDArray[np.floating], angles: NDArray[np.floating]) -> list[Peak]:
    from scipy.signal import find_peaks

    rows, _ = find_peaks(pattern, height=WEAKEST_PEAK, prominence=WEAKEST_PEAK)
    return [(round(float(angles[row]), 2), round(float(pattern[row]), 3), "") for row in rows]


def _to_thousandths(pattern: NDArray[np.floating]) -> list[int]:
    return [int(value) for value in np.rint(np.asarray(pattern, dtype=float) * 1000)]


def _collect_views(
    folder: RunFolder,
    structure_file: Path | None,
    details: CandidateDetails | None,
    examined: EvidenceRow | None,
) -> dict[str, View]:
    """Structures for the viewer."""
    views = {}
    if structure_file is not None:
        built = None if details is None else details.structure
        views["as built"] = _read_view(structure_file) if built is None else _make_built_view(built)
    if examined is not None and (relaxed := folder.find_relaxed(examined)) is not None:
        views["relaxed"] = _read_view(relaxed)
    return views


def _draw_view(views: Mapping[str, View]) -> Markup | None:
    """The most reliable of these structures: the relaxed one where there is one."""
    for view in reversed(list(views.values())):
        lattice = np.array(view.cell).reshape(3, 3)
        places = np.array([view.x, view.y, view.z]).T
        return draw_structure(view.names, lattice, places @ np.linalg.inv(lattice))
    return None


def _collect_files(
    folder: RunFolder,
    row: CandidateRow,
    structure_file: Path | None,
    explanation: Explanation,
    details: CandidateDetails | None,
    examined: EvidenceRow | None,
) -> dict[str, str]:
    """Texts for download, by file name."""
    stem = f"{row.rank:03d}-{row.formula}"
    verdicts = [
        {
            "rule": found.verdict.rule,
            "passed": found.verdict.passed,
            "required": found.required,
            "reason": found.verdict.reason,
        }
        for found in explanation.verdicts
    ]
    record = {
        **row.to_columns(),
        "verdicts": verdicts,
        **({} if details is None else details.to_json()),
        "evidence": None if examined is None else examined.to_json(),
    }
    files = {f"{stem}.json": json.dumps(record, indent=1, ensure_ascii=False)}
    if structure_file is not None:
        files[structure_file.name] = structure_file.read_text(encoding="utf-8")
    if examined is not None and (relaxed := folder.find_relaxed(examined)) is not None:
        files[f"{stem}-relaxed.cif"] = relaxed.read_text(encoding="utf-8")
    return files


def _make_built_view(structure: BuiltStructure) -> View:
    return _make_view(
        structure.species, np.array(structure.lattice), np.array(structure.frac_coords)
    )


def _read_view(path: Path) -> View:
    structure = read_structure(path)
    species = tuple(site.species.elements[0].symbol for site in structure)
    return _make_view(species, structure.lattice.matrix.round(5), structure.frac_coords)


def _make_view(
    species: tuple[str, ...], lattice: NDArray[np.floating], frac_coords: NDArray[np.floating]
) -> View:
    # inside the cell: the viewer draws atoms where it is told to
    places = (np.mod(frac_coords + AT_BORDER, 1) - AT_BORDER) @ lattice
    x, y, z = places.round(4).T.tolist()
    return View(len(places), species, x, y, z, lattice.ravel().tolist())
