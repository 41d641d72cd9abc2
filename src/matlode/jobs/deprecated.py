"""Names of before, accepted with a warning: ``Toolbox`` and ``Identifier``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from matlode.jobs.known import Known
from matlode.jobs.models import Models

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Toolbox:
    """Deprecated: use ``models=Models(folder)``, ``known=Known(table)`` and ``screens=``."""

    models_folder: Path | None = None
    known_table: Path | None = None
    screens: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Identifier:
    """Deprecated: use ``known=Known(table, index)`` and ``models=Models(folder)``."""

    known_table: Path | None = None
    index: Path | None = None
    models_folder: Path | None = None


def accept_toolbox(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function take ``toolbox=Toolbox(...)`` for its ``models``, ``known``, ``screens``."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        toolbox = kwargs.pop("toolbox", None)
        if isinstance(toolbox, Toolbox):
            _warn("toolbox=Toolbox(...)")
            kwargs["models"] = Models(toolbox.models_folder)
            kwargs["known"] = Known(toolbox.known_table)
            kwargs["screens"] = toolbox.screens
        return function(*args, **kwargs)

    return call


def accept_identifier(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function take ``identifier=Identifier(...)`` for its ``models`` and ``known``."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        identifier = kwargs.pop("identifier", None)
        if isinstance(identifier, Identifier):
            _warn("identifier=Identifier(...)")
            kwargs["models"] = Models(identifier.models_folder)
            kwargs["known"] = Known(identifier.known_table, identifier.index)
        return function(*args, **kwargs)

    return call


def _warn(argument: str) -> None:
    warnings.warn(
        f"{argument} is deprecated; pass models=Models(folder) and known=Known(table).",
        DeprecationWarning,
        stacklevel=3,
    )
