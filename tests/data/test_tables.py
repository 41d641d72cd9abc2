from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from matlode.data import tables
from matlode.data.crystals import Crystals
from matlode.data.formulas import compute_formulas
from matlode.data.tables import (
    DATA_VARIABLE,
    TABLE_FILE,
    checksum,
    convert_materials,
    find_full_table,
    load_materials,
    read_parts,
    read_table,
    write_dropped,
    write_materials,
)
from matlode.errors import InputError
from matlode.records import DroppedRow
from matlode.testing import SINGLE_PRECISION, diamond, perovskite, rock_salt
from tests.data.test_crystals import as_table


@pytest.fixture
def table() -> pa.Table:
    structures = [rock_salt(), diamond(), perovskite()]
    return as_table(Crystals.from_structures(structures)).append_column(
        "band_gap", [[5.0, 1.1, None]]
    )


@pytest.fixture(autouse=True)
def _no_table_is_named(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def spoil(table: pa.Table, row: int) -> pa.Table:
    cells = table["lattice"].to_pylist()
    cells[row] = [float("nan")] * 9
    return table.set_column(0, "lattice", [cells])


def test_a_file_holds_what_was_written(tmp_path, table):
    path = tmp_path / "three.parquet"
    pq.write_table(table, path)
    materials = read_table(path)
    assert materials.frame["formula"].tolist() == ["ClNa", "Si", "O3SrTi"]
    assert materials.frame["id"].tolist() == [f"three.parquet:{row}" for row in range(3)]
    assert_array_equal(materials.label("band_gap"), [5.0, 1.1, np.nan])
    assert_allclose(
        materials.label("volume_per_atom"), [5.6402**3 / 8, 5.43102**3 / 8, 3.905**3 / 5]
    )
    assert materials.crystals.structure(2) == perovskite()
    assert materials.dropped == ()


def test_rows_and_crystals_stay_together(table):
    materials = convert_materials(table)
    for indices in (np.array([2, 0]), np.array([False, True, True])):
        taken = materials.take(indices)
        assert taken.frame.index.tolist() == [0, 1]
        assert taken.frame["formula"].tolist() == compute_formulas(taken.crystals)
        assert_array_equal(taken.label("band_gap"), materials.label("band_gap")[indices])


def test_an_unusable_row_is_dropped_with_its_reason(table):
    named = spoil(table, 1).append_column("id", [["a", "b", "c"]])
    materials = convert_materials(named)
    assert materials.frame["id"].tolist() == ["a", "c"]
    assert materials.frame["formula"].tolist() == ["ClNa", "O3SrTi"]
    assert len(materials.crystals) == 2
    assert materials.dropped == (DroppedRow("b", "cell has a value that is not finite"),)


def test_a_table_without_a_usable_row_is_empty(table):
    materials = convert_materials(spoil(table, 0).slice(0, 1))
    assert len(materials) == 0
    assert [row.id for row in materials.dropped] == ["table:0"]


def test_a_label_that_the_table_lacks_is_unknown(table):
    assert np.isnan(convert_materials(table).label("bulk_modulus_vrh")).all()


def test_starter_set_is_the_one_described(starter):
    assert len(starter) == len(starter.crystals) == 5785
    assert starter.frame["formula"].nunique() == 5226
    assert starter.frame["id"].is_unique
    assert starter.dropped == ()


def test_starter_columns_describe_the_crystals_beside_them(starter):
    assert starter.frame["formula"].tolist() == compute_formulas(starter.crystals)
    assert_array_equal(starter.frame["n_sites"], starter.crystals.n_atoms)
    assert_allclose(starter.frame["volume"], starter.crystals.volumes_a3, rtol=SINGLE_PRECISION)
    assert starter.frame["space_group"].between(1, 230).all()


def test_the_full_table_is_the_option_then_the_variable_then_none(tmp_path, monkeypatch):
    assert find_full_table() is None
    file, folder = tmp_path / "mine.parquet", tmp_path / "folder"
    folder.mkdir()
    (folder / "structures.parquet").touch()
    file.touch()
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    assert find_full_table() == folder / "structures.parquet"
    assert find_full_table(file) == file
    monkeypatch.setenv(DATA_VARIABLE, "")
    assert find_full_table() is None


def test_the_named_table_is_loaded_else_the_starter_set(tmp_path, monkeypatch, table, starter):
    assert len(load_materials()) == len(starter)
    pq.write_table(table, tmp_path / "structures.parquet")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert load_materials().frame["formula"].tolist() == ["ClNa", "Si", "O3SrTi"]


def test_the_folder_of_an_import_is_a_table(tmp_path, table):
    pq.write_table(table, tmp_path / "materials.parquet")
    assert find_full_table(tmp_path) == tmp_path / "materials.parquet"
    pq.write_table(table, tmp_path / "structures.parquet")
    assert find_full_table(tmp_path) == tmp_path / "structures.parquet"


def test_a_place_without_a_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no structure table at .*; give a Parquet file, or a"):
        find_full_table(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"id,formula\n1,NaCl\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "table.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"table\.parquet: not a readable Parquet table"):
        read_table(path)


def test_checksum_is_sha_256(tmp_path):
    # FIPS 180-2, appendix B.1
    (tmp_path / "abc").write_bytes(b"abc")
    assert checksum(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize("n_rows", [1, 1000, 10**6])
def test_parts_of_a_table_are_the_whole(tmp_path, starter, n_rows):
    few = starter.take(np.arange(0, 5785, 400 if n_rows == 1 else 3))
    write_materials(few, tmp_path)
    whole = read_table(tmp_path / TABLE_FILE)
    parts = list(read_parts(tmp_path / TABLE_FILE, n_rows))
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    pd.testing.assert_frame_equal(frame, whole.frame)
    crystals = Crystals.concatenate([part.crystals for part in parts])
    np.testing.assert_array_equal(crystals.frac_coords, whole.crystals.frac_coords)


def test_rows_are_counted_through_the_parts(tmp_path):
    rows = {"lattice": [[1.0] * 9] * 5, "numbers": [[1]] * 5, "frac_coords": [[0.0] * 3] * 5}
    rows["lattice"][4] = [1.0]
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"row 4: lattice must hold 9 numbers"):
        list(read_parts(tmp_path / "t.parquet", 2))


def test_a_large_table_is_written_in_parts(tmp_path, starter, monkeypatch):
    few = starter.take(np.arange(30))
    few.frame["note"] = [None] * 20 + ["late"] * 10
    write_materials(few, tmp_path / "whole")
    monkeypatch.setattr(tables, "PART_ROWS", 7)
    write_materials(few, tmp_path / "parts")
    assert pq.ParquetFile(tmp_path / "parts" / TABLE_FILE).num_row_groups == 5
    one, other = (pq.read_table(tmp_path / name / TABLE_FILE) for name in ("whole", "parts"))
    assert one.equals(other)


def test_a_part_is_all_of_a_file_that_is_in_memory(tmp_path, starter):
    """pyarrow keeps what it has read ahead of all row groups, if it is let."""
    few = starter.crystals.take(np.arange(64))
    noise = np.random.default_rng(0).random((64, 8000))  # 64 kB per row, which no codec shrinks
    labels = pa.table({"noise": pa.FixedSizeListArray.from_arrays(noise.ravel(), 8000)})
    table = tables.append_crystals(labels, few, mixed=False)
    file = tmp_path / TABLE_FILE
    pq.write_table(pa.concat_tables([table] * 10), file, row_group_size=32)
    before, most, n = pa.total_allocated_bytes(), 0, 0
    for part in read_parts(file, 32):
        most = max(most, pa.total_allocated_bytes() - before)
        n += len(part)
    assert n == 640
    assert file.stat().st_size > 40e6
    assert most < 15e6


def test_a_file_may_have_any_name(tmp_path, starter, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_materials(starter.take(np.arange(3)), tmp_path)
    for name in ("s3:table.parquet", "run:1.parquet", "\udcff.parquet"):
        (tmp_path / TABLE_FILE).rename(name)
        assert len(read_table(Path(name))) == 3
        Path(name).rename(TABLE_FILE)


def test_an_index_that_was_stored_is_a_column(tmp_path, starter):
    write_materials(starter.take(np.arange(3)), tmp_path)
    frame = pd.read_parquet(tmp_path / TABLE_FILE).set_index("id")
    frame.to_parquet(tmp_path / "indexed.parquet")
    assert list(read_table(tmp_path / "indexed.parquet").frame["id"]) == list(frame.index)


def test_ids_are_not_calculated_by_spreadsheets(tmp_path):
    ids = ("=1+1", "+a", "-b", "@c", "mp-1")
    write_dropped([DroppedRow(name, "reason") for name in ids], tmp_path)
    written = pd.read_csv(tmp_path / "dropped.csv")["id"].tolist()
    assert written == ["'=1+1", "'+a", "'-b", "'@c", "mp-1"]
