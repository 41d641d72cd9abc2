"""What the maps of a report are drawn from: objectives, and the latent space."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import read_json
from matlode.data.symmetry import crystal_system
from matlode.report.drawing import COLOURS, SYSTEM_COLOURS
from matlode.report.labels import Provenance, heading, shown_properties, units

MAX_POINTS = 6000
"""Points of a map; of more, every second, third, ... is shown, and the page says so."""

Rows = Sequence[Mapping[str, Any]]


def property_map(folder: Path, candidates: Rows, provenance: Provenance) -> dict[str, Any]:
    """Candidates over known materials: axes to choose from, and groups of points with their
    values on each of them (None where one is unknown)."""
    objectives = list(dict.fromkeys(o["endpoint"] for o in provenance["goal"]["objectives"]))
    names = objectives if len(objectives) > 1 else shown_properties(provenance)[:2]
    known = read_json(folder / "known.json")
    step = _step(len(known))
    groups = [
        ("known materials (labels)", known[::step], COLOURS[6], "circle", 5),
        ("candidates, rejected", _where(candidates, "rejected"), COLOURS[1], "x", 8),
        ("candidates, known formula", _where(candidates, "accepted", "known"), COLOURS[0],
         "square", 9),
        ("candidates, new polymorph", _where(candidates, "accepted", "new polymorph"), COLOURS[3],
         "triangle-up", 10),
        ("candidates, novel", _where(candidates, "accepted", "novel"), COLOURS[2], "diamond", 10),
    ]  # fmt: skip
    of = units(provenance)
    return {
        "axes": [{"name": name, "title": heading(name, of.get(name, ""))} for name in names],
        "known": len(known),
        "step": step,
        "groups": [
            {
                "name": title,
                "colour": colour,
                "symbol": symbol,
                "size": size,
                "formulas": [row["formula"] for row in rows],
                "ranks": [row.get("rank", 0) for row in rows],
                "values": {name: [row.get(name) for row in rows] for name in names},
            }
            for title, rows, colour, symbol, size in groups
            if rows
        ],
    }


def _where(candidates: Rows, verdict: str, novelty: str | None = None) -> Rows:
    """Candidates of one kind; screens may be switched off, and then all count as novel."""
    kinds = ("known", "new polymorph")
    return [
        row
        for row in candidates
        if row["verdict"] == verdict
        and (
            novelty is None
            or row["novelty"] == novelty
            or (novelty == "novel" and row["novelty"] not in kinds)
        )
    ]


def latent_map(folder: Path, shares: Sequence[float]) -> dict[str, Any] | None:
    """Trials in the plane of map.csv with the search's path; None for a run of before, which has
    no such file."""
    if not (folder / "map.csv").exists():
        return None
    places, trials = _columns(folder / "map.csv"), _columns(folder / "trials.csv")
    ranks = np.array(places["rank"], dtype=int)
    searched = np.array(trials["origin"]) != "known"
    path = _records(np.array(trials["merit"], dtype=float), searched)
    kept = np.zeros(len(ranks), dtype=bool)
    kept[:: _step(len(ranks))] = True
    kept[path] = kept[ranks > 0] = True
    at = np.flatnonzero(kept)
    groups = np.array(places["space_group"], dtype=int)[at]
    return {
        "shares": list(shares),
        "points": len(ranks),
        "shown": len(at),
        "colours": SYSTEM_COLOURS,
        "x": np.array(places["x"], dtype=float)[at].tolist(),
        "y": np.array(places["y"], dtype=float)[at].tolist(),
        "formulas": [trials["formula"][row] for row in at],
        "merits": np.array(trials["merit"], dtype=float)[at].tolist(),
        "origins": [trials["origin"][row] for row in at],
        "systems": [crystal_system(int(group)) if group else "" for group in groups],
        "ranks": ranks[at].tolist(),
        "path": np.searchsorted(at, path).tolist(),
    }


def _records(merits: NDArray[np.floating], searched: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Trials of the search, in its order, that were better than all before them."""
    own = np.flatnonzero(searched)
    best = np.maximum.accumulate(np.concatenate([[-np.inf], merits[own]]))
    return own[merits[own] > best[:-1]]


def _step(n: int) -> int:
    return max(1, -(-n // MAX_POINTS))


def _columns(path: Path) -> dict[str, list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
