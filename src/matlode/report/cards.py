"""What a report tells of each candidate: from the run folder's files, in the page's form."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import inside, read_arrays, read_json
from matlode.data.structures import read_structure
from matlode.report.labels import Provenance, heading, shown_properties, units

WEAKEST_PEAK = 0.03
"""Maxima below this part of the strongest point are not marked."""
EVIDENCE_COLUMNS = (
    ("space_group", "space group"),
    ("unchanged", "same structure"),
    ("formation_energy_ev", "formation energy, eV/atom"),
    ("witness_formation_energy_ev", "the other potential's"),
    ("energy_above_hull_ev", "above hull, eV/atom"),
    ("witness_energy_above_hull_ev", "the other potential's"),
    ("decomposition", "stable in its place"),
    ("known_phases", "known phases"),
    ("promised_bulk_modulus_gpa", "K promised, GPa"),
    ("bulk_modulus_gpa", "K computed"),
    ("promised_shear_modulus_gpa", "G promised, GPa"),
    ("shear_modulus_gpa", "G computed"),
    ("born_stable", "elastically stable"),
    ("lowest_gamma_thz", "lowest at Γ, THz"),
)
"""Of evidence.json → heading."""

Row = Mapping[str, Any]


def read_details(folder: Path) -> dict[str, Any]:
    """details.json; of a run of before, which has none, an empty one."""
    file = folder / "details.json"
    if not file.exists():
        return {"map_shares": [], "counts": {}, "candidates": []}
    return dict(read_json(file))


def read_cards(
    folder: Path,
    candidates: Sequence[Row],
    provenance: Provenance,
    details: Row,
    evidence: Sequence[Row],
) -> list[dict[str, Any]]:
    """One card per candidate, with what its HTML is made of and, under "data", what scripts draw
    and what can be downloaded. ``evidence``: the structures of evidence.json."""
    of_rank = {row["rank"]: row for row in details["candidates"]}
    of_file = {row["source_file"]: row for row in evidence}
    verdicts = _verdicts(folder)
    patterns = read_arrays(folder / "patterns.npz", ("decoded", "realised", "two_theta_deg"))
    decoded, realised, angles = patterns.values()
    cards = []
    for index, row in enumerate(candidates):
        reasons = row["reasons"].split(" | ")
        told = of_rank.get(row["rank"], {})
        seen = of_file.get(Path(row["structure_file"]).name)
        card = {
            **row,
            "built": inside(folder, row["structure_file"]).is_file(),
            "predictions": _predictions(row, told, provenance),
            "verdicts": verdicts[row["rank"]],
            # before the verdicts stand the ranges that are not kept, after them the structure
            "missed": [
                reason.removeprefix("note ")
                for reason in reasons[: len(reasons) - len(verdicts[row["rank"]]) - 1]
            ],
            "story": reasons[-1],
            "structure": told.get("structure"),
            "nearest": told.get("nearest_known", []),
            "evidence": seen and [(title, seen.get(name)) for name, title in EVIDENCE_COLUMNS],
            "fell_apart": seen and seen.get("fell_apart"),
        }
        drawn = _patterns(decoded[index], realised[index] if card["built"] else None, angles, told)
        cards.append({**card, "data": drawn | _files(folder, card, told, seen)})
    return cards


def _verdicts(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """Rank → its verdicts, in the order of the screens."""
    funnel = read_json(folder / "funnel.json")
    required = {row["rule"]: row["required"] for row in funnel}
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    with (folder / "verdicts.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            verdict = {
                "rule": row["rule"],
                "passed": row["passed"] == "True",
                "required": required.get(row["rule"], True),
                "reason": row["reason"],
            }
            found[int(row["rank"])].append(verdict)
    return found


def _predictions(row: Row, told: Row, provenance: Provenance) -> list[dict[str, Any]]:
    """All properties, those of the goal first; of a run of before, those of its table."""
    of_point = told.get("predictions") or {
        name.removeprefix("structure_"): {
            "value": row[name.removeprefix("structure_")],
            "low": row.get(f"{name.removeprefix('structure_')}_low"),
            "high": row.get(f"{name.removeprefix('structure_')}_high"),
        }
        for name in row
        if name.startswith("structure_") and name.removeprefix("structure_") in row
    }
    of_structure = told.get("structure_predictions", {})
    first = [name for name in shown_properties(provenance) if name in of_point]
    unit = units(provenance)
    return [
        {
            "label": heading(name, unit.get(name, "")),
            "wanted": name in first,
            **of_point[name],
            "structure": of_structure.get(name)
            or {"value": row.get(f"structure_{name}"), "low": None, "high": None},
        }
        for name in dict.fromkeys([*first, *of_point])
    ]


def _patterns(
    decoded: NDArray[np.floating],
    realised: NDArray[np.floating] | None,
    angles: NDArray[np.floating],
    told: Row,
) -> dict[str, Any]:
    """Patterns in thousandths (what a pixel can show) with their peaks: (2θ, height, name)."""
    drawn: dict[str, Any] = {
        "decoded": _thousandths(decoded),
        "decoded_peaks": _maxima(decoded, angles),
    }
    if realised is None:
        return drawn
    peaks = told.get("structure", {}).get("peaks")
    named = _maxima(realised, angles) if peaks is None else _named(peaks, realised, angles)
    return {**drawn, "realised": _thousandths(realised), "realised_peaks": named}


def _named(
    peaks: Sequence[Row], pattern: NDArray[np.floating], angles: NDArray[np.floating]
) -> list[tuple[float, float, str]]:
    heights = np.interp([peak["two_theta_deg"] for peak in peaks], angles, pattern)
    return [
        (peak["two_theta_deg"], round(float(height), 3), " ".join(map(str, peak["hkl"])))
        for peak, height in zip(peaks, heights, strict=True)
        if height >= WEAKEST_PEAK
    ]


def _maxima(
    pattern: NDArray[np.floating], angles: NDArray[np.floating]
) -> list[tuple[float, float, str]]:
    from scipy.signal import find_peaks

    rows, _ = find_peaks(pattern, height=WEAKEST_PEAK, prominence=WEAKEST_PEAK)
    return [(round(float(angles[row]), 2), round(float(pattern[row]), 3), "") for row in rows]


def _thousandths(pattern: NDArray[np.floating]) -> list[int]:
    return [int(value) for value in np.rint(np.asarray(pattern, dtype=float) * 1000)]


def _files(folder: Path, card: Row, told: Row, seen: Row | None) -> dict[str, Any]:
    """Structures for the viewer, and texts for download by file name."""
    stem = f"{card['rank']:03d}-{card['formula']}"
    row = {name: card[name] for name in card if name not in _OF_THE_PAGE}
    record = {**row, "verdicts": card["verdicts"], **told, "evidence": seen}
    files = {f"{stem}.json": json.dumps(record, indent=1, ensure_ascii=False)}
    views = {}
    if card["built"]:
        path = inside(folder, card["structure_file"])
        files[path.name] = path.read_text(encoding="utf-8")
        structure = told.get("structure")
        views["as built"] = _view(structure) if structure else _view_of_file(path)
    if seen and (path := inside(folder, seen["relaxed_file"])).is_file():
        files[f"{stem}-relaxed.cif"] = path.read_text(encoding="utf-8")
        views["relaxed"] = _view_of_file(path)
    return {"views": views, "files": files}


_OF_THE_PAGE = (
    "built", "predictions", "verdicts", "missed", "story", "structure", "nearest", "evidence",
    "fell_apart",
)  # fmt: skip
"""Parts of a card that are made of other parts of the record."""


def _view(structure: Row) -> dict[str, Any]:
    """A structure as chemiscope takes it."""
    lattice = np.array(structure["lattice"])
    places = np.array(structure["frac_coords"]) @ lattice
    x, y, z = places.round(4).T.tolist()
    return {
        "size": len(places), "names": structure["species"], "x": x, "y": y, "z": z,
        "cell": lattice.ravel().tolist(),
    }  # fmt: skip


def _view_of_file(path: Path) -> dict[str, Any]:
    structure = read_structure(path)
    return _view(
        {
            "lattice": structure.lattice.matrix.round(5).tolist(),
            "species": [site.species.elements[0].symbol for site in structure],
            "frac_coords": structure.frac_coords.tolist(),
        }
    )
