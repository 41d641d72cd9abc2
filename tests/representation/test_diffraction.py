from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from matlode.data.crystals import Crystals
from matlode.errors import EmptyPatternError, InputError, ScatteringError
from matlode.representation.diffraction import (
    CU_K_ALPHA_ANGSTROM,
    STANDARD_SETTINGS,
    DiffractionSettings,
    simulate_patterns,
    simulate_peaks,
    simulate_possible,
)
from matlode.representation.radiation import find_wavelength
from matlode.representation.reflections import MERGE_TOLERANCE_DEG
from matlode.testing import (
    FAST_ENGINE,
    GRID_STEP_DEG,
    OTHER_ENGINE,
    PRINTED_SPACING_ANGSTROM,
    ROUND_OFF,
    SINGLE_PRECISION,
    SMALL_CRYSTALS,
    body_centred_cubic,
    caesium_chloride,
    diamond,
    face_centred_cubic,
    rock_salt,
    simulate_brute_force,
)
from tests.strategies import cells, crystals, reals, rotations, unimodular_matrices

FCC_SQUARES = (3, 4, 8, 11, 12, 16, 19, 20, 24)
"""h² + k² + l² of the reflections that a face-centred lattice of 5.64 Å has on the grid."""
TURNED = Rotation.from_euler("zxz", [0.3, 0.7, 1.1]).as_matrix()
"""An orientation in which equal lengths differ by round-off."""
MERGE_SHIFT = MERGE_TOLERANCE_DEG / STANDARD_SETTINGS.peak_sigma_deg
"""Change of a profile where a peak stands at another of the reflections merged into it."""
GAUSSIAN_TABLE = 1e-6
"""What a table of Gaussians and their cut-off may be off, with room for several of them."""


def pattern(structure: Structure) -> np.ndarray:
    return simulate_patterns([structure], dtype=float, n_threads=1)[0]


def sticks(structure: Structure, how: DiffractionSettings = STANDARD_SETTINGS):
    found = simulate_peaks(structure, how)
    return found.two_theta_deg, found.intensity


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
    # reflections that the supercell adds have no intensity, but may lend a peak their angle
    assert_allclose(pattern(structure * repeats), pattern(structure), atol=MERGE_SHIFT)


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
    # peaks outside the grid reach into it
    wide = DiffractionSettings(two_theta_min_deg=9.1, two_theta_max_deg=90.9)
    angles, heights = sticks(structure, wide)
    assume(10 <= angles[heights.argmax()] <= 90)
    assert_allclose(profile(angles, heights), pattern(structure), atol=GAUSSIAN_TABLE)


@given(cells(), reals(1, 1.25))
def test_scaling_the_lattice_moves_peaks_as_bragg_says(cell, scale):
    # one heavy atom, so that no reflection vanishes; a range that holds what moves onto the grid
    small, large = (Structure(Lattice(k * cell), ["W"], [[0, 0, 0]]) for k in (1, scale))
    angles, _ = sticks(small, DiffractionSettings(two_theta_max_deg=140.0))
    spacings = CU_K_ALPHA_ANGSTROM / (2 * np.sin(np.radians(angles / 2)))
    moved = two_theta(CU_K_ALPHA_ANGSTROM, scale * spacings)
    # moved closer together, two peaks may become one; on the grid's ends, a last digit decides
    assume((np.diff(moved) > 2 * MERGE_TOLERANCE_DEG).all())
    assume((abs(moved[:, None] - [10, 90]) > MERGE_TOLERANCE_DEG).all())
    on_grid = moved[(moved >= 10) & (moved <= 90)]
    assert_allclose(sticks(large)[0], on_grid, atol=MERGE_TOLERANCE_DEG)


@settings(max_examples=8)  # each wavelength needs a table of scattering factors
@given(cells(), reals(0.8, 1.25))
def test_wavelength_and_lattice_scale_together(cell, scale):
    crystal, larger = (Structure(Lattice(k * cell), ["W"], [[0, 0, 0]]) for k in (1, scale))
    scaled = DiffractionSettings(wavelength_angstrom=scale * CU_K_ALPHA_ANGSTROM)
    assert_allclose(sticks(larger, scaled)[0], sticks(crystal)[0], atol=MERGE_TOLERANCE_DEG)


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


