"""An installation that cannot be written, without a home: containers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import matlode
from matlode.jobs.doctor import _kernels
from matlode.kernel_cache import VARIABLE, choose_kernel_cache

PACKAGE = Path(matlode.__file__).parent


@pytest.fixture
def sealed(tmp_path, monkeypatch):
    """A folder of links to the package, in which no __pycache__ can be made, and no home.

    Root may write into folders that are read-only; a file in the place of a folder stops all.
    """
    copy = tmp_path / "matlode"
    shutil.copytree(
        PACKAGE, copy, copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    (tmp_path / "tmp").mkdir()
    for name in (VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield copy
    os.environ.pop(VARIABLE, None)


def test_kernels_load_where_nothing_can_be_written(sealed, tmp_path):
    code = (
        "import matlode, sys; from matlode.representation import profiles, reflections; "
        "from matlode.data.crowding_kernels import find_crowded; "
        "import pybaselines; print(matlode.__file__)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(sealed / "__init__.py")
    assert len(run.stderr.splitlines()) == 1
    assert VARIABLE in run.stderr
    again = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, VARIABLE: str(tmp_path / "tmp")},
    )  # fmt: skip
    assert (again.returncode, again.stderr) == (0, "")


def test_a_folder_that_others_can_write_is_not_used(sealed, tmp_path):
    if not hasattr(os, "getuid"):
        pytest.skip("no owners of folders here")
    theirs = tmp_path / "tmp" / f"matlode-kernels-{os.getuid()}"
    theirs.mkdir()
    theirs.chmod(0o777)
    choose_kernel_cache(sealed)
    assert Path(os.environ[VARIABLE]).parent == tmp_path / "tmp"
    assert Path(os.environ[VARIABLE]) != theirs


def test_a_home_that_can_be_written_is_enough(sealed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "tmp"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    choose_kernel_cache(sealed)
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("variable", [VARIABLE, "XDG_CACHE_HOME"])
def test_doctor_finds_kernels_wherever_they_are(sealed, tmp_path, monkeypatch, variable):
    if sys.platform in ("win32", "darwin"):
        pytest.skip("caches have other names here")
    monkeypatch.setattr(matlode, "__file__", str(sealed / "__init__.py"))
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    assert _kernels().state == "absent"
    place = tmp_path / "cache" / ("numba" if variable != VARIABLE else "") / "representation_1"
    place.mkdir(parents=True)
    (place / "reflections._metric-1.py311.nbi").write_text("")
    (place / "others.kernel-1.py311.nbi").write_text("")
    assert _kernels().found.startswith("1, below")
