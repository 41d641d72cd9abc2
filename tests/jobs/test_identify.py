"""What is in a pattern is told, with the figure, for files and patterns alike."""

import json

import numpy as np
import pytest

from matlode import Identifier, Known, identify
from matlode.benchmarks.measured_like import LADDER, simulate_measured_pattern
from matlode.data.formulas import parse_formula
from matlode.data.tables import write_materials
from matlode.errors import GridMismatchError, InputError
from matlode.jobs import identify as module
from matlode.jobs.identify import FailedPattern, identify_files
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns
from matlode.screening.known_lines import EXPECTED_SCALE


@pytest.fixture(scope="module")
def cassiterite(starter):
    """As the starter set has it."""
    (row,) = np.flatnonzero((starter.frame.formula == "O2Sn") & (starter.frame.space_group == 136))
    return int(row)


@pytest.fixture(scope="module")
def known(starter, cassiterite, tmp_path_factory):
    """A small table, cassiterite in it."""
    folder = tmp_path_factory.mktemp("known")
    some = np.unique([*np.arange(0, len(starter), 20), cassiterite])
    write_materials(starter.take(some), folder)
    return Known(folder / "materials.parquet", folder / "index")


@pytest.fixture(scope="module")
def sample(starter, cassiterite, tmp_path_factory):
    (curve,) = simulate_patterns(starter.crystals.take([cassiterite]))
    counts = np.random.default_rng(0).poisson(5000 * curve + 300)
    path = tmp_path_factory.mktemp("measured") / "sample.xy"
    np.savetxt(path, np.column_stack([STANDARD_SETTINGS.grid, counts]), fmt="%.4f")
    return path


@pytest.fixture(scope="module")
def answer(known, sample):
    return identify(sample, known=known, top=5, plot=sample.with_suffix(".png"))


def test_cassiterite_is_found_with_its_cell_and_symmetry(answer, starter, cassiterite):
    best = answer.phases[0]
    assert (best.formula, best.space_group) == ("SnO2", 136)
    assert best.crystal_system == "tetragonal"
    lengths = starter.crystals.structure(cassiterite).lattice.abc
    assert best.cell[:3] == pytest.approx(lengths, rel=2e-3)
    assert best.explained > 0.9
    assert best.missing < 0.1
    assert [p.rank for p in answer.phases] == list(range(1, len(answer.phases) + 1))


def test_json_is_what_it_always_was(answer, known, sample):
    found = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    assert list(found) == [
        "pattern", "wavelength_angstrom", "notes", "known", "answer", "probability", "phases",
        "mixture", "symmetry",
        "composition",
    ]  # fmt: skip
    assert list(found["phases"][0]) == [
        "rank", "id", "formula", "space_group", "crystal_system", "score", "match", "scale",
        "cell", "zero_shift_deg", "damping_a2", "explained", "missing",
    ]  # fmt: skip
    assert list(found["symmetry"]) == ["answer", "crystal_systems", "space_groups"]
    assert list(found["composition"]) == ["formulas", "elements"]


def test_patterns_too_short_for_the_models_say_so(sample, known, monkeypatch):
    def refuse(pattern):
        raise GridMismatchError("too little of the grid was measured")

    monkeypatch.setattr(module, "to_grid", refuse)
    found = identify(sample, known=known)
    assert found.phases[0].formula == "SnO2"
    why = "too little of the grid was measured"
    nothing = {"answer": "can't tell", "crystal_systems": {}, "space_groups": {}}
    assert found.to_json()["symmetry"] == {**nothing, "why": why}
    assert found.to_json()["composition"] == {"formulas": {}, "elements": {}, "why": why}


def test_identifier_of_before_is_accepted_with_a_warning(known, sample, answer):
    with pytest.warns(DeprecationWarning, match="Known"):
        old = identify(sample, identifier=Identifier(known.table, known.index), top=5)
    assert old == answer


def test_guesses_are_shares_and_systems(answer):
    assert answer.symmetry.answer in (*answer.symmetry.crystal_systems, "can't tell")
    shares = answer.composition.elements.values()
    assert all(0 < share <= 1 for share in shares)
    assert len(answer.composition.formulas) <= 5


def test_the_figure_is_there(answer, sample):
    assert sample.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_elements_hold_for_phases_and_guesses(known, sample):
    found = identify(sample, elements=["Sn", "O", "Si"], require=["O"], known=known)
    assert found.phases[0].formula == "SnO2"
    for told in found.phases:
        held = set(parse_formula(told.formula))
        assert "O" in held
        assert held <= {"Sn", "O", "Si"}
    for formula in found.composition.formulas:
        assert set(parse_formula(formula)) <= {"Sn", "O", "Si"}