@pytest.mark.parametrize("squares", FCC_SQUARES)
def test_equivalent_reflections_across_a_bin_edge_stay_one_peak(squares):
    # they differ by round-off alone; adding them up by rounded angle would split the peak
    span = np.array(list(itertools.product(range(-4, 5), repeat=3)))
    equivalents = span[(span**2).sum(axis=1) == squares]
    near_deg = two_theta(CU_K_ALPHA_ANGSTROM, 5.64 / np.sqrt(squares))
    split_by_bins = 0
    for step in range(20):
        edge_deg = (np.floor(near_deg / MERGE_TOLERANCE_DEG) + step + 0.5) * MERGE_TOLERANCE_DEG
        a = CU_K_ALPHA_ANGSTROM * np.sqrt(squares) / (2 * np.sin(np.radians(edge_deg / 2)))
        upright = face_centred_cubic("Cu", a_angstrom=a)
        turned = Structure(
            Lattice(upright.lattice.matrix @ TURNED), upright.species, upright.frac_coords
        )
        angles, heights = sticks(turned)
        assert_allclose(angles, two_theta(CU_K_ALPHA_ANGSTROM, a / np.sqrt(FCC_SQUARES)))
        assert_allclose(heights, sticks(upright)[1])
        lengths = np.linalg.norm(equivalents @ np.linalg.inv(turned.lattice.matrix).T, axis=1)
        bins = np.round(two_theta(CU_K_ALPHA_ANGSTROM, 1 / lengths) / MERGE_TOLERANCE_DEG)
        split_by_bins += len(np.unique(bins)) > 1
    assert split_by_bins > 0


def test_profiles_agree_with_pymatgen(starter):
    """XRDCalculator's sticks as Gaussians, on small cells first and some larger ones."""
    by_size = np.argsort(starter.crystals.n_atoms, kind="stable")
    chosen = np.concatenate([by_size[:480], by_size[480::20]])
    some = starter.crystals.take(chosen)
    assert len(some) >= 500
    ours = simulate_patterns(some, dtype=float, n_threads=1)
    calculator = XRDCalculator(wavelength="CuKa")
    for index, curve in enumerate(ours):
        theirs = calculator.get_pattern(some.structure(index), two_theta_range=(8.5, 91.5))
        assert_allclose(
            curve,
            profile(theirs.x, theirs.y),
            atol=OTHER_ENGINE,
            err_msg=starter.frame["id"].iloc[chosen[index]],
        )


@pytest.mark.parametrize(
    "species",
    [
        [{"Cu": 0.5, "Au": 0.5}, "O"],
        [{"Na": 0.3}, {"Cl": 0.7, "Br": 0.2}],
        ["W", {"H": 0.9}],
    ],
)
def test_partial_occupancies_agree_with_pymatgen(species):
    lattice = Lattice.from_parameters(3.9, 4.4, 5.2, 81, 95, 103)
    structure = Structure(lattice, species, [[0, 0, 0], [0.42, 0.53, 0.61]])
    theirs = XRDCalculator(wavelength="CuKa").get_pattern(structure, two_theta_range=(8.5, 91.5))
    assert_allclose(pattern(structure), profile(theirs.x, theirs.y), atol=OTHER_ENGINE)


@pytest.mark.parametrize(
    ("structure", "allowed"),
    [
        (rock_salt(), [3, 4, 8, 11, 12, 16, 19, 20, 24]),  # h, k, l all odd or all even
        (diamond(), [3, 8, 11, 16, 19, 24]),  # and not h + k + l = 4n + 2
        (caesium_chloride(), [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]),
        (body_centred_cubic("Fe", a_angstrom=4.123), [2, 4, 6, 8, 10, 12, 14]),  # even sum
    ],
    ids=["NaCl", "Si", "CsCl", "body-centred"],
)
def test_reflections_are_those_that_the_lattice_allows(structure, allowed):
    """Extinction rules: International Tables for Crystallography A; angles: Bragg's law."""
    angles, heights = sticks(structure)
    spacings = structure.lattice.a / np.sqrt(allowed)
    assert_allclose(angles, two_theta(CU_K_ALPHA_ANGSTROM, spacings), atol=ROUND_OFF * 90)
    assert heights.max() == 1


