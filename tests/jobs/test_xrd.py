from __future__ import annotations

import json

import numpy as np
import pytest
from ase.io import write
from numpy.testing import assert_allclose
from pymatgen.io.cif import CifWriter

from matlode.benchmarks.diffraction import bench_diffraction
from matlode.jobs.xrd import xrd
from matlode.representation.pattern_grid import to_grid
from matlode.representation.patterns import read_pattern
from matlode.testing import FAST_ENGINE, OTHER_ENGINE, rock_salt


@pytest.fixture
def files(tmp_path):
    CifWriter(rock_salt()).write_file(tmp_path / "salt.cif")
    (tmp_path / "broken.cif").write_text("data_nothing\n")
    return [tmp_path / "salt.cif", tmp_path / "broken.cif"]


def test_peaks_of_files_with_reasons_for_bad_ones(files):
    salt, broken = xrd(files)
    assert (salt.formula, salt.error) == ("NaCl", None)
    strongest = max(salt.peaks, key=lambda peak: peak.intensity)
    assert strongest.d_angstrom == pytest.approx(2.8201, abs=1e-4)
    assert strongest.reflections[0].multiplicity == 6
    assert broken.error


def test_crystals_in_memory_are_listed_in_order():
    salt, again = xrd(one for one in (rock_salt(), rock_salt()))
    assert salt.peaks == again.peaks
    shorter = xrd(rock_salt(), wavelength="MoKa1")[0].peaks[0].two_theta_deg
    assert shorter < salt.peaks[0].two_theta_deg


def test_json_is_what_it_always_was(files):
    salt, broken = (peaks.to_json() for peaks in xrd(files))
    assert list(salt) == ["id", "formula", "error", "peaks"]
    first = json.loads(json.dumps(salt))["peaks"][0]
    assert list(first) == ["two_theta_deg", "d_angstrom", "intensity", "reflections"]
    assert first["reflections"] == [{"hkl": [1, 1, 1], "multiplicity": 8}]
    assert broken == {"id": broken["id"], "formula": "", "error": broken["error"], "peaks": ()}


def test_written_patterns_are_read_back(files, tmp_path):
    xrd(files, out=tmp_path / "out")
    (path,) = (tmp_path / "out").iterdir()
    gridded = to_grid(read_pattern(path), background=None, match_width=False)
    assert path.name == "salt.xy"
    assert np.argmax(gridded.intensity) == pytest.approx((31.73 - 10) / 0.05, abs=1)


def test_crystals_of_one_name_do_not_overwrite_each_other(tmp_path):
    crystals, cells = tmp_path / "in", iter((5.0, 5.2, 5.4, 5.6, 5.8))
    for name in ("a.cif", "A.vasp", "one/b.cif", "two/b.cif", "c.cif"):
        (crystals / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "cif" if name.endswith("cif") else "poscar"
        rock_salt(a_angstrom=next(cells)).to(str(crystals / name), fmt=kind)
    xrd(crystals, out=tmp_path / "out")
    written = [path.read_text() for path in (tmp_path / "out").iterdir()]
    assert len(written) == len(set(written)) == 5
    assert (tmp_path / "out" / "c.xy").is_file()


def test_frames_of_one_file_do_not_overwrite_each_other(tmp_path):
    frames = [rock_salt(a_angstrom=a).to_ase_atoms() for a in (5.0, 5.5)]
    write(tmp_path / "run.xyz", frames, format="extxyz")
    xrd(tmp_path / "run.xyz", out=tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_bench_measures_engines_on_the_same_structures():
    found = bench_diffraction(n_structures=12, n_exact=30)
    times = {row["engine"]: row for row in found["times"]}
    assert times["pymatgen"]["times_pymatgen"] == pytest.approx(1)
    assert times["matlode"]["times_pymatgen"] > 10
    assert times["pymatgen"]["largest_difference"] < 100 * OTHER_ENGINE
    assert sum(row["structures"] for row in found["exactness"]) == 30
    worst = [row["largest_difference"] for row in found["exactness"]]
    assert_allclose(worst, 0, atol=100 * 50 * FAST_ENGINE)
