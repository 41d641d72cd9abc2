import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from matlode.notebook import html_table, pattern_picture
from matlode.records import PATTERN_RANGE_DEG, Candidate, Prediction
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns, simulate_peaks
from matlode.representation.patterns import read_pattern
from matlode.testing import rutile

HOSTILE = "<script>alert(1)</script>"


def picture_in(html):
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return Image.open(BytesIO(base64.b64decode(data)))


@pytest.fixture
def candidate():
    (pattern,) = simulate_patterns([rutile()])
    chances = np.full(230, 0.5 / 229)
    chances[135] = 0.5
    predictions = {"bulk_modulus": Prediction(210.0, 190.04, 230.0, "GPa")}
    return Candidate("O2Ti", np.zeros(100), pattern, predictions, chances)


def test_a_table_shows_its_cells_as_text():
    html = html_table(["a", HOSTILE], [[1, HOSTILE], [2, "b & c"]])
    assert html.count("<tr>") == 3
    assert "<script" not in html
    assert "b &amp; c" in html


def test_a_pattern_is_a_picture():
    html = pattern_picture(np.linspace(10, 90, 50), {HOSTILE: np.ones(50)})
    assert "<script" not in html
    image = picture_in(html)
    assert image.width > 600
    assert len(set(image.convert("L").get_flattened_data())) > 10


def test_a_candidate_shows_predictions_and_pattern(candidate):
    html = candidate._repr_html_()
    assert "O2Ti" in html
    assert "space group 136 (probability 0.50)" in html
    assert "<td>bulk modulus</td><td>210 (190…230)</td><td>GPa</td>" in html
    picture_in(html)


def test_a_candidates_pattern_is_drawn_on_the_grid_that_it_was_made_on():
    grid = STANDARD_SETTINGS.two_theta_deg
    np.testing.assert_allclose(np.linspace(*PATTERN_RANGE_DEG, len(grid)), grid)


def test_a_prediction_shows_its_interval():
    html = Prediction(1.5e-5, 1.2e-5, 1.81e-5, "1/K")._repr_html_()
    assert "<td>1.5e-05 (1.2e-05…1.81e-05)</td><td>1/K</td>" in html


def test_a_measured_pattern_shows_itself_and_what_was_assumed(tmp_path):
    file = tmp_path / "scan.xy"
    np.savetxt(file, np.column_stack([np.linspace(10, 80, 200), np.arange(200)]))
    html = read_pattern(file)._repr_html_()
    assert "<td>10…80</td>" in html
    assert "no wavelength in the file" in html
    picture_in(html)


def test_peaks_are_a_table():
    peaks = simulate_peaks(rutile())
    html = peaks._repr_html_()
    assert html.count("<tr>") == 1 + len(peaks.two_theta_deg)
    assert "<td>27." in html  # 110 of rutile at 27.4° (ICDD 00-021-1276)
    assert "1 1 0 (×4)" in html


def test_a_run_shows_its_goal_and_first_candidates(hard_run):
    html = hard_run._repr_html_()
    assert hard_run.provenance["goal"]["words"] in html
    first = hard_run.candidates.iloc[0]
    assert f"<td>{first['formula']}</td>" in html
    assert f"({first['bulk_modulus_low']:.3g}…{first['bulk_modulus_high']:.3g})" in html
    assert html.count("<tr>") == 1 + len(hard_run.candidates)
