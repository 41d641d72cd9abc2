"""Errors of predictions for what searches built, and what they tell about further candidates."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from matlode.data.formulas import element_symbols
from matlode.errors import InputError
from matlode.evaluation import designs as job
from matlode.jobs.models import Models
from matlode.properties.designs import Designs
from matlode.run_folder import RunFolder
from matlode.run_records import EvidenceTable
from tests.command_line import matlode
from tests.run_rows import evidence_row

N = 20


def examine(run, factor, lift):
    """Evidence for the best of a run: the predicted bulk moduli times ``factor``, the formation
    energies higher by ``lift``."""
    rows = [
        evidence_row(
            formula=row.formula,
            source_file=Path(row.structure_file).name,
            relaxed_file=row.structure_file,
            formation_energy_ev=row.formation_energy + lift,
            bulk_modulus_gpa=factor * row.bulk_modulus.value,
        )
        for row in run.read_candidates()[:N]
    ]
    table = EvidenceTable(
        primary_potential="a", second_potential="b", hull="c", structures=tuple(rows)
    )
    run.write_evidence(table)


@pytest.fixture
def runs(hard_run, tmp_path, monkeypatch):
    """Two runs, of different goals as far as the evaluation knows."""
    folders = [tmp_path / "as predicted", tmp_path / "worse"]
    for folder, factor, lift in zip(folders, (1.0, 0.5), (0.5, 0.6), strict=True):
        shutil.copytree(hard_run.folder, folder)
        examine(RunFolder(folder), factor, lift)
    read = RunFolder.read_provenance
    monkeypatch.setattr(  # the copies have one goal
        RunFolder,
        "read_provenance",
        lambda self: replace(found := read(self), goal=replace(found.goal, words=self.path.name)),
    )
    monkeypatch.setattr(job, "MIN_DESIGNS", 4)
    monkeypatch.setattr(job, "TREES", replace(job.TREES, n_rounds=30, eta=0.3))
    return folders


def by_goal(rows, endpoint):
    return {row.goal: row for row in rows if row.endpoint == endpoint}


def test_what_is_common_to_goals_is_corrected(runs):
    rows = by_goal(job.measure_designs(runs), job.REFERENCE)
    assert set(rows) == {"as predicted", "worse", "all"}
    of_all = rows["all"]
    assert of_all.rows == sum(rows[goal].rows for goal in ("as predicted", "worse"))
    assert of_all.error > 0.3
    assert of_all.error_corrected < of_all.error / 2
    assert of_all.coverage_corrected > of_all.coverage


def test_other_goals_widen_bulk_moduli(runs, monkeypatch):
    monkeypatch.setattr(job, "compute_factor", np.max)
    rows = by_goal(job.measure_designs(runs), "bulk_modulus")
    assert rows["worse"].coverage == 0
    assert rows["as predicted"].coverage > 0.9
    assert rows["as predicted"].width_ratio > 1


def test_offsets_of_the_potential_are_subtracted(runs, tmp_path):
    file = tmp_path / "offsets.json"
    file.write_text(json.dumps(dict.fromkeys(element_symbols(), 0.5)))
    before, after = (
        by_goal(job.measure_designs(runs, offsets=offsets), job.REFERENCE)["as predicted"].error
        for offsets in (None, file)
    )
    assert after == pytest.approx(before - 0.5, abs=0.1)
    file.write_text('{"Xx": 1}')
    with pytest.raises(InputError, match="JSON object of elements"):
        job.measure_designs(runs, offsets=file)


def test_a_crystal_counts_once_for_a_goal(runs):
    once, twice = (job.measure_designs(folders) for folders in (runs, [*runs, runs[0]]))
    assert once == twice


def test_what_the_designs_tell_is_saved_and_shifts_further_ones(runs, tmp_path):
    job.measure_designs(runs, out=tmp_path / "models")
    designs = Designs.load(tmp_path / "models")
    assert designs.shift is not None
    assert (np.diff(designs.shift.errors) >= 0).all()
    assert Models(tmp_path / "models").properties.designs is not None


def test_few_designs_only_widen(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "MIN_DESIGNS", 10_000)
    rows = job.measure_designs(runs, out=tmp_path / "models")
    assert not by_goal(rows, job.REFERENCE)
    assert Designs.load(tmp_path / "models").shift is None


def test_a_run_without_evidence_is_refused(hard_run):
    with pytest.raises(InputError, match="matlode relax"):
        job.measure_designs([hard_run.folder])


def test_the_command_prints_the_coverage(runs):
    out = matlode("evaluate", "designs", *map(str, runs), "-q").stdout
    assert "bulk_modulus" in out
    assert "→" in out
