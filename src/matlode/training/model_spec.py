"""What one model is, how it is trained, and which of its hyper-parameters may be set."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from matlode.latent.training import TrainingSettings
from matlode.properties.endpoints import Endpoint
from matlode.properties.trees import TreeSettings
from matlode.records import Face
from matlode.training.trainer import Trainer

ModelKind: TypeAlias = Literal[
    "autoencoder",
    "pairing",
    "properties",
    "symmetry",
    "bands",
    "formula-lists",
    "head",
    "formation-net",
    "volume",
]
"""The kind that the model's header states."""
ViewName: TypeAlias = Literal["composition", "pattern"]
Value: TypeAlias = str | int | float
Setting: TypeAlias = Value | list[Value]
"""A hyper-parameter, as settings files hold it."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model: what it is, how it is trained, and with which settings."""

    name: str
    """Also the name of its folder."""
    kind: ModelKind
    face: Face
    train: Callable[[Trainer, ModelSpec], None]
    """Trains the model and writes it into the trainer's folder."""
    view: ViewName | None = None
    """Input of an autoencoder."""
    endpoint: Endpoint | None = None
    """Property that it predicts, if it predicts only one."""
    settings: TrainingSettings | TreeSettings | None = None
    """None: the model has no settings."""
    network: Callable[..., nn.Module] | None = None
    has_sizes: bool = False
    """Whether the arguments of ``network`` are hyper-parameters, too."""
    architecture: Mapping[str, Setting] = field(default_factory=dict)
    """Arguments of ``network`` that differ from their defaults; the header keeps them."""
    tensors: Callable[[Trainer, str], list[torch.Tensor]] | None = None
    """Training tensors of the rows of a role, where `matlode tune` may search settings."""

    @property
    def is_head(self) -> bool:
        """Whether the model is boosted trees of one property."""
        return isinstance(self.settings, TreeSettings)

    @property
    def is_network(self) -> bool:
        """Whether the model is a network, trained in epochs."""
        return isinstance(self.settings, TrainingSettings)

    @property
    def training(self) -> TrainingSettings:
        """Settings of a model that is a network."""
        assert isinstance(self.settings, TrainingSettings), f"{self.name} is not a network"
        return self.settings

    @property
    def trees(self) -> TreeSettings:
        """Settings of a head."""
        assert isinstance(self.settings, TreeSettings), f"{self.name} is not a head"
        return self.settings

    @property
    def target(self) -> Endpoint:
        """The endpoint of a model that predicts one property."""
        assert self.endpoint is not None, f"{self.name} predicts no single property"
        return self.endpoint

    def build_network(self) -> nn.Module:
        """An untrained network; the seed decides its initial weights."""
        torch.manual_seed(self.training.seed)
        assert self.network is not None, f"{self.name} has no network of fixed form"
        return self.network(**self.architecture)

    def list_settings(self) -> dict[str, Setting]:
        """Every hyper-parameter with its default."""
        found: dict[str, object] = {}
        if self.has_sizes and self.network is not None:
            arguments = inspect.signature(self.network).parameters.values()
            found = {a.name: a.default for a in arguments if a.default is not a.empty}
        if self.settings is not None:
            found |= asdict(self.settings)
        return {name: _as_setting(value) for name, value in found.items()}

    def with_settings(self, given: Mapping[str, Setting]) -> ModelSpec:
        """The same model with other hyper-parameters (keys of ``list_settings``)."""
        assert self.settings is not None, f"{self.name} has no settings"
        own = {field.name for field in fields(self.settings)}
        # settings.check_value has compared each value with the default
        changed: dict[str, Any] = {key: value for key, value in given.items() if key in own}
        settings = replace(self.settings, **changed)
        sizes = {key: value for key, value in given.items() if key not in own}
        return replace(self, settings=settings, architecture={**self.architecture, **sizes})


def _as_setting(value: object) -> Setting:
    """A value as TOML and JSON have it: with lists in place of tuples."""
    if isinstance(value, tuple | list):
        return list(value)
    assert isinstance(value, str | int | float)
    return value
