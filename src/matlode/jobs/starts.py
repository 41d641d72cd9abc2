"""How a search is set, and where it begins: known materials, and substitutions into the best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.jobs.toolbox import Toolbox
from matlode.jobs.wishes import KnownFormulas, likeness_starts, preferences_of
from matlode.optimisation.campaign import Campaign, Trials
from matlode.optimisation.goal import Goal, Scale
from matlode.optimisation.ledger import Ledger
from matlode.optimisation.preferences import Decoded
from matlode.optimisation.samplers import SAMPLERS
from matlode.progress import Progress, silent
from matlode.properties.endpoints import Estimates
from matlode.realisation.substitution import substituted
from matlode.representation.diffraction import simulate_patterns

MIN_FITTING = 50
"""With fewer known materials of the allowed elements, a search begins at all of them."""
BEST_SHARE, MAX_BEST = 0.1, 50
"""Of the known materials drawn, those whose kin the search begins at, too."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How long and how widely the main job looks."""

    trials: int = 2048
    """Evaluated latent points."""
    substituted_share: float = 0.25
    """Of these, the first: substitutions into the best known materials."""
    seed: int = 0
    sampler: str = "tpe"
    """One of SAMPLERS."""
    n_start: int = 1500
    """Known materials that the search starts from: half of them drawn at random, half the
    nearest to the best of those."""
    n_screened: int = 400
    """Distinct formulas that are screened."""
    n_realised: int = 200
    """Of these, the best that structures are built for."""
    n_candidates: int = 100
    """Rows of the final table."""
    max_per_system: int = 4
    """Formulas of one chemical system in the table."""
    max_per_prototype: int = 10
    """Structures of one prototype (anonymous formula and space group) in the table."""


@dataclass(frozen=True)
class Prepared:
    """A campaign, and latent points to begin with."""

    campaign: Campaign
    start: NDArray[np.float32]
    """(n, 88), known materials, and points about what is to be resembled."""
    opening: NDArray[np.float32]
    """(m, 88), the first trials: substitutions."""
    known_rows: NDArray[np.intp]
    """(k,), which known materials the first k points of ``start`` are."""

    def run(
        self, settings: SearchSettings, *, ledger: Ledger | None = None, progress: Progress = silent
    ) -> tuple[Trials, int]:
        """See Campaign.run."""
        return self.campaign.run(
            self.start,
            settings.trials,
            settings.seed,
            opening=self.opening,
            ledger=ledger,
            progress=progress,
        )


def prepared_campaign(goal: Goal, toolbox: Toolbox, settings: SearchSettings) -> Prepared:
    """A campaign for a goal, with the points that it begins with.

    Merits are scaled by the known materials drawn at random; the others, and the substitutions,
    are chosen by the merits of those.
    """
    rng = np.random.default_rng(settings.seed)
    compositions = toolbox.known.compositions
    fitting = np.flatnonzero(~(compositions[:, ~goal.allowed_mask] > 0).any(axis=1))
    # too few known materials of these elements: start from all, decoded without the others
    rows = fitting if len(fitting) >= MIN_FITTING else np.arange(len(compositions))
    drawn = np.sort(rng.permutation(rows)[: -(-settings.n_start // 2)])
    estimates, decoded = _looked_at(toolbox, goal, drawn)
    campaign = Campaign(
        goal,
        toolbox.space,
        toolbox.models,
        Scale.fit(goal, estimates, toolbox.endpoints),
        SAMPLERS[settings.sampler],
        preferences_of(goal, toolbox),
    )
    merits, start = campaign.merits(decoded, estimates), decoded.points
    kin = _kin(compositions, drawn[np.argsort(-merits, kind="stable")], rows)
    kin = kin[: settings.n_start - len(drawn)]
    if len(kin):
        estimates, decoded = _looked_at(toolbox, goal, kin)
        merits = np.concatenate([merits, campaign.merits(decoded, estimates)])
        start = np.concatenate([start, decoded.points])
    start = np.concatenate([start, likeness_starts(goal, toolbox, start, rng)])
    known_rows = np.concatenate([drawn, kin])
    parents = known_rows[np.argsort(-merits, kind="stable")]
    n_substituted = round(settings.substituted_share * settings.trials)
    opening = _substituted_points(goal, toolbox, parents, n_substituted)
    return Prepared(campaign, start, opening, known_rows)


def _looked_at(
    toolbox: Toolbox, goal: Goal, rows: NDArray[np.intp]
) -> tuple[dict[str, Estimates], Decoded]:
    """What the models say of known materials."""
    patterns = simulate_patterns(toolbox.materials.crystals.take(rows))
    compositions = toolbox.known.compositions[rows]
    estimates = toolbox.models.predict(
        compositions, patterns, case="simulated", names=goal.endpoints
    )
    points = toolbox.space.encode(compositions, patterns)
    formulas = [toolbox.known.formulas[row] for row in rows]
    return estimates, Decoded(points, formulas, compositions, patterns)


def _kin(
    compositions: NDArray[np.floating], ordered: NDArray[np.intp], rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Those of ``rows`` that are not among the ``ordered``, the nearest to the first of these
    in composition first."""
    others = np.setdiff1d(rows, ordered)
    distances = np.full(len(others), np.inf)
    n_best = min(max(1, round(BEST_SHARE * len(ordered))), MAX_BEST)
    for best in ordered[:n_best]:
        apart = abs(compositions[others] - compositions[best]).sum(axis=1)
        np.minimum(distances, apart, out=distances)
    return np.asarray(others[np.argsort(distances, kind="stable")])


def _substituted_points(
    goal: Goal, toolbox: Toolbox, parents: NDArray[np.intp], n: int
) -> NDArray[np.float32]:
    """(up to n, 88), substitutions into known materials at the volume that the models expect."""
    allowed = [symbol for symbol in toolbox.known_elements if symbol in goal.allowed]
    known = KnownFormulas(toolbox)
    crystals, _ = substituted(toolbox.materials, parents, n, elements=allowed, known=known)
    if not len(crystals):
        return np.zeros((0, toolbox.space.size), dtype=np.float32)
    _, compositions, patterns = toolbox.at_expected_volume(crystals)
    return toolbox.space.encode(compositions, patterns)
