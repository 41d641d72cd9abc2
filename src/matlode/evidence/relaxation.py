"""Relaxation of the cell and the atomic positions with a potential."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.data.symmetry import RELAXATION_SYMPREC_A, find_primitive_cell
from matlode.errors import InputError
from matlode.evidence.potentials import NEVER_SEEN, load_calculator

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

MAX_STEP_A = 0.1
EV_A3_TO_GPA = 160.21766208
VOLUME_LIMITS = (0.6, 1.6)
"""Allowed volume relative to the initial one; a crystal outside has collapsed or fallen apart."""
MAX_BOND_RATIO = 1.6
"""Largest distance to the nearest neighbour, in sums of covalent radii, of a bonded atom."""


@dataclass(frozen=True, kw_only=True)
class RelaxationSettings:
    """When a relaxation stops."""

    max_force_ev_a: float = 0.02
    """Largest force (eV/Å) on the atoms and on the cell, per atom, of a converged structure."""
    max_steps: int = 150
    """No limit of time, so that the result does not depend on the machine."""
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
    """Output of the potential, without corrections of matlode (see ``PotentialInfo.corrected``)."""
    volume_change: float
    """Relative to the initial volume: V / V₀ - 1."""
    max_force_ev_a: float
    """Largest remaining force."""
    steps: int
    seconds: float
    converged: bool
    fell_apart: str
    """Why the structure is no longer a crystal; empty if it is."""

    @property
    def structure(self) -> Structure:
        """The relaxed primitive cell as a pymatgen Structure."""
        from pymatgen.core import Structure

        return Structure(self.lattice, self.species, self.frac_coords)


def relax(structure: Structure, potential: str, settings: RelaxationSettings) -> Relaxed:
    """Relax the cell and the positions of the primitive cell of ``structure``.

    BFGS acts on the positions and on the logarithm of the deformation gradient (ASE's
    FrechetCellFilter). With ``keep_symmetry``, forces and stresses are symmetrised
    (FixSymmetry), so that no step lowers the symmetry. At the step limit, or when the crystal
    falls apart, the structure reached so far is returned, not converged. Raises
    InputError for elements outside the training data of the potential.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    began = time.perf_counter()
    atoms = to_ase_atoms(find_primitive_cell(structure, symprec_a=RELAXATION_SYMPREC_A))
    if not NEVER_SEEN.isdisjoint(atoms.numbers):
        unknown = sorted({atom.symbol for atom in atoms if atom.number in NEVER_SEEN})
        raise InputError(
            f'cannot relax {atoms.symbols}: the potential "{potential}" was not trained on '
            f"{', '.join(unknown)}; leave the structure out."
        )
    start = float(atoms.get_volume())
    if settings.keep_symmetry and len(atoms):
        atoms.set_constraint(FixSymmetry(atoms, symprec=RELAXATION_SYMPREC_A))
    atoms.calc = load_calculator(potential)
    optimiser = BFGS(FrechetCellFilter(atoms), maxstep=MAX_STEP_A, logfile=None)
    broken = ""
    for _ in optimiser.irun(fmax=settings.max_force_ev_a, steps=settings.max_steps):
        broken = _describe_collapse(atoms, start)
        if broken:
            break
    broken = broken or _describe_isolated_atom(atoms)
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


def to_ase_atoms(structure: Structure) -> Atoms:
    """Convert an ordered structure to ASE Atoms."""
    from ase import Atoms

    return Atoms(
        numbers=[site.specie.Z for site in structure],
        scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )


def _describe_collapse(atoms: Atoms, initial_a3: float) -> str:
    """Why the volume is not that of a crystal any more; empty if it is within VOLUME_LIMITS."""
    ratio = float(atoms.get_volume()) / initial_a3
    low, high = VOLUME_LIMITS
    if low < ratio < high:
        return ""
    return f"its volume became {ratio:.2f} of what it was"


def _describe_isolated_atom(atoms: Atoms) -> str:
    """Which atom has no neighbour within MAX_BOND_RATIO; empty if every atom has one."""
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    radii: NDArray[np.float64] = covalent_radii[atoms.numbers]
    first, second, distances = neighbor_list("ijd", atoms, 2 * MAX_BOND_RATIO * float(radii.max()))
    near = distances < MAX_BOND_RATIO * (radii[first] + radii[second])
    alone = np.setdiff1d(np.arange(len(atoms)), first[near])
    if not len(alone):
        return ""
    return f"{atoms[int(alone[0])].symbol} has no neighbour"
