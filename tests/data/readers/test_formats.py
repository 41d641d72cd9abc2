from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.io import jsonio
from ase.io import write as ase_write
from numpy.testing import assert_allclose
from pymatgen.core import Lattice, Structure

from matlode.data.cells import Cell, reduce_cells
from matlode.data.readers import ENDINGS, gather, open_source, read_materials
from matlode.data.readers import source as source_module
from matlode.data.readers.source import ReadOptions
from matlode.data.symmetry import find_space_group
from matlode.data.tables import Materials, write_materials
from matlode.errors import InputError
from matlode.representation.diffraction import simulate_patterns
from matlode.testing import rock_salt

PRINTED = 2e-4
"""Patterns (strongest point 1) of crystals whose coordinates went through a text file."""
GAP = "band_gap"

Rows = list[tuple[str, Structure, float]]


def atoms_of(structure: Structure) -> Atoms:
    return Atoms(
        structure.atomic_numbers, structure.cart_coords, cell=structure.lattice.matrix, pbc=True
    )


def cif_folder(path: Path, rows: Rows) -> Path:
    path.mkdir()
    for name, structure, _ in rows:
        (path / f"{name}.cif").write_text(structure.to(fmt="cif"))
    return path


def poscar_folder(path: Path, rows: Rows) -> Path:
    path.mkdir()
    for name, structure, _ in rows:
        (path / name).mkdir()
        (path / name / "POSCAR").write_text(structure.to(fmt="poscar"))
    return path


def csv_of_cifs(path: Path, rows: Rows) -> Path:
    file = path.with_suffix(".csv")
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["material_id", "cif", GAP])
        writer.writerows([name, s.to(fmt="cif"), gap] for name, s, gap in rows)
    return file


def json_of_pymatgen(path: Path, rows: Rows) -> Path:
    file = path.with_suffix(".json")
    file.write_text(
        json.dumps([{"id": n, "structure": s.as_dict(), GAP: gap} for n, s, gap in rows])
    )
    return file


def pandas_json(path: Path, rows: Rows) -> Path:
    file = path.with_suffix(".json")
    frame = pd.DataFrame(
        [{"id": n, "structure": s.as_dict(), GAP: gap} for n, s, gap in rows],
        index=range(len(rows)),
    )
    frame.to_json(file)
    return file


def split_json(path: Path, rows: Rows) -> Path:
    file = path.with_suffix(".json.gz")
    data = [[n, s.as_dict(), gap] for n, s, gap in rows]
    with gzip.open(file, "wt") as stream:
        json.dump({"columns": ["id", "structure", GAP], "data": data}, stream)
    return file


def jsonl_of_ase(path: Path, rows: Rows) -> Path:
    file = path.with_suffix(".jsonl")
    lines = [
        json.dumps({"id": n, "atoms": json.loads(jsonio.encode(atoms_of(s).todict())), GAP: gap})
        for n, s, gap in rows
    ]
    file.write_text("\n".join(lines) + "\n\n")
    return file


def parquet_of_cifs(path: Path, rows: Rows) -> Path:
    file = path.with_suffix(".parquet")
    frame = {
        "id": [name for name, _, _ in rows],
        "cif": [s.to(fmt="cif") for _, s, _ in rows],
        GAP: [gap for _, _, gap in rows],
    }
    pd.DataFrame(frame).to_parquet(file)
    return file


def extended_xyz(path: Path, rows: Rows) -> Path:
    file = path.with_suffix(".xyz")
    frames = [atoms_of(structure) for _, structure, _ in rows]
    for frame, (name, _, gap) in zip(frames, rows, strict=True):
        frame.info = {"id": name, GAP: gap}
    ase_write(file, frames, format="extxyz")
    return file


FOLDERS = (cif_folder, poscar_folder)
TABLES = (
    csv_of_cifs,
    json_of_pymatgen,
    pandas_json,
    split_json,
    jsonl_of_ase,
    parquet_of_cifs,
    extended_xyz,
)


