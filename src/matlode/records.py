"""The nouns that travel between rooms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.notebook import html_table, pattern_picture

if TYPE_CHECKING:
    from pymatgen.core import Structure


Case: TypeAlias = Literal["simulated", "decoded"]
"""Where a pattern comes from: simulated from a structure, or decoded from the latent space.
Intervals and probabilities are calibrated for each apart."""
Face: TypeAlias = Literal["standard", "reference"]
"""Recipe of a model: "standard" is matlode's own, "reference" that of Korolev et al.
(Mater. Horiz. 2020)."""
Cell: TypeAlias = str | int | float | bool | None
"""What a cell of a table holds."""
PATTERN_RANGE_DEG = (10.0, 90.0)
"""First and last 2θ of a candidate's pattern."""


def legible(text: str) -> str:
    """With ? for what is no character, such as half of a surrogate pair: broken JSON and names of
    files in no known encoding have them, and nothing can write them.

    >>> legible("Na\\ud800Cl")
    'Na?Cl'
    """
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class DroppedRow:
    """Something that was left out, and why."""

    id: str
    """Of a row in a table; of a file its path."""
    reason: str
    is_file: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", legible(self.id))
        object.__setattr__(self, "reason", legible(self.reason))


@dataclass(frozen=True)
class Prediction:
    """A property as a model sees it, with its interval."""

    value: float
    low: float
    """Lower end of the 90 % interval, same unit as ``value``."""
    high: float
    """Upper end of the 90 % interval, same unit as ``value``."""
    unit: str

    def in_words(self) -> str:
        """Value and interval, rounded for people, without the unit.

        >>> Prediction(291.3, 274.9, 307.6, "GPa").in_words()
        '291.3 (275…308)'
        """
        return f"{self.value:.4g} ({self.low:.3g}…{self.high:.3g})"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return html_table(["value (90 % interval)", "unit"], [[self.in_words(), self.unit]])


@dataclass(frozen=True)
class Verdict:
    """What one rule says of one material, and why."""

    rule: str
    passed: bool
    value: float | str
    """What the rule looked at (a probability, a charge, a nearest formula)."""
    limit: float | str
    """What ``value`` was held against."""
    reason: str


@dataclass(frozen=True, eq=False)
class Candidate:
    """A material that a search proposes, or that a file holds: what rules look at."""

    formula: str
    """Canonical: reduced, elements in alphabetical order."""
    composition: NDArray[np.floating]
    """(100,), atomic fractions."""
    pattern: NDArray[np.floating]
    """(1601,), strongest point 1: decoded, simulated or measured."""
    predictions: Mapping[str, Prediction]
    """By endpoint."""
    space_groups: NDArray[np.floating]
    """(230,), probabilities."""
    space_group_set: tuple[int, ...] = ()
    """Numbers among which the true one is in 90 % of cases, the likeliest first."""
    chemistry_distance: float = math.nan
    """How far the composition is from those that the property models learned from
    (``properties.applicability``); NaN if they cannot tell."""

    @property
    def space_group(self) -> int:
        """The likeliest space-group number."""
        return int(self.space_groups.argmax()) + 1

    def _repr_html_(self) -> str:
        """For notebooks: predictions, and the pattern."""
        chance = float(self.space_groups.max())
        rows = [
            [name.replace("_", " "), p.in_words(), p.unit] for name, p in self.predictions.items()
        ]
        return (
            f"<p><b>{escape(self.formula)}</b>, likeliest space group {self.space_group} "
            f"(probability {chance:.2f})</p>"
            + html_table(["property", "value (90 % interval)", "unit"], rows)
            + pattern_picture(
                np.linspace(*PATTERN_RANGE_DEG, len(self.pattern)), {self.formula: self.pattern}
            )
        )


@dataclass(frozen=True, eq=False)
class RealisedStructure:
    """A crystal structure built for a candidate."""

    structure: Structure
    """Symmetrised conventional cell."""
    space_group: int
    """International number, as found in the structure."""
    pattern: NDArray[np.floating]
    """(1601,), simulated."""
    match: float
    """Cosine of the candidate's pattern and this one, 0..1."""
    template_id: str
    """The known structure that atoms were exchanged in."""
    template_formula: str
    substitution: str
    """Which element took whose place."""
    prototype: str
    """The template's structure type: AFLOW's label and its names; empty if unknown."""
    n_trials: int
    """Trial structures simulated for it."""
