"""Where the models are wrong in a systematic way: errors by chemistry, size, stiffness, stability
and element."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element

from matlode.data.formulas import element_symbols
from matlode.evaluation.accuracy_data import OURS, HeldOut

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

QUANTITIES = {
    "bulk_modulus": "K, GPa",
    "shear_modulus": "G, GPa",
    "thermal_conductivity": "ln κ",
    "formation_energy": "E_f, eV/atom",
    "energy_above_hull": "E_hull, eV/atom",
    "band_gap": "PBE gap, eV",
}
"""Endpoint → heading of its column."""
LOGARITHMIC = ("thermal_conductivity",)
MIN_ROWS = 10
"""A group with fewer test rows is left out of a cell."""
MIN_ELEMENT_ROWS = 30
N_ELEMENTS = 12
"""Elements that are listed."""
ANIONS = {
    "oxides": ("O",),
    "halides": ("F", "Cl", "Br", "I"),
    "chalcogenides": ("S", "Se", "Te"),
    "nitrides": ("N",),
    "phosphides, arsenides, antimonides": ("P", "As", "Sb"),
    "hydrides": ("H",),
    "borides, carbides, silicides": ("B", "C", "Si"),
}
"""Class → elements; a compound belongs to the first that it has one of."""
HULL_EDGES = (0.001, 0.05, 0.1)
SIZE_EDGES = (3, 8, 16)
STIFFNESS_EDGES = (50.0, 100.0, 200.0)


@dataclass(frozen=True)
class Errors:
    """Errors of one endpoint in one group of test rows: predicted less true."""

    n: int
    bias: float
    mae: float

    @classmethod
    def of(cls, errors: Array) -> Errors:
        """Summarise errors (n,), of which there is at least one."""
        return cls(len(errors), float(errors.mean()), float(abs(errors).mean()))

    def __str__(self) -> str:
        return f"{self.bias:+.3g} / {self.mae:.3g} ({self.n:,})"


def write_systematic_errors(held: HeldOut, *, command: str) -> str:
    """Write the page: bias and mean absolute error by group, of crystals that no model saw."""
    errors = {name: _compute_errors(held, name) for name in QUANTITIES if name in held.truth}
    parts = [
        "# Systematic errors",
        f"Written by `{command} --figures`: test rows of {held.table.source}, of formulas that no "
        "model has seen, predicted from their crystals. Each cell is bias / mean absolute error "
        "(rows); a positive bias means that the prediction is too large. Groups by a true value "
        "(stiffness, distance to the hull) show regression to the mean: the largest values are "
        "predicted too small, the smallest too large. Labels that are known to be wrong are in "
        "[models](models.md).",
    ]
    for title, groups in _list_groupings(held).items():
        parts += [f"## {title}", _write_table(groups, errors)]
    parts += ["## By element", _describe_elements(held, errors)]
    return "\n\n".join(parts) + "\n"


def _compute_errors(held: HeldOut, name: str) -> Array:
    """(n,), predicted less true; NaN outside the test rows and where the truth is unknown."""
    truth, value = held.truth[name], held.answers[OURS["crystal"]][name].value
    if name in LOGARITHMIC:
        with np.errstate(divide="ignore", invalid="ignore"):
            truth, value = np.log(truth), np.log(value)
    errors = np.asarray(value - truth, dtype=float)
    return np.where(held.test & np.isfinite(errors), errors, np.nan)


def _list_groupings(held: HeldOut) -> dict[str, dict[str, Mask]]:
    """Title → name of a group → its rows (n,)."""
    groupings = {
        "By chemistry": _group_by_chemistry(held),
        "By atoms of the cell": _split(
            held.table.materials.crystals.n_atoms.astype(float), SIZE_EDGES, "{} atoms"
        ),
    }
    for title, name, edges, unit in (
        ("By stiffness (true K)", "bulk_modulus", STIFFNESS_EDGES, "{} GPa"),
        ("By distance to the hull (2018)", "energy_above_hull", HULL_EDGES, "{} eV/atom"),
    ):
        if name in held.truth:
            groupings[title] = _split(held.truth[name], edges, unit)
    return groupings


def _group_by_chemistry(held: HeldOut) -> dict[str, Mask]:
    present = held.table.compositions > 0
    symbols = element_symbols()
    columns = {symbol: at for at, symbol in enumerate(symbols)}
    metallic = np.array([Element(symbol).is_metal for symbol in symbols])
    single = present.sum(axis=1) == 1
    alloys = ~single & ~present[:, ~metallic].any(axis=1)
    groups = {"elements": single, "metals with metals": alloys}
    left = ~single & ~alloys
    for name, anions in ANIONS.items():
        groups[name] = left & present[:, [columns[symbol] for symbol in anions]].any(axis=1)
        left &= ~groups[name]
    return groups


def _split(values: Array, edges: tuple[float, ...], unit: str) -> dict[str, Mask]:
    """Groups between ``edges``, which belong to the group below."""
    ends = (-np.inf, *edges, np.inf)
    groups = {}
    for low, high in pairwise(ends):
        below = f"at most {high:g}" if low == -np.inf else f"{low:g} to {high:g}"
        name = f"more than {low:g}" if high == np.inf else below
        with np.errstate(invalid="ignore"):
            groups[unit.format(name)] = (values > low) & (values <= high)
    return groups


def _write_table(groups: Mapping[str, Mask], errors: Mapping[str, Array]) -> str:
    lines = [["rows", *(QUANTITIES[name] for name in errors)]]
    for name, rows in groups.items():
        cells = [_summarise(of_endpoint[rows]) for of_endpoint in errors.values()]
        lines.append([name, *cells])
    return _write_lines(lines)


def _summarise(errors: Array) -> str:
    known = errors[~np.isnan(errors)]
    return str(Errors.of(known)) if len(known) >= MIN_ROWS else "–"


def _write_lines(lines: list[list[str]]) -> str:
    rule = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], rule, *lines[1:]))


def _describe_elements(held: HeldOut, errors: Mapping[str, Array]) -> str:
    lines = [["quantity", "errors of compounds with", "largest bias, in standard errors"]]
    for name, of_endpoint in errors.items():
        worst = sorted(_rate_elements(held, of_endpoint), reverse=True)[:N_ELEMENTS]
        cells = [f"{symbol} {found}" for _, symbol, found in worst]
        if cells:
            lines.append([QUANTITIES[name], "; ".join(cells), f"{worst[0][0]:.1f}"])
    note = (
        f"The {N_ELEMENTS} elements whose bias is largest in units of its standard error, of those "
        f"with {MIN_ELEMENT_ROWS} test rows or more. Among some 80 elements, two standard errors "
        "are common by chance."
    )
    return f"{note}\n\n{_write_lines(lines)}"


def _rate_elements(held: HeldOut, errors: Array) -> Iterator[tuple[float, str, Errors]]:
    """Bias in standard errors, symbol and errors of the elements with enough rows."""
    for at, symbol in enumerate(element_symbols()):
        known = errors[(held.table.compositions[:, at] > 0) & ~np.isnan(errors)]
        if len(known) >= MIN_ELEMENT_ROWS:
            found = Errors.of(known)
            yield abs(found.bias) * len(known) ** 0.5 / float(known.std()), symbol, found
