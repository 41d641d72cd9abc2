from __future__ import annotations

import contextlib
import json
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from matlode.artefacts import (
    ARRAYS_FILE,
    HEADER_FILE,
    SCHEMA,
    convert_read_errors,
    inside,
    load_artefact,
    load_header,
    read_arrays,
    read_json,
    read_toml,
    save_artefact,
    write_atomically,
    write_json,
    write_text,
)
from matlode.errors import ArtefactError, GoalError, InputError

ARRAYS = {
    "weights/first": np.arange(12, dtype=np.float16).reshape(3, 4),
    "bits": np.array([1, 255], dtype=np.uint8),
    "names": np.array(["Å", "θ"]),
    "scalar": np.array(2.5),
    "nothing": np.zeros((0, 7)),
}

plain_arrays = st.sampled_from(
    [np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_, np.dtype("U3")]
).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0)))
headers = st.dictionaries(
    st.sampled_from(["unit", "seed", "scores", "face"]),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.lists(st.integers()),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_artefact(tmp_path / "model", kind="head", header={"unit": "GPa"}, arrays=ARRAYS)
    return tmp_path / "model"


def edit_header(folder: Path, **changes: object) -> None:
    header = json.loads((folder / HEADER_FILE).read_text(encoding="utf-8"))
    (folder / HEADER_FILE).write_text(json.dumps({**header, **changes}), encoding="utf-8")


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


@settings(max_examples=15)
@given(header=headers, arrays=st.dictionaries(st.sampled_from(["a", "b/c", "Å"]), plain_arrays))
def test_what_is_saved_is_what_is_read(tmp_path_factory, header, arrays):
    folder = tmp_path_factory.mktemp("artefact") / "new" / "model"
    save_artefact(folder, kind="test", header=header, arrays=arrays)
    artefact = load_artefact(folder)
    assert {name: artefact.header[name] for name in header} == header
    assert (artefact.header["schema"], artefact.header["kind"]) == (SCHEMA, "test")
    assert load_header(folder) == artefact.header
    assert set(artefact.arrays) == set(arrays)
    for name, array in arrays.items():
        assert artefact.arrays[name].dtype == array.dtype
        assert_array_equal(artefact.arrays[name], array)


def test_saving_again_replaces_all_of_it(folder):
    save_artefact(folder, kind="other", header={}, arrays={"bits": np.zeros(3)})
    artefact = load_artefact(folder).require("other")
    assert "unit" not in artefact.header
    assert set(artefact.arrays) == {"bits"}
    assert {path.name for path in folder.iterdir()} == {HEADER_FILE, ARRAYS_FILE}


def test_the_header_is_json_that_people_can_read(folder):
    header = json.loads((folder / HEADER_FILE).read_text(encoding="utf-8"))
    assert header["unit"] == "GPa"
    assert header["arrays"]["weights/first"] == ["float16", 3, 4]
    with np.load(folder / ARRAYS_FILE, allow_pickle=False) as stored:
        assert set(stored) == set(ARRAYS)


@pytest.mark.parametrize("length", [0, 1, 3, 100, -1, -30, -200])
def test_a_half_written_file_is_refused(folder, length):
    path = folder / ARRAYS_FILE
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtefactError, match=r"weights\.npz is damaged or incomplete"):
        load_artefact(folder)


@pytest.mark.parametrize("start", range(7))
def test_a_damaged_file_is_refused_or_reads_as_it_was(folder, start):
    path = folder / ARRAYS_FILE
    sound = path.read_bytes()
    n_refused = 0
    for position in range(start, len(sound), 7):
        path.write_bytes(flip(sound, position))
        with contextlib.suppress(ArtefactError):
            n_refused += 1
            arrays = load_artefact(folder).arrays
            # the archive has bytes that nothing depends on, such as dates
            n_refused -= 1
            for name, array in ARRAYS.items():
                assert_array_equal(arrays[name], array)
    assert n_refused > 0


def test_arrays_that_are_no_archive_are_refused(folder):
    with (folder / ARRAYS_FILE).open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(ArtefactError):
        load_artefact(folder)


def test_missing_arrays_are_refused(folder):
    (folder / ARRAYS_FILE).unlink()
    with pytest.raises(ArtefactError, match=r"holds scores but no weights"):
        load_artefact(folder)


def test_an_array_that_the_archive_lacks_is_refused(folder):
    arrays = json.loads((folder / HEADER_FILE).read_text(encoding="utf-8"))["arrays"]
    edit_header(folder, arrays={**arrays, "more": ["float64", 3]})
    with pytest.raises(ArtefactError, match=r"damaged or incomplete .*more"):
        load_artefact(folder)


@pytest.mark.parametrize("claim", [["float16", 4, 3], ["float16", 12], ["float32", 3, 4]])
def test_arrays_of_another_shape_than_the_header_says_are_refused(folder, claim):
    arrays = json.loads((folder / HEADER_FILE).read_text(encoding="utf-8"))["arrays"]
    edit_header(folder, arrays={**arrays, "weights/first": claim})
    with pytest.raises(ArtefactError) as caught:
        load_artefact(folder)
    assert str(caught.value) == (
        f'{folder}: array "weights/first" is float16[3, 4], but the header declares '
        f"{claim[0]}{claim[1:]}; copy the folder again, or retrain the model."
    )


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, None, "1"])
def test_another_schema_is_refused_with_both_numbers(folder, schema):
    edit_header(folder, schema=schema)
    with pytest.raises(
        ArtefactError,
        match=f"has schema {schema}, expected {SCHEMA}; update matlode or retrain",
    ):
        load_artefact(folder)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3", "\xff"])
