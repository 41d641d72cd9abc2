"""Applies all screening rules to all candidates and counts the rejections of each rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from matlode.artefacts import read_toml
from matlode.data.formulas import format_formula
from matlode.errors import GoalError, suggest
from matlode.properties.applicability import Applicability
from matlode.properties.expected_volume import ExpectedVolume
from matlode.records import Candidate, Verdict
from matlode.screening.applicability import Applicable
from matlode.screening.chemistry import ChargeNeutral
from matlode.screening.distances import SoundDistances
from matlode.screening.elements import Abundant, Affordable, NotRadioactive, NotToxic
from matlode.screening.formula_lists import FormulaLists
from matlode.screening.novelty import KnownMaterials, Novel
from matlode.screening.plausibility import PatternBands, PlausiblePattern
from matlode.screening.round_trip import RoundTrip
from matlode.screening.rule import Rule
from matlode.screening.stability import LikelyStable
from matlode.screening.state import SolidAtRoomTemperature
from matlode.screening.symmetry import ClearSymmetry
from matlode.screening.volume import VolumeExpected

if TYPE_CHECKING:
    from matlode.latent.space import LatentSpace


def collect_rules(
    known: KnownMaterials,
    lists: FormulaLists,
    bands: PatternBands,
    volumes: ExpectedVolume,
    space: Callable[[], LatentSpace],
    applicability: Applicability | None = None,
) -> tuple[Rule, ...]:
    """All rules in the order of the screening funnel.

    ``Applicable`` is included only if the property models have an ``applicability``.
    """
    rules = (
        LikelyStable(),
        SoundDistances(),
        VolumeExpected(model=volumes),
        ChargeNeutral(),
        SolidAtRoomTemperature(),
        Abundant(),
        Affordable(),
        NotRadioactive(),
        NotToxic(),
        PlausiblePattern(bands=bands),
        RoundTrip(space=space),
        ClearSymmetry(),
        Novel(known=known, lists=lists),
    )
    return rules if applicability is None else (*rules, Applicable(applicability=applicability))


OPTIONAL = (
    *("abundant", "affordable", "not_radioactive", "not_toxic"),
    *("plausible_pattern", "round_trip", "clear_symmetry"),
)
"""Rules that are applied only if they are selected. The last three check a decoded pattern rather
than a crystal; the first and third of them are filters of the paper (Figs. S10 and S9)."""


def choose_rules(
    rules: Sequence[Rule], screens: Mapping[str, object] | None = None
) -> tuple[Rule, ...]:
    """Select the rules to apply, with the settings in ``screens``.

    ``screens`` maps the name of a rule to False (leave it out), True (use its defaults) or its
    settings, such as {"min_probability": 0.7, "required": False}. Rules that are not named are
    applied unless they are OPTIONAL. Raises GoalError for unknown rules and invalid settings.
    """
    screens = screens or {}
    for name in screens:
        if name not in {rule.name for rule in rules}:
            raise GoalError(f'unknown screen "{name}". {suggest(name, [r.name for r in rules])}')
    chosen = []
    for rule in rules:
        choice = screens.get(rule.name, rule.name not in OPTIONAL)
        if choice is not False:
            chosen.append(_apply_settings(rule, {} if choice is True else choice))
    return tuple(chosen)


def _apply_settings(rule: Rule, settings: object) -> Rule:
    known = {f.name: getattr(rule, f.name) for f in fields(rule)}
    known = {k: v for k, v in known.items() if isinstance(v, bool | int | float)}
    if not isinstance(settings, Mapping):
        raise GoalError(
            f"screen {rule.name} = {settings!r}; expected true, false or a table of settings "
            f"({', '.join(known)})."
        )
    for name, value in settings.items():
        if name not in known:
            raise GoalError(f'screen {rule.name}: unknown setting "{name}". {suggest(name, known)}')
        is_switch = isinstance(known[name], bool)
        if isinstance(value, bool) != is_switch or not isinstance(value, bool | int | float):
            expected = "true or false" if is_switch else "a number"
            raise GoalError(f"screen {rule.name}: {name} = {value!r}; expected {expected}.")
        if not math.isfinite(value):
            raise GoalError(f"screen {rule.name}: {name} = {value!r}; expected a finite number.")
    return replace(rule, **settings)


def read_screens(path: Path) -> dict[str, object]:
    """Read the argument ``screens`` of ``choose_rules`` from a TOML file with one entry per rule.

    Raises InputError if the file cannot be read.
    """
    return read_toml(path)


@dataclass(frozen=True)
class Screened:
    """A candidate and its verdicts."""

    candidate: Candidate
    verdicts: tuple[Verdict, ...]
    accepted: bool
    """Whether no required rule failed."""

    def verdict(self, rule: str) -> Verdict:
        """The verdict of the rule with this name."""
        return next(verdict for verdict in self.verdicts if verdict.rule == rule)


def screen(candidates: Sequence[Candidate], rules: Sequence[Rule]) -> list[Screened]:
    """Apply every rule to every candidate; rejected candidates stay in the list."""
    required = {rule.name for rule in rules if rule.required}
    columns = [rule.check_all(candidates) for rule in rules]
    screened = []
    for candidate, *verdicts in zip(candidates, *columns, strict=True):
        accepted = all(v.passed for v in verdicts if v.rule in required)
        screened.append(Screened(candidate, tuple(verdicts), accepted))
    return screened


class Failure(TypedDict):
    """A candidate that failed a rule."""

    formula: str
    """Conventional formula."""
    reason: str


LedgerRow = TypedDict(
    "LedgerRow",
    {"rule": str, "required": bool, "in": int, "passed": int, "failed": list[Failure]},
)
"""One rule: the numbers of candidates it was applied to and that passed, and the others."""


def ledger(screened: Sequence[Screened], rules: Sequence[Rule]) -> list[LedgerRow]:
    """Count the candidates that reach and pass each rule, in order, for JSON.

    Candidates that fail a required rule are not counted for later rules.
    """
    remaining = list(screened)
    rows: list[LedgerRow] = []
    for rule in rules:
        passed = [s for s in remaining if s.verdict(rule.name).passed]
        failed: list[Failure] = [
            {
                "formula": format_formula(s.candidate.formula),
                "reason": s.verdict(rule.name).reason,
            }
            for s in remaining
            if not s.verdict(rule.name).passed
        ]
        rows.append(
            {
                "rule": rule.name,
                "required": rule.required,
                "in": len(remaining),
                "passed": len(passed),
                "failed": failed,
            }
        )
        if rule.required:
            remaining = passed
    return rows
