"""Records that are passed between the subpackages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.notebook import html_table, pattern_picture

if TYPE_CHECKING:
    from pymatgen.core import Structure


Case: TypeAlias = Literal["simulated", "decoded"]
"""Origin of a pattern: simulated from a structure, or decoded from the latent space. Intervals
and probabilities are calibrated separately for the two."""
Basis: TypeAlias = Case | Literal["crystal"]
"""What a prediction rests on beside the composition: a pattern, or the crystal itself."""
BASES: tuple[Basis, ...] = ("crystal", "simulated", "decoded")
Face: TypeAlias = Literal["standard", "reference"]
"""Recipe of a model: "standard" is matlode's own, "reference" that of Korolev et al.
(Mater. Horiz. 2020)."""
Cell: TypeAlias = str | int | float | bool | None
"""Value of a table cell."""
PATTERN_RANGE_DEG = (10.0, 90.0)
"""First and last 2θ of a candidate's pattern."""


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates by "?".

    They occur in broken JSON and in file names of unknown encoding, and cannot be written.

    >>> replace_surrogates("Na\\ud800Cl")
    'Na?Cl'
    """
    return text.encode("utf-8", "replace").decode()


def describe_basis(basis: Basis) -> str:
    """Name what a prediction rests on, for tables.

    >>> describe_basis("decoded")
    'decoded pattern'
    """
    return "crystal" if basis == "crystal" else f"{basis} pattern"


@dataclass(frozen=True)
class DroppedRow:
    """A row or file that was left out, with the reason."""

    id: str
    """Id of a row in a table, or path of a file."""
    reason: str
    is_file: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", replace_surrogates(self.id))
        object.__setattr__(self, "reason", replace_surrogates(self.reason))


@dataclass(frozen=True, repr=False)
class Prediction:
    """A predicted property with its 90 % interval.

    >>> Prediction(291.3, 274.9, 307.6, "GPa")
    Prediction(291.3 (275…308) GPa)
    """

    value: float
    low: float
    """Lower end of the 90 % interval, same unit as ``value``."""
    high: float
    """Upper end of the 90 % interval, same unit as ``value``."""
    unit: str

    def in_words(self) -> str:
        """Format the rounded value and interval, without the unit.

        >>> Prediction(291.3, 274.9, 307.6, "GPa").in_words()
        '291.3 (275…308)'
        """
        return f"{self.value:.4g} ({self.low:.3g}…{self.high:.3g})"

    def __repr__(self) -> str:
        return f"Prediction({' '.join(filter(None, (self.in_words(), self.unit)))})"

    def _repr_html_(self) -> str:
        """Show the value and interval in notebooks."""
        return html_table(["value (90 % interval)", "unit"], [[self.in_words(), self.unit]])


def tabulate_predictions(predictions: Mapping[str, Prediction]) -> str:
    """HTML table of predictions by property, for notebooks."""
    rows = [[name.replace("_", " "), p.in_words(), p.unit] for name, p in predictions.items()]
    return html_table(["property", "value (90 % interval)", "unit"], rows)


@dataclass(frozen=True)
class Verdict:
    """The result of one screening rule for one material."""

    rule: str
    passed: bool
    value: float | str
    """The quantity that the rule checks (a probability, a charge, a nearest formula)."""
    limit: float | str
    """The limit that ``value`` is compared with."""
    reason: str
    """Explanation of the result."""


@dataclass(frozen=True)
class CrystalFacts:
    """What is measured on a crystal, in contrast to what is predicted from its pattern."""

    volume_per_atom_a3: float
    density_g_cm3: float
    space_group: int
    """International number, determined with the tolerance of all labels."""
    shortest_distance_ratio: float
    """Shortest interatomic distance, periodic images included, over the sum of the covalent radii
    of the pair."""
    n_isolated: int = 0
    """Number of atoms without a neighbour within twice the sum of the covalent radii."""
    descriptors: NDArray[np.floating] | None = field(default=None, repr=False, compare=False)
    """(n_descriptors,), what property models read of a crystal (``environments``)."""
    make_structure: Callable[[], Structure] | None = field(default=None, repr=False, compare=False)
    """Makes the crystal itself as a pymatgen Structure; None where it is not available."""


@dataclass(frozen=True, eq=False, repr=False)
class Candidate:
    """A material that a search proposes or a file contains; the input of screening rules."""

    formula: str
    """Canonical: reduced, elements in alphabetical order."""
    composition: NDArray[np.floating]
    """(100,), atomic fractions."""
    pattern: NDArray[np.floating]
    """(1601,), strongest point 1: decoded, simulated or measured."""
    predictions: Mapping[str, Prediction]
    """Predictions by endpoint."""
    space_groups: NDArray[np.floating]
    """(230,), probabilities."""
    space_group_set: tuple[int, ...] = ()
    """Space-group numbers that contain the true one in 90 % of cases, most probable first."""
    chemistry_distance: float = math.nan
    """Distance of the composition from the training compositions of the property models
    (``properties.applicability``); NaN if the models do not provide it."""
    crystal: CrystalFacts | None = None
    """Facts of the crystal, if the candidate is one; None for a formula with a pattern alone."""

    @property
    def space_group(self) -> int:
        """The crystal's own space-group number, else the most probable one."""
        if self.crystal is not None:
            return self.crystal.space_group
        return int(self.space_groups.argmax()) + 1

    def __repr__(self) -> str:
        return f"Candidate({self.formula}, space group {self.space_group})"

    def _repr_html_(self) -> str:
        """Show the predictions and the pattern in notebooks."""
        group = f"space group {self.space_group}"
        if self.crystal is None:
            chance = float(self.space_groups.max())
            group = f"most probable {group} (probability {chance:.2f})"
        return (
            f"<p><b>{escape(self.formula)}</b>, {group}</p>"
            + tabulate_predictions(self.predictions)
            + pattern_picture(
                np.linspace(*PATTERN_RANGE_DEG, len(self.pattern)), {self.formula: self.pattern}
            )
        )


@dataclass(frozen=True)
class Origin:
    """How a crystal was made."""

    template_id: str
    """Id of the known structure in which elements were exchanged; "none" for a random crystal."""
    template_formula: str
    substitution: str
    """The exchange of elements in words."""
    prototype: str
    """Structure type of the template (AFLOW label and names); empty if unknown."""


@dataclass(frozen=True, eq=False)
class RealisedStructure:
    """A crystal structure built for a formula."""

    structure: Structure
    """Symmetrised conventional cell."""
    space_group: int
    """International number of the space group, determined from the structure."""
    pattern: NDArray[np.floating]
    """(1601,), simulated."""
    match: float
    """Cosine similarity of ``pattern`` and the pattern that it was built for, 0..1."""
    origin: Origin
