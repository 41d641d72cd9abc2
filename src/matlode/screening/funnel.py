"""All rules on all candidates: verdicts, and a ledger of who fell where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matlode.artefacts import read_toml
from matlode.data.formulas import conventional_formula
from matlode.errors import GoalError, suggest
from matlode.properties.applicability import Applicability
from matlode.records import Candidate, Verdict
from matlode.screening.applicability import Applicable
from matlode.screening.chemistry import ChargeNeutral
from matlode.screening.elements import Abundant, Affordable, NotRadioactive, NotToxic
from matlode.screening.novelty import FormulaFilter, KnownMaterials, Novel
from matlode.screening.plausibility import PatternBands, PlausiblePattern
from matlode.screening.round_trip import ComesBack
from matlode.screening.rule import Rule
from matlode.screening.stability import LikelyStable
from matlode.screening.symmetry import ClearSymmetry

if TYPE_CHECKING:
    from matlode.latent.space import LatentSpace


def every_rule(
    known: KnownMaterials,
    trained_on: FormulaFilter,
    bands: PatternBands,
    space: Callable[[], LatentSpace],
    applicability: Applicability | None = None,
) -> tuple[Rule, ...]:
    """Every rule, in the order in which the funnel counts; the last one only where the property
    models can tell what they are applicable to."""
    rules = (
        LikelyStable(),
        PlausiblePattern(bands=bands),
        ComesBack(space=space),
        ClearSymmetry(),
        ChargeNeutral(),
        Abundant(),
        Affordable(),
        NotRadioactive(),
        NotToxic(),
        Novel(known=known, trained_on=trained_on),
    )
    return rules if applicability is None else (*rules, Applicable(applicability=applicability))


OPTIONAL = ("comes_back", "abundant", "affordable", "not_radioactive", "not_toxic")
"""Rules that judge only when they are asked to; a search asks for the first."""


def chosen_rules(
    rules: Sequence[Rule], screens: Mapping[str, Any] | None = None
) -> tuple[Rule, ...]:
    """The rules that are to judge, with the limits that ``screens`` sets.

    ``screens``: rule → False (leave it out), True (as it is) or its settings, such as
    {"min_probability": 0.7, "required": False}; a rule with settings is never left out.
    Raises GoalError for unknown rules and settings.
    """
    screens = screens or {}
    for name in screens:
        if name not in {rule.name for rule in rules}:
            raise GoalError(f'"{name}" is no screen. {suggest(name, [r.name for r in rules])}')
    chosen = []
    for rule in rules:
        wish = screens.get(rule.name, rule.name not in OPTIONAL)
        if wish is not False:
            chosen.append(_with_settings(rule, {} if wish is True else wish))
    return tuple(chosen)


def _with_settings(rule: Rule, settings: Any) -> Rule:
    known = {f.name: getattr(rule, f.name) for f in fields(rule)}
    known = {k: v for k, v in known.items() if isinstance(v, bool | int | float)}
    if not isinstance(settings, Mapping):
        raise GoalError(
            f"screen {rule.name} = {settings!r}; wanted true, false or a table of settings "
            f"({', '.join(known)})."
        )
    for name, value in settings.items():
        if name not in known:
            raise GoalError(f'screen {rule.name} has no setting "{name}". {suggest(name, known)}')
        is_switch = isinstance(known[name], bool)
        if isinstance(value, bool) != is_switch or not isinstance(value, bool | int | float):
            wanted = "true or false" if is_switch else "a number"
            raise GoalError(f"screen {rule.name}: {name} = {value!r}; wanted {wanted}.")
    return replace(rule, **settings)


def read_screens(path: Path) -> dict[str, Any]:
    """What ``chosen_rules`` takes, from a TOML file of one entry per rule.

    Raises InputError if it cannot be read.
    """
    return read_toml(path)


@dataclass(frozen=True)
class Screened:
    """One candidate's verdicts."""

    candidate: Candidate
    verdicts: tuple[Verdict, ...]
    accepted: bool
    """Whether no required rule failed."""

    def verdict(self, rule: str) -> Verdict:
        """The verdict of one rule."""
        return next(verdict for verdict in self.verdicts if verdict.rule == rule)


def screen(candidates: Sequence[Candidate], rules: Sequence[Rule]) -> list[Screened]:
    """Every rule's verdict on every candidate; nobody is dropped."""
    required = {rule.name for rule in rules if rule.required}
    columns = [rule.judge(candidates) for rule in rules]
    screened = []
    for candidate, *verdicts in zip(candidates, *columns, strict=True):
        accepted = all(v.passed for v in verdicts if v.rule in required)
        screened.append(Screened(candidate, tuple(verdicts), accepted))
    return screened


def ledger(screened: Sequence[Screened], rules: Sequence[Rule]) -> list[dict[str, object]]:
    """Per rule, in order: how many came in, how many passed, and why each of the others did not;
    those that fail a required rule go no further."""
    remaining = list(screened)
    rows: list[dict[str, object]] = []
    for rule in rules:
        passed = [s for s in remaining if s.verdict(rule.name).passed]
        failed = [
            {
                "formula": conventional_formula(s.candidate.formula),
                "reason": s.verdict(rule.name).reason,
            }
            for s in remaining
            if not s.verdict(rule.name).passed
        ]
        row = {"rule": rule.name, "required": rule.required}
        rows.append({**row, "in": len(remaining), "passed": len(passed), "failed": failed})
        if rule.required:
            remaining = passed
    return rows
