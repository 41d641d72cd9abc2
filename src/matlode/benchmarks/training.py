"""Benchmark of the time for training the latent spaces on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from matlode.benchmarks.tables import Row, Tables
from matlode.latent.pairing import PAIRING_MODEL
from matlode.progress import Progress, silent
from matlode.training.model_table import MODELS
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer

TIMED = ("standard-composition-vae", "standard-pattern-vae", PAIRING_MODEL)
LIMIT_MINUTES = 60.0
"""Target for the total training time on a laptop."""
EPOCHS = 2
"""Epochs that are run; the first one includes compilation, the last one is timed."""


def bench_training(data: Path | None = None, *, progress: Progress = silent) -> Tables:
    """Time one epoch of each network and extrapolate to its number of epochs; the target for the
    total is LIMIT_MINUTES."""
    table = TrainingTable.load(data)
    rows: list[Row] = []
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer.of(table, Path(folder), progress)
        for name in TIMED:
            short = MODELS[name].with_settings({"max_epochs": EPOCHS})
            short.train(trainer, short)
            log = (Path(folder) / "logs" / f"{name}.csv").read_text().splitlines()
            seconds = float(log[-1].split(",")[-1])
            epochs = MODELS[name].training.max_epochs
            minutes = round(seconds * epochs / 60, 1)
            total += minutes
            rows.append(
                {"model": name, "s per epoch": seconds, "epochs": epochs, "minutes": minutes}
            )
    rows.append({"model": f"all, of {LIMIT_MINUTES:.0f}", "s per epoch": "", "epochs": "",
                 "minutes": round(total, 1)})  # fmt: skip
    return {f"full training on {len(table.materials):,} structures": rows}
