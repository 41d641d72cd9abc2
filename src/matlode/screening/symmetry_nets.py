"""What learns space groups (PyTorch): our network, and the paper's; ``symmetry`` asks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.data.symmetry import N_SPACE_GROUPS
from matlode.errors import GoalError
from matlode.latent.composition_encoder import CompositionEncoder
from matlode.latent.forward import N_COARSE, Floats, Weights
from matlode.latent.layers import activation_layer, convolution, initialise
from matlode.latent.networks import N_PATTERN, ResidualNet
from matlode.latent.weights import learned_weights, network_of
from matlode.screening.symmetry_answers import (
    N_RELATIVE,
    REFERENCE_SYMMETRY_MODEL,
    SYMMETRY_MODEL,
    Answering,
    StandardAnswers,
    relative_patterns,
)


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
        n_in = N_COARSE + N_RELATIVE + self.composition.n_out + 1
        self.net = ResidualNet(n_in, N_SPACE_GROUPS, width, blocks)

    def forward(self, patterns: Tensor, compositions: Tensor) -> Tensor:
        """Logits (batch, 230); a composition row of zeros stands for "unknown"."""
        known = (compositions > 0).any(1, keepdim=True).to(patterns.dtype)
        relative = torch.from_numpy(relative_patterns(patterns.cpu().numpy())).to(patterns.device)
        seen = patterns[:, ::2].sqrt(), relative.sqrt()
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


@dataclass(frozen=True, eq=False)
class ReferenceAnswers:
    """A trained ``ReferenceSymmetryNet`` at work."""

    network: ReferenceSymmetryNet

    @classmethod
    def of(
        cls, arrays: Mapping[str, NDArray[Any]], architecture: Mapping[str, Any], folder: Path
    ) -> ReferenceAnswers:
        """The network of these sizes that learned these ``arrays``; raises ArtefactError, naming
        ``folder``, for those of another."""
        return cls(network_of(partial(ReferenceSymmetryNet, **architecture), arrays, folder))

    @property
    def weights(self) -> Weights:
        """See ``symmetry_answers.Answering``."""
        return learned_weights(self.network)

    def __call__(self, patterns: Floats, compositions: Floats) -> Floats:
        """See ``symmetry_answers.Answering``."""
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(patterns), torch.from_numpy(compositions))
        answer: Floats = logits.numpy()
        return answer


def at_work(network: SymmetryNet | ReferenceSymmetryNet, folder: Path) -> Answering:
    """A network that has been trained, as what answers; ``folder`` is named in errors."""
    if isinstance(network, ReferenceSymmetryNet):
        return ReferenceAnswers(network.eval())
    return StandardAnswers.of(learned_weights(network), folder)
