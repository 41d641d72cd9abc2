"""A run folder as one self-contained HTML page."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matlode.artefacts import (
    HEADER_FILE,
    find_model,
    load_header,
    read_arrays,
    read_json,
    understood,
    write_text,
)
from matlode.errors import InputError
from matlode.evidence.dossier import POTENTIAL_ERRORS
from matlode.report.cards import EVIDENCE_COLUMNS, read_cards, read_details
from matlode.report.labels import Provenance, heading, shown_properties, units
from matlode.report.maps import latent_map, property_map
from matlode.report.scripts import SCRIPTS, packed, packed_script, table_style

if TYPE_CHECKING:
    from jinja2 import Environment


N_CARDS = 100
"""Candidates with a card of their own; the table holds all."""
EVIDENCE_FILE = "evidence.json"


def write_report(folder: Path) -> Path:
    """Write report.html into a finished run folder, from what lies in it.

    The page holds its scripts and all data, so it opens without a network.
    Raises InputError if the folder is not a finished run, or is damaged.
    """
    from jinja2 import TemplateError

    try:
        with understood(folder, InputError):
            page = _page(folder)
    except TemplateError as error:  # an entry is missing, or is of another kind
        raise InputError(f"{folder} is damaged or of another version ({error}).") from error
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _page(folder: Path) -> str:
    candidates = _read_json(folder / "candidates.json")
    provenance = _read_json(folder / "provenance.json")
    details, evidence = read_details(folder), _evidence(folder)
    cards = read_cards(folder, candidates[:N_CARDS], provenance, details, evidence["structures"])
    return str(
        page_environment("matlode.report")
        .get_template("report.html.j2")
        .render(
            candidates=candidates,
            goal=provenance["goal"],
            provenance=provenance,
            steps=_steps(folder, candidates, details["counts"]),
            cards=cards,
            columns=[
                (name, title)
                for name, title in _columns(provenance)
                if not candidates or name in candidates[0]
            ],
            evidence=evidence,
            shown=shown_properties(provenance),
            units=units(provenance),
            heading=heading,
            drawn=_drawn(folder, candidates, provenance, details),
            cards_data=packed(json.dumps([card["data"] for card in cards])),
            scripts=[(script.name, packed_script(script), script.licence()) for script in SCRIPTS],
            table_style=table_style(),
        )
    )


def _drawn(
    folder: Path, candidates: list[dict[str, Any]], provenance: Provenance, details: dict[str, Any]
) -> dict[str, Any]:
    """What the page's plots are drawn from, without the cards'."""
    angles = read_arrays(folder / "patterns.npz", ("two_theta_deg",))["two_theta_deg"]
    return {
        "properties": property_map(folder, candidates, provenance),
        "latent": latent_map(folder, details["map_shares"]),
        "angles": [round(float(angle), 3) for angle in (angles[0], angles[-1])],
    }


def _steps(
    folder: Path, candidates: list[dict[str, Any]], counts: dict[str, int]
) -> list[dict[str, Any]]:
    """The funnel: what came into each step, how many went on, and why the others did not; for
    steps before and after the screens where the run tells of them."""
    rules = _read_json(folder / "funnel.json")
    screened = rules[0]["in"] if rules else len(candidates)
    steps: list[dict[str, Any]] = []
    if counts:
        evaluated, formulas = counts["evaluated"], counts["formulas"]
        steps = [
            _step("points evaluated", evaluated, formulas,
                  "decode to a formula that another point has"),
            _step("distinct formulas", formulas, screened,
                  "of less merit, or nearly equal to a better one of the same elements"),
        ]  # fmt: skip
    for row in rules:
        role = "required" if row["required"] else "marks only"
        step = _step(row["rule"].replace("_", " "), row["in"], row["passed"], "")
        steps.append({**step, "role": role, "failed": row.get("failed", [])})
    if counts:
        built = sum(row["structure_file"] != "none" for row in candidates)
        steps += [
            _step("structures tried, the best of all screened", counts["realised"],
                  len(candidates),
                  "further ones of the same elements or type, or below the end of the table"),
            _step("candidates in the table", len(candidates), built,
                  "no structure: neither a known type nor atoms at random give sound distances"),
        ]  # fmt: skip
    return steps


def _step(name: str, came: int, passed: int, why: str) -> dict[str, Any]:
    return {"name": name, "in": came, "passed": passed, "role": "", "why": why, "failed": []}


def _evidence(folder: Path) -> dict[str, Any]:
    """What potentials said of the best, if they were asked (`matlode relax`)."""
    file = folder / EVIDENCE_FILE
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


def _columns(provenance: Provenance) -> list[tuple[str, str]]:
    """(column, heading) of the table; runs of before lack some."""
    names = ["bulk_modulus", "shear_modulus", "formation_energy", "stable_probability"]
    properties = list(dict.fromkeys([*shown_properties(provenance), *names]))
    unit = units(provenance)
    return [
        ("rank", "#"),
        ("formula", "formula"),
        *((name, heading(name, unit[name])) for name in properties),
        ("crystal_system", "crystal system"),
        ("space_group", "space group"),
        ("charge_neutral", "charges balance"),
        ("novelty", "novelty"),
        ("structure_match", "structure match"),
        ("in_ranges", "in ranges"),
        ("verdict", "verdict"),
    ]


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise InputError(
            f"{path.parent} is not a finished run: {path.name} is missing; `matlode search` makes "
            "one, `matlode resume` goes on with one that was interrupted."
        ) from error


def page_environment(*packages: str) -> Environment:
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
