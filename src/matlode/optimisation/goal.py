"""What the user asks for, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import atomic_numbers
from matlode.errors import GoalError, suggest
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates, find_endpoint

STABILITY = "stable_probability"
ROUND_OFF = 1e-9
"""Relative differences below it are none."""


@dataclass(frozen=True)
class Objective:
    """One property, to be as large or as small as possible."""

    endpoint: str
    maximise: bool

    @property
    def sign(self) -> float:
        """+1 to maximise, -1 to minimise."""
        return 1.0 if self.maximise else -1.0


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Objectives and the limits that every candidate keeps by construction."""

    objectives: tuple[Objective, ...]
    allowed: tuple[str, ...]
    """Symbols that a formula may hold."""
    max_elements: int = 5
    max_atoms: int = 20
    """Atoms in the reduced formula."""
    min_stable_probability: float = 0.5
    """Softly: points below it lose merit in proportion (see ``merit``)."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every endpoint that the search must predict."""
        names = [objective.endpoint for objective in self.objectives]
        return tuple(dict.fromkeys([*names, STABILITY]))

    @property
    def allowed_mask(self) -> NDArray[np.bool_]:
        """(100,), true for allowed elements."""
        mask = np.zeros(MAX_ATOMIC_NUMBER, dtype=bool)
        mask[[atomic_numbers()[symbol] - 1 for symbol in self.allowed]] = True
        return mask

    def in_words(self) -> str:
        """The goal as a sentence."""
        wishes = [
            f"{'maximise' if o.maximise else 'minimise'} {o.endpoint.replace('_', ' ')}"
            for o in self.objectives
        ]
        return (
            f"{' and '.join(wishes)}; up to {self.max_elements} of {len(self.allowed)} elements, "
            f"up to {self.max_atoms} atoms per formula; chance of stability preferably "
            f"≥ {self.min_stable_probability:g}"
        )


def make_goal(
    *,
    maximize: Iterable[str] = (),
    minimize: Iterable[str] = (),
    elements: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    known_elements: Sequence[str],
    endpoints: Mapping[str, Endpoint] = ENDPOINTS,
    max_elements: int = 5,
    max_atoms: int = 20,
) -> Goal:
    """A goal from the command line's words.

    ``elements`` are the only ones allowed (default: all of ``known_elements``, those that the
    known materials hold), less ``exclude``; ``endpoints`` are those that can be predicted.
    Raises GoalError for unknown names and for goals that nothing can meet.
    """
    objectives = tuple(
        Objective(find_endpoint(name, endpoints).name, maximise)
        for names, maximise in ((maximize, True), (minimize, False))
        for name in names
    )
    if not objectives:
        raise GoalError("nothing to search for: give at least one --maximize or --minimize.")
    twice = {
        o.endpoint for o in objectives if sum(p.endpoint == o.endpoint for p in objectives) > 1
    }
    if twice:
        raise GoalError(f"{', '.join(sorted(twice))}: named more than once; keep one direction.")
    excluded = set(check_symbols(exclude))
    wanted = known_elements if elements is None else check_symbols(elements)
    strangers = [symbol for symbol in wanted if symbol not in known_elements]
    if strangers:
        raise GoalError(
            f"{', '.join(strangers)}: no known material here holds it, so nothing can be "
            "predicted; leave it out or give a table that has it (--known)."
        )
    allowed = tuple(symbol for symbol in wanted if symbol not in excluded)
    if not allowed:
        raise GoalError("no element is left: --exclude takes away all of --elements.")
    if max_elements < 1 or max_atoms < 1:
        raise GoalError(f"max_elements {max_elements} and max_atoms {max_atoms} must be positive.")
    return Goal(
        objectives=objectives, allowed=allowed, max_elements=max_elements, max_atoms=max_atoms
    )


def check_symbols(symbols: Iterable[str]) -> list[str]:
    """The symbols, each once and in order; raises GoalError for what is no element."""
    out = []
    for symbol in symbols:
        name = symbol.strip().capitalize()
        if name not in atomic_numbers():
            raise GoalError(f'"{symbol}" is not an element. {suggest(name, atomic_numbers())}')
        out.append(name)
    return list(dict.fromkeys(out))


@dataclass(frozen=True)
class Scale:
    """Puts each objective on one scale: 0 at the median of the known materials, 1 at their
    best 5 %."""

    origin: Mapping[str, float]
    span: Mapping[str, float]

    @classmethod
    def fit(cls, goal: Goal, known: Mapping[str, Estimates]) -> Scale:
        """From predictions for known materials, by endpoint."""
        origin, span = {}, {}
        for objective in goal.objectives:
            gain = objective.sign * known[objective.endpoint].value
            middle, best = np.quantile(gain, [0.5, 0.95])
            origin[objective.endpoint] = float(middle)
            width = float(best - middle)
            # a property that hardly varies is no reason to divide by round-off
            flat = width <= ROUND_OFF * max(abs(middle), abs(best))
            span[objective.endpoint] = 1.0 if flat else width
        return cls(origin, span)

    def gains(self, goal: Goal, estimates: Mapping[str, Estimates]) -> NDArray[np.float64]:
        """(n, n_objectives), larger is better."""
        return np.stack(
            [
                (o.sign * estimates[o.endpoint].value - self.origin[o.endpoint])
                / self.span[o.endpoint]
                for o in goal.objectives
            ],
            axis=1,
        )


def merit(
    goal: Goal,
    gains: NDArray[np.floating],
    stable_probability: NDArray[np.floating],
    weights: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """One number per point, larger is better: mean gain less what is missing in stability.

    ``gains`` (n, n_objectives) from ``Scale.gains``; ``weights`` sum to 1 (default: equal).
    A point at half the wanted chance of stability loses half a unit.
    """
    if weights is None:
        weights = np.full(gains.shape[1], 1 / gains.shape[1])
    short = np.maximum(goal.min_stable_probability - stable_probability, 0)
    return np.asarray(gains @ weights - short / max(goal.min_stable_probability, 1e-9))
