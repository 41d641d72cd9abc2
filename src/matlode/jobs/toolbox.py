"""The loaded models and known materials that jobs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.data.formulas import element_symbols
from matlode.data.tables import Materials, load_starter, read_table
from matlode.properties.endpoints import Endpoint, Estimates
from matlode.properties.models import PropertyModels
from matlode.properties.network import VOLUME
from matlode.realisation.builder import Builder
from matlode.realisation.cell_fit import at_volume
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.realisation.structure_types import read_types
from matlode.records import Candidate, Case, Prediction
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_possible
from matlode.screening.funnel import chosen_rules, every_rule
from matlode.screening.known_patterns import KnownPatterns
from matlode.screening.novelty import FormulaFilter, KnownMaterials
from matlode.screening.plausibility import PatternBands
from matlode.screening.rule import Rule
from matlode.screening.symmetry import SymmetryClassifier

if TYPE_CHECKING:
    from matlode.latent.space import LatentSpace


@dataclass(frozen=True)
class Toolbox:
    """The loaded models and known materials that jobs share; each part is read when used."""

    models_folder: Path | None = None
    """Models of the user's own; what it lacks ships with matlode."""
    known_table: Path | None = None
    """Structure table that novelty and templates refer to (default: the starter set)."""
    screens: Mapping[str, Any] = field(default_factory=dict)
    """Limits of rules, and which are switched off or on (``chosen_rules``)."""

    @cached_property
    def space(self) -> LatentSpace:
        """The standard latent space, which loads PyTorch; much is answered without."""
        from matlode.latent.space import LatentSpace

        return LatentSpace.load(self.models_folder)

    @cached_property
    def models(self) -> PropertyModels:
        """The standard property heads."""
        return PropertyModels.load(partial(getattr, self, "space"), self.models_folder)

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """name → property that can be predicted, and so searched for."""
        return self.models.endpoints

    @cached_property
    def symmetry(self) -> SymmetryClassifier:
        """The space-group classifier."""
        return SymmetryClassifier.load(self.models_folder)

    @cached_property
    def materials(self) -> Materials:
        """The known materials."""
        return read_table(self.known_table) if self.known_table else load_starter()

    @cached_property
    def known(self) -> KnownMaterials:
        """The known materials as novelty sees them."""
        frame = self.materials.frame
        return KnownMaterials(
            tuple(frame["formula"]),
            tuple(frame["id"].astype(str)),
            tuple(frame["space_group"].astype(int)),
            composition_vectors(self.materials.crystals),
            FormulaFilter.load(self.models_folder),
            KnownPatterns(self.materials.crystals),
        )

    @cached_property
    def prototypes(self) -> PrototypeLibrary:
        """The known materials as templates."""
        return PrototypeLibrary.build(self.materials)

    @cached_property
    def builder(self) -> Builder:
        """Builds structures from the known materials."""
        return Builder(self.prototypes, read_types(self.known_table))

    @property
    def known_elements(self) -> list[str]:
        """Symbols of the elements that known materials hold."""
        present = self.known.compositions.any(axis=0)
        return [element_symbols()[z] for z in np.flatnonzero(present)]

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The screening rules that judge."""
        network = self.models.network
        applicability = None if network is None else network.applicability
        bands = PatternBands.load(self.models_folder)
        rules = every_rule(self.known, bands, partial(getattr, self, "space"), applicability)
        return chosen_rules(rules, self.screens)

    def candidates(
        self,
        formulas: Sequence[str],
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        *,
        case: Case,
    ) -> list[Candidate]:
        """Predict everything for objects given by canonical formula, composition (n, 100)
        and pattern (n, 1601); ``case`` says where the patterns come from."""
        distances = self.models.distances(compositions)
        estimates = self.models.predict(compositions, patterns, case=case, distances=distances)
        groups = self.symmetry.predict(patterns, compositions)
        sets = self.symmetry.sets(groups, case=case)
        return [
            Candidate(
                formula,
                compositions[i],
                patterns[i],
                given,
                groups[i],
                tuple((np.flatnonzero(sets[i])[np.argsort(-groups[i, sets[i]])] + 1).tolist()),
                float(distances[i]),
            )
            for i, (formula, given) in enumerate(
                zip(formulas, self.predictions(estimates), strict=True)
            )
        ]

    def at_expected_volume(
        self, crystals: Crystals
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float32]]:
        """Crystals scaled to the volume that the models expect: the rows (m,) of those that have a
        pattern, their compositions (m, 100) and patterns (m, 1601)."""
        rows = np.arange(len(crystals))
        for _ in range(2):  # the expectation takes the pattern, which takes the volume
            possible, patterns, _ = simulate_possible(crystals)
            rows, crystals = rows[possible], crystals.take(possible)
            compositions = composition_vectors(crystals)
            volumes = self.models.predict(compositions, patterns, case="simulated", names=(VOLUME,))
            crystals = at_volume(crystals, volumes[VOLUME].value)
        possible, patterns, _ = simulate_possible(crystals)
        return rows[possible], compositions[possible], patterns

    def predictions(self, estimates: Mapping[str, Estimates]) -> list[dict[str, Prediction]]:
        """Each material's predictions out of a batch's estimates."""
        columns = [
            [
                Prediction(*of_one, self.models.endpoints[name].unit)
                for of_one in zip(e.value.tolist(), e.low.tolist(), e.high.tolist(), strict=True)
            ]
            for name, e in estimates.items()
        ]
        return [dict(zip(estimates, row, strict=True)) for row in zip(*columns, strict=True)]
