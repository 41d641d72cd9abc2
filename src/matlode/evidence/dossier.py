"""Results of two machine-learning potentials for one structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from matlode.evidence.elasticity import Elasticity
from matlode.evidence.hull import HullPosition
from matlode.evidence.relaxation import Relaxed
from matlode.properties.derived import (
    poisson_ratio,
    pugh_ratio,
    vickers_hardness_chen,
    vickers_hardness_mazhnik,
    youngs_modulus,
)
from matlode.records import Cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

POTENTIAL_ERRORS = "potential-errors"
"""Artefact with the errors of the potentials, and of matlode's models, on known materials."""
AGREEMENT_EV = 0.11
"""Largest difference of the two potentials' energies (eV/atom) for which they agree: their mean
absolute errors on 100 known materials, 0.068 and 0.086 (models/potential-errors), in quadrature."""
LOWEST_FORMATION_EV = -6.0
"""Lower limit (eV/atom) of a credible formation energy. The lowest of 74,762 known crystals, of a
fluoride, is -4.5; a potential that gives less is extrapolating far beyond its training data."""


@dataclass(frozen=True)
class Evidence:
    """Results for one structure; None for each quantity that could not be computed."""

    primary: Relaxed
    """Relaxed with the primary potential, which computes every quantity."""
    secondary: Relaxed
    """Relaxed with the second potential, which computes the energies only."""
    formation_energy_ev: float | None
    """Per atom, from the primary potential."""
    secondary_formation_energy_ev: float | None
    """Per atom, from the second potential."""
    hull: HullPosition | None
    secondary_energy_above_hull_ev: float | None
    """Per atom, from the second potential, for the decomposition that the primary one finds."""
    elasticity: Elasticity | None
    structure: Structure
    """Relaxed with the primary potential, symmetrised, conventional cell."""
    space_group: int
    unchanged: bool
    """Whether StructureMatcher matches the relaxed structure to the proposed one."""

    @property
    def fell_apart(self) -> str:
        """Why the relaxed structure is not a crystal (primary potential); empty if it is one."""
        return describe_failure(self.primary, self.formation_energy_ev)

    @property
    def disagreement_ev(self) -> float | None:
        """Absolute difference (eV/atom) between the energies above the hull of the two potentials;
        without a hull, between the formation energies.

        A potential's error for the crystals of the elements cancels in the energy above the hull.
        """
        pair = self.formation_energy_ev, self.secondary_formation_energy_ev
        if self.hull is not None and self.secondary_energy_above_hull_ev is not None:
            pair = self.hull.energy_above_hull_ev, self.secondary_energy_above_hull_ev
        if pair[0] is None or pair[1] is None:
            return None
        return abs(pair[0] - pair[1])

    @property
    def potentials_agree(self) -> bool:
        """Whether the structure relaxes in both potentials, keeps a space group above P1, and
        both potentials agree on its energy (benchmark G12)."""
        return (
            self.primary.converged
            and self.secondary.converged
            and self.space_group > 1
            and self.disagreement_ev is not None
            and self.disagreement_ev <= AGREEMENT_EV
        )

    def row(self) -> dict[str, Cell]:
        """Column → cell: one row of evidence.csv."""
        row: dict[str, Cell] = {
            "relaxed": self.primary.converged,
            "fell_apart": self.fell_apart,
            "steps": self.primary.steps,
            "volume_change": _round(self.primary.volume_change),
            "space_group": self.space_group,
            "unchanged": self.unchanged,
            "formation_energy_ev": _round(self.formation_energy_ev),
            "second_potential_formation_energy_ev": _round(self.secondary_formation_energy_ev),
            "disagreement_ev": _round(self.disagreement_ev),
            "potentials_agree": self.potentials_agree,
        }
        if self.hull is not None:
            row |= {
                "energy_above_hull_ev": _round(self.hull.energy_above_hull_ev),
                "second_potential_energy_above_hull_ev": _round(
                    self.secondary_energy_above_hull_ev
                ),
                "decomposition": ", ".join(
                    f"{share:.2f} {name}" for name, share in self.hull.decomposition.items()
                ),
                "competing_phases": self.hull.n_competing,
                "known_phases": self.hull.n_known,
            }
        if self.elasticity is not None:
            row |= _compute_mechanics(self.elasticity)
        return row

    def to_dict(self) -> dict[str, object]:
        """The row and the full results, as one structure in evidence.json."""
        return {
            **self.row(),
            "primary_potential": asdict(self.primary),
            "second_potential": asdict(self.secondary),
            "hull": None if self.hull is None else asdict(self.hull),
            "elasticity": None if self.elasticity is None else asdict(self.elasticity),
        }


def describe_failure(relaxed: Relaxed, formation_energy_ev: float | None) -> str:
    """Why a relaxed structure is not a crystal, or why its energy is not credible; empty if it is
    a crystal with a credible energy."""
    if formation_energy_ev is not None and formation_energy_ev < LOWEST_FORMATION_EV:
        return f"its formation energy became {formation_energy_ev:.1f} eV/atom, which nothing has"
    return relaxed.fell_apart


def _compute_mechanics(found: Elasticity) -> Mapping[str, Cell]:
    bulk, shear = np.array(found.bulk_modulus_gpa), np.array(found.shear_modulus_gpa)
    return {
        "bulk_modulus_gpa": _round(found.bulk_modulus_gpa, 1),
        "eos_bulk_modulus_gpa": _round(found.eos_bulk_modulus_gpa, 1),
        "shear_modulus_gpa": _round(found.shear_modulus_gpa, 1),
        "youngs_modulus_gpa": _round(float(youngs_modulus(bulk, shear)), 1),
        "poisson_ratio": _round(float(poisson_ratio(bulk, shear))),
        "pugh_ratio": _round(float(pugh_ratio(bulk, shear))),
        "vickers_hardness_gpa": _round(float(vickers_hardness_mazhnik(bulk, shear)), 1),
        "vickers_hardness_chen_gpa": _round(float(vickers_hardness_chen(bulk, shear)), 1),
        "born_stable": found.born_stable,
        "lowest_gamma_thz": _round(found.lowest_gamma_thz, 2),
        "stable_at_gamma": found.stable_at_gamma,
    }


def _round(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
