"""Space group and crystal system of a powder pattern and a composition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import find_model, load_artefact, save_artefact, understood
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.errors import InputError
from matlode.latent.forward import (
    N_COARSE,
    Floats,
    Weights,
    as_part,
    composition_shapes,
    fitting,
    halved,
    in_blocks,
    n_read,
    part,
    read_compositions,
    residual_net,
    residual_shapes,
)
from matlode.properties.intervals import conformal_quantile
from matlode.records import Candidate, Verdict
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.screening.extinction import cannot_be_told_from
from matlode.screening.rule import Rule

N_SPACE_GROUPS = 230

CRYSTAL_SYSTEMS = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "trigonal": (143, 167),
    "hexagonal": (168, 194),
    "cubic": (195, 230),
}
"""name → first and last space-group number (International Tables A)."""

SYMMETRY_MODEL = "standard-space-group"
REFERENCE_SYMMETRY_MODEL = "reference-space-group"


def crystal_system(space_group: int) -> str:
    """The crystal system of a space-group number.

    >>> crystal_system(225)
    'cubic'
    """
    for name, (first, last) in CRYSTAL_SYSTEMS.items():
        if first <= space_group <= last:
            return name
    raise InputError(
        f"space group {space_group} does not exist; numbers run from 1 to {N_SPACE_GROUPS}."
    )


def system_probabilities(space_groups: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 7), the sum of the space groups' probabilities (n, 230), as in the paper."""
    return np.stack(
        [space_groups[:, a - 1 : b].sum(axis=1) for a, b in CRYSTAL_SYSTEMS.values()], axis=1
    )


N_RELATIVE = 560
RELATIVE_RANGE = (0.97, 6.0)
"""Q over that of the first peak, as far as it is looked at."""
FIRST_PEAK = 0.02
"""The first peak is the first maximum above this part of the strongest point."""


def relative_patterns(patterns: Floats) -> Floats:
    """(n, N_RELATIVE) of patterns (n, 1601): intensities at multiples of the first peak's Q, even
    in their logarithm; 0 beyond the grid.

    Crystals with lattices of one shape look alike there, whatever their size.
    """
    middle = patterns[:, 1:-1]
    is_peak = (middle > patterns[:, :-2]) & (middle >= patterns[:, 2:]) & (middle > FIRST_PEAK)
    first = is_peak.argmax(axis=1)[:, None] + 1
    before, here, after = (np.take_along_axis(patterns, first + by, 1) for by in (-1, 0, 1))
    # the top of a parabola through three points
    shift = 0.5 * (before - after) / np.minimum(before - 2 * here + after, -1e-6)
    low, step = STANDARD_SETTINGS.two_theta_min_deg, STANDARD_SETTINGS.step
    sine = np.sin(np.deg2rad(low + step * (first + shift.clip(-1, 1))) / 2).astype(np.float32)
    nearest, farthest = RELATIVE_RANGE
    multiples = np.geomspace(nearest, farthest, N_RELATIVE, dtype=np.float32)
    angle = 2 * np.rad2deg(np.arcsin(np.minimum(sine * multiples, 1)))
    place = (angle - np.float32(low)) / np.float32(step)
    last = patterns.shape[1] - 1
    whole = np.floor(place.clip(0, last - 1))
    left, part = whole.astype(np.intp), place - whole
    values = [np.take_along_axis(patterns, left + by, 1) for by in (0, 1)]
    between = values[0] * (1 - part) + values[1] * part
    return np.where((place >= 0) & (place <= last), between, np.float32(0)).clip(min=0)


class Answering(Protocol):
    """A trained network of space groups at work."""

    @property
    def weights(self) -> Weights:
        """What it learned, by name."""

    def __call__(self, patterns: Floats, compositions: Floats) -> Floats:
        """Logits (n, 230) of patterns (n, 1601) and compositions (n, 100), zeros of those
        unknown."""


@dataclass(frozen=True, eq=False)
class StandardAnswers:
    """A trained ``symmetry_nets.SymmetryNet`` at work."""

    weights: Weights

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], folder: Path) -> StandardAnswers:
        """The network that learned these ``arrays``; raises ArtefactError, naming ``folder``, for
        those of another."""
        composition, net = part(arrays, "composition"), part(arrays, "net")
        n_in = N_COARSE + N_RELATIVE + n_read(composition) + 1
        shapes = {
            **as_part("composition", composition_shapes(composition)),
            **as_part("net", residual_shapes(net, n_in, N_SPACE_GROUPS)),
        }
        return cls(fitting(arrays, shapes, folder))

    def __call__(self, patterns: Floats, compositions: Floats) -> Floats:
        """See Answering."""
        read = read_compositions(part(self.weights, "composition"), compositions)
        known = (compositions > 0).any(axis=1, keepdims=True)
        seen = np.sqrt(patterns[:, ::2]), np.sqrt(relative_patterns(patterns))
        x = np.concatenate([*seen, read, known], axis=1, dtype=np.float32)
        return residual_net(part(self.weights, "net"), x)


