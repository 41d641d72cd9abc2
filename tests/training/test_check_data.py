"""Whether a table is enough to train on: every flaw that is put in is found, and told."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from matlode.data.crystals import Crystals
from matlode.data.formulas import parse_formula
from matlode.data.tables import Materials, find_starter, write_materials
from matlode.errors import InputError
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.own import MIN_ROWS
from matlode.training.check_data import (
    OUTLIER_Z,
    VERDICTS,
    check_data,
    detect_other_unit,
    find_outliers,
)
from matlode.training.table import TrainingTable


@pytest.fixture(scope="module")
def checked():
    return check_data(find_starter())


@pytest.fixture(scope="module")
def labelled(starter):
    """The starter rows with a refractive index."""
    return starter.take(~np.isnan(starter.label("n_refr")))


@pytest.fixture
def check(labelled, tmp_path):
    """Check the labelled rows, changed, for one property."""

    def run(line, n=None, **columns):
        materials = labelled.take(np.arange(n or len(labelled)))
        frame = materials.frame.assign(**columns)
        write_materials(replace(materials, frame=frame), tmp_path)
        (tmp_path / "my.toml").write_text(f"mine = {line}")
        found = check_data(tmp_path / "materials.parquet", properties=tmp_path / "my.toml")
        (own,) = [p for p in found.properties if p.name == "mine"]
        return found, own

    return run


def told(check):
    return " ".join(check.reasons)


def test_counts_are_those_that_training_sees(checked):
    table = TrainingTable.load(find_starter())
    assert checked.rows == len(table.materials)
    for p in checked.properties:
        labels = table.labels(ENDPOINTS[p.name])
        assert p.rows == np.isfinite(labels).sum() == sum(p.roles.values())
        assert (p.minimum, p.maximum) == (np.nanmin(labels), np.nanmax(labels))
        assert p.sigma == pytest.approx(np.nanstd(labels))


def test_no_formula_stands_in_two_roles(checked):
    assert checked.formulas_in_two_roles == 0
    assert checked.formulas == 5226
    for p in checked.properties:
        assert 0 <= p.test_systems_in_train <= 1
        assert p.test_prototypes_in_train > p.test_systems_in_train


def test_the_answer_is_plain_json(checked):
    assert json.loads(json.dumps(asdict(checked), allow_nan=False))["rows"] == 5785
    assert {p.verdict for p in checked.properties} <= set(VERDICTS)
    assert all(p.reasons for p in checked.properties)
    assert checked.summary.startswith("14 of 15 properties have enough")


def test_a_clean_property_is_enough(check):
    found, own = check('{ column = "n_refr" }')
    assert own.verdict == "enough"
    assert (own.rows, own.values) == (982, 982)
    assert {p.name for p in found.properties} | set(found.absent) == {"mine", *ENDPOINTS}


@pytest.mark.parametrize(("n", "verdict"), [(60, "too few"), (300, "thin"), (900, "enough")])
def test_verdicts_follow_the_rows(check, n, verdict):
    _, own = check('{ column = "n_refr" }', n=n)
    assert own.verdict == verdict
    assert (own.roles["train"] >= MIN_ROWS["train"]) or verdict == "too few"


def test_a_missing_column_and_words_are_a_verdict_and_no_error(check):
    _, own = check('{ column = "n_refrr" }')
    assert own.verdict == "unusable"
    assert 'Did you mean "n_refr"' in told(own)
    _, own = check('{ column = "word" }', word="big")
    assert own.verdict == "unusable"
    assert "is not numeric" in told(own)
    assert own.rows == 0


def test_elements_with_few_rows_are_named(check, labelled):
    _, own = check('{ column = "n_refr" }')
    counts: dict[str, int] = {}
    for formula in labelled.frame["formula"]:
        for symbol in parse_formula(formula):
            counts[symbol] = counts.get(symbol, 0) + 1
    assert own.elements == len(counts)
    assert set(own.rare_elements) == {s for s, n in counts.items() if n < 10}


def test_an_outlier_that_is_put_in_is_named(check, labelled):
    rng = np.random.default_rng(0)
    values = rng.normal(10, 1, len(labelled))
    values[7] = 500.0
    _, own = check('{ column = "x" }', x=values)
    assert own.outlier_ids == (str(labelled.frame["id"].iloc[7]),)
    assert "500" in told(own)
    _, own = check('{ column = "x", highest = 100.0 }', x=values)
    assert own.verdict == "unusable"
    assert "1 values outside -inf..100" in told(own)


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (5, 1e-9), (-3, 1e6)])
def test_outliers_have_no_unit(shift, scale):
    v = np.random.default_rng(1).standard_t(2, 500)
    assert find_outliers(scale * (v + shift)).tolist() == find_outliers(v + shift).tolist()


def test_outliers_are_beyond_six_robust_sigmas():
    v = np.arange(-50.0, 51.0)
    # median 0, median absolute deviation 25
    edge = OUTLIER_Z * 1.4826 * 25
    assert find_outliers(np.append(v, 0.99 * edge)).size == 0
    assert find_outliers(np.append(v, 1.1 * edge)).tolist() == [101]
    assert find_outliers(np.ones(10)).size == find_outliers(np.empty(0)).size == 0
    # powers of ten are no outliers of each other
    assert find_outliers(np.logspace(-6, 6, 200)).size == 0


@pytest.mark.parametrize(
    ("name", "median", "text"),
    [
        ("bulk_modulus", 1.3e11, "looks like Pa (divide by 1e+09)"),
        ("bulk_modulus", 1300.0, "looks like kbar (divide by 10)"),
        ("formation_energy", -120.0, "or kJ/mol (divide by 96.485)"),
        ("volume_per_atom", 0.019, "looks like nm³/atom (divide by 0.001)"),
        ("shear_modulus", -1.0, "check the unit"),
    ],
)
def test_other_units_are_suspected(name, median, text):
    assert text in (detect_other_unit(ENDPOINTS[name], median) or "")


def test_usual_medians_are_not_suspected(checked):
    for p in checked.properties:
        assert detect_other_unit(ENDPOINTS[p.name], p.mean) is None
    assert detect_other_unit(Endpoint(name="any", unit="K", column="any"), 1e30) is None


def test_pascals_are_told_as_such(check, labelled):
    values = 1e9 * (50 + 10 * labelled.frame["n_refr"].to_numpy(dtype=float))
    found, _ = check('{ column = "n_refr" }', bulk_modulus_vrh=values)
    (bulk,) = [p for p in found.properties if p.name == "bulk_modulus"]
    assert bulk.verdict == "unusable"
    assert "looks like Pa" in told(bulk)


def test_mixed_vintages_are_told_until_they_are_chosen(check, labelled):
    half = np.where(np.arange(len(labelled)) % 2, "PBE", "LDA")
    _, own = check('{ column = "n_refr" }', method_vintage=half)
    assert own.verdict == "thin"
    assert "mixes method_vintage: " in told(own)
    line = '{ column = "n_refr", vintage_column = "method_vintage", vintages = ["PBE"] }'
    _, own = check(line, method_vintage=half)
    assert "mixes" not in told(own)
    assert own.rows == (half == "PBE").sum()
    assert "491 of 982 values stay out" in told(own)


def test_contradicting_twins_are_counted(labelled, tmp_path):
    n = 450
    once = labelled.take(np.arange(n))
    values = np.random.default_rng(0).normal(0, 1, n)
    frame = once.frame.assign(x=values)
    again = frame.assign(x=values + 3.0, id=frame["id"] + "b")
    twice = Materials(
        pd.concat([frame, again], ignore_index=True),
        Crystals.concatenate([once.crystals, once.crystals]),
    )
    write_materials(twice, tmp_path)
    (tmp_path / "my.toml").write_text('mine = { column = "x" }')
    found = check_data(tmp_path / "materials.parquet", properties=tmp_path / "my.toml")
    (own,) = [p for p in found.properties if p.name == "mine"]
    assert own.twins == found.twins == 2 * n
    assert own.verdict == "thin"
    assert own.contradictions >= 0.9 * n
    # a shift of 3 between two labels of one crystal
    assert own.label_noise == pytest.approx(1.4826 * 3 / np.sqrt(2), rel=0.05)


def test_a_rare_class_is_told(check, labelled):
    rare = np.arange(len(labelled)) % 20 == 0
    _, own = check('{ column = "x", kind = "classification" }', x=rare)
    assert own.mean == pytest.approx(rare.mean())
    assert own.verdict == "thin"
    assert "training rows of the rarer class, expected 50" in told(own)


def test_constant_columns_and_dropped_rows_are_counted(labelled, tmp_path):
    few = labelled.take(np.arange(300))
    few.frame["method"] = "PBE"
    lattices = few.crystals.lattices.copy()
    lattices[5] *= 30
    wrong = replace(few, crystals=replace(few.crystals, lattices=lattices))
    write_materials(wrong, tmp_path)
    found = check_data(tmp_path / "materials.parquet")
    assert found.rows == 299
    assert found.dropped == {"# Å³ per atom; a crystal has #": 1}
    assert "method" in found.constant_columns


def test_an_unreadable_table_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no structure table"):
        check_data(tmp_path / "none.parquet")


def test_names_of_rows_are_no_vintages(check, labelled):
    names = [f"mine.csv:{row}" for row in range(len(labelled))]
    _, own = check('{ column = "n_refr" }', source_id=names)
    assert "mixes" not in told(own)


def test_a_table_without_rows_is_told(tmp_path, labelled):
    write_materials(labelled.take(np.arange(0)), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="contains no materials"):
        check_data(tmp_path / "none.parquet")
