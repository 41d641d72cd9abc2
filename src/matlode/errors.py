"""Exceptions of matlode. Each message says what is wrong, what is expected, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class MatlodeError(Exception):
    """Base class of all exceptions that matlode raises deliberately."""


class InputError(MatlodeError):
    """A file, table or formula that cannot be used."""


class GoalError(MatlodeError):
    """A search goal that contradicts itself or contains an unknown name."""


class ArtefactError(MatlodeError):
    """A saved model or run that cannot be loaded."""


class WriteError(MatlodeError):
    """A file that cannot be written: the disk is full, or the folder is read-only."""


class GridMismatchError(MatlodeError):
    """A pattern on a 2θ grid that differs from the grid of the model."""


class PatternError(MatlodeError):
    """Crystals without a powder pattern; ``indices`` are their positions in the batch."""

    reason = "no powder pattern"
    """Short reason for each of the crystals."""

    def __init__(self, message: str, indices: Iterable[int]) -> None:
        super().__init__(message)
        self.indices = tuple(indices)


class EmptyPatternError(PatternError):
    """No reflection falls on the 2θ grid."""

    reason = "no reflection on the grid"


class CellError(PatternError):
    """A cell has no volume or contains a number that is not finite."""

    reason = "a cell without volume, or a number that is not finite"


class ScatteringError(PatternError):
    """An element has no tabulated scattering factor."""

    reason = "an element has no tabulated X-ray scattering factor"


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the most similar known name, or all known names.

    >>> suggest("bulk_module", ["bulk_modulus", "shear_modulus"])
    'Did you mean "bulk_modulus"?'
    >>> suggest("hardness", ["vickers_hardness", "shear_modulus"])
    'Did you mean "vickers_hardness"?'
    """
    known = sorted(known)
    near = get_close_matches(name, known, n=1) or [k for k in known if name and name in k]
    return f'Did you mean "{near[0]}"?' if near else f"Known: {', '.join(known)}."
