"""What a prompt or a notebook shows of public objects fits a few lines."""

from __future__ import annotations

import pytest

from matlode import (
    Known,
    LatentSpace,
    Models,
    SearchSettings,
    predict,
    read_pattern,
    simulate_peaks,
    solve,
    xrd,
)
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns
from matlode.testing import rutile
from tests.run_rows import evidence_row

LONGEST = 300


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    path = tmp_path_factory.mktemp("pattern") / "sample.xy"
    rows = zip(STANDARD_SETTINGS.two_theta_deg, simulate_patterns([rutile()])[0], strict=True)
    path.write_text("\n".join(f"{angle:.2f} {height:.5f}" for angle, height in rows))
    return path


@pytest.mark.parametrize(
    "make",
    [Models, Known, LatentSpace.load, evidence_row, lambda: simulate_peaks(rutile())],
    ids=["models", "known", "space", "evidence", "peaks"],
)
def test_objects_are_shown_in_a_line(make):
    assert len(repr(make())) < LONGEST


def test_settings_show_their_values():
    assert "trials=64" in repr(SearchSettings(trials=64))


def test_tables_are_shown_in_a_line(starter):
    assert repr(starter).startswith("Materials(5785 rows, 0 dropped; id, formula, ...")
    assert repr(starter.crystals).startswith("Crystals(5785 crystals, ")


def test_answers_say_what_was_found(pattern, models, known, tmp_path):
    (answer,) = predict(rutile(), models=models, known=known)
    assert repr(answer) == "CrystalPrediction(structure:0: TiO2, space group 136, accepted)"
    assert "<table>" in answer._repr_html_()
    (tmp_path / "bad.cif").write_text("data_bad\n")
    (bad,) = predict(tmp_path / "bad.cif", models=models, known=known)
    assert bad.error in repr(bad)
    assert repr(read_pattern(pattern)).endswith("1,601 points, 2θ = 10 to 90°)")
    (solution,) = solve(pattern, "TiO2", n=1, models=models, known=known)
    assert repr(solution).startswith("Solution(1. TiO2, space group ")
    (peaks,) = xrd([rutile()])
    assert repr(peaks) == f"PeakList(TiO2: {len(peaks.peaks)} peaks)"
