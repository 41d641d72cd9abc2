from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure

from matlode.data.crystals import Crystals
from matlode.errors import EmptyPatternError, ScatteringError
from matlode.representation.diffraction import (
    CU_K_ALPHA_ANGSTROM,
    STANDARD_SETTINGS,
    DiffractionSettings,
    simulate_patterns,
    simulate_peaks,
)
from matlode.representation.reflections import MERGE_TOLERANCE_DEG
from matlode.testing import (
    GRID_STEP_DEG,
    OTHER_ENGINE,
    PRINTED_ANGLE_DEG,
    ROUND_OFF,
    SINGLE_PRECISION,
    SMALL_CRYSTALS,
    caesium_chloride,
    diamond,
    face_centred_cubic,
    rock_salt,
)
from tests.strategies import cells, crystals, reals, rotations, unimodular_matrices

CU_K_ALPHA_1_ANGSTROM = 1.540598
"""Hölzer et al., Phys. Rev. A 56, 4554 (1997); powder diffraction files hold Kα1 angles."""
GAUSSIAN_TAIL = 1e-7
"""Height of a Gaussian where the engine cuts it off, with room for several of them."""


def pattern(structure: Structure) -> np.ndarray:
    return simulate_patterns([structure], dtype=float, n_threads=1)[0]


def two_theta(wavelength: float, spacing: np.ndarray | float) -> np.ndarray:
    """Bragg's law, degrees."""
    return 2 * np.degrees(np.arcsin(wavelength / (2 * np.asarray(spacing))))


