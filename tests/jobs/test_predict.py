import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from matlode import Toolbox, predict
from matlode.cli.printing import print_json, print_json_list
from matlode.data.readers import open_sources, read_material_parts, read_materials, source, tabular
from matlode.data.tables import TABLE_FILE, read_parts, write_materials
from matlode.engine import Processes
from matlode.errors import InputError
from matlode.jobs import predict as module
from matlode.jobs.predict import stream_predictions
from matlode.properties.derived import DERIVATIONS
from matlode.properties.endpoints import ENDPOINTS
from matlode.testing import ROUND_OFF, diamond, fluorite, rock_salt


@pytest.fixture
def folder(tmp_path):
    rock_salt("NaCl", a_angstrom=5.64).to(filename=str(tmp_path / "salt.cif"))
    fluorite("CaF2", a_angstrom=5.46).to(filename=str(tmp_path / "POSCAR_fluorite"), fmt="poscar")
    (tmp_path / "broken.cif").write_text("data_broken\n_cell_length_a five\n")
    return tmp_path


def test_files_are_answered_in_the_expected_form(folder):
    answers = predict([folder])
    by_file = {answer.name.rsplit("/", 1)[1]: answer for answer in answers}
    salt = by_file["salt.cif"]
    assert (salt.formula, salt.space_group, salt.error) == ("NaCl", 225, None)
    every = {**ENDPOINTS, **{name: d.endpoint for name, d in DERIVATIONS.items()}}
    assert list(salt.predictions) == list(every)
    for name, prediction in salt.predictions.items():
        assert prediction.low <= prediction.value <= prediction.high
        assert prediction.unit == every[name].unit
    assert "NaCl" in salt.nearest_known
    assert by_file["POSCAR_fluorite"].formula == "CaF2"


def test_json_is_what_it_always_was(folder, starter):
    (salt,) = predict([folder / "salt.cif"])
    (bad,) = predict([folder / "broken.cif"])
    keys = [
        "file", "formula", "space_group", "predictions", "verdicts", "verdict", "nearest_known",
        "note", "error",
    ]  # fmt: skip
    for answer in (salt.to_json(), bad.to_json()):
        assert list(answer) == keys
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    found = salt.to_json()
    assert list(found["predictions"]["bulk_modulus"]) == ["value", "low", "high", "unit"]
    assert list(found["verdicts"][0]) == ["rule", "passed", "value", "limit", "reason"]
    assert found["verdict"] == "accepted"
    nothing = {**dict.fromkeys(keys), "predictions": {}, "verdicts": []}
    assert bad.to_json() == {**nothing, "file": bad.name, "error": bad.error}
    (row,) = predict(starter.take(np.arange(1)))
    assert list(row.to_json()) == ["id", *keys[1:]]


def test_toolbox_of_before_is_accepted_with_a_warning(folder):
    with pytest.warns(DeprecationWarning, match="Models"):
        (old,) = predict([folder / "salt.cif"], toolbox=Toolbox(screens={"novel": False}))
    (new,) = predict([folder / "salt.cif"], screens={"novel": False})
    assert old == new


