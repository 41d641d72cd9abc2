"""Space-group networks in PyTorch, for training: the standard one and the paper's."""

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

from matlode.data.symmetry import N_SPACE_GROUPS
from matlode.errors import GoalError
from matlode.latent.composition_encoder import CompositionEncoder
from matlode.latent.forward import N_COARSE, Floats, Weights
from matlode.latent.layers import initialise_weights, make_activation, make_convolution
from matlode.latent.networks import N_PATTERN, ResidualNet
from matlode.latent.weights import extract_weights, restore_network
from matlode.screening.symmetry_answers import (
    N_RELATIVE,
    REFERENCE_SYMMETRY_MODEL,
    SYMMETRY_MODEL,
    StandardPredictor,
    SymmetryPredictor,
    compute_relative_patterns,
)


class SymmetryNet(nn.Module):
    """Dense residual network on a pattern and an encoded composition.

    Inputs are square-root intensities on the 2θ grid and relative to the first peak
    (``compute_relative_patterns``), and the output of a composition encoder. In training, each
    pattern is at random a strained or a reconstructed one. The composition of some rows is
    hidden, so that the network can also predict from a pattern alone.
    """

    hide_composition = 0.3
    """Probability that a composition is hidden in training."""
    jitter = 0.02
    """Square root of the scale of the noise that is added to intensities in training."""

    def __init__(self, *, width: int = 768, blocks: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.composition = CompositionEncoder()
        n_in = N_COARSE + N_RELATIVE + self.composition.n_out + 1
        self.net = ResidualNet(n_in, N_SPACE_GROUPS, width, blocks)

    def forward(self, patterns: Tensor, compositions: Tensor) -> Tensor:
        """Logits (batch, 230) for patterns (batch, 1601) and compositions (batch, 100); rows of
        zeros stand for unknown compositions."""
        known = (compositions > 0).any(1, keepdim=True).to(patterns.dtype)
        relative = torch.from_numpy(compute_relative_patterns(patterns.cpu().numpy())).to(
            patterns.device
        )
        seen = patterns[:, ::2].sqrt(), relative.sqrt()
        x = torch.cat([*seen, self.composition(compositions), known], dim=1)
        logits: Tensor = self.net(self.dropout(x))
        return logits

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Cross-entropy and accuracy of a batch (simulated patterns, reconstructed patterns,
        compositions, space-group numbers minus 1)."""
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
                make_convolution(channels, n_out, kernel, stride, (kernel - 1) // 2),
                make_activation(activation),
                nn.AvgPool2d((1, pool)),
                nn.Dropout(conv_dropout),
            ]
            length = (length + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
            length, channels = length // pool, n_out
        if length < 1:
            raise GoalError(
                f"strides = {strides} and pool = {pool} are too large: the layers leave none of "
                f"the {N_PATTERN} points; choose smaller ones."
            )
        sizes = (channels * length, *units)
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), make_activation(activation)]
            layers += [nn.Dropout(dense_dropout)]
        flat = 4 * len(filters)
        self.convolutions = nn.Sequential(*layers[:flat])
        self.dense = nn.Sequential(*layers[flat:], nn.Linear(units[-1], N_SPACE_GROUPS))
        initialise_weights(self, initializer)

    def forward(self, patterns: Tensor, compositions: Tensor) -> Tensor:
        """Logits (batch, 230) for patterns (batch, 1601); compositions are ignored."""
        logits: Tensor = self.dense(self.convolutions(patterns[:, None, None]).flatten(1))
        return logits

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Cross-entropy and accuracy for reconstructed patterns; the batch is as in
        ``SymmetryNet``."""
        _, reconstructed, composition, label = batch
        logits = self(reconstructed.float(), composition.float())
        hits = (logits.argmax(1) == label).float().mean()
        return {"loss": F.cross_entropy(logits, label), "accuracy": hits}


SYMMETRY_NETS: dict[str, Callable[..., SymmetryNet | ReferenceSymmetryNet]] = {
    SYMMETRY_MODEL: SymmetryNet,
    REFERENCE_SYMMETRY_MODEL: ReferenceSymmetryNet,
}
"""model → network."""


@dataclass(frozen=True, eq=False)
class ReferencePredictor:
    """A trained ``ReferenceSymmetryNet`` with an interface of NumPy arrays."""

    network: ReferenceSymmetryNet

    @classmethod
    def of(
        cls, arrays: Mapping[str, NDArray[np.number]], architecture: Mapping[str, Any], folder: Path
    ) -> ReferencePredictor:
        """Create the network from its weights ``arrays`` and constructor arguments.

        Raises ArtefactError, naming ``folder``, if they do not fit each other.
        """
        return cls(restore_network(partial(ReferenceSymmetryNet, **architecture), arrays, folder))

    @property
    def weights(self) -> Weights:
        """See ``symmetry_answers.SymmetryPredictor``."""
        return extract_weights(self.network)

    def __call__(self, patterns: Floats, compositions: Floats) -> Floats:
        """See ``symmetry_answers.SymmetryPredictor``."""
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(patterns), torch.from_numpy(compositions))
        answer: Floats = logits.numpy()
        return answer


def wrap_network(network: SymmetryNet | ReferenceSymmetryNet, folder: Path) -> SymmetryPredictor:
    """Wrap a trained network for predictions; errors name ``folder``."""
    if isinstance(network, ReferenceSymmetryNet):
        return ReferencePredictor(network.eval())
    return StandardPredictor.of(extract_weights(network), folder)
