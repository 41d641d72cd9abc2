"""Acceptance of real phases, and rejection of crystals that are wrong on purpose."""

import json

import numpy as np
import pytest

from matlode.data.crystals import Crystals
from matlode.data.tables import write_materials
from matlode.errors import InputError
from matlode.evaluation.screens import (
    SCALES,
    build_solid_gases,
    classify_formula,
    find_exchange,
    make_wrong_crystals,
    measure_screens,
)
from matlode.representation.geometry import measure_geometry
from tests.command_line import matlode


@pytest.fixture(scope="module")
def rows():
    return measure_screens(n_real=60, n_wrong=12)


def test_real_phases_are_accepted_and_wrong_crystals_rejected(rows):
    whole = rows[0]
    assert whole.group == "all"
    assert whole.n == 60 == sum(row.n for row in rows[1:] if row.is_real)
    assert whole.accepted == sum(row.accepted for row in rows[1:] if row.is_real)
    assert whole.accepted_share > 0.9
    wrong = {row.group: row for row in rows if not row.is_real}
    assert set(SCALES) < set(wrong)
    # one or two of 12 exchanged formulas may balance in an unexpected way
    assert all(row.accepted_share < 0.2 for row in wrong.values())
    assert wrong["lengths x 2"].rejections["expected_volume"] == 12


def test_the_same_seed_judges_the_same_crystals(rows):
    assert [r.to_json() for r in measure_screens(n_real=60, n_wrong=12)] == [
        r.to_json() for r in rows
    ]


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("Al2O3", ("Al", "O")),
        ("F3KMg", ("K", "F")),
        ("Na2O", None),
        ("AlNi", None),
        ("Fe2O3", None),
    ],
)
def test_only_exchanges_that_cannot_balance_are_made(formula, expected):
    assert find_exchange(formula) == expected


def test_each_wrong_crystal_differs_from_its_phase(starter):
    phases = starter.take(np.arange(40))
    made = dict(make_wrong_crystals(starter, phases, 5, np.random.default_rng(0)))
    assert (made["lengths x 2"].crystals.volumes_a3 / 8).min() > 0
    assert set(made["lengths x 2"].frame["formula"]) <= set(phases.frame["formula"])
    assert not set(made["cation and anion exchanged"].frame["formula"]) & set(
        starter.frame["formula"]
    )


def test_built_gases_have_the_distances_of_their_molecules():
    gases = build_solid_gases()
    assert isinstance(gases, Crystals)
    found = measure_geometry(gases).shortest_distance_ratio
    assert (found > 1.3).sum() == 6  # noble gases; molecules have a bond
    assert found.min() > 0.7


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("O2Ti", "oxides"),
        ("ClNa", "halides"),
        ("Fe3N", "pnictides"),
        ("B2Ti", "borides, carbides, silicides"),
    ],
)
def test_classes_follow_the_most_electronegative_element(formula, expected):
    assert classify_formula(formula) == expected


def test_the_command_prints_both_tables_and_json(rows):
    options = ["evaluate", "screens", "--phases", "60", "--wrong", "12"]
    printed = matlode(*options).stdout
    assert "unseen phases within 1 meV/atom of their hull" in printed
    assert "crystals that are wrong on purpose" in printed
    assert "100.0%" in printed
    assert json.loads(matlode(*options, "--json").stdout) == [row.to_json() for row in rows]


def test_a_table_without_stable_phases_is_refused(tmp_path, starter):
    unstable = starter.take(np.arange(50))
    unstable.frame["energy_above_hull"] = 1.0
    write_materials(unstable, tmp_path)
    with pytest.raises(InputError, match="no test rows within 1 meV/atom"):
        measure_screens(data=tmp_path / "materials.parquet")
