"""Crystal structures of a formula that meet a measured powder pattern: substitutions into known
structures, searched like known crystals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.data.tables import Materials
from matlode.properties.expected_volume import ExpectedVolume
from matlode.realisation.builder import Builder, describe_origin, symmetrise
from matlode.realisation.cell_fit import scale_to_volume
from matlode.realisation.prototypes import Substitution
from matlode.realisation.volumes import TemplateVolumes
from matlode.records import RealisedStructure
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.observation import Observation
from matlode.representation.strained_lines import FitCosts
from matlode.screening.known_lines import (
    MEASURED_PER_COMPUTED,
    KnownLines,
    Match,
    MatchSettings,
    Pass,
    find_computed,
)
from matlode.screening.mixtures import compute_rwp
from matlode.screening.phase_prior import Prior

N_TEMPLATES: Final = 3000
"""Number of substitutions that are compared with the pattern."""
MAX_PER_TYPE: Final = 40
"""Number of them with one space group and cell size."""
DISTANCE_COST: Final = 0.15
"""Reduction of the score per unit of substitution distance."""
SOLVE_MATCH: Final = MatchSettings(
    largest_scale=0.07,
    look_sigma=0.008,
    passes=(
        Pass(sigma_deg=0.6, n=300), Pass(sigma_deg=0.3, n=150), Pass(sigma_deg=0.15, n=60),
    ),
    costs=FitCosts(scale=2.0, shape=5.0),
    prior=Prior(not_made=0.0, hull_per_ev=0.0),
)  # fmt: skip
"""Cells of substituted crystals are known less well than those of known ones. All have the same
formula, so that only the price of free strains remains of the prior."""


@dataclass(frozen=True)
class SolvedStructure:
    """A structure that was fitted to a measured pattern."""

    built: RealisedStructure
    score: float
    """Match less the penalties for free parameters, strain and substitution."""
    rwp: float
    """Weighted profile R factor without background, before a refinement."""


def solve_pattern(
    builder: Builder,
    model: ExpectedVolume,
    formula: str,
    seen: Observation,
    *,
    exclude_own: bool = False,
) -> Iterator[SolvedStructure]:
    """Find structures of a canonical formula for a measured pattern, the best first.

    Known crystals of the stoichiometry get its elements and the volume that the composition and
    the template's packing suggest (``TemplateVolumes``); they are then searched and fitted as
    known crystals are. ``exclude_own`` leaves out known structures of the very formula. Structures
    with overlapping atoms are left out. Nothing is found without a template.
    """
    substitutions = builder.library.substitutions(
        formula, N_TEMPLATES, exclude_own=exclude_own, max_per_type=MAX_PER_TYPE
    )
    if not substitutions:
        return
    crystals = _scale(builder, model, formula, substitutions)
    frame = pd.DataFrame({"id": np.arange(len(crystals)).astype(str), "formula": formula})
    # groups of templates are not needed: each crystal is symmetrised when it is fitted
    lines = KnownLines.build(Materials(frame.assign(space_group=1), crystals))
    distances = np.array([one.distance for one in substitutions])
    matches = lines.search(seen, np.arange(len(lines)), SOLVE_MATCH)
    for match in sorted(matches, key=lambda m: -_score(m, distances)):
        solved = _describe(builder, lines, match, substitutions[match.row], seen)
        if solved is not None:
            yield replace(solved, score=_score(match, distances))


def _score(match: Match, distances: NDArray[np.float64]) -> float:
    return match.score - DISTANCE_COST * float(distances[match.row])


def _scale(
    builder: Builder, model: ExpectedVolume, formula: str, substitutions: list[Substitution]
) -> Crystals:
    """Substituted crystals at their expected volumes."""
    used, places = np.unique([one.template for one in substitutions], return_inverse=True)
    templates = builder.library.materials.take(used)
    volumes = TemplateVolumes.fit(model, templates.crystals).predict(
        np.repeat(compute_formula_vectors([formula]), len(places), axis=0), places
    )
    computed = find_computed(templates.frame)[places]
    return scale_to_volume(
        builder.library.crystals(substitutions),
        volumes * np.where(computed, MEASURED_PER_COMPUTED**3, 1.0),
    )


def _describe(
    builder: Builder, lines: KnownLines, match: Match, used: Substitution, seen: Observation
) -> SolvedStructure | None:
    """The symmetrised structure of a match; None if atoms overlap."""
    one = lines.exact(np.array([match.row]))
    strained = one.lattices @ (np.eye(3) + match.lines.strain(match.fit))
    found = symmetrise(replace(one, lattices=strained).structure(0))
    if found is None:
        return None
    structure, space_group = found
    origin = describe_origin(builder.library, builder.types, used)
    (pattern,) = simulate_patterns([structure])
    built = RealisedStructure(structure, space_group, pattern, match.fit.match, origin)
    return SolvedStructure(built, match.score, compute_rwp(match, seen))
