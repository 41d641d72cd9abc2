"""What is exported comes back the same through the library that owns the format."""

import csv
import json
import shutil
from pathlib import Path

import ase.io
import jsonschema
import pandas as pd
import pytest
from ase.db import connect
from monty.serialization import loadfn
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifFile

from matlode.data.readers import read_materials
from matlode.data.structures import read_structure
from matlode.data.symmetry import make_symmetrised_cif
from matlode.errors import GoalError, InputError
from matlode.evidence.hull import correct_energy
from matlode.exchange.crystals import read_crystals
from matlode.exchange.entries import _is_corrected
from matlode.exchange.formats import FORMATS, export
from matlode.exchange.schema import make_candidates_schema
from matlode.jobs.runs import Run
from matlode.run_folder import RunFolder
from matlode.run_records import EvidenceTable
from tests.command_line import matlode
from tests.run_rows import evidence_row

N = 4
"""Candidates that are exported."""
ENERGY_EV_PER_ATOM = -7.5
STRAIN = 0.02
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def run(hard_run, tmp_path_factory):
    """A run whose second candidate is relaxed, and whose third is not at rest."""
    path = tmp_path_factory.mktemp("exchange") / "run"
    shutil.copytree(hard_run.folder, path)
    folder = RunFolder(path)
    rows = []
    for row, at_rest in zip(folder.read_candidates()[1:3], (True, False), strict=True):
        source = path / row.structure_file
        structure = read_structure(source)
        structure.apply_strain(STRAIN)
        file = folder.write_relaxed(source.stem, make_symmetrised_cif(structure))
        rows.append(
            evidence_row(
                formula=row.formula, source_file=source.name, relaxed_file=file, relaxed=at_rest,
                primary_potential={"energy_per_atom_ev": ENERGY_EV_PER_ATOM},
            )
        )  # fmt: skip
    primary = "sevennet-l3i5:sevenn-1:7net-l3i5"
    folder.write_evidence(
        EvidenceTable(
            primary_potential=primary, second_potential="w", hull="h", structures=tuple(rows)
        )
    )
    return path


@pytest.fixture(scope="module")
def crystals(run):
    return read_crystals(RunFolder(run), N)


def assert_same(found, crystals):
    matcher = StructureMatcher(scale=False, primitive_cell=False, attempt_supercell=False)
    assert len(found) == len(crystals)
    for structure, crystal in zip(found, crystals, strict=True):
        assert matcher.fit(structure, crystal.structure)
        assert structure.volume == pytest.approx(crystal.structure.volume, rel=1e-5)


def test_relaxed_crystals_stand_for_those_that_potentials_relaxed(run, crystals):
    assert [crystal.evidence is not None for crystal in crystals] == [False, True, False, False]
    built = read_structure(run / crystals[1].row.structure_file)
    growth = crystals[1].structure.volume / built.volume
    assert growth == pytest.approx((1 + STRAIN) ** 3, rel=1e-4)
    assert crystals[1].energy_ev == ENERGY_EV_PER_ATOM * len(crystals[1].structure)
    assert crystals[0].energy_ev is None


def test_a_run_shows_its_evidence(run, crystals):
    found = Run.load(run)
    assert found.evidence["relaxed"].tolist() == [True, False]
    assert found[1].evidence is None
    assert "above the hull" in repr(found[2].evidence)
    assert_same([found[2].relaxed_structure()], crystals[1:2])


def test_cifs_come_back_with_audit_names(run, crystals, tmp_path):
    out = export(run, "cif", tmp_path / "cif", top=N)
    files = sorted(out.glob("*.cif"))
    assert [file.stem for file in files] == [crystal.name for crystal in crystals]
    assert_same([Structure.from_file(file) for file in files], crystals)
    for file, crystal in zip(files, crystals, strict=True):
        text = file.read_text(encoding="ascii")
        (block,) = CifFile.from_str(text).data.values()
        assert block["_audit_creation_date"] == f"{crystal.created:%Y-%m-%d}"
        assert "matlode" in block["_audit_creation_method"]
        assert "not synthesised" in " ".join(block["_audit_creation_method"].split())
        assert block["_matlode_rank"] == str(crystal.row.rank)
        assert ("_audit_update_record" in block.data) == (crystal.evidence is not None)


def test_poscars_come_back(run, crystals, tmp_path):
    out = export(run, "poscar", tmp_path / "poscar", top=N)
    assert_same([Structure.from_file(out / f"POSCAR_{c.name}") for c in crystals], crystals)
    assert len(read_materials(out)) == N


