"""The goal of a search: objectives, ranges, limits of formulas and preferences, and the merit that
combines them into one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import atomic_numbers
from matlode.latent.formula_limits import FormulaLimits
from matlode.properties.endpoints import Endpoint, Estimates
from matlode.records import Prediction

STABILITY = "hull_probability_50_mev"
"""Endpoint that chooses among the crystals of a formula. It orders 77 % of 1,444 pairs of known
phases of one formula rightly (more than 0.03 eV/atom apart, held-out formulas); predicted energies
order 75 %."""
ROUND_OFF = 1e-9
"""Relative differences below this limit are numerical noise."""
MIN_SPAN_OF_CHANCE = 0.5
"""Smallest span of a probability. Nearly all known materials are stable with a probability close to
1, so that the difference between their median and their best is too small a unit."""
EDGE = 0.1
"""Width of the edge of a range, in units of the property's span: beyond it, no gain counts."""
DEFAULT_RISK = 0.25
"""Where between the predicted value (0) and the bad end of its 90 % interval (1) a property is
taken, unless the goal says otherwise."""

Array = NDArray[np.float64]
Direction = Literal["maximise", "minimise", "near"]


def _name_in_words(endpoint: str) -> str:
    """Such as "bulk modulus", or "probability within 50 meV/atom of the hull"."""
    limit = endpoint.removeprefix("hull_probability_").removesuffix("_mev")
    if endpoint == f"hull_probability_{limit}_mev":
        return f"probability within {limit} meV/atom of the hull"
    return endpoint.replace("_", " ")


@dataclass(frozen=True)
class Objective:
    """A property to maximise, to minimise or to bring near to ``target``."""

    endpoint: str
    direction: Direction
    target: float | None = None
    """In the endpoint's unit, for "near"."""
    weight: float = 1.0
    """Relative to the other objectives."""

    def raw_gain(self, estimates: Estimates, risk: float) -> Array:
        """(n,), larger is better, in the endpoint's unit; taken at ``risk`` (``Goal.risk``)."""
        low, high = narrow_intervals(estimates, risk)
        if self.target is not None:
            return -np.maximum(abs(low - self.target), abs(high - self.target))
        return low if self.direction == "maximise" else -high

    def in_words(self) -> str:
        """Such as "maximise bulk modulus"."""
        name = _name_in_words(self.endpoint)
        if self.target is not None:
            return f"{name} near {self.target:g}"
        return f"{self.direction} {name}"


@dataclass(frozen=True)
class Range:
    """Limits of a property; a value outside reduces the merit."""

    endpoint: str
    low: float | None = None
    """None: no lower limit."""
    high: float | None = None
    """None: no upper limit."""
    weight: float = 1.0

    def shortfall(
        self, estimates: Estimates, *, span: float, is_probability: bool, risk: float
    ) -> Array:
        """(n,), penalty for values outside the range, 0 inside.

        For values: the distance to the range, in units of ``span``, plus the degree of missing it
        (``measure_miss``). For probabilities: the distance relative to the limit.
        """
        if is_probability:
            low = -np.inf if self.low is None else self.low
            high = np.inf if self.high is None else self.high
            below = np.maximum(low - estimates.value, 0) / max(low, ROUND_OFF)
            above = np.maximum(estimates.value - high, 0) / max(1 - high, ROUND_OFF)
            return np.asarray(below + above)
        return self._distance(estimates, risk) / span + self.measure_miss(
            estimates, span=span, risk=risk
        )

    def measure_miss(self, estimates: Estimates, *, span: float, risk: float) -> Array:
        """(n,), 0 inside the range, rising to 1 at EDGE ``span`` outside it."""
        return np.minimum(self._distance(estimates, risk) / (EDGE * span), 1.0)

    def _distance(self, estimates: Estimates, risk: float) -> Array:
        """(n,), from the range to the value moved by ``risk`` (``Goal.risk``) towards the bad end
        of its interval."""
        low, high = narrow_intervals(estimates, risk)
        below = 0.0 if self.low is None else np.maximum(self.low - low, 0)
        above = 0.0 if self.high is None else np.maximum(high - self.high, 0)
        return np.asarray(below + above)

    def holds(self, values: NDArray[np.floating] | float) -> NDArray[np.bool_]:
        """Whether values lie in the range, including its limits."""
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return np.asarray((values >= low) & (values <= high))

    def in_words(self) -> str:
        """Such as "band gap 1.1 to 1.7"."""
        name = _name_in_words(self.endpoint)
        if self.low is None:
            return f"{name} ≤ {self.high:g}"
        if self.high is None:
            return f"{name} ≥ {self.low:g}"
        return f"{name} {self.low:g} to {self.high:g}"


