"""Names and units of properties, as a report writes them."""

from __future__ import annotations

from matlode.run_records import CandidateRow, Provenance
from matlode.screening.formula_lists import IN_NO_LIST


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


def label_novelty(row: CandidateRow) -> str:
    """A candidate's novelty in two words at most."""
    return "in no list" if row.novelty == IN_NO_LIST else str(row.novelty)
