from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.stats import kstest

from matlode.data.formulas import anonymise_formula, chemical_system
from matlode.data.splits import (
    CALIBRATION,
    SPLITS,
    TEST,
    TRAIN,
    Fold,
    hash_formulas,
    split_by_formula,
)
from matlode.testing import SAMPLING_SIGMAS
from tests.strategies import formula_texts

MANY = [f"Na{i}Cl{j}" for i in range(1, 151) for j in range(1, 151)]


@given(st.lists(formula_texts(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_role_depends_on_the_formula_alone(formulas, random):
    alone = {formula: split_by_formula([formula])[0] for formula in formulas}
    mixed = formulas * 3
    random.shuffle(mixed)
    assert split_by_formula(mixed).tolist() == [alone[formula] for formula in mixed]


@given(formula_texts(), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_larger_test_set_contains_the_smaller_one(formula, one, other, calibration):
    small, large = sorted((one, other))
    if split_by_formula([formula], test=small, calibration=calibration)[0] == TEST:
        assert split_by_formula([formula], test=large, calibration=calibration)[0] == TEST


@pytest.mark.parametrize(("calibration", "test"), [(0.1, 0.1), (0.2, 0.05), (0.0, 0.3)])
@pytest.mark.parametrize("seed", [0, 1])
def test_shares_are_as_asked(calibration, test, seed):
    roles = split_by_formula(MANY, calibration=calibration, test=test, seed=seed)
    for role, share in ((TEST, test), (CALIBRATION, calibration), (TRAIN, 1 - calibration - test)):
        standard_error = np.sqrt(share * (1 - share) / len(MANY))
        assert abs((roles == role).mean() - share) <= SAMPLING_SIGMAS * standard_error


def test_fractions_are_uniform_and_seeds_independent():
    zero, one = (hash_formulas(MANY, seed=seed) for seed in (0, 1))
    assert kstest(zero, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(zero, one)[0, 1]) < SAMPLING_SIGMAS / np.sqrt(len(MANY))
    assert zero.min() >= 0
    assert zero.max() < 1


def test_published_splits_stay_as_they_are():
    # keyed BLAKE2b, 8 bytes, key b"<seed>", top 53 bits: saved scores refer to these roles
    formulas = ["ClNa", "O2Ti", "O3SrTi"]
    zero = [0.3118018382174216, 0.5281525222183544, 0.6195068223693001]
    seven = [0.5415155024894924, 0.8589345283368124, 0.8455759917528041]
    assert hash_formulas(formulas, seed=0).tolist() == zero
    assert hash_formulas(formulas, seed=7).tolist() == seven


def test_no_rows_have_no_roles():
    assert_array_equal(hash_formulas([]), np.zeros(0))
    assert len(split_by_formula([])) == 0


@pytest.fixture(scope="module")
def frame():
    formulas = ["ClNa", "BrK", "ClNa", "Cl2Na", "O2Ti", "O2Ti", "O3SrTi", "Si", "Fe2O3", "FeO"] * 30
    rng = np.random.default_rng(0)
    groups = rng.integers(1, 231, len(formulas))
    return pd.DataFrame({"id": range(len(formulas)), "formula": formulas, "space_group": groups})


@pytest.mark.parametrize("how", SPLITS)
def test_every_row_tests_in_one_fold(how, frame):
    tested = np.zeros(len(frame), int)
    for number in range(5):
        roles = Fold(how, number).roles(frame)
        assert set(roles) <= {TRAIN, CALIBRATION, TEST}
        tested += roles == TEST
    assert (tested == 1).all()


@pytest.mark.parametrize(
    ("how", "key"),
    [
        ("formula", lambda row: row.formula),
        ("chemical_system", lambda row: chemical_system(row.formula)),
        ("prototype", lambda row: (anonymise_formula(row.formula), row.space_group)),
    ],
)
def test_kin_stay_on_one_side(how, key, frame):
    keys = [key(row) for row in frame.itertuples()]
    for number in range(5):
        roles = Fold(how, number).roles(frame)
        sides = {}
        for k, role in zip(keys, roles, strict=True):
            assert sides.setdefault(k, role) == role


@pytest.mark.parametrize("how", SPLITS)
def test_formulas_of_held_out_rows_are_not_learned_from(how, frame):
    extra = ["ClNa", "O2Ti", "GaN", "Cl3Na"]
    for number in range(5):
        fold = Fold(how, number)
        roles = fold.roles(frame)
        held = set(frame["formula"][roles != TRAIN])
        for formula, role in zip(extra, fold.roles_of_formulas(extra, frame, roles), strict=True):
            if formula in held:
                assert role == TEST
            if formula == "GaN":
                assert role == TRAIN
            if how == "chemical_system" and formula == "Cl3Na":
                assert (role == TEST) == ("ClNa" in held)
