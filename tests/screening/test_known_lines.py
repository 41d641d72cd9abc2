"""A pattern simulated from a known structure is found at rank 1, whatever its scale and cell."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from matlode.benchmarks.measured_like import LADDER, simulate_measured_pattern
from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals, pack_crystals
from matlode.data.formulas import atomic_numbers
from matlode.data.tables import Materials
from matlode.errors import ArtefactError
from matlode.representation.diffraction import DiffractionSettings, simulate_patterns
from matlode.representation.observation import Observation
from matlode.representation.patterns import MeasuredPattern
from matlode.screening.known_lines import N_LINES, KnownLines, keep_distinct
from matlode.testing import diamond, rock_salt, rutile

FINE = DiffractionSettings(n_points=4001, peak_sigma_deg=0.08)
N_KNOWN = 600
GRID_STEP = 2e-3
"""Relative: what lengths are told by on steps of 0.04°, with a price for each change."""


@pytest.fixture(scope="module")
def materials(starter):
    return starter.take(np.arange(0, len(starter), len(starter) // N_KNOWN))


@pytest.fixture(scope="module")
def known(materials):
    return KnownLines.build(materials)


def clean(crystals, row, *, scale=1.0, counts=1000.0):
    one = crystals.take([row])
    (curve,) = simulate_patterns(replace(one, lattices=one.lattices * scale), FINE)
    return Observation.of(
        MeasuredPattern(
            two_theta_deg=FINE.grid,
            intensity=counts * curve + counts / 100,
            sigma=None,
            wavelength_angstrom=FINE.wavelength_angstrom,
            source="made",
        )
    )


def phase(known, row):
    return known.formulas[row], known.space_groups[row]


def elements(*symbols):
    mask = np.zeros(MAX_ATOMIC_NUMBER, bool)
    mask[[atomic_numbers()[s] - 1 for s in symbols]] = True
    return mask


@pytest.mark.parametrize("scale", [0.99, 0.975, 1.005])
@pytest.mark.parametrize("row", [7, 120, 301, 433, 555])
def test_a_known_structure_comes_first_also_stretched(known, materials, row, scale):
    best = known.search(clean(materials.crystals, row, scale=scale))[0]
    assert phase(known, best.row) == phase(known, row)
    assert best.scale == pytest.approx(scale, abs=GRID_STEP)
    assert best.fit.match > 0.97


def test_ranks_do_not_depend_on_the_scale_of_intensity(known, materials):
    few, many = (known.search(clean(materials.crystals, 50, counts=c)) for c in (100.0, 1e6))
    assert [m.row for m in few[:5]] == [m.row for m in many[:5]]


def test_most_are_found_as_a_laboratory_measures_them(known, materials):
    rng = np.random.default_rng(0)
    rows = rng.choice(len(known), 12, replace=False)
    found = 0
    for row in rows:
        pattern = simulate_measured_pattern(materials.crystals, int(row), 3, LADDER[3], rng)
        best = known.search(Observation.of(pattern))[0]
        found += phase(known, best.row) == phase(known, int(row))
    assert found >= 9


def test_the_filter_keeps_its_word(known, materials):
    seen = clean(materials.crystals, 50)
    allowed = elements("O", "Ti", "Si", "Al", "Mg", "Fe", "Ca")
    rows = known.find_rows(allowed, elements("O"))
    assert 0 < len(rows) < len(known)
    for match in known.search(seen, rows):
        assert match.row in rows
        assert known.elements[match.row, 7]  # oxygen
        assert not known.elements[match.row, ~allowed].any()
    assert known.search(seen, known.find_rows(elements("He"))) == []


def test_an_answer_does_not_depend_on_who_else_is_asked(known, materials):
    seen = clean(materials.crystals, 50)
    alone = known.search(seen, np.array([50]))[0]
    among = next(m for m in known.search(seen) if m.row == 50)
    assert alone.score == pytest.approx(among.score, abs=1e-9)


@pytest.mark.parametrize("what", ["noise", "one spike", "flat steps"])
def test_anything_that_is_a_pattern_gets_an_answer(known, what):
    rng = np.random.default_rng(1)
    counts = {
        "noise": rng.poisson(100, FINE.n_points).astype(float),
        "one spike": np.where(np.arange(FINE.n_points) == 2000, 1e6, 1.0),
        "flat steps": np.repeat(rng.uniform(0, 9, 41), 100)[: FINE.n_points],
    }[what]
    pattern = MeasuredPattern(
        two_theta_deg=FINE.grid,
        intensity=counts,
        sigma=None,
        wavelength_angstrom=FINE.wavelength_angstrom,
        source=what,
    )
    for match in known.search(Observation.of(pattern)):
        assert np.isfinite(match.score)
        assert -1 <= match.score <= match.fit.match <= 1 + 1e-9


def test_an_index_is_read_as_it_was_written(known, materials, tmp_path):
    known.save(tmp_path / "index", "a table")
    again = KnownLines.load(tmp_path / "index", "a table")
    for name in ("ids", "formulas", "space_groups", "bins", "amplitudes", "starts", "elements"):
        assert_array_equal(getattr(again, name), getattr(known, name))
    seen = clean(materials.crystals, 120)
    assert [m.row for m in again.search(seen)[:3]] == [m.row for m in known.search(seen)[:3]]


def test_other_tables_and_damaged_indices_are_refused(known, tmp_path):
    folder = tmp_path / "index"
    known.save(folder, "a table")
    with pytest.raises(ArtefactError, match="another table"):
        KnownLines.load(folder, "another")
    (folder / "bins.npy").write_bytes(b"nonsense")
    with pytest.raises(ArtefactError, match="not an index of diffraction lines"):
        KnownLines.load(folder, "a table")
    np.save(folder / "bins.npy", np.zeros(3, np.uint16))
    with pytest.raises(ArtefactError, match="do not have the shapes given in the header"):
        KnownLines.load(folder, "a table")


def test_lines_are_few_and_their_squares_sum_to_1(known):
    counts = np.diff(known.starts)
    assert counts.max() <= N_LINES
    sums = np.add.reduceat(known.amplitudes**2, known.starts[:-1][counts > 0])
    assert sums.max() < 1 + 1e-5
    assert np.median(sums) > 0.99


def test_one_phase_is_told_once(known, materials):
    matches = known.search(clean(materials.crystals, 7))
    phases = [phase(known, m.row) for m in keep_distinct(matches, known)]
    assert len(phases) == len(set(phases))
    assert phases[0] == phase(known, matches[0].row)


def test_elements_without_scattering_factors_are_left_out(materials):
    few = materials.take(np.arange(3))
    numbers = few.crystals.numbers.copy()
    numbers[few.crystals.atoms(1)] = 100
    crystals = Crystals(**{**vars(few.crystals), "numbers": numbers})
    assert len(KnownLines.build(replace(few, crystals=crystals))) == 2


def test_without_a_column_each_crystal_has_its_own_space_group():
    crystals = pack_crystals([rock_salt(), rutile(), diamond("C", a_angstrom=3.567)])
    frame = pd.DataFrame({"id": list("abc"), "formula": ["ClNa", "O2Ti", "C"]})
    assert KnownLines.build(Materials(frame, crystals)).space_groups.tolist() == [225, 136, 227]


def test_an_index_is_written_anew_and_refused_with_other_settings(known, tmp_path):
    for _ in range(2):
        known.save(tmp_path, "table")
    assert len(KnownLines.load(tmp_path, "table")) == len(known)
    header = json.loads((tmp_path / "index.json").read_text())
    for name in ("diffraction", "log_q_step"):
        (tmp_path / "index.json").write_text(json.dumps({**header, name: None}))
        with pytest.raises(ArtefactError, match="another table or version"):
            KnownLines.load(tmp_path, "table")
