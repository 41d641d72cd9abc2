"""Soft wishes of a goal, made of the loaded models; and where a search for likeness begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import canonical_formula
from matlode.data.readers import read_materials
from matlode.errors import GoalError, InputError
from matlode.jobs.toolbox import Toolbox
from matlode.latent.networks import COMPOSITION_LATENT
from matlode.optimisation.goal import Goal
from matlode.optimisation.preferences import (
    Near,
    Neutral,
    New,
    PatternLike,
    Plausible,
    Preference,
    SpaceGroups,
)
from matlode.representation.composition import composition_vectors, formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.pattern_grid import to_grid
from matlode.representation.patterns import read_pattern
from matlode.screening.plausibility import PatternBands

N_STARTS = 64
"""Points about what is to be resembled that a search begins with, beside known materials."""
START_SCATTER = 0.15
"""Their standard deviation, in latent units."""


def preferences_of(goal: Goal, toolbox: Toolbox) -> tuple[Preference, ...]:
    """The goal's preferences in their order, and its space groups as one more.

    Raises GoalError for a material that is to be resembled and cannot be read.
    """
    makers: dict[str, Callable[[], Preference]] = {
        "charge_neutral": Neutral,
        "plausible_pattern": lambda: Plausible(bands=PatternBands.load(toolbox.models_folder)),
        "novel": lambda: New(known=KnownFormulas(toolbox)),
        "like": lambda: Near(point=like_point(goal.like, toolbox)),
        "like_pattern": lambda: PatternLike(pattern=measured_pattern(goal.like_pattern)),
    }
    wishes = [makers[name]() for name in goal.preferences]
    if goal.space_groups:
        wishes.append(SpaceGroups(classifier=toolbox.symmetry, wanted=goal.space_groups))
    return tuple(wishes)


class KnownFormulas:
    """Formulas at hand, and those that the models were trained on."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._known = toolbox.known

    def __contains__(self, formula: object) -> bool:
        return formula in self._known.rows_by_formula or str(formula) in self._known.trained_on


def like_point(like: str, toolbox: Toolbox) -> NDArray[np.float64]:
    """Where the material in a structure file lies, or that of a formula: (88,), or (24,) for a
    formula of which no structure is at hand."""
    if Path(like).is_file():
        materials = read_materials([like])
        if not len(materials):
            raise GoalError(f"like = {like!r}: {materials.dropped[0].reason}")
        composition = composition_vectors(materials.crystals)[:1]
        pattern = simulate_patterns(materials.crystals.take(np.array([0])))
        return toolbox.space.encode(composition, pattern)[0].astype(float)
    try:
        formula = canonical_formula(like)
    except InputError as error:
        raise GoalError(f"like = {like!r} is neither a structure file nor a formula.") from error
    rows = toolbox.known.rows_by_formula.get(formula)
    composition = formula_vectors([formula])
    if rows is None:
        return toolbox.space.composition.encode(composition)[0].astype(float)
    pattern = simulate_patterns(toolbox.materials.crystals.take(np.array(rows[:1])))
    return toolbox.space.encode(composition, pattern)[0].astype(float)


def measured_pattern(path: str) -> NDArray[np.float64]:
    """A measured pattern (1601,) as patterns are compared here; raises InputError,
    GridMismatchError."""
    return to_grid(read_pattern(path)).intensity


def likeness_starts(
    goal: Goal, toolbox: Toolbox, start: NDArray[np.floating], rng: np.random.Generator
) -> NDArray[np.float32]:
    """(m, 88), points about what is to be resembled; the halves that nothing is said of are
    those of the ``start`` points, or such as go with the others."""
    space = toolbox.space
    found = [np.zeros((0, space.size))]
    if "like" in goal.preferences:
        point = like_point(goal.like, toolbox)
        about = point + START_SCATTER * rng.standard_normal((N_STARTS, len(point)))
        if len(point) < space.size:
            assert space.pairing is not None
            about = np.hstack([about, space.pairing.draw(about, rng)])
        found.append(about)
    if "like_pattern" in goal.preferences:
        point = space.encode_patterns(measured_pattern(goal.like_pattern)[None])[0]
        about = point + START_SCATTER * rng.standard_normal((N_STARTS, len(point)))
        halves = start[rng.integers(len(start), size=N_STARTS), :COMPOSITION_LATENT]
        found.append(np.hstack([halves, about]))
    return np.concatenate(found).astype(np.float32)