@pytest.mark.parametrize(
    ("structure", "spacings_angstrom", "by_strength"),
    [
        # halite, PDF 5-0628 (Swanson and Fuyat 1953)
        (
            rock_salt(a_angstrom=5.6402),
            [3.258, 2.821, 1.994, 1.701, 1.628, 1.410, 1.294, 1.261, 1.1515],
            [2.821, 1.994],
        ),
        # silicon, PDF 27-1402 (NIST SRM 640)
        (
            diamond("Si"),
            [3.1355, 1.9201, 1.6375, 1.3577, 1.2459, 1.1086],
            [3.1355, 1.9201],
        ),
    ],
    ids=["NaCl", "Si"],
)
def test_powder_diffraction_files(structure, spacings_angstrom, by_strength):
    angles, heights = sticks(structure)
    found = CU_K_ALPHA_ANGSTROM / (2 * np.sin(np.radians(angles / 2)))
    assert_allclose(found, spacings_angstrom, atol=PRINTED_SPACING_ANGSTROM)
    assert_allclose(found[np.argsort(-heights)][:2], by_strength, atol=PRINTED_SPACING_ANGSTROM)


def test_the_grid_is_the_papers():
    grid = STANDARD_SETTINGS.two_theta_deg
    assert (grid[0], grid[-1], len(grid)) == (10, 90, 1601)
    assert_allclose(np.diff(grid), GRID_STEP_DEG)
    assert STANDARD_SETTINGS.step == pytest.approx(GRID_STEP_DEG)
    assert DiffractionSettings(**STANDARD_SETTINGS.as_dict()) == STANDARD_SETTINGS


def test_other_grids_show_the_same_pattern_in_part():
    narrow = DiffractionSettings(two_theta_min_deg=20.0, two_theta_max_deg=60.0, n_points=801)
    (part,) = simulate_patterns([rock_salt()], narrow, dtype=float)
    (whole,) = simulate_patterns([rock_salt()], dtype=float)
    assert_allclose(part, whole[200:1001], atol=GAUSSIAN_TABLE)


def test_a_crystal_without_a_reflection_is_named():
    tiny = Structure(Lattice.cubic(1.0), ["C"], [[0, 0, 0]])
    with pytest.raises(EmptyPatternError) as caught:
        simulate_patterns([rock_salt(), tiny, diamond(), tiny])
    assert caught.value.indices == (1, 3)
    assert str(caught.value) == (
        "2 of 4 crystals (first: index 1) have no reflection between 10° and 90° at "
        "λ = 1.54184 Å; drop them or widen the range."
    )
    with pytest.raises(EmptyPatternError, match="no reflection on the grid"):
        sticks(tiny)


def test_what_is_possible_is_simulated_and_the_rest_is_named():
    tiny = Structure(Lattice.cubic(1.0), ["C"], [[0, 0, 0]])
    some = Crystals.from_structures([rock_salt("FmO"), rock_salt(), tiny, diamond()])
    rows, patterns, refused = simulate_possible(some)
    assert rows.tolist() == [1, 3]
    assert_array_equal(patterns, simulate_patterns(some.take(rows)))
    assert {row: type(error) for row, error in refused.items()} == {
        0: ScatteringError,
        2: EmptyPatternError,
    }
    rows, patterns, refused = simulate_possible(some.take([0, 2]))
    assert (len(rows), patterns.shape, sorted(refused)) == (0, (0, 1601), [0, 1])