@pytest.fixture(scope="module")
def some(starter) -> Materials:
    small = np.flatnonzero(starter.crystals.n_atoms <= 12)
    return starter.take(np.sort(small[:: len(small) // 20][:20]))


@pytest.fixture(scope="module")
def rows(some) -> Rows:
    structures = some.crystals.structures()
    # the number of the row stands in for a label, and names sort as rows do
    return [(f"row{at:02d}", structure, at + 0.5) for at, structure in enumerate(structures)]


@pytest.mark.parametrize("write", [*FOLDERS, *TABLES], ids=lambda write: write.__name__)
def test_every_format_gives_the_same_crystals(
    tmp_path, some, rows, write: Callable[[Path, Rows], Path]
):
    read = read_materials([write(tmp_path / "given", rows)])
    assert read.dropped == ()
    assert read.frame["formula"].tolist() == some.frame["formula"].tolist()
    for index in range(len(some)):
        expected = find_space_group(some.crystals, index)
        assert find_space_group(read.crystals, index) == expected
    assert_allclose(
        simulate_patterns(read.crystals), simulate_patterns(some.crystals), atol=PRINTED
    )


@pytest.mark.parametrize("write", TABLES, ids=lambda write: write.__name__)
def test_labels_and_names_come_with_the_crystals(tmp_path, rows, write):
    read = read_materials([write(tmp_path / "given", rows)])
    assert read.frame["id"].tolist() == [name for name, _, _ in rows]
    assert [float(value) for value in read.frame[GAP]] == [gap for _, _, gap in rows]
    assert not {"structure", "cif", "atoms"} & set(read.frame)


def test_what_we_write_we_read(tmp_path, some):
    mixed = Structure(Lattice.cubic(3.8), [{"Cu": 0.25, "Au": 0.5}], [[0.1, 0.2, 0.3]])
    from matlode.data.crystals import Crystals

    both = Crystals.concatenate([some.crystals, Crystals.from_structures([mixed])])
    frame = pd.DataFrame({"id": [f"a{n}" for n in range(21)], GAP: np.arange(21.0)})
    write_materials(Materials(frame, both), tmp_path)
    read = read_materials([tmp_path / "materials.parquet"])
    assert read.frame["id"].tolist() == frame["id"].tolist()
    assert read.crystals.structure(20) == mixed
    np.testing.assert_array_equal(read.crystals.occupancies, both.occupancies)
    np.testing.assert_array_equal(read.crystals.frac_coords, both.frac_coords)


@pytest.mark.parametrize("write", [csv_of_cifs, jsonl_of_ase, parquet_of_cifs, extended_xyz])
def test_the_size_of_chunks_does_not_matter(tmp_path, monkeypatch, rows, write):
    file = write(tmp_path / "given", rows)
    whole = read_materials([file])
    monkeypatch.setattr(source_module, "CHUNK", 7)
    parts = list(open_source(file).chunks)
    assert [len(part) for part in parts] == [7, 7, 6]
    again = read_materials([file])
    pd.testing.assert_frame_equal(again.frame, whole.frame)
    np.testing.assert_array_equal(again.crystals.frac_coords, whole.crystals.frac_coords)


def test_json_lines_may_be_bare_crystals(tmp_path, rows):
    file = tmp_path / "bare.jsonl"
    file.write_text("\n".join(json.dumps(s.as_dict()) for _, s, _ in rows))
    read = read_materials([file])
    assert len(read) == 20
    assert read.frame["id"].tolist() == [f"bare.jsonl:{row}" for row in range(20)]
    one = tmp_path / "one.json"
    one.write_text(json.dumps(rock_salt().as_dict()))
    assert read_materials([one]).frame["formula"].tolist() == ["ClNa"]


def test_each_bad_row_is_dropped_with_its_reason(tmp_path):
    crystal = rock_salt().as_dict()
    lines = [
        json.dumps({"id": "good", "structure": crystal}),
        json.dumps({"id": "none", "structure": None}),
        json.dumps({"id": "bad", "structure": "nonsense"}),
        "{",
        "[1]",
        json.dumps({"id": "last", "structure": crystal}),
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines))
    read = read_materials([file])
    assert read.frame["id"].tolist() == ["good", "last"]
    reasons = {row.id: row.reason for row in read.dropped}
    assert set(reasons) == {"none", "bad", "rows.jsonl:line 4", "rows.jsonl:line 5"}
    assert reasons["none"] == "has no structure"
    assert reasons["bad"].startswith("not readable as a crystal structure")
    assert reasons["rows.jsonl:line 4"].startswith("not readable as JSON")
    assert reasons["rows.jsonl:line 5"] == "a JSON object was wanted, found a list"


def test_a_bad_file_is_dropped_and_the_folder_goes_on(tmp_path):
    (tmp_path / "a.cif").write_text(rock_salt().to(fmt="cif"))
    (tmp_path / "b.cif").write_text("data_\n")
    (tmp_path / "c.cif").write_text(rock_salt("LiF").to(fmt="cif"))
    (tmp_path / "d.txt").write_text("no crystal")
    read = read_materials([tmp_path])
    assert read.frame["formula"].tolist() == ["ClNa", "FLi"]
    (dropped,) = read.dropped
    assert dropped.id == str(tmp_path / "b.cif")
    assert dropped.is_file
    assert dropped.reason.startswith("not readable as a crystal structure")


def test_traces_are_no_reason_to_lose_the_others(tmp_path):
    trace = Structure(Lattice.cubic(4), [{"Cu": 0.999, "Au": 0.001}], [[0, 0, 0]])
    rows = [{"id": "trace", "structure": trace.as_dict()}, {"structure": rock_salt().as_dict()}]
    file = tmp_path / "two.json"
    file.write_text(json.dumps(rows))
    read = read_materials([file])
    assert read.frame["formula"].tolist() == ["ClNa"]
    assert read.dropped[0].id == "trace"
    assert "leave traces out" in read.dropped[0].reason


def test_a_broken_frame_ends_an_xyz_file_and_is_told(tmp_path, rows):
    file = extended_xyz(tmp_path / "given", rows[:3])
    file.write_text(file.read_text() + "2\nnonsense\nC 0 0\n")
    read = read_materials([file])
    assert len(read) == 3
    assert read.dropped[-1].reason.startswith("cannot be read after frame 3, the rest is lost")


def test_the_structure_column_may_be_named(tmp_path, rows):
    file = tmp_path / "named.csv"
    frame = {"relaxed": [s.to(fmt="poscar") for _, s, _ in rows], "note": "x"}
    pd.DataFrame(frame).to_csv(file, index=False)
    named = gather(open_source(file, ReadOptions(structure_column="relaxed")))
    assert len(named) == 20
    with pytest.raises(
        InputError, match=r"no column contains crystals; .* found relaxed, note\. Give"
    ):
        read_materials([file])
    with pytest.raises(InputError, match=r'no column "relaxd"\. Did you mean "relaxed"\?'):
        gather(open_source(file, ReadOptions(structure_column="relaxd")))


def test_a_table_may_name_the_files_of_its_crystals(tmp_path, rows):
    folder = cif_folder(tmp_path / "cifs", rows)
    named = tmp_path / "mine.csv"
    files = [f"cifs/{name}.cif" for name, _, _ in rows] + ["cifs/nowhere.cif"]
    gaps = [gap for *_, gap in rows] + [0.0]
    pd.DataFrame({"file": files, GAP: gaps}).to_csv(named, index=False)
    read = read_materials([named])
    alone = read_materials([folder / f"{name}.cif" for name, _, _ in rows])
    assert read.frame["formula"].tolist() == alone.frame["formula"].tolist()
    assert [float(gap) for gap in read.frame[GAP]] == gaps[:-1]
    (dropped,) = read.dropped
    assert "nowhere.cif" in dropped.reason


@pytest.mark.parametrize("ending", sorted(set(ENDINGS) - {".jsonl", ".ndjson"}))
def test_a_file_that_is_not_what_its_ending_says_is_told(tmp_path, ending):
    file = tmp_path / f"wrong{ending}"
    file.write_bytes(b"\x00\x01 nonsense")
    if ending in (".xyz", ".extxyz"):
        (dropped,) = read_materials([file]).dropped
        assert dropped.id == str(file)
        assert dropped.reason.startswith("cannot be read after frame 0")
        return
    with pytest.raises(
        InputError, match=rf"wrong{ending}:? (not readable as|not a|contains no rows)"
    ):
        read_materials([file])


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".csv"])
def test_a_table_without_rows_is_told(tmp_path, ending):
    file = tmp_path / f"empty{ending}"
    file.write_text("[]" if ending == ".json" else "" if ending == ".jsonl" else "cif,k\n")
    with pytest.raises(InputError, match="contains no rows"):
        read_materials([file])


