from pathlib import Path

import pytest

import matlode
from matlode.artefacts import write_text
from matlode.jobs import doctor
from matlode.jobs.doctor import examine_installation


def found(name, findings):
    return next(finding for finding in findings if finding.name == name)


def test_a_sound_installation_has_nothing_wrong(monkeypatch):
    monkeypatch.delenv("MATLODE_DATA", raising=False)
    findings = examine_installation()
    assert [f for f in findings if f.state == "wrong"] == []
    assert {f.about for f in findings} == {
        "versions", "machine", "extras", "data", "models", "cache", "kernels",
    }  # fmt: skip
    assert found("matlode", findings).found.startswith(matlode.__version__)
    assert found("MATLODE_DATA", findings).state == "absent"


def test_every_extra_of_the_package_is_looked_for():
    lines = (Path(__file__).parents[2] / "pyproject.toml").read_text().splitlines()
    start = lines.index("[project.optional-dependencies]")
    declared = {
        line.split(" = ")[0] for line in lines[start + 1 : lines.index("[project.scripts]")]
        if " = " in line
    }  # fmt: skip
    assert declared - {"dev", "docs"} == set(doctor.EXTRAS)


def test_a_missing_package_is_told_with_how_to_get_it(monkeypatch):
    needs = ["ase>=3", 'chgnet>=0.4; extra == "relax"', 'nosuch-package>=1; extra == "relax"']
    monkeypatch.setattr(doctor, "requires", lambda name: needs)
    relax = found("relax", examine_installation())
    assert relax.state == "absent"
    assert relax.found.endswith("missing: nosuch-package") or "chgnet" in relax.found
    assert relax.advice == 'pip install "matlode[relax]"'


def test_what_is_always_needed_and_missing_is_wrong(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda name: ["ase>=3", "nosuch-package>=1"])
    findings = examine_installation()
    assert found("nosuch-package", findings).state == "wrong"
    assert [f.name for f in findings if f.state == "wrong"] == ["nosuch-package"]


def test_a_data_folder_without_a_table_is_wrong(monkeypatch, tmp_path):
    monkeypatch.setenv("MATLODE_DATA", str(tmp_path))
    data = found("MATLODE_DATA", examine_installation())
    assert data.state == "wrong"
    assert "structures.parquet" in data.advice


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99}'])
def test_a_damaged_model_is_wrong(text, tmp_path):
    (tmp_path / "standard-properties").mkdir()
    write_text(tmp_path / "standard-properties" / "model.json", text)
    assert found("standard-properties", examine_installation(tmp_path)).state == "wrong"


def test_results_of_potentials_are_counted(monkeypatch, tmp_path):
    monkeypatch.setenv("MATLODE_CACHE", str(tmp_path))
    assert found("potentials", examine_installation()).state == "absent"
    (tmp_path / "relaxed").mkdir()
    write_text(tmp_path / "relaxed" / "a.json", "{}")
    assert found("potentials", examine_installation()).found.startswith("1 results, 2 B")