@pytest.mark.parametrize("symbol", ["Fm", "No"])
def test_an_element_without_a_scattering_factor_is_named(symbol):
    unknown = rock_salt(f"{symbol}O")
    name = {"Fm": "Fm", "No": "Z = 102"}[symbol]
    with pytest.raises(ScatteringError) as caught:
        simulate_patterns([rock_salt(), unknown, unknown])
    assert caught.value.indices == (1, 2)
    assert str(caught.value) == (
        f"{name} has no tabulated X-ray scattering factor (crystal 1); leave such crystals out."
    )


def test_profiles_are_those_of_brute_force(starter):
    """Every reciprocal-lattice point, exact exponentials, no symmetry; all crystal systems."""
    some = starter.crystals.take(np.arange(0, len(starter), 29))
    ours = simulate_patterns(some, dtype=float)
    for curve, structure in zip(ours, some.structures(), strict=True):
        assert_allclose(curve, simulate_brute_force(structure), atol=10 * FAST_ENGINE)


@given(crystals(max_atoms=3))
def test_symmetric_crystals_too_are_brute_forces(structure):
    for crystal in (structure, structure * (1, 1, 2)):
        assert_allclose(pattern(crystal), simulate_brute_force(crystal), atol=10 * FAST_ENGINE)


@pytest.mark.parametrize("name", SMALL_CRYSTALS)
@pytest.mark.parametrize("shake_angstrom", [1e-6, 1e-5, 3e-5, 1e-4, 1e-3])
def test_nearly_symmetric_crystals_are_brute_forces(name, shake_angstrom):
    # inside, at and beyond the tolerance of symmetry
    rng = np.random.default_rng(0)
    crystal = SMALL_CRYSTALS[name]()
    shifts = rng.normal(0, shake_angstrom, (len(crystal), 3))
    moved = Structure(
        crystal.lattice, crystal.species, crystal.cart_coords + shifts, coords_are_cartesian=True
    )
    assert_allclose(pattern(moved), simulate_brute_force(moved), atol=10 * FAST_ENGINE)


@pytest.mark.parametrize("strain", [1e-8, 1e-7, 3e-7, 1e-6])
def test_a_cell_rounded_to_single_precision_keeps_its_pattern(strain):
    crystal = rock_salt()
    rng = np.random.default_rng(1)
    cell = crystal.lattice.matrix @ (np.eye(3) + rng.normal(0, strain, (3, 3)))
    rounded = Structure(Lattice(cell), crystal.species, crystal.frac_coords)
    assert_allclose(pattern(rounded), simulate_brute_force(rounded), atol=100 * FAST_ENGINE)


@pytest.mark.parametrize("side", ["low", "high"])
@pytest.mark.parametrize("shape", ["gaussian", "pseudo_voigt"])
def test_peaks_just_outside_the_window_reach_into_it(shape, side):
    """Bragg's law and the formulas of the profiles, for a window that ends beside a peak."""
    crystal = rock_salt()
    wide = DiffractionSettings(two_theta_min_deg=3, two_theta_max_deg=130)
    angles, areas = sticks(crystal, wide)
    edge = angles[4] + (0.07 if side == "low" else -0.07)
    ends = (edge, edge + 30) if side == "low" else (edge - 30, edge)
    how = DiffractionSettings(
        two_theta_min_deg=ends[0], two_theta_max_deg=ends[1], n_points=601, shape=shape
    )
    x = (how.two_theta_deg - angles[:, None]) / how.peak_sigma_deg
    half2 = 2 * np.log(2)
    voigt = 0.5 * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) + 0.5 * np.sqrt(half2) / np.pi / (
        half2 + x**2
    )
    drawn = areas @ (np.exp(-(x**2) / 2) if shape == "gaussian" else voigt)
    ours = simulate_patterns([crystal], how, dtype=float)[0]
    outermost = 0 if side == "low" else -1
    assert drawn[outermost] > 0.05 * drawn.max()
    far_lorentzians = 0 if shape == "gaussian" else 0.01
    assert_allclose(ours, drawn / drawn.max(), atol=MERGE_SHIFT + far_lorentzians)


