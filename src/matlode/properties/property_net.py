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
from matlode.properties.network import MAX_LOG_WIDTH, MAX_SIGMAS, N_BUILT, N_SEEN

MAX_LABEL_WEIGHT = 8.0
"""Largest factor by which rare labels are weighted more than common ones."""


class PropertyNet(nn.Module):
    """Composition, pattern and crystal → all targets: a value and the width of its error, or a
    logit.

    Inputs are the composition as a set of elements and its descriptors, the square root of every
    second point of the pattern, the descriptors of its peaks, and those of the crystal. In
    training, a row shows at random all of these, or no crystal and the simulated pattern or its
    reconstruction by the autoencoder, or the composition alone, so that labels of formulas without
    a structure can be used too.
    """

    centre: Tensor
    """(n_descriptors,), means of the descriptors, subtracted from them."""
    scale: Tensor
    """(n_descriptors,), standard deviations of the descriptors, by which they are divided."""
    weights: Tensor
    """(n_targets,), weight of each target's labels in the loss."""
    show_decoded, show_simulated, hide_structure = 0.2, 0.25, 0.05
    """Probabilities in training: a decoded pattern or a simulated one without its crystal, neither
    pattern nor crystal."""

    def __init__(
        self,
        n_values: int,
        n_logits: int,
        *,
        n_composition_descriptors: int,
        n_pattern_descriptors: int,
        n_crystal_descriptors: int,
        width: int = 512,
        blocks: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.n_values, self.n_logits = n_values, n_logits
        self.sizes = n_composition_descriptors, n_pattern_descriptors, n_crystal_descriptors
        self.register_buffer("centre", torch.zeros(sum(self.sizes)))
        self.register_buffer("scale", torch.ones(sum(self.sizes)))
        self.register_buffer("weights", torch.ones(n_values + n_logits))
        self.composition = CompositionEncoder()
        self.pattern = ResidualNet(N_COARSE + self.sizes[1], N_SEEN, width=384, blocks=1)
        self.no_pattern = nn.Parameter(torch.zeros(N_SEEN))
        self.crystal = ResidualNet(self.sizes[2], N_BUILT, width=256, blocks=1)
        self.no_crystal = nn.Parameter(torch.zeros(N_BUILT))
        self.dropout = nn.Dropout(dropout)
        n_in = self.composition.n_out + self.sizes[0] + N_SEEN + N_BUILT
        self.trunk = ResidualNet(n_in, 2 * n_values + n_logits, width, blocks)

    def forward(
        self,
        compositions: Tensor,
        described: Tensor,
        patterns: Tensor,
        peaks: Tensor,
        crystals: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values and logarithms of their widths (batch, n_values), logits (batch, n_logits).

        ``described``, ``peaks`` and ``crystals`` are the descriptors of ``compositions``
        (batch, 100), ``patterns`` (batch, 801) and crystals. A pattern of zeros stands for an
        unknown one, a row of NaN for an unknown crystal.
        """
        known = (patterns > 0).any(1, keepdim=True)
        seen = self.pattern(torch.cat([patterns.sqrt(), self._standard(peaks, 1)], dim=1))
        seen = torch.where(known, seen, self.no_pattern)
        given = ~crystals.isnan().any(1, keepdim=True)
        built = self.crystal(self._standard(crystals.nan_to_num(), 2))
        built = torch.where(given, built, self.no_crystal)
        parts = [self.composition(compositions), self._standard(described, 0), seen, built]
        out = self.trunk(self.dropout(torch.cat(parts, dim=1)))
        values, widths, logits = out.split([self.n_values, self.n_values, self.n_logits], dim=1)
        return values, widths.clamp(*MAX_LOG_WIDTH), logits

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Weighted sum over the known labels, averaged over the batch.

        Terms are the absolute error plus the negative log-likelihood of a Laplace distribution
        for values, and the cross-entropy for classes. The batch consists of compositions, their
        descriptors, simulated patterns and their peaks, reconstructed patterns and their peaks,
        descriptors of crystals, and labels (batch, n_values + n_logits), NaN where unknown.
        """
        compositions, described, simulated, peaks, rebuilt, rebuilt_peaks, crystals, labels = batch
        patterns, seen = simulated.float(), peaks
        if self.training:
            coin = torch.rand(len(labels), 1, device=labels.device)
            decoded, hidden = coin < self.show_decoded, coin > 1 - self.hide_structure
            patterns = torch.where(decoded, rebuilt.float(), patterns) * ~hidden
            seen = torch.where(decoded, rebuilt_peaks, peaks)
            alone = hidden | (coin < self.show_decoded + self.show_simulated)
            crystals = crystals.masked_fill(alone, torch.nan)
        values, widths, logits = self(compositions, described, patterns, seen, crystals)
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
        centre, scale = self.centre.split(self.sizes)[which], self.scale.split(self.sizes)[which]
        shifted = (descriptors - centre) / scale
        return shifted.clamp(-MAX_SIGMAS, MAX_SIGMAS)


def make_network(endpoints: Sequence[Endpoint], sizes: Sequence[int]) -> PropertyNet:
    """An untrained network for ``endpoints``, values before probabilities; ``sizes`` are the
    numbers of descriptors of compositions, patterns and crystals."""
    n_logits = sum(endpoint.task == "probability" for endpoint in endpoints)
    return PropertyNet(
        len(endpoints) - n_logits,
        n_logits,
        n_composition_descriptors=sizes[0],
        n_pattern_descriptors=sizes[1],
        n_crystal_descriptors=sizes[2],
    )
