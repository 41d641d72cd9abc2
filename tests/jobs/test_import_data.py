from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

from matlode.data import tables as tables_module
from matlode.data.cells import Cell
from matlode.data.labels import Column
from matlode.data.readers import open_source, tabular
from matlode.data.readers import source as source_module
from matlode.data.tables import TABLE_FILE, Materials, read_table, write_materials
from matlode.errors import InputError
from matlode.jobs import import_data as import_module_
from matlode.jobs import import_pool
from matlode.jobs.import_data import PROVENANCE_FILE, Imported, ImportSettings, import_data
from matlode.testing import ROUND_OFF, perovskite, rock_salt
from tests.command_line import matlode

ALLOY = Structure(Lattice.cubic(3.8), [{"Cu": 0.25, "Au": 0.75}], [[0, 0, 0]])


@pytest.fixture
def table(tmp_path) -> Path:
    rows = [
        {"id": "poor", "structure": rock_salt().as_dict(), "k": "-", "m": 8.0},
        {"id": "perovskite", "structure": perovskite().as_dict(), "k": "1.7", "m": None},
        {"id": "rich", "structure": (rock_salt() * (1, 1, 2)).as_dict(), "k": 0.25, "m": 16.0},
        {"id": "alloy", "structure": ALLOY.as_dict(), "k": "na", "m": None},
        {"id": "broken", "structure": {"sites": [], "lattice": {}}, "k": 1, "m": None},
    ]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    return file


COLUMNS = (Column.parse("bulk_modulus_vrh=k:Mbar"), Column.parse("total_magnetization=m"))


def run(table: Path, **options) -> Imported:
    settings = ImportSettings(columns=COLUMNS, **options)
    return import_data([table], table.parent / "out", settings=settings)


def test_what_was_written_is_read_for_training(table):
    imported = run(table)
    assert imported.table == table.parent / "out" / TABLE_FILE
    read = read_table(imported.table)
    pd.testing.assert_frame_equal(read.frame, imported.materials.frame)
    assert read.crystals.structure(2) == ALLOY