def test_extended_xyz_comes_back_with_rows_and_energies(run, crystals, tmp_path):
    found = ase.io.read(export(run, "extxyz", tmp_path / "best.xyz", top=N), ":")
    assert_same([AseAtomsAdaptor.get_structure(atoms) for atoms in found], crystals)
    assert [atoms.info["rank"] for atoms in found] == [1, 2, 3, 4]
    assert found[1].get_potential_energy() == pytest.approx(crystals[1].energy_ev)
    assert found[0].calc is None


def test_an_ase_database_can_be_selected_from(run, crystals, tmp_path):
    with connect(export(run, "ase-db", tmp_path / "best.db", top=N)) as database:
        rows = list(database.select(sort="rank"))
        assert_same([AseAtomsAdaptor.get_structure(row.toatoms()) for row in rows], crystals)
        (row,) = database.select("rank=2")
    assert row.energy == pytest.approx(crystals[1].energy_ev)
    assert row.name == crystals[1].name
    assert row.data["novelty"] == crystals[1].row.novelty
    assert row.bulk_modulus == pytest.approx(crystals[1].row.bulk_modulus.value)


def test_entries_have_the_corrections_of_the_hull(run, crystals, tmp_path):
    (entry,) = loadfn(export(run, "pymatgen", tmp_path / "entries.json", top=N))
    assert_same([entry.structure], crystals[1:2])
    assert entry.uncorrected_energy == pytest.approx(crystals[1].energy_ev)
    expected = correct_energy(entry.structure, ENERGY_EV_PER_ATOM, "sevennet-l3i5")
    assert entry.energy_per_atom == pytest.approx(expected)
    assert entry.data["rank"] == 2


def test_entries_need_energies(hard_run, tmp_path):
    with pytest.raises(InputError, match="matlode relax"):
        export(hard_run.folder, "pymatgen", tmp_path / "entries.json")


def test_optimade_lines_pass_its_models_and_come_back(run, crystals, tmp_path):
    from optimade.models import StructureResource

    header, info, *lines = (
        export(run, "optimade", tmp_path / "o.jsonl", top=N).read_text().split("\n")[:-1]
    )
    assert json.loads(header)["x-optimade"]["meta"]["api_version"].startswith("1.")
    known = json.loads(info)["properties"]
    found = []
    for line in lines:
        resource = StructureResource.model_validate_json(line)
        own = {name for name in json.loads(line)["attributes"] if name.startswith("_")}
        assert own <= set(known)
        found.append(read_materials(json.loads(line)).crystals.structure(0))
        assert resource.attributes.nsites == len(found[-1])
    assert_same(found, crystals)


def test_csv_is_read_back_by_matlode(run, crystals, tmp_path):
    out = export(run, "csv", tmp_path / "best.csv", top=N)
    found = read_materials(out)
    assert_same(found.crystals.structures(), crystals)
    table = pd.read_csv(out)
    assert table["computed_energy_above_hull_ev"].notna().tolist() == [False, True, False, False]
    assert table["formula"].tolist() == [crystal.row.formula for crystal in crystals]


def test_lemat_csv_holds_dictionaries_of_pymatgen(run, crystals, tmp_path):
    with export(run, "lemat", tmp_path / "lemat.csv", top=N).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert_same([Structure.from_dict(json.loads(row["structure"])) for row in rows], crystals)


def test_what_exists_is_kept(run, tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        export(run, "csv", tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "mine"
    with pytest.raises(GoalError, match='Did you mean "extxyz"'):
        export(run, "xyz", tmp_path / "x")
    with pytest.raises(InputError, match="no such run"):
        export(tmp_path / "nothing", "cif", tmp_path / "y")


def test_the_command_writes_every_format(run, tmp_path):
    for to in FORMATS:
        ended = matlode("export", run, "--to", to, "--out", tmp_path / to, "--top", 2)
        assert ended.returncode == 0, ended.stderr
        assert (tmp_path / to).exists()


def test_the_schema_of_candidates_is_the_published_one(run):
    schema = make_candidates_schema()
    assert json.loads((DOCS / "candidates.schema.json").read_text()) == schema
    jsonschema.Draft202012Validator.check_schema(schema)
    rows = json.loads((run / "candidates.json").read_text())
    jsonschema.validate(rows, schema)
    provenance = json.loads((run / "provenance.json").read_text())
    assert f"urn:matlode:candidates:{provenance['schemas']['candidates.json']}" == schema["$id"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{**rows[0], "rank": "first"}], schema)


@pytest.mark.parametrize(
    ("key", "corrected"),
    [("chgnet:chgnet-9:0.3.0", True), ("sevennet-0:sevenn-9:7net-0", False),
     ("tests.exchange.test_formats:calculator:0123", True)],
)  # fmt: skip
def test_corrections_are_known_without_the_package(key, corrected):
    assert _is_corrected(key) is corrected


def calculator():
    """A calculator of one's own."""


calculator.corrected = True