def test_missing_sources_are_told(tmp_path):
    with pytest.raises(InputError, match=r"no such file or folder \(databases: mp:, optimade:"):
        read_materials([tmp_path / "absent.cif"])
    with pytest.raises(InputError, match=r"no structure files \(0 others\); looked for"):
        read_materials([tmp_path])
    with pytest.raises(InputError, match="nothing to read"):
        read_materials([])


def test_reduced_cells_come_from_any_format(tmp_path, some, rows):
    once = reduce_cells(some.crystals, Cell.PRIMITIVE)
    read = read_materials([json_of_pymatgen(tmp_path / "given", rows)])
    again = reduce_cells(read.crystals, Cell.PRIMITIVE)
    assert once.n_atoms.tolist() == again.n_atoms.tolist()


def test_gzipped_text_that_grows_without_end_is_refused(tmp_path):
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 50_000_000 + b"]"))
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        read_materials([path])


def test_deeply_nested_json_is_refused(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="not readable as JSON"):
        read_materials([path])


def test_a_frame_that_promises_more_than_the_file_holds_ends_it(tmp_path):
    path = tmp_path / "x.xyz"
    frame = 'Lattice="4 0 0 0 4 0 0 0 4"\nNa 0 0 0\n'
    path.write_text(f"1\n{frame}4294967295\n{frame}")
    materials = read_materials([path])
    assert materials.frame["formula"].tolist() == ["Na"]
    (dropped,) = materials.dropped
    assert dropped.reason.startswith("cannot be read after frame 1, the rest is lost: a frame")


