"""Remake the models: latent spaces, property heads, symmetry, pattern bands, formula filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from matlode.artefacts import HEADER_FILE, load_header, locked, writable
from matlode.errors import GoalError, suggest
from matlode.latent.pairing import PAIRING_MODEL
from matlode.latent.training import TrainingSettings
from matlode.progress import Progress, silent
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.formation_net import FORMATION_NET
from matlode.properties.heads import endpoint_of
from matlode.properties.models import foundations, head_folder, known_endpoints
from matlode.properties.network import NETWORK_MODEL
from matlode.properties.own import check_rows, checked_labels, read_properties
from matlode.screening.symmetry_answers import REFERENCE_SYMMETRY_MODEL, SYMMETRY_MODEL
from matlode.training.property_recipes import train_formation_net, train_head, train_properties
from matlode.training.recipes import (
    Trainer,
    train_bands,
    train_composition_vae,
    train_filter,
    train_pairing,
    train_pattern_vae,
    train_symmetry,
)
from matlode.training.settings import (
    TRAINING,
    WITHOUT_SETTINGS,
    architecture,
    is_head,
    read_settings,
    training_settings,
    tree_settings,
)
from matlode.training.table import TrainingTable

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
    REFERENCE_SYMMETRY_MODEL: train_symmetry,
}
"""model → how it is trained, in the order in which they need each other."""


def train_models(
    names: list[str] | None = None,
    *,
    data: Path | None = None,
    out: Path = Path("models"),
    properties: Path | None = None,
    settings: Path | None = None,
    epochs: int | Mapping[str, int] | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> dict[str, dict[str, Any]]:
    """Train models in order and return their headers by name.

    ``names`` are keys of MODELS, or heads of own properties (default: the standard ones; with
    ``properties``, a TOML file (``own.read_properties``), the standard heads of these; with
    ``settings``, the models of that file);
    ``data`` names the structure table (default: $MATLODE_DATA, else the starter set); ``out``
    is the folder that they go into, and where those that they build on are looked for before
    the shipped ones; ``settings`` names a TOML file of hyper-parameters
    (``settings.read_settings``), such as `matlode tune` writes; ``epochs`` cuts the training of
    the networks short, of all or (model → number) of some. Networks leave checkpoints in
    ``out/checkpoints`` and go on from them; a model that is there already, trained on the same
    rows for the same property and with these ``settings``, is kept unless ``force``.

    Raises GoalError for unknown names and settings that cannot be, InputError, before anything
    is trained, for labels that no head can learn from.
    """
    own = read_properties(properties) if properties else {}
    endpoints = {**known_endpoints(out), **own}
    models = {**MODELS, **_head_trainers(endpoints)}
    if own and not names:
        names = [head_folder(Path(), name, "standard").name for name in own]
    given = read_settings(settings, models) if settings else {}
    standard = [name for name in MODELS if name.startswith("standard")]
    wanted = names or list(given) or [*standard, *WITHOUT_SETTINGS]
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
    trainer = Trainer(
        table, out, _training(given, epochs), progress, endpoints,
        architectures={n: architecture(n, v) for n, v in given.items() if not is_head(n)},
        trees={n: tree_settings(n, v) for n, v in given.items() if is_head(n)},
    )  # fmt: skip
    headers = {}
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        for name in (name for name in models if name in wanted):
            folder = out / name
            done = _is_done(folder, table, endpoints) and (
                name not in given or _is_as_set(trainer, name)
            )
            if force or not done:
                progress(name, 0, 1, "begins")
                models[name](trainer, name)
                trainer.checkpoint(name).unlink(missing_ok=True)
            headers[name] = load_header(folder)
            progress(name, 1, 1, "ready")
    return headers


def _training(
    given: Mapping[str, Mapping[str, Any]], epochs: int | Mapping[str, int] | None
) -> dict[str, TrainingSettings]:
    found = {name: training_settings(name, given.get(name, {})) for name in TRAINING}
    if epochs is None:
        return found
    cut = epochs if isinstance(epochs, Mapping) else dict.fromkeys(found, epochs)
    found |= {name: replace(found[name], max_epochs=n) for name, n in cut.items()}
    return found


def _is_as_set(trainer: Trainer, name: str) -> bool:
    """Whether the model that is there was made with the hyper-parameters that it would get."""
    header = load_header(trainer.root / name)
    if is_head(name):
        return bool(header["settings"] == asdict(trainer.trees[name]))
    same = header.get("architecture", {}) == trainer.architecture(name)
    return same and bool(header["training"] == asdict(trainer.settings[name]))


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
