"""Names and units of properties, as a report writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Provenance = Mapping[str, Any]
"""What provenance.json of a run folder holds."""


def shown_properties(provenance: Provenance) -> list[str]:
    """What the goal is about; runs of before had objectives alone."""
    goal = provenance["goal"]
    before = [*(o["endpoint"] for o in goal["objectives"]), "stable_probability"]
    return list(goal.get("shown", before))


def units(provenance: Provenance) -> dict[str, str]:
    """Endpoint → unit; runs of before had matlode's own properties only and named no units."""
    from matlode.properties.endpoints import ENDPOINTS

    ours = {name: endpoint.unit for name, endpoint in ENDPOINTS.items()}
    return {**ours, **provenance.get("units", {})}


def heading(name: str, unit: str) -> str:
    """A property's name with its unit, where it has one.

    >>> heading("bulk_modulus", "GPa")
    'bulk modulus, GPa'
    """
    return name.replace("_", " ") + ("" if unit in ("probability", "") else f", {unit}")
