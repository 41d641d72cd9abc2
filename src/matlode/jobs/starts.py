"""Settings of a search and its starting points: known materials and substitutions into them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.wishes import KnownFormulas, draw_like_points, make_preferences
from matlode.optimisation.campaign import Campaign, Trials
from matlode.optimisation.goal import DEFAULT_RISK, Goal, Scale
from matlode.optimisation.ledger import Ledger
from matlode.optimisation.preferences import Decoded
from matlode.optimisation.samplers import SAMPLERS
from matlode.progress import Progress, silent
from matlode.properties.endpoints import Estimates
from matlode.properties.models import PropertyModels
from matlode.properties.network import VOLUME
from matlode.realisation.cell_fit import scale_to_volume
from matlode.realisation.substitution import substitute_elements
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns, simulate_possible

MIN_FITTING = 50
"""With fewer known materials of the allowed elements, the search starts from all materials."""
BEST_SHARE, MAX_BEST = 0.1, 50
"""Share and largest number of the drawn materials whose neighbours are added."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Length and breadth of a search."""

    trials: int = 2048
    """Number of latent points evaluated."""
    substituted_share: float = 0.25
    """Share of the trials, the first ones, that are substitutions into the best known materials."""
    seed: int = 0
    sampler: str = "tpe"
    """One of SAMPLERS."""
    risk: float = DEFAULT_RISK
    """Where objectives and ranges are judged: 0, at the predicted value; 1, at the bad end of its
    90 % interval; between them in proportion."""
    n_start: int = 1500
    """Number of known materials that the search starts from: half of them drawn at random, half
    the nearest neighbours of the best of those."""
    n_screened: int = 400
    """Number of distinct formulas that are screened."""
    n_realised: int = 200
    """Number of these, the best, for which structures are built."""
    n_candidates: int = 100
    """Rows of the final table."""
    max_per_system: int = 4
    """Most rows of one chemical system."""
    max_per_prototype: int = 10
    """Most rows of one prototype (anonymous formula and space group)."""


@dataclass(frozen=True)
class Prepared:
    """A campaign and its starting points."""

    campaign: Campaign
    start: NDArray[np.float32]
    """(n, 88), known materials and points around the material to resemble."""
    opening: NDArray[np.float32]
    """(m, 88), the first trials: substitutions."""
    known_rows: NDArray[np.intp]
    """(k,), rows of the known materials that the first k points of ``start`` belong to."""

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


def prepare_campaign(
    goal: Goal, models: Models, known: Known, settings: SearchSettings
) -> Prepared:
    """Prepare a campaign for a goal, with the points that it starts from.

    Merits are scaled by the known materials drawn at random. Their merits decide which further
    known materials and which substitutions are added.
    """
    rng = np.random.default_rng(settings.seed)
    compositions = known.catalogue.compositions
    fitting = np.flatnonzero(~(compositions[:, ~goal.allowed_mask] > 0).any(axis=1))
    # too few known materials of these elements: start from all, decoded without the others
    rows = fitting if len(fitting) >= MIN_FITTING else np.arange(len(compositions))
    drawn = np.sort(rng.permutation(rows)[: -(-settings.n_start // 2)])
    estimates, decoded = _evaluate_known(models, known, goal, drawn)
    campaign = Campaign(
        goal,
        models.space,
        models.properties,
        Scale.fit(goal, estimates, models.endpoints),
        SAMPLERS[settings.sampler],
        make_preferences(goal, models, known),
    )
    merits, start = campaign.merits(decoded, estimates), decoded.points
    neighbours = _find_neighbours(compositions, drawn[np.argsort(-merits, kind="stable")], rows)
    neighbours = neighbours[: settings.n_start - len(drawn)]
    if len(neighbours):
        estimates, decoded = _evaluate_known(models, known, goal, neighbours)
        merits = np.concatenate([merits, campaign.merits(decoded, estimates)])
        start = np.concatenate([start, decoded.points])
    start = np.concatenate([start, draw_like_points(goal, models.space, known, start, rng)])
    known_rows = np.concatenate([drawn, neighbours])
    parents = known_rows[np.argsort(-merits, kind="stable")]
    n_substituted = round(settings.substituted_share * settings.trials)
    opening = _encode_substitutions(goal, models, known, parents, n_substituted)
    return Prepared(campaign, start, opening, known_rows)


def _evaluate_known(
    models: Models, known: Known, goal: Goal, rows: NDArray[np.intp]
) -> tuple[dict[str, Estimates], Decoded]:
    """Predict and encode rows of the known materials."""
    patterns = simulate_patterns(known.materials.crystals.take(rows))
    compositions = known.catalogue.compositions[rows]
    estimates = models.properties.predict(
        compositions, patterns, case="simulated", names=goal.endpoints
    )
    points = models.space.encode(compositions, patterns)
    formulas = [known.catalogue.formulas[row] for row in rows]
    return estimates, Decoded(points, formulas, compositions, patterns)


def _find_neighbours(
    compositions: NDArray[np.floating], ordered: NDArray[np.intp], rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Rows not in ``ordered``, sorted by their distance in composition to the best of these."""
    others = np.setdiff1d(rows, ordered)
    distances = np.full(len(others), np.inf)
    n_best = min(max(1, round(BEST_SHARE * len(ordered))), MAX_BEST)
    for best in ordered[:n_best]:
        apart = abs(compositions[others] - compositions[best]).sum(axis=1)
        np.minimum(distances, apart, out=distances)
    return np.asarray(others[np.argsort(distances, kind="stable")])


def _encode_substitutions(
    goal: Goal, models: Models, known: Known, parents: NDArray[np.intp], n: int
) -> NDArray[np.float32]:
    """Latent points (up to n, 88) of substitutions into known materials, at the volume that the
    models expect."""
    allowed = [symbol for symbol in known.elements if symbol in goal.allowed]
    formulas = KnownFormulas(known.catalogue, models.formula_filter)
    crystals, _ = substitute_elements(known.materials, parents, n, elements=allowed, known=formulas)
    if not len(crystals):
        return np.zeros((0, models.space.size), dtype=np.float32)
    _, compositions, patterns = scale_to_expected_volume(crystals, models.properties)
    return models.space.encode(compositions, patterns)


def scale_to_expected_volume(
    crystals: Crystals, models: PropertyModels
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float32]]:
    """Scale crystals to the volume that the models predict.

    Returns the rows (m,) of those that have a pattern, with their compositions (m, 100) and
    patterns (m, 1601).
    """
    rows = np.arange(len(crystals))
    for _ in range(2):  # the prediction depends on the pattern, and the pattern on the volume
        possible, patterns, _ = simulate_possible(crystals)
        rows, crystals = rows[possible], crystals.take(possible)
        compositions = composition_vectors(crystals)
        volumes = models.predict(compositions, patterns, case="simulated", names=(VOLUME,))
        crystals = scale_to_volume(crystals, volumes[VOLUME].value)
    possible, patterns, _ = simulate_possible(crystals)
    return rows[possible], compositions[possible], patterns
