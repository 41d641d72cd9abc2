import numpy as np
import pytest

from matlode.errors import InputError
from matlode.report.match_figures import Overlay, draw_matches

GRID = np.linspace(10, 90, 81)


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("n", [0, 3])
def test_figures_are_drawn_with_and_without_phases(tmp_path, ending, n):
    overlays = [Overlay(f"phase {i}", np.ones(81), np.array([20.0, 40.0])) for i in range(n)]
    path = tmp_path / "new" / f"figure{ending}"
    assert draw_matches(path, GRID, np.ones(81), overlays, title="made") == path
    assert path.stat().st_size > 1000


def test_an_unknown_ending_is_told(tmp_path):
    with pytest.raises(InputError, match=r'"\.xyz"; use \.png'):
        draw_matches(tmp_path / "figure.xyz", GRID, np.ones(81), [], title="made")