def test_rows_longer_than_their_heading_are_told(tmp_path):
    """pandas takes the first field for a name of the row, and shifts all others."""
    file = tmp_path / "long.csv"
    file.write_text("structure,band_gap\nx.cif,1.5,2.5\ny.cif,1,2\n")
    with pytest.raises(InputError, match="more fields than the header line"):
        read_materials([file])


@pytest.mark.parametrize("n_atoms", [0, 1])
def test_a_frame_that_promises_columns_is_not_believed(tmp_path, rows, n_atoms):
    """ASE would make room for all of them, and fill the memory of any machine."""
    file = extended_xyz(tmp_path / "given", rows[:2])
    sound = file.read_text()
    atom = "Na 0 0 0\n" * n_atoms
    file.write_text(f"{sound}{n_atoms}\nProperties=species:S:1:pos:R:1000000\n{atom}{sound}")
    read = read_materials([file])
    assert len(read) == 2
    assert read.dropped[-1].reason.endswith(
        "after frame 2, the rest is lost: a frame promises more columns than its lines have"
    )


FRAME = """2
Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 name={name} {more}
Na 0 0 0
Cl 2.5 2.5 2.5
"""


def test_blank_lines_between_frames_do_not_end_the_file(tmp_path):
    file = tmp_path / "a.xyz"
    frames = [FRAME.format(name=name, more="") for name in ("a", "b", "c")]
    file.write_text("\n\n".join(frames) + "\n\n\n")
    assert gather(open_source(file)).frame["name"].tolist() == ["a", "b", "c"]


def test_what_says_that_it_is_not_periodic_is_refused(tmp_path):
    file = tmp_path / "a.xyz"
    pbcs = ['pbc="T T T"', 'pbc="F F F"', 'pbc="T T F"', ""]
    file.write_text("".join(FRAME.format(name=at, more=pbc) for at, pbc in enumerate(pbcs)))
    materials = gather(open_source(file))
    assert materials.frame["name"].tolist() == [0, 3]
    assert {"not periodic" in row.reason for row in materials.dropped} == {True}


def test_folders_count_what_is_no_structure(tmp_path, rows):
    folder = cif_folder(tmp_path / "cifs", rows[:2])
    for name in ("POSCAR-001", "Si_POSCAR", "run.CONTCAR"):
        (folder / name).write_text(rows[0][1].to(fmt="poscar"))
    (folder / "notes.txt").write_text("x")
    source = open_source(folder)
    assert (len(source.files), source.n_other_files) == (5, 1)
    assert len(gather(source)) == 5


def test_notes_of_a_reader_are_a_column(tmp_path):
    text = rock_salt().to(fmt="cif")
    (tmp_path / "a.cif").write_text(text + text.replace("data_", "data_other"))
    (tmp_path / "b.cif").write_text(text)
    notes = gather(open_source(tmp_path)).frame["reading_note"].tolist()
    assert notes[0].startswith("2 blocks contain crystals")
    assert pd.isna(notes[1])
