"""Known phases that benchmarks hide, and the goals whose answers they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from matlode.data.formulas import canonicalise_formula, parse_formula

HARD_PHASES = (
    "C", "B", "BN", "C3N4", "B4C", "B13C2", "B12P2", "BP", "SiC", "Si3N4", "TiC", "TiB2", "HfB2",
    "FeB4", "YB12", "WB", "WB4", "ReB2", "OsB2", "AlMgB14",
)  # fmt: skip
"""Diamond, boron, boron nitrides, carbon nitride, boron carbides, metal borides and other phases
from reviews of hard materials (Kaner, Gilman and Tolbert, Science 308, 1268, 2005; Yeung, Mohammadi
and Tolbert, Annu. Rev. Mater. Res. 46, 465, 2016)."""

N_PER_GOAL = 25
"""Phases that are drawn for each of the goals of DRAWN."""
MAX_ABOVE_HULL_EV = 0.001
"""A phase is on the hull if its energy per atom is closer to it than that."""
MAX_ELEMENTS, MAX_ATOMS = 5, 20
"""As the default limits of a goal."""
HALOGENS = ("F", "Cl", "Br", "I")


@dataclass(frozen=True)
class HiddenGoal:
    """A goal, and known phases that answer it."""

    goal: Mapping[str, object] | Path
    """A goal file or its sections."""
    phases: tuple[str, ...]
    """Canonical formulas."""


HARD = HiddenGoal(
    {"maximize": ["vickers_hardness"], "elements": {"number": "1..5"}},
    tuple(canonicalise_formula(formula) for formula in HARD_PHASES),
)

Answers = Callable[[pd.DataFrame], "pd.Series[bool]"]
"""Which rows of known formulas with their labels answer a goal."""


def _contains(rows: pd.DataFrame, element: str) -> pd.Series[bool]:
    return rows["amounts"].map(lambda amounts: element in amounts)


def _is_halide_abx3(amounts: Mapping[str, int]) -> bool:
    return sorted(amounts.values()) == [1, 1, 3] and max(amounts, key=amounts.__getitem__) in (
        HALOGENS
    )


DRAWN: Mapping[str, tuple[Mapping[str, object], Answers]] = {
    "oxide, wide gap, high n": (
        {
            "maximize": ["refractive_index"],
            "within": {"band_gap": "> 3"},
            "elements": {"required": ["O"]},
        },
        lambda rows: _contains(rows, "O") & (rows["band_gap"] >= 3) & (rows["n"] >= 1.9),
    ),
    "semiconductor, low κ": (
        {"minimize": ["thermal_conductivity"], "within": {"band_gap": "0.3 .. 2"}},
        lambda rows: (rows["thermal_conductivity_300K"] <= 2) & rows["band_gap"].between(0.3, 2),
    ),
    "nitride, high Debye temperature": (
        {"maximize": ["debye_temperature"], "elements": {"required": ["N"]}},
        lambda rows: _contains(rows, "N") & (rows["debye_temperature"] >= 500),
    ),
    "halide ABX3, gap 1.5 to 4 eV": (
        {
            "within": {"band_gap": "1.5 .. 4"},
            "formula": {"stoichiometry": "ABX3", "sites": {"X": list(HALOGENS)}},
        },
        lambda rows: rows["amounts"].map(_is_halide_abx3) & rows["band_gap"].between(1.5, 4),
    ),
}
"""Name → goal, and which known phases on their hull answer it."""


def draw_hidden(table: Path, is_made: Callable[[str], bool]) -> dict[str, HiddenGoal]:
    """Draw N_PER_GOAL phases for each goal of DRAWN from the structure table at ``table``.

    Eligible are formulas within the default limits that were made, have a phase on its own hull
    and the labels that the goal asks for. The first by the SHA-256 of their formulas are taken;
    no formula is taken twice.
    """
    rows = _read_labels(table)
    hidden: dict[str, HiddenGoal] = {}
    taken = set(HARD.phases)
    for name, (goal, answers) in DRAWN.items():
        eligible = rows[answers(rows) & ~rows["formula"].isin(taken)]
        made = [formula for formula in eligible["formula"] if is_made(formula)]
        phases = sorted(made, key=lambda f: hashlib.sha256(f.encode()).digest())[:N_PER_GOAL]
        taken |= set(phases)
        hidden[name] = HiddenGoal(goal, tuple(phases))
    return hidden


def _read_labels(table: Path) -> pd.DataFrame:
    """One row per formula with a phase on its hull: its amounts and extreme labels."""
    largest = ("n_refr", "eps_electronic_poly", "debye_temperature", "band_gap")
    columns = ["formula", "energy_above_hull", "thermal_conductivity_300K", *largest]
    present = [name for name in columns if name in pq.read_schema(table).names]
    frame = pd.read_parquet(table, columns=present).reindex(columns=columns)
    names = {text: canonicalise_formula(text) for text in frame["formula"].unique()}
    frame["formula"] = frame["formula"].map(names)
    smallest = dict.fromkeys(("energy_above_hull", "thermal_conductivity_300K"), "min")
    rows = frame.groupby("formula").agg({**smallest, **dict.fromkeys(largest, "max")})
    rows = rows[rows["energy_above_hull"] <= MAX_ABOVE_HULL_EV].reset_index()
    rows["amounts"] = rows["formula"].map(parse_formula)
    rows["n"] = np.sqrt(rows["eps_electronic_poly"]).fillna(rows["n_refr"])
    fits = rows["amounts"].map(
        lambda amounts: 2 <= len(amounts) <= MAX_ELEMENTS and sum(amounts.values()) <= MAX_ATOMS
    )
    return rows[fits]
