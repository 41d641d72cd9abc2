"""What is known of one candidate after two potentials were asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from pymatgen.core import Structure

POTENTIAL_ERRORS = "potential-errors"
"""Artefact of how far potentials, and our models, are from known materials."""
AGREEMENT_EV = 0.05
"""Energies per atom of two potentials that differ by less agree."""
LOWEST_FORMATION_EV = -6.0
"""Per atom. Of 74,762 known crystals the lowest, a fluoride, has -4.5: potentials that give less
were driven to where they have learned nothing."""


@dataclass(frozen=True)
class Evidence:
    """Of one structure; what could not be computed is None."""

    judge: Relaxed
    witness: Relaxed
    formation_energy_ev: float | None
    """Per atom, by the judge."""
    witness_formation_energy_ev: float | None
    hull: HullPosition | None
    witness_energy_above_hull_ev: float | None
    """Per atom, of the reaction that the judge's hull names."""
    elasticity: Elasticity | None
    structure: Structure
    """The judge's relaxed crystal, symmetrised, conventional cell."""
    space_group: int
    unchanged: bool
    """Whether StructureMatcher still calls it the structure that was proposed."""

    @property
    def fell_apart(self) -> str:
        """Why it is no crystal in the judge; empty if it is one."""
        return what_broke(self.judge, self.formation_energy_ev)

    @property
    def disagreement_ev(self) -> float | None:
        """How far the two energies above the hull are from each other, per atom; where there is no
        hull, the two formation energies.

        What a potential has wrong of an element's crystal cancels in the first.
        """
        pair = self.formation_energy_ev, self.witness_formation_energy_ev
        if self.hull is not None and self.witness_energy_above_hull_ev is not None:
            pair = self.hull.energy_above_hull_ev, self.witness_energy_above_hull_ev
        if pair[0] is None or pair[1] is None:
            return None
        return abs(pair[0] - pair[1])

    @property
    def sound(self) -> bool:
        """Relaxed in both potentials, with symmetry, and both agree on its energy (G12)."""
        return (
            self.judge.converged
            and self.witness.converged
            and self.space_group > 1
            and self.disagreement_ev is not None
            and self.disagreement_ev <= AGREEMENT_EV
        )

    def row(self) -> dict[str, Any]:
        """One flat row of a table: only numbers, booleans and words."""
        row: dict[str, Any] = {
            "relaxed": self.judge.converged,
            "fell_apart": self.fell_apart,
            "steps": self.judge.steps,
            "volume_change": _round(self.judge.volume_change),
            "space_group": self.space_group,
            "unchanged": self.unchanged,
            "formation_energy_ev": _round(self.formation_energy_ev),
            "witness_formation_energy_ev": _round(self.witness_formation_energy_ev),
            "disagreement_ev": _round(self.disagreement_ev),
            "sound": self.sound,
        }
        if self.hull is not None:
            row |= {
                "energy_above_hull_ev": _round(self.hull.energy_above_hull_ev),
                "witness_energy_above_hull_ev": _round(self.witness_energy_above_hull_ev),
                "decomposition": ", ".join(
                    f"{share:.2f} {name}" for name, share in self.hull.decomposition.items()
                ),
                "competing_phases": self.hull.n_competing,
                "known_phases": self.hull.n_known,
            }
        if self.elasticity is not None:
            row |= _mechanics(self.elasticity)
        return row

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            **self.row(),
            "judge": self.judge.to_dict(),
            "witness": self.witness.to_dict(),
            "hull": None if self.hull is None else asdict(self.hull),
            "elasticity": None if self.elasticity is None else self.elasticity.to_dict(),
        }


def what_broke(relaxed: Relaxed, formation_energy_ev: float | None) -> str:
    """Why it is no crystal any more, or the potential not to be believed; empty if neither."""
    if formation_energy_ev is not None and formation_energy_ev < LOWEST_FORMATION_EV:
        return f"its formation energy became {formation_energy_ev:.1f} eV/atom, which nothing has"
    return relaxed.fell_apart


def _mechanics(found: Elasticity) -> Mapping[str, Any]:
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
