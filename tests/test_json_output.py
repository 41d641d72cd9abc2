"""The JSON that commands print about runs: its keys, their order and types are an interface."""

from __future__ import annotations

import json
import shutil

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from matlode.cli import app

CANDIDATE_TYPES = {
    "rank": int, "formula": str, "chemical_system": str, "space_group": int,
    "crystal_system": str, "prototype": str, "bulk_modulus": float,
    "bulk_modulus_low": float, "bulk_modulus_high": float, "shear_modulus": float,
    "shear_modulus_low": float, "shear_modulus_high": float, "formation_energy": float,
    "hull_probability_50_mev": float, "charge_neutral": str, "novelty": str, "nearest_known": str,
    "structure_file": str, "verdict": str, "reasons": str, "merit": float, "in_ranges": bool,
}  # fmt: skip
EVIDENCE_TYPES = {
    "formula": str, "source_file": str, "relaxed_file": str, "relaxed": bool, "fell_apart": str,
    "steps": int, "volume_change": float, "space_group": int, "unchanged": bool,
    "formation_energy_ev": float, "second_potential_formation_energy_ev": float,
    "disagreement_ev": float, "potentials_agree": bool, "energy_above_hull_ev": float,
    "second_potential_energy_above_hull_ev": float,
    "decomposition": str, "competing_phases": int, "known_phases": int, "bulk_modulus_gpa": float,
    "eos_bulk_modulus_gpa": float, "shear_modulus_gpa": float, "youngs_modulus_gpa": float,
    "poisson_ratio": float, "pugh_ratio": float, "vickers_hardness_gpa": float,
    "vickers_hardness_chen_gpa": float, "born_stable": bool, "lowest_gamma_thz": float,
    "stable_at_gamma": bool,
}  # fmt: skip
STANDING_TYPES = {
    "blocks_done": int, "blocks_wanted": int, "best_merit": float,
    "best_formula": str,
}  # fmt: skip


def printed(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def types_of(row):
    return {name: type(value) for name, value in row.items()}


def assert_types(row, types):
    assert list(types_of(row).items()) == list(types.items())


def test_candidates(hard_run):
    rows = printed("show", hard_run.folder, "--json")
    assert rows == json.loads((hard_run.folder / "candidates.json").read_text())
    for row in rows:
        assert_types(row, CANDIDATE_TYPES)
    first = next(row for row in rows if row["rank"] == 1)
    assert printed("explain", hard_run.folder, first["formula"], "--json") == first


def test_an_unfinished_search(hard_run, tmp_path):
    folder = tmp_path / hard_run.folder.name
    shutil.copytree(hard_run.folder, folder)
    (folder / "provenance.json").unlink()
    assert_types(printed("show", folder, "--json"), STANDING_TYPES)


@pytest.mark.filterwarnings("ignore")  # of the potentials' packages
def test_evidence(emt, tmp_path, monkeypatch):
    monkeypatch.setenv("MATLODE_CACHE", str(tmp_path / "cache"))
    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    structure = Structure(Lattice.cubic(3.9), ["Au", "Cu", "Cu", "Cu"], sites)
    structure.to(str(tmp_path / "mine.cif"))
    out = tmp_path / "out"
    potentials = ("--potential", emt, "--second-potential", emt)
    arguments = ("relax", tmp_path / "mine.cif", *potentials, "--workers", 1,
                 "--out", out)  # fmt: skip
    (row,) = printed(*arguments, "--json")
    assert_types(row, EVIDENCE_TYPES)
    written = json.loads((out / "evidence.json").read_text())
    assert list(written) == [
        "schema",
        "matlode",
        "primary_potential",
        "second_potential",
        "hull",
        "structures",
    ]
    (full,) = written["structures"]
    assert {name: full[name] for name in row} == row
    assert list(full) == [
        *EVIDENCE_TYPES,
        "primary_potential",
        "second_potential",
        "hull",
        "elasticity",
    ]
    assert "Cu3Au" in CliRunner().invoke(app, list(map(str, arguments))).stdout
