"""Remake the models: latent spaces, property heads, symmetry, pattern bands, formula filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from matlode.artefacts import HEADER_FILE, load_header
from matlode.errors import GoalError, suggest
from matlode.jobs.recipes import (
    Trainer,
    train_bands,
    train_composition_vae,
    train_filter,
    train_head,
    train_pattern_vae,
    train_symmetry,
)
from matlode.jobs.training_table import TrainingTable
from matlode.latent.training import TrainingSettings
from matlode.progress import Progress, silent
from matlode.properties.endpoints import ENDPOINTS
from matlode.properties.models import VOLUME, head_folder
from matlode.screening.symmetry import SYMMETRY_MODEL

TRAINING = {
    "standard-composition-vae": TrainingSettings(max_epochs=60, batch_size=256, patience=60),
    "standard-pattern-vae": TrainingSettings(max_epochs=24, patience=24),
    # Table S1; epochs, batch size and learning rate are not in it: Keras' defaults
    "reference-composition-vae": TrainingSettings(
        optimizer="nadam", schedule="constant", batch_size=64, max_epochs=60, patience=6,
        warm_up_epochs=0.0, l1=1.94e-7, l2=1.09e-6,
    ),
    "reference-pattern-vae": TrainingSettings(
        optimizer="adamax", schedule="constant", batch_size=64, max_epochs=60, patience=4,
        warm_up_epochs=0.0, l1=1.46e-6, l2=6.42e-7,
    ),
    SYMMETRY_MODEL: TrainingSettings(max_epochs=14, patience=14, batch_size=256),
}  # fmt: skip
"""model → how its network is trained."""

_HEAD_ORDER = [VOLUME, *(name for name in ENDPOINTS if name != VOLUME)]

MODELS: dict[str, Callable[[Trainer, str], None]] = {
    "standard-composition-vae": train_composition_vae,
    "standard-pattern-vae": train_pattern_vae,
    **{head_folder(Path(), name, "standard").name: train_head for name in _HEAD_ORDER},
    SYMMETRY_MODEL: train_symmetry,
    "pattern-characteristics": train_bands,
    "known-formulas": train_filter,
    "reference-composition-vae": train_composition_vae,
    "reference-pattern-vae": train_pattern_vae,
    **{head_folder(Path(), name, "reference").name: train_head for name in ENDPOINTS},
}
"""model → how it is trained, in the order in which they need each other."""

OTHERS = ["pattern-characteristics", "known-formulas"]


def train_models(
    names: list[str] | None = None,
    *,
    data: Path | None = None,
    out: Path = Path("models"),
    epochs: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> dict[str, dict[str, Any]]:
    """Train models in order and return their headers by name.

    ``names`` are keys of MODELS (default: the standard ones); ``data`` names the structure
    table (default: $MATLODE_DATA, else the starter set); ``out`` is the folder that they go
    into, and where those that they build on are looked for; ``epochs`` cuts the training of
    the networks short. Networks leave checkpoints in ``out/checkpoints`` and go on from them; a
    model that is there already, trained on the same rows, is kept unless ``force``. Raises
    GoalError for unknown names.
    """
    wanted = names or [name for name in MODELS if name.startswith("standard")] + OTHERS
    for name in wanted:
        if name not in MODELS:
            raise GoalError(f'"{name}" is not a model. {suggest(name, MODELS)}')
    table = TrainingTable.load(data)
    settings = TRAINING
    if epochs is not None:
        settings = {name: replace(s, max_epochs=epochs) for name, s in TRAINING.items()}
    trainer = Trainer(table, out, settings, progress)
    headers = {}
    for name in (name for name in MODELS if name in wanted):
        folder = out / name
        done = (folder / HEADER_FILE).exists() and not force
        if not done or load_header(folder).get("trained_on") != table.header["trained_on"]:
            MODELS[name](trainer, name)
            trainer.checkpoint(name).unlink(missing_ok=True)
        headers[name] = load_header(folder)
        progress(name, 1, 1, "ready")
    return headers
