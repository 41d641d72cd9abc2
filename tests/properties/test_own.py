"""A user's own properties: what one line of TOML means, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matlode.data.splits import CALIBRATION, TEST, TRAIN
from matlode.data.tables import Materials
from matlode.errors import GoalError, InputError
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.heads import CASES, Head, fit_head
from matlode.properties.own import (
    KEYS,
    MIN_ROWS,
    check_labels,
    check_rows,
    read_properties,
)
from matlode.properties.trees import TreeSettings
from matlode.testing import check_estimates
from tests.strategies import reals

QUICK = TreeSettings(n_rounds=80, max_depth=3, eta=0.1, difficulty_rounds=80, cross_fit_rounds=60)
SINGLE_PRECISION_OF_LOGS = 1e-5
"""exp of a float32 sum of logarithms of size ten."""


def read(tmp_path, text):
    path = tmp_path / "my.toml"
    path.write_text(text)
    return read_properties(path)


def one(tmp_path, line):
    (endpoint,) = read(tmp_path, line).values()
    return endpoint


@pytest.fixture
def materials(starter):
    few = starter.take(np.arange(6))
    few.frame["kappa"] = [0.5, 2.0, np.nan, 8.0, 32.0, 1.0]
    few.frame["phase"] = ["metal", "insulator", None, "metal", "semimetal", "metal"]
    few.frame["magnetic"] = pd.array([True, False, None, True, True, False], dtype="boolean")
    few.frame["origin"] = ["a", "a", "a", "b", "b", "c"]
    return few


def test_one_line_says_everything(tmp_path):
    made = read(
        tmp_path,
        'kappa = { unit = "W/m/K", column = "kappa_300", transform = "log", lowest = 0 }\n'
        'is_metal = { column = "gap", kind = "classification", at_most = 0.01 }\n'
        "n_refr = {}\n",
    )
    assert list(made) == ["kappa", "is_metal", "n_refr"]
    assert made["kappa"] == Endpoint(
        name="kappa", unit="W/m/K", column="kappa_300", transform="log", lowest=0
    )
    assert made["is_metal"].unit == made["is_metal"].task == "probability"
    assert (made["n_refr"].column, made["n_refr"].unit) == ("n_refr", "")


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
def test_a_definition_comes_back_as_it_was(endpoint):
    assert Endpoint.from_definition(endpoint.definition()) == endpoint


def test_a_threshold_and_its_opposite_share_out_the_labelled_rows(tmp_path, materials):
    most = one(tmp_path, 'low = { column = "kappa", kind = "classification", at_most = 2 }')
    more = one(tmp_path, 'high = { column = "kappa", kind = "classification", at_least = 2.1 }')
    both = most.labels(materials) + more.labels(materials)
    known = ~np.isnan(materials.frame["kappa"].to_numpy(dtype=float))
    np.testing.assert_array_equal(both[known], 1)
    assert np.isnan(both[~known]).all()


def test_words_and_truths_are_classes(tmp_path, materials):
    metal = one(tmp_path, 'metal = { column = "phase", kind = "classification", equals = "metal" }')
    np.testing.assert_array_equal(
        check_labels(metal, materials, table="t"), [1, 0, np.nan, 1, 0, 1]
    )
    magnetic = one(tmp_path, 'magnetic = { kind = "classification" }')
    np.testing.assert_array_equal(
        check_labels(magnetic, materials, table="t"), [1, 0, np.nan, 1, 1, 0]
    )


def test_only_the_named_vintages_are_pooled(tmp_path, materials):
    endpoint = one(
        tmp_path, 'k = { column = "kappa", vintage_column = "origin", vintages = ["b", "c"] }'
    )
    np.testing.assert_array_equal(
        check_labels(endpoint, materials, table="t"), [np.nan, np.nan, np.nan, 8, 32, 1]
    )


@given(st.lists(reals(1e-6, 1e6), min_size=1, max_size=20))
def test_logarithms_are_undone_and_keep_the_order(values):
    endpoint = Endpoint(name="kappa", unit="W/m/K", column="kappa", transform="log")
    v = np.array(values)
    np.testing.assert_allclose(endpoint.from_model(endpoint.to_model(v)), v, rtol=1e-12)
    assert (np.argsort(endpoint.to_model(v), kind="stable") == np.argsort(v, kind="stable")).all()


def draws(rng, n):
    x = rng.normal(size=(n, 6)).astype(np.float32)
    # six powers of ten, with errors in proportion
    return x, np.exp(3 * x[:, 0] + 0.4 * rng.normal(size=n))


@pytest.fixture(scope="module")
def log_head():
    rng = np.random.default_rng(0)
    x, y = draws(rng, 1500)
    endpoint = Endpoint(
        name="kappa", unit="W/m/K", column="kappa", transform="log", lowest=0.0, highest=5e4
    )
    held = dict.fromkeys(CASES, draws(rng, 800))
    return fit_head(endpoint, "standard", x, y, rng.random(1500) < 0.5, held, settings=QUICK)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_intervals_of_logarithms_keep_their_coverage(log_head, seed):
    x, y = draws(np.random.default_rng(seed), 2000)
    estimates = log_head.predict(x, case="simulated")
    inside = (y >= estimates.low) & (y <= estimates.high)
    # 800 calibration rows and 2,000 test rows: two standard errors are about 0.025
    assert 0.87 <= inside.mean() <= 0.94
    assert (estimates.low > 0).all()
    own = {log_head.endpoint.name: log_head.endpoint}
    check_estimates(own, lambda x: {"kappa": log_head.predict(x, case="simulated")}, x[:50])


def test_intervals_of_logarithms_are_factors(log_head):
    x, y = draws(np.random.default_rng(4), 2000)
    estimates = log_head.predict(x, case="decoded")
    free = estimates.high < log_head.endpoint.highest
    up, down = estimates.high / estimates.value, estimates.value / estimates.low
    np.testing.assert_allclose(up[free], down[free], rtol=SINGLE_PRECISION_OF_LOGS)
    error = np.abs(np.log(estimates.value / y))
    assert np.median(error[y < 1]) < 2 * np.median(error[y > 1])


def test_limits_hold_on_both_sides(log_head):
    x, _ = draws(np.random.default_rng(5), 500)
    low = replace(log_head, endpoint=replace(log_head.endpoint, lowest=0.9, highest=1.1))
    estimates = low.predict(x, case="simulated")
    for end in (estimates.value, estimates.low, estimates.high):
        assert end.min() >= 0.9 * (1 - SINGLE_PRECISION_OF_LOGS)
        assert end.max() <= 1.1 * (1 + SINGLE_PRECISION_OF_LOGS)


def test_a_head_knows_its_property_without_the_file(log_head, tmp_path):
    log_head.save(tmp_path / "standard-kappa")
    assert Head.load(tmp_path / "standard-kappa").endpoint == log_head.endpoint


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            'k = { colum = "x" }',
            r'my\.toml: property "k": unknown key "colum"\. Did you mean "column"',
        ),
        ("k = { column = 3 }", "column = 3; expected a text"),
        ('k = { lowest = "0" }', "lowest = '0'; expected a number"),
        ("k = { lowest = true }", "lowest = True; expected a number"),
        ("k = { lowest = nan }", "lowest = nan; expected a number"),
        ('k = { vintages = "a" }', "expected a list of texts"),
        ('k = { kind = "clasification" }', 'Did you mean "classification"'),
        ('k = { transform = "ln" }', r'unknown transform "ln"\. (Did you mean|Known)'),
        ("k = { at_most = 1 }", "at_most is not allowed for a regression; remove it or set kind"),
        (
            'k = { kind = "classification", unit = "eV" }',
            "unit is not allowed for a classification",
        ),
        (
            'k = { kind = "classification", equals = "a", at_most = 1 }',
            "equals cannot be combined with at_most",
        ),
        ("k = { lowest = 2, highest = 1 }", "lowest = 2 is above highest = 1"),
        ('k = { transform = "log", highest = 0 }', "no positive value for the logarithm"),
        ('k = { vintages = ["a"] }', "must be given together"),
        ("k = 3", r"is 3; expected a table"),
        ('"Debye T" = {}', "lower-case letters, digits and underscores"),
        ("bulk_modulus = {}", "this name belongs to a built-in property"),
        ("space_group = {}", "this name is reserved for a column or model"),
        ("k_low = {}", "this name is reserved for a column or model"),
        ("structure_k = {}", "this name is reserved for a column or model"),
        ("", "defines no property"),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path, line, text):
    with pytest.raises(GoalError, match=text):
        read(tmp_path, line)


def test_unreadable_files_are_told(tmp_path):
    with pytest.raises(InputError, match=r"my\.toml: not a readable TOML file"):
        read(tmp_path, "k = {")
    with pytest.raises(InputError, match=r"none\.toml: no such file"):
        read_properties(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("line", "values", "text"),
    [
        ('k = { column = "kapa" }', None, 't.parquet has no column "kapa". Did you mean "kappa"'),
        ('k = { column = "phase" }', None, "is not numeric; it contains 'metal', 'insulator'"),
        (
            'k = { column = "kappa", vintage_column = "orign", vintages = ["a"] }',
            None,
            'no column "orign"',
        ),
        (
            'k = { column = "kappa", transform = "log" }',
            [1, 0, -3, 2, 3, 4],
            r"contains 2 values without a logarithm \(\S+: 0, \S+: -3\)",
        ),
        ('k = { column = "kappa", highest = 3 }', None, r"2 values outside -inf..3 \("),
        ('k = { column = "kappa" }', [1, np.inf, 2, 3, 4, 5], "1 infinite values"),
        ('k = { column = "kappa" }', [7] * 6, "is 7 in every row"),
        ('k = { column = "kappa", kind = "classification" }', None, "needs 0 and 1, or"),
        (
            'k = { column = "kappa", kind = "classification", at_most = 100 }',
            None,
            "every label is 1; a classification needs both classes",
        ),
    ],
)  # fmt: skip
def test_labels_that_no_head_can_learn_are_told(tmp_path, materials, line, values, text):
    endpoint = one(tmp_path, line)
    if values is not None:
        materials.frame["kappa"] = np.array(values, dtype=float)
    with pytest.raises(InputError, match=text):
        check_labels(endpoint, materials, table="t.parquet")


def test_too_few_rows_say_how_many_came_and_how_many_are_wanted():
    endpoint = Endpoint(name="k", unit="", column="k")
    roles = np.repeat([TRAIN, CALIBRATION, TEST], list(MIN_ROWS.values()))
    labels = np.arange(len(roles), dtype=float)
    check_rows(endpoint, labels, roles, table="t")
    labels[-1] = np.nan
    with pytest.raises(InputError) as caught:
        check_rows(endpoint, labels, roles, table="t")
    assert str(caught.value) == (
        'property "k": too few rows with a value in t: 69 (50 train, 10 calibration, 9 test); '
        "expected at least 50 train, 10 calibration, 10 test; add rows."
    )


def test_a_role_of_one_class_is_told():
    endpoint = Endpoint(name="k", unit="probability", column="k", task="probability")
    roles = np.repeat([TRAIN, CALIBRATION, TEST], 60)
    labels = np.where(roles == TEST, 0.0, np.arange(180) % 2)
    with pytest.raises(InputError, match="all 60 test rows of t are 0; add rows"):
        check_rows(endpoint, labels, roles, table="t")


def test_the_docs_page_shows_every_key_and_a_file_that_is_read(tmp_path, starter):
    page = (Path(__file__).parents[2] / "docs" / "own-properties.md").read_text()
    assert [key for key in KEYS if f"`{key}`" not in page] == []
    for endpoint in read(tmp_path, page.split("```toml")[1].split("```")[0]).values():
        assert np.isfinite(check_labels(endpoint, starter, table="starter set")).sum() == 982


def test_ours_are_read_only():
    with pytest.raises(TypeError):
        ENDPOINTS["mine"] = Endpoint(name="mine", unit="", column="mine")


def test_labels_leave_the_table_as_it_was(materials: Materials):
    before = materials.frame.copy()
    Endpoint(name="k", unit="", column="kappa", at_most=1.0, task="probability").labels(materials)
    pd.testing.assert_frame_equal(materials.frame, before)


def test_values_without_a_logarithm_are_left_out_of_what_matlode_brings(starter):
    endpoint = ENDPOINTS["thermal_expansion"]
    few = starter.take(np.arange(5))
    frame = few.frame.assign(**{endpoint.column: [1e-5, 0.0, -3e-6, 2e-5, np.nan]})
    labels = check_labels(endpoint, replace(few, frame=frame), table="t")
    np.testing.assert_array_equal(labels, [1e-5, np.nan, np.nan, 2e-5, np.nan])
