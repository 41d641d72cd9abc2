"""All heads of one face together: what a material is predicted to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import HEADER_FILE, shipped_models
from matlode.errors import ArtefactError
from matlode.latent.space import LatentSpace
from matlode.properties.endpoints import ENDPOINTS
from matlode.properties.features import FEATURES, LatentFeatures, ObjectFeatures
from matlode.properties.heads import Estimates, Head, predict_trees

VOLUME = "volume_per_atom"
"""Estimated first: the other standard heads are given it as a feature. What a pattern says
about the moduli is above all how dense the atoms sit."""


@dataclass(frozen=True)
class PropertyModels:
    """Heads by endpoint name, sharing one set of features."""

    features: ObjectFeatures | LatentFeatures
    heads: Mapping[str, Head]

    @classmethod
    def load(
        cls, space: LatentSpace, folder: Path | None = None, *, face: str = "standard"
    ) -> PropertyModels:
        """Every head of ``face`` in ``folder`` (default: those that ship with matlode)."""
        root = folder or shipped_models()
        heads = {
            name: Head.load(head_folder(root, name, face))
            for name in ENDPOINTS
            if (head_folder(root, name, face) / HEADER_FILE).exists()
        }
        if not heads:
            raise ArtefactError(f"no {face} property models in {root}; run `matlode train`.")
        return cls(FEATURES[face](space), heads)

    def predict(
        self,
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        *,
        case: str,
        names: Iterable[str] | None = None,
    ) -> dict[str, Estimates]:
        """Estimates per endpoint for compositions (n, 100) and patterns (n, 1601).

        ``case`` says where the patterns come from (``heads.CASES``); ``names`` picks
        endpoints (default: all).
        """
        base = self.features.compute(compositions, patterns)
        wanted = list(self.heads) if names is None else list(names)
        return {name: self.estimate(name, base, case=case) for name in wanted}

    def estimate(self, name: str, base: NDArray[np.floating], *, case: str) -> Estimates:
        """Estimates of one endpoint from feature rows of ``self.features``."""
        return self.heads[name].predict(self.inputs(name, base), case=case)

    def inputs(self, name: str, base: NDArray[np.floating]) -> NDArray[np.floating]:
        """What a head is given: the features and, for the standard face, the volume."""
        if name == VOLUME or isinstance(self.features, LatentFeatures):
            return base
        volume = self.heads[VOLUME].value_model
        return np.column_stack([base, predict_trees(volume, base)])


def head_folder(root: Path, endpoint: str, face: str) -> Path:
    """Where a head lies below a folder of models."""
    return root / f"{face}-{endpoint.replace('_', '-')}"
