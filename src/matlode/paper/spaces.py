"""Search spaces of hyper-parameters: which, in which range, and how a choice becomes settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from matlode.artefacts import read_toml
from matlode.errors import GoalError, suggest
from matlode.training.model_spec import ModelSpec
from matlode.training.settings import SPELLINGS, check_value

KINDS = ("int", "uniform", "log", "choices")
"""How a value is drawn: a whole number, a number, a number by its logarithm, one of a list."""
BUDGET = (
    *("max_epochs", "seed", "n_rounds"),
    *("difficulty_rounds", "cross_fit_rounds", "cross_fit_eta"),
)
"""What a trial may cost, and what its loss does not see: not searched."""
HEADS = "reference-heads"
"""The table of a space file for every head that has none of its own."""
KERAS_RATES = {"sgd": 1e-2}
"""Keras' default learning rates, where they are not 1e-3: an optimizer is tried with its own."""


@dataclass(frozen=True)
class Range:
    """What one hyper-parameter may be."""

    name: str
    """As a file has it; ``units_2`` is the second of ``units``."""
    kind: str
    """One of KINDS."""
    values: tuple[Any, ...]
    """Low and high, both included, or the choices."""
    key: str
    """The hyper-parameter."""
    at: int | None
    """Which of its values, if it has several."""

    def nearest(self, value: Any) -> Any:
        """``value`` if it is in the range, else the end, or first choice, that comes next."""
        if self.kind == "choices":
            return value if value in self.values else self.values[0]
        low, high = self.values
        return min(max(value, low), high)

    def __str__(self) -> str:
        if self.kind == "choices":
            return ", ".join(map(str, self.values))
        return f"{self.values[0]:g}-{self.values[1]:g}" + (" (log)" if self.kind == "log" else "")


def shipped_spaces() -> Path:
    """The file with the spaces of the paper's Tables S1 and S2."""
    return Path(str(resources.files("matlode.paper") / "spaces.toml"))


def read_space(path: Path, model: ModelSpec) -> tuple[Range, ...]:
    """The ranges of ``model`` in a space file (TOML, a table per model).

    Heads without a table of their own take that of HEADS. Raises InputError if the file cannot
    be read, GoalError for unknown names and for bounds that make no sense.
    """
    content = read_toml(path)
    name = model.name
    given = content.get(name)
    if given is None and model.is_head and model.face == "reference":
        given = content.get(HEADS)
    if given is None:
        raise GoalError(f'{path} has no space of "{name}". {suggest(name, content)}')
    if not isinstance(given, dict) or not given:
        raise GoalError(f"{path}: [{name}] must hold ranges, such as units = {{ int = [8, 256] }}")
    return tuple(_range(model, key, value, f"{path}: [{name}]") for key, value in given.items())


def _range(model: ModelSpec, name: str, given: Any, origin: str) -> Range:
    names = _names(model)
    if name not in names:
        raise GoalError(f'{origin} has no "{name}". {suggest(name, names)}')
    key, at = names[name]
    if not isinstance(given, dict) or len(given) != 1:
        raise GoalError(f"{origin} {name}: write one of {', '.join(KINDS)}, such as "
                        f"{name} = {{ uniform = [0, 0.1] }}, not {given!r}.")  # fmt: skip
    ((kind, values),) = given.items()
    if kind not in KINDS:
        raise GoalError(f'{origin} {name}: "{kind}" is no kind of range. {suggest(kind, KINDS)}')
    if not isinstance(values, list) or not values:
        raise GoalError(f"{origin} {name}: {kind} = {values!r}; wanted a list.")
    default = model.list_settings()[key]
    single = default[at] if isinstance(default, list) and at is not None else default
    for value in values:
        check_value(key, value, single, f"{origin} {name}")
    if kind != "choices":
        _check_bounds(kind, values, single, f"{origin} {name}")
    if isinstance(single, int):
        values = [int(value) for value in values]
    return Range(name, kind, tuple(values), key, at)


def _check_bounds(kind: str, values: list[Any], default: Any, origin: str) -> None:
    if isinstance(default, str):
        raise GoalError(f"{origin} is a name: give choices = [...], not {kind} = {values!r}.")
    if (kind == "int") != isinstance(default, int):
        wanted = "int" if isinstance(default, int) else "uniform or log"
        raise GoalError(f"{origin}: {kind} = {values!r}; this one is {wanted}.")
    if len(values) != 2 or not values[0] < values[1]:
        raise GoalError(f"{origin}: {kind} = {values!r}; wanted [low, high] with low < high.")
    if kind == "log" and values[0] <= 0:
        raise GoalError(f"{origin}: a logarithmic range begins above 0, not at {values[0]}.")


def _names(model: ModelSpec) -> dict[str, tuple[str, int | None]]:
    """Name in a file → hyper-parameter, and which of its values."""
    spelling = {key: written for written, key in SPELLINGS.items()}
    names: dict[str, tuple[str, int | None]] = {}
    for key, value in model.list_settings().items():
        if key in BUDGET:
            continue
        if isinstance(value, list):
            names |= {f"{key}_{i + 1}": (key, i) for i in range(len(value))}
        else:
            names[spelling.get(key, key)] = (key, None)
    return names


def usual_choice(model: ModelSpec, space: tuple[Range, ...]) -> dict[str, Any]:
    """name → what `matlode train` takes: the paper's optimum."""
    defaults = model.list_settings()
    found: dict[str, Any] = {}
    for r in space:
        default = defaults[r.key]
        found[r.name] = default[r.at] if isinstance(default, list) and r.at is not None else default
    return found


def first_choice(model: ModelSpec, space: tuple[Range, ...]) -> dict[str, Any]:
    """The same, with the nearest value where a range leaves it out."""
    usual = usual_choice(model, space)
    return {r.name: r.nearest(usual[r.name]) for r in space}


def chosen_settings(
    model: ModelSpec, space: tuple[Range, ...], chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """What a settings file says for values ``chosen`` of a space, by name."""
    found: dict[str, Any] = {}
    for r in space:
        if r.at is None:
            found[r.key] = chosen[r.name]
        else:
            found.setdefault(r.key, model.list_settings()[r.key])[r.at] = chosen[r.name]
    if "optimizer" in found and "learning_rate" not in found:
        found["learning_rate"] = KERAS_RATES.get(found["optimizer"], 1e-3)
    return found
