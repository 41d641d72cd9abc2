"""Is a formula new, and what known material is it nearest to?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import find_model, load_artefact, save_artefact
from matlode.data.formulas import conventional_formula
from matlode.records import Candidate, Verdict
from matlode.screening.rule import Rule

FORMULA_FILTER = "known-formulas"

BITS_PER_FORMULA = 15
N_HASHES = 10
"""15 bits and 10 hashes per formula: one in about 1,300 new formulas is called known."""


@dataclass(frozen=True)
class FormulaFilter:
    """Which formulas the models were trained on, as a Bloom filter (Bloom, CACM 1970).

    It answers "surely not" or "very likely" and cannot list what it holds: the models may
    travel where their training table may not, and still know what is new to them.
    """

    bits: NDArray[np.uint8]
    """Packed bits."""
    n_formulas: int

    @classmethod
    def build(cls, formulas: Iterable[str]) -> FormulaFilter:
        """A filter of canonical formulas."""
        known = set(formulas)
        size = max(64, BITS_PER_FORMULA * len(known))
        flags = np.zeros(size, dtype=bool)
        for formula in known:
            flags[_positions(formula, size)] = True
        return cls(np.packbits(np.pad(flags, (0, -size % 8))), len(known))

    def __contains__(self, formula: str) -> bool:
        flags = _positions(formula, max(64, BITS_PER_FORMULA * self.n_formulas))
        return bool(np.all(self.bits[flags // 8] >> (7 - flags % 8) & 1))

    @classmethod
    def load(cls, folder: Path | None = None) -> FormulaFilter:
        """The filter in ``folder`` (else the one that ships with matlode)."""
        artefact = load_artefact(find_model(FORMULA_FILTER, folder)).require("filter")
        return cls(artefact.arrays["bits"], int(artefact.header["n_formulas"]))

    def save(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Write as an artefact."""
        save_artefact(
            folder / FORMULA_FILTER,
            kind="filter",
            header={"n_formulas": self.n_formulas, **header},
            arrays={"bits": self.bits},
        )


@dataclass(frozen=True)
class KnownMaterials:
    """The materials that candidates are called new against."""

    formulas: tuple[str, ...]
    """Canonical formulas with a structure at hand."""
    ids: tuple[str, ...]
    compositions: NDArray[np.floating]
    """(n, 100)."""
    trained_on: FormulaFilter

    def judge(self, formulas: Sequence[str], compositions: NDArray[np.floating]) -> list[Verdict]:
        """One verdict per formula with its composition (n, 100)."""
        at_hand = {formula: row for row, formula in enumerate(self.formulas)}
        verdicts = []
        for formula, (index, distance) in zip(formulas, self.nearest(compositions), strict=True):
            nearest = f"{conventional_formula(self.formulas[index])} ({self.ids[index]})"
            if formula in at_hand:
                row = at_hand[formula]
                reason = f"known: {conventional_formula(formula)} ({self.ids[row]})"
                value = "known"
            elif formula in self.trained_on:
                reason, value = "known: among the formulas that the models were trained on", "known"
            else:
                value = "novel"
                reason = (
                    f"not among {len(at_hand):,} formulas at hand and "
                    f"{self.trained_on.n_formulas:,} trained on; nearest {nearest}, "
                    f"{distance:.2f} of the atoms differ"
                )
            verdicts.append(Verdict("novel", value == "novel", value, "novel", reason))
        return verdicts

    def nearest(self, compositions: NDArray[np.floating]) -> list[tuple[int, float]]:
        """(index, share of atoms that differ) of the nearest known composition, per row."""
        found = []
        for x in np.asarray(compositions):
            distance = np.abs(self.compositions - x).sum(axis=1) / 2
            index = int(distance.argmin())
            found.append((index, float(distance[index])))
        return found


@dataclass(frozen=True)
class Novel(Rule):
    """The formula is not among the known ones. It marks, it does not reject."""

    known: KnownMaterials
    name = "novel"
    required = False

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.known.judge([candidate.formula], candidate.composition[None])[0]


def _positions(formula: str, size: int) -> NDArray[np.int64]:
    digest = hashlib.blake2b(formula.encode(), digest_size=16).digest()
    first, second = (int.from_bytes(half, "big") for half in (digest[:8], digest[8:]))
    # double hashing (Kirsch and Mitzenmacher 2006) stands for independent hash functions
    return np.array([(first + i * (second | 1)) % size for i in range(N_HASHES)], dtype=np.int64)
