"""Benchmark of a search's cost: seconds of each stage, judging crystals and judging points."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryDirectory
from unittest.mock import patch

from matlode.benchmarks.scale import run_alone
from matlode.benchmarks.tables import Row, Tables
from matlode.jobs.known import Known
from matlode.jobs.search import search
from matlode.jobs.starts import SearchSettings
from matlode.progress import Progress, silent
from matlode.records import Cell

GOAL = {"maximize": ["vickers_hardness"]}
N_CRYSTALS = SearchSettings.trials
N_POINTS = 2048
"""Trials of the search that evaluates points; it was the default before crystals were evaluated."""

STAGES = {
    "matlode.jobs.search.prepare_campaign": "known materials",
    "matlode.optimisation.campaign.Campaign.suggest": "sampler",
    "matlode.optimisation.variations.Variations.vary": "variations",
    "matlode.latent.space.LatentSpace.list_formulas": "decode formulas",
    "matlode.latent.space.View.decode": "decode patterns",
    "matlode.optimisation.evaluators.find_substitutions": "find templates",
    "matlode.realisation.volumes.TemplateVolumes.predict": "volumes",
    "matlode.realisation.blueprints.Blueprints.build": "build crystals",
    "matlode.optimisation.evaluators.simulate_possible": "simulate patterns",
    "matlode.optimisation.evaluators.compute_crystal_descriptors": "describe crystals",
    "matlode.properties.models.PropertyModels.predict": "predict properties",
    "matlode.latent.space.LatentSpace.encode": "encode",
    "matlode.optimisation.valuation.Valuation.compute_gains": "merits",
    "matlode.optimisation.record.Record.write": "write the record",
    "matlode.jobs.search._screen": "screen the best",
    "matlode.jobs.search.find_polymorphs": "polymorphs",
    "matlode.jobs.search.write_results": "tables and structures",
    "matlode.jobs.search.write_details": "details",
    "matlode.jobs.search.write_report": "report",
}
"""Function → stage. The time of a stage within another counts for the inner one."""


@dataclass
class StageClock:
    """Seconds and calls of each stage, without those of the stages inside it."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES.values(), 0.0))
    _inner: list[float] = field(default_factory=lambda: [0.0])

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        began = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - began
            self.seconds[name] += whole - self._inner.pop()
            self._inner[-1] += whole

    def time_calls(self, function: Callable[..., object], stage: str) -> Callable[..., object]:
        """``function``, whose calls count for ``stage``."""

        @wraps(function)
        def timed(*arguments: object, **options: object) -> object:
            with self.stage(stage):
                return function(*arguments, **options)

        return timed


def bench_search_cost(
    *, n_trials: int = N_CRYSTALS, known: Path | None = None, progress: Progress = silent
) -> Tables:
    """Time the stages of a search of ``n_trials`` crystals, and of one of N_POINTS points.

    Each search has a process of its own. ``known`` is the table of known materials (default: the
    starter set).
    """
    cases = {
        f"{n_trials:,} crystals": SearchSettings(trials=n_trials),
        f"{N_POINTS:,} points": SearchSettings(trials=N_POINTS, evaluate="points"),
    }
    rows: list[Row] = []
    for done, (name, settings) in enumerate(cases.items()):
        progress("search cost", done, len(cases), name)
        rows.append({"search": name, **run_alone(partial(_time_search, settings, known))})
    progress("search cost", len(cases), len(cases))
    return {"seconds of a search, by stage": [_transpose(stage, rows) for stage in rows[0]][1:]}


def _transpose(stage: str, rows: list[Row]) -> Row:
    return {"stage": stage, **{str(row["search"]): _round(row.get(stage)) for row in rows}}


def _round(value: Cell) -> Cell:
    return round(value, 2) if isinstance(value, float) else value


def _time_search(settings: SearchSettings, table: Path | None) -> dict[str, float]:
    clock = StageClock()
    known = Known(table)
    _warm_up(known)
    with ExitStack() as patches, TemporaryDirectory() as folder:
        for name, stage in STAGES.items():
            patches.enter_context(patch(name, clock.time_calls(resolve_name(name), stage)))
        began = time.perf_counter()
        run = search(goal=GOAL, out=Path(folder) / "run", settings=settings, known=known)
        whole = time.perf_counter() - began
        seconds = run.provenance["seconds"]
    evaluated = seconds["load"] + seconds["search"] + seconds["screen"]
    return {
        **clock.seconds,
        "everything else": whole - sum(clock.seconds.values()),
        "whole": whole,
        "of it, until all are evaluated": evaluated,
        "proposals per minute": 60 * settings.trials / evaluated,
    }


def _warm_up(known: Known) -> None:
    """Compile kernels and read models, which happens once per installation or process."""
    brief = SearchSettings(trials=64, n_start=50, n_screened=10, n_candidates=5)
    with TemporaryDirectory() as folder:
        search(goal=GOAL, out=Path(folder) / "run", settings=brief, known=known)
