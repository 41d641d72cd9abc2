"""Relaxed crystals are at rest, of the symmetry they had, and told when they are none any more."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from matlode.data.symmetry import find_standard_cell
from matlode.errors import GoalError, InputError
from matlode.evidence import potentials
from matlode.evidence.potentials import PotentialInfo, find_potential, load_calculator
from matlode.evidence.relaxation import RelaxationSettings, relax, to_ase_atoms

SETTINGS = RelaxationSettings(max_force_ev_a=0.005)


def copper(edge_a):
    return Structure.from_spacegroup(225, Lattice.cubic(edge_a), ["Cu"], [[0, 0, 0]])


def test_a_stretched_crystal_returns(emt):
    far, near = relax(copper(3.8), emt, SETTINGS), relax(copper(3.6), emt, SETTINGS)
    assert far.converged
    assert near.converged
    assert far.structure.volume == pytest.approx(near.structure.volume, rel=1e-3)
    assert far.volume_change < 0
    assert far.energy_per_atom_ev == pytest.approx(near.energy_per_atom_ev, abs=1e-4)
    assert far.max_force_ev_a <= SETTINGS.max_force_ev_a


def test_the_crystal_is_at_rest(emt):
    atoms = to_ase_atoms(relax(copper(3.8), emt, SETTINGS).structure)
    atoms.calc = load_calculator(emt)
    assert np.abs(atoms.get_forces()).max() < SETTINGS.max_force_ev_a
    assert np.abs(atoms.get_stress()).max() * atoms.get_volume() < SETTINGS.max_force_ev_a


def test_symmetry_is_kept(emt):
    tetragonal = Structure.from_spacegroup(
        123, Lattice.tetragonal(2.6, 3.9), ["Cu", "Au"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    relaxed = relax(tetragonal, emt, SETTINGS)
    assert find_standard_cell(relaxed.structure)[1] in (123, 221)
    assert relaxed.converged


def test_a_limit_of_steps_is_told(emt):
    relaxed = relax(copper(3.9), emt, RelaxationSettings(max_steps=1))
    assert not relaxed.converged
    assert relaxed.steps == 1
    assert not relaxed.fell_apart


def test_atoms_without_neighbours_are_told(emt):
    gas = Structure(Lattice.cubic(12.0), ["Cu"], [[0, 0, 0]])
    relaxed = relax(gas, emt, SETTINGS)
    assert not relaxed.converged
    assert "Cu has no neighbour" in relaxed.fell_apart


def test_unknown_and_missing_potentials_are_told(monkeypatch):
    with pytest.raises(GoalError, match='Did you mean "chgnet"'):
        find_potential("chgnett")
    missing = PotentialInfo("none", "no-such-package", "1", "", corrected=True, load=None)
    monkeypatch.setattr(potentials, "POTENTIALS", {"none": missing})
    with pytest.raises(InputError, match=r"matlode\[relax\]"):
        find_potential("none")
