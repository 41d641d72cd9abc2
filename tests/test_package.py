"""What a source distribution holds, and what the package says of itself."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_a_source_distribution_can_be_tested_and_cited(tmp_path, monkeypatch):
    setuptools = pytest.importorskip("setuptools")
    monkeypatch.chdir(ROOT)
    package = setuptools.Distribution()
    package.script_name = "setup.py"
    package.parse_config_files()
    command = package.get_command_obj("egg_info")
    command.egg_base = str(tmp_path)
    command.ensure_finalized()
    command.run()
    held = set((tmp_path / "matlode.egg-info" / "SOURCES.txt").read_text().splitlines())
    assert {
        "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "constraints.txt",
        "tests/conftest.py", "tests/data/test_cif.py", "docs/index.md",
        "src/matlode/py.typed", "src/matlode/data/starter/NOTICE",
    } <= held  # fmt: skip
    assert any(name.startswith("tests/data/cases/") for name in held)
    assert not any("__pycache__" in name for name in held)


def test_pythons_that_are_tested_are_named():
    versions = {
        name.rpartition(" ")[2] for name in PROJECT["classifiers"] if "Python :: 3." in name
    }
    assert versions == {"3.11", "3.12", "3.13"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"python{version}" in makefile for version in versions - {"3.11"})
