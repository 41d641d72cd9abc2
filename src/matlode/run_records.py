"""What the files of a run folder hold, one frozen record per kind of row.

``to_columns`` and ``from_columns`` convert to and from the flat rows of tables. ``RunFolder``
(``matlode.run_folder``) reads and writes the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from matlode.records import Cell, Prediction, Verdict

KNOWN: Final = "known, for comparison"
"""Verdict of a known material above the candidates."""


# ---- candidates ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PredictedValue:
    """A predicted property with its 90 % interval, in the property's unit."""

    value: float
    low: float
    high: float

    def to_columns(self, name: str) -> dict[str, Cell]:
        """Columns ``name``, ``name_low`` and ``name_high``."""
        return dict(zip(_interval_columns(name), (self.value, self.low, self.high), strict=True))


@dataclass(frozen=True, kw_only=True)
class CandidateRow:
    """A row of candidates.csv and candidates.json."""

    rank: int
    """From 1, best first; 0 for a known material that stands above the candidates."""
    formula: str
    chemical_system: str
    space_group: int
    """That of the crystal in ``structure_file``, as all other columns."""
    crystal_system: str
    bulk_modulus: PredictedValue
    shear_modulus: PredictedValue
    formation_energy: float
    """eV/atom."""
    hull_probability_50_mev: float
    charge_neutral: int | float | str
    novelty: int | float | str
    """"known structure", "made", "computed", "in none of the lists", or that the rule was switched
    off. Older runs have "known", "new polymorph" and "novel"."""
    nearest_known: str
    structure_file: str
    """Path of the CIF in the run folder."""
    verdict: str
    """"accepted", "rejected" or ``KNOWN``."""
    reasons: str
    """``Explanation`` as one text for people; programs use the records."""
    merit: float
    in_ranges: bool
    """Whether it is in the ranges of the goal."""
    properties: Mapping[str, PredictedValue]
    """Further properties of the goal."""
    prototype: str = ""
    """Structure type of the template, where it has a name."""

    @property
    def is_known(self) -> bool:
        """Whether it is a known material, for comparison."""
        return self.verdict == KNOWN

    @property
    def is_accepted(self) -> bool:
        """Whether it passes all required rules."""
        return self.verdict == "accepted"

    def interval(self, name: str) -> PredictedValue | None:
        """A property with its interval; None if the table has none."""
        own = {"bulk_modulus": self.bulk_modulus, "shear_modulus": self.shear_modulus}
        return own.get(name) or self.properties.get(name)

    def value(self, name: str) -> float | None:
        """A property; None if the table has none."""
        found = self.interval(name)
        if found is not None:
            return found.value
        own = {
            "formation_energy": self.formation_energy,
            "hull_probability_50_mev": self.hull_probability_50_mev,
        }
        return own.get(name)

    def to_columns(self) -> dict[str, Cell]:
        """The flat row, in the order of the table's columns."""
        row: dict[str, Cell] = {}
        for name in _CANDIDATE_COLUMNS:
            value = getattr(self, name)
            row |= value.to_columns(name) if name in _WITH_INTERVAL else {name: value}
        for name, predicted in self.properties.items():
            row |= predicted.to_columns(name)
        return row

    @classmethod
    def from_columns(cls, row: Mapping[str, object]) -> CandidateRow:
        """Read a flat row; raises ValueError for columns that are missing or of a wrong type."""
        names = [
            name
            for name in row
            if name not in _WITH_INTERVAL and set(_interval_columns(name)) <= row.keys()
        ]
        content: dict[str, object] = {
            name: row[name]
            for name in _CANDIDATE_COLUMNS
            if name in row and name not in _WITH_INTERVAL
        }
        content |= {name: _interval_content(row, name) for name in _WITH_INTERVAL}
        content["properties"] = {name: _interval_content(row, name) for name in names}
        return msgspec.convert(content, cls)


