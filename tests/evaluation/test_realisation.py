"""Known structures of hidden formulas, from their pattern and without."""

import pytest

from matlode.evaluation.realisation import CASES, _compute_shares, measure_realisation


@pytest.fixture(scope="module")
def rows():
    return measure_realisation(n_structures=12)


def test_every_case_is_scored_on_the_same_rows(rows):
    assert [row.model for row in rows] == list(CASES)
    assert {row.rows for row in rows} == {12}
    for row in rows:
        assert 0 <= row.scores["top_1"] <= row.scores["top_5"] <= 1


def test_a_pattern_tells_more_than_chemistry_alone(rows):
    true, _, chemistry = rows
    assert true.scores["top_1"] > chemistry.scores["top_1"]
    assert true.scores["top_1"] >= 0.5


def test_shares_count_what_was_not_built_as_wrong():
    scores = _compute_shares([0, 3, None, 7])
    assert scores["top_1"] == 0.25
    assert scores["top_5"] == 0.5
    assert scores["top_1_se"] == pytest.approx((0.25 * 0.75 / 4) ** 0.5)
