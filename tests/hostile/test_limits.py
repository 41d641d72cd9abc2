"""A full disk, a read-only folder, little memory, a second process, a clock that jumps."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from matlode.artefacts import lock_folder, save_artefact, write_text
from matlode.data.tables import write_materials
from matlode.errors import InputError, WriteError
from matlode.jobs.search import resume, search
from tests.conftest import SMALL_SEARCH
from tests.hostile.readers import ROOT


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_leaves_what_was_there(small_disk, starter):
    write_text(small_disk / "kept.txt", "old")
    for write in (
        lambda: write_text(small_disk / "kept.txt", "x" * 3_000_000),
        lambda: save_artefact(
            small_disk / "m", kind="k", header={},
            arrays={"a": np.random.default_rng(0).random(400_000)},
        ),
        lambda: write_materials(starter, small_disk / "table"),
    ):  # fmt: skip
        with pytest.raises(WriteError, match="No space left on device"):
            write()
    assert (small_disk / "kept.txt").read_text() == "old"
    assert not list(small_disk.rglob(".*.*"))


def test_a_search_on_a_full_disk_goes_on_when_there_is_room(small_disk, tmp_path, hard_run):
    folder = small_disk / hard_run.folder.name
    with pytest.raises((WriteError, InputError), match=r"No space left|disk is full|disk I/O"):
        search(maximize=["bulk_modulus", "shear_modulus"], out=folder, settings=SMALL_SEARCH)
    roomy = tmp_path / hard_run.folder.name
    shutil.copytree(folder, roomy)
    resume(roomy)
    for name in ("candidates.csv", "verdicts.csv", "trials.csv"):
        assert (roomy / name).read_bytes() == (hard_run.folder / name).read_bytes()


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody may write to; root is not stopped by rights, but by the mount."""
    place = tmp_path / "locked"
    place.mkdir()
    if os.geteuid() != 0:
        place.chmod(0o500)
        yield place
        place.chmod(0o700)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_folder_is_told(read_only):
    told = pytest.raises(WriteError, match=r"Read-only file system|Permission denied")
    with told:
        write_text(read_only / "x", "x")
    with told:
        save_artefact(read_only / "m", kind="k", header={}, arrays={})
    with told, lock_folder(read_only):
        pass
    with told:
        search(maximize=["bulk_modulus"], out=read_only / "run", settings=SMALL_SEARCH)


HOLDER = """
import sys, time
from pathlib import Path
from matlode.artefacts import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("inside", flush=True)
    time.sleep(600)
"""


def test_a_lock_ends_with_its_process_however_that_ended(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "inside\n"
    with pytest.raises(InputError, match="another process is using"), lock_folder(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with lock_folder(tmp_path):
        pass


def matlode(*arguments: str, memory_mb: int) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))

    return subprocess.run(
        [sys.executable, "-m", "matlode.cli", *arguments], preexec_fn=limit, cwd=ROOT,
        capture_output=True, text=True,
    )  # fmt: skip


NO_ROOM = (
    "lambda: np.ones(1 << 40)",
    "lambda: [threading.Thread(target=time.sleep, args=(5,), daemon=True).start() "
    "for _ in range(999)]",
)


@pytest.mark.parametrize("work", NO_ROOM)
def test_too_little_memory_is_told_in_one_line(work):
    text = "import resource, threading, time, numpy as np\nfrom matlode import cli\n"
    text += "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
    text += f"cli.app = {work}\ncli.main()"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "MemoryError: not enough memory; close other programs, or process less at once.\n"
    )


@pytest.mark.parametrize("memory_mb", [2500, 4000])
def test_a_limit_of_memory_never_gives_a_traceback_of_ours(tmp_path, starter, memory_mb):
    write_materials(starter, tmp_path)
    done = matlode("predict", str(tmp_path / "materials.parquet"), "--json", memory_mb=memory_mb)
    if done.returncode == 0:
        assert done.stdout.rstrip().endswith("]")
    else:  # libraries may die of it before we hear, by a signal or with words of their own
        assert done.returncode < 0 or "memory" in done.stderr.lower(), done.stderr[-2000:]
        assert "Traceback" not in done.stderr, done.stderr[-2000:]


def test_two_searches_for_one_folder_cannot_both_begin(tmp_path):
    from matlode.jobs.search import _new_folder

    (tmp_path / "run").mkdir()
    _new_folder(Path(tmp_path / "run"))
    with pytest.raises(InputError, match="not empty"):
        _new_folder(tmp_path / "run")
