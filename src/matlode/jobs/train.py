"""Remake the models: latent spaces, property heads, symmetry, pattern bands, formula filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from matlode.artefacts import HEADER_FILE, load_header
from matlode.errors import GoalError, suggest
from matlode.jobs.property_recipes import train_formation_net, train_head, train_properties
from matlode.jobs.recipes import (
    Trainer,
    train_bands,
    train_composition_vae,
    train_filter,
    train_pairing,
    train_pattern_vae,
    train_symmetry,
)
from matlode.jobs.training_table import TrainingTable
from matlode.latent.pairing import PAIRING_MODEL
from matlode.latent.training import TrainingSettings
from matlode.progress import Progress, silent
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.formation_net import FORMATION_NET
from matlode.properties.heads import endpoint_of
from matlode.properties.models import foundations, head_folder, known_endpoints
from matlode.properties.network import NETWORK_MODEL
from matlode.properties.own import check_rows, checked_labels, read_properties
from matlode.screening.symmetry import SYMMETRY_MODEL

TRAINING = {
    "standard-composition-vae": TrainingSettings(
        learning_rate=2e-3, max_epochs=60, batch_size=256, patience=60, warm_up_epochs=2.0
    ),
    "standard-pattern-vae": TrainingSettings(learning_rate=1.5e-3, max_epochs=48, patience=48),
    PAIRING_MODEL: TrainingSettings(batch_size=256, max_epochs=30, patience=30),
    # Table S1; epochs, batch size and learning rate are not in it: Keras' defaults
    "reference-composition-vae": TrainingSettings(
        optimizer="nadam", schedule="constant", batch_size=64, max_epochs=60, patience=6,
        warm_up_epochs=0.0, l1=1.94e-7, l2=1.09e-6,
    ),
    "reference-pattern-vae": TrainingSettings(
        optimizer="adamax", schedule="constant", batch_size=64, max_epochs=60, patience=4,
        warm_up_epochs=0.0, l1=1.46e-6, l2=6.42e-7,
    ),
    FORMATION_NET: TrainingSettings(
        optimizer="adam", schedule="constant", batch_size=64, max_epochs=60, patience=6
    ),
    NETWORK_MODEL: TrainingSettings(
        learning_rate=1.2e-3, batch_size=256, max_epochs=13, patience=13
    ),
    SYMMETRY_MODEL: TrainingSettings(max_epochs=20, patience=20, batch_size=256),
    "reference-space-group": TrainingSettings(
        optimizer="adamax", schedule="constant", batch_size=128, max_epochs=12, patience=4
    ),
}  # fmt: skip
"""model → how its network is trained."""

MODELS: dict[str, Callable[[Trainer, str], None]] = {
    "standard-composition-vae": train_composition_vae,
    "standard-pattern-vae": train_pattern_vae,
    PAIRING_MODEL: train_pairing,
    NETWORK_MODEL: train_properties,
    SYMMETRY_MODEL: train_symmetry,
    "pattern-characteristics": train_bands,
    "known-formulas": train_filter,
    "reference-composition-vae": train_composition_vae,
    "reference-pattern-vae": train_pattern_vae,
    **{
        head_folder(Path(), name, "reference").name: train_head
        for name in ENDPOINTS
        if name != "formation_probability"  # the paper's is a network
    },
    FORMATION_NET: train_formation_net,
}
"""model → how it is trained, in the order in which they need each other."""

OTHERS = ["pattern-characteristics", "known-formulas"]


def train_models(
    names: list[str] | None = None,
    *,
    data: Path | None = None,
    out: Path = Path("models"),
    properties: Path | None = None,
    epochs: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> dict[str, dict[str, Any]]:
    """Train models in order and return their headers by name.

    ``names`` are keys of MODELS, or heads of own properties (default: the standard ones; with
    ``properties``, a TOML file (``own.read_properties``), the standard heads of these);
    ``data`` names the structure table (default: $MATLODE_DATA, else the starter set); ``out``
    is the folder that they go into, and where those that they build on are looked for before
    the shipped ones; ``epochs`` cuts the training of the networks short. Networks leave
    checkpoints in ``out/checkpoints`` and go on from them; a model that is there already,
    trained on the same rows for the same property, is kept unless ``force``.

    Raises GoalError for unknown names, InputError, before anything is trained, for labels that
    no head can learn from.
    """
    own = read_properties(properties) if properties else {}
    endpoints = {**known_endpoints(out), **own}
    models = {**MODELS, **_head_trainers(endpoints)}
    if own and not names:
        names = [head_folder(Path(), name, "standard").name for name in own]
    wanted = names or [name for name in MODELS if name.startswith("standard")] + OTHERS
    for name in wanted:
        if name not in models:
            raise GoalError(f'"{name}" is not a model. {suggest(name, models)}')
    table = TrainingTable.load(data)
    for name in wanted:
        learned = "formation-probability" if name == FORMATION_NET else name.partition("-")[2]
        endpoint = endpoints.get(learned.replace("-", "_"))
        if endpoint is not None:
            labels = checked_labels(endpoint, table.materials, table=table.source)
            check_rows(endpoint, labels, table.roles, table=table.source)
    settings = TRAINING
    if epochs is not None:
        settings = {name: replace(s, max_epochs=epochs) for name, s in TRAINING.items()}
    trainer = Trainer(table, out, settings, progress, endpoints)
    headers = {}
    for name in (name for name in models if name in wanted):
        folder = out / name
        if force or not _is_done(folder, table, endpoints):
            models[name](trainer, name)
            trainer.checkpoint(name).unlink(missing_ok=True)
        headers[name] = load_header(folder)
        progress(name, 1, 1, "ready")
    return headers


def _head_trainers(endpoints: Mapping[str, Endpoint]) -> dict[str, Callable[[Trainer, str], None]]:
    """Heads of a user's own properties, in either face."""
    return {
        head_folder(Path(), name, face).name: train_head
        for face in ("standard", "reference")
        for name in endpoints
        if name not in ENDPOINTS
    }


def _is_done(folder: Path, table: TrainingTable, endpoints: Mapping[str, Endpoint]) -> bool:
    """Whether a model is there that training would make again."""
    if not (folder / HEADER_FILE).exists():
        return False
    header = load_header(folder)
    if header.get("trained_on") != table.header["trained_on"]:
        return False
    if "built_on" not in header:
        return True
    if header["kind"] == "properties":
        return bool(header["built_on"] == foundations(folder.parent, "standard", network=True))
    same = header["built_on"] == foundations(folder.parent, header["face"])
    return same and endpoint_of(header) == endpoints[header["endpoint"]]
