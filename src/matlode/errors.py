"""Errors that a user can act on: each says what came, what was wanted, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class MatlodeError(Exception):
    """Base of everything that matlode raises on purpose."""


class InputError(MatlodeError):
    """A file, table or formula that cannot be used."""


class GoalError(MatlodeError):
    """A search goal that contradicts itself or names something unknown."""


class ArtefactError(MatlodeError):
    """A saved model or run that cannot be loaded as it stands."""


class WriteError(MatlodeError):
    """A file that cannot be written: the disk is full, or the folder is read-only."""


class GridMismatchError(MatlodeError):
    """A pattern whose 2θ grid is not the one that a model was fitted on."""


class PatternError(MatlodeError):
    """Crystals for which no powder pattern exists; ``indices`` names them in the batch."""

    reason = "no powder pattern"
    """Of each of them, in few words."""

    def __init__(self, message: str, indices: Iterable[int]) -> None:
        super().__init__(message)
        self.indices = tuple(indices)


class EmptyPatternError(PatternError):
    """No reflection falls on the 2θ grid."""

    reason = "no reflection on the grid"


class CellError(PatternError):
    """A cell has no volume, or a number of it is not finite."""

    reason = "a cell without volume, or a number that is not finite"


class ScatteringError(PatternError):
    """An element has no tabulated scattering factor."""

    reason = "an element has no tabulated X-ray scattering factor"


def suggest(name: str, known: Iterable[str]) -> str:
    """Tail of an error text: the nearest known name, or all of them.

    >>> suggest("bulk_module", ["bulk_modulus", "shear_modulus"])
    'Did you mean "bulk_modulus"?'
    >>> suggest("hardness", ["vickers_hardness", "shear_modulus"])
    'Did you mean "vickers_hardness"?'
    """
    known = sorted(known)
    near = get_close_matches(name, known, n=1) or [k for k in known if name and name in k]
    return f'Did you mean "{near[0]}"?' if near else f"Known: {', '.join(known)}."
