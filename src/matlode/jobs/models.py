"""Trained models, as one noun that functions are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.properties.endpoints import Endpoint, Estimates
from matlode.properties.expected_volume import ExpectedVolume
from matlode.properties.models import PropertyModels
from matlode.records import Candidate, Case, CrystalFacts, Prediction
from matlode.screening.formula_lists import FormulaLists
from matlode.screening.plausibility import PatternBands
from matlode.screening.symmetry import SymmetryClassifier

if TYPE_CHECKING:
    from matlode.latent.space import LatentSpace


@dataclass(frozen=True)
class Models:
    """The trained models of a folder; each is read from disk when it is first used.

    >>> Models().endpoints["bulk_modulus"].unit
    'GPa'
    """

    folder: Path | None = None
    """Folder of models; any that it lacks is taken from those that ship with matlode."""

    @cached_property
    def space(self) -> LatentSpace:
        """The standard latent space. Loading it imports PyTorch; predictions do not need it."""
        from matlode.latent.space import LatentSpace

        return LatentSpace.load(self.folder)

    @cached_property
    def properties(self) -> PropertyModels:
        """The standard property models."""
        return PropertyModels.load(partial(getattr, self, "space"), self.folder)

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """name → property that can be predicted."""
        return self.properties.endpoints

    @cached_property
    def symmetry(self) -> SymmetryClassifier:
        """The space-group classifier."""
        return SymmetryClassifier.load(self.folder)

    @cached_property
    def pattern_bands(self) -> PatternBands:
        """The distributions of pattern characteristics."""
        return PatternBands.load(self.folder)

    @cached_property
    def expected_volume(self) -> ExpectedVolume:
        """The volumes that compositions are expected to have."""
        return ExpectedVolume.load(self.folder)

    @cached_property
    def formula_lists(self) -> FormulaLists:
        """The formulas that were made or computed."""
        return FormulaLists.load(self.folder)

    def predict_candidates(
        self,
        formulas: Sequence[str],
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        *,
        case: Case,
        crystals: Sequence[CrystalFacts] | None = None,
        designed: bool = False,
    ) -> list[Candidate]:
        """Predict every property and the space group of materials.

        ``formulas`` are canonical, ``compositions`` of shape (n, 100), ``patterns`` of shape
        (n, 1601). If the materials are ``crystals``, the property models read these, too.
        ``designed``: whether a search chose them (``PropertyModels.predict``).
        """
        distances = self.properties.distances(compositions)
        described = None if crystals is None else np.array([c.descriptors for c in crystals])
        estimates = self.properties.predict(
            compositions, patterns, case=case, distances=distances, crystals=described,
            designed=designed,
        )  # fmt: skip
        groups = self.symmetry.predict(patterns, compositions)
        sets = self.symmetry.sets(groups, case=case)
        return [
            Candidate(
                formula,
                compositions[i],
                patterns[i],
                predictions,
                groups[i],
                tuple((np.flatnonzero(sets[i])[np.argsort(-groups[i, sets[i]])] + 1).tolist()),
                float(distances[i]),
                None if crystals is None else crystals[i],
            )
            for i, (formula, predictions) in enumerate(
                zip(formulas, self.list_predictions(estimates), strict=True)
            )
        ]

    def list_predictions(self, estimates: Mapping[str, Estimates]) -> list[dict[str, Prediction]]:
        """Split the estimates of n materials into n dictionaries, endpoint → prediction."""
        columns = [
            [
                Prediction(*row, self.endpoints[name].unit)
                for row in zip(e.value.tolist(), e.low.tolist(), e.high.tolist(), strict=True)
            ]
            for name, e in estimates.items()
        ]
        return [dict(zip(estimates, row, strict=True)) for row in zip(*columns, strict=True)]
