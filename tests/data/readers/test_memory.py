"""Crystals in memory are read like those in files."""

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk

from matlode.data.readers import read_materials
from matlode.errors import InputError
from matlode.testing import rock_salt


@pytest.fixture
def salt():
    return rock_salt("NaCl")


def formulas(source):
    return read_materials(source).frame["formula"].tolist()


def test_one_crystal_or_several(salt):
    assert formulas(salt) == ["ClNa"]
    assert formulas(bulk("Cu")) == ["Cu"]
    assert formulas(salt.as_dict()) == ["ClNa"]
    assert formulas(one for one in (salt, bulk("Cu"))) == ["ClNa", "Cu"]


def test_sources_of_all_kinds_keep_their_order(salt, tmp_path):
    path = tmp_path / "salt.cif"
    salt.to(filename=str(path))
    found = read_materials([bulk("Cu"), path, salt, bulk("Fe")])
    assert found.frame["formula"].tolist() == ["Cu", "ClNa", "ClNa", "Fe"]
    assert found.frame["id"].tolist() == ["structure:0", str(path), "structure:1", "structure:2"]
    assert found.frame["is_file"].tolist() == [False, True, False, False]
    assert formulas(str(path)) == ["ClNa"]  # not its letters


def test_frames_hold_objects_or_texts(salt):
    frame = pd.DataFrame({"id": ["a", "b"], "structure": [salt, bulk("Cu")], "gap": [1.0, 2.0]})
    found = read_materials(frame)
    assert found.frame["id"].tolist() == ["a", "b"]
    assert found.frame["gap"].tolist() == [1.0, 2.0]
    assert formulas(pd.DataFrame({"cif": [salt.to(fmt="cif")]})) == ["ClNa"]


def test_frames_of_matlodes_own_tables(starter):
    part = starter.take(np.arange(3))
    columns = {name: column.to_pylist() for name, column in part.crystals.columns().items()}
    found = read_materials(part.frame.assign(**columns))
    assert found.frame["id"].tolist() == part.frame["id"].tolist()
    np.testing.assert_array_equal(found.crystals.lattices, part.crystals.lattices)


def test_a_crystal_that_cannot_be_used_has_a_reason(salt):
    salt.lattice = salt.lattice.from_parameters(5, 5, 1e-12, 90, 90, 90)
    found = read_materials([salt, bulk("Cu")])
    assert found.frame["formula"].tolist() == ["Cu"]
    assert found.dropped[0].id == "structure:0"


@pytest.mark.parametrize("nothing", [3, None, [3], [None]])
def test_what_is_no_crystal_is_refused(nothing):
    with pytest.raises(InputError, match="nothing to read crystals from"):
        read_materials(nothing)


def test_a_frame_without_crystals_is_refused():
    with pytest.raises(InputError, match="no column contains crystals"):
        read_materials(pd.DataFrame({"formula": ["NaCl"]}))
