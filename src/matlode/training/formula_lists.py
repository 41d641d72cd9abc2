"""The lists of known formulas that go with trained models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import read_arrays
from matlode.errors import InputError
from matlode.screening.formula_lists import (
    COMPUTED,
    MADE,
    TRAINED_ON,
    FormulaList,
    FormulaLists,
    shorten_hashes,
)
from matlode.training.model_spec import ModelSpec
from matlode.training.trainer import Trainer

SOURCES = {
    "synthesised": (MADE, "the lists of synthesised (ICSD) compounds"),
    "computed": (
        COMPUTED,
        "the lists of computed compounds of the Materials Project, AFLOW, JARVIS, WBM and OQMD",
    ),
}
"""Array of a file of known formulas → name and source of the list."""


def train_lists(trainer: Trainer, spec: ModelSpec) -> None:
    """Write the lists of the file beside the table, else the shipped ones, and one list more of
    training formulas that are in none of them, if there are any."""
    table = trainer.table
    lists = read_lists(table.known_formulas) if table.known_formulas else FormulaLists.load()
    formulas = sorted(set(table.materials.frame["formula"]) | set(table.extra_formulas))
    others = [
        name for name, found in zip(formulas, lists.find(formulas), strict=True) if found is None
    ]
    if others:
        source = "the formulas of the training table that no other list has"
        lists = FormulaLists((*lists.lists, FormulaList.build(TRAINED_ON, source, others)))
    lists.save(trainer.root, table.header)


def read_lists(path: Path) -> FormulaLists:
    """Read the lists of synthesised and of computed formulas from a NumPy archive.

    Each array has the first 64 bits of the SHA-256 of canonical formulas, as uint64. Raises
    ArtefactError if the file is damaged or an array is missing, and InputError for other arrays.
    """
    arrays = read_arrays(path, SOURCES)
    return FormulaLists(
        tuple(
            FormulaList(name, source, len(arrays[key]), _take_hashes(arrays[key], key, path))
            for key, (name, source) in SOURCES.items()
        )
    )


def _take_hashes(hashes: NDArray[np.uint64], key: str, path: Path) -> NDArray[np.uint64]:
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise InputError(
            f'{path}: array "{key}" is {hashes.dtype}{list(hashes.shape)}; expected uint64[n], the '
            "first 8 bytes (big endian) of the SHA-256 of each canonical formula."
        )
    return np.unique(shorten_hashes(hashes))