_CANDIDATE_COLUMNS: Final = (
    "rank", "formula", "chemical_system", "space_group", "crystal_system", "prototype",
    "bulk_modulus", "shear_modulus", "formation_energy", "hull_probability_50_mev",
    "charge_neutral",
    "novelty", "nearest_known", "structure_file", "verdict", "reasons", "merit", "in_ranges",
)  # fmt: skip
"""Fixed columns, in their order."""
_WITH_INTERVAL: Final = ("bulk_modulus", "shear_modulus")
"""Those of them that are followed by the ends of their interval."""


def _interval_columns(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _interval_content(row: Mapping[str, object], name: str) -> dict[str, object]:
    columns = zip(("value", "low", "high"), _interval_columns(name), strict=True)
    return {end: row[column] for end, column in columns if column in row}


# ---- verdicts and why ----------------------------------------------------------------------------


@dataclass(frozen=True)
class RejectedFormula:
    """A formula that fails a rule."""

    formula: str
    reason: str


@dataclass(frozen=True)
class FunnelRow:
    """What one rule did to all screened candidates."""

    rule: str
    required: bool
    n_in: int
    n_passed: int
    failed: tuple[RejectedFormula, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As funnel.json has it."""
        return {
            "rule": self.rule,
            "required": self.required,
            "in": self.n_in,
            "passed": self.n_passed,
            "failed": [asdict(formula) for formula in self.failed],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> FunnelRow:
        """Read an entry of funnel.json; raises ValueError if it is of another form."""
        names = {"in": "n_in", "passed": "n_passed"}
        return msgspec.convert({names.get(key, key): value for key, value in content.items()}, cls)


@dataclass(frozen=True)
class RuleVerdict:
    """A verdict, and whether candidates must pass its rule."""

    verdict: Verdict
    required: bool

    @property
    def outcome(self) -> Literal["passed", "failed", "noted"]:
        """ "noted" stands for failing a rule that is only informational."""
        if self.verdict.passed:
            return "passed"
        return "failed" if self.required else "noted"


@dataclass(frozen=True)
class Explanation:
    """Why a candidate has its place in the table."""

    missed: tuple[str, ...] | None
    """For each range of the goal that it is not in, what is predicted instead; None if the run
    folder has no record of it, only the text of ``CandidateRow.reasons``."""
    verdicts: tuple[RuleVerdict, ...]
    """In the order of the rules."""
    story: str
    """Where the structure comes from; empty if the run folder does not have it."""


# ---- details of candidates -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NearKnown:
    """A known material close to a candidate."""

    formula: str
    id: str
    space_group: int
    atoms_that_differ: float
    """Share of the atoms, 0..1."""
    labels: Mapping[str, float]
    """Property → known value."""


@dataclass(frozen=True, kw_only=True)
class PeakRow:
    """A peak of a crystal's pattern."""

    two_theta_deg: float
    intensity: float
    """The strongest is 1."""
    hkl: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class BuiltStructure:
    """The crystal of a candidate and where it comes from."""

    space_group: int
    lattice: tuple[tuple[float, ...], ...]
    """(3, 3), Å, one vector a row."""
    species: tuple[str, ...]
    """(n_atoms,)."""
    frac_coords: tuple[tuple[float, ...], ...]
    """(n_atoms, 3)."""
    template_formula: str
    template_id: str
    substitution: str
    prototype: str
    """Structure type; empty if unknown."""
    peaks: tuple[PeakRow, ...]
    """The strongest, by angle."""


@dataclass(frozen=True, kw_only=True)
class Polymorph:
    """Another crystal of a candidate's formula that the search evaluated."""

    space_group: int
    template_formula: str
    template_id: str
    merit: float
    hull_probability_50_mev: float
    values: Mapping[str, float]
    """Property of the goal → predicted value."""


@dataclass(frozen=True, kw_only=True)
class CandidateDetails:
    """What details.json holds of a candidate."""

    rank: int
    formula: str
    predictions: Mapping[str, Prediction]
    """All properties."""
    nearest_known: tuple[NearKnown, ...]
    structure: BuiltStructure | None = None
    decoded_match: float | None = None
    """Cosine of the crystal's pattern and of the one that its latent point decodes to, 0..1."""
    polymorphs: tuple[Polymorph, ...] = ()
    """The likeliest other crystals of the formula to be stable."""
    missed: tuple[str, ...] | None = None
    """See ``Explanation``."""
    story: str | None = None
    """See ``Explanation``."""

    def to_json(self) -> dict[str, object]:
        """As details.json has it, without the entries that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Steps of a search before and after the rules."""

    known: int
    """Trials at known materials."""
    evaluated: int
    """Trials of the search itself."""
    formulas: int
    """Distinct formulas among these."""
    proposed: int = 0
    """Proposals, also those that led to no crystal."""


@dataclass(frozen=True)
class Details:
    """details.json; empty for a run without that file."""

    map_shares: tuple[float, ...] = ()
    """Shares of the spread that the two axes of map.csv keep."""
    counts: Counts | None = None
    candidates: tuple[CandidateDetails, ...] = ()
    notable_elements: str = ""
    """How many candidates contain radioactive or toxic elements or noble metals, in words."""

    def to_json(self) -> dict[str, object]:
        """As the file has it."""
        return {
            "schema": 1,
            "map_shares": list(self.map_shares),
            "counts": None if self.counts is None else asdict(self.counts),
            "notable_elements": self.notable_elements,
            "candidates": [candidate.to_json() for candidate in self.candidates],
        }


# ---- maps and patterns ---------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownRow:
    """A known material of the property map."""

    formula: str
    labels: Mapping[str, float]
    """Property → known value."""

    def to_json(self) -> dict[str, object]:
        """As known.json has it."""
        return {"formula": self.formula, **self.labels}

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> KnownRow:
        """Read an entry of known.json; raises ValueError if it is of another form."""
        labels = {name: value for name, value in content.items() if name != "formula"}
        return msgspec.convert({"formula": content.get("formula"), "labels": labels}, cls)


@dataclass(frozen=True, eq=False)
class TrialTable:
    """trials.csv: all trials, those at known materials first."""

    origins: NDArray[np.str_]
    """(n,), see ``optimisation.trials.PROPOSERS``."""
    formulas: NDArray[np.str_]
    """(n,)."""
    merits: NDArray[np.float64]
    """(n,)."""
    in_ranges: NDArray[np.bool_]
    """(n,), whether all ranges of the goal are met."""
    values: Mapping[str, NDArray[np.float64]]
    """Property of the goal → (n,) predictions."""


@dataclass(frozen=True, eq=False)
class MapTable:
    """map.csv: all trials in the plane."""

    x: NDArray[np.float64]
    """(n,)."""
    y: NDArray[np.float64]
    """(n,)."""
    space_groups: NDArray[np.int_]
    """(n,), 0 where unknown."""
    ranks: NDArray[np.int_]
    """(n,), 0 for trials that are not candidates."""


@dataclass(frozen=True, eq=False)
class PatternTable:
    """patterns.npz: powder patterns of the candidates, best first."""

    two_theta_deg: NDArray[np.floating]
    """(n_points,)."""
    realised: NDArray[np.floating]
    """(n, n_points), simulated from the crystals."""
    decoded: NDArray[np.floating]
    """(n, n_points), what their latent points decode to, a diagnostic."""


# ---- evidence ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HullEnergies:
    """Energies above the hull, eV per atom."""

    energy_above_hull_ev: float | None
    second_potential_energy_above_hull_ev: float | None
    """By the second potential, for the same reaction."""
    decomposition: str
    """Phases that are stable instead, with their shares."""
    competing_phases: int
    known_phases: int


@dataclass(frozen=True, kw_only=True)
class Mechanics:
    """Elastic constants and phonons at Γ by the primary potential."""

    bulk_modulus_gpa: float
    eos_bulk_modulus_gpa: float
    shear_modulus_gpa: float
    youngs_modulus_gpa: float
    poisson_ratio: float
    pugh_ratio: float
    vickers_hardness_gpa: float
    vickers_hardness_chen_gpa: float
    born_stable: bool
    lowest_gamma_thz: float
    stable_at_gamma: bool

    @property
    def moduli_gpa(self) -> dict[str, float]:
        """Property that the models predict → computed value."""
        return {"bulk_modulus": self.bulk_modulus_gpa, "shear_modulus": self.shear_modulus_gpa}


@dataclass(frozen=True, kw_only=True, repr=False)
class EvidenceRow:
    """A structure that two potentials examined: a row of evidence.csv and evidence.json."""

    formula: str
    source_file: str
    """Name of the file that was examined."""
    relaxed_file: str
    """Path of the relaxed CIF in the folder of the results."""
    relaxed: bool
    """Whether the primary potential's relaxation converged."""
    fell_apart: str
    """Why it is not a crystal any more; empty if it is one."""
    steps: int
    volume_change: float | None
    space_group: int
    unchanged: bool
    """Whether the relaxed structure matches the one that was proposed."""
    formation_energy_ev: float | None
    """Per atom."""
    second_potential_formation_energy_ev: float | None
    disagreement_ev: float | None
    potentials_agree: bool
    """Whether both potentials converged and agree."""
    hull: HullEnergies | None = None
    mechanics: Mechanics | None = None
    predicted: Mapping[str, float] = field(default_factory=dict)
    """Column such as ``bulk_modulus_gpa`` → what the models predicted."""
    calculations: Mapping[str, object] = field(default_factory=dict)
    """What evidence.json holds beyond the table: the relaxations, the hull and the elasticity."""

    def __repr__(self) -> str:
        state = self.fell_apart or ("relaxed" if self.relaxed else "not converged")
        above = None if self.hull is None else self.hull.energy_above_hull_ev
        hull = "" if above is None else f", {above:.3f} eV/atom above the hull"
        return f"EvidenceRow({self.formula}: {state}{hull})"

    def to_columns(self) -> dict[str, Cell]:
        """The flat row, in the order of the table's columns; without what was not computed."""
        return {
            **{name: getattr(self, name) for name in _EVIDENCE_COLUMNS},
            **({} if self.hull is None else asdict(self.hull)),
            **({} if self.mechanics is None else asdict(self.mechanics)),
            **{f"{_PREDICTED}{name}": value for name, value in self.predicted.items()},
        }

    def to_json(self) -> dict[str, object]:
        """As evidence.json has it."""
        return {**self.to_columns(), **self.calculations}

    @classmethod
    def from_columns(cls, row: Mapping[str, object]) -> EvidenceRow:
        """Read a flat row, or an entry of evidence.json; raises ValueError if it is of another
        form."""
        content: dict[str, object] = {name: row[name] for name in _EVIDENCE_COLUMNS if name in row}
        content["hull"] = row if "energy_above_hull_ev" in row else None
        content["mechanics"] = row if "bulk_modulus_gpa" in row else None
        content["predicted"] = {
            name.removeprefix(_PREDICTED): value
            for name, value in row.items()
            if name.startswith(_PREDICTED)
        }
        content["calculations"] = {name: row[name] for name in _CALCULATIONS if name in row}
        return msgspec.convert(content, cls)


_EVIDENCE_COLUMNS: Final = (
    "formula", "source_file", "relaxed_file", "relaxed", "fell_apart", "steps", "volume_change",
    "space_group", "unchanged", "formation_energy_ev", "second_potential_formation_energy_ev",
    "disagreement_ev", "potentials_agree",
)  # fmt: skip
"""Columns of every row, in their order."""
_PREDICTED: Final = "predicted_"
"""Prefix of the columns of predictions."""
_CALCULATIONS: Final = ("primary_potential", "second_potential", "hull", "elasticity")


@dataclass(frozen=True, kw_only=True)
class EvidenceTable:
    """evidence.json."""

    primary_potential: str
    """Name and version of the primary potential."""
    second_potential: str
    """Of the second potential."""
    hull: str
    """The phases that energies above the hull refer to, in words."""
    structures: tuple[EvidenceRow, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As evidence.json has it, without schema and version."""
        return {
            "primary_potential": self.primary_potential,
            "second_potential": self.second_potential,
            "hull": self.hull,
            "structures": [row.to_json() for row in self.structures],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> EvidenceTable:
        """Read evidence.json; raises ValueError if it is of another form."""
        rows = content["structures"]
        if not isinstance(rows, list):
            raise ValueError("structures: expected a list")
        table = msgspec.convert({**_present_names(content), "structures": []}, cls)
        rows = map(_present_names, rows)
        return replace(table, structures=tuple(map(EvidenceRow.from_columns, rows)))


def _present_names(content: Mapping[str, object]) -> dict[str, object]:
    """Rename what evidence.json of schema 1 called otherwise."""
    return {_RENAMED.get(name, name): value for name, value in content.items()}


_RENAMED: Final = {
    "judge": "primary_potential", "witness": "second_potential", "sound": "potentials_agree",
    "witness_formation_energy_ev": "second_potential_formation_energy_ev",
    "witness_energy_above_hull_ev": "second_potential_energy_above_hull_ev",
    "promised_bulk_modulus_gpa": "predicted_bulk_modulus_gpa",
    "promised_shear_modulus_gpa": "predicted_shear_modulus_gpa",
    "promised_vickers_hardness_gpa": "predicted_vickers_hardness_gpa",
    "promised_formation_energy_ev": "predicted_formation_energy_ev",
}  # fmt: skip


# ---- requests and provenance ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Places:
    """Paths of what a search uses in place of what ships; None for what ships."""

    models: str | None
    known: str | None


@dataclass(frozen=True, kw_only=True)
class SavedRequest:
    """request.json: all that decides how a search goes."""

    schema: int
    campaign: str
    shared: bool
    """Whether its batches are in a database elsewhere."""
    places: Places
    goal: Mapping[str, object]
    settings: Mapping[str, object]
    screens: Mapping[str, object]
    models: Mapping[str, str]
    """Model → checksum."""
    known: str
    """Checksum of the table of known materials, or "starter set"."""


@dataclass(frozen=True, kw_only=True)
class RoundsRequest:
    """rounds.json: all that decides how a search in rounds goes."""

    rounds: int
    relaxed: int
    """Candidates that are relaxed in each round."""
    models: str | None
    """Folder of models; None for those that ship."""
    known: str | None
    """Table of known materials; None for the starter set."""
    screens: Mapping[str, object]
    wishes: Mapping[str, object]
    """Arguments of the searches."""

    def to_json(self) -> dict[str, object]:
        """As rounds.json has it."""
        return {"schema": 1, **{entry.name: getattr(self, entry.name) for entry in fields(self)}}


@dataclass(frozen=True)
class GoalEntry:
    """An objective or a range of a goal."""

    endpoint: str
    direction: str = ""
    """"maximise", "minimise" or "near"; empty for a range."""
    target: float | None = None
    """For "near"."""


@dataclass(frozen=True, kw_only=True)
class GoalSummary:
    """What a search looked for."""

    words: str
    objectives: tuple[GoalEntry, ...]
    ranges: tuple[GoalEntry, ...] = ()
    shown: tuple[str, ...] = ()
    """Properties that the goal is about; empty in runs that only name objectives."""

    @property
    def objective_names(self) -> tuple[str, ...]:
        """Properties of the objectives, each once."""
        return tuple(dict.fromkeys(objective.endpoint for objective in self.objectives))

    @property
    def named_properties(self) -> tuple[str, ...]:
        """Properties of the objectives and of the ranges, each once."""
        entries = (*self.objectives, *self.ranges)
        return tuple(dict.fromkeys(entry.endpoint for entry in entries))

    @property
    def shown_properties(self) -> tuple[str, ...]:
        """Properties that the goal is about."""
        return self.shown or (*self.objective_names, "hull_probability_50_mev")


@dataclass(frozen=True, kw_only=True)
class SettingsSummary:
    """How a search was done."""

    trials: int
    seed: int
    sampler: str


@dataclass(frozen=True, kw_only=True)
class KnownSummary:
    """The known materials of a search."""

    rows: int


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """provenance.json."""

    goal: GoalSummary
    settings: SettingsSummary
    known_materials: KnownSummary
    versions: Mapping[str, str]
    units: Mapping[str, str] = field(default_factory=dict)
    """Property → unit."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage → how long it took."""
    content: Mapping[str, object] = field(default_factory=dict)
    """The whole file."""
