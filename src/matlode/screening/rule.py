"""The interface of every screen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from matlode.records import Candidate, Verdict


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """Looks at one candidate and says yes or no, and why."""

    name: ClassVar[str]
    """Its verdicts carry it."""
    required: bool = True
    """Whether a candidate that fails it is rejected; if not, the rule only marks."""

    @abstractmethod
    def check(self, candidate: Candidate) -> Verdict:
        """The verdict; its reason is a sentence for people."""

    def judge(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate; rules that are faster in batches say so here."""
        return [self.check(candidate) for candidate in candidates]
