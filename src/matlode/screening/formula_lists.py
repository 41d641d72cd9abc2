"""Lists of the formulas that were made, and of those that were computed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import (
    convert_read_errors,
    find_model,
    flatten_groups,
    grouped,
    load_artefact,
    save_artefact,
)
from matlode.screening.elias_fano import decode_sorted, encode_sorted

FORMULA_LISTS = "known-formulas"
KIND = "formula-lists"
HASH_BITS = 33
"""Bits of a formula's hash. With 417,000 formulas, one in 20,600 others is found by chance."""

MADE, COMPUTED, TRAINED_ON = "made", "computed", "trained on"
"""Names of lists; the first two are also values of the verdict ``novel``."""
KNOWN_STRUCTURE, IN_NO_LIST = "known structure", "in none of the lists"
"""The other values of that verdict."""


@dataclass(frozen=True, eq=False)
class FormulaList:
    """One list of canonical formulas, of which HASH_BITS bits each are known.

    A formula of the list is always found; another is found by chance with a probability of
    len(hashes) / 2**HASH_BITS. The formulas cannot be read back.
    """

    name: str
    source: str
    """Where the formulas come from, in words that follow "in"."""
    n_formulas: int
    hashes: NDArray[np.uint64]
    """(n,), ascending, without repetition; see ``compute_hashes``."""

    @classmethod
    def build(cls, name: str, source: str, formulas: Iterable[str]) -> FormulaList:
        """Build the list of canonical formulas."""
        members = set(formulas)
        return cls(name, source, len(members), np.unique(compute_hashes(members)))

    def find(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """(n,), whether each of ``hashes`` (n,) is in the list."""
        if not len(self.hashes):
            return np.zeros(len(hashes), dtype=bool)
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.asarray(self.hashes[places] == hashes)


@dataclass(frozen=True, eq=False)
class FormulaLists:
    """Lists of known formulas, the most telling one first.

    ``formula in lists`` is False only for canonical formulas that are certainly in none of them.
    """

    lists: tuple[FormulaList, ...]

    @property
    def n_formulas(self) -> int:
        """Number of formulas of all lists."""
        return sum(each.n_formulas for each in self.lists)

    def find(self, formulas: Sequence[str]) -> list[FormulaList | None]:
        """The first list that contains each canonical formula, None where none does."""
        hashes = compute_hashes(formulas)
        found: list[FormulaList | None] = [None] * len(formulas)
        for each in reversed(self.lists):
            for row in np.flatnonzero(each.find(hashes)):
                found[row] = each
        return found

    def __contains__(self, formula: str) -> bool:
        return self.find([formula]) != [None]

    def without(self, formulas: Collection[str]) -> FormulaLists:
        """The same lists without some canonical formulas, for benchmarks that hide them."""
        hidden = compute_hashes(formulas)
        kept = []
        for each in self.lists:
            hashes = np.setdiff1d(each.hashes, hidden)
            n_removed = len(each.hashes) - len(hashes)
            kept.append(replace(each, n_formulas=each.n_formulas - n_removed, hashes=hashes))
        return FormulaLists(tuple(kept))

    @classmethod
    def load(cls, folder: Path | None = None) -> FormulaLists:
        """Load the lists in ``folder``, or those that ship with matlode.

        Raises ArtefactError if they are missing or damaged.
        """
        artefact = load_artefact(find_model(FORMULA_LISTS, folder)).require(KIND)
        with convert_read_errors(FORMULA_LISTS):
            arrays = grouped(artefact.arrays)
            return cls(tuple(_decode(entry, arrays) for entry in artefact.header["lists"]))

    def save(self, folder: Path, header: Mapping[str, object]) -> None:
        """Write the artefact to a folder in ``folder``."""
        lists = [
            {"name": each.name, "source": each.source, "n_formulas": each.n_formulas,
             "n_hashes": len(each.hashes)}
            for each in self.lists
        ]  # fmt: skip
        parts = {
            each.name: dict(
                zip(("low", "high"), encode_sorted(each.hashes, HASH_BITS), strict=True)
            )
            for each in self.lists
        }
        save_artefact(
            folder / FORMULA_LISTS,
            kind=KIND,
            header={**header, "hash_bits": HASH_BITS, "lists": lists},
            arrays=flatten_groups(parts),
        )


def compute_hashes(formulas: Iterable[str]) -> NDArray[np.uint64]:
    """First HASH_BITS bits of the SHA-256 of each canonical formula, (n,)."""
    digests = (hashlib.sha256(formula.encode()).digest()[:8] for formula in formulas)
    return shorten_hashes(np.frombuffer(b"".join(digests), ">u8").astype(np.uint64))


def shorten_hashes(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The first HASH_BITS bits of hashes (n,) of 64 bits."""
    return hashes >> np.uint64(64 - HASH_BITS)


def _decode(
    entry: Mapping[str, object], arrays: Mapping[str, Mapping[str, NDArray[np.uint8]]]
) -> FormulaList:
    """One list, of its entry in the header and its arrays; raises ``artefacts.MALFORMED``."""
    name, source, n_formulas, n_hashes = (
        entry[key] for key in ("name", "source", "n_formulas", "n_hashes")
    )
    if not isinstance(n_formulas, int) or not isinstance(n_hashes, int) or n_hashes < 0:
        raise ValueError(f"numbers of formulas are {n_formulas!r} and {n_hashes!r}")
    coded = arrays[str(name)]
    hashes = decode_sorted((coded["low"], coded["high"]), n_hashes, HASH_BITS)
    return FormulaList(str(name), str(source), n_formulas, hashes)