def test_a_header_that_is_no_header_is_refused(folder, text):
    (folder / HEADER_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtefactError, match=r"model\.json (is not readable JSON|has schema None)"):
        load_header(folder)


@pytest.mark.parametrize("missing", ["arrays", "kind"])
def test_a_header_without_its_own_entries_is_refused(folder, missing):
    header = json.loads((folder / HEADER_FILE).read_text(encoding="utf-8"))
    del header[missing]
    (folder / HEADER_FILE).write_text(json.dumps(header), encoding="utf-8")
    with pytest.raises(ArtefactError, match=missing):
        load_artefact(folder).require("head")


def test_a_missing_model_is_named_with_what_to_do(tmp_path):
    with pytest.raises(
        ArtefactError,
        match=r"no model at .* \(no model\.json\); make it with `matlode train",
    ):
        load_artefact(tmp_path / "nowhere")


def test_another_kind_is_refused(folder):
    assert load_artefact(folder).require("head").header["unit"] == "GPa"
    with pytest.raises(ArtefactError, match='the artefact is a "head", expected a "filter"'):
        load_artefact(folder).require("filter")


def test_python_objects_are_never_saved(tmp_path):
    objects = np.array([{"a": 1}, None], dtype=object)
    with pytest.raises(ArtefactError, match='array "bad" holds Python objects'):
        save_artefact(tmp_path / "x", kind="k", header={}, arrays={"bad": objects})
    assert not (tmp_path / "x").exists()


def test_python_objects_are_never_loaded(folder):
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(folder / "exploded"),))

    bomb = np.array([Bomb()], dtype=object)
    np.savez(folder / ARRAYS_FILE, **{**ARRAYS, "bits": bomb})
    with pytest.raises(ArtefactError, match="damaged or incomplete"):
        load_artefact(folder)
    assert not (folder / "exploded").exists()


def test_not_a_number_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")

    def half(stream):
        stream.write(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    write_text(tmp_path / "ours", "Å")
    usual, ours = ((tmp_path / name).stat().st_mode for name in ("usual", "ours"))
    assert stat.S_IMODE(ours) == stat.S_IMODE(usual)
    assert (tmp_path / "ours").read_text(encoding="utf-8") == "Å"


def test_arrays_that_claim_more_than_they_hold_take_no_memory(folder):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    huge = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(folder / ARRAYS_FILE, "w") as archive:
        archive.writestr("bits.npy", huge)
    with pytest.raises(ArtefactError, match="differs from that in its header"):
        read_arrays(folder / ARRAYS_FILE)


def test_archives_that_grow_without_end_are_refused(folder):
    path = folder / ARRAYS_FILE
    np.savez_compressed(path, bits=np.zeros(3_000_000, np.uint8))
    assert path.stat().st_size < 10_000
    assert read_arrays(path)["bits"].shape == (3_000_000,)
    with pytest.raises(ArtefactError, match=r"is too large: 3 MB uncompressed, .* limit of 1 MB"):
        read_arrays(path, max_bytes=1_000_000)


def test_arrays_by_columns_come_back_so(folder):
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(folder / ARRAYS_FILE, a=array)
    assert_array_equal(read_arrays(folder / ARRAYS_FILE)["a"], array)


def test_files_that_are_read_as_a_whole_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("matlode.artefacts.MAX_TEXT_BYTES", 1 << 20)
    path = tmp_path / "x"
    path.write_text('"' + "a" * (1 << 20) + '"')
    for read in (read_json, read_toml):
        with pytest.raises(InputError, match="has more than 1 MB"):
            read(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, '{"a":' * 100_000])
def test_deep_and_long_json_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match="is not readable JSON"):
        read_json(tmp_path / "x.json")


def test_what_is_stumbled_over_names_the_file_and_the_reason():
    told = pytest.raises(
        InputError, match=r"x is damaged or has an unexpected format \(KeyError: 'a'"
    )
    with told, convert_read_errors("x", InputError):
        {}["a"]
    with pytest.raises(GoalError, match="as it is"), convert_read_errors("x"):
        raise GoalError("as it is")


def test_a_failed_write_of_a_model_leaves_no_header_beside_other_arrays(folder, monkeypatch):
    def fail(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(KeyboardInterrupt):
        save_artefact(folder, kind="head", header={}, arrays=ARRAYS)
    with pytest.raises(ArtefactError, match="no model at"):
        load_artefact(folder)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_names_that_lead_out_of_a_folder_are_refused(tmp_path, name):
    assert inside(tmp_path, "a/../b.cif") == tmp_path / "a/../b.cif"
    with pytest.raises(InputError, match="refers to a file outside the folder"):
        inside(tmp_path, name)
