"""What a prediction costs: the start of the command, and its stages for many structures."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from matlode.data.crystals import Crystals
from matlode.data.symmetry import find_space_group
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

COMMAND = (sys.executable, "-m", "matlode.cli", "predict")
Result = TypeVar("Result")


def bench_prediction(
    table: Path | None = None,
    *,
    n_structures: int = 10_000,
    n_starts: int = 3,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, list[dict[str, Any]]]:
    """Seconds of ``matlode predict`` for one crystal (the quickest of ``n_starts``), and what
    ``n_structures`` of a table (default: the starter set) take once everything is loaded.

    ``everything`` is the job as users call it: every endpoint, every screen that judges, space
    groups, patterns from the crystals. Its stages are measured by themselves after it.
    """
    materials = read_table(table) if table else load_starter()
    rows = np.random.default_rng(seed).permutation(len(materials))[:n_structures]
    some = materials.take(np.sort(rows))
    models, known = Models(), Known()
    predict(some.take(np.arange(1)), models=models, known=known)  # loads, and compiles
    start = time.perf_counter()
    predict(some, models=models, known=known, progress=progress)
    seconds = {
        "everything": time.perf_counter() - start,
        **_stage_seconds(some, models, known, progress),
    }
    start_up = min(_start_seconds(some) for _ in range(n_starts))
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


def _start_seconds(materials: Materials) -> float:
    """Seconds from the start of the command to its end, for the first crystal of a table."""
    with tempfile.TemporaryDirectory() as folder:
        write_materials(materials.take(np.arange(1)), Path(folder))
        start = time.perf_counter()
        subprocess.run([*COMMAND, str(Path(folder) / TABLE_FILE)], check=True, capture_output=True)
        return time.perf_counter() - start


def _stage_seconds(
    materials: Materials, models: Models, known: Known, progress: Progress
) -> dict[str, float]:
    """Seconds of each stage, in chunks of the size that predictions are made in."""
    spent: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        result = work()
        spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - start
        return result

    for at in range(0, len(materials), CHUNK):
        chunk = materials.take(np.arange(at, min(at + CHUNK, len(materials))))
        keep, patterns, _ = timed("patterns", partial(simulate_possible, chunk.crystals))
        chunk = chunk.take(keep)
        compositions = composition_vectors(chunk.crystals)
        seen = compositions, patterns
        timed("properties", partial(models.properties.predict, *seen, case="simulated"))
        timed("symmetry", partial(models.symmetry.predict, *reversed(seen)))
        candidates = models.predict_candidates(
            list(chunk.frame["formula"]), *seen, case="simulated"
        )
        for rule in load_rules(models, known):
            timed(f"screen {rule.name}", partial(rule.judge, candidates))
        timed("nearest known", partial(known.catalogue.nearest, compositions))
        timed("space group", partial(_space_groups, chunk.crystals))
        progress("stages", at + len(chunk), len(materials))
    return spent


def _space_groups(crystals: Crystals) -> list[int]:
    return [find_space_group(crystals, row) for row in range(len(crystals))]