@dataclass(frozen=True)
class SymmetryClassifier:
    """Probabilities of the 230 space groups."""

    network: Answering
    temperature: float
    """Logits are divided by it; fitted on rows that the network never saw."""
    levels: Mapping[str, float]
    """case → probability from which on a space group belongs to the set that holds the true
    one in 90 % of cases."""

    def predict(
        self,
        patterns: NDArray[np.floating],
        compositions: NDArray[np.floating] | None = None,
    ) -> NDArray[np.float64]:
        """(n, 230) from patterns (n, 1601) and, where known, compositions (n, 100)."""
        logits = network_logits(self.network, patterns, compositions)
        scaled = logits / self.temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        odds = np.exp(scaled)
        return odds / odds.sum(axis=1, keepdims=True)

    def sets(self, probabilities: NDArray[np.floating], *, case: str) -> NDArray[np.bool_]:
        """(n, 230), the smallest sets that hold the true space group in 90 % of cases.

        Least ambiguous sets (Sadinle et al., J. Am. Stat. Assoc. 114, 223, 2019) of
        probabilities (n, 230); the likeliest is always one of them. ``case``: where the
        patterns come from (``properties.heads.CASES``).
        """
        likeliest = probabilities == probabilities.max(axis=1, keepdims=True)
        return likeliest | (probabilities >= self.levels[case])

    @classmethod
    def load(cls, folder: Path | None = None, *, name: str = SYMMETRY_MODEL) -> SymmetryClassifier:
        """The classifier ``name`` in ``folder`` (else the one that ships).

        Raises ArtefactError if it does not fit the code.
        """
        place = find_model(name, folder)
        artefact = load_artefact(place).require("symmetry")
        with understood(place):
            header = artefact.header
            network: Answering
            if name == SYMMETRY_MODEL:
                network = StandardAnswers.of(artefact.arrays, place)
            elif name != REFERENCE_SYMMETRY_MODEL:
                raise ValueError(f"{name} is none of ours")
            else:
                from matlode.screening.symmetry_nets import ReferenceAnswers  # loads PyTorch

                network = ReferenceAnswers.of(
                    artefact.arrays, header.get("architecture", {}), place
                )
            levels = {str(case): float(level) for case, level in header["levels"].items()}
            temperature = float(header["temperature"])
            if not 0 < temperature < np.inf:
                raise ValueError(f"temperature {temperature}")
            return cls(network, temperature, levels)

    def save(self, folder: Path, header: Mapping[str, Any], *, name: str = SYMMETRY_MODEL) -> None:
        """Write as an artefact; weights are kept in half precision. Sizes other than the usual
        ones stand in the header as "architecture"."""
        save_artefact(
            folder / name,
            kind="symmetry",
            header={"temperature": self.temperature, "levels": dict(self.levels), **header},
            arrays=halved(self.network.weights),
        )


def network_logits(
    network: Answering,
    patterns: NDArray[np.floating],
    compositions: NDArray[np.floating] | None,
) -> NDArray[np.float64]:
    """Raw outputs (n, 230) of the network."""
    if compositions is None:
        compositions = np.zeros((len(patterns), MAX_ATOMIC_NUMBER))

    def answer(*given: NDArray[np.floating]) -> NDArray[np.float64]:
        return network(*(np.ascontiguousarray(part, np.float32) for part in given)).astype(float)

    return np.concatenate(in_blocks(answer, patterns, compositions))


def set_level(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The level of ``SymmetryClassifier.sets`` from rows that the network never saw; labels
    are 0..229."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return 1.0 - min(conformal_quantile(1.0 - of_truth), 1.0)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature of least log loss (Guo et al., ICML 2017); labels are 0..229."""
    from scipy.optimize import minimize_scalar

    def log_loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        log_norm = np.log(np.exp(scaled).sum(axis=1))
        return float((log_norm - scaled[np.arange(len(labels)), labels]).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=(-2, 2), method="bounded").x))


@dataclass(frozen=True, kw_only=True)
class ClearSymmetry(Rule):
    """The pattern says to which crystal system it belongs."""

    min_probability: float = 0.4
    name = "clear_symmetry"

    def check(self, candidate: Candidate) -> Verdict:
        """See Rule."""
        return self.judge([candidate])[0]

    def judge(self, candidates: Sequence[Candidate]) -> list[Verdict]:
        """See Rule."""
        if not candidates:
            return []
        chances = system_probabilities(np.stack([c.space_groups for c in candidates]))
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


def _in_words(candidate: Candidate) -> str:
    likeliest = candidate.space_group
    chance = candidate.space_groups[likeliest - 1]
    words = f"likeliest space group {likeliest} with {chance:.2f}"
    members = candidate.space_group_set
    if len(members) > MAX_NAMED:
        words += f"; the true one is among {len(members)} with 90 % coverage"
    elif len(members) > 1:
        words += f"; one of {', '.join(map(str, members))} with 90 % coverage"
    alike = set(cannot_be_told_from(likeliest)) & set(members)
    if alike:
        others = ", ".join(map(str, sorted(alike)))
        words += f"; diffraction conditions cannot tell {likeliest} from {others}"
    return words
