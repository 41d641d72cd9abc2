"""Folders of measured powder patterns with known phases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from matlode.data.formulas import canonicalise_formula
from matlode.representation.patterns import MeasuredPattern, read_pattern

SINGLE_PHASES: Final = "single_phase.parquet"
MIXTURES: Final = "mixtures"
CU_K_ALPHA1_ANGSTROM: Final = 1.54056
SAME_FAMILY: Final = {"trigonal": "hexagonal", "rhombohedral": "hexagonal"}
"""Sources name the trigonal crystals by any of the three."""


@dataclass(frozen=True)
class LabelledScan:
    """A scan of one phase."""

    id: str
    formula: str
    """Canonical."""
    family: str
    """Crystal family, with trigonal as hexagonal."""
    pattern: MeasuredPattern


@dataclass(frozen=True)
class LabelledMixture:
    """A scan of a weighed mixture."""

    id: str
    fractions: Mapping[str, float]
    """Canonical formula → weight fraction."""
    pattern: MeasuredPattern


def name_family(system: str) -> str:
    """Crystal family of a crystal system."""
    return SAME_FAMILY.get(system, system)


def is_for_learning(name: str) -> bool:
    """Whether a scan is in the half on which settings were learned, by the hash of its name."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 0


def read_scans(folder: Path) -> list[LabelledScan]:
    """Read the table of scans: columns id, formula, crystal_system, two_theta_deg, intensity."""
    return [
        LabelledScan(
            id=row["id"],
            formula=canonicalise_formula(row["formula"]),
            family=name_family(row["crystal_system"]),
            pattern=MeasuredPattern(
                two_theta_deg=np.array(row["two_theta_deg"], float),
                intensity=np.array(row["intensity"], float),
                sigma=None,
                wavelength_angstrom=CU_K_ALPHA1_ANGSTROM,
                source=row["id"],
            ),
        )
        for row in pd.read_parquet(folder / SINGLE_PHASES).to_dict("records")
    ]


def read_mixtures(folder: Path) -> list[LabelledMixture]:
    """Read the mixtures, whose names are such as NiO_0p6007-Bi2O3_0p4008.xrdml."""
    found = []
    for file in sorted((folder / MIXTURES).glob("*.xrdml")):
        parts = [part.rsplit("_", 1) for part in file.stem.split("-")]
        weights = {canonicalise_formula(f): float(w.replace("p", ".")) for f, w in parts}
        total = sum(weights.values())
        fractions = {formula: weight / total for formula, weight in weights.items()}
        found.append(LabelledMixture(file.stem, fractions, read_pattern(file)))
    return found
