"""Evidence is gathered for files and runs, written down, and survives an interruption."""

import json
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from matlode.data.structures import read_structure
from matlode.engine import Here, Processes
from matlode.errors import GoalError, InputError
from matlode.evidence import examination as module
from matlode.evidence.examination import Calculation, Examination, calculate
from matlode.jobs.relax import make_sources, relax_run, relax_structures
from matlode.run_folder import RunFolder
from tests.command_line import matlode

pytestmark = pytest.mark.filterwarnings("ignore")  # of the potentials' packages


def cu3au(edge_a=3.9):
    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return Structure(Lattice.cubic(edge_a), ["Au", "Cu", "Cu", "Cu"], sites)


@pytest.fixture
def examination(emt, starter, tmp_path):
    return Examination(starter, primary="emt", secondary="emt", cache=tmp_path / "cache")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.cif"
    cu3au().to(str(path))
    return path


def test_a_file_gets_its_evidence(examination, file, tmp_path):
    (row,) = relax_structures(make_sources([file]), tmp_path / "out", examination)
    assert row.formula == "Cu3Au"
    assert row.relaxed
    assert row.unchanged
    assert row.space_group == 221
    assert row.disagreement_ev == 0
    assert row.potentials_agree
    assert row.mechanics.born_stable
    assert row.mechanics.stable_at_gamma
    assert row.mechanics.eos_bulk_modulus_gpa == pytest.approx(
        row.mechanics.bulk_modulus_gpa, rel=0.05
    )
    # against the elements and the other phases of copper and gold in the table
    assert row.hull.known_phases >= row.hull.competing_phases > 0
    assert row.hull.energy_above_hull_ev >= row.formation_energy_ev
    assert row.hull.second_potential_energy_above_hull_ev == pytest.approx(
        row.hull.energy_above_hull_ev
    )
    written = json.loads((tmp_path / "out" / "evidence.json").read_text())
    assert written["primary_potential"].startswith("emt:ase-")
    assert written["structures"][0]["elasticity"]["born_stable"]
    assert len(pd.read_csv(tmp_path / "out" / "evidence.csv")) == 1
    assert RunFolder(tmp_path / "out").read_evidence().structures == (row,)
    cif = (tmp_path / "out" / row.relaxed_file).read_text()
    assert "relaxed in emt" in cif
    relaxed = Structure.from_str(cif, fmt="cif")
    assert relaxed.composition.reduced_formula == "Cu3Au"
    assert relaxed.volume == pytest.approx(cu3au().volume * (1 + row.volume_change), rel=1e-3)


def test_crystals_in_memory_are_relaxed_as_files_are(examination, file, tmp_path):
    atoms = AseAtomsAdaptor.get_atoms(cu3au())
    of_file, *others = relax_structures(
        make_sources([file, cu3au(), atoms]), tmp_path / "out", examination
    )
    assert [row.source_file for row in others] == ["structure-1.cif", "structure-2.cif"]
    for row in others:
        assert row.formation_energy_ev == of_file.formation_energy_ev
        assert (tmp_path / "out" / row.relaxed_file).exists()
    with pytest.raises(InputError, match="structure 0 has no cell"):
        make_sources([Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])])


def test_an_energy_that_nothing_has_is_not_believed(examination, file, tmp_path, monkeypatch):
    monkeypatch.setattr(Examination, "formation", lambda *_: -11586.7)
    (row,) = relax_structures(make_sources([file]), tmp_path / "out", examination)
    assert "-11586.7 eV/atom" in row.fell_apart
    assert row.hull is None
    assert "energy_above_hull_ev" not in row.to_columns()
    assert "-11586.7 eV/atom" in (tmp_path / "out" / row.relaxed_file).read_text()