def profile(angles: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Gaussians on the standard grid, the strongest point 1."""
    grid = STANDARD_SETTINGS.two_theta_deg
    offsets = (grid - np.asarray(angles)[:, None]) / STANDARD_SETTINGS.peak_sigma_deg
    summed = np.asarray(heights) @ np.exp(-0.5 * offsets**2)
    return summed / summed.max()


@given(crystals())
def test_strongest_point_is_one_and_none_is_negative(structure):
    curve = pattern(structure)
    assert curve.shape == (1601,)
    assert curve.max() == 1
    assert curve.min() >= 0


@given(crystals(max_atoms=4), st.permutations([1, 2, 3]))
def test_pattern_does_not_depend_on_the_supercell(structure, repeats):
    assert_allclose(pattern(structure * repeats), pattern(structure), atol=ROUND_OFF)


@given(crystals(), st.tuples(reals(-2, 2), reals(-2, 2), reals(-2, 2)))
def test_pattern_does_not_depend_on_the_origin(structure, shift):
    moved = Structure(structure.lattice, structure.species, structure.frac_coords + shift)
    assert_allclose(pattern(moved), pattern(structure), atol=ROUND_OFF)


@given(crystals())
def test_pattern_does_not_depend_on_inversion(structure):
    # Friedel's law: scattering factors are real here
    mirrored = Structure(structure.lattice, structure.species, -structure.frac_coords)
    assert_allclose(pattern(mirrored), pattern(structure), atol=ROUND_OFF)


@given(crystals(), st.randoms(use_true_random=False))
def test_pattern_does_not_depend_on_the_order_of_sites(structure, random):
    sites = list(structure)
    random.shuffle(sites)
    assert_allclose(pattern(Structure.from_sites(sites)), pattern(structure), atol=ROUND_OFF)


@given(crystals(), rotations())
def test_pattern_does_not_depend_on_the_orientation(structure, rotation):
    lattice = structure.lattice.matrix @ rotation.T
    turned = Structure(lattice, structure.species, structure.frac_coords)
    assert_allclose(pattern(turned), pattern(structure), atol=ROUND_OFF)


@given(crystals(max_atoms=3), unimodular_matrices())
def test_pattern_does_not_depend_on_the_choice_of_cell(structure, change):
    lattice = change @ structure.lattice.matrix
    sites = structure.frac_coords @ np.linalg.inv(change)
    other = Structure(lattice, structure.species, sites)
    assert_allclose(pattern(other), pattern(structure), atol=ROUND_OFF)


@given(crystals(max_atoms=3), st.integers(0, 2), reals(0.1, 0.9))
def test_pattern_does_not_depend_on_how_a_site_is_split(structure, site, part):
    site %= len(structure)
    parts = [dict.fromkeys([s.specie], 1.0) for s in structure]
    split = [*parts, {structure[site].specie: 1 - part}]
    split[site] = {structure[site].specie: part}
    places = [*structure.frac_coords, structure[site].frac_coords]
    halves = Structure(structure.lattice, split, places)
    assert_allclose(pattern(halves), pattern(structure), atol=ROUND_OFF)


@given(st.lists(crystals(max_atoms=3), min_size=1, max_size=5))
def test_a_batch_is_its_crystals_one_by_one(structures):
    batch = simulate_patterns(structures, dtype=float)
    assert_array_equal(batch, [pattern(structure) for structure in structures])


@given(crystals())
def test_single_precision_is_double_precision_rounded(structure):
    single = simulate_patterns([structure])
    assert single.dtype == np.float32
    assert_allclose(single[0], pattern(structure), atol=SINGLE_PRECISION)


@given(crystals(max_atoms=3))
def test_pattern_is_its_peaks_as_gaussians(structure):
    assert_allclose(
        profile(*simulate_peaks(structure)), pattern(structure), atol=GAUSSIAN_TAIL
    )


@given(cells(), reals(0.8, 1.25))
def test_scaling_the_lattice_moves_peaks_as_bragg_says(cell, scale):
    # one heavy atom: no reflection vanishes
    peaks = [simulate_peaks(Structure(Lattice(k * cell), ["W"], [[0, 0, 0]])) for k in (1, scale)]
    near, far = (np.sin(np.radians(angles / 2)) for angles, _ in peaks)
    low, high = np.sin(np.radians([5, 45]))
    edge = np.radians(MERGE_TOLERANCE_DEG)
    seen = near[(near > scale * low + edge) & (near < scale * high - edge) & (near < high - edge)]
    moved = far[(far > low / scale + edge) & (far < high / scale - edge) & (far > low + edge)]
    assert_allclose(
        scale * moved[(moved * scale > low + edge)],
        seen[seen / scale > low + edge],
        atol=edge,
    )


@given(cells(), reals(0.8, 1.25))
def test_wavelength_and_lattice_scale_together(cell, scale):
    crystal, larger = (Structure(Lattice(k * cell), ["W"], [[0, 0, 0]]) for k in (1, scale))
    settings = DiffractionSettings(wavelength_angstrom=scale * CU_K_ALPHA_ANGSTROM)
    assert_allclose(
        simulate_peaks(larger, settings)[0], simulate_peaks(crystal)[0], atol=MERGE_TOLERANCE_DEG
    )


@pytest.mark.parametrize("n_threads", [2, 3, None])
def test_threads_change_nothing(starter, n_threads):
    some = starter.crystals.take(np.arange(0, 300))
    assert_array_equal(
        simulate_patterns(some, n_threads=n_threads), simulate_patterns(some, n_threads=1)
    )


def test_structures_tables_frames_and_packed_crystals_give_the_same():
    structures = [build() for build in SMALL_CRYSTALS.values()]
    packed = Crystals.from_structures(structures)
    rows = [packed.atoms(index) for index in range(len(packed))]
    table = pa.table(
        {
            "lattice": [cell.ravel() for cell in packed.lattices],
            "numbers": [packed.numbers[row] for row in rows],
            "frac_coords": [packed.frac_coords[row].ravel() for row in rows],
        }
    )
    expected = simulate_patterns(structures)
    for source in (packed, table, table.to_pandas()):
        assert_array_equal(simulate_patterns(source), expected)


def test_inputs_are_left_as_they_were():
    packed = Crystals.from_structures([caesium_chloride("ClCs"), rock_salt()])
    before = [packed.lattices.copy(), packed.numbers.copy(), packed.frac_coords.copy()]
    simulate_patterns(packed)
    for old, new in zip(before, (packed.lattices, packed.numbers, packed.frac_coords), strict=True):
        assert_array_equal(new, old)


def test_no_crystals_give_no_patterns():
    assert simulate_patterns([]).shape == (0, 1601)


@pytest.mark.parametrize("squares", [3, 4, 8, 11, 12, 16, 19, 20])
def test_equivalent_reflections_across_a_bin_edge_stay_one_peak(squares):
    """Merging by rounding 2θ to a bin splits reflections that differ by round-off alone."""
    n_split_by_bins = 0
    for k in range(40):
        edge_deg = (np.floor(STRONG_FCC_ANGLES[squares] / MERGE_TOLERANCE_DEG) + k + 0.5) * (
            MERGE_TOLERANCE_DEG
        )
        a = CU_K_ALPHA_ANGSTROM * np.sqrt(squares) / (2 * np.sin(np.radians(edge_deg / 2)))
        turned = Structure(a * TURNED, ["Cu"] * 4, FCC)
        angles, _ = simulate_peaks(turned)
        assert len(angles) == len(STRONG_FCC_ANGLES)
        n_split_by_bins += len(set(np.round(_equivalents(turned, squares) / MERGE_TOLERANCE_DEG)))
    assert n_split_by_bins > 40
