"""The interface of every screen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from matlode.records import Candidate, Verdict


class Rule(ABC):
    """Looks at one candidate and says yes or no, and why."""

    name: ClassVar[str]
    """Its verdicts carry it."""
    required: ClassVar[bool]
    """Whether a candidate that fails it is rejected."""

    @abstractmethod
    def check(self, candidate: Candidate) -> Verdict:
        """The verdict; its reason is a sentence for people."""