def test_a_second_phase_is_found_in_what_the_first_leaves(known):
    lines = known.lines
    (row,) = np.flatnonzero((lines.formulas == "O2Sn") & (lines.space_groups == 136))[:1]
    crystals = lines.exact(np.arange(len(lines)))
    mixed = simulate_measured_pattern(crystals, int(row), 40, LADDER[0], np.random.default_rng(0))
    other = simulate_measured_pattern(crystals, 40, 40, LADDER[0], np.random.default_rng(1))
    both = type(mixed)(**{**vars(mixed), "intensity": mixed.intensity + 0.6 * other.intensity})
    found = identify(both, known=known)
    told = {part.formula for part in found.mixture}
    assert sum(part.weight_fraction for part in found.mixture) == pytest.approx(1, abs=1e-3)
    second = identify(other, known=known).phases[0].formula
    assert told == {"SnO2", second}


def test_a_confident_answer_is_the_formula(answer):
    assert answer.answer == "SnO2"
    assert answer.probability > 0.5
    (part,) = answer.mixture
    assert (part.formula, part.space_group, part.weight_fraction) == ("SnO2", 136, 1.0)


def test_noise_is_no_phase(known, sample):
    x = np.loadtxt(sample)[:, 0]
    path = sample.with_name("noise.xy")
    np.savetxt(path, np.column_stack([x, np.random.default_rng(0).poisson(200, len(x))]))
    found = identify(path, known=known)
    assert found.answer == "no peaks above the noise"
    assert found.probability == 0
    assert found.phases == found.mixture == ()
    assert found.symmetry.why == found.composition.why == "no peaks above the noise"


def test_a_wrong_phase_is_no_confident_match(known, sample):
    found = identify(sample, elements=["Na", "Cl", "Fe"], known=known)
    assert found.answer == "no confident match"
    assert found.probability < 0.5


def test_many_files_give_one_record_each(known, sample, tmp_path):
    broken = tmp_path / "broken.xy"
    broken.write_text("no numbers")
    first, second, third = identify_files(
        [sample, broken, sample], known=known, plots=tmp_path / "plots"
    )
    assert first == third
    assert first.answer == "SnO2"
    assert isinstance(second, FailedPattern)
    assert "no rows of numbers" in second.error
    assert (tmp_path / "plots" / "sample.xy.png").exists()
    with pytest.raises(InputError, match="unknown element"):
        list(identify_files([sample], elements=["Xx"], known=known))


def test_a_gas_is_a_phase_only_if_asked_for(known):
    lines = known.lines
    gases = np.flatnonzero(lines.gases)
    assert not np.isin(gases, lines.find_rows(None)).any()
    for row in gases:
        only = lines.elements[row]
        assert row in lines.find_rows(only)
        assert row not in lines.find_rows(only | lines.elements[0])


def test_own_crystals_are_added_and_the_index_is_shared(
    known, starter, cassiterite, tmp_path, monkeypatch
):
    table = tmp_path / "table"
    write_materials(starter.take(np.arange(0, len(starter), 200)), table)
    own = tmp_path / "own"
    own.mkdir()
    starter.crystals.structure(cassiterite).to(str(own / "mine.cif"))
    monkeypatch.setenv("MATLODE_SHARED_CACHE", str(tmp_path / "shared"))
    more = Known(table / "materials.parquet", library=(own,))
    lines = more.lines
    assert lines.ids[-1].endswith("mine.cif")
    assert (lines.formulas[-1], lines.space_groups[-1]) == ("O2Sn", 136)
    # a measured cell is expected as it is, a computed one 1 % too large
    assert lines.expected_scales[-1] == 1
    assert lines.expected_scales[0] == pytest.approx(EXPECTED_SCALE)
    assert (tmp_path / "shared" / "lines").is_dir()
    assert more.index_folder.is_relative_to(tmp_path / "shared")
    assert more.index_folder != Known(table / "materials.parquet").index_folder


def test_the_index_is_kept_and_used_again(known):
    assert (known.index_folder / "index.json").is_file()
    assert len(list(known.index_folder.glob("latents-*.npy"))) == 1
    again = Known(known.table, known.index)
    assert len(again.lines) == len(known.lines)


def test_what_cannot_be_used_is_told(known, sample, tmp_path):
    with pytest.raises(InputError, match='unknown element "Xx"'):
        identify(sample, elements=["Xx"], known=known)
    with pytest.raises(InputError, match=r"\.gif"):
        identify(sample, plot=tmp_path / "plot.gif", known=known)
    with pytest.raises(InputError, match="no structure table"):
        identify(sample, known=Known(tmp_path / "none.parquet"))
    empty = tmp_path / "empty.xy"
    empty.write_text("")
    with pytest.raises(InputError, match=r"empty\.xy"):
        identify(empty, known=known)
