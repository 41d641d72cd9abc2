"""From a formula and a pattern to a crystal structure, by substitution into known types."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.realisation.cell_fit import (
    BROAD,
    COARSE_SCALES,
    FINE_SCALES,
    FIT,
    N_TRIED,
    at_volume,
    best_scales,
    fit_cells,
    free_strains,
)
from matlode.realisation.prototypes import PrototypeLibrary, Substitution, describe
from matlode.records import Candidate, RealisedStructure
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns

if TYPE_CHECKING:
    from pymatgen.core import Structure

SYMMETRY_TOLERANCE_A = 0.1
"""Atoms may move this far when the structure is symmetrised (as for the templates' labels)."""
MIN_DISTANCE_RATIO = 0.6
"""Atoms nearer than this part of the sum of their covalent radii are on top of each other."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How widely structures are looked for, and how far the pattern is trusted."""

    n_templates: int
    """Substitutions that are scaled to the pattern."""
    n_refined: int
    """Of these, the best, whose cells are fitted."""
    strained: bool
    """Whether cells are fitted in all strains that symmetry allows, or in volume only."""
    distance_cost: float
    """What a unit of substitution distance takes off the pattern match in the ranking."""


PROPOSED = Effort(n_templates=48, n_refined=10, strained=False, distance_cost=0.6)
"""For patterns that a search decoded. On 120 known structures (their formulas hidden) costs of
0.15, 0.5 and 1.0 find 73 % each from decoded patterns, and 13, 25 and 32 % from patterns of other
materials: chemistry costs little where patterns are right and helps where they are not."""
MEASURED = Effort(n_templates=300, n_refined=48, strained=True, distance_cost=0.1)
"""For patterns of the very material."""


@dataclass(frozen=True)
class Builder:
    """Builds structures from a library of templates."""

    library: PrototypeLibrary
    types: Mapping[str, str] = field(default_factory=dict)
    """Template's id → structure type in words (``structure_types.read_types``)."""

    def structures(
        self,
        candidate: Candidate,
        volume_per_atom_a3: float,
        *,
        exclude_own: bool = False,
        space_groups: Collection[int] = (),
        effort: Effort = PROPOSED,
    ) -> Iterator[RealisedStructure]:
        """Structures for a candidate, the best first; none if no template of its stoichiometry
        gives one with sound distances. Each is made when it is asked for.

        Substitutions into known crystals are scaled about the expected volume until their
        patterns meet the candidate's; the cells of the best are fitted. The score is the
        cosine of the square-root patterns less ``effort.distance_cost`` times the substitution
        distance. Structures are of one of ``space_groups``, if any are given; ``exclude_own``
        leaves out templates of the very formula, for honest tests.
        """
        substitutions = self.library.substitutions(
            candidate.formula, effort.n_templates, exclude_own=exclude_own,
            space_groups=space_groups,
        )  # fmt: skip
        if not substitutions:
            return
        chosen, cells, match, n_trials = self._fitted(
            substitutions, candidate.pattern, volume_per_atom_a3, effort
        )
        costs = effort.distance_cost * np.array([s.distance for s in chosen])
        for place in np.argsort(-(match - costs), kind="stable"):
            found = _symmetrised(cells.structure(int(place)))
            if found is not None and (not space_groups or found[1] in space_groups):
                yield self._record(found, candidate, chosen[place], n_trials)

    def _fitted(
        self,
        substitutions: Sequence[Substitution],
        target: NDArray[np.floating],
        volume_per_atom_a3: float,
        effort: Effort,
    ) -> tuple[list[Substitution], Crystals, NDArray[np.float64], int]:
        """The best substitutions, their fitted crystals, the matches (n,) of these, and how
        many crystals were simulated."""
        crystals = self.library.crystals(substitutions)
        crystals = at_volume(crystals, np.full(len(crystals), volume_per_atom_a3))
        tried = np.tile(COARSE_SCALES, (len(crystals), 1))
        scales, coarse = best_scales(crystals, target, tried, BROAD)
        costs = effort.distance_cost * np.array([s.distance for s in substitutions])
        kept = np.argsort(-(coarse - costs), kind="stable")[: effort.n_refined]
        chosen = [substitutions[place] for place in kept]
        crystals = _scaled(crystals.take(kept), scales[kept])
        if effort.strained:
            fitted, match = fit_cells(crystals, free_strains(crystals), target)
            n_fitted = round(sum(generation.share for generation in FIT) * len(kept)) * N_TRIED
            return chosen, fitted, match, tried.size + n_fitted
        tried_fine = np.tile(1 + FINE_SCALES, (len(crystals), 1))
        scales, match = best_scales(crystals, target, tried_fine, STANDARD_SETTINGS)
        return chosen, _scaled(crystals, scales), match, tried.size + tried_fine.size

    def _record(
        self, found: tuple[Structure, int], candidate: Candidate, used: Substitution, n_trials: int
    ) -> RealisedStructure:
        structure, space_group = found
        pattern = simulate_patterns([structure])[0]
        norm = np.linalg.norm(pattern) * np.linalg.norm(candidate.pattern)
        frame = self.library.materials.frame
        return RealisedStructure(
            structure=structure,
            space_group=space_group,
            pattern=pattern,
            match=float(pattern @ candidate.pattern / norm),
            template_id=str(frame["id"].iloc[used.template]),
            template_formula=str(frame["formula"].iloc[used.template]),
            substitution=describe(used),
            prototype=self.types.get(str(frame["id"].iloc[used.template]), ""),
            n_trials=n_trials,
        )


def different(found: Iterable[RealisedStructure]) -> Iterator[RealisedStructure]:
    """Each structure once, the first of its like: several templates may be of one type."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    seen: list[Structure] = []
    for built in found:
        if not any(matcher.fit(built.structure, other) for other in seen):
            seen.append(built.structure)
            yield built


def _scaled(crystals: Crystals, scales: NDArray[np.float64]) -> Crystals:
    return replace(crystals, lattices=crystals.lattices * scales[:, None, None])


def _symmetrised(structure: Structure) -> tuple[Structure, int] | None:
    """The conventional standard cell and its space group; None if atoms overlap."""
    from moyopy import MoyoDataset
    from moyopy.interface import MoyoAdapter

    dataset = MoyoDataset(MoyoAdapter.from_structure(structure), symprec=SYMMETRY_TOLERANCE_A)
    standard: Structure = MoyoAdapter.get_structure(dataset.std_cell)
    if _overlaps(standard):
        return None
    return standard, int(dataset.number)


def _overlaps(structure: Structure) -> bool:
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    radii = np.array([CovalentRadius.radius.get(site.specie.symbol, 1.5) for site in structure])
    centres, points, _, distances = structure.get_neighbor_list(
        MIN_DISTANCE_RATIO * 2 * radii.max()
    )
    if not len(distances):
        return False
    limits = MIN_DISTANCE_RATIO * (radii[centres] + radii[points])
    return bool((distances < limits).any())
