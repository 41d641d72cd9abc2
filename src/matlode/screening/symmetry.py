"""Space group and crystal system of a powder pattern and a composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.artefacts import find_model, load_artefact, save_artefact, understood
from matlode.errors import GoalError, InputError
from matlode.latent.composition_encoder import CompositionEncoder
from matlode.latent.layers import activation_layer, convolution, initialise
from matlode.latent.networks import N_COMPOSITION, N_PATTERN, ResidualNet
from matlode.latent.weights import kept_weights, network_of
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


def relative_patterns(patterns: Tensor) -> Tensor:
    """(batch, N_RELATIVE) of patterns (batch, 1601): intensities at multiples of the first
    peak's Q, even in their logarithm; 0 beyond the grid.

    Crystals with lattices of one shape look alike there, whatever their size.
    """
    middle = patterns[:, 1:-1]
    is_peak = (middle > patterns[:, :-2]) & (middle >= patterns[:, 2:]) & (middle > FIRST_PEAK)
    first = is_peak.float().argmax(1, keepdim=True) + 1
    before, here, after = (patterns.gather(1, first + by) for by in (-1, 0, 1))
    # the top of a parabola through three points
    shift = 0.5 * (before - after) / (before - 2 * here + after).clamp(max=-1e-6)
    low, step = STANDARD_SETTINGS.two_theta_min_deg, STANDARD_SETTINGS.step
    sine = torch.sin(torch.deg2rad(low + step * (first + shift.clamp(-1, 1))) / 2)
    nearest, farthest = RELATIVE_RANGE
    even = torch.linspace(0, 1, N_RELATIVE, device=patterns.device)
    multiples = nearest * (farthest / nearest) ** even
    angle = 2 * torch.rad2deg(torch.asin((sine * multiples).clamp(max=1)))
    place = (angle - low) / step
    inside = (place >= 0) & (place <= N_PATTERN - 1)
    left = place.clamp(0, N_PATTERN - 1.001).floor().long()
    part = place - left
    value = patterns.gather(1, left) * (1 - part) + patterns.gather(1, left + 1) * part
    return torch.where(inside, value, 0.0).clamp(min=0)


class SymmetryNet(nn.Module):
    """Residual dense net on square-root intensities, as they are and relative to the first peak,
    beside a composition encoder.

    It is trained on strained patterns and on those that come back from the latent space, a
    coin thrown for each; for a part of the rows the composition is hidden, so that it also
    answers for a pattern alone.
    """

    hide_composition = 0.3
    jitter = 0.02

    def __init__(self, *, width: int = 768, blocks: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.composition = CompositionEncoder()
        n_in = (N_PATTERN + 1) // 2 + N_RELATIVE + self.composition.n_out + 1
        self.net = ResidualNet(n_in, N_SPACE_GROUPS, width, blocks)

    def forward(self, patterns: Tensor, compositions: Tensor) -> Tensor:
        """Logits (batch, 230); a composition row of zeros stands for "unknown"."""
        known = (compositions > 0).any(1, keepdim=True).to(patterns.dtype)
        seen = patterns[:, ::2].sqrt(), relative_patterns(patterns).sqrt()
        x = torch.cat([*seen, self.composition(compositions), known], dim=1)
        logits: Tensor = self.net(self.dropout(x))
        return logits

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Cross-entropy; batch is (simulated, reconstructed, composition, label - 1)."""
        simulated, reconstructed, composition, label = batch
        composition = composition.float()
        if self.training:
            coin = torch.rand(len(label), 1, device=label.device)
            pattern = torch.where(coin < 0.5, simulated, reconstructed).float()
            pattern = (pattern + self.jitter**2 * torch.randn_like(pattern).abs()).clamp(min=0)
            keep = torch.rand_like(coin) >= self.hide_composition
            composition = composition * keep
        else:
            pattern = reconstructed.float()
        logits = self(pattern, composition)
        smoothing = 0.05 if self.training else 0.0
        loss = F.cross_entropy(logits, label, label_smoothing=smoothing)
        hits = (logits.argmax(1) == label).float().mean()
        return {"loss": loss, "accuracy": hits}


