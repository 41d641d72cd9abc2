"""Rule: the formula is not in the reference lists; with the nearest known material."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import convert_read_errors, find_model, load_artefact, save_artefact
from matlode.data.formulas import anonymise_formula, format_formula
from matlode.records import Candidate, Verdict
from matlode.screening.known_patterns import KnownPatterns, NearestPattern
from matlode.screening.rule import Rule

FORMULA_FILTER = "known-formulas"

BITS_PER_FORMULA = 15
N_HASHES = 10
"""With 15 bits and 10 hashes per formula, about one in 1,300 new formulas is reported as known."""


@dataclass(frozen=True)
class FormulaFilter:
    """Bloom filter (Bloom, CACM 1970) of the formulas that the models were trained on.

    ``formula in filter`` is False only for formulas that are certainly not among them, and True
    for a few others too. The filter cannot be listed, so models can be distributed without their
    training table. Raises ValueError if the number of bits does not fit that of formulas.
    """

    bits: NDArray[np.uint8]
    """Bits, packed into bytes."""
    n_formulas: int

    def __post_init__(self) -> None:
        wanted = -(-_size(self.n_formulas) // 8)
        if self.bits.shape != (wanted,):
            raise ValueError(
                f"bits have shape {self.bits.shape}; {self.n_formulas} formulas need ({wanted},)"
            )

    @classmethod
    def build(cls, formulas: Iterable[str]) -> FormulaFilter:
        """Build the filter of canonical formulas."""
        known = set(formulas)
        size = _size(len(known))
        flags = np.zeros(size, dtype=bool)
        for formula in known:
            flags[_positions(formula, size)] = True
        return cls(np.packbits(np.pad(flags, (0, -size % 8))), len(known))

    def __contains__(self, formula: str) -> bool:
        flags = _positions(formula, _size(self.n_formulas))
        return bool(np.all(self.bits[flags // 8] >> (7 - flags % 8) & 1))

    @classmethod
    def load(cls, folder: Path | None = None) -> FormulaFilter:
        """Load the filter in ``folder``, or the one that ships with matlode."""
        artefact = load_artefact(find_model(FORMULA_FILTER, folder)).require("filter")
        with convert_read_errors(FORMULA_FILTER):
            return cls(artefact.arrays["bits"], int(artefact.header["n_formulas"]))

    def save(self, folder: Path, header: Mapping[str, object]) -> None:
        """Write the artefact to a folder in ``folder``."""
        save_artefact(
            folder / FORMULA_FILTER,
            kind="filter",
            header={"n_formulas": self.n_formulas, **header},
            arrays={"bits": self.bits},
        )


KNOWN, POLYMORPH, NOVEL = "known", "new polymorph", "novel"


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
    """If given, verdicts on new candidates name the most similar known pattern."""

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

    def judge(
        self,
        formulas: Sequence[str],
        compositions: NDArray[np.floating],
        space_groups: Sequence[int],
        patterns: NDArray[np.floating] | None = None,
        *,
        trained_on: FormulaFilter,
    ) -> list[Verdict]:
        """One verdict per formula, from compositions (n, 100), space groups and patterns (n, 1601).

        Formulas in ``trained_on`` are known without a structure.

        The value is "known", "novel", or "new polymorph" if structures of the formula are
        available in other space groups only.
        """
        nearest = self.nearest(compositions)
        verdicts = [
            self._judge(formula, group, *near, trained_on)
            for formula, group, near in zip(formulas, space_groups, nearest, strict=True)
        ]
        if self.patterns is None or patterns is None:
            return verdicts
        rows = [row for row, verdict in enumerate(verdicts) if verdict.value != KNOWN]
        for row, near in zip(rows, self.patterns.nearest(patterns[rows]), strict=True):
            reason = f"{verdicts[row].reason}; {self._pattern(near)}"
            verdicts[row] = replace(verdicts[row], reason=reason)
        return verdicts

    def _judge(
        self, formula: str, group: int, index: int, distance: float, trained_on: FormulaFilter
    ) -> Verdict:
        rows = self.rows_by_formula.get(formula, [])
        same = [row for row in rows if self.space_groups[row] == group]
        if same:
            value, reason = KNOWN, f"known: {self._name(same[0])} in space group {group}"
        elif rows:
            groups = ", ".join(str(g) for g in sorted({self.space_groups[row] for row in rows}))
            value = POLYMORPH
            reason = f"known in space group {groups} ({self._name(rows[0])}), not in {group}"
        elif formula in trained_on:
            value, reason = KNOWN, "known: among the formulas that the models were trained on"
        else:
            value = NOVEL
            reason = (
                f"not among {len(self.rows_by_formula):,} formulas at hand and "
                f"{trained_on.n_formulas:,} trained on; nearest {self._name(index)}, "
                f"{distance:.2f} of the atoms differ; {self._prototype(formula, group)}"
            )
        return Verdict("novel", value == NOVEL, value, NOVEL, reason)

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
    """Passes if the formula is not in the reference lists. Informational, unless made required."""

    known: KnownMaterials
    trained_on: FormulaFilter
    required: bool = False
    name = "novel"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.judge([candidate])[0]

    def judge(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """See Rule."""
        return self.known.judge(
            [c.formula for c in candidates],
            np.array([c.composition for c in candidates]),
            [c.space_group for c in candidates],
            np.array([c.pattern for c in candidates]),
            trained_on=self.trained_on,
        )


def _size(n_formulas: int) -> int:
    return max(64, BITS_PER_FORMULA * n_formulas)


def _positions(formula: str, size: int) -> NDArray[np.int64]:
    digest = hashlib.blake2b(formula.encode(), digest_size=16).digest()
    first, second = (int.from_bytes(half, "big") for half in (digest[:8], digest[8:]))
    # double hashing (Kirsch and Mitzenmacher 2006) replaces independent hash functions
    return np.array([(first + i * (second | 1)) % size for i in range(N_HASHES)], dtype=np.int64)
