from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from pymatgen.core import DummySpecies, Lattice, Molecule, Species, Structure

from matlode.data.structures import convert_structure, is_structure_dict, read_structure
from matlode.errors import InputError
from matlode.testing import perovskite, rock_salt

DISORDERED = """data_alloy
_cell_length_a 3.8
_cell_length_b 3.8
_cell_length_c 3.8
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_occupancy
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cu1 Cu 0.25 0 0 0
Au1 Au 0.75 0 0 0
"""
NAMELESS = "NaCl\n1.0\n5 0 0\n0 5 0\n0 0 5\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"


def ionic(cation: str) -> Structure:
    return Structure(
        Lattice.cubic(4.0), [Species(cation, 1), Species("Cl", -1)], [[0] * 3, [0.5] * 3]
    )


@pytest.mark.parametrize("build", [rock_salt, perovskite])
def test_every_form_holds_the_same_crystal(build):
    crystal = build()
    atoms = Atoms(
        crystal.atomic_numbers, crystal.cart_coords, cell=crystal.lattice.matrix, pbc=True
    )
    jarvis = {
        "lattice_mat": crystal.lattice.matrix.tolist(),
        "coords": crystal.frac_coords.tolist(),
        "elements": [site.specie.symbol for site in crystal],
        "cartesian": False,
        "props": [""] * len(crystal),
    }
    cartesian = {**jarvis, "coords": crystal.cart_coords.tolist(), "cartesian": True}
    forms = [
        crystal,
        crystal.as_dict(),
        json.dumps(crystal.as_dict()),
        crystal.to(fmt="cif"),
        crystal.to(fmt="poscar"),
        crystal.to(fmt="poscar").encode(),
        atoms,
        atoms.todict(),
        jarvis,
        cartesian,
        json.dumps(jarvis),
    ]
    for form in forms:
        read = convert_structure(form)
        assert read.composition == crystal.composition
        assert np.allclose(read.distance_matrix, crystal.distance_matrix, atol=1e-5)


def test_dictionaries_of_crystals_are_told_from_rows():
    assert is_structure_dict(rock_salt().as_dict())
    assert not is_structure_dict({"id": "a", "lattice": 4.0})
    assert not is_structure_dict([1])


def test_charges_go_and_heavy_hydrogen_is_hydrogen():
    read = convert_structure(ionic("D").as_dict())
    assert [site.specie.Z for site in read] == [1, 17]
    assert all(not hasattr(site.specie, "oxi_state") or site.specie.oxi_state == 0 for site in read)


def test_mixed_sites_keep_their_occupancies():
    (site,) = convert_structure(DISORDERED)
    assert site.species.as_dict() == {"Cu": 0.25, "Au": 0.75}


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (NAMELESS, "POSCAR names no elements"),
        ("nonsense", "not readable as a crystal structure"),
        ("{", "not readable as a crystal structure"),
        ("{}", "a dict of no known form"),
        (3.5, "a float of no known form"),
        (Atoms("CO", positions=[[0, 0, 0], [0, 0, 1]]), "has no cell"),
        (Atoms("X", cell=[3, 3, 3], pbc=True), "holds a species that is no element"),
        (Atoms("C", cell=[3, 3, 9], pbc=[True, True, False]), "not periodic in three directions"),
        (Atoms("C", cell=[3, 3, 9]), "not periodic in three directions"),
        (Molecule("C", [[0, 0, 0]]).as_dict(), "of no known form"),
        (
            Structure(Lattice.cubic(3), [DummySpecies("Xq")], [[0, 0, 0]]).as_dict(),
            "holds a species that is no element",
        ),
    ],
)
def test_what_is_no_crystal_has_a_reason(form, reason):
    with pytest.raises(InputError, match=reason):
        convert_structure(form)


def test_a_file_is_read_by_its_name(tmp_path):
    for name, form in [("a.cif", "cif"), ("POSCAR_b", "poscar"), ("c.vasp", "poscar")]:
        (tmp_path / name).write_text(rock_salt().to(fmt=form))
        assert read_structure(tmp_path / name).composition == rock_salt().composition
    (tmp_path / "d.json").write_text(json.dumps(rock_salt().as_dict()))
    assert len(read_structure(tmp_path / "d.json")) == 8


def test_cells_are_read_as_they_stand(tmp_path):
    (tmp_path / "a.cif").write_text(rock_salt().to(fmt="cif"))
    assert len(read_structure(tmp_path / "a.cif")) == 8


def test_a_poscar_that_promises_more_atoms_than_lines_is_told():
    text = "x\n1\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 99999999\nDirect\n0 0 0\n"
    with pytest.raises(InputError, match="promises 1e\\+08 atoms, but has 1"):
        convert_structure(text)