class ReferenceSymmetryNet(nn.Module):
    """The paper's convolutional classifier of patterns alone (Table S1, after Park et al.,
    IUCrJ 4, 486, 2017): three convolutions with average pooling, two dense layers."""

    def __init__(
        self,
        *,
        filters: Sequence[int] = (104, 51, 117),
        kernels: Sequence[int] = (34, 37, 13),
        strides: Sequence[int] = (2, 1, 2),
        pool: int = 3,
        units: Sequence[int] = (2047, 943),
        conv_dropout: float = 0.498,
        dense_dropout: float = 0.675,
        activation: str = "relu",
        initializer: str = "lecun_normal",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        length, channels = N_PATTERN, 1
        for n_out, kernel, stride in zip(filters, kernels, strides, strict=True):
            layers += [
                convolution(channels, n_out, kernel, stride, (kernel - 1) // 2),
                activation_layer(activation),
                nn.AvgPool2d((1, pool)),
                nn.Dropout(conv_dropout),
            ]
            length = (length + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
            length, channels = length // pool, n_out
        if length < 1:
            raise GoalError(f"strides {strides} and pools of {pool} leave nothing of a pattern.")
        sizes = (channels * length, *units)
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), activation_layer(activation)]
            layers += [nn.Dropout(dense_dropout)]
        flat = 4 * len(filters)
        self.convolutions = nn.Sequential(*layers[:flat])
        self.dense = nn.Sequential(*layers[flat:], nn.Linear(units[-1], N_SPACE_GROUPS))
        initialise(self, initializer)

    def forward(self, patterns: Tensor, compositions: Tensor) -> Tensor:
        """Logits (batch, 230); the composition is not looked at."""
        logits: Tensor = self.dense(self.convolutions(patterns[:, None, None]).flatten(1))
        return logits

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Cross-entropy of patterns that came back from the latent space; see SymmetryNet."""
        _, reconstructed, composition, label = batch
        logits = self(reconstructed.float(), composition.float())
        hits = (logits.argmax(1) == label).float().mean()
        return {"loss": F.cross_entropy(logits, label), "accuracy": hits}


SYMMETRY_NETS: dict[str, Callable[..., SymmetryNet | ReferenceSymmetryNet]] = {
    SYMMETRY_MODEL: SymmetryNet,
    REFERENCE_SYMMETRY_MODEL: ReferenceSymmetryNet,
}
"""model → network."""


@dataclass(frozen=True)
class SymmetryClassifier:
    """Probabilities of the 230 space groups."""

    network: SymmetryNet | ReferenceSymmetryNet
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
        """The classifier ``name`` of SYMMETRY_NETS in ``folder`` (else the one that ships).

        Raises ArtefactError if it does not fit the code.
        """
        place = find_model(name, folder)
        artefact = load_artefact(place).require("symmetry")
        with understood(place):
            header = artefact.header
            make = partial(SYMMETRY_NETS[name], **header.get("architecture", {}))
            network: Any = network_of(make, artefact.arrays, place)
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
            arrays=kept_weights(self.network),
        )


def network_logits(
    network: nn.Module,
    patterns: NDArray[np.floating],
    compositions: NDArray[np.floating] | None,
) -> NDArray[np.float64]:
    """Raw outputs (n, 230) of the network."""
    if compositions is None:
        compositions = np.zeros((len(patterns), N_COMPOSITION))
    parts = [np.zeros((0, N_SPACE_GROUPS))]
    with torch.inference_mode():
        for at in range(0, len(patterns), 2048):
            rows = slice(at, at + 2048)
            x = torch.tensor(np.asarray(patterns[rows], np.float32))
            c = torch.tensor(np.asarray(compositions[rows], np.float32))
            parts.append(network(x, c).numpy().astype(float))
    return np.concatenate(parts)


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