def test_predictions_import_no_pytorch_and_no_builder(folder):
    code = f"""if True:
        import sys
        from matlode import predict
        assert sum(a.error is None for a in predict([{str(folder)!r}])) == 2
        unwanted = ("torch", "xgboost", "sklearn", "matlode.realisation")
        print([name for name in unwanted if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bad_file_is_an_answer_with_its_reason(folder):
    (bad,) = [a for a in predict([folder]) if a.error]
    assert bad.name.endswith("broken.cif")
    assert "not readable" in bad.error
    assert bad.predictions == {}


def test_batches_and_tables_agree_with_single_files(folder, tmp_path):
    singles = [predict([folder / name])[0] for name in ("POSCAR_fluorite", "salt.cif")]
    together = [a for a in predict([folder]) if not a.error]
    for a, b in zip(together, singles, strict=True):
        # products of matrices round differently in batches
        for name in ENDPOINTS:
            value = b.predictions[name].value
            assert a.predictions[name].value == pytest.approx(value, rel=1e-3)
        assert [v.passed for v in a.verdicts] == [v.passed for v in b.verdicts]
    write_materials(read_materials([folder]), tmp_path / "table")
    from_table = predict([tmp_path / "table" / "materials.parquet"])
    assert [a.formula for a in from_table] == ["CaF2", "NaCl"]
    for a, b in zip(from_table, singles, strict=True):
        for name in ENDPOINTS:
            assert a.predictions[name].value == pytest.approx(b.predictions[name].value, rel=1e-3)


def test_supercells_change_nothing(tmp_path):
    cell = rock_salt("MgO", a_angstrom=4.21)
    cell.to(filename=str(tmp_path / "cell.cif"))
    (cell * (2, 1, 1)).to(filename=str(tmp_path / "super.cif"))
    small, large = predict([tmp_path / "cell.cif"]), predict([tmp_path / "super.cif"])
    for name in ENDPOINTS:
        assert small[0].predictions[name].value == pytest.approx(
            large[0].predictions[name].value, rel=1e-3
        )


def test_diamond_is_harder_than_salt(tmp_path):
    diamond("C", a_angstrom=3.567).to(filename=str(tmp_path / "c.cif"))
    rock_salt("NaCl", a_angstrom=5.64).to(filename=str(tmp_path / "salt.cif"))
    hard, soft = predict([tmp_path / "c.cif", tmp_path / "salt.cif"])
    assert hard.predictions["bulk_modulus"].low > soft.predictions["bulk_modulus"].high


def test_volume_and_density_of_a_crystal_are_its_own(folder):
    (salt,) = predict([folder / "salt.cif"])
    volume, density = (salt.predictions[name] for name in ("volume_per_atom", "density"))
    assert volume.value == pytest.approx(5.64**3 / 8)
    assert volume.low == volume.high == volume.value
    assert density.value == pytest.approx(2.163, abs=0.002)
    assert density.low == density.high == density.value
    (verdict,) = [v for v in salt.verdicts if v.rule == "expected_volume"]
    assert verdict.passed
    assert verdict.value == pytest.approx(volume.value, rel=100 * ROUND_OFF)
    assert verdict.reason.startswith("22.4 Å³/atom; ")


def test_a_cell_in_bohr_is_rejected(tmp_path):
    rock_salt("NaCl", a_angstrom=5.64 / 0.529177).to(filename=str(tmp_path / "salt.cif"))
    (salt,) = predict([tmp_path / "salt.cif"])
    assert salt.accepted is False
    failed = {v.rule for v in salt.verdicts if not v.passed}
    assert "expected_volume" in failed


def test_starter_rows_are_known_by_id(starter):
    answers = predict(starter.take(np.arange(5)))
    assert all(answer.name.startswith("mp-") for answer in answers)
    assert all(answer.error is None for answer in answers)


def test_missing_sources_are_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        predict([tmp_path / "nothing.cif"])
    with pytest.raises(InputError, match="no structure files"):
        predict([tmp_path])


def test_two_workers_predict_the_same(starter, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)
    few = starter.take(np.arange(20))
    with Processes(2) as engine:
        assert predict(few, engine=engine) == predict(few)


def test_answers_come_before_all_is_read(folder, tmp_path, starter, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)
    monkeypatch.setattr(tabular, "CHUNK", 3)
    starter = starter.take(np.arange(10))
    write_materials(starter, tmp_path / "table")
    read = []

    def watched(*arguments):
        for part in read_parts(*arguments):
            read.append(len(part))
            yield part

    monkeypatch.setattr(tabular, "read_parts", watched)
    told = []
    sources = [tmp_path / "table" / TABLE_FILE, folder]
    answers = stream_predictions(sources, progress=lambda *call, note="": told.append(call))
    first = [next(answers) for _ in range(4)]
    assert read == [3, 3]
    rest = list(answers)
    assert [a.name for a in (*first, *rest)[:10]] == list(starter.frame["id"])
    assert [a.name.rsplit("/", 1)[1] for a in rest[6:]] == [
        "POSCAR_fluorite",
        "salt.cif",
        "broken.cif",
    ]
    assert told == [("predict", done, 13) for done in (4, 8, 13)]
    assert sum(a.error is None for a in rest) == 8


def test_nobody_is_told_an_end_that_is_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    cif = rock_salt("NaCl", a_angstrom=5.64).to(fmt="cif")
    (tmp_path / "rows.jsonl").write_text(5 * (json.dumps({"cif": cif}) + "\n"))
    told = []
    list(
        stream_predictions(
            [tmp_path / "rows.jsonl"], progress=lambda *call, note="": told.append(call)
        )
    )
    assert told == [("predict", n, math.inf) for n in (2, 4, 5)] + [("predict", 5, 5)]


def test_what_cannot_be_read_does_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)
    monkeypatch.setattr(source, "CHUNK", 4)
    cif = rock_salt("NaCl", a_angstrom=5.64).to(fmt="cif")
    rows = [cif, *["nothing"] * 20, cif]
    lines = "".join(json.dumps({"cif": text, "id": n}) + "\n" for n, text in enumerate(rows))
    (tmp_path / "rows.jsonl").write_text(lines)
    parts = list(read_material_parts(open_sources([tmp_path / "rows.jsonl"]), 4))
    assert max(len(part) + len(part.dropped) for part in parts) <= 5
    answers = predict([tmp_path / "rows.jsonl"])
    assert sorted(int(a.name) for a in answers) == list(range(22))


def test_parts_and_sources_change_nothing(starter, monkeypatch):
    starter = starter.take(np.arange(11))
    whole = predict(starter)
    monkeypatch.setattr(module, "CHUNK", 4)
    for one, other in zip(predict(starter), whole, strict=True):
        assert (one.name, one.formula, one.accepted) == (
            other.name,
            other.formula,
            other.accepted,
        )
        for name, prediction in one.predictions.items():
            value = other.predictions[name].value
            assert prediction.value == pytest.approx(value, rel=1e-3)


def test_a_source_that_does_not_exist_is_told_before_any_answer(folder):
    with pytest.raises(InputError, match="no such file"):
        stream_predictions([folder, folder / "nothing.cif"])


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_answers_go_to_stdout_while_the_terminal_shows_how_far_it_is(folder):
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "matlode.cli", "predict", str(folder), "--json"],
        stdout=subprocess.PIPE, stderr=theirs, check=True,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    os.close(ours)
    assert len(json.loads(done.stdout)) == 3
    assert b"predict" in shown
    assert b"predictions" not in shown


def test_nobody_need_listen(folder):
    """A shell's >&- closes stdout."""
    command = f'"{sys.executable}" -m matlode.cli predict "{folder}" --json >&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("values", [[], [1], [{"a": ["x\ny", {}], "b": None}, [], "\u2028 \x85"]])
def test_lists_are_printed_as_they_come_as_json_prints_them(values, capsys):
    print_json_list(iter(values))
    one = capsys.readouterr().out
    print_json(values)
    assert one == capsys.readouterr().out
