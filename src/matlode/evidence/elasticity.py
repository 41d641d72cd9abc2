"""Second derivatives of the energy of a relaxed crystal: stiffness, moduli, phonons at Γ.

In place of relaxing each of 24 strained cells, the matrix of second derivatives by the
positions is made once, from displacements that symmetry does not repeat; it then gives the
response of the atoms to any strain by a Newton step (Wu, Vanderbilt, Hamann, Phys. Rev. B 72,
035105, 2005). Strains are chosen so that, with symmetry, few determine all constants: one for a
cubic crystal. Strain and stress are kept in Mandel's notation, in which rotations are orthogonal.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matlode.data.symmetry import RELAXATION_SYMPREC_A
from matlode.evidence.potentials import load_calculator
from matlode.evidence.relaxation import EV_A3_TO_GPA, Relaxed, ase_atoms

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]

STRAIN = 0.01
"""Norm of a strain: small enough for linear answers, large enough for single precision."""
DISPLACEMENT_A = 0.015
MIN_CURVATURE = 0.05
"""Of the second derivatives by positions, eV/Å²: softer modes answer to no strain."""
WELL_POSED = 12.0
"""Largest condition number of the equations for the elastic constants."""
NEWTON_STEPS = 2
EOS_STRAINS = np.linspace(-0.012, 0.012, 7)
"""Of the cell's edges."""
IMAGINARY_THZ = -0.3
"""Frequencies below are unstable modes, above it noise of the potential."""

