"""Coverage of intervals for what searches designed and a potential computed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from matlode.errors import InputError
from matlode.evaluation import designs as job
from matlode.jobs.models import Models
from matlode.properties.designs import Designs
from matlode.run_folder import RunFolder
from matlode.run_records import EvidenceTable
from tests.command_line import matlode
from tests.run_rows import evidence_row

N = 3


def examine(run, factor):
    """Evidence for the best of a run: the predicted moduli times ``factor``."""
    rows = [
        evidence_row(
            formula=row.formula,
            source_file=Path(row.structure_file).name,
            relaxed_file=row.structure_file,
            formation_energy_ev=row.formation_energy,
            bulk_modulus_gpa=factor * row.bulk_modulus.value,
            shear_modulus_gpa=row.shear_modulus.value,
        )
        for row in run.read_candidates()[:N]
    ]
    table = EvidenceTable(judge="a", witness="b", hull="c", structures=tuple(rows))
    run.write_evidence(table)


@pytest.fixture
def runs(hard_run, tmp_path):
    folders = [tmp_path / "as predicted", tmp_path / "half"]
    for folder, factor in zip(folders, (1.0, 0.5), strict=True):
        shutil.copytree(hard_run.folder, folder)
        examine(RunFolder(folder), factor)
    return folders


def test_computed_values_as_predicted_are_inside(runs):
    rows = {row.endpoint: row for row in job.measure_designs(runs[:1]) if row.goal != "all"}
    assert set(rows) == set(job.CALIBRATED)
    for row in rows.values():
        assert (row.rows, row.coverage) == (N, 1)


def test_other_goals_widen(runs, monkeypatch):
    read = job._read_designs
    monkeypatch.setattr(  # the copies have one goal
        job, "_read_designs", lambda run, models: replace(read(run, models), goal=run.path.name)
    )
    monkeypatch.setattr(job, "compute_factor", np.max)
    rows = {(row.goal, row.endpoint): row for row in job.measure_designs(runs)}
    half, all_rows = rows["half", "bulk_modulus"], rows["all", "bulk_modulus"]
    assert half.coverage == 0
    assert rows["as predicted", "bulk_modulus"].factor > 1
    assert (all_rows.rows, all_rows.coverage) == (2 * N, 0.5)


def test_errors_are_saved_beside_models(runs, tmp_path):
    rows = job.measure_designs(runs, out=tmp_path / "models")
    saved = Designs.load(tmp_path / "models").errors["bulk_modulus"]
    (whole,) = (row for row in rows if row.goal == "all" and row.endpoint == "bulk_modulus")
    assert len(saved) == whole.rows == 2 * N
    assert np.mean(saved <= 1) == whole.coverage
    assert Models(tmp_path / "models").properties.designs is not None


def test_a_run_without_evidence_is_refused(hard_run):
    with pytest.raises(InputError, match="matlode relax"):
        job.measure_designs([hard_run.folder])


def test_the_command_prints_the_coverage(runs):
    out = matlode("evaluate", "designs", str(runs[0]), "-q").stdout
    assert "bulk_modulus" in out
    assert "100%" in out
