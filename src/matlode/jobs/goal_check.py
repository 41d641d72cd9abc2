"""Checks of a goal before models and known materials are loaded, for which users would wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from matlode.data.formulas import element_symbols
from matlode.errors import GoalError, InputError
from matlode.optimisation.goal import Goal
from matlode.optimisation.goal_file import make_goal
from matlode.properties.derived import DERIVATIONS, compute_labels
from matlode.properties.endpoints import ENDPOINTS, Endpoint

if TYPE_CHECKING:
    from matlode.data.tables import Materials

OTHER_UNITS: Mapping[str, Mapping[str, float]] = {
    "GPa": {"MPa": 1e-3, "kbar": 0.1, "Pa": 1e-9},
    "eV": {"meV": 1e-3},
    "eV/atom": {"meV/atom": 1e-3, "kJ/mol of atoms": 0.010364},
    "g/cm³": {"kg/m³": 1e-3},
    "1/K": {"10⁻⁶/K": 1e-6},
    "Å³/atom": {"nm³/atom": 1e3},
}
"""Unit of a property → units that its values are often given in → factor."""


def check_goal(
    sections: Mapping[str, object], models: Path | None = None, known: Path | None = None
) -> Goal:
    """Check the sections of a goal without loading PyTorch or the models.

    ``models`` is a folder of models with properties of the user's own, ``known`` a table of known
    materials; None for those that ship. Returns the goal. Raises GoalError for unknown names, for
    what no material can meet, and for values far outside those of known materials; InputError if
    the table cannot be read.

    >>> check_goal({"maximize": ["bulk_module"]})
    Traceback (most recent call last):
    matlode.errors.GoalError: unknown property "bulk_module". Did you mean "bulk_modulus"?
    """
    endpoints = {**ENDPOINTS, **{name: d.endpoint for name, d in DERIVATIONS.items()}}
    if models is not None:
        from matlode.properties.models import list_endpoints

        endpoints |= list_endpoints(models)
    goal = make_goal(sections, known_elements=read_elements(known), endpoints=endpoints)
    _doubt_values(sections, goal, endpoints)
    return goal


def read_elements(table: Path | None) -> list[str]:
    """Symbols of the elements in a table of crystals, by atomic number.

    Raises InputError if it is not a table of crystals.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from matlode.data.tables import find_starter

    path = table or find_starter()
    try:
        numbers = pq.read_table(path, columns=["numbers"])["numbers"]
        found = pc.unique(pc.list_flatten(numbers.combine_chunks())).to_pylist()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{path}: not a readable Parquet table of crystals ({error}).") from error
    return [element_symbols()[z - 1] for z in sorted(z for z in found if z)]


def _doubt_values(
    sections: Mapping[str, object], goal: Goal, endpoints: Mapping[str, Endpoint]
) -> None:
    """Raise GoalError for a value that is far outside those of the starter set."""
    asked = [(o.endpoint, o.target, o.target) for o in goal.objectives if o.target is not None]
    named = sections.get("within", {})
    asked += [
        (r.endpoint, -math.inf if r.low is None else r.low, math.inf if r.high is None else r.high)
        for r in goal.ranges
        if isinstance(named, Mapping) and r.endpoint in named
    ]
    asked = [ask for ask in asked if endpoints[ask[0]].task == "regression"]
    if not asked:
        return
    labels = compute_labels({name: endpoints[name] for name in ENDPOINTS}, _read_labels())
    for name, low, high in asked:
        values = labels.get(name, np.zeros(0))
        values = values[np.isfinite(values)]
        if len(values):
            _doubt_value(endpoints[name], low, high, float(values.min()), float(values.max()))


def _read_labels() -> Materials:
    """The starter set without its crystals, whose checks would take longer than all others."""
    import pyarrow.parquet as pq

    from matlode.data.crystals import CRYSTAL_COLUMNS, Crystals
    from matlode.data.tables import Materials, find_starter

    with pq.ParquetFile(find_starter()) as file:
        names = [name for name in file.schema_arrow.names if name not in CRYSTAL_COLUMNS]
        frame = file.read(names).to_pandas()
    frame["volume_per_atom"] = frame["volume"] / frame["n_sites"]
    return Materials(frame, Crystals.from_structures([]))


def _doubt_value(endpoint: Endpoint, low: float, high: float, least: float, most: float) -> None:
    """Raise GoalError if the range from ``low`` to ``high`` is further from the known values,
    ``least`` to ``most``, than these are apart."""
    apart = most - least
    if low <= most + apart and high >= least - apart:
        return
    wanted = low if low > most else high
    advice = "Check the value and its unit."
    for unit, factor in OTHER_UNITS.get(endpoint.unit, {}).items():
        if least <= wanted * factor <= most:
            advice = f"Did you mean {unit}? {wanted:g} {unit} are {wanted * factor:g}."
            break
    raise GoalError(
        f"{endpoint.name} of {wanted:g} {endpoint.unit}: known materials have {least:.3g} to "
        f"{most:.3g} {endpoint.unit}. {advice}".replace(" :", ":").replace(" .", ".")
    )
