"""A search on disk as Python sees it."""

import pandas as pd
import pytest
from ase import Atoms
from pymatgen.core import Structure

import matlode
from matlode.errors import InputError
from matlode.jobs.runs import Run, explain
from tests.command_line import matlode as command


def test_candidates_are_found_by_rank_and_formula(hard_run):
    run = Run.load(hard_run.folder)
    assert len(run) == len(run.candidates) == 20
    first = run[1]
    assert first == run["1"] == run[first.formula] == next(iter(run))
    amounts = Structure.from_file(run.folder / first.row.structure_file).composition
    assert run[amounts.formula.replace(" ", "")].rank == 1  # however it is written
    assert [candidate.rank for candidate in run] == list(range(1, 21))


def test_what_is_not_there_is_named(hard_run):
    with pytest.raises(InputError, match="Ranks are 1 to 20"):
        hard_run[21]
    with pytest.raises(InputError, match="NaCl is not among the 20 candidates"):
        hard_run["NaCl"]
    with pytest.raises(InputError, match="no such run"):
        Run.load(hard_run.folder / "nothing")


def test_crystals_are_those_of_pymatgen_and_ase(hard_run):
    structures, atoms = hard_run.structures(), hard_run.atoms()
    assert all(isinstance(structure, Structure) for structure in structures)
    assert all(isinstance(one, Atoms) for one in atoms)
    assert [len(structure) for structure in structures] == list(map(len, atoms))
    assert atoms[2].info["rank"] == 3
    assert hard_run[1].relaxed_structure() is None


def test_a_candidate_has_all_predictions(hard_run):
    best = hard_run[1]
    value = best.predictions["bulk_modulus"].value
    assert value == pytest.approx(best.row.bulk_modulus.value, abs=1e-3)
    assert best.evidence is None
    assert best.explanation.verdicts
    assert isinstance(hard_run.evidence, pd.DataFrame)
    assert hard_run.evidence.empty


def test_representations_are_short(hard_run):
    for thing in (hard_run, hard_run[1]):
        assert len(repr(thing)) < 200
        assert "<table>" in thing._repr_html_()


def test_the_command_explains_by_rank(hard_run):
    ended = command("explain", hard_run.folder, 3)
    assert ended.stdout == explain(hard_run, 3) + "\n"
    assert command("explain", hard_run.folder, hard_run[3].formula).stdout == ended.stdout
    assert command("explain", hard_run.folder, 99).returncode == 1


def test_show_prints_as_many_as_are_asked_for(hard_run):
    text = command("show", hard_run.folder, "--top", 3).stdout
    assert "the first 3 of 20" in text
    assert text.count("accepted") + text.count("rejected") == 3


def test_the_verbs_are_there():
    names = ("search", "resume", "relax", "solve", "identify", "explain", "xrd", "export")
    assert all(callable(getattr(matlode, name)) for name in names)
