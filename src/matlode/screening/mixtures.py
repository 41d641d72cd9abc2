"""Phases of a mixture: found one after another, then weighed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.representation.observation import Observation, View
from matlode.screening.known_lines import KnownLines, Match, MatchSettings, keep_distinct

MOST_PHASES: Final = 4
N_CANDIDATES: Final = 25
"""Best phases of a search that are tried as the next phase of a mixture."""
SIGMA_DEG: Final = 0.2
"""Width of the peaks at which phases are weighed; phases with peaks of other widths then differ
little."""
FLOOR: Final = 0.01
"""Smallest variance of a point, relative to that of the strongest one."""
N_BLOCKS: Final = 8
"""Ranges of 2θ, each of which is left out once for the uncertainty of the fractions."""


@dataclass(frozen=True, kw_only=True)
class MixtureSettings:
    """When another phase is added to a mixture."""

    n_effective: float = 120.0
    """Number of independent observations in a pattern."""
    per_phase: float = 6.0
    """Price of a phase, in units of the logarithm of a likelihood."""
    prior: float = 200.0
    """Weight of the priors of phases, whose unit is the cosine of patterns."""
    per_element: float = 3.0
    """Price of each element of the sample that is in none of the phases."""


STANDARD_MIXTURE: Final = MixtureSettings()


@dataclass(frozen=True)
class MixturePhase:
    """A phase of a mixture."""

    match: Match
    scale: float
    """Observed over calculated intensity (``StrainedLines.draw``), the sum of the observed being
    1."""
    weight_fraction: float
    """From scale · mass of the cell · volume of the cell (Hill and Howard, J. Appl. Crystallogr.
    20, 467, 1987), as if all phases absorbed alike."""
    uncertainty: float
    """Standard deviation of ``weight_fraction``, by leaving out ranges of 2θ."""

    def draw(self, view: View) -> NDArray[np.float64]:
        """Return (n,), the calculated profile on the grid of a view; the observed sum is 1."""
        return self.scale * self.match.lines.draw(self.match.fit, view)


def find_mixture(
    known: KnownLines,
    seen: Observation,
    rows: NDArray[np.intp],
    match_settings: MatchSettings,
    settings: MixtureSettings = STANDARD_MIXTURE,
    *,
    wanted: NDArray[np.bool_] | None = None,
    first: Sequence[Match] | None = None,
) -> list[MixturePhase]:
    """Find up to MOST_PHASES phases among the crystals of ``rows``, the largest part first.

    Phases are added one by one: of the best in a search of what is unexplained, that which, with
    all scales fitted again, improves an information criterion most. A phase without which the
    criterion is better is removed. ``wanted`` (MAX_ATOMIC_NUMBER,) are the elements of the sample;
    ``first`` is the result of the search in the whole pattern, if there is one.
    """
    fit = _Fit(known, seen.view(SIGMA_DEG), settings, wanted)
    chosen: list[Match] = []
    matches = known.search(seen, rows, match_settings) if first is None else first
    while len(chosen) < MOST_PHASES:
        taken = {fit.name(match) for match in chosen}
        tried = keep_distinct(matches, known)[:N_CANDIDATES]
        more = [[*chosen, match] for match in tried if fit.name(match) not in taken]
        best = max(more, key=fit.rate, default=chosen)
        if fit.rate(best) <= fit.rate(chosen):
            break
        chosen = _drop(best, fit)
        if len(rows) == 1:
            break
        matches = known.search(_subtract(seen, chosen, fit), rows, match_settings)
    return _weigh(chosen, fit)


def compute_rwp(match: Match, seen: Observation) -> float:
    """Weighted profile R factor of one phase, without background, at the width of SIGMA_DEG."""
    view = seen.view(SIGMA_DEG)
    observed = view.roots**2
    weights = view.seen / (observed + FLOOR * observed.max())
    profile = match.lines.draw(match.fit, view)
    scale = (weights * observed) @ profile / max(float((weights * profile) @ profile), 1e-300)
    left = observed - scale * profile
    return float(np.sqrt((weights * left) @ left / ((weights * observed) @ observed)))


class _Fit:
    """Fits of the scales of phases to one pattern."""

    def __init__(
        self,
        known: KnownLines,
        view: View,
        settings: MixtureSettings,
        wanted: NDArray[np.bool_] | None,
    ) -> None:
        self.known, self.view, self.settings, self.wanted = known, view, settings, wanted
        self.observed = view.roots**2
        variance = self.observed + FLOOR * self.observed.max()
        self.weights = np.sqrt(view.seen / variance)
        self._profiles: dict[int, tuple[Match, NDArray[np.float64]]] = {}

    def name(self, match: Match) -> tuple[str, int]:
        """Formula and space group."""
        return str(self.known.formulas[match.row]), int(self.known.space_groups[match.row])

    def draw(self, match: Match) -> NDArray[np.float64]:
        """Calculated profile of one phase, drawn once."""
        if id(match) not in self._profiles:
            self._profiles[id(match)] = match, match.lines.draw(match.fit, self.view)
        return self._profiles[id(match)][1]

    def scales(
        self, matches: Sequence[Match], kept: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], float]:
        """Non-negative scales (n,) and the weighted sum of squared residuals."""
        from scipy.optimize import nnls

        weights = self.weights if kept is None else self.weights * kept
        target = self.observed * weights
        if not matches:
            return np.zeros(0), float(target @ target)
        profiles = np.array([self.draw(match) * weights for match in matches]).T
        sizes = np.linalg.norm(profiles, axis=0).clip(1e-300)
        scales, residual = nnls(profiles / sizes, target)
        return scales / sizes, residual**2

    def rate(self, matches: Sequence[Match]) -> float:
        """Logarithm of the likelihood, less the price of the phases."""
        scales, residual = self.scales(matches)
        if matches and scales.min() <= 0:
            return -np.inf
        one = self.settings
        price = sum(one.per_phase - one.prior * match.prior for match in matches)
        if self.wanted is not None:
            held = self.known.elements[[match.row for match in matches]].any(axis=0)
            price += one.per_element * int((self.wanted & ~held).sum())
        return -one.n_effective / 2 * float(np.log(max(residual, 1e-300))) - price


def _drop(matches: list[Match], fit: _Fit) -> list[Match]:
    """Remove phases as long as that improves the criterion."""
    while len(matches) > 1:
        fewer = [[*matches[:i], *matches[i + 1 :]] for i in range(len(matches))]
        best = max(fewer, key=fit.rate)
        if fit.rate(best) <= fit.rate(matches):
            break
        matches = best
    return matches


def _subtract(seen: Observation, matches: Sequence[Match], fit: _Fit) -> Observation:
    """What the phases leave unexplained."""
    view = seen.view_unbroadened()
    scales, _ = fit.scales(matches)
    profiles = [match.lines.draw(match.fit, view) for match in matches]
    return seen.without(scales @ np.array(profiles))


def _weigh(matches: Sequence[Match], fit: _Fit) -> list[MixturePhase]:
    if not matches:
        return []
    masses = np.array([_compute_mass_volume(fit.known, match) for match in matches])
    scales, _ = fit.scales(matches)
    blocks = np.array_split(np.flatnonzero(fit.view.seen), N_BLOCKS)
    parts = []
    for block in blocks:
        kept = np.ones(len(fit.observed), bool)
        kept[block] = False
        parts.append(_normalise(fit.scales(matches, kept)[0] * masses))
    spread = np.std(parts, axis=0) * np.sqrt(N_BLOCKS - 1)
    found = zip(matches, scales, _normalise(scales * masses), spread, strict=True)
    phases = [MixturePhase(match, *map(float, numbers)) for match, *numbers in found]
    return sorted(phases, key=lambda phase: -phase.weight_fraction)


def _normalise(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return weights / max(float(weights.sum()), 1e-300)


def _compute_mass_volume(known: KnownLines, match: Match) -> float:
    """Mass times volume of the cell, in u Å³."""
    from pymatgen.core import Element

    one = known.exact(np.array([match.row]))
    strain = match.lines.strain(match.fit)
    volume = abs(float(np.linalg.det(one.lattices[0] @ (np.eye(3) + strain))))
    masses = [float(Element.from_Z(int(number)).atomic_mass) for number in one.numbers]
    return volume * float(np.dot(masses, one.occupancies))
