"""Long campaigns and large tables: do time and memory grow no faster than these?"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.data.tables import TABLE_FILE, Materials, load_materials, read_table, write_materials
from matlode.jobs.import_data import ImportSettings, import_data
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.predict import stream_predictions
from matlode.jobs.search import peak_memory_gb
from matlode.jobs.shortlist import N_JUDGED
from matlode.jobs.starts import SearchSettings, prepare_campaign
from matlode.optimisation.campaign import Campaign, Trials, select_diverse
from matlode.optimisation.goal_file import make_goal
from matlode.optimisation.ledger import Ledger
from matlode.progress import Progress, silent
from matlode.representation.composition import formulas_of
from matlode.representation.streaming import stream_table

GOAL = {"maximize": ["bulk_modulus", "shear_modulus"]}
STRAIN = 1e-3
"""Repeats of a structure are larger by this, each than the last, so that none is a duplicate."""

PARTS = (100, 10, 1)
Finding = dict[str, float]


def bench_scale(
    *,
    n_trials: int = 1_000_000,
    n_structures: int = 1_000_000,
    parts: Sequence[int] = PARTS,
    data: Path | None = None,
    progress: Progress = silent,
) -> dict[str, list[dict[str, Any]]]:
    """Seconds and peak memory by size (the largest divided by ``parts``), each in its own process.

    Campaigns up to ``n_trials`` whose points are evaluated by a formula, so that what is left is
    what looks back: the sampler, the ledger in SQLite, the list; with the models, a hundredth of
    these. Tables up to ``n_structures`` (rows of ``data``, default: the starter set, again and
    again, strained) are written, imported, made into patterns and read; of a hundredth every
    crystal is predicted.
    """
    cases: list[tuple[str, str, Callable[[int, Path], Finding], int]] = [
        ("campaigns without models", "trials", partial(_alone, _light_campaign), n_trials),
        ("campaigns", "trials", partial(_alone, _campaign), n_trials // 100),
        ("tables", "structures", partial(_table, data=data), n_structures),
        ("predictions", "structures", partial(_predictions, data=data), n_structures // 100),
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    for title, unit, work, largest in cases:
        found[title] = []
        for done, n in enumerate(sizes := [-(-largest // part) for part in parts]):
            progress(title, done, len(sizes), f"{n:,} {unit}")
            with TemporaryDirectory() as folder:
                row = work(n, Path(folder))
            found[title].append({unit: f"{n:,}", **row})
        progress(title, len(sizes), len(sizes))
    return found


def _alone(work: Callable[..., Finding], *arguments: Any, **options: Any) -> Finding:
    """What the work tells, with the memory that a process needs which does nothing else."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, partial(work, *arguments, **options)).result()


def _measured(work: Callable[[], Finding]) -> Finding:
    found = work()
    return {**found, "peak memory / GB": peak_memory_gb() or np.nan}


class LightCampaign(Campaign):
    """Points stand for formulas of their three largest variables, and are good near the origin."""

    def evaluate(self, points: NDArray[np.floating]) -> Trials:
        """See Campaign."""
        points = np.asarray(points, dtype=np.float32)
        order = np.argsort(-points, axis=1)[:, :3]
        amounts = np.zeros((len(points), 100), dtype=np.int64)
        scaled = np.take_along_axis(points, order, axis=1) * 4
        np.put_along_axis(amounts, order, np.clip(scaled.astype(np.int64), 1, 9), axis=1)
        formulas = formulas_of(amounts)
        gains = np.repeat(-(points.astype(float) ** 2).mean(axis=1)[:, None], 2, axis=1)
        return Trials.of(points, formulas, gains, np.zeros((len(points), 0)), gains)


def _light_campaign(n: int, folder: Path) -> Finding:
    return _campaign(n, folder, light=True)


def _campaign(n: int, folder: Path, *, light: bool = False) -> Finding:
    """A campaign of n trials in a file of its own, and its best distinct formulas."""
    models, known, settings = Models(), Known(), SearchSettings(trials=n)
    goal = make_goal(GOAL, known_elements=known.elements, endpoints=models.endpoints)
    prepared = prepare_campaign(goal, models, known, replace(settings, trials=min(n, 10_000)))
    campaign = prepared.campaign
    if light:
        campaign = LightCampaign(**vars(campaign))
        prepared = replace(prepared, opening=prepared.opening[:0])
    began = time.perf_counter()
    file = folder / "campaign.db"
    with closing(Ledger.open(f"sqlite:///{file}", "scale", {})) as ledger:
        trials, n_known = replace(prepared, campaign=campaign).run(settings, ledger=ledger)
    searched = time.perf_counter()
    select_diverse(trials, trials.merits(goal), N_JUDGED, max_per_system=N_JUDGED)
    assert len(trials) == n + n_known
    return {
        "search / s": searched - began,
        "ms per trial": 1e3 * (searched - began) / n,
        "list / s": time.perf_counter() - searched,
        "file / MB": file.stat().st_size / 1e6,
    }


def repeated(materials: Materials, n: int) -> Materials:
    """n rows: the table's, again and again, each time with larger cells."""
    rounds, rows = np.divmod(np.arange(n), len(materials))
    many = materials.take(rows)
    lattices = many.crystals.lattices * (1 + STRAIN * rounds)[:, None, None]
    ids = [f"{name}-{round_}" for name, round_ in zip(many.frame["id"], rounds, strict=True)]
    return Materials(many.frame.assign(id=ids), replace(many.crystals, lattices=lattices))


def _table(n: int, folder: Path, *, data: Path | None) -> Finding:
    """A table of n rows: written, imported, its patterns computed, read as a whole; each by a
    process of its own."""
    many, imported = folder / "many", folder / "imported" / TABLE_FILE
    found: Finding = {}
    for name, work in (
        ("write", partial(_write, n, many, data)),
        ("import", partial(_import, many / TABLE_FILE, imported.parent)),
        ("patterns", partial(_patterns, imported, folder / "features")),
        ("read", partial(_read, imported, n)),
    ):
        told = _alone(_timed, work)
        found |= {f"{name} / s": told["s"], f"{name} / GB": told["peak memory / GB"]}
    return found


def _timed(work: Callable[[], Any]) -> Finding:
    began = time.perf_counter()
    work()
    return {"s": time.perf_counter() - began}


def _write(n: int, folder: Path, data: Path | None) -> None:
    write_materials(repeated(load_materials(data), n), folder)


def _import(source: Path, out: Path) -> None:
    import_data([source], out, settings=ImportSettings(keep_duplicates=True))


def _patterns(table: Path, out: Path) -> None:
    stream_table(table, out)


def _read(table: Path, n: int) -> None:
    assert len(read_table(table)) == n


def _predictions(n: int, folder: Path, *, data: Path | None) -> Finding:
    """What is said of each of n crystals in a file, by a process that forgets it at once."""
    _alone(_timed, partial(_write, n, folder, data))
    return _alone(_predict, folder / TABLE_FILE, n)


def _predict(table: Path, n: int) -> Finding:
    models, known = Models(), Known()
    next(stream_predictions([table], models=models, known=known))  # loads, and compiles
    began = time.perf_counter()
    assert sum(1 for _ in stream_predictions([table], models=models, known=known)) == n
    seconds = time.perf_counter() - began
    return {"predict / s": seconds, "structures per second": n / seconds}
