"""The materials of a table in one face's latent space, computed when first used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import find_model, has_models
from matlode.data.batches import split_range
from matlode.latent.networks import COMPOSITION_LATENT
from matlode.latent.space import LatentSpace, load_view
from matlode.properties.expected_volume import ExpectedVolume
from matlode.properties.features import FEATURES
from matlode.properties.models import PropertyModels
from matlode.properties.network import NETWORK_MODEL, Materials, PropertyNetwork
from matlode.records import Basis, Case, Face
from matlode.representation.composition import find_integer_amounts
from matlode.training.table import TrainingTable

MAX_FORMULA_ATOMS = 40
"""Decoded compositions of known materials may need this many atoms per formula."""
DECODED_AT_ONCE = 4096


@dataclass(frozen=True)
class FeatureRows:
    """What property heads learn from: features (n, n_columns) of all materials."""

    by_case: Mapping[Case, NDArray[np.floating]]
    augmented: NDArray[np.floating]
    """Of the true compositions with the decoded patterns: standard heads train on these, too."""


@dataclass(frozen=True, eq=False)
class EncodedTable:
    """The materials of a table in the latent space of one face.

    Every property is computed once and kept: several models are trained on the same arrays. Use
    it after the autoencoders in ``folder`` have been trained.
    """

    table: TrainingTable
    folder: Path
    """Folder of models; the shipped ones replace those that it lacks."""
    face: Face

    @property
    def models(self) -> Path | None:
        """``folder``, or None (the shipped models) while it holds no model."""
        return self.folder if has_models(self.folder) else None

    @cached_property
    def space(self) -> LatentSpace:
        """The latent space itself."""
        return LatentSpace.load(self.models, face=self.face)

    @cached_property
    def points(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Latent variables of all materials: of compositions (n, 24) and of patterns (n, 64)."""
        composition, pattern = (
            load_view(find_model(f"{self.face}-{view}-vae", self.models))
            for view in ("composition", "pattern")
        )
        # without the pairing, which is trained on these points
        space = LatentSpace(composition, pattern, self.face)
        points = space.encode(self.table.compositions, self.table.patterns)
        return points[:, :COMPOSITION_LATENT], points[:, COMPOSITION_LATENT:]

    @cached_property
    def decoded_patterns(self) -> NDArray[np.float16]:
        """(n, 1601), the patterns that the latent points decode to."""
        points = self.points[1]
        parts = [
            self.space.pattern.decode(points[part]).astype(np.float16)
            for part in split_range(len(points), DECODED_AT_ONCE)
        ]
        return np.concatenate(parts)

    @cached_property
    def patterns_by_case(self) -> Mapping[Case, NDArray[np.float16]]:
        """Patterns (n, 1601) of all materials."""
        return {
            "simulated": self.table.patterns.astype(np.float16),
            "decoded": self.decoded_patterns,
        }

    def select_inputs(self, rows: NDArray[np.bool_]) -> dict[Basis, Materials]:
        """Inputs of the property network for some rows (n,), a mask."""
        compositions, patterns = self.table.compositions[rows], self.table.patterns[rows]
        images = self.decoded_patterns[rows].astype(np.float32)
        return {
            "crystal": (compositions, patterns, self.table.crystal_descriptors[rows]),
            "simulated": (compositions, patterns, None),
            "decoded": (decode_compositions(self.space, compositions), images, None),
        }

    @cached_property
    def features(self) -> FeatureRows:
        """Features of all materials for the property heads of this face."""
        network = None
        if self.face == "standard":
            place = find_model(NETWORK_MODEL, self.models)
            network = PropertyNetwork.load(place, ExpectedVolume.load(self.models))
        compute = PropertyModels(FEATURES[self.face](lambda: self.space), {}, network).inputs
        compositions, patterns = self.table.compositions, self.table.patterns
        images = self.decoded_patterns.astype(np.float32)
        return FeatureRows(
            {
                "simulated": compute(compositions, patterns),
                "decoded": compute(decode_compositions(self.space, compositions), images),
            },
            augmented=compute(compositions, images),
        )


def decode_compositions(
    space: LatentSpace, compositions: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Integer formulas (n, 100), as fractions, that encoded compositions (n, 100) decode to."""
    images = space.composition.decode(space.composition.encode(compositions))
    amounts = find_integer_amounts(images, max_atoms=MAX_FORMULA_ATOMS)
    return amounts / amounts.sum(axis=1, keepdims=True)
