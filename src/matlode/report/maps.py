"""What the maps of a report are drawn from: objectives, and the latent space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.data.symmetry import crystal_system
from matlode.report.drawing import COLOURS, SYSTEM_COLOURS
from matlode.report.labels import find_units, format_heading
from matlode.run_records import CandidateRow, KnownRow, MapTable, Provenance, TrialTable

MAX_POINTS = 6000
"""Points of a map; of more, every second, third, ... is drawn, and the page says so."""


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
    path: list[int]
    """Drawn points that were better than all before them."""


def make_property_map(
    known: Sequence[KnownRow], candidates: Sequence[CandidateRow], provenance: Provenance
) -> PropertyMap:
    """Candidates over known materials: axes to choose from, and groups of points with their
    values on each of them."""
    objectives = provenance.goal.objective_names
    names = objectives if len(objectives) > 1 else provenance.goal.shown_properties[:2]
    step = _choose_step(len(known))
    drawn = known[::step]
    known_points = PointGroup(
        "known materials (labels)", COLOURS[6], "circle", 5,
        tuple(row.formula for row in drawn),
        (0,) * len(drawn),
        {name: tuple(row.labels.get(name) for row in drawn) for name in names},
    )  # fmt: skip
    looks = (
        ("candidates, rejected", "rejected", None, COLOURS[1], "x", 8),
        ("candidates, known formula", "accepted", "known", COLOURS[0], "square", 9),
        ("candidates, new polymorph", "accepted", "new polymorph", COLOURS[3], "triangle-up", 10),
        ("candidates, novel", "accepted", "novel", COLOURS[2], "diamond", 10),
    )
    groups = [known_points]
    for title, verdict, novelty, colour, symbol, size in looks:
        rows = _select(candidates, verdict, novelty)
        values = {name: tuple(row.value(name) for row in rows) for name in names}
        formulas, ranks = tuple(row.formula for row in rows), tuple(row.rank for row in rows)
        groups.append(PointGroup(title, colour, symbol, size, formulas, ranks, values))
    units = find_units(provenance)
    return PropertyMap(
        tuple(Axis(name, format_heading(name, units.get(name, ""))) for name in names),
        len(known),
        step,
        tuple(group for group in groups if group.formulas),
    )


def _select(
    candidates: Sequence[CandidateRow], verdict: str, novelty: str | None
) -> list[CandidateRow]:
    """Candidates of one kind; where the rule of novelty is switched off, all count as novel."""
    others = ("known", "new polymorph")
    return [
        row
        for row in candidates
        if row.verdict == verdict
        and (
            novelty is None
            or row.novelty == novelty
            or (novelty == "novel" and row.novelty not in others)
        )
    ]


def make_latent_map(places: MapTable, trials: TrialTable, shares: Sequence[float]) -> LatentMap:
    """Trials in the plane of map.csv with the search's path."""
    path = _find_records(trials.merits, trials.origins != "known")
    kept = np.zeros(len(places.ranks), dtype=bool)
    kept[:: _choose_step(len(kept))] = True
    kept[path] = kept[places.ranks > 0] = True
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
        path=np.searchsorted(at, path).tolist(),
    )


def _find_records(merits: NDArray[np.floating], searched: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Trials of the search, in its order, that were better than all before them."""
    own = np.flatnonzero(searched)
    best = np.maximum.accumulate(np.concatenate([[-np.inf], merits[own]]))
    return own[merits[own] > best[:-1]]


def _choose_step(n: int) -> int:
    return max(1, -(-n // MAX_POINTS))
