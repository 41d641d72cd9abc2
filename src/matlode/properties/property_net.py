"""The multi-task property network in PyTorch, for training; ``network`` evaluates it in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.latent.composition_encoder import CompositionEncoder
from matlode.latent.forward import N_COARSE
from matlode.latent.networks import ResidualNet
from matlode.properties.endpoints import Endpoint
from matlode.properties.network import MAX_LOG_WIDTH, MAX_SIGMAS, N_SEEN

MAX_LABEL_WEIGHT = 8.0
"""Largest factor by which rare labels are weighted more than common ones."""


class PropertyNet(nn.Module):
    """Composition and pattern → all targets: a value and the width of its error, or a logit.

    Inputs are the composition as a set of elements and its descriptors, the square root of every
    second point of the pattern, and the descriptors of its peaks. In training, each pattern is at
    random the simulated one, its reconstruction by the autoencoder, or hidden, so that labels of
    formulas without a structure can be used too.
    """

    centre: Tensor
    """(n_descriptors,), means of the descriptors, subtracted from them."""
    scale: Tensor
    """(n_descriptors,), standard deviations of the descriptors, by which they are divided."""
    weights: Tensor
    """(n_targets,), weight of each target's labels in the loss."""
    hide_pattern = 0.1
    """Probability that a pattern is hidden in training."""

    def __init__(
        self,
        n_values: int,
        n_logits: int,
        *,
        n_composition_descriptors: int,
        n_pattern_descriptors: int,
        width: int = 512,
        blocks: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.n_values, self.n_logits = n_values, n_logits
        self.sizes = n_composition_descriptors, n_pattern_descriptors
        self.register_buffer("centre", torch.zeros(sum(self.sizes)))
        self.register_buffer("scale", torch.ones(sum(self.sizes)))
        self.register_buffer("weights", torch.ones(n_values + n_logits))
        self.composition = CompositionEncoder()
        self.pattern = ResidualNet(N_COARSE + self.sizes[1], N_SEEN, width=384, blocks=1)
        self.no_pattern = nn.Parameter(torch.zeros(N_SEEN))
        self.dropout = nn.Dropout(dropout)
        n_in = self.composition.n_out + self.sizes[0] + N_SEEN
        self.trunk = ResidualNet(n_in, 2 * n_values + n_logits, width, blocks)

    def forward(
        self, compositions: Tensor, described: Tensor, patterns: Tensor, peaks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values and logarithms of their widths (batch, n_values), logits (batch, n_logits).

        ``described`` and ``peaks`` are the descriptors of ``compositions`` (batch, 100) and
        ``patterns`` (batch, 801). A pattern of zeros stands for an unknown one.
        """
        known = (patterns > 0).any(1, keepdim=True)
        seen = self.pattern(torch.cat([patterns.sqrt(), self._standard(peaks, 1)], dim=1))
        seen = torch.where(known, seen, self.no_pattern)
        parts = [self.composition(compositions), self._standard(described, 0), seen]
        out = self.trunk(self.dropout(torch.cat(parts, dim=1)))
        values, widths, logits = out.split([self.n_values, self.n_values, self.n_logits], dim=1)
        return values, widths.clamp(*MAX_LOG_WIDTH), logits

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Weighted sum over the known labels, averaged over the batch.

        Terms are the absolute error plus the negative log-likelihood of a Laplace distribution
        for values, and the cross-entropy for classes. The batch consists of compositions, their
        descriptors, simulated patterns and their peaks, reconstructed patterns and their peaks,
        and labels (batch, n_values + n_logits), NaN where unknown.
        """
        compositions, described, simulated, peaks, rebuilt, rebuilt_peaks, labels = batch
        patterns, seen = simulated.float(), peaks
        if self.training:
            coin = torch.rand(len(labels), 1, device=labels.device)
            decoded, hidden = coin < 0.5, torch.rand_like(coin) < self.hide_pattern
            patterns = torch.where(decoded, rebuilt.float(), patterns) * ~hidden
            seen = torch.where(decoded, rebuilt_peaks, peaks)
        values, widths, logits = self(compositions, described, patterns, seen)
        known = ~labels.isnan()
        truth = torch.where(known, labels, 0.0)
        error = (values - truth[:, : self.n_values]).abs()
        regression = error + error * torch.exp(-widths) + widths
        classes = F.binary_cross_entropy_with_logits(
            logits, truth[:, self.n_values :], reduction="none"
        )
        terms = torch.cat([regression, classes], dim=1) * known * self.weights
        return {"loss": terms.sum(1).mean()}

    def _standard(self, descriptors: Tensor, which: int) -> Tensor:
        part = slice(0, self.sizes[0]) if which == 0 else slice(self.sizes[0], None)
        shifted = (descriptors - self.centre[part]) / self.scale[part]
        return shifted.clamp(-MAX_SIGMAS, MAX_SIGMAS)


def make_network(endpoints: Sequence[Endpoint], sizes: Sequence[int]) -> PropertyNet:
    """An untrained network for ``endpoints``, values before probabilities; ``sizes`` are the
    numbers of descriptors of compositions and patterns."""
    n_logits = sum(endpoint.task == "probability" for endpoint in endpoints)
    return PropertyNet(
        len(endpoints) - n_logits,
        n_logits,
        n_composition_descriptors=sizes[0],
        n_pattern_descriptors=sizes[1],
    )
