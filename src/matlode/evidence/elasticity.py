"""Second derivatives of the energy of a relaxed crystal: stiffness, moduli, phonons at Γ.

Instead of relaxing each of 24 strained cells, the matrix of force constants is computed once, from
symmetry-inequivalent displacements. It gives the response of the atoms to any strain by a Newton
step (Wu, Vanderbilt, Hamann, Phys. Rev. B 72, 035105, 2005). Strains are chosen so that, with
symmetry, few of them determine all elastic constants: one for a cubic crystal. Strain and stress
are in Mandel notation, in which rotations are orthogonal.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.data.symmetry import RELAXATION_SYMPREC_A
from matlode.evidence.potentials import load_calculator
from matlode.evidence.relaxation import EV_A3_TO_GPA, Relaxed, to_ase_atoms

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]

STRAIN = 0.01
"""Norm of a strain: small enough for a linear response, large enough for single precision."""
DISPLACEMENT_A = 0.015
MIN_CURVATURE = 0.05
"""Smallest eigenvalue of the force constants (eV/Å²) of a mode that responds to strain."""
MAX_CONDITION = 12.0
"""Largest condition number of the equations for the elastic constants."""
NEWTON_STEPS = 2
EOS_STRAINS = np.linspace(-0.012, 0.012, 7)
"""Relative changes of the cell edges for the equation of state."""
IMAGINARY_THZ = -0.3
"""Frequencies below this limit are unstable modes; between it and 0 they are numerical noise."""

_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_TO_VOIGT = np.array([1, 1, 1, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
_N_POOL = 64


@dataclass(frozen=True)
class Elasticity:
    """Elastic constants, moduli and phonons at Γ of a crystal."""

    stiffness_gpa: list[list[float]]
    """(6, 6), Voigt notation, relaxed-ion; axes as in the relaxed cell."""
    bulk_modulus_gpa: float
    """Voigt-Reuss-Hill average."""
    shear_modulus_gpa: float
    """Voigt-Reuss-Hill average; 0 if the crystal is elastically unstable."""
    eos_bulk_modulus_gpa: float
    """From the Birch-Murnaghan equation of state at fixed cell shape: an upper bound for crystals
    that are not cubic."""
    born_stable: bool
    """All eigenvalues of the stiffness are positive (Mouhat and Coudert, Phys. Rev. B 90,
    224104, 2014)."""
    lowest_gamma_thz: float
    """Lowest optical frequency at Γ, negative if imaginary; 0 for one atom."""
    evaluations: int
    """Number of evaluations of the potential."""
    seconds: float

    @property
    def stable_at_gamma(self) -> bool:
        """Whether there is no unstable phonon at Γ, beyond the numerical noise."""
        return self.lowest_gamma_thz > IMAGINARY_THZ


def compute_elasticity(relaxed: Relaxed, potential: str) -> Elasticity:
    """Compute the elastic constants, moduli and phonons at Γ of a relaxed crystal."""
    began = time.perf_counter()
    crystal = _StrainedCrystal(to_ase_atoms(relaxed.structure), potential)
    rotations = find_point_group(crystal.atoms)
    basis = find_invariant_stiffnesses(rotations)
    strains = choose_strains(basis)
    stresses = np.array([crystal.compute_stress_response(strain) for strain in strains])
    equations = np.concatenate([basis @ strain for strain in strains], axis=1).T
    amounts = np.linalg.lstsq(equations, stresses.ravel(), rcond=None)[0]
    stiffness = np.tensordot(amounts, basis, axes=1)
    bulk, shear, stable = average_moduli(stiffness)
    return Elasticity(
        stiffness_gpa=(stiffness / np.outer(_TO_VOIGT, _TO_VOIGT)).tolist(),
        bulk_modulus_gpa=bulk,
        shear_modulus_gpa=shear,
        eos_bulk_modulus_gpa=crystal.fit_bulk_modulus(),
        born_stable=stable,
        lowest_gamma_thz=crystal.lowest_gamma_thz,
        evaluations=crystal.evaluations,
        seconds=round(time.perf_counter() - began, 2),
    )


def average_moduli(stiffness: Array) -> tuple[float, float, bool]:
    """Hill's averages of K and G (GPa) of a stiffness (6, 6) in Mandel notation, and whether it is
    positive definite. If it is not, K is Voigt's average and G is 0.

    Hill, Proc. Phys. Soc. A 65, 349, 1952.
    """
    hydrostatic = np.array([1, 1, 1, 0, 0, 0]) / np.sqrt(3)
    bulk_voigt = float(hydrostatic @ stiffness @ hydrostatic) / 3
    if np.linalg.eigvalsh(stiffness).min() <= 0:
        return bulk_voigt, 0.0, False
    compliance = np.linalg.inv(stiffness)
    bulk_reuss = 1 / (3 * float(hydrostatic @ compliance @ hydrostatic))
    # from the trace over the five deviatoric strains
    shear_voigt = (np.trace(stiffness) - 3 * bulk_voigt) / 10
    shear_reuss = 2.5 / (np.trace(compliance) - 1 / (3 * bulk_reuss))
    return (bulk_voigt + bulk_reuss) / 2, float(shear_voigt + shear_reuss) / 2, True


def find_point_group(atoms: Atoms) -> Array:
    """(n, 3, 3), the rotations of the crystal in Cartesian coordinates."""
    from moyopy import Cell, MoyoDataset

    cell = Cell(
        atoms.cell.array.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist()
    )
    operations = MoyoDataset(cell, symprec=RELAXATION_SYMPREC_A).operations
    found = np.unique(np.array(operations.rotations, dtype=float), axis=0)
    columns = atoms.cell.array.T
    return columns @ found @ np.linalg.inv(columns)


def to_mandel(tensor: Array) -> Array:
    """(6,), Mandel notation of a symmetric tensor (3, 3): xx, yy, zz, and √2 times yz, xz, xy."""
    return np.array([tensor[i, j] for i, j in _PAIRS]) * _TO_VOIGT


def from_mandel(vector: Array) -> Array:
    """(3, 3), the inverse of ``to_mandel``."""
    tensor = np.zeros((3, 3))
    for (i, j), value in zip(_PAIRS, vector / _TO_VOIGT, strict=True):
        tensor[i, j] = tensor[j, i] = value
    return tensor


def build_mandel_rotation(rotation: Array) -> Array:
    """(6, 6), the matrix of a rotation (3, 3) for vectors in Mandel notation."""
    return np.stack(
        [to_mandel(rotation @ from_mandel(unit) @ rotation.T) for unit in np.eye(6)], axis=1
    )


def find_invariant_stiffnesses(rotations: Array) -> Array:
    """(n, 6, 6), an orthonormal basis of the stiffnesses that are invariant under a point group
    (m, 3, 3): 3 for a cubic crystal, 21 for a triclinic one."""
    matrices = [build_mandel_rotation(rotation) for rotation in rotations]
    upper = np.triu_indices(6)
    units = np.zeros((len(upper[0]), 6, 6))
    for unit, i, j in zip(units, *upper, strict=True):
        unit[i, j] = unit[j, i] = 1.0 if i == j else np.sqrt(0.5)
    rotated = np.mean([r @ units @ r.T for r in matrices], axis=0)
    # the mean over a group projects onto its invariant subspace
    projection = np.einsum("aij,bij->ab", units, rotated)
    values, vectors = np.linalg.eigh((projection + projection.T) / 2)
    return np.tensordot(vectors[:, values > 0.5].T, units, axes=1)


def choose_strains(basis: Array) -> Array:
    """(k, 6), few strains of norm 1 whose stresses determine the coefficients of a stiffness in
    ``basis`` (n, 6, 6).

    Strains are added greedily, by the determinant of the normal equations, until the condition
    number is below MAX_CONDITION.
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
        if values[0] > 0 and np.sqrt(values[-1] / values[0]) < MAX_CONDITION:
            return pool[chosen]