def test_parts_of_any_size_give_the_same_table(starter, tmp_path, monkeypatch):
    few = starter.take(np.arange(300))
    rows = [*range(300), 7, 123]  # two of them twice
    write_materials(few.take(np.array(rows)), tmp_path)
    tables = []
    for n_rows in (16_384, 64, 1):
        for module in (tables_module, import_pool):
            monkeypatch.setattr(module, "PART_ROWS", n_rows)
        monkeypatch.setattr(tabular, "CHUNK", max(n_rows, 7))
        imported = import_data([tmp_path / TABLE_FILE], tmp_path / f"out-{n_rows}")
        assert [row.id for row in imported.dropped] == [few.frame["id"].iloc[i] for i in (7, 123)]
        assert pq.read_metadata(imported.table).num_row_groups == -(-300 // n_rows)
        tables.append(pq.read_table(imported.table).combine_chunks())
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    np.testing.assert_array_equal(
        read_table(imported.table).label("bulk_modulus_vrh"), few.label("bulk_modulus_vrh")
    )


def test_each_crystal_stays_once_with_the_most_labels(table):
    materials = run(table).materials
    frame = materials.frame
    assert frame["id"].tolist() == ["perovskite", "rich", "alloy"]
    assert frame["bulk_modulus_vrh"].tolist()[:2] == pytest.approx([170.0, 25.0])
    assert np.isnan(frame["bulk_modulus_vrh"].iloc[2])
    reasons = {row.id: row.reason for row in materials.dropped}
    assert reasons["poor"].startswith("duplicate of rich (cosine 1.0000)") or reasons[
        "poor"
    ].startswith("duplicate of rich (cosine 0.9999)")
    assert reasons["broken"].startswith("not readable as a crystal structure")


def test_columns_describe_the_crystal_in_the_cell_it_is_in(table):
    primitive, whole = (
        run(table, cell=cell).materials.frame for cell in (Cell.PRIMITIVE, Cell.AS_IS)
    )
    assert primitive["n_sites"].tolist() == [5, 2, 1]
    assert whole["n_sites"].tolist() == [5, 16, 1]
    assert primitive["space_group"].tolist() == whole["space_group"].tolist() == [221, 225, 221]
    # halite: 2.165 g/cm³ (CRC Handbook)
    assert primitive["density"].iloc[1] == pytest.approx(2.165, abs=0.005)
    np.testing.assert_allclose(primitive["density"], whole["density"], rtol=ROUND_OFF * 1e3)
    assert primitive["volume"].iloc[1] * 8 == pytest.approx(whole["volume"].iloc[1])
    # a moment per cell shrinks with the cell
    assert whole["total_magnetization"].iloc[1] == 16.0
    assert primitive["total_magnetization"].iloc[1] == pytest.approx(2.0)
    assert primitive["disordered"].tolist() == [False, False, True]


def test_duplicates_and_disorder_are_a_choice(table):
    kept = run(table, keep_duplicates=True).materials.frame["id"].tolist()
    assert kept == ["poor", "perovskite", "rich", "alloy"]
    ordered = run(table, drop_disordered=True).materials
    assert ordered.frame["id"].tolist() == ["perovskite", "rich"]
    reasons = {row.id: row.reason for row in ordered.dropped}
    assert reasons["alloy"] == "disordered: a site is mixed or partly filled"


def test_nothing_is_lost_without_a_reason(table):
    for options in ({}, {"keep_duplicates": True}, {"drop_disordered": True}):
        imported = run(table, **options)
        rows = imported.provenance["rows"]
        assert rows["read"] == 5 == rows["kept"] + rows["dropped"]
        assert sum(rows["dropped_by_reason"].values()) == rows["dropped"]
        told = pd.read_csv(table.parent / "out" / "dropped.csv")
        assert len(told) == rows["dropped"]
        assert told["reason"].notna().all()


def test_origin_goes_with_the_rows_and_in_the_provenance(table):
    imported = run(table, licence="CC0-1.0")
    frame = imported.materials.frame
    assert set(frame["source"]) == {str(table)}
    assert frame["source_id"].tolist() == frame["id"].tolist()
    assert set(frame["licence"]) == {"CC0-1.0"}
    written = json.loads((table.parent / "out" / PROVENANCE_FILE).read_text())
    assert written == json.loads(json.dumps(imported.provenance))
    (source,) = written["sources"]
    assert source["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert (source["read"], source["usable"], source["files"]) == (5, 4, 1)
    assert written["columns"]["bulk_modulus_vrh"] == "GPa"
    assert written["options"]["cell"] == "primitive"
    assert written["options"]["columns"][0]["unit"] == "Mbar"


def test_an_import_may_be_imported_again(table):
    first = run(table, licence="CC0-1.0")
    once = table.parent / "out" / TABLE_FILE
    again = import_data([once], table.parent / "again")
    assert again.materials.dropped == ()
    columns = ["id", "formula", "space_group", "source", "source_id", "licence"]
    pd.testing.assert_frame_equal(
        again.materials.frame[columns], first.materials.frame[columns], check_dtype=False
    )
    np.testing.assert_allclose(
        again.materials.label("bulk_modulus_vrh"), first.materials.label("bulk_modulus_vrh")
    )


def test_sources_are_pooled_and_duplicates_found_across_them(table, tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    (folder / "a.cif").write_text(perovskite().to(fmt="cif"))
    (folder / "b.cif").write_text(rock_salt("LiF", a_angstrom=4.03).to(fmt="cif"))
    imported = import_data([folder, table], tmp_path / "out", settings=ImportSettings(licence="x"))
    assert sorted(imported.materials.frame["formula"]) == ["Au3Cu", "ClNa", "FLi", "O3SrTi"]
    digest = imported.provenance["sources"][0]["sha256"]
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n"
        for path in sorted(folder.iterdir())
    ]
    assert digest == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_column_may_be_numbers_here_and_words_there(table, tmp_path):
    other = tmp_path / "other.json"
    crystals = (rock_salt("LiF", a_angstrom=4.03), rock_salt("KCl", a_angstrom=6.29))
    rows = [
        {"structure": crystals[0].as_dict(), "m": "none", "k": "3.5", "flag": True},
        {"structure": crystals[1].as_dict(), "m": "weak", "flag": None},
    ]
    other.write_text(json.dumps(rows))
    settings = ImportSettings(columns=(Column.parse("bulk_modulus_vrh=k:Mbar"),))
    imported = import_data([table, other], tmp_path / "out", settings=settings)
    frame = imported.materials.frame.set_index("formula")
    assert frame["m"].dropna().to_dict() == {"ClNa": "16.0", "ClK": "weak"}
    assert frame["bulk_modulus_vrh"].dropna().to_dict() == pytest.approx(
        {"O3SrTi": 170.0, "ClNa": 25.0, "FLi": 350.0}
    )
    assert frame["flag"].dropna().to_dict() == {"FLi": True}


def test_an_asked_column_need_not_be_in_every_source(table, tmp_path):
    (tmp_path / "one.cif").write_text(rock_salt("LiF", a_angstrom=4.03).to(fmt="cif"))
    settings = ImportSettings(columns=COLUMNS)
    imported = import_data([tmp_path / "one.cif", table], tmp_path / "out", settings=settings)
    frame = imported.materials.frame.set_index("formula")
    assert frame["bulk_modulus_vrh"].dropna().to_dict() == pytest.approx(
        {"O3SrTi": 170.0, "ClNa": 25.0}
    )


def test_parts_without_a_usable_row_hinder_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(source_module, "CHUNK", 2)
    cif = rock_salt().to(fmt="cif")
    rows = [(cif, 1500), (cif, 2), ("broken", 3), ("broken", 4), (cif, 5)]
    lines = "".join(json.dumps({"cif": text, "a": a}) + "\n" for text, a in rows)
    (tmp_path / "rows.jsonl").write_text(lines)
    settings = ImportSettings(columns=(Column.parse("band_gap=a:meV"),), keep_duplicates=True)
    imported = import_data([tmp_path / "rows.jsonl"], tmp_path / "out", settings=settings)
    assert imported.materials.label("band_gap").tolist() == [1.5, 0.002, 0.005]
    (tmp_path / "broken.jsonl").write_text(lines.splitlines()[2])
    imported = import_data([tmp_path / "broken.jsonl"], tmp_path / "out", settings=settings)
    assert len(imported.materials) == 0


def test_integers_keep_their_digits_whatever_stands_beside_them(starter, tmp_path):
    large = 9_007_199_254_740_993  # 2**53 + 1, which no double holds
    few = starter.take(np.arange(4))
    labels = few.frame.assign(
        id=pd.array([7, None, large, 1], "Int64"), mine=pd.array([large, 1, None, 2], "Int64")
    )
    write_materials(Materials(labels, few.crystals), tmp_path)
    frame = import_data([tmp_path / TABLE_FILE], tmp_path / "out").materials.frame
    assert frame["id"].dropna().tolist() == ["7", str(large), "1"]
    assert frame["mine"].dropna().tolist() == [large, 1, 2]


def test_names_of_files_and_folders_are_no_addresses(starter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_materials(starter.take(np.arange(3)), Path("s3:table"))
    imported = import_data([Path("s3:table") / TABLE_FILE], Path("file:out"))
    assert len(imported.materials) == 3
    assert sorted(path.name for path in Path("file:out").iterdir()) == [
        "dropped.csv",
        "materials.parquet",
        "provenance.json",
    ]


def test_sources_are_not_as_many_open_files(tmp_path):
    resource = pytest.importorskip("resource")
    (tmp_path / "a.cif").write_text(rock_salt().to(fmt="cif"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    mine = Path("/proc/self/fd")
    n_open = len(list(mine.iterdir())) if mine.exists() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 40, hard))
    try:
        imported = import_data([tmp_path / "a.cif"] * 100, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert imported.provenance["rows"] | {"dropped_by_reason": {}} == {
        "read": 100, "kept": 1, "dropped": 99, "dropped_by_reason": {},
    }  # fmt: skip


def test_only_what_was_converted_is_said_to_be(table, monkeypatch):
    known = (Column.parse("bulk_modulus_vrh=k:Mbar"), Column.parse("total_magnetization=m"))
    monkeypatch.setattr(
        import_module_, "open_source", lambda *a: replace(open_source(*a), columns=known)
    )
    settings = ImportSettings(columns=(Column.parse("mine=k"),))
    imported = import_data([table], table.parent / "out", settings=settings)
    (record,) = imported.provenance["sources"]
    assert [column["name"] for column in record["converted"]] == ["total_magnetization"]
    assert "bulk_modulus_vrh" not in imported.materials.frame


def test_a_moment_too_large_for_its_cell_is_left_empty(tmp_path):
    rows = [{"structure": rock_salt().get_primitive_structure().as_dict(), "m": 1.7e308}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    settings = ImportSettings(
        columns=(Column.parse("total_magnetization=m"),), cell=Cell.CONVENTIONAL
    )
    imported = import_data([tmp_path / "rows.json"], tmp_path / "out", settings=settings)
    assert np.isnan(imported.materials.label("total_magnetization")).all()


def test_labels_cannot_stand_in_for_crystals(tmp_path):
    file = tmp_path / "rows.json"
    row = {"structure": rock_salt().as_dict(), "numbers": "7", "lattice": 3, "occupancies": 0.5}
    file.write_text(json.dumps([row | {"volume": "large", "formula": "Xx"}]))
    materials = import_data([file], tmp_path / "out").materials
    assert materials.frame["formula"].tolist() == ["ClNa"]
    assert materials.frame["n_sites"].tolist() == [2]
    assert materials.crystals.numbers.tolist() == [11, 17]


def test_what_is_no_character_is_written_as_a_question_mark(tmp_path):
    crystal = rock_salt().as_dict()
    broken = {"structure": {"sites": [], "lattice": {}}, "id": "\ud800"}
    rows = [{"structure": crystal, "id": "a\ud800", "note\udfff": "b\udc80"}, broken]
    (tmp_path / "in").mkdir()
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    file = tmp_path / "in" / "\udcff.cif"
    file.write_text(perovskite().to(fmt="cif"))
    imported = import_data([tmp_path / "rows.json", tmp_path / "in"], tmp_path / "out")
    frame = imported.materials.frame
    assert frame["id"].tolist() == ["a?", str(tmp_path / "in" / "?.cif")]
    assert frame["note?"].tolist()[0] == "b?"
    assert [row.id for row in imported.dropped] == ["?"]
    assert pd.read_csv(tmp_path / "out" / "dropped.csv")["id"].tolist() == ["?"]


def test_energies_per_formula_become_energies_per_atom(tmp_path):
    file = tmp_path / "rows.json"
    # CRC Handbook: -411.2 kJ per mole of NaCl
    file.write_text(json.dumps([{"structure": rock_salt().as_dict(), "ef": -411.2}]))
    columns = (Column.parse("formation_energy_per_atom=ef:kJ/mol"),)
    imported = import_data([file], tmp_path / "out", settings=ImportSettings(columns=columns))
    assert imported.materials.label("formation_energy_per_atom")[0] == pytest.approx(-2.1309, 1e-4)


def test_a_folder_of_nothing_usable_gives_an_empty_table(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.cif").write_text("nonsense")
    imported = import_data([tmp_path / "in"], tmp_path / "out")
    assert len(imported.materials) == 0
    assert len(read_table(tmp_path / "out" / TABLE_FILE)) == 0
    assert imported.provenance["rows"]["dropped"] == 1


def test_absent_columns_and_sources_are_told(table):
    settings = ImportSettings(columns=(Column.parse("band_gap=gap:eV"),))
    with pytest.raises(InputError, match=r'no column "gap"\.'):
        import_data([table], table.parent / "out", settings=settings)
    with pytest.raises(InputError, match="nothing to import"):
        import_data([], table.parent / "out")
    assert not (table.parent / "out").exists()


def test_the_command_does_the_same(table):
    arguments = ["data", "import", str(table), "--out", str(table.parent / "out")]
    arguments += ["--column", "bulk_modulus_vrh=k:Mbar", "--drop-disordered", "--cell", "as-is"]
    done = matlode(*arguments)
    assert done.returncode == 0
    assert "2 materials, 3 dropped" in done.stdout
    assert "1 duplicate" in done.stdout
    assert len(read_table(table.parent / "out" / TABLE_FILE)) == 2
