"""Names, units and numbers, as a report writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from matlode.records import Cell, Prediction
from matlode.run_records import CandidateRow, GoalEntry, GoalSummary, PredictedValue, Provenance
from matlode.screening.formula_lists import IN_NO_LIST

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_DECIMALS = 4


def find_units(provenance: Provenance) -> dict[str, str]:
    """Property → unit; runs that name no units only have matlode's own properties."""
    from matlode.properties.endpoints import ENDPOINTS

    ours = {name: endpoint.unit for name, endpoint in ENDPOINTS.items()}
    return {**ours, **provenance.units}


def format_heading(name: str, unit: str) -> str:
    """A property's name with its unit, where it has one.

    >>> format_heading("bulk_modulus", "GPa")
    'bulk modulus, GPa'
    """
    return name.replace("_", " ") + ("" if unit in ("probability", "") else f", {unit}")


def write_subscripts(formula: str) -> Markup:
    """A formula as HTML with subscripts; everything else in it is escaped.

    >>> str(write_subscripts("TaB2"))
    'TaB<sub>2</sub>'
    """
    from markupsafe import Markup, escape

    return Markup(
        re.sub(r"(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)", r"<sub>\1</sub>", str(escape(formula)))
    )


def format_number(value: float, spread: float | None = None) -> str:
    """A number with three digits, or with two of ``spread`` (half of an interval) if these are
    fewer.

    >>> format_number(273.569), format_number(273.569, 2000.0), format_number(-0.40231, 0.04)
    ('274', '274', '−0.402')
    """
    if not math.isfinite(value):
        return "–"
    if value and max(abs(value), spread or 0.0) < 10.0 ** (1 - MOST_DECIMALS):
        digits, power = f"{value:.2e}".split("e")
        return f"{digits}·10^{int(power)}".replace("-", "−")
    kept = [(2, abs(value)), *([] if spread is None else [(1, spread)])]
    decimals = [n - math.floor(math.log10(size)) for n, size in kept if size > 0]
    text = f"{value:,.{min(max(min(decimals, default=2), 0), MOST_DECIMALS)}f}"
    return text.replace("-", "−") if text.strip("-0.,") else text.lstrip("-")


def format_predicted(predicted: PredictedValue | Prediction, unit: str) -> tuple[str, str]:
    """A value and its interval, with the same digits; no interval if these do not show one.

    >>> format_predicted(PredictedValue(273.569, 227.7, 328.7), "GPa")
    ('274', '228–329')
    """
    spread = (predicted.high - predicted.low) / 2
    value, low, high = (
        f"{end:.2f}" if unit == "probability" else format_number(end, spread)
        for end in (predicted.value, predicted.low, predicted.high)
    )
    if low == high:
        return value, ""
    return value, f"{low} to {high}" if low.startswith("−") else f"{low}–{high}"


def format_cell(value: Cell, unit: str = "") -> str:
    """The value of a table's cell as the page writes it.

    >>> format_cell(0.8164, "probability"), format_cell(12)
    ('0.82', '12')
    """
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if unit == "probability" else format_number(value)


def label_novelty(row: CandidateRow) -> str:
    """A candidate's novelty in two words at most."""
    return "in no list" if row.novelty == IN_NO_LIST else str(row.novelty)


def write_title(goal: GoalSummary, units: Mapping[str, str]) -> str:
    """What a search looks for, as the heading of its page.

    >>> hard = GoalEntry("bulk_modulus", "maximise"), GoalEntry("band_gap", "near", 1.5)
    >>> write_title(GoalSummary(words="", objectives=hard), {"band_gap": "eV"})
    'Crystals with high bulk modulus and band gap near 1.5 eV'
    """
    wishes = [_describe_wish(entry, units.get(entry.endpoint, "")) for entry in goal.objectives]
    return f"Crystals with {' and '.join(wishes)}" if wishes else "Crystals in the wanted ranges"


def _describe_wish(entry: GoalEntry, unit: str) -> str:
    name = entry.endpoint.replace("_", " ")
    if entry.target is not None:
        return f"{name} near {entry.target:g}" + ("" if unit == "probability" else f" {unit}")
    return {"maximise": f"high {name}", "minimise": f"low {name}"}.get(entry.direction, name)
