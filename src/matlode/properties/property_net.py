"""What learns all properties at once (PyTorch); ``network`` asks what was learned."""

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
"""Rare labels count more than common ones, up to this factor."""


class PropertyNet(nn.Module):
    """Composition and pattern → every target: a value and the width of its error, or a logit.

    The composition is read as a set of elements and through its descriptors, the pattern as
    the square root of every second point and through its peaks. In training the pattern is the
    simulated one, the one that comes back from the latent space, or hidden, by chance: formulas
    without a structure are learned from too.
    """

    centre: Tensor
    """(n_descriptors,); with ``scale`` it brings descriptors to mean 0 and deviation 1."""
    scale: Tensor
    weights: Tensor
    """(n_targets,), what a label of each target counts in the loss."""
    hide_pattern = 0.1

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
        """Values (batch, n_values), logarithms of their widths, and logits (batch, n_logits).

        ``described`` and ``peaks`` are the descriptors of ``compositions`` (batch, 100) and
        ``patterns`` (batch, 801); a pattern of zeros stands for "unknown".
        """
        known = (patterns > 0).any(1, keepdim=True)
        seen = self.pattern(torch.cat([patterns.sqrt(), self._standard(peaks, 1)], dim=1))
        seen = torch.where(known, seen, self.no_pattern)
        parts = [self.composition(compositions), self._standard(described, 0), seen]
        out = self.trunk(self.dropout(torch.cat(parts, dim=1)))
        values, widths, logits = out.split([self.n_values, self.n_values, self.n_logits], dim=1)
        return values, widths.clamp(*MAX_LOG_WIDTH), logits

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Absolute error and the negative log-likelihood of a Laplace distribution for values,
        cross-entropy for classes, summed over the known labels and averaged over the batch.

        Batch: compositions, their descriptors, simulated patterns with peaks, reconstructed
        ones with peaks, labels (batch, n_values + n_logits) with NaN where unknown.
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


def new_network(endpoints: Sequence[Endpoint], sizes: Sequence[int]) -> PropertyNet:
    """An untrained network for ``endpoints``, values first, and numbers of descriptors."""
    n_logits = sum(endpoint.task == "probability" for endpoint in endpoints)
    return PropertyNet(
        len(endpoints) - n_logits,
        n_logits,
        n_composition_descriptors=sizes[0],
        n_pattern_descriptors=sizes[1],
    )
