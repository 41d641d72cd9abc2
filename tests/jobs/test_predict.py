import json
import subprocess
import sys

import pytest

from matlode import predict
from matlode.data.readers import read_materials
from matlode.data.tables import load_starter, write_materials
from matlode.errors import InputError
from matlode.properties.derived import DERIVATIONS
from matlode.properties.endpoints import ENDPOINTS
from matlode.testing import diamond, fluorite, rock_salt


@pytest.fixture
def folder(tmp_path):
    rock_salt("NaCl", a_angstrom=5.64).to(filename=str(tmp_path / "salt.cif"))
    fluorite("CaF2", a_angstrom=5.46).to(filename=str(tmp_path / "POSCAR_fluorite"), fmt="poscar")
    (tmp_path / "broken.cif").write_text("data_broken\n_cell_length_a five\n")
    return tmp_path


def test_files_are_answered_in_the_promised_form(folder):
    answers = predict([folder])
    by_file = {answer["file"].rsplit("/", 1)[1]: answer for answer in answers}
    salt = by_file["salt.cif"]
    assert (salt["formula"], salt["space_group"], salt["error"]) == ("NaCl", 225, None)
    every = {**ENDPOINTS, **{name: d.endpoint for name, d in DERIVATIONS.items()}}
    assert list(salt["predictions"]) == list(every)
    for name, prediction in salt["predictions"].items():
        assert set(prediction) == {"value", "low", "high", "unit"}
        assert prediction["low"] <= prediction["value"] <= prediction["high"]
        assert prediction["unit"] == every[name].unit
    assert "NaCl" in salt["nearest_known"]
    assert by_file["POSCAR_fluorite"]["formula"] == "CaF2"
    assert json.loads(json.dumps(answers, allow_nan=False)) == answers


def test_nobody_waits_for_pytorch(folder):
    code = f"""if True:
        import sys
        from matlode import predict
        assert sum(a["error"] is None for a in predict([{str(folder)!r}])) == 2
        print([m for m in ("torch", "xgboost", "sklearn") if m in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bad_file_is_an_answer_with_its_reason(folder):
    (bad,) = [a for a in predict([folder]) if a["error"]]
    assert bad["file"].endswith("broken.cif")
    assert "not readable" in bad["error"]
    assert bad["predictions"] == {}


def test_batches_and_tables_agree_with_single_files(folder, tmp_path):
    singles = [predict([folder / name])[0] for name in ("POSCAR_fluorite", "salt.cif")]
    together = [a for a in predict([folder]) if not a["error"]]
    for a, b in zip(together, singles, strict=True):
        # products of matrices round differently in batches
        for name in ENDPOINTS:
            value = b["predictions"][name]["value"]
            assert a["predictions"][name]["value"] == pytest.approx(value, rel=1e-3)
        assert [v["passed"] for v in a["verdicts"]] == [v["passed"] for v in b["verdicts"]]
    write_materials(read_materials([folder]), tmp_path / "table")
    from_table = predict([tmp_path / "table" / "materials.parquet"])
    assert [a["formula"] for a in from_table] == ["CaF2", "NaCl"]
    for a, b in zip(from_table, singles, strict=True):
        for name in ENDPOINTS:
            assert a["predictions"][name]["value"] == pytest.approx(
                b["predictions"][name]["value"], rel=1e-3
            )


def test_supercells_change_nothing(tmp_path):
    cell = rock_salt("MgO", a_angstrom=4.21)
    cell.to(filename=str(tmp_path / "cell.cif"))
    (cell * (2, 1, 1)).to(filename=str(tmp_path / "super.cif"))
    small, large = predict([tmp_path / "cell.cif"]), predict([tmp_path / "super.cif"])
    for name in ENDPOINTS:
        assert small[0]["predictions"][name]["value"] == pytest.approx(
            large[0]["predictions"][name]["value"], rel=1e-3
        )


def test_diamond_is_harder_than_salt(tmp_path):
    diamond("C", a_angstrom=3.567).to(filename=str(tmp_path / "c.cif"))
    rock_salt("NaCl", a_angstrom=5.64).to(filename=str(tmp_path / "salt.cif"))
    hard, soft = predict([tmp_path / "c.cif", tmp_path / "salt.cif"])
    assert hard["predictions"]["bulk_modulus"]["low"] > soft["predictions"]["bulk_modulus"]["high"]


def test_starter_rows_are_known_by_id():
    import numpy as np

    answers = predict(load_starter().take(np.arange(5)))
    assert all(answer["id"].startswith("mp-") for answer in answers)
    assert all(answer["error"] is None for answer in answers)


def test_missing_sources_are_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        predict([tmp_path / "nothing.cif"])
    with pytest.raises(InputError, match="no structure files"):
        predict([tmp_path])