class _StrainedCrystal:
    """A crystal in a potential, with the response of its atoms to strain."""

    def __init__(self, atoms: Atoms, potential: str) -> None:
        self.atoms = atoms
        self.calculator = load_calculator(potential)
        self.evaluations = 0
        self.positions = atoms.get_scaled_positions()
        curvature, self.lowest_gamma_thz = self._compute_force_constants()
        self._inverse = _invert_stiff_part(curvature)

    def compute_stress_response(self, strain: Array) -> Array:
        """(6,), derivative of the stress (GPa) along a strain (6,) of norm 1, in Mandel notation,
        by central differences."""
        ends = [
            to_mandel(
                self._compute_stress(self._deform(np.eye(3) + sign * STRAIN * from_mandel(strain)))
            )
            for sign in (1, -1)
        ]
        return (ends[0] - ends[1]) / (2 * STRAIN)

    def fit_bulk_modulus(self) -> float:
        """Bulk modulus (GPa) of a Birch-Murnaghan fit to energies near the relaxed volume."""
        from ase.eos import EquationOfState

        strained = [self._deform(np.eye(3) * (1 + strain)) for strain in EOS_STRAINS]
        volumes = [atoms.get_volume() for atoms in strained]
        energies = [self._compute_energy(atoms) for atoms in strained]
        try:
            fit = EquationOfState(volumes, energies, eos="birchmurnaghan").fit(warn=False)
        except (RuntimeError, ValueError):  # energies without a minimum
            return 0.0
        return float(fit[2]) * EV_A3_TO_GPA

    def _deform(self, deformation: Array) -> Atoms:
        """The crystal with its cell deformed by a matrix (3, 3) and its atoms relaxed."""
        atoms = self.atoms.copy()
        atoms.set_cell(self.atoms.cell.array @ deformation.T)
        atoms.set_scaled_positions(self.positions)
        if len(atoms) > 1:
            for _ in range(NEWTON_STEPS):
                step = self._inverse @ self._compute_forces(atoms).ravel()
                atoms.positions += step.reshape(-1, 3)
        return atoms

    def _compute_force_constants(self) -> tuple[Array, float]:
        """Force constants (3n, 3n) in eV/Å² and the lowest optical frequency at Γ in THz."""
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms

        atoms = self.atoms
        cell = PhonopyAtoms(
            numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=self.positions
        )
        phonons = Phonopy(cell, np.eye(3, dtype=int), symprec=RELAXATION_SYMPREC_A, log_level=0)
        phonons.generate_displacements(distance=DISPLACEMENT_A)
        rest = self._compute_forces(atoms)
        forces = []
        for displaced in phonons.supercells_with_displacements or ():
            moved = atoms.copy()
            moved.set_scaled_positions(displaced.scaled_positions)
            forces.append(self._compute_forces(moved) - rest)
        phonons.forces = np.array(forces)
        phonons.produce_force_constants()
        phonons.symmetrize_force_constants()
        constants: Array = np.asarray(phonons.force_constants)
        curvature = constants.transpose(0, 2, 1, 3).reshape(3 * len(atoms), -1)
        curvature = (curvature + curvature.T) / 2
        return curvature, _find_lowest_optical(curvature, atoms.get_masses())

    def _compute_forces(self, atoms: Atoms) -> Array:
        return np.asarray(self._attach_calculator(atoms).get_forces(), dtype=float)

    def _compute_energy(self, atoms: Atoms) -> float:
        return float(self._attach_calculator(atoms).get_potential_energy())

    def _compute_stress(self, atoms: Atoms) -> Array:
        found = self._attach_calculator(atoms).get_stress(voigt=False)
        return np.asarray(found, dtype=float) * EV_A3_TO_GPA

    def _attach_calculator(self, atoms: Atoms) -> Atoms:
        self.evaluations += 1
        atoms.calc = self.calculator
        return atoms


def _invert_stiff_part(curvature: Array) -> Array:
    """Pseudo-inverse without modes below MIN_CURVATURE: translations and soft modes."""
    values, vectors = np.linalg.eigh(curvature)
    stiff = values > MIN_CURVATURE
    inverse: Array = (vectors[:, stiff] / values[stiff]) @ vectors[:, stiff].T
    return inverse


def _find_lowest_optical(curvature: Array, masses_u: Array) -> float:
    """Lowest optical frequency at Γ in THz, negative if imaginary; √(eV/Å²/u) is 15.633 THz."""
    if len(masses_u) == 1:
        return 0.0
    weights = np.repeat(1 / np.sqrt(masses_u), 3)
    values = np.linalg.eigvalsh(curvature * np.outer(weights, weights))
    # the three acoustic modes have the values nearest to zero
    values = np.delete(values, np.argsort(np.abs(values))[:3])
    lowest = values.min()
    return float(np.sign(lowest) * np.sqrt(abs(lowest)) * 15.633302)
