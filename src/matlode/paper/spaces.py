"""Search spaces of hyper-parameters, and the conversion of a choice to settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from matlode.artefacts import read_toml
from matlode.errors import GoalError, suggest
from matlode.training.model_spec import ModelSpec, Setting, Value
from matlode.training.settings import SPELLINGS, check_value

KINDS = ("int", "uniform", "log", "choices")
"""Distributions: uniform integer, uniform number, log-uniform number, one of a list."""
BUDGET = (
    *("max_epochs", "seed", "n_rounds"),
    *("difficulty_rounds", "cross_fit_rounds", "cross_fit_eta"),
)
"""Hyper-parameters that are not searched, because they set the cost of a trial or do not affect its
loss."""
HEADS = "reference-heads"
"""Table of a space file for all heads without their own table."""
KERAS_RATES = {"adadelta": 1.0, "adagrad": 1e-2, "adamax": 2e-3, "nadam": 2e-3, "sgd": 1e-2}
"""Optimizer → default learning rate in Keras 2.3 if it is not 1e-3. Each optimizer is tried with
its default."""


@dataclass(frozen=True)
class Range:
    """Range of one hyper-parameter."""

    name: str
    """Name in a file; ``units_2`` is the second value of ``units``."""
    kind: str
    """One of KINDS."""
    values: tuple[Value, ...]
    """Lower and upper limit, both included, or the choices."""
    key: str
    """Name of the hyper-parameter."""
    at: int | None
    """Index of the value, if the hyper-parameter has several."""

    @property
    def limits(self) -> tuple[float, float]:
        """Lower and upper limit, both included; for all kinds except choices."""
        low, high = self.values
        assert isinstance(low, int | float)
        assert isinstance(high, int | float)
        return low, high

    def nearest(self, value: Value) -> Value:
        """``value`` if it is in the range, else the nearest limit or the first choice."""
        if self.kind == "choices":
            return value if value in self.values else self.values[0]
        low, high = self.limits
        assert isinstance(value, int | float)
        return min(max(value, low), high)

    def __str__(self) -> str:
        if self.kind == "choices":
            return ", ".join(map(str, self.values))
        low, high = self.limits
        return f"{low:g}-{high:g}" + (" (log)" if self.kind == "log" else "")


def find_shipped_spaces() -> Path:
    """The file with the search spaces of the paper's Tables S1 and S2."""
    return Path(str(resources.files("matlode.paper") / "spaces.toml"))


def read_space(path: Path, model: ModelSpec) -> tuple[Range, ...]:
    """Read the ranges of ``model`` from a space file (TOML, a table per model).

    Heads without their own table use the table HEADS. Raises InputError if the file cannot be
    read, GoalError for unknown names and for invalid limits.
    """
    content = read_toml(path)
    name = model.name
    given = content.get(name)
    if given is None and model.is_head and model.face == "reference":
        given = content.get(HEADS)
    if given is None:
        raise GoalError(f'{path} has no space for "{name}". {suggest(name, content)}')
    if not isinstance(given, dict) or not given:
        raise GoalError(
            f"{path}: [{name}] must contain ranges, such as units = {{ int = [8, 256] }}"
        )
    origin = f"{path}: [{name}]"
    return tuple(_parse_range(model, key, value, origin) for key, value in given.items())


def _parse_range(model: ModelSpec, name: str, given: object, origin: str) -> Range:
    names = _list_names(model)
    if name not in names:
        raise GoalError(f'{origin} has no "{name}". {suggest(name, names)}')
    key, at = names[name]
    if not isinstance(given, dict) or len(given) != 1:
        raise GoalError(f"{origin} {name}: write one of {', '.join(KINDS)}, such as "
                        f"{name} = {{ uniform = [0, 0.1] }}, not {given!r}.")  # fmt: skip
    ((kind, values),) = given.items()
    if kind not in KINDS:
        raise GoalError(f'{origin} {name}: unknown kind of range "{kind}". {suggest(kind, KINDS)}')
    if not isinstance(values, list) or not values:
        raise GoalError(f"{origin} {name}: {kind} = {values!r}; expected a list of values.")
    default = model.list_settings()[key]
    single = default[at] if isinstance(default, list) and at is not None else default
    for value in values:
        check_value(key, value, single, f"{origin} {name}")
    if kind != "choices":
        _check_bounds(kind, values, single, f"{origin} {name}")
    if isinstance(single, int):
        values = [int(value) for value in values]
    return Range(name, kind, tuple(values), key, at)


def _check_bounds(kind: str, values: Sequence[float], default: object, origin: str) -> None:
    if isinstance(default, str):
        raise GoalError(
            f"{origin}: {kind} = {values!r}; the values are names, write choices = [...]."
        )
    if (kind == "int") != isinstance(default, int):
        wanted = "int" if isinstance(default, int) else "uniform or log"
        raise GoalError(f"{origin}: {kind} = {values!r}; expected {wanted}.")
    if len(values) != 2 or not values[0] < values[1]:
        raise GoalError(f"{origin}: {kind} = {values!r}; expected [low, high] with low < high.")
    if kind == "log" and values[0] <= 0:
        raise GoalError(f"{origin}: {kind} = {values!r}; expected a lower limit above 0.")


def _list_names(model: ModelSpec) -> dict[str, tuple[str, int | None]]:
    """Name in a file → hyper-parameter and the index of its value, if it has several."""
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


def find_default_choice(model: ModelSpec, space: tuple[Range, ...]) -> dict[str, Value]:
    """Name → value that `matlode train models` uses: the optimum of the paper."""
    defaults = model.list_settings()
    return {r.name: _pick(defaults[r.key], r.at) for r in space}


def _pick(setting: Setting, at: int | None) -> Value:
    if isinstance(setting, list):
        assert at is not None
        return setting[at]
    return setting


def find_first_choice(model: ModelSpec, space: tuple[Range, ...]) -> dict[str, Value]:
    """Name → value of ``find_default_choice``, moved to the nearest value in the range."""
    usual = find_default_choice(model, space)
    return {r.name: r.nearest(usual[r.name]) for r in space}


def convert_choice(
    model: ModelSpec, space: tuple[Range, ...], chosen: Mapping[str, Value]
) -> dict[str, Setting]:
    """Convert ``chosen`` values (by the names of the space) to settings by hyper-parameter."""
    found: dict[str, Setting] = {}
    lists: dict[str, list[Value]] = {}
    for r in space:
        if r.at is None:
            found[r.key] = chosen[r.name]
            continue
        if r.key not in lists:
            default = model.list_settings()[r.key]
            assert isinstance(default, list)
            found[r.key] = lists[r.key] = list(default)
        lists[r.key][r.at] = chosen[r.name]
    if "optimizer" in found and "learning_rate" not in found:
        found["learning_rate"] = KERAS_RATES.get(str(found["optimizer"]), 1e-3)
    return found
