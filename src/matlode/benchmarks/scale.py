"""Benchmark of scaling: time and memory of long campaigns and large tables."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np

from matlode.benchmarks.tables import Row, Tables
from matlode.data.tables import TABLE_FILE, Materials, load_materials, read_table, write_materials
from matlode.jobs.import_data import ImportSettings, import_data
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.predict import stream_predictions
from matlode.jobs.search import peak_memory_gb
from matlode.jobs.shortlist import select_trials
from matlode.jobs.starts import SearchSettings, prepare_campaign
from matlode.optimisation.evaluators import Evaluator
from matlode.optimisation.goal_file import make_goal
from matlode.optimisation.proposals import Proposals
from matlode.optimisation.record import Record
from matlode.optimisation.trials import Trials
from matlode.optimisation.valuation import Valuation
from matlode.progress import Progress, silent
from matlode.representation.composition import write_formulas
from matlode.representation.streaming import stream_table

GOAL = {"maximize": ["bulk_modulus", "shear_modulus"]}
STRAIN = 1e-3
"""Increase of the cell lengths from one repeat of a structure to the next, which avoids
duplicates."""

PARTS = (100, 10, 1)
Finding: TypeAlias = dict[str, float]
"""Heading → time, memory or speed."""


def bench_scale(
    *,
    n_trials: int = 1_000_000,
    n_structures: int = 1_000_000,
    parts: Sequence[int] = PARTS,
    data: Path | None = None,
    progress: Progress = silent,
) -> Tables:
    """Measure time and peak memory by size (the largest divided by each of ``parts``), each in its
    own process.

    - Campaigns without models, up to ``n_trials``: points are evaluated by a simple formula, so
      that the sampler, the record in SQLite and the selection of candidates are measured.
    - Campaigns with the models, up to a hundredth of ``n_trials``.
    - Tables up to ``n_structures`` rows are written, imported, converted to patterns and read.
      They repeat the rows of ``data`` (default: the starter set) with a small strain.
    - Predictions for up to a hundredth of ``n_structures``.
    """
    cases: list[tuple[str, str, Callable[[int, Path], Finding], int]] = [
        ("campaigns without models", "trials", partial(_run_campaign, light=True), n_trials),
        ("campaigns", "trials", partial(_run_campaign, light=False), n_trials // 100),
        ("tables", "structures", partial(_process_table, data=data), n_structures),
        ("predictions", "structures", partial(_predict_table, data=data), n_structures // 100),
    ]
    found: dict[str, list[Row]] = {}
    for title, unit, work, largest in cases:
        found[title] = []
        for done, n in enumerate(sizes := [-(-largest // part) for part in parts]):
            progress(title, done, len(sizes), f"{n:,} {unit}")
            with TemporaryDirectory() as folder:
                row = work(n, Path(folder))
            found[title].append({unit: f"{n:,}", **row})
        progress(title, len(sizes), len(sizes))
    return found


def run_alone(work: Callable[[], Finding]) -> Finding:
    """The result of ``work``, run in a new process, and the peak memory of that process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure_memory, work).result()


def _measure_memory(work: Callable[[], Finding]) -> Finding:
    found = work()
    return {**found, "peak memory / GB": peak_memory_gb() or np.nan}


@dataclass(frozen=True)
class LightEvaluator(Evaluator):
    """Evaluates without models: formulas come from the three largest variables of a point, and
    gains are larger near the origin."""

    valuation: Valuation

    def evaluate(self, proposals: Proposals) -> Trials:
        """See Evaluator."""
        points = proposals.points
        order = np.argsort(-points, axis=1)[:, :3]
        amounts = np.zeros((len(points), 100), dtype=np.int64)
        scaled = np.take_along_axis(points, order, axis=1) * 4
        np.put_along_axis(amounts, order, np.clip(scaled.astype(np.int64), 1, 9), axis=1)
        formulas = write_formulas(amounts)
        gains = np.repeat(-(points.astype(float) ** 2).mean(axis=1)[:, None], 2, axis=1)
        shortfalls = np.zeros((len(points), self.valuation.widths[1]))
        values = np.zeros((len(points), self.valuation.widths[2]))
        return Trials.of(points, formulas, gains, shortfalls, values)