def narrow_intervals(estimates: Estimates, risk: float) -> tuple[Array, Array]:
    """The 90 % intervals, shrunk towards the predicted values by the factor ``risk``."""
    value = estimates.value
    return value - risk * (value - estimates.low), value + risk * (estimates.high - value)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Objectives, ranges and preferences, which the merit combines, and limits, which every
    candidate meets."""

    objectives: tuple[Objective, ...]
    ranges: tuple[Range, ...]
    preferences: Mapping[str, float]
    """Name → weight of a preference (``optimisation.preferences``)."""
    allowed: tuple[str, ...]
    """Symbols of elements that a formula may contain."""
    required: tuple[str, ...] = ()
    """Symbols of elements that a formula must contain."""
    min_elements: int = 1
    max_elements: int = 5
    max_atoms: int = 20
    """Atoms in the reduced formula."""
    sites: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """Sites of a stoichiometry: number of atoms and possible elements of each."""
    stoichiometry: str = ""
    """The stoichiometry as text, such as "ABX3" or "WC"."""
    space_groups: tuple[int, ...] = ()
    """Allowed numbers; empty: all."""
    prototype: str = ""
    """Name of the structure family that all crystals belong to
    (``realisation.structure_families``); empty: any."""
    risk: float = DEFAULT_RISK
    """Where objectives and ranges are taken: 0, at the predicted value; 1, at the bad end of its
    90 % interval; between them in proportion."""
    without: tuple[str, ...] = ()
    """Kinds of elements that are not allowed, as text: "radioactive elements", ..."""
    like: str = ""
    """Structure file or formula of the preference "like"."""
    like_pattern: str = ""
    """File with the measured pattern of the preference "like_pattern"."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Endpoints that the search predicts."""
        names = [*(o.endpoint for o in self.objectives), *(r.endpoint for r in self.ranges)]
        return tuple(dict.fromkeys([*names, STABILITY]))

    @property
    def shown(self) -> tuple[str, ...]:
        """Endpoints to show in tables and maps, at least two."""
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
        return mask_elements(self.allowed)

    @property
    def limits(self) -> FormulaLimits:
        """Limits of the decoded formulas."""
        return FormulaLimits(
            allowed=self.allowed_mask,
            required=mask_elements(self.required),
            min_elements=self.min_elements,
            max_elements=self.max_elements,
            max_atoms=self.max_atoms,
            sites=tuple((amount, mask_elements(symbols)) for amount, symbols in self.sites),
        )

    def missed(self, predictions: Mapping[str, Prediction]) -> list[str]:
        """Each range that the predictions do not meet, with the predicted value, as text."""
        found = [(r, predictions[r.endpoint]) for r in self.ranges]
        return [
            f"{r.in_words()} is required, {p.value:.4g}{' ' * bool(p.unit)}{p.unit} is predicted"
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
        if self.without:
            words.append(f"without {', '.join(self.without)}")
        if self.required:
            words.append(f"with {', '.join(self.required)}")
        if self.prototype:
            words.append(f"structure of {self.prototype}")
        if self.space_groups:
            groups = ", ".join(map(str, self.space_groups[:6]))
            more = " ..." if len(self.space_groups) > 6 else ""
            words.append(f"space group {groups}{more}")
        if self.preferences:
            words.append("preferably " + ", ".join(n.replace("_", " ") for n in self.preferences))
        return "; ".join(word for word in words if word)


def mask_elements(symbols: tuple[str, ...]) -> NDArray[np.bool_]:
    """(100,), true at the atomic numbers, less 1, of the elements ``symbols``."""
    mask = np.zeros(MAX_ATOMIC_NUMBER, dtype=bool)
    mask[[atomic_numbers()[symbol] - 1 for symbol in symbols]] = True
    return mask


@dataclass(frozen=True)
class Scale:
    """Common scale of all properties: 0 at the median of the known materials, 1 at their best 5 %
    or, for probabilities, at least MIN_SPAN_OF_CHANCE above the median."""

    origin: Mapping[str, float]
    """Endpoint → median of the known materials."""
    span: Mapping[str, float]
    """Endpoint → difference between the best 5 % (for ranges, the upper 5 %) and the median."""
    probabilities: frozenset[str] = frozenset()
    """Endpoints that are probabilities."""

    @classmethod
    def fit(
        cls, goal: Goal, known: Mapping[str, Estimates], endpoints: Mapping[str, Endpoint]
    ) -> Scale:
        """Fit the scale to predictions for the known materials, by endpoint."""
        chances = frozenset(n for n in goal.endpoints if endpoints[n].task == "probability")
        origin, span = {}, {}
        gains = {r.endpoint: known[r.endpoint].value for r in goal.ranges}
        gains |= {o.endpoint: o.raw_gain(known[o.endpoint], goal.risk) for o in goal.objectives}
        for name, gain in gains.items():
            middle, best = np.quantile(gain, [0.5, 0.95])
            width = float(best - middle)
            # avoids division by numerical noise for a property that hardly varies
            flat = width <= ROUND_OFF * max(abs(middle), abs(best))
            origin[name], span[name] = float(middle), 1.0 if flat else width
            if name in chances:
                span[name] = max(width, MIN_SPAN_OF_CHANCE)
        return cls(origin, span, chances)

    def gains(self, goal: Goal, estimates: Mapping[str, Estimates]) -> Array:
        """(n, n_objectives), larger is better; gains above 0 do not count outside the ranges of
        values, so that no objective outweighs a missed range."""
        n = len(next(iter(estimates.values())).value)
        columns = [
            (o.raw_gain(estimates[o.endpoint], goal.risk) - self.origin[o.endpoint])
            / self.span[o.endpoint]
            for o in goal.objectives
        ]
        if not columns:
            return np.zeros((n, 0))
        gains = np.stack(columns, axis=1)
        kept = np.ones(n)
        for r in goal.ranges:
            if r.endpoint not in self.probabilities:
                span = self.span[r.endpoint]
                kept *= 1 - r.measure_miss(estimates[r.endpoint], span=span, risk=goal.risk)
        return np.where(gains > 0, gains * kept[:, None], gains)

    def shortfalls(self, goal: Goal, estimates: Mapping[str, Estimates]) -> Array:
        """(n, n_ranges), weighted penalties, 0 where a range is met; see ``Range.shortfall``."""
        n = len(next(iter(estimates.values())).value)
        columns = [
            r.weight
            * r.shortfall(
                estimates[r.endpoint],
                span=self.span[r.endpoint],
                is_probability=r.endpoint in self.probabilities,
                risk=goal.risk,
            )
            for r in goal.ranges
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((n, 0))


def compute_merit(
    goal: Goal,
    gains: NDArray[np.floating],
    shortfalls: NDArray[np.floating],
    weights: NDArray[np.floating] | None = None,
) -> Array:
    """(n,), merit of each point, larger is better: weighted mean of the gains minus all shortfalls.

    ``gains`` (n, n_objectives) and ``shortfalls`` (n, m) come from ``Scale``; ``weights`` sum to 1
    (default: the goal's).
    """
    weights = goal.weights if weights is None else weights
    return np.asarray(gains @ weights - shortfalls.sum(axis=1))