def test_a_run_gets_evidence_for_its_best(examination, hard_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(hard_run.folder, folder)
    before = (folder / "candidates.csv").read_bytes()
    rows = json.loads((folder / "candidates.json").read_text())
    built = [row for row in rows if row["rank"] > 0]
    # the potential knows a few metals only
    cu3au().to(str(folder / built[0]["structure_file"]), fmt="cif")
    (row,) = relax_run(folder, 1, examination)
    assert row.predicted["bulk_modulus_gpa"] == built[0]["bulk_modulus"]
    assert (folder / "candidates.csv").read_bytes() == before
    page = (folder / "report.html").read_text()
    assert "Verification with two potentials" in page
    assert row.relaxed_file in page
    (other,) = relax_run(folder, 1, examination, ranks=[built[0]["rank"]])
    assert other == row
    with pytest.raises(InputError, match="not a finished run"):
        relax_run(tmp_path, 1, examination)


def test_an_interruption_keeps_what_is_done(examination, file, tmp_path, monkeypatch):
    other = tmp_path / "other.cif"
    cu3au(4.0).to(str(other))
    for laboratory in examination.laboratories:
        laboratory.relaxed(read_structure(file))

    def interrupted(calculation):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_run_calculation", interrupted)
    notes = []
    sources = [
        replace(one, formula=n) for n, one in zip("12", make_sources([file, other]), strict=True)
    ]
    with pytest.raises(KeyboardInterrupt):
        relax_structures(
            sources, tmp_path / "out", examination, lambda *event: notes.append(event[-1])
        )
    rows = json.loads((tmp_path / "out" / "evidence.json").read_text())["structures"]
    assert [row["formula"] for row in rows] == ["1"]
    assert "energy_above_hull_ev" not in rows[0]
    assert "about" in notes[0]


def test_nothing_is_computed_twice(examination, monkeypatch):
    laboratory = examination.laboratories[0]
    work = [Calculation(cu3au(), laboratory, elastic=True)]
    calculate(work, Here())
    assert work[0].is_done

    def again(calculation):
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "_run_calculation", again)
    calculate(work, Here())


OWN = """
from ase.calculators.emt import EMT

def make():
    return EMT()

make.corrected = True
"""


def test_an_own_calculator_computes_the_same_on_two_workers(starter, file, tmp_path, monkeypatch):
    (tmp_path / "mypotential.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    other = tmp_path / "other.cif"
    cu3au(4.0).to(str(other))
    mine = "mypotential:make"
    with Processes(2) as engine:
        for name, where in (("here", None), ("there", engine)):
            examination = Examination(
                starter, primary=mine, secondary=mine, cache=tmp_path / name / "cache"
            )
            sources = make_sources([file, other, file])
            relax_structures(sources, tmp_path / name, examination, engine=where)
    here, there = ((tmp_path / name / "evidence.csv").read_bytes() for name in ("here", "there"))
    assert here == there
    assert len(here.splitlines()) == 4
    cached = [len(list((tmp_path / name / "cache").rglob("*.json"))) for name in ("here", "there")]
    assert cached[0] == cached[1]
    key = json.loads((tmp_path / "here" / "evidence.json").read_text())["primary_potential"]
    assert re.fullmatch("mypotential:make:[0-9a-f]{64}", key)


def test_a_worker_with_a_cache_of_its_own_gives_its_results(examination, file):
    (structure,) = [Structure.from_file(file)]
    here = examination.laboratories[0]
    elsewhere = replace(here, folder=here.folder / "elsewhere")
    relaxed, elasticity = Calculation(structure, elsewhere, elastic=True).do()
    assert not here.has_relaxed(structure)
    here.keep(structure, relaxed, elasticity)
    assert Calculation(structure, here, elastic=True).is_done


@pytest.mark.parametrize("name", ["nosuchmodule:make", "math:nothing", ":", "math:"])
def test_calculators_that_are_not_there_are_told(name, starter):
    with pytest.raises(GoalError, match="expected MODULE:FACTORY"):
        Examination(starter, primary=name)


@pytest.mark.slow
def test_real_potentials_relax_rock_salt(tmp_path, monkeypatch):
    pytest.importorskip("sevenn")
    pytest.importorskip("chgnet")
    monkeypatch.setenv("MATLODE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "salt.cif"
    salt = Structure.from_spacegroup(
        225, Lattice.cubic(5.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    salt.to(str(path))
    done = matlode(
        "relax", path, "--out", tmp_path / "out", "--potential", "sevennet-0", "--workers", 1,
        "--no-hull", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    relaxed = Structure.from_file(tmp_path / "out" / row["relaxed_file"])
    # PBE: 5.69 Å, the Materials Project's; K 24 GPa
    assert relaxed.lattice.a == pytest.approx(5.69, abs=0.06)
    assert row["space_group"] == 225
    assert row["bulk_modulus_gpa"] == pytest.approx(24, abs=6)
    assert abs(row["formation_energy_ev"] - -2.1) < 0.25
    assert row["disagreement_ev"] < 0.1
    assert np.isfinite(row["lowest_gamma_thz"])