def _run_campaign(n: int, folder: Path, *, light: bool) -> Finding:
    """Run a campaign of n trials with its own database, in a new process, and select its best
    formulas."""
    return run_alone(partial(_time_campaign, n, folder / "campaign.db", light=light))


def _time_campaign(n: int, file: Path, *, light: bool) -> Finding:
    models, known, settings = Models(), Known(), SearchSettings(trials=n)
    goal = make_goal(GOAL, known_elements=known.elements, endpoints=models.endpoints)
    prepared = prepare_campaign(goal, models, known, replace(settings, trials=min(n, 10_000)))
    campaign = prepared.campaign
    if light:
        evaluator = LightEvaluator(campaign.evaluator.valuation)
        campaign = replace(campaign, evaluator=evaluator, variations=None)
    began = time.perf_counter()
    with closing(Record.open(f"sqlite:///{file}", "scale", {})) as record:
        trials = campaign.run(prepared.known, n, settings.seed, record=record)
    searched = time.perf_counter()
    select_trials(trials, goal, settings)
    assert not light or len(trials) == n + len(prepared.known)
    return {
        "search / s": searched - began,
        "ms per trial": 1e3 * (searched - began) / n,
        "list / s": time.perf_counter() - searched,
        "file / MB": file.stat().st_size / 1e6,
    }


def repeat_materials(materials: Materials, n: int) -> Materials:
    """Repeat the rows of a table up to n rows, with larger cells in every repeat."""
    rounds, rows = np.divmod(np.arange(n), len(materials))
    many = materials.take(rows)
    lattices = many.crystals.lattices * (1 + STRAIN * rounds)[:, None, None]
    ids = [f"{name}-{round_}" for name, round_ in zip(many.frame["id"], rounds, strict=True)]
    return Materials(many.frame.assign(id=ids), replace(many.crystals, lattices=lattices))


def _process_table(n: int, folder: Path, *, data: Path | None) -> Finding:
    """Write, import, convert to patterns and read a table of n rows, each in a new process."""
    many, imported = folder / "many", folder / "imported" / TABLE_FILE
    found: Finding = {}
    keep_all = ImportSettings(keep_duplicates=True)
    for name, work in (
        ("write", partial(_write, n, many, data)),
        ("import", partial(import_data, [many / TABLE_FILE], imported.parent, settings=keep_all)),
        ("patterns", partial(stream_table, imported, folder / "features")),
        ("read", partial(_read, imported, n)),
    ):
        measured = run_alone(partial(_time, work))
        found |= {f"{name} / s": measured["s"], f"{name} / GB": measured["peak memory / GB"]}
    return found


def _time(work: Callable[[], object]) -> Finding:
    began = time.perf_counter()
    work()
    return {"s": time.perf_counter() - began}


def _write(n: int, folder: Path, data: Path | None) -> None:
    write_materials(repeat_materials(load_materials(data), n), folder)


def _read(table: Path, n: int) -> None:
    assert len(read_table(table)) == n


def _predict_table(n: int, folder: Path, *, data: Path | None) -> Finding:
    """Predict each of n crystals in a file, in a new process that keeps no result."""
    run_alone(partial(_time, partial(_write, n, folder, data)))
    return run_alone(partial(_predict, folder / TABLE_FILE, n))


def _predict(table: Path, n: int) -> Finding:
    models, known = Models(), Known()
    next(stream_predictions([table], models=models, known=known))  # loads models and compiles
    began = time.perf_counter()
    assert sum(1 for _ in stream_predictions([table], models=models, known=known)) == n
    seconds = time.perf_counter() - began
    return {"predict / s": seconds, "structures per second": n / seconds}
