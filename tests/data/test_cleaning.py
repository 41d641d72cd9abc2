from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from matlode.data.cleaning import (
    MAX_VOLUME_PER_ATOM_A3,
    MIN_VOLUME_PER_ATOM_A3,
    find_problems,
)
from matlode.data.crystals import Crystals
from matlode.testing import SMALL_CRYSTALS, rock_salt
from tests.strategies import crystals


def one_atom(volume_a3: float = 20.0, z: int = 11) -> Crystals:
    cell = np.diag([volume_a3 ** (1 / 3)] * 3)
    return Crystals.from_arrays([cell], [[z]], [[[0.0, 0.0, 0.0]]])


@given(crystals(max_atoms=4))
def test_a_supercell_is_as_usable_as_its_cell(structure):
    once, twice = find_problems(Crystals.from_structures([structure, structure * (1, 2, 2)]))
    assert (once is None) == (twice is None)


def test_real_crystals_have_no_problem(starter):
    known = Crystals.from_structures([build() for build in SMALL_CRYSTALS.values()])
    assert set(find_problems(known)) == {None}
    assert set(find_problems(starter.crystals)) == {None}


def test_each_crystal_is_judged_on_its_own():
    good = Crystals.from_structures([rock_salt()])
    batch = Crystals.concatenate([good, one_atom(volume_a3=1.0), good, one_atom(z=101)])
    reasons = find_problems(batch)
    assert [reason is None for reason in reasons] == [True, False, True, False]
    assert reasons == [find_problems(batch.take([row]))[0] for row in range(4)]


@pytest.mark.parametrize(
    ("volume_a3", "usable"),
    [
        (MIN_VOLUME_PER_ATOM_A3 * 0.999, False),
        (MIN_VOLUME_PER_ATOM_A3 * 1.001, True),
        (MAX_VOLUME_PER_ATOM_A3 * 0.999, True),
        (MAX_VOLUME_PER_ATOM_A3 * 1.001, False),
    ],
)
def test_volume_per_atom_has_limits(volume_a3, usable):
    assert (find_problems(one_atom(volume_a3)) == [None]) == usable


def test_half_occupied_sites_count_half():
    crystal = one_atom(volume_a3=1.5 * MIN_VOLUME_PER_ATOM_A3)
    assert find_problems(crystal) == [None]
    half = replace(one_atom(0.75 * MIN_VOLUME_PER_ATOM_A3), occupancies=np.array([0.5]))
    assert find_problems(half) == [None]


@pytest.mark.parametrize(
    ("crystal", "reason"),
    [
        (Crystals.from_arrays([np.eye(3)], [[]], [[]]), "no atoms"),
        (one_atom(np.nan), "cell has a value that is not finite"),
        (one_atom(np.inf), "cell has a value that is not finite"),
        (
            replace(one_atom(), frac_coords=np.array([[0.0, np.nan, 0.0]])),
            "a coordinate is not finite",
        ),
        (
            replace(one_atom(), frac_coords=np.array([[0.0, 1e308, 0.0]])),
            "a fractional coordinate is 1e+308; beyond 1e+06 no place is left",
        ),
        (one_atom(z=0), "element Z = 0 is outside 1..100"),
        (one_atom(z=101), "element Z = 101 is outside 1..100"),
        (replace(one_atom(), occupancies=np.zeros(1)), "all sites are empty"),
        (
            replace(one_atom(), occupancies=np.array([np.nan])),
            "an occupancy is nan; wanted above 0 and at most 1",
        ),
        (
            replace(one_atom(), occupancies=np.array([-0.5])),
            "an occupancy is -0.5; wanted above 0 and at most 1",
        ),
        (
            replace(one_atom(), lattices=np.array([[[5.0, 0, 0], [1e12, 4, 0], [0, 0, 3]]])),
            "its longest edge has 1e+12 Å, its edges' product is 2.5e+11 times its volume; "
            "wanted at most 1000 Å and 1000",
        ),
        (one_atom(1.0), "1 Å³ per atom; a crystal has 2..500"),
        (one_atom(0.0), "0 Å³ per atom; a crystal has 2..500"),
    ],
)
def test_reason_says_what_is_wrong(crystal, reason):
    assert find_problems(crystal) == [reason]


def test_several_atoms_at_one_place_are_told_and_mixed_sites_are_not():
    cell, places = np.eye(3) * 4, [[0.25, 0, 0], [1.25, 1, -1], [0.5, 0.5, 0.5]]
    crowded = Crystals.from_arrays([cell, cell], [[11, 11, 17], [11, 19, 17]], [places, places])
    parts = np.array([1, 1, 1, 0.75, 0.25, 1])
    assert find_problems(replace(crowded, occupancies=parts)) == [
        "2 atoms stand at one place; a site holds at most one",
        None,
    ]
