"""What is asked for: objectives, ranges, limits of formulas, wishes; and what a point is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import atomic_numbers
from matlode.latent.formula_search import FormulaLimits
from matlode.properties.endpoints import Endpoint, Estimates
from matlode.records import Prediction

STABILITY = "stable_probability"
ROUND_OFF = 1e-9
"""Relative differences below it are none."""
MIN_SPAN_OF_CHANCE = 0.5
"""Of a chance: from even odds to certainty. Nearly all known materials are surely stable, and
what tells the best of them from the median is nothing to measure others by."""
SIGMAS_OF_INTERVAL = 1.6449
"""Half a 90 % interval of a normal distribution, in standard deviations."""

Array = NDArray[np.float64]
Direction = Literal["maximise", "minimise", "near"]


@dataclass(frozen=True)
class Objective:
    """One property, to be as large, as small or as near to ``target`` as possible."""

    endpoint: str
    direction: Direction
    target: float | None = None
    """In the endpoint's unit, for "near"."""
    weight: float = 1.0
    """Relative to the other objectives."""

    def raw_gain(self, values: Array) -> Array:
        """(n,), larger is better, in the endpoint's unit."""
        if self.target is not None:
            return -abs(values - self.target)
        return values if self.direction == "maximise" else -values

    def in_words(self) -> str:
        """Such as "maximise bulk modulus"."""
        name = self.endpoint.replace("_", " ")
        if self.target is not None:
            return f"{name} near {self.target:g}"
        return f"{self.direction} {name}"


@dataclass(frozen=True)
class Range:
    """A property that is to lie between ``low`` and ``high``; missing it costs merit."""

    endpoint: str
    low: float | None = None
    """None: no lower end."""
    high: float | None = None
    weight: float = 1.0

    def shortfall(self, estimates: Estimates, *, span: float, is_probability: bool) -> Array:
        """(n,), 0 where the range is kept for sure.

        Values: the distance to the range in units of ``span``, and the chance that they lie
        outside, by their intervals. Probabilities: the part of a limit that is missing.
        """
        value = estimates.value
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        below, above = np.maximum(low - value, 0), np.maximum(value - high, 0)
        if is_probability:
            return below / max(low, ROUND_OFF) + above / max(1 - high, ROUND_OFF)
        down = np.maximum(value - estimates.low, ROUND_OFF) / SIGMAS_OF_INTERVAL
        up = np.maximum(estimates.high - value, ROUND_OFF) / SIGMAS_OF_INTERVAL
        chance = _chance_below(high, value, down, up) - _chance_below(low, value, down, up)
        return (below + above) / span + 1 - chance

    def holds(self, values: NDArray[np.floating] | float) -> NDArray[np.bool_]:
        """Whether values lie in the range, its ends included."""
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return np.asarray((values >= low) & (values <= high))

    def in_words(self) -> str:
        """Such as "band gap 1.1 to 1.7"."""
        name = self.endpoint.replace("_", " ")
        if self.low is None:
            return f"{name} ≤ {self.high:g}"
        if self.high is None:
            return f"{name} ≥ {self.low:g}"
        return f"{name} {self.low:g} to {self.high:g}"


