import pytest

from matlode.report.labels import (
    format_cell,
    format_number,
    format_predicted,
    label_novelty,
    write_subscripts,
    write_title,
)
from matlode.run_records import GoalEntry, GoalSummary, PredictedValue
from tests.run_rows import candidate_row


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (273.569, None, "274"),
        (273.569, 50.5, "274"),
        (12345.6, None, "12,346"),
        (0.0, None, "0.00"),
        (-0.0001, 0.2, "0.00"),
        (-0.4023, 0.04, "−0.402"),
        (1.23456, 0.3, "1.23"),
        (0.8164, 0.003, "0.816"),
        (1.367e-5, None, "1.37·10^−5"),
        (float("nan"), None, "–"),
    ],
)
def test_numbers_have_the_digits_that_their_uncertainty_allows(value, spread, text):
    assert format_number(value, spread) == text


@pytest.mark.parametrize("unit", ["GPa", "probability"])
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_numbers_are_never_broken(unit, size):
    value, interval = format_predicted(PredictedValue(3 * size, size, 7 * size), unit)
    assert value
    assert "e" not in value + interval
    assert "–" in interval or unit == "probability"


def test_intervals_with_negative_ends_are_told_apart():
    assert format_predicted(PredictedValue(-0.2, -0.44, 0.1), "eV") == ("−0.20", "−0.44 to 0.10")


def test_whole_numbers_and_words_stay():
    assert [format_cell(value) for value in (12, "word", 0.5)] == ["12", "word", "0.500"]


def test_subscripts_escape_what_is_not_a_formula():
    assert str(write_subscripts("Co(BW)2")) == "Co(BW)<sub>2</sub>"
    assert "<script" not in write_subscripts("<script>B2")


def test_titles_say_what_is_wanted():
    wishes = GoalEntry("density", "minimise"), GoalEntry("metal_probability", "near", 0.5)
    goal = GoalSummary(words="", objectives=wishes)
    units = {"metal_probability": "probability"}
    assert write_title(goal, units) == "Crystals with low density and metal probability near 0.5"
    assert "ranges" in write_title(GoalSummary(words="", objectives=()), {})


@pytest.mark.parametrize(
    ("novelty", "label"),
    [("in none of the lists", "in no list"), ("known structure", "known structure"), ("made",) * 2],
)
def test_labels_of_novelty_are_short(novelty, label):
    assert label_novelty(candidate_row(novelty=novelty)) == label
