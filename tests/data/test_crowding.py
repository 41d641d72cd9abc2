"""Distances of atoms: the search through boxes finds what comparing all pairs finds."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice

from matlode.data.crowding import MIN_DISTANCE_A, find_crowded_atoms
from matlode.data.crystals import Crystals


def pack(lattice: np.ndarray, places: np.ndarray) -> Crystals:
    n = len(places)
    return Crystals(lattice[None], np.full(n, 14), places, np.ones(n), np.array([0, n]))


def shortest_distance(lattice: np.ndarray, places: np.ndarray) -> float:
    """Of all pairs and images, by pymatgen."""
    distances = Lattice(lattice).get_all_distances(places, places)
    np.fill_diagonal(distances, min(Lattice(lattice).abc))
    return float(distances.min())


@given(
    st.integers(0, 10**6),
    st.integers(32, 200),
    st.tuples(*3 * [st.floats(2, 40)]),
    st.tuples(*3 * [st.floats(65, 115)]),
)
def test_boxes_find_what_all_pairs_find(seed, n, lengths, angles):
    rng = np.random.default_rng(seed)
    lattice = Lattice.from_parameters(*lengths, *angles).matrix
    places = rng.uniform(-1, 2, (n, 3))
    shortest = shortest_distance(lattice, places)
    found = find_crowded_atoms(pack(lattice, places))
    assert bool(found) == (shortest < MIN_DISTANCE_A)


def test_time_and_memory_of_a_huge_cell_are_bounded():
    side = 47
    grid = np.stack(np.meshgrid(*3 * [np.arange(side)], indexing="ij"), -1).reshape(-1, 3) / side
    sound = pack(2.5 * side * np.eye(3), grid)
    assert len(grid) > 100_000
    tracemalloc.start()
    assert find_crowded_atoms(sound) == {}  # all pairs would take minutes
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    grid[-1] = grid[0] + 0.3 / (2.5 * side) * np.array([0, 0, -1])  # across the border
    assert "0.3 Å apart" in find_crowded_atoms(pack(2.5 * side * np.eye(3), grid))[0]
