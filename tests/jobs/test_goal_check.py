"""Goals are refused at once: unknown names, and values that no known material comes near."""

import subprocess
import sys

import pytest

from matlode.errors import GoalError, InputError
from matlode.jobs.goal_check import check_goal, read_elements
from matlode.jobs.options import make_sections


def test_the_elements_are_those_of_the_known_materials(known):
    assert sorted(read_elements(None)) == sorted(known.elements)


def test_a_table_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_text("no table")
    with pytest.raises(InputError, match=r"x\.parquet"):
        read_elements(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("options", "unit"),
    [
        ({"near": "bulk_modulus=200000"}, "MPa"),
        ({"within": {"band_gap": "1100..1700"}}, "meV"),
        ({"within": "density=7000..8000"}, "kg/m³"),
        ({"near": {"vickers_hardness": 40000}}, "MPa"),
    ],
)
def test_another_unit_is_guessed(options, unit):
    with pytest.raises(GoalError, match=f"Did you mean {unit}"):
        check_goal(make_sections(None, **options))


@pytest.mark.parametrize(
    "options",
    [
        {"within": "bulk_modulus > 500"},  # stiffer than any known one: what searches are for
        {"within": "bulk_modulus < 1000"},
        {"near": "band_gap=1.4"},
        {"within": "hull_probability_50_mev > 0.9"},
        {"near": "thermal_expansion=1e-5"},
    ],
)
def test_values_within_reach_are_not_doubted(options):
    assert check_goal(make_sections(None, **options)).endpoints


def test_nothing_heavy_is_imported_for_a_goal_that_is_refused():
    code = (
        "import sys\n"
        "from matlode import cli\n"
        "sys.argv = ['matlode', 'search', '--maximize', 'bulk_module', '--near', 'band_gap=1']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 1\n"
        "heavy = {'torch', 'numba', 'sklearn', 'xgboost', 'optuna', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert 'Did you mean "bulk_modulus"' in ended.stderr
