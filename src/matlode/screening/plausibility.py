"""Does a decoded pattern look like one that a crystal gives?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import find_model, load_artefact, save_artefact
from matlode.errors import ArtefactError
from matlode.records import Candidate, Verdict
from matlode.representation.characteristics import CHARACTERISTICS, pattern_characteristics
from matlode.screening.rule import Rule

BAND_QUANTILES = (0.005, 0.995)
MAX_OUTSIDE = 1
"""A pattern may leave this many of the bands: of real ones a few per cent leave one."""
PLAUSIBILITY_MODEL = "pattern-characteristics"


@dataclass(frozen=True)
class PatternBands:
    """The range of each characteristic among real patterns."""

    names: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def fit(cls, patterns: NDArray[np.floating]) -> PatternBands:
        """Bands of real patterns (n, n_points): quantiles BAND_QUANTILES."""
        values = pattern_characteristics(patterns)
        low, high = np.quantile(values, BAND_QUANTILES, axis=0)
        return cls(tuple(CHARACTERISTICS), low, high)

    def judge(self, patterns: NDArray[np.floating]) -> list[Verdict]:
        """One verdict per pattern (n, n_points)."""
        values = pattern_characteristics(patterns)
        outside = (values < self.low) | (values > self.high)
        return [self._verdict(row, bad) for row, bad in zip(values, outside, strict=True)]

    def _verdict(self, values: NDArray[np.float64], outside: NDArray[np.bool_]) -> Verdict:
        named = [
            f"{self.names[i]} {values[i]:.3g} outside {self.low[i]:.3g}..{self.high[i]:.3g}"
            for i in np.flatnonzero(outside)
        ]
        count = len(named)
        return Verdict(
            rule="plausible_pattern",
            passed=count <= MAX_OUTSIDE,
            value=float(count),
            limit=float(MAX_OUTSIDE),
            reason=(
                f"{count} of {len(self.names)} characteristics outside the band of real patterns"
                + (f": {'; '.join(named[:3])}" if named else "")
            ),
        )

    @classmethod
    def load(cls, folder: Path | None = None) -> PatternBands:
        """The bands in ``folder`` (else those that ship with matlode)."""
        artefact = load_artefact(find_model(PLAUSIBILITY_MODEL, folder))
        arrays = artefact.require("bands").arrays
        names = tuple(artefact.header["names"])
        if names != tuple(CHARACTERISTICS):
            raise ArtefactError(
                f"the bands are those of {', '.join(names)}; this matlode computes "
                f"{', '.join(CHARACTERISTICS)}. Run `matlode train {PLAUSIBILITY_MODEL}`."
            )
        return cls(names, arrays["low"], arrays["high"])

    def save(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Write as an artefact."""
        save_artefact(
            folder / PLAUSIBILITY_MODEL,
            kind="bands",
            header={"names": list(self.names), "quantiles": list(BAND_QUANTILES), **header},
            arrays={"low": self.low, "high": self.high},
        )


@dataclass(frozen=True, kw_only=True)
class PlausiblePattern(Rule):
    """The pattern's characteristics lie where those of real patterns do (Fig. S10)."""

    bands: PatternBands
    name = "plausible_pattern"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.judge([candidate])[0]

    def judge(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """See Rule."""
        if not candidates:
            return []
        return self.bands.judge(np.stack([c.pattern for c in candidates]))
