"""The stages of matlode's work, each made to be killed and gone on with.

``python -m tests.hostile.stages STAGE FOLDER KILLS SEED`` kills a stage at random moments, goes on
after each kill, and prints as JSON how often and what differed from an undisturbed run.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from matlode.artefacts import load_artefact
from matlode.data.tables import load_starter, write_materials
from matlode.errors import MatlodeError
from matlode.jobs.search import read_standing, resume, search
from matlode.jobs.starts import SearchSettings
from matlode.run_folder import RunFolder

QUICK_SEARCH = SearchSettings(trials=192, n_start=100, n_screened=20, n_candidates=6)
GIVE_UP_AFTER = 20
"""Kills of one chain, after which it may end in peace."""


@dataclass(frozen=True)
class Stage:
    """Something that takes a while and writes files."""

    work: Callable[[Path], None]
    """Begins it in a folder, or goes on with it."""
    results: tuple[str, ...]
    """Patterns of files that must be those of an undisturbed run, byte for byte."""
    prepare: Callable[[Path], None] = lambda folder: None
    """What must be there before, made once per chain."""
    done: Callable[[Path], int] = lambda folder: 0
    """How much of the work is kept: may never become less."""
    needs: tuple[str, ...] = ()
    """Modules that it imports late: imported once, before children are made of this process."""


def _some_rows(folder: Path, rows: slice) -> None:
    write_materials(load_starter().take(np.arange(len(load_starter()))[rows]), folder)


def _import(folder: Path) -> None:
    from matlode.jobs.import_data import import_data

    os.chdir(folder)  # rows are named by the paths of their files
    import_data(["given.csv", "given"], folder / "out")


def _prepare_import(folder: Path) -> None:
    from tests.data.readers.test_formats import csv_of_cifs, poscar_folder
    from tests.hostile.readers import some_crystals

    csv_of_cifs(folder / "given", some_crystals(60))
    poscar_folder(folder / "given", some_crystals(60)[::3])


def _simulate(folder: Path) -> None:
    from matlode.representation.streaming import QUANTITIES, stream_table

    table = folder / "table" / "materials.parquet"
    stream_table(table, folder / "arrays", list(QUANTITIES), batch_rows=64)


def _train(folder: Path) -> None:
    from matlode.training.train import train_models

    train_models(
        ["reference-composition-vae"], data=folder / "table" / "materials.parquet",
        out=folder / "models", epochs=6,
    )  # fmt: skip


def _tune(folder: Path) -> None:
    from matlode.paper import tune as job

    job.MAX_RETRIES = GIVE_UP_AFTER
    tuning = job.tune(
        "reference-composition-vae", data=folder / "table" / "materials.parquet",
        out=folder / "tuning", settings=job.TuningSettings(trials=14, epochs=3, rows=100),
    )  # fmt: skip
    frame = pd.read_csv(folder / "tuning" / "trials.csv", dtype=str)
    names = ["state", "last_step", "last_value", *(r.name for r in tuning.space)]
    frame.loc[frame["state"] != "fail", names].to_csv(folder / "tuning" / "done.csv", index=False)


def _finished_trials(folder: Path) -> int:
    import sqlite3

    file = folder / "tuning" / "study.db"
    if not file.exists():
        return 0
    with closing(sqlite3.connect(file)) as connection:
        if not connection.execute("select 1 from sqlite_master where name='trials'").fetchone():
            return 0
        query = "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
        return int(connection.execute(query).fetchone()[0])


def _search(folder: Path) -> None:
    run = folder / "run"
    if RunFolder(run).is_begun:
        resume(run)
        return
    shutil.rmtree(run, ignore_errors=True)  # killed before it had begun
    search(maximize=["bulk_modulus"], out=run, settings=QUICK_SEARCH)


def _finished_blocks(folder: Path) -> int:
    try:
        return int(read_standing(folder / "run").blocks_done)
    except MatlodeError:  # no campaign yet
        return 0


def _relax(folder: Path) -> None:
    from types import MappingProxyType

    from matlode.evidence import potentials
    from matlode.evidence.examination import Examination
    from matlode.jobs.relax import make_sources, relax_structures
    from tests.conftest import _emt

    info = potentials.PotentialInfo("emt", "ase", "emt", "", corrected=True, load=_emt)
    potentials.POTENTIALS = MappingProxyType({**potentials.POTENTIALS, "emt": info})
    examination = Examination(
        load_starter(), primary="emt", secondary="emt", cache=folder / "cache"
    )
    files = sorted((folder / "given").glob("*.cif"))
    relax_structures(make_sources(files), folder / "out", examination)


def _prepare_relax(folder: Path) -> None:
    from pymatgen.core import Lattice, Structure

    (folder / "given").mkdir()
    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    for one, two, edge in (("Au", "Cu", 3.9), ("Pd", "Ag", 4.0), ("Pt", "Ni", 3.8)):
        crystal = Structure(Lattice.cubic(edge), [one, two, two, two], sites)
        crystal.to(str(folder / "given" / f"{one}{two}3.cif"))


def _cached(folder: Path) -> int:
    return sum(1 for _ in (folder / "cache").rglob("*.json"))


def _report(folder: Path) -> None:
    from matlode.report.html import write_report

    write_report(folder / "run")


def _prepare_report(folder: Path) -> None:
    shutil.copytree(os.environ["FINISHED_RUN"], folder / "run")
    (folder / "run" / "report.html").unlink()


STAGES: Mapping[str, Stage] = {
    "import": Stage(
        _import,
        ("out/materials.parquet", "out/dropped.csv"),
        _prepare_import,
        needs=("matlode.jobs.import_data", "tests.hostile.readers"),
    ),
    "simulation": Stage(
        _simulate,
        ("arrays/*",),
        lambda f: _some_rows(f / "table", slice(0, 5700, 3)),
        needs=("matlode.representation.streaming",),
    ),
    "training": Stage(
        _train,
        ("models/reference-composition-vae/weights.npz",),
        lambda f: _some_rows(f / "table", slice(0, 5700, 2)),
        needs=("matlode.training.train", "torch"),
    ),
    "tuning": Stage(
        _tune,
        ("tuning/best.toml", "tuning/done.csv"),
        lambda f: _some_rows(f / "table", slice(0, 5700, 10)),
        _finished_trials,
        needs=("matlode.paper.tune", "torch"),
    ),
    "search": Stage(
        _search,
        ("run/candidates.csv", "run/candidates.json", "run/verdicts.csv", "run/trials.csv",
         "run/funnel.json", "run/known.json", "run/patterns.npz", "run/structures/*.cif"),
        done=_finished_blocks,
        needs=("torch",),
    ),
    "relaxation": Stage(
        _relax,
        ("out/evidence.csv", "out/relaxed/*.cif"),
        _prepare_relax,
        _cached,
        needs=("matlode.jobs.relax", "tests.conftest"),
    ),
    "report": Stage(
        _report, ("run/report.html",), _prepare_report, needs=("matlode.report.html",)
    ),
}  # fmt: skip


def results(stage: Stage, folder: Path) -> dict[str, bytes]:
    """The files that count, by their names."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in stage.results
        for path in sorted(folder.glob(pattern))
        if not path.name.startswith(".")
    }