def _chance_below(limit: float, value: Array, down: Array, up: Array) -> Array:
    """P(x ≤ limit) of values with other standard deviations downwards than upwards."""
    return np.asarray(ndtr((limit - value) / np.where(limit < value, down, up)))


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Objectives and ranges, which are weighed, and limits, which every candidate keeps."""

    objectives: tuple[Objective, ...]
    ranges: tuple[Range, ...]
    preferences: Mapping[str, float]
    """Name → weight of a soft wish about the whole object (``preferences``)."""
    allowed: tuple[str, ...]
    """Symbols that a formula may hold."""
    required: tuple[str, ...] = ()
    """Symbols that it must hold."""
    min_elements: int = 1
    max_elements: int = 5
    max_atoms: int = 20
    """Atoms in the reduced formula."""
    sites: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """A stoichiometry: atoms of each element, and which it may be."""
    stoichiometry: str = ""
    """The same as text, such as "ABX3" or "WC"."""
    space_groups: tuple[int, ...] = ()
    """Numbers; none: any."""
    like: str = ""
    """A structure file or formula, for the preference of this name."""
    like_pattern: str = ""
    """The file of a measured pattern, for the preference of this name."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every endpoint that the search must predict."""
        names = [*(o.endpoint for o in self.objectives), *(r.endpoint for r in self.ranges)]
        return tuple(dict.fromkeys([*names, STABILITY]))

    @property
    def shown(self) -> tuple[str, ...]:
        """Endpoints that the goal is about, for tables and maps; never fewer than two."""
        names = [*(o.endpoint for o in self.objectives), *(r.endpoint for r in self.ranges)]
        return tuple(dict.fromkeys([*names, STABILITY, "formation_energy"]))

    @property
    def weights(self) -> Array:
        """(n_objectives,), summing to 1."""
        weights = np.array([objective.weight for objective in self.objectives])
        return weights / weights.sum() if len(weights) else weights

    @property
    def allowed_mask(self) -> NDArray[np.bool_]:
        """(100,), true for allowed elements."""
        return element_mask(self.allowed)

    @property
    def limits(self) -> FormulaLimits:
        """What decoding keeps."""
        return FormulaLimits(
            allowed=self.allowed_mask,
            required=element_mask(self.required),
            min_elements=self.min_elements,
            max_elements=self.max_elements,
            max_atoms=self.max_atoms,
            sites=tuple((amount, element_mask(symbols)) for amount, symbols in self.sites),
        )

    def missed(self, predictions: Mapping[str, Prediction]) -> list[str]:
        """Of each range that predicted values are outside of, what was asked and what came."""
        found = [(r, predictions[r.endpoint]) for r in self.ranges]
        return [
            f"{r.in_words()} was asked, {p.value:.4g}{' ' * bool(p.unit)}{p.unit} is expected"
            for r, p in found
            if not r.holds(p.value)
        ]

    def in_words(self) -> str:
        """The goal as a sentence."""
        parts = [o.in_words() for o in self.objectives] + [r.in_words() for r in self.ranges]
        words = [" and ".join(parts[: len(self.objectives)]), *parts[len(self.objectives) :]]
        if self.stoichiometry:
            words.append(f"formula {self.stoichiometry}")
        else:
            few = "" if self.min_elements <= 1 else f"{self.min_elements} to "
            words.append(
                f"{few or 'up to '}{self.max_elements} of {len(self.allowed)} elements, up to "
                f"{self.max_atoms} atoms per formula"
            )
        if self.required:
            words.append(f"with {', '.join(self.required)}")
        if self.space_groups:
            groups = ", ".join(map(str, self.space_groups[:6]))
            more = " ..." if len(self.space_groups) > 6 else ""
            words.append(f"space group {groups}{more}")
        if self.preferences:
            words.append("preferably " + ", ".join(n.replace("_", " ") for n in self.preferences))
        return "; ".join(word for word in words if word)


def element_mask(symbols: tuple[str, ...]) -> NDArray[np.bool_]:
    """(100,), true for these elements."""
    mask = np.zeros(MAX_ATOMIC_NUMBER, dtype=bool)
    mask[[atomic_numbers()[symbol] - 1 for symbol in symbols]] = True
    return mask


@dataclass(frozen=True)
class Scale:
    """Puts every property on one scale: 0 at the median of the known materials, 1 at their
    best 5 %; of chances, at least MIN_SPAN_OF_CHANCE above it."""

    origin: Mapping[str, float]
    span: Mapping[str, float]
    """Also of properties that have a range: from the median to the upper 5 %."""
    probabilities: frozenset[str] = frozenset()
    """Endpoints whose ranges are about chances."""

    @classmethod
    def fit(
        cls, goal: Goal, known: Mapping[str, Estimates], endpoints: Mapping[str, Endpoint]
    ) -> Scale:
        """From predictions for known materials, by endpoint."""
        chances = frozenset(n for n in goal.endpoints if endpoints[n].task == "probability")
        origin, span = {}, {}
        gains = {r.endpoint: known[r.endpoint].value for r in goal.ranges}
        gains |= {o.endpoint: o.raw_gain(known[o.endpoint].value) for o in goal.objectives}
        for name, gain in gains.items():
            middle, best = np.quantile(gain, [0.5, 0.95])
            width = float(best - middle)
            # a property that hardly varies is no reason to divide by round-off
            flat = width <= ROUND_OFF * max(abs(middle), abs(best))
            origin[name], span[name] = float(middle), 1.0 if flat else width
            if name in chances:
                span[name] = max(width, MIN_SPAN_OF_CHANCE)
        return cls(origin, span, chances)

    def gains(self, goal: Goal, estimates: Mapping[str, Estimates]) -> Array:
        """(n, n_objectives), larger is better."""
        n = len(next(iter(estimates.values())).value)
        columns = [
            (o.raw_gain(estimates[o.endpoint].value) - self.origin[o.endpoint])
            / self.span[o.endpoint]
            for o in goal.objectives
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((n, 0))

    def shortfalls(self, goal: Goal, estimates: Mapping[str, Estimates]) -> Array:
        """(n, n_ranges), 0 where a range is kept."""
        n = len(next(iter(estimates.values())).value)
        columns = [
            r.weight
            * r.shortfall(
                estimates[r.endpoint],
                span=self.span[r.endpoint],
                is_probability=r.endpoint in self.probabilities,
            )
            for r in goal.ranges
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((n, 0))


def merit(
    goal: Goal,
    gains: NDArray[np.floating],
    shortfalls: NDArray[np.floating],
    weights: NDArray[np.floating] | None = None,
) -> Array:
    """One number per point, larger is better: weighted mean gain less all shortfalls.

    ``gains`` (n, n_objectives) and ``shortfalls`` (n, m) from ``Scale``; ``weights`` sum to 1
    (default: the goal's).
    """
    weights = goal.weights if weights is None else weights
    return np.asarray(gains @ weights - shortfalls.sum(axis=1))
