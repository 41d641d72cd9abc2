"""What is in a pattern is told, with the figure, for files and patterns alike."""

import json

import numpy as np
import pytest

from matlode import Identifier, identify
from matlode.benchmarks.measured_like import LADDER, simulate_measured_pattern
from matlode.data.formulas import parse_formula
from matlode.data.tables import write_materials
from matlode.errors import InputError
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns


@pytest.fixture(scope="module")
def cassiterite(starter):
    """As the starter set has it."""
    (row,) = np.flatnonzero(
        (starter.frame["formula"] == "O2Sn") & (starter.frame["space_group"] == 136)
    )
    return int(row)


@pytest.fixture(scope="module")
def identifier(starter, cassiterite, tmp_path_factory):
    """A small table, cassiterite in it."""
    folder = tmp_path_factory.mktemp("known")
    some = np.unique([*np.arange(0, len(starter), 20), cassiterite])
    write_materials(starter.take(some), folder)
    return Identifier(folder / "materials.parquet", index=folder / "index")


@pytest.fixture(scope="module")
def sample(starter, cassiterite, tmp_path_factory):
    (curve,) = simulate_patterns(starter.crystals.take([cassiterite]))
    counts = np.random.default_rng(0).poisson(5000 * curve + 300)
    path = tmp_path_factory.mktemp("measured") / "sample.xy"
    np.savetxt(path, np.column_stack([STANDARD_SETTINGS.grid, counts]), fmt="%.4f")
    return path


@pytest.fixture(scope="module")
def answer(identifier, sample):
    return identify(sample, identifier=identifier, top=5, plot=sample.with_suffix(".png"))


def test_cassiterite_is_found_with_its_cell_and_symmetry(answer, starter, cassiterite):
    best = answer["phases"][0]
    assert (best["formula"], best["space_group"]) == ("SnO2", 136)
    assert best["crystal_system"] == "tetragonal"
    lengths = starter.crystals.structure(cassiterite).lattice.abc
    assert best["cell"][:3] == pytest.approx(lengths, rel=2e-3)
    assert best["explained"] > 0.9
    assert best["missing"] < 0.1
    assert [p["rank"] for p in answer["phases"]] == list(range(1, len(answer["phases"]) + 1))


def test_the_answer_is_json_and_has_all_its_parts(answer):
    assert json.loads(json.dumps(answer)) == answer
    assert answer["symmetry"]["answer"] in (*answer["symmetry"]["crystal_systems"], "can't tell")
    shares = answer["composition"]["elements"].values()
    assert all(0 < share <= 1 for share in shares)
    assert len(answer["composition"]["formulas"]) <= 5


def test_the_figure_is_there(answer, sample):
    assert sample.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_elements_hold_for_phases_and_guesses(identifier, sample):
    found = identify(sample, elements=["Sn", "O", "Si"], require=["O"], identifier=identifier)
    assert found["phases"][0]["formula"] == "SnO2"
    for told in found["phases"]:
        held = set(parse_formula(told["formula"]))
        assert "O" in held
        assert held <= {"Sn", "O", "Si"}
    for formula in found["composition"]["formulas"]:
        assert set(parse_formula(formula)) <= {"Sn", "O", "Si"}


def test_a_second_phase_is_found_in_what_the_first_leaves(identifier):
    known = identifier.known
    (row,) = np.flatnonzero((known.formulas == "O2Sn") & (known.space_groups == 136))[:1]
    crystals = known.exact(np.arange(len(known)))
    mixed = simulate_measured_pattern(crystals, int(row), 40, LADDER[0], np.random.default_rng(0))
    other = simulate_measured_pattern(crystals, 40, 40, LADDER[0], np.random.default_rng(1))
    both = type(mixed)(**{**vars(mixed), "intensity": mixed.intensity + 0.6 * other.intensity})
    found = identify(both, identifier=identifier)
    told = {p["formula"] for p in found["phases"][:1] + found["beside"][:1]}
    second = identify(other, identifier=identifier)["phases"][0]["formula"]
    assert told == {"SnO2", second}


def test_the_index_is_kept_and_used_again(identifier):
    assert (identifier.folder / "index.json").is_file()
    again = Identifier(identifier.known_table, index=identifier.index)
    assert len(again.known) == len(identifier.known)


def test_what_cannot_be_used_is_told(identifier, sample, tmp_path):
    with pytest.raises(InputError, match='"Xx" is no element'):
        identify(sample, elements=["Xx"], identifier=identifier)
    with pytest.raises(InputError, match=r"\.gif"):
        identify(sample, plot=tmp_path / "plot.gif", identifier=identifier)
    with pytest.raises(InputError, match="no structure table"):
        identify(sample, identifier=Identifier(tmp_path / "none.parquet"))
    empty = tmp_path / "empty.xy"
    empty.write_text("")
    with pytest.raises(InputError, match=r"empty\.xy"):
        identify(empty, identifier=identifier)
