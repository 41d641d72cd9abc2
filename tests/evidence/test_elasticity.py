"""Few strains and one matrix of second derivatives give what straining and relaxing gives."""

import numpy as np
import pytest
from ase.build import bulk
from ase.optimize import BFGS
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from matlode.evidence.elasticity import (
    average_moduli,
    build_mandel_rotation,
    choose_strains,
    compute_elasticity,
    find_invariant_stiffnesses,
    find_point_group,
    from_mandel,
    to_mandel,
)
from matlode.evidence.potentials import load_calculator
from matlode.evidence.relaxation import EV_A3_TO_GPA, RelaxationSettings, relax, to_ase_atoms

TIGHT = RelaxationSettings(max_force_ev_a=1e-4)

CRYSTALS = {
    "cubic": (Lattice.cubic(4.0), 225, 3),
    "hexagonal": (Lattice.hexagonal(3.0, 5.0), 194, 5),
    "trigonal": (Lattice.hexagonal(3.0, 7.0), 166, 6),
    "trigonal, low": (Lattice.hexagonal(5.0, 7.0), 148, 7),
    "tetragonal": (Lattice.tetragonal(3.0, 5.0), 139, 6),
    "tetragonal, low": (Lattice.tetragonal(5.0, 7.0), 87, 7),
    "orthorhombic": (Lattice.orthorhombic(3.0, 4.0, 5.0), 62, 9),
    "monoclinic": (Lattice.monoclinic(3.0, 4.0, 5.0, 100.0), 14, 13),
    "triclinic": (Lattice.from_parameters(3.0, 4.0, 5.0, 80.0, 95.0, 105.0), 2, 21),
}
"""name → lattice, space group, number of independent elastic constants (Nye 1957)."""
GENERAL = [0.13, 0.21, 0.37]


@pytest.fixture(params=CRYSTALS, name="crystal")
def _crystal(request):
    lattice, space_group, n = CRYSTALS[request.param]
    structure = Structure.from_spacegroup(space_group, lattice, ["Cu"], [GENERAL])
    return find_point_group(to_ase_atoms(structure)), n


def test_symmetry_leaves_as_many_constants_as_the_textbooks(crystal):
    rotations, n = crystal
    for rotation in rotations:
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
    basis = find_invariant_stiffnesses(rotations)
    assert len(basis) == n
    for rotation in rotations:
        turn = build_mandel_rotation(rotation)
        np.testing.assert_allclose(turn @ turn.T, np.eye(6), atol=1e-6)
        np.testing.assert_allclose(turn @ basis @ turn.T, basis, atol=1e-6)


def test_chosen_strains_determine_the_stiffness(crystal):
    rotations, n = crystal
    basis = find_invariant_stiffnesses(rotations)
    strains = choose_strains(basis)
    assert len(strains) <= (1 if n == 3 else 6)
    stiffness = np.tensordot(np.random.default_rng(0).normal(size=n), basis, axes=1)
    equations = np.concatenate([basis @ strain for strain in strains], axis=1).T
    stresses = np.concatenate([stiffness @ strain for strain in strains])
    amounts = np.linalg.lstsq(equations, stresses, rcond=None)[0]
    np.testing.assert_allclose(np.tensordot(amounts, basis, axes=1), stiffness, atol=1e-9)


def test_mandel_and_tensor_are_inverse_and_keep_the_norm():
    found = np.arange(9.0).reshape(3, 3)
    found = found + found.T
    np.testing.assert_allclose(from_mandel(to_mandel(found)), found)
    assert np.linalg.norm(to_mandel(found)) == pytest.approx(np.linalg.norm(found))


def _cubic(c11, c12, c44):
    stiffness = np.diag([c11 - c12] * 3 + [2 * c44] * 3).astype(float)
    stiffness[:3, :3] += c12
    return stiffness


def test_moduli_of_an_isotropic_solid_are_its_own():
    bulk_gpa, shear_gpa = 100.0, 60.0
    c12 = bulk_gpa - 2 / 3 * shear_gpa
    found = average_moduli(_cubic(c12 + 2 * shear_gpa, c12, shear_gpa))
    assert found[0] == pytest.approx(bulk_gpa)
    assert found[1] == pytest.approx(shear_gpa)
    assert found[2]


def test_moduli_of_diamond_from_its_measured_constants():
    # McSkimin and Andreatch, J. Appl. Phys. 43, 2944, 1972
    bulk_gpa, shear_gpa, stable = average_moduli(_cubic(1079.0, 124.0, 578.0))
    assert bulk_gpa == pytest.approx(442.3, abs=0.1)
    assert shear_gpa == pytest.approx(535.7, abs=1.0)
    assert stable


def test_an_unstable_crystal_has_no_shear_modulus():
    assert average_moduli(_cubic(100.0, 120.0, 50.0))[1:] == (0.0, False)


@pytest.mark.parametrize("phase", ["fcc", "hcp"])
def test_stiffness_is_that_of_strained_and_relaxed_cells(emt, phase):
    atoms = bulk("Cu", "fcc", a=3.6) if phase == "fcc" else bulk("Cu", "hcp", a=2.55, c=4.16)
    relaxed = relax(AseAtomsAdaptor.get_structure(atoms), emt, TIGHT)
    found = compute_elasticity(relaxed, emt)
    strained = np.stack([_brute_force(relaxed.structure, emt, unit) for unit in np.eye(6)])
    scale = np.array([1, 1, 1, *[np.sqrt(2)] * 3])
    direct = strained / np.outer(scale, scale)
    np.testing.assert_allclose(found.stiffness_gpa, direct, atol=0.02 * direct.max())
    assert found.born_stable
    assert found.stable_at_gamma
    assert found.eos_bulk_modulus_gpa == pytest.approx(found.bulk_modulus_gpa, rel=0.03)


def _brute_force(structure, potential, unit, strain=0.005):
    """Stress per strain, the atoms relaxed by an optimiser."""
    ends = []
    for sign in (1, -1):
        atoms = to_ase_atoms(structure)
        deformation = np.eye(3) + sign * strain * from_mandel(unit)
        atoms.set_cell(atoms.cell.array @ deformation.T, scale_atoms=True)
        atoms.calc = load_calculator(potential)
        BFGS(atoms, logfile=None).run(fmax=1e-4)
        ends.append(to_mandel(atoms.get_stress(voigt=False) * EV_A3_TO_GPA))
    return (ends[0] - ends[1]) / (2 * strain)
