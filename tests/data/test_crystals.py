from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Lattice, Structure

from matlode.data.crystals import Crystals, pack_crystals
from matlode.errors import InputError
from matlode.testing import ROUND_OFF, caesium_chloride, diamond, perovskite, rock_salt
from tests.strategies import crystals


def assert_same(one: Crystals, other: Crystals) -> None:
    for name in ("lattices", "numbers", "frac_coords", "occupancies", "offsets"):
        assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


def as_table(packed: Crystals) -> pa.Table:
    rows = [packed.atoms(index) for index in range(len(packed))]
    return pa.table(
        {
            "lattice": [cell.ravel() for cell in packed.lattices],
            "numbers": [packed.numbers[row] for row in rows],
            "frac_coords": [packed.frac_coords[row].ravel() for row in rows],
        }
    )


def as_frame(packed: Crystals) -> pd.DataFrame:
    rows = [packed.atoms(index) for index in range(len(packed))]
    return pd.DataFrame(
        {
            "lattice": [cell.ravel() for cell in packed.lattices],
            "numbers": [packed.numbers[row] for row in rows],
            "frac_coords": [packed.frac_coords[row].ravel() for row in rows],
        }
    )


batches = st.lists(crystals(max_atoms=3), min_size=1, max_size=4)


@given(batches)
def test_structures_come_back_as_they_went_in(structures):
    for before, after in zip(
        structures, Crystals.from_structures(structures).structures(), strict=True
    ):
        assert_array_equal(after.lattice.matrix, before.lattice.matrix)
        assert_array_equal(after.frac_coords, before.frac_coords)
        assert after.atomic_numbers == before.atomic_numbers


@given(batches)
def test_tables_frames_arrays_and_structures_hold_the_same(structures):
    packed = Crystals.from_structures(structures)
    for source in (structures, packed, as_table(packed), as_frame(packed)):
        assert_same(pack_crystals(source), packed)


@given(batches, st.data())
def test_taking_is_indexing(structures, data):
    packed = Crystals.from_structures(structures)
    chosen = data.draw(st.lists(st.integers(0, len(structures) - 1), min_size=1))
    assert_same(packed.take(chosen), Crystals.from_structures([structures[i] for i in chosen]))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(packed), max_size=len(packed))))
    assert_same(packed.take(mask), packed.take(np.flatnonzero(mask)))


@given(batches)
def test_concatenating_the_parts_gives_the_whole(structures):
    packed = Crystals.from_structures(structures)
    parts = [packed.take([index]) for index in range(len(packed))]
    assert_same(Crystals.concatenate(parts), packed)


@given(crystals(max_atoms=3))
def test_supercells_have_more_volume_and_the_same_per_atom(structure):
    packed = Crystals.from_structures([structure, structure * (2, 1, 3)])
    assert_allclose(packed.volumes_a3[1], 6 * packed.volumes_a3[0], rtol=ROUND_OFF)
    assert_allclose(*packed.volumes_per_atom_a3, rtol=ROUND_OFF)


def test_slices_of_a_table_are_read_from_their_own_rows():
    packed = Crystals.from_structures([rock_salt(), diamond(), perovskite()])
    chunked = pa.concat_tables([as_table(packed).slice(1, 1), as_table(packed).slice(2)])
    assert_same(Crystals.from_table(chunked), packed.take([1, 2]))


def test_volume_of_diamond_per_atom_is_the_textbook_one():
    # diamond, a = 3.5668 Å: 5.67 Å³ per atom (Kittel, Introduction to Solid State Physics)
    packed = Crystals.from_structures([diamond("C", a_angstrom=3.5668)])
    assert packed.volumes_per_atom_a3[0] == pytest.approx(5.67, abs=0.005)
    assert packed.n_atoms.tolist() == [8]


def test_a_mixed_site_is_several_atoms_at_one_place():
    alloy = Structure(Lattice.cubic(3.8), [{"Cu": 0.25, "Au": 0.5}], [[0.1, 0.2, 0.3]])
    packed = Crystals.from_structures([caesium_chloride(), alloy])
    assert packed.n_atoms.tolist() == [2, 2]
    rows = packed.atoms(1)
    parts = dict(zip(packed.numbers[rows].tolist(), packed.occupancies[rows], strict=True))
    assert parts == {29: 0.25, 79: 0.5}
    assert packed.volumes_per_atom_a3[1] == pytest.approx(3.8**3 / 0.75)
    assert packed.structure(1) == alloy


def test_no_crystals_are_a_batch_too():
    empty = Crystals.from_structures([])
    assert len(empty) == 0
    assert_same(Crystals.from_arrays([], [], []), empty)
    assert_same(Crystals.from_structures([rock_salt()]).take(np.array([False])), empty)
    assert_same(Crystals.from_structures([rock_salt()]).take([]), empty)


@pytest.mark.parametrize("kind", [as_table, as_frame])
def test_missing_columns_are_named(kind):
    table = kind(Crystals.from_structures([rock_salt()]))
    without = table.drop_columns(["numbers"]) if kind is as_table else table.drop(columns="numbers")
    with pytest.raises(InputError, match=r"no column numbers; .* lattice, numbers, frac_coords"):
        pack_crystals(without)


@pytest.mark.parametrize("kind", [pa.table, pd.DataFrame])
@pytest.mark.parametrize(
    "wrong",
    [
        {"lattice": [[4.0] * 9, [4.0] * 8]},
        {"frac_coords": [[0.0] * 3, [0.0] * 5]},
        {"numbers": [[11], [11, 17, 17]]},
    ],
)
def test_lengths_that_disagree_are_refused_with_the_row(kind, wrong):
    columns = {
        "lattice": [[4.0] * 9] * 2,
        "numbers": [[11], [11, 17]],
        "frac_coords": [[0.0] * 3, [0.0] * 6],
    }
    with pytest.raises(InputError, match="row 1: lattice must hold 9 numbers"):
        pack_crystals(kind({**columns, **wrong}))


def test_columns_hold_what_a_table_needs():
    alloy = Structure(Lattice.cubic(3.8), [{"Cu": 0.25, "Au": 0.5}], [[0.1, 0.2, 0.3]])
    full = Crystals.from_structures([rock_salt()])
    mixed = Crystals.from_structures([rock_salt(), alloy])
    assert "occupancies" not in full.columns()
    for packed in (full, mixed, Crystals.from_structures([])):
        assert_same(Crystals.from_table(pa.table(packed.columns())), packed)


def test_occupancies_that_do_not_fit_the_atoms_are_refused():
    table = as_table(Crystals.from_structures([rock_salt(), diamond()]))
    wrong = table.append_column("occupancies", [[[1.0] * 8, [1.0] * 7]])
    with pytest.raises(
        InputError, match=r"row 1: .* one number per atom, but it has 7 for 8 atoms"
    ):
        Crystals.from_table(wrong)
