"""Preferences of a goal, and the latent points where a search for a likeness begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import canonicalise_formula
from matlode.data.readers import read_materials
from matlode.errors import GoalError, InputError
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.latent.networks import COMPOSITION_LATENT
from matlode.optimisation.familiarity import Familiarity
from matlode.optimisation.goal import Goal
from matlode.optimisation.preferences import (
    Familiar,
    Near,
    Neutral,
    New,
    PatternLike,
    Plausible,
    Preference,
    SpaceGroups,
)
from matlode.representation.composition import composition_vectors, compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.pattern_grid import to_grid
from matlode.representation.patterns import read_pattern
from matlode.screening.formula_lists import FormulaLists
from matlode.screening.novelty import KnownMaterials

if TYPE_CHECKING:
    from matlode.latent.space import LatentSpace

N_STARTS = 64
"""Points drawn around the material or pattern to resemble."""
START_SCATTER = 0.15
"""Standard deviation of these points, in latent units."""


def make_preferences(
    goal: Goal, models: Models, known: Known, *, evaluate: str = "crystals"
) -> tuple[Preference, ...]:
    """The goal's preferences in their order; if points are evaluated, its space groups as one more.

    Crystals are built in these space groups anyway.

    Raises GoalError for a material that is to be resembled and cannot be read.
    """
    makers: dict[str, Callable[[], Preference]] = {
        "charge_neutral": Neutral,
        "plausible_pattern": lambda: Plausible(bands=models.pattern_bands),
        "novel": lambda: New(known=KnownFormulas(known.catalogue, models.formula_lists)),
        "familiar": lambda: Familiar(
            familiarity=Familiarity.fit(known.prototypes, models.formula_lists)
        ),
        "like": lambda: Near(point=find_like_point(goal.like, models.space, known)),
        "like_pattern": lambda: PatternLike(pattern=read_gridded_pattern(goal.like_pattern)),
    }
    wishes = [makers[name]() for name in goal.preferences]
    if goal.space_groups and evaluate == "points":
        wishes.append(SpaceGroups(classifier=models.symmetry, wanted=goal.space_groups))
    return tuple(wishes)


@dataclass(frozen=True)
class KnownFormulas:
    """The formulas of known materials and of the lists."""

    known: KnownMaterials
    lists: FormulaLists

    def __contains__(self, formula: object) -> bool:
        return formula in self.known.rows_by_formula or str(formula) in self.lists


def find_like_point(like: str, space: LatentSpace, known: Known) -> NDArray[np.float64]:
    """Latent point of the material in a structure file or with a formula: shape (88,), or (24,)
    for a formula without a known structure.

    Raises GoalError if ``like`` is neither.
    """
    if Path(like).is_file():
        materials = read_materials([like])
        if not len(materials):
            raise GoalError(f"like = {like!r}: {materials.dropped[0].reason}")
        composition = composition_vectors(materials.crystals)[:1]
        pattern = simulate_patterns(materials.crystals.take(np.array([0])))
        return space.encode(composition, pattern)[0].astype(float)
    try:
        formula = canonicalise_formula(like)
    except InputError as error:
        raise GoalError(f"like = {like!r} is neither a structure file nor a formula.") from error
    rows = known.catalogue.rows_by_formula.get(formula)
    composition = compute_formula_vectors([formula])
    if rows is None:
        return space.composition.encode(composition)[0].astype(float)
    pattern = simulate_patterns(known.materials.crystals.take(np.array(rows[:1])))
    return space.encode(composition, pattern)[0].astype(float)


def read_gridded_pattern(path: str) -> NDArray[np.float64]:
    """Read a measured pattern onto the standard grid, (1601,); raises InputError,
    GridMismatchError."""
    return to_grid(read_pattern(path)).intensity


def draw_like_points(
    goal: Goal,
    space: LatentSpace,
    known: Known,
    start: NDArray[np.floating],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Draw latent points (m, 88) around the material or the pattern that the goal names.

    A half that the goal does not determine is taken from the ``start`` points, or drawn from
    the joint prior given the other half.
    """
    found = [np.zeros((0, space.size))]
    if "like" in goal.preferences:
        point = find_like_point(goal.like, space, known)
        about = point + START_SCATTER * rng.standard_normal((N_STARTS, len(point)))
        if len(point) < space.size:
            assert space.pairing is not None
            about = np.hstack([about, space.pairing.draw(about, rng)])
        found.append(about)
    if "like_pattern" in goal.preferences:
        point = space.encode_patterns(read_gridded_pattern(goal.like_pattern)[None])[0]
        about = point + START_SCATTER * rng.standard_normal((N_STARTS, len(point)))
        halves = start[rng.integers(len(start), size=N_STARTS), :COMPOSITION_LATENT]
        found.append(np.hstack([halves, about]))
    return np.concatenate(found).astype(np.float32)
