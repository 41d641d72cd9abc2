import numpy as np
import pytest

from matlode.app.known_values import N_BINS, KnownValues
from matlode.app.wishes import Wish, Wishes
from matlode.data.formulas import parse_formula


@pytest.fixture(scope="module")
def values(known):
    return KnownValues(known)


def within(low=None, high=None):
    return Wish("bulk_modulus", "within", low=low, high=high)


def test_distributions_hold_all_labels(values):
    found = values.describe("bulk_modulus")
    assert sum(found.counts) == found.labelled == np.isfinite(values.labels["bulk_modulus"]).sum()
    assert len(found.counts) == N_BINS
    assert found.low < found.middle < found.high
    for end in (found.low, found.middle, found.high):
        assert end / found.step == pytest.approx(round(end / found.step))


def test_properties_without_labels_have_no_distribution(values):
    assert values.describe("density") is None


def test_narrower_ranges_are_met_by_fewer(values):
    counts = [
        values.count(Wishes(properties=[wish])).met
        for wish in (within(), within(low=100), within(low=100, high=200), within(low=1e6))
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > 0
    assert counts[-1] == 0


def test_elements_are_counted_as_formulas_say(values, known):
    formulas = [set(parse_formula(formula)) for formula in known.materials.frame["formula"]]
    wishes = Wishes(elements={"O": "required", "Ti": "forbidden"}, radioactive=True)
    expected = sum("O" in f and "Ti" not in f and 2 <= len(f) <= 5 for f in formulas)
    assert values.count(wishes).met == expected
    assert values.count(Wishes(toxic=False)).met < values.count(Wishes()).met