def test_a_peak_outside_the_window_is_no_pattern():
    first = sticks(rock_salt())[0][0]
    how = DiffractionSettings(two_theta_min_deg=first - 5, two_theta_max_deg=first - 0.1)
    with pytest.raises(EmptyPatternError):
        simulate_patterns([rock_salt()], how)


def test_families_of_planes_are_those_of_the_books():
    """Multiplicities of the cubic and hexagonal Laue groups (Cullity 1978, appendix 9)."""
    cubic = simulate_peaks(rock_salt())
    families = [f for peak in cubic.reflections for f in peak]
    found = {tuple(sorted(map(abs, f.hkl), reverse=True)): f.multiplicity for f in families}
    assert found == {
        (1, 1, 1): 8, (2, 0, 0): 6, (2, 2, 0): 12, (3, 1, 1): 24, (2, 2, 2): 8, (4, 0, 0): 6,
        (3, 3, 1): 24, (4, 2, 0): 24, (4, 2, 2): 24,
    }  # fmt: skip
    hexagonal = simulate_peaks(
        Structure(
            Lattice.hexagonal(3.2094, 5.2108),
            ["Mg", "Mg"],
            [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
        )
    )
    first = [(abs(p[0].hkl[2]), p[0].multiplicity) for p in hexagonal.reflections[:5]]
    assert first == [(0, 6), (2, 2), (1, 12), (2, 12), (0, 6)]  # 100, 002, 101, 102, 110


@given(crystals(max_atoms=4))
def test_multiplicities_count_every_reflection_once(structure):
    how = DiffractionSettings(two_theta_min_deg=20, two_theta_max_deg=60)
    found = simulate_peaks(structure, how)
    reciprocal = np.linalg.inv(structure.lattice.matrix).T
    span = np.array(list(itertools.product(range(-8, 9), repeat=3)))
    d = 1 / np.linalg.norm(span[span.any(axis=1)] @ reciprocal, axis=1)
    for peak, families in zip(found.d_angstrom, found.reflections, strict=True):
        # a family whose structure factor vanishes is not listed
        assert sum(f.multiplicity for f in families) <= (abs(d / peak - 1) < 1e-6).sum()
        for family in families:
            own = 1 / np.linalg.norm(np.array(family.hkl) @ reciprocal)
            assert own == pytest.approx(peak, rel=1e-5)


@pytest.mark.parametrize("axis", ["d", "q", "log_q"])
def test_other_axes_show_the_same_intensities(axis):
    how = DiffractionSettings(axis=axis, n_points=6001)
    (curve,) = simulate_patterns([rock_salt()], how, dtype=float)
    assert (np.diff(how.grid) > 0).all()
    order = np.argsort(how.two_theta_deg)
    angles = STANDARD_SETTINGS.two_theta_deg[5:-5]
    moved = np.interp(angles, how.two_theta_deg[order], curve[order])
    # a peak's width on the axis is that at its centre, so its flanks differ a little
    assert moved @ pattern(rock_salt())[5:-5] / np.linalg.norm(moved) == pytest.approx(
        np.linalg.norm(pattern(rock_salt())), rel=2e-3
    )


def test_one_width_on_ln_q_makes_a_larger_cell_a_shift():
    how = DiffractionSettings(
        axis="log_q", axis_sigma=0.004, two_theta_min_deg=5, two_theta_max_deg=170, n_points=4001
    )
    small, large = (sticks(rock_salt(a_angstrom=a), how)[0] for a in (5.0, 5.5))
    q = [np.log(np.sin(np.radians(angles / 2))) for angles in (small, large)]
    n = len(q[0])
    assert_allclose(q[0] - q[1][:n], np.log(1.1), atol=ROUND_OFF * 1e3)


@pytest.mark.parametrize("shape", ["gaussian", "lorentzian", "pseudo_voigt"])
def test_peak_shapes_have_the_width_that_was_asked_for(shape):
    how = DiffractionSettings(
        shape=shape, n_points=16001, two_theta_min_deg=25, two_theta_max_deg=30,
        peak_sigma_deg=0.02,
    )  # fmt: skip
    (curve,) = simulate_patterns([rock_salt()], how, dtype=float)
    above = how.grid[curve >= 0.5]
    assert above[-1] - above[0] == pytest.approx(2.3548 * how.peak_sigma_deg, abs=2 * how.step)


def test_lorentzians_are_as_their_formula_says():
    how = DiffractionSettings(shape="lorentzian")
    angles, heights = sticks(
        rock_salt(), DiffractionSettings(two_theta_min_deg=2.5, two_theta_max_deg=97.5)
    )
    gamma = how.peak_sigma_deg * np.sqrt(2 * np.log(2))
    summed = heights @ (1 / (1 + ((how.grid - angles[:, None]) / gamma) ** 2))
    assert_allclose(
        simulate_patterns([rock_salt()], how, dtype=float)[0], summed / summed.max(), atol=1e-4
    )


def test_caglioti_widths_keep_the_areas():
    u, v, w = 0.02, -0.01, 0.03
    how = DiffractionSettings(caglioti=(u, v, w), n_points=8001)
    (curve,) = simulate_patterns([rock_salt()], how, dtype=float)
    angles, heights = sticks(rock_salt())
    tangent = np.tan(np.radians(angles / 2))
    sigma = np.sqrt(u * tangent**2 + v * tangent + w) / 2.35482
    gaussians = np.exp(-0.5 * ((how.grid - angles[:, None]) / sigma[:, None]) ** 2)
    summed = (heights / sigma) @ gaussians
    assert_allclose(curve, summed / summed.max(), atol=1e-4)
    with pytest.raises(InputError, match="gives no valid width at 2θ"):
        simulate_patterns([rock_salt()], DiffractionSettings(caglioti=(0.0, -1.0, 0.1)))


def test_displacement_factors_agree_with_pymatgen():
    factors = {"Na": 1.7, "Cl": 0.9}
    how = DiffractionSettings(debye_waller_factors=factors)
    calculator = XRDCalculator(wavelength="CuKa", debye_waller_factors=factors)
    theirs = calculator.get_pattern(rock_salt(), two_theta_range=(8.5, 91.5))
    (ours,) = simulate_patterns([rock_salt()], how, dtype=float)
    assert_allclose(ours, profile(theirs.x, theirs.y), atol=OTHER_ENGINE)
    with pytest.raises(InputError, match="unknown element Xx"):
        simulate_patterns([rock_salt()], DiffractionSettings(debye_waller_factors={"Xx": 1.0}))


@pytest.mark.parametrize("name", ["CuKa1", "MoKa", "CoKa", "CrKa", "FeKa", "AgKa2"])
def test_radiation_by_name_agrees_with_pymatgen(name):
    how = DiffractionSettings(wavelength_angstrom=find_wavelength(name))
    theirs = XRDCalculator(wavelength=name).get_pattern(rock_salt(), two_theta_range=(8.5, 91.5))
    (ours,) = simulate_patterns([rock_salt()], how, dtype=float)
    assert_allclose(ours, profile(theirs.x, theirs.y), atol=OTHER_ENGINE)


def test_settings_that_cannot_be_say_so():
    with pytest.raises(InputError, match=r"expected a range within 0\.\.180°"):
        DiffractionSettings(two_theta_min_deg=90, two_theta_max_deg=20)
    with pytest.raises(InputError, match="unknown peak shape"):
        simulate_patterns([rock_salt()], DiffractionSettings(shape="square"))
    with pytest.raises(InputError, match='Did you mean "CuKa1"'):
        find_wavelength("CuKalpha1")


@pytest.mark.parametrize(
    "wrong", [{"n_points": 1}, {"peak_sigma_deg": 0.0}, {"axis": "log_q", "axis_sigma": -0.1}]
)
def test_settings_that_draw_nothing_are_refused(wrong):
    with pytest.raises(InputError):
        DiffractionSettings(**wrong)
