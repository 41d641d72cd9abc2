"""Relaxation of cell and positions in a potential."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matlode.data.symmetry import RELAXATION_SYMPREC_A, primitive_cell
from matlode.errors import InputError
from matlode.evidence.potentials import NEVER_SEEN, load_calculator

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

MAX_STEP_A = 0.1
EV_A3_TO_GPA = 160.21766208
VOLUME_LIMITS = (0.6, 1.6)
"""A crystal whose volume leaves them, relative to the start, has collapsed or fallen apart."""
LONELY = 1.6
"""An atom whose nearest neighbour is farther than this many sums of radii belongs to nothing."""


@dataclass(frozen=True, kw_only=True)
class RelaxationSettings:
    """When to stop."""

    max_force_ev_a: float = 0.02
    """On atoms, and on the cell per atom."""
    max_steps: int = 150
    max_seconds: float = 300.0
    keep_symmetry: bool = True


@dataclass(frozen=True)
class Relaxed:
    """A relaxed crystal in its primitive cell."""

    lattice: list[list[float]]
    """(3, 3), Å."""
    species: list[str]
    frac_coords: list[list[float]]
    """(n, 3)."""
    energy_per_atom_ev: float
    """As the potential gives it, corrected or not."""
    volume_change: float
    """Volume over that of the start, less 1."""
    max_force_ev_a: float
    """What is left."""
    steps: int
    seconds: float
    converged: bool
    fell_apart: str
    """Why it is no longer the crystal that it was; empty if it is."""

    @property
    def structure(self) -> Structure:
        """As a pymatgen Structure."""
        from pymatgen.core import Structure

        return Structure(self.lattice, self.species, self.frac_coords)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Relaxed:
        """What ``to_dict`` gave."""
        return cls(**found)


def relax(structure: Structure, potential: str, settings: RelaxationSettings) -> Relaxed:
    """Cell and positions at rest in the potential, from the primitive cell of ``structure``.

    BFGS on positions and the logarithm of the deformation (ASE's FrechetCellFilter); where
    symmetry is kept, forces and stresses are symmetrised (FixSymmetry), so that no step can
    lower it. Stops at the step or time limit with what it has, and as soon as the crystal has
    fallen apart. Raises InputError for elements that the potential does not know.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    began = time.perf_counter()
    atoms = ase_atoms(primitive_cell(structure, symprec_a=RELAXATION_SYMPREC_A))
    if not NEVER_SEEN.isdisjoint(atoms.numbers):
        raise InputError(f"{potential} has not learned all elements of {atoms.symbols}.")
    start = float(atoms.get_volume())
    if settings.keep_symmetry and len(atoms):
        atoms.set_constraint(FixSymmetry(atoms, symprec=RELAXATION_SYMPREC_A))
    atoms.calc = load_calculator(potential)
    optimiser = BFGS(FrechetCellFilter(atoms), maxstep=MAX_STEP_A, logfile=None)
    broken = ""
    for _ in optimiser.irun(fmax=settings.max_force_ev_a, steps=settings.max_steps):
        broken = _collapse(atoms, start)
        if broken or time.perf_counter() - began > settings.max_seconds:
            break
    broken = broken or _scattered(atoms)
    forces = optimiser.optimizable.get_gradient().reshape(-1, 3)
    max_force = float(np.sqrt((forces**2).sum(axis=1).max()))
    atoms.set_constraint()
    return Relaxed(
        lattice=atoms.cell.array.tolist(),
        species=atoms.get_chemical_symbols(),
        frac_coords=atoms.get_scaled_positions().tolist(),
        energy_per_atom_ev=float(atoms.get_potential_energy()) / len(atoms),
        volume_change=float(atoms.get_volume()) / start - 1,
        max_force_ev_a=max_force,
        steps=optimiser.nsteps,
        seconds=round(time.perf_counter() - began, 2),
        converged=max_force <= settings.max_force_ev_a and not broken,
        fell_apart=broken,
    )


def ase_atoms(structure: Structure) -> Atoms:
    """An ASE Atoms of an ordered structure."""
    from ase import Atoms

    return Atoms(
        numbers=[site.specie.Z for site in structure],
        scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )


def _collapse(atoms: Atoms, start_a3: float) -> str:
    """Why this is no crystal any more, by its volume; empty if it is one."""
    ratio = float(atoms.get_volume()) / start_a3
    low, high = VOLUME_LIMITS
    if low < ratio < high:
        return ""
    return f"its volume became {ratio:.2f} of what it was"


def _scattered(atoms: Atoms) -> str:
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    radii: NDArray[np.float64] = covalent_radii[atoms.numbers]
    first, second, distances = neighbor_list("ijd", atoms, 2 * LONELY * float(radii.max()))
    near = distances < LONELY * (radii[first] + radii[second])
    alone = np.setdiff1d(np.arange(len(atoms)), first[near])
    if not len(alone):
        return ""
    return f"{atoms[int(alone[0])].symbol} has no neighbour"
