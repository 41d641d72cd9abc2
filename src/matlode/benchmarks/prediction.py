"""Benchmark of predictions: start-up time of the command, and time per stage."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from matlode.benchmarks.tables import Tables
from matlode.data.batches import split_range
from matlode.data.tables import (
    TABLE_FILE,
    Materials,
    load_starter,
    read_table,
    write_materials,
)
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.predict import CHUNK, predict
from matlode.jobs.screens import load_rules
from matlode.progress import Progress, silent
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_possible
from matlode.representation.environments import describe_crystals

COMMAND = (sys.executable, "-m", "matlode.cli", "predict")
Result = TypeVar("Result")


def bench_prediction(
    table: Path | None = None,
    *,
    n_structures: int = 10_000,
    n_starts: int = 3,
    seed: int = 0,
    progress: Progress = silent,
) -> Tables:
    """Time ``matlode predict`` for one crystal (the fastest of ``n_starts``), and the prediction of
    ``n_structures`` structures of a table (default: the starter set) after loading.

    The stage ``everything`` is the whole prediction: patterns, all endpoints, all active screens
    and space groups. The single stages are timed separately afterwards.
    """
    materials = read_table(table) if table else load_starter()
    rows = np.random.default_rng(seed).permutation(len(materials))[:n_structures]
    some = materials.take(np.sort(rows))
    models, known = Models(), Known()
    predict(some.take(np.arange(1)), models=models, known=known)  # loads models and compiles
    start = time.perf_counter()
    predict(some, models=models, known=known, progress=progress)
    everything = time.perf_counter() - start
    seconds = {"everything": everything, **_time_stages(some, models, known, progress)}
    start_up = min(_time_command(some) for _ in range(n_starts))
    return {
        "start-up": [{"command": "matlode predict, one crystal", "seconds": start_up}],
        f"prediction of {len(some):,} structures": [
            {
                "stage": stage,
                "ms per structure": 1e3 * spent / len(some),
                "structures per second": len(some) / spent,
            }
            for stage, spent in seconds.items()
        ],
    }


def _time_command(materials: Materials) -> float:
    """Run time of the command in seconds, for the first crystal of a table."""
    with tempfile.TemporaryDirectory() as folder:
        write_materials(materials.take(np.arange(1)), Path(folder))
        start = time.perf_counter()
        subprocess.run([*COMMAND, str(Path(folder) / TABLE_FILE)], check=True, capture_output=True)
        return time.perf_counter() - start


def _time_stages(
    materials: Materials, models: Models, known: Known, progress: Progress
) -> dict[str, float]:
    """Stage → seconds, in the chunks of ``predict``."""
    spent: dict[str, float] = {}

    def run_timed(stage: str, work: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        result = work()
        spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - start
        return result

    for rows in split_range(len(materials), CHUNK):
        chunk = materials.take(np.arange(rows.start, rows.stop))
        keep, patterns, _ = run_timed("patterns", partial(simulate_possible, chunk.crystals))
        chunk = chunk.take(keep)
        compositions = composition_vectors(chunk.crystals)
        seen = compositions, patterns
        run_timed("properties", partial(models.properties.predict, *seen, case="simulated"))
        run_timed("symmetry", partial(models.symmetry.predict, *reversed(seen)))
        formulas = list(chunk.frame["formula"])
        facts = run_timed("space group, distances", partial(describe_crystals, chunk.crystals))
        candidates = models.predict_candidates(formulas, *seen, case="simulated", crystals=facts)
        for rule in load_rules(models, known):
            run_timed(f"screen {rule.name}", partial(rule.check_all, candidates))
        run_timed("nearest known", partial(known.catalogue.nearest, compositions))
        progress("stages", rows.stop, len(materials))
    return spent
