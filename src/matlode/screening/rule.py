"""Interface of the screening rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from matlode.records import Candidate, Verdict


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """A test that a candidate passes or fails, with a reason."""

    name: ClassVar[str]
    """Name of the rule in its verdicts."""
    required: bool = True
    """Whether a candidate that fails is rejected; otherwise the rule is informational."""

    @abstractmethod
    def check(self, candidate: Candidate) -> Verdict:
        """The verdict on one candidate; its reason is a sentence for the user."""

    def check_all(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate; override it where batches are faster."""
        return [self.check(candidate) for candidate in candidates]


NOT_CHECKED = "not checked"
"""Value of a verdict of a rule that needs a crystal and got a formula with a pattern alone."""


def skip_verdict(rule: str, limit: float | str) -> Verdict:
    """Return the verdict of a rule on crystals for a candidate without one; it passes."""
    return Verdict(rule, True, NOT_CHECKED, limit, "not checked: the candidate has no crystal yet")
