"""Rule: the formula is in no list of known ones; with the nearest known material."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import anonymise_formula, format_formula
from matlode.records import Candidate, Verdict
from matlode.screening.formula_lists import (
    COMPUTED,
    IN_NO_LIST,
    KNOWN_STRUCTURE,
    MADE,
    FormulaList,
    FormulaLists,
)
from matlode.screening.known_patterns import KnownPatterns, NearestPattern
from matlode.screening.rule import Rule

if TYPE_CHECKING:
    from pymatgen.core import Structure

StructureMaker: TypeAlias = "Callable[[], Structure]"
"""Makes a crystal as a pymatgen Structure."""

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class KnownMaterials:
    """The reference materials against which the novelty of candidates is determined."""

    formulas: tuple[str, ...]
    """Canonical formulas of the materials whose structure is available."""
    ids: tuple[str, ...]
    space_groups: tuple[int, ...]
    compositions: NDArray[np.floating]
    """(n, 100)."""
    patterns: KnownPatterns | None = None
    """If given, verdicts name the most similar known pattern, and structures are compared with
    the crystals of these patterns."""

    @cached_property
    def rows_by_formula(self) -> dict[str, list[int]]:
        """formula → rows of its polymorphs."""
        rows: dict[str, list[int]] = {}
        for row, formula in enumerate(self.formulas):
            rows.setdefault(formula, []).append(row)
        return rows

    @cached_property
    def prototypes(self) -> dict[tuple[str, int], int]:
        """(anonymous formula, space group) → first row that has both."""
        names = (anonymise_formula(formula) for formula in self.formulas)
        pairs = zip(names, self.space_groups, strict=True)
        return {pair: row for row, pair in reversed(list(enumerate(pairs)))}

    def check_all(
        self,
        formulas: Sequence[str],
        compositions: NDArray[np.floating],
        space_groups: Sequence[int],
        patterns: NDArray[np.floating] | None = None,
        *,
        lists: FormulaLists,
        structures: Sequence[StructureMaker | None] | None = None,
    ) -> list[Verdict]:
        """One verdict per formula, from compositions (n, 100), space groups and patterns (n, 1601).

        The value is "known structure" if a material of the same formula and space group is
        available; for rows with one of ``structures`` (n,), only if pymatgen's StructureMatcher
        also matches the two. Otherwise it is "made" or "computed", or "in none of
        the lists".
        Materials of ``formulas`` and of training tables that are in no list count as computed.
        """
        rows = zip(
            formulas,
            space_groups,
            structures or [None] * len(formulas),
            lists.find(formulas),
            self.nearest(compositions),
            strict=True,
        )
        verdicts = [self._check(*row, lists) for row in rows]
        if self.patterns is None or patterns is None:
            return verdicts
        others = [row for row, verdict in enumerate(verdicts) if verdict.value != KNOWN_STRUCTURE]
        for row, near in zip(others, self.patterns.nearest(patterns[others]), strict=True):
            reason = f"{verdicts[row].reason}; {self._pattern(near)}"
            verdicts[row] = replace(verdicts[row], reason=reason)
        return verdicts

    def _check(
        self,
        formula: str,
        group: int,
        make_structure: StructureMaker | None,
        found: FormulaList | None,
        near: tuple[int, float],
        lists: FormulaLists,
    ) -> Verdict:
        rows = self.rows_by_formula.get(formula, [])
        same = self._find_structure(rows, group, make_structure)
        if same is not None:
            value = KNOWN_STRUCTURE
            reason = f"{value}: {self._name(same)} in space group {group}"
        else:
            value, source = self._find_source(found, lists, is_available=bool(rows))
            reason = f"{source}; {self._describe_known(formula, group, rows, near)}"
        return Verdict("novel", value == IN_NO_LIST, value, IN_NO_LIST, reason)

    def _find_source(
        self, found: FormulaList | None, lists: FormulaLists, *, is_available: bool
    ) -> tuple[str, str]:
        """Value of the verdict on a formula without a known structure, and where it is listed."""
        if found is not None:
            value = MADE if found.name == MADE else COMPUTED
            return value, f"{value}: in {found.source} ({found.n_formulas:,} formulas)"
        if is_available:
            n_formulas = len(self.rows_by_formula)
            return (
                COMPUTED,
                f"{COMPUTED}: in the table of known materials ({n_formulas:,} formulas)",
            )
        return IN_NO_LIST, f"{IN_NO_LIST} ({lists.n_formulas:,} formulas)"

    def _find_structure(
        self, rows: Sequence[int], group: int, make_structure: StructureMaker | None
    ) -> int | None:
        """The first of ``rows`` in space group ``group`` whose crystal matches the structure; they
        are not compared if either is not available."""
        same = [row for row in rows if self.space_groups[row] == group]
        if make_structure is None or self.patterns is None or not same:
            return same[0] if same else None
        from pymatgen.analysis.structure_matcher import StructureMatcher

        matcher, structure = StructureMatcher(), make_structure()
        known = self.patterns.crystals
        return next((row for row in same if matcher.fit(structure, known.structure(row))), None)

    def _describe_known(
        self, formula: str, group: int, rows: Sequence[int], near: tuple[int, float]
    ) -> str:
        """The space groups of a known formula, or the material nearest to another one."""
        if not rows:
            return (
                f"nearest {self._name(near[0])}, {near[1]:.2f} of the atoms differ; "
                f"{self._prototype(formula, group)}"
            )
        groups = sorted({self.space_groups[row] for row in rows})
        known = f"known in space group {', '.join(map(str, groups))} ({self._name(rows[0])})"
        return f"{known}, {'with another structure' if group in groups else f'not in {group}'}"

    def _prototype(self, formula: str, group: int) -> str:
        prototype = anonymise_formula(formula), group
        if prototype not in self.prototypes:
            return f"no known material is {prototype[0]} in space group {group}"
        return f"{prototype[0]} in space group {group} as {self._name(self.prototypes[prototype])}"

    def _pattern(self, near: NearestPattern) -> str:
        words = f"nearest pattern: {self._name(near.row)}, cosine {near.cosine:.2f}"
        if near.scale == 1:
            return words
        how = "larger" if near.scale > 1 else "smaller"
        return f"{words} with a lattice {100 * abs(near.scale - 1):.0f} % {how}"

    def _name(self, row: int) -> str:
        return f"{format_formula(self.formulas[row])} ({self.ids[row]})"

    def nearest(self, compositions: NDArray[np.floating]) -> list[tuple[int, float]]:
        """(index, fraction of atoms that differ) of the nearest known composition, for each row of
        ``compositions`` (n, 100)."""
        found = []
        for x in np.asarray(compositions, dtype=float):
            elements = np.flatnonzero(x)
            kept = np.minimum(self._fractions[elements], x[elements, None]).sum(axis=0)
            # among rows that differ by rounding only, the first
            row = int(np.argmax(kept > kept.max() - 1e-9))
            found.append((row, float(abs(x - self.compositions[row]).sum()) / 2))
        return found

    def find_nearest_several(
        self, composition: NDArray[np.floating], n: int
    ) -> list[tuple[int, float]]:
        """(index, fraction of atoms that differ) of the n nearest known materials for a composition
        (100,), nearest first."""
        elements = np.flatnonzero(composition)
        kept = np.minimum(self._fractions[elements], composition[elements, None]).sum(axis=0)
        # rounded, so that rows that differ by rounding only stay in order
        rows = np.argsort(-kept.round(9), kind="stable")[:n]
        return [(int(row), 1 - float(kept[row])) for row in rows]

    @cached_property
    def _fractions(self) -> NDArray[np.float64]:
        """(100, n), compositions transposed, so that the fractions of an element are contiguous."""
        return np.ascontiguousarray(self.compositions.T, dtype=float)


@dataclass(frozen=True, kw_only=True)
class Novel(Rule):
    """Passes if the formula is in none of the lists. Informational, unless made required."""

    known: KnownMaterials
    lists: FormulaLists
    required: bool = False
    name = "novel"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.check_all([candidate])[0]

    def check_all(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """See Rule."""
        return self.known.check_all(
            [c.formula for c in candidates],
            np.array([c.composition for c in candidates]),
            [c.space_group for c in candidates],
            np.array([c.pattern for c in candidates]),
            lists=self.lists,
            structures=[
                None if c.crystal is None else c.crystal.make_structure for c in candidates
            ],
        )
