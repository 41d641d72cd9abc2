"""The volume that a crystal made from a template is expected to have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.properties.expected_volume import ExpectedVolume
from matlode.representation.composition import composition_vectors


@dataclass(frozen=True)
class TemplateVolumes:
    """Volumes of substituted crystals, without simulating a pattern.

    A model of the composition alone knows the elements, the template knows the packing. The
    result is the geometric mean of the model's volume f(new) and of the template's volume scaled
    by f(new) / f(old).
    """

    model: ExpectedVolume
    packing: NDArray[np.float64]
    """(n_templates,), square root of each template's volume over that of the model."""

    @classmethod
    def fit(cls, model: ExpectedVolume, templates: Crystals) -> TemplateVolumes:
        """Compare the templates with the model."""
        expected = model.predict(composition_vectors(templates)).value
        return cls(model, np.sqrt(templates.volumes_per_atom_a3 / expected))

    def predict(
        self, compositions: NDArray[np.floating], templates: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Volumes per atom (n,) in Å³ of crystals with ``compositions`` (n, 100) made from
        ``templates`` (n,)."""
        return np.asarray(self.model.predict(compositions).value * self.packing[templates])
