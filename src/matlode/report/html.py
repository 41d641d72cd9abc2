"""A run folder as one self-contained HTML page."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from matlode.artefacts import HEADER_FILE, find_model, load_header, write_text
from matlode.errors import InputError
from matlode.evidence.dossier import POTENTIAL_ERRORS

N_CARDS = 100
"""Candidates with a card of their own; the table holds all."""


def write_report(folder: Path) -> Path:
    """Write report.html into a finished run folder, from what lies in it.

    The page holds Plotly's script and all data, so it opens without a network.
    Raises InputError if the folder is not a finished run.
    """
    candidates = _read_json(folder / "candidates.json")
    provenance = _read_json(folder / "provenance.json")
    page = (
        page_environment()
        .get_template("report.html.j2")
        .render(
            candidates=candidates,
            goal=provenance["goal"],
            provenance=provenance,
            funnel=_read_json(folder / "funnel.json"),
            property_map=_property_map(folder, candidates, provenance),
            cards=_cards(folder, candidates),
            columns=_columns(provenance),
            evidence=_evidence(folder),
            plotly=_plotly_script(),
        )
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


EVIDENCE_COLUMNS = (
    ("space_group", "space group"),
    ("unchanged", "same structure"),
    ("formation_energy_ev", "formation energy, eV/atom"),
    ("witness_formation_energy_ev", "the other potential's"),
    ("energy_above_hull_ev", "above hull, eV/atom"),
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


def _evidence(folder: Path) -> dict[str, Any]:
    """What potentials said of the best, if they were asked (`matlode relax`)."""
    file = folder / "evidence.json"
    if not file.exists():
        return {"structures": [], "columns": []}
    found = _read_json(file)
    return {**found, "columns": EVIDENCE_COLUMNS, "errors": _errors()}


def _errors() -> list[str]:
    """How far the potentials and our models were from known materials, in words."""
    place = find_model(POTENTIAL_ERRORS)
    if not (place / HEADER_FILE).exists():
        return []
    lines = []
    for endpoint, rows in groupby(load_header(place)["rows"], key=lambda row: row["endpoint"]):
        of_endpoint = list(rows)
        errors = ", ".join(f"{row['model']} {row['scores']['mae']:.3g}" for row in of_endpoint)
        first = of_endpoint[0]
        lines.append(
            f"{endpoint.replace('_', ' ')}, {first['unit']}: {errors} ({first['rows']} materials)"
        )
    return lines


def _columns(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """(column, heading) of the table."""
    names = ["bulk_modulus", "shear_modulus", "formation_energy", "stable_probability"]
    wanted = _shown(provenance)
    properties = list(dict.fromkeys([*wanted, *names]))
    units = _units(provenance)
    headings = [(name, name.replace("_", " ") + _unit(units[name])) for name in properties]
    return [
        ("rank", "#"),
        ("formula", "formula"),
        *headings,
        ("crystal_system", "crystal system"),
        ("space_group", "space group"),
        ("charge_neutral", "charges balance"),
        ("novelty", "novelty"),
        ("structure_match", "structure match"),
        ("verdict", "verdict"),
    ]


def _shown(provenance: dict[str, Any]) -> list[str]:
    """What the goal is about; runs of before had objectives alone."""
    goal = provenance["goal"]
    before = [*(o["endpoint"] for o in goal["objectives"]), "stable_probability"]
    return list(goal.get("shown", before))


def _units(provenance: dict[str, Any]) -> dict[str, str]:
    """Endpoint → unit; runs of before had matlode's own properties only and named no units."""
    from matlode.properties.endpoints import ENDPOINTS

    ours = {name: endpoint.unit for name, endpoint in ENDPOINTS.items()}
    return {**ours, **provenance.get("units", {})}


def _unit(unit: str) -> str:
    return "" if unit in ("probability", "") else f", {unit}"


def _property_map(
    folder: Path, candidates: list[dict[str, Any]], provenance: dict[str, Any]
) -> dict[str, Any]:
    """A Plotly figure: candidates over known materials, objective against objective."""
    x, y = _shown(provenance)[:2]
    known = [row for row in _read_json(folder / "known.json") if x in row and y in row]
    groups = [
        ("known materials (labels)", known, "#9aa5b1", 5),
        ("candidates, rejected", _where(candidates, "rejected", None), "#d9822b", 8),
        ("candidates, known formula", _where(candidates, "accepted", "known"), "#3b7dd8", 9),
        ("candidates, novel", _where(candidates, "accepted", "novel"), "#0f9d58", 10),
    ]
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [row[x] for row in rows],
            "y": [row[y] for row in rows],
            "text": [row["formula"] for row in rows],
            "hovertemplate": "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
            "marker": {"color": colour, "size": size, "opacity": 0.75},
        }
        for name, rows, colour, size in groups
    ]
    units = _units(provenance)
    titles = [n.replace("_", " ") + (f" ({units[n]})" if units[n] else "") for n in (x, y)]
    return {"data": data, "x": titles[0], "y": titles[1]}


def _where(
    candidates: list[dict[str, Any]], verdict: str, novelty: str | None
) -> list[dict[str, Any]]:
    return [
        row for row in candidates if row["verdict"] == verdict and novelty in (None, row["novelty"])
    ]


def _cards(folder: Path, candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    with np.load(folder / "patterns.npz", allow_pickle=False) as patterns:
        decoded, realised = patterns["decoded"], patterns["realised"]
    cards = []
    for index, row in enumerate(candidates[:N_CARDS]):
        cif = folder / row["structure_file"]
        built = cif.is_file()
        cards.append(
            {
                **row,
                "built": built,
                "reason_list": row["reasons"].split(" | "),
                "cif": cif.read_text(encoding="utf-8") if built else "",
                # thousandths: what a pixel can show
                "decoded": np.rint(decoded[index] * 1000).astype(int).tolist(),
                "realised": np.rint(realised[index] * 1000).astype(int).tolist() if built else [],
            }
        )
    return cards


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent} is not a finished run: {path.name} is missing; run `matlode search`."
        ) from error


def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def page_environment() -> Any:
    """Jinja, with everything escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("matlode.report"), autoescape=True, undefined=StrictUndefined
    )
