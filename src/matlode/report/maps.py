"""What the maps of a report are drawn from: objectives, and the latent space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from matlode.data.symmetry import crystal_system
from matlode.report.drawing import COLOURS, SYSTEM_COLOURS
from matlode.report.labels import find_units, format_heading
from matlode.run_records import CandidateRow, KnownRow, MapTable, Provenance, TrialTable
from matlode.screening.formula_lists import COMPUTED, KNOWN_STRUCTURE, MADE

MAX_POINTS = 6000
"""Points of a map; of more, every second, third, ... is drawn, and the page says so."""

N_LABELLED = 5
"""Candidates with a label in the maps."""

GROUPS = {
    **{name: name for name in (KNOWN_STRUCTURE, MADE, COMPUTED)},
    # words of older runs
    "known": KNOWN_STRUCTURE,
    "new polymorph": COMPUTED,
}
"""Novelty → group of candidates."""


@dataclass(frozen=True)
class Axis:
    """A property that the property map can have on an axis."""

    name: str
    title: str


@dataclass(frozen=True)
class PointGroup:
    """Points of the property map that look alike."""

    name: str
    colour: str
    symbol: str
    size: int
    formulas: tuple[str, ...]
    ranks: tuple[int, ...]
    """0 for known materials."""
    values: Mapping[str, tuple[float | None, ...]]
    """Property → value of each point; None where it is unknown."""
    below: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Property → length of each point's interval below the value; without labels, which have
    none."""
    above: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    """What is written beside each point; empty if nothing is."""


@dataclass(frozen=True)
class PropertyMap:
    """Candidates over known materials."""

    axes: tuple[Axis, ...]
    known: int
    """Known materials that have the properties."""
    step: int
    """One of so many of them is drawn."""
    groups: tuple[PointGroup, ...]


@dataclass(frozen=True)
class LatentMap:
    """Trials in a plane of the latent space, with the search's path."""

    shares: tuple[float, ...]
    """Shares of the spread that the two axes keep."""
    points: int
    shown: int
    """Points that are drawn."""
    colours: Mapping[str, str]
    """Crystal system → colour."""
    x: list[float]
    y: list[float]
    formulas: list[str]
    merits: list[float]
    origins: list[str]
    systems: list[str]
    """Crystal systems; empty where unknown."""
    ranks: list[int]
    """0 for trials that are not candidates."""
    labels: list[str]
    """What is written beside each point; mostly empty."""
    path: list[int]
    """Drawn points that were better than all before them."""


def make_property_map(
    known: Sequence[KnownRow], rows: Sequence[CandidateRow], provenance: Provenance
) -> PropertyMap:
    """Candidates over known materials: axes to choose from, and groups of points with their
    values on each of them.

    ``rows`` are the candidates, and the known materials that stand above them; these and the best
    candidates are labelled.
    """
    objectives = provenance.goal.objective_names
    names = objectives if len(objectives) > 1 else provenance.goal.shown_properties[:2]
    step = _choose_step(len(known))
    drawn = known[::step]
    groups = [
        PointGroup(
            "known materials (labels)", COLOURS[6], "circle", 5,
            tuple(row.formula for row in drawn),
            (0,) * len(drawn),
            {name: tuple(row.labels.get(name) for row in drawn) for name in names},
        )
    ]  # fmt: skip
    looks = (
        ("rejected", "x", 8, COLOURS[1]),
        ("known structure", "square", 9, COLOURS[0]),
        ("made", "cross", 9, COLOURS[4]),
        ("computed", "triangle-up", 10, COLOURS[3]),
        ("in no list", "diamond", 10, COLOURS[2]),
    )
    for kind, symbol, size, colour in looks:
        found = [row for row in rows if not row.is_known and _name_group(row) == kind]
        groups.append(_make_group(f"candidates, {kind}", colour, symbol, size, found, names))
    best_known = [row for row in rows if row.is_known]
    groups.append(_make_group("known, predicted", COLOURS[5], "star", 12, best_known, names))
    units = find_units(provenance)
    return PropertyMap(
        tuple(Axis(name, format_heading(name, units.get(name, ""))) for name in names),
        len(known),
        step,
        tuple(group for group in groups if group.formulas),
    )


def _make_group(
    name: str, colour: str, symbol: str, size: int,
    rows: Sequence[CandidateRow], properties: Sequence[str],
) -> PointGroup:  # fmt: skip
    below, above = {}, {}
    for key in properties:
        found = [row.interval(key) for row in rows]
        intervals = [interval for interval in found if interval is not None]
        if len(intervals) == len(rows):
            below[key] = tuple(round(i.value - i.low, 6) for i in intervals)
            above[key] = tuple(round(i.high - i.value, 6) for i in intervals)
    return PointGroup(
        name, colour, symbol, size,
        formulas=tuple(row.formula for row in rows),
        ranks=tuple(row.rank for row in rows),
        values={key: tuple(row.value(key) for row in rows) for key in properties},
        below=below,
        above=above,
        labels=tuple(row.formula if row.rank <= N_LABELLED else "" for row in rows),
    )  # fmt: skip


def _name_group(row: CandidateRow) -> str:
    """The group that a candidate is drawn in; where its novelty was not checked, it is drawn among
    those in no list."""
    if not row.is_accepted:
        return "rejected"
    return GROUPS.get(str(row.novelty), "in no list")


def make_latent_map(
    places: MapTable, trials: TrialTable, rows: Sequence[CandidateRow], shares: Sequence[float]
) -> LatentMap:
    """Trials in the plane of map.csv with the search's path; the best of ``rows`` and the known
    materials among them are labelled."""
    path = _find_records(trials.merits, trials.origins != "known")
    kept = np.zeros(len(places.ranks), dtype=bool)
    kept[:: _choose_step(len(kept))] = True
    kept[path] = kept[places.ranks > 0] = True
    landmarks = _find_landmarks(places, trials, rows)
    kept[list(landmarks)] = True
    at = np.flatnonzero(kept)
    return LatentMap(
        shares=tuple(shares),
        points=len(kept),
        shown=len(at),
        colours=SYSTEM_COLOURS,
        x=places.x[at].tolist(),
        y=places.y[at].tolist(),
        formulas=trials.formulas[at].tolist(),
        merits=trials.merits[at].tolist(),
        origins=trials.origins[at].tolist(),
        systems=[crystal_system(int(n)) if n else "" for n in places.space_groups[at]],
        ranks=places.ranks[at].tolist(),
        labels=[landmarks.get(int(trial), "") for trial in at],
        path=np.searchsorted(at, path).tolist(),
    )


def _find_landmarks(
    places: MapTable, trials: TrialTable, rows: Sequence[CandidateRow]
) -> dict[int, str]:
    """Trial → label."""
    best = np.flatnonzero((places.ranks > 0) & (places.ranks <= N_LABELLED))
    found = {int(trial): str(trials.formulas[trial]) for trial in best}
    for row in rows:
        same = np.flatnonzero((trials.origins == "known") & (trials.formulas == row.formula))
        if row.is_known and len(same):
            found[int(same[0])] = row.formula
    return found


def _find_records(merits: NDArray[np.floating], searched: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Trials of the search, in its order, that were better than all before them."""
    own = np.flatnonzero(searched)
    best = np.maximum.accumulate(np.concatenate([[-np.inf], merits[own]]))
    return own[merits[own] > best[:-1]]


def _choose_step(n: int) -> int:
    return max(1, -(-n // MAX_POINTS))
