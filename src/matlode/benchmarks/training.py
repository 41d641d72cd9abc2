"""What the full training of the latent spaces costs on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from matlode.latent.pairing import PAIRING_MODEL
from matlode.progress import Progress, silent
from matlode.training.model_table import MODELS
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer

TIMED = ("standard-composition-vae", "standard-pattern-vae", PAIRING_MODEL)
LIMIT_MINUTES = 60.0
"""What a laptop's user should have to wait at most."""
EPOCHS = 2
"""Epochs that are run; the first one pays for compilation, the last one counts."""


def bench_training(data: Path | None = None, *, progress: Progress = silent) -> dict[str, Any]:
    """Seconds per epoch of each network, times its epochs, beside LIMIT_MINUTES."""
    table = TrainingTable.load(data)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer.of(table, Path(folder), progress)
        for name in TIMED:
            short = MODELS[name].with_settings({"max_epochs": EPOCHS})
            short.train(trainer, short)
            log = (Path(folder) / "logs" / f"{name}.csv").read_text().splitlines()
            seconds = float(log[-1].split(",")[-1])
            epochs = MODELS[name].training.max_epochs
            rows.append(
                {"model": name, "s per epoch": seconds, "epochs": epochs,
                 "minutes": round(seconds * epochs / 60, 1)}
            )  # fmt: skip
    total = sum(float(row["minutes"]) for row in rows)
    rows.append({"model": f"all, of {LIMIT_MINUTES:.0f}", "s per epoch": "", "epochs": "",
                 "minutes": round(total, 1)})  # fmt: skip
    return {f"full training on {len(table.materials):,} structures": rows}
