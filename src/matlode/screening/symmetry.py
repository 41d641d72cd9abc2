"""Prediction of space group and crystal system from a powder pattern and a composition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import convert_read_errors, find_model, load_artefact, save_artefact
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.symmetry import CRYSTAL_SYSTEMS
from matlode.latent.forward import halve_precision, map_blocks
from matlode.properties.intervals import compute_conformal_quantile
from matlode.records import Candidate, Case, Verdict
from matlode.screening.extinction import find_indistinguishable
from matlode.screening.rule import Rule
from matlode.screening.symmetry_answers import (
    REFERENCE_SYMMETRY_MODEL,
    SYMMETRY_MODEL,
    StandardPredictor,
    SymmetryPredictor,
)


def compute_system_probabilities(space_groups: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities (n, 7) of the crystal systems: sums of those of their space groups (n, 230)."""
    return np.stack(
        [space_groups[:, a - 1 : b].sum(axis=1) for a, b in CRYSTAL_SYSTEMS.values()], axis=1
    )


@dataclass(frozen=True)
class SymmetryClassifier:
    """Predicts probabilities of the 230 space groups."""

    network: SymmetryPredictor
    temperature: float
    """Divisor of the logits, fitted to held-out rows."""
    levels: Mapping[str, float]
    """case → smallest probability of a space group in the sets that contain the true one in 90 % of
    cases."""

    def predict(
        self,
        patterns: NDArray[np.floating],
        compositions: NDArray[np.floating] | None = None,
    ) -> NDArray[np.float64]:
        """Probabilities (n, 230) for patterns (n, 1601) and, if known, compositions (n, 100)."""
        logits = compute_logits(self.network, patterns, compositions)
        scaled = logits / self.temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        odds = np.exp(scaled)
        return odds / odds.sum(axis=1, keepdims=True)

    def sets(self, probabilities: NDArray[np.floating], *, case: Case) -> NDArray[np.bool_]:
        """Masks (n, 230) of the smallest sets that contain the true space group in 90 % of cases.

        Least ambiguous sets (Sadinle et al., J. Am. Stat. Assoc. 114, 223, 2019) from
        probabilities (n, 230); the likeliest space group is always included. ``case`` is the
        origin of the patterns.
        """
        likeliest = probabilities == probabilities.max(axis=1, keepdims=True)
        return likeliest | (probabilities >= self.levels[case])

    @classmethod
    def load(cls, folder: Path | None = None, *, name: str = SYMMETRY_MODEL) -> SymmetryClassifier:
        """Load the classifier ``name`` in ``folder``, or the one that ships with matlode.

        Raises ArtefactError if it does not fit the code.
        """
        place = find_model(name, folder)
        artefact = load_artefact(place).require("symmetry")
        with convert_read_errors(place):
            header = artefact.header
            network: SymmetryPredictor
            if name == SYMMETRY_MODEL:
                network = StandardPredictor.of(artefact.arrays, place)
            elif name != REFERENCE_SYMMETRY_MODEL:
                raise ValueError(f"unknown space-group classifier {name}")
            else:
                from matlode.screening.symmetry_nets import ReferencePredictor  # loads PyTorch

                network = ReferencePredictor.of(
                    artefact.arrays, header.get("architecture", {}), place
                )
            levels = {str(case): float(level) for case, level in header["levels"].items()}
            temperature = float(header["temperature"])
            if not 0 < temperature < np.inf:
                raise ValueError(f"temperature is {temperature}, expected a positive number")
            return cls(network, temperature, levels)

    def save(
        self, folder: Path, header: Mapping[str, object], *, name: str = SYMMETRY_MODEL
    ) -> None:
        """Write the artefact to a folder in ``folder``; weights are stored in half precision.

        ``header["architecture"]`` must hold constructor arguments of a reference network that
        differ from its defaults.
        """
        save_artefact(
            folder / name,
            kind="symmetry",
            header={"temperature": self.temperature, "levels": dict(self.levels), **header},
            arrays=halve_precision(self.network.weights),
        )


def compute_logits(
    network: SymmetryPredictor,
    patterns: NDArray[np.floating],
    compositions: NDArray[np.floating] | None,
) -> NDArray[np.float64]:
    """Logits (n, 230) for patterns (n, 1601) and, if known, compositions (n, 100)."""
    if compositions is None:
        compositions = np.zeros((len(patterns), MAX_ATOMIC_NUMBER))

    def answer(*given: NDArray[np.floating]) -> NDArray[np.float64]:
        return network(*(np.ascontiguousarray(part, np.float32) for part in given)).astype(float)

    return np.concatenate(map_blocks(answer, patterns, compositions))


def fit_set_level(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The level of ``SymmetryClassifier.sets`` from held-out rows: probabilities (n, 230) and
    labels (n,), 0..229."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return 1.0 - min(compute_conformal_quantile(1.0 - of_truth), 1.0)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Fit the temperature that minimises the log loss (Guo et al., ICML 2017) of logits (n, 230);
    labels (n,) are 0..229."""
    from scipy.optimize import minimize_scalar

    def log_loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        log_norm = np.log(np.exp(scaled).sum(axis=1))
        return float((log_norm - scaled[np.arange(len(labels)), labels]).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(-2, 2), method="bounded").x))


@dataclass(frozen=True, kw_only=True)
class ClearSymmetry(Rule):
    """Passes if one crystal system has at least the probability ``min_probability``."""

    min_probability: float = 0.4
    name = "clear_symmetry"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.check_all([candidate])[0]

    def check_all(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """See Rule."""
        if not candidates:
            return []
        chances = compute_system_probabilities(np.stack([c.space_groups for c in candidates]))
        systems = np.array(list(CRYSTAL_SYSTEMS))[chances.argmax(axis=1)].tolist()
        return [
            Verdict(
                rule=self.name,
                passed=chance >= self.min_probability,
                value=chance,
                limit=self.min_probability,
                reason=f"{system} with probability {chance:.2f}; {_in_words(candidate)}",
            )
            for candidate, system, chance in zip(
                candidates, systems, chances.max(axis=1).tolist(), strict=True
            )
        ]


MAX_NAMED = 6
"""Larger sets of space groups are not listed in a reason."""


def _in_words(candidate: Candidate) -> str:
    likeliest = int(candidate.space_groups.argmax()) + 1
    chance = candidate.space_groups[likeliest - 1]
    words = f"likeliest space group {likeliest} with {chance:.2f}"
    members = candidate.space_group_set
    if len(members) > MAX_NAMED:
        words += f"; the true one is among {len(members)} with 90 % coverage"
    elif len(members) > 1:
        words += f"; one of {', '.join(map(str, members))} with 90 % coverage"
    alike = set(find_indistinguishable(likeliest)) & set(members)
    if alike:
        others = ", ".join(map(str, sorted(alike)))
        words += f"; diffraction conditions cannot tell {likeliest} from {others}"
    return words
