"""One row of a table of scores, whatever was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matlode.records import Face


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """Scores of one model for one quantity, on one split."""

    endpoint: str
    """Property, or "space_group", "structure", "pattern"."""
    unit: str = ""
    model: str
    """Label of the model, with its input: "standard, simulated pattern"."""
    rows: int | None
    """Test rows; None where they are not stored."""
    split: str
    face: Face | None = None
    """Face of the model; None for baselines and where rows do not tell them apart."""
    given: str = ""
    """Input of the model, where rows of one face differ in it."""
    scores: Mapping[str, float]
    """Name of a score → value, in ``unit`` where it has one."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What distinguishes the row in a table: endpoint, split and model."""
        return self.endpoint, self.split, self.model

    def to_json(self) -> dict[str, object]:
        """The JSON object that `matlode evaluate --json` prints."""
        return {
            "endpoint": self.endpoint,
            "unit": self.unit,
            "model": self.model,
            "rows": self.rows,
            "split": self.split,
            "scores": dict(self.scores),
        }