_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_TO_VOIGT = np.array([1, 1, 1, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
_N_POOL = 64


@dataclass(frozen=True)
class Elasticity:
    """How a crystal answers to strain, and to displaced atoms."""

    stiffness_gpa: list[list[float]]
    """(6, 6), Voigt's notation, atoms relaxed; axes as in the relaxed cell."""
    bulk_modulus_gpa: float
    """Voigt-Reuss-Hill."""
    shear_modulus_gpa: float
    """Voigt-Reuss-Hill; 0 for an unstable crystal, which has none."""
    eos_bulk_modulus_gpa: float
    """Of the Birch-Murnaghan equation of state, the cell's shape kept: for crystals that are
    not cubic an upper bound."""
    born_stable: bool
    """All eigenvalues of the stiffness are positive (Mouhat and Coudert, Phys. Rev. B 90,
    224104, 2014)."""
    lowest_gamma_thz: float
    """The lowest optical frequency at Γ, imaginary ones negative; 0 for one atom."""
    evaluations: int
    seconds: float

    @property
    def stable_at_gamma(self) -> bool:
        """Whether no displacement of the atoms in the cell lowers the energy."""
        return self.lowest_gamma_thz > IMAGINARY_THZ

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Elasticity:
        """What ``to_dict`` gave."""
        return cls(**found)


def elasticity(relaxed: Relaxed, potential: str) -> Elasticity:
    """Elastic constants, moduli and phonons at Γ of a relaxed crystal."""
    began = time.perf_counter()
    crystal = _Responding(ase_atoms(relaxed.structure), potential)
    rotations = point_group(crystal.atoms)
    basis = invariant_stiffnesses(rotations)
    strains = determining_strains(basis)
    stresses = np.array([crystal.stress_by_strain(strain) for strain in strains])
    equations = np.concatenate([basis @ strain for strain in strains], axis=1).T
    amounts = np.linalg.lstsq(equations, stresses.ravel(), rcond=None)[0]
    stiffness = np.tensordot(amounts, basis, axes=1)
    bulk, shear, stable = moduli(stiffness)
    return Elasticity(
        stiffness_gpa=(stiffness / np.outer(_TO_VOIGT, _TO_VOIGT)).tolist(),
        bulk_modulus_gpa=bulk,
        shear_modulus_gpa=shear,
        eos_bulk_modulus_gpa=crystal.eos_bulk_modulus(),
        born_stable=stable,
        lowest_gamma_thz=crystal.lowest_gamma_thz,
        evaluations=crystal.evaluations,
        seconds=round(time.perf_counter() - began, 2),
    )


def moduli(stiffness: Array) -> tuple[float, float, bool]:
    """Hill's K and G (GPa) of a stiffness (6, 6) in Mandel's notation, and whether it is
    positive definite. Where it is not, K is Voigt's and G is 0.

    Hill, Proc. Phys. Soc. A 65, 349, 1952.
    """
    hydrostatic = np.array([1, 1, 1, 0, 0, 0]) / np.sqrt(3)
    bulk_voigt = float(hydrostatic @ stiffness @ hydrostatic) / 3
    if np.linalg.eigvalsh(stiffness).min() <= 0:
        return bulk_voigt, 0.0, False
    compliance = np.linalg.inv(stiffness)
    bulk_reuss = 1 / (3 * float(hydrostatic @ compliance @ hydrostatic))
    # the trace over the five deviatoric strains
    shear_voigt = (np.trace(stiffness) - 3 * bulk_voigt) / 10
    shear_reuss = 2.5 / (np.trace(compliance) - 1 / (3 * bulk_reuss))
    return (bulk_voigt + bulk_reuss) / 2, float(shear_voigt + shear_reuss) / 2, True


def point_group(atoms: Atoms) -> Array:
    """(n, 3, 3), the rotations of the crystal in Cartesian axes."""
    from moyopy import Cell, MoyoDataset

    cell = Cell(
        atoms.cell.array.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist()
    )
    operations = MoyoDataset(cell, symprec=RELAXATION_SYMPREC_A).operations
    found = np.unique(np.array(operations.rotations, dtype=float), axis=0)
    columns = atoms.cell.array.T
    return columns @ found @ np.linalg.inv(columns)


def mandel(tensor: Array) -> Array:
    """(6,) of a symmetric (3, 3): xx, yy, zz, and √2 times yz, xz, xy."""
    return np.array([tensor[i, j] for i, j in _PAIRS]) * _TO_VOIGT


def tensor(vector: Array) -> Array:
    """(3, 3), the inverse of ``mandel``."""
    found = np.zeros((3, 3))
    for (i, j), value in zip(_PAIRS, vector / _TO_VOIGT, strict=True):
        found[i, j] = found[j, i] = value
    return found


def mandel_rotation(rotation: Array) -> Array:
    """(6, 6), what a rotation of the axes does to vectors in Mandel's notation."""
    return np.stack([mandel(rotation @ tensor(unit) @ rotation.T) for unit in np.eye(6)], axis=1)


def invariant_stiffnesses(rotations: Array) -> Array:
    """(n, 6, 6), an orthonormal basis of the stiffnesses that a point group (m, 3, 3) allows:
    3 for a cubic crystal, 21 for a triclinic one."""
    own = [mandel_rotation(rotation) for rotation in rotations]
    places = np.triu_indices(6)
    units = np.zeros((len(places[0]), 6, 6))
    for unit, i, j in zip(units, *places, strict=True):
        unit[i, j] = unit[j, i] = 1.0 if i == j else np.sqrt(0.5)
    turned = np.mean([r @ units @ r.T for r in own], axis=0)
    # the mean over a group projects onto what it leaves alone
    projection = np.einsum("aij,bij->ab", units, turned)
    values, vectors = np.linalg.eigh((projection + projection.T) / 2)
    return np.tensordot(vectors[:, values > 0.5].T, units, axes=1)


def determining_strains(basis: Array) -> Array:
    """(k, 6), few strains of norm 1 whose stresses determine a stiffness of this basis.

    Greedy by the determinant of the equations, until these are well posed.
    """
    pool = np.random.default_rng(0).normal(size=(_N_POOL, 6))
    pool = np.concatenate([np.eye(6), pool / np.linalg.norm(pool, axis=1, keepdims=True)])
    columns = np.einsum("kij,sj->ski", basis, pool)
    grams = np.einsum("ski,sli->skl", columns, columns)
    total = np.zeros(grams.shape[1:])
    chosen: list[int] = []
    while True:
        scores = np.linalg.slogdet(total + grams + 1e-9 * np.eye(len(basis)))[1]
        chosen.append(int(scores.argmax()))
        total = total + grams[chosen[-1]]
        values = np.linalg.eigvalsh(total)
        if values[0] > 0 and np.sqrt(values[-1] / values[0]) < WELL_POSED:
            return pool[chosen]


class _Responding:
    """A crystal in a potential, and what its atoms do when the cell is strained."""

    def __init__(self, atoms: Atoms, potential: str) -> None:
        self.atoms = atoms
        self.calculator = load_calculator(potential)
        self.evaluations = 0
        self.positions = atoms.get_scaled_positions()
        curvature, self.lowest_gamma_thz = self._second_derivatives()
        self._inverse = _pseudo_inverse(curvature)

    def stress_by_strain(self, strain: Array) -> Array:
        """(6,), GPa per unit of strain, in Mandel's notation, by central differences."""
        ends = [
            mandel(self._stress(self._strained(np.eye(3) + sign * STRAIN * tensor(strain))))
            for sign in (1, -1)
        ]
        return (ends[0] - ends[1]) / (2 * STRAIN)

    def eos_bulk_modulus(self) -> float:
        """GPa, of a Birch-Murnaghan fit to energies about the volume at rest."""
        from ase.eos import EquationOfState

        strained = [self._strained(np.eye(3) * (1 + strain)) for strain in EOS_STRAINS]
        volumes = [atoms.get_volume() for atoms in strained]
        energies = [self._energy(atoms) for atoms in strained]
        try:
            fit = EquationOfState(volumes, energies, eos="birchmurnaghan").fit(warn=False)
        except (RuntimeError, ValueError):  # energies without a minimum
            return 0.0
        return float(fit[2]) * EV_A3_TO_GPA

    def _strained(self, deformation: Array) -> Atoms:
        """The strained cell, its atoms where their forces vanish."""
        atoms = self.atoms.copy()
        atoms.set_cell(self.atoms.cell.array @ deformation.T)
        atoms.set_scaled_positions(self.positions)
        if len(atoms) > 1:
            for _ in range(NEWTON_STEPS):
                atoms.positions += (self._inverse @ self._forces(atoms).ravel()).reshape(-1, 3)
        return atoms

    def _second_derivatives(self) -> tuple[Array, float]:
        """(3n, 3n) in eV/Å², and the lowest optical frequency at Γ in THz."""
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms

        atoms = self.atoms
        cell = PhonopyAtoms(
            numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=self.positions
        )
        phonons = Phonopy(cell, np.eye(3, dtype=int), symprec=RELAXATION_SYMPREC_A, log_level=0)
        phonons.generate_displacements(distance=DISPLACEMENT_A)
        rest = self._forces(atoms)
        forces = []
        for displaced in phonons.supercells_with_displacements or ():
            moved = atoms.copy()
            moved.set_scaled_positions(displaced.scaled_positions)
            forces.append(self._forces(moved) - rest)
        phonons.forces = np.array(forces)
        phonons.produce_force_constants()
        phonons.symmetrize_force_constants()
        constants: Array = np.asarray(phonons.force_constants)
        curvature = constants.transpose(0, 2, 1, 3).reshape(3 * len(atoms), -1)
        curvature = (curvature + curvature.T) / 2
        return curvature, _lowest_optical_thz(curvature, atoms.get_masses())

    def _forces(self, atoms: Atoms) -> Array:
        return np.asarray(self._calculating(atoms).get_forces(), dtype=float)

    def _energy(self, atoms: Atoms) -> float:
        return float(self._calculating(atoms).get_potential_energy())

    def _stress(self, atoms: Atoms) -> Array:
        found = self._calculating(atoms).get_stress(voigt=False)
        return np.asarray(found, dtype=float) * EV_A3_TO_GPA

    def _calculating(self, atoms: Atoms) -> Atoms:
        self.evaluations += 1
        atoms.calc = self.calculator
        return atoms


def _pseudo_inverse(curvature: Array) -> Array:
    """Of the stable part: neither translations nor soft modes answer."""
    values, vectors = np.linalg.eigh(curvature)
    stiff = values > MIN_CURVATURE
    inverse: Array = (vectors[:, stiff] / values[stiff]) @ vectors[:, stiff].T
    return inverse


def _lowest_optical_thz(curvature: Array, masses_u: Array) -> float:
    """√(eV/Å²/u) is 15.633 THz in cycles."""
    if len(masses_u) == 1:
        return 0.0
    weights = np.repeat(1 / np.sqrt(masses_u), 3)
    values = np.linalg.eigvalsh(curvature * np.outer(weights, weights))
    # three translations have the values nearest to zero
    values = np.delete(values, np.argsort(np.abs(values))[:3])
    lowest = values.min()
    return float(np.sign(lowest) * np.sqrt(abs(lowest)) * 15.633302)
