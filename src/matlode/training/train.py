"""Train the models: latent spaces, properties, space groups, pattern bands, formula lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matlode.artefacts import HEADER_FILE, convert_write_errors, load_header, lock_folder
from matlode.errors import GoalError, suggest
from matlode.latent.training import TrainingSettings
from matlode.optimisation.goal_file import parse_names
from matlode.progress import Progress, silent
from matlode.properties.heads import read_endpoint
from matlode.properties.models import hash_foundations, head_name, list_endpoints
from matlode.properties.own import check_labels, check_rows, read_properties
from matlode.training.model_spec import ModelSpec, Setting
from matlode.training.model_table import STANDARD_MODELS, list_models
from matlode.training.settings import read_settings
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer


def train_models(
    names: str | list[str] | None = None,
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

    ``names`` are keys of MODELS, or heads of own properties. Default: the standard models; with
    ``properties``, a TOML file (``own.read_properties``), the standard heads of its properties;
    with ``settings``, the models of that file. ``data`` names the structure table (default:
    $MATLODE_DATA, else the starter set). Models are written into ``out``; models that they build
    on are read from there, else the shipped ones are used. ``settings`` names a TOML file of
    hyper-parameters (``settings.read_settings``), such as `matlode tune` writes. ``epochs``
    limits the training of all networks, or (model → number) of some. Networks leave checkpoints
    in ``out/checkpoints`` and continue from them. A model in ``out`` that was trained on the same
    rows for the same property and with these ``settings`` is kept unless ``force``.

    Raises GoalError for unknown names and invalid settings, and InputError for labels that no
    head can learn from, both before anything is trained.

    >>> headers = train_models(data=Path("materials.parquet"))  # doctest: +SKIP
    """
    names = parse_names(names) if names else None
    own = read_properties(properties) if properties else {}
    models = list_models({**list_endpoints(out), **own}.values())
    if own and not names:
        names = [head_name(name, "standard") for name in own]
    given = read_settings(settings, models) if settings else {}
    wanted = names or list(given) or list(STANDARD_MODELS)
    for name in wanted:
        if name not in models:
            raise GoalError(f'unknown model "{name}". {suggest(name, models)}')
    table = TrainingTable.load(data)
    _check_labels((models[name] for name in wanted), table)
    models = _with_settings(models, given, epochs)
    trainer = Trainer.of(table, out, progress)
    headers = {}
    with convert_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with lock_folder(out):
        for name, spec in models.items():
            if name not in wanted:
                continue
            folder = out / name
            done = _is_done(folder, table, spec) and (
                name not in given or _has_settings(folder, spec)
            )
            if force or not done:
                progress(name, 0, 1, "begins")
                spec.train(trainer, spec)
                trainer.checkpoint(name).unlink(missing_ok=True)
            headers[name] = load_header(folder)
            progress(name, 1, 1, "ready")
    return headers


def _check_labels(models: Iterable[ModelSpec], table: TrainingTable) -> None:
    """Raise InputError for a property that no head can learn from this table."""
    for spec in models:
        if spec.endpoint is not None:
            labels = check_labels(spec.endpoint, table.materials, table=table.source)
            check_rows(spec.endpoint, labels, table.roles, table=table.source)


def _with_settings(
    models: Mapping[str, ModelSpec],
    given: Mapping[str, Mapping[str, Setting]],
    epochs: int | Mapping[str, int] | None,
) -> dict[str, ModelSpec]:
    """The models with hyper-parameters of a file and with a limit of epochs."""
    found = {**models}
    for name, values in given.items():
        found[name] = found[name].with_settings(values)
    networks = [n for n, spec in models.items() if isinstance(spec.settings, TrainingSettings)]
    limits = dict.fromkeys(networks, epochs) if isinstance(epochs, int) else epochs or {}
    for name, n in limits.items():
        found[name] = found[name].with_settings({"max_epochs": n})
    return found


def _has_settings(folder: Path, spec: ModelSpec) -> bool:
    """Whether the model in ``folder`` was trained with the hyper-parameters of ``spec``."""
    header = load_header(folder)
    if spec.is_head:
        return bool(header["settings"] == asdict(spec.trees))
    same = header.get("architecture", {}) == spec.architecture
    return same and bool(header["training"] == asdict(spec.training))


def _is_done(folder: Path, table: TrainingTable, spec: ModelSpec) -> bool:
    """Whether ``folder`` holds the model that training would make again."""
    if not (folder / HEADER_FILE).exists():
        return False
    header = load_header(folder)
    if header["kind"] != spec.kind or header.get("trained_on") != table.header["trained_on"]:
        return False
    if "built_on" not in header:
        return True
    network = spec.kind == "properties"
    if header["built_on"] != hash_foundations(folder.parent, spec.face, network=network):
        return False
    return spec.endpoint is None or read_endpoint(header) == spec.endpoint
