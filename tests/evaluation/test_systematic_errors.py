from types import SimpleNamespace

import numpy as np
import pytest

from matlode.data.formulas import element_symbols
from matlode.data.splits import TEST, TRAIN
from matlode.evaluation.accuracy_data import OURS, HeldOut
from matlode.evaluation.systematic_errors import Errors, write_systematic_errors
from matlode.properties.endpoints import Estimates
from matlode.representation.composition import compute_formula_vectors

N = 60


class Table:
    """Oxides and alloys by turns, of which the last third is for training."""

    source = "a table"
    roles = np.array([TEST] * 40 + [TRAIN] * 20)
    compositions = compute_formula_vectors(["MgO", "FeCo"] * (N // 2))

    materials = SimpleNamespace(crystals=SimpleNamespace(n_atoms=np.array([2, 20] * (N // 2))))


@pytest.fixture
def held():
    truth = np.full(N, 100.0)
    truth[0] = np.nan
    value = np.where(np.arange(N) % 2, 90.0, 103.0)
    answers = {OURS["crystal"]: {"bulk_modulus": Estimates(value, value, value)}}
    return HeldOut(Table, {}, {"bulk_modulus": truth}, answers, {}, {})


def test_biases_are_those_of_the_test_rows_of_each_group(held):
    page = write_systematic_errors(held, command="a command")
    assert "| oxides | +3 / 3 (19) |" in page
    assert "| metals with metals | -10 / 10 (20) |" in page
    assert "| at most 3 atoms | +3 / 3 (19) |" in page
    assert "| more than 16 atoms | -10 / 10 (20) |" in page
    assert "| 50 to 100 GPa | -3.67 / 6.59 (39) |" in page
    assert "| halides | – |" in page


def test_elements_of_few_rows_are_not_listed(held):
    page = write_systematic_errors(held, command="a command")
    assert not any(f" {symbol} +" in page or f" {symbol} -" in page for symbol in element_symbols())


def test_a_summary_holds_bias_and_mean_absolute_error():
    assert str(Errors.of(np.array([-1.0, 2.0, 5.0]))) == "+2 / 2.67 (3)"