def broken_files(folder: Path) -> list[str]:
    """Files under their final names that cannot be read as what they are."""
    import pyarrow.parquet as pq

    readers: dict[str, Callable[[Path], object]] = {
        ".json": lambda p: json.loads(p.read_text()),
        ".npz": lambda p: dict(np.load(p)),
        ".parquet": pq.read_table,
        ".html": lambda p: p.read_text().rstrip().endswith("</html>") or 1 / 0,
    }
    broken = []
    for path in folder.rglob("*"):
        read = readers.get(path.suffix)
        if read is None or path.name.startswith(".") or not path.is_file():
            continue
        try:
            read(path)
        except Exception as error:
            broken.append(f"{path.relative_to(folder)}: {error}")
    for header in folder.rglob("model.json"):
        load_artefact(header.parent)
    return broken


def attempt(work: Callable[[Path], None], folder: Path, kill_after_s: float | None = None) -> str:
    """Work in a child that is killed after a while: "killed", "done" or what it raised.

    Whatever computes is done in children: a process with threads must not fork.
    """
    errors = folder / ".error"
    child = os.fork()
    if child == 0:
        os.setsid()
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
        try:
            work(folder)
        except BaseException:
            errors.write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    end = None if kill_after_s is None else time.monotonic() + kill_after_s
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
                return "done"
            return errors.read_text() if errors.exists() else f"status {status}"
        if end is not None and time.monotonic() >= end:
            # its own helpers, too, once it leads a group
            (os.killpg if os.getpgid(child) == child else os.kill)(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "killed"
        time.sleep(0.002)


def kill_at_random(name: str, root: Path, kills: int, seed: int) -> dict[str, object]:
    """Chains of kills and new starts, until so many kills are done; what went wrong.

    With one kill, what goes on after it is the second run that is compared with the undisturbed.
    """
    for module in STAGES[name].needs:
        importlib.import_module(module)
    # children of a process with threads may wait for ever
    assert threading.active_count() == 1
    stage, rng = STAGES[name], np.random.default_rng([seed, *name.encode()])
    give_up_after = min(GIVE_UP_AFTER, kills)
    wrong: list[str] = []
    undisturbed = []
    for place in ("undisturbed", "again")[: 1 if kills == 1 else 2]:
        folder = root / place
        folder.mkdir(parents=True)
        for work in (stage.prepare, stage.work):
            began = time.monotonic()
            told = attempt(work, folder)
            assert told == "done", told
        seconds = time.monotonic() - began
        undisturbed.append(results(stage, folder))
    wanted = undisturbed[0]
    assert wanted
    if undisturbed[-1] != wanted:
        wrong.append("two undisturbed runs differ")
    n_kills = n_chains = 0
    while n_kills < kills:
        folder = root / f"chain-{n_chains}"
        folder.mkdir()
        assert attempt(stage.prepare, folder) == "done"
        done, told, here = 0, "killed", 0
        while told == "killed":
            limit = None if here >= give_up_after else float(rng.uniform(0, 1.1 * seconds))
            told = attempt(stage.work, folder, limit)
            here += told == "killed"
            wrong += [f"after kill {here}: {what}" for what in broken_files(folder)]
            if stage.done(folder) < done:
                wrong.append(f"after kill {here}: {stage.done(folder)} done, before {done}")
            done = stage.done(folder)
        n_kills += here
        n_chains += 1
        if told != "done":
            wrong.append(told)
        found = results(stage, folder)
        wrong += [
            f"chain {n_chains}, {here} kills: {file} differs"
            for file in sorted({*wanted, *found})
            if wanted.get(file) != found.get(file)
        ]
        shutil.rmtree(folder)
    return {"stage": name, "kills": n_kills, "chains": n_chains,
            "undisturbed_s": round(seconds, 2), "wrong": wrong}  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, place, n, chance = sys.argv[1:]
    print(json.dumps(kill_at_random(what, Path(place), int(n), int(chance))))
