"""The network of expected volumes in PyTorch, for training; ``expected_volume`` evaluates it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.latent.composition_encoder import CompositionEncoder
from matlode.latent.networks import ResidualNet
from matlode.properties.expected_volume import MAX_LOG_WIDTH

START_LOG_VOLUME, START_LOG_WIDTH = 2.9, -3.0
"""Logarithms of the volume of every element (Å³/atom) and of the width when training starts."""


class VolumeNet(nn.Module):
    """Composition → ln(volume per atom), and the logarithm of the width of its error.

    The output is added to the logarithm of the mean of learned element volumes, so the network
    learns deviations from additive volumes.
    """

    def __init__(self, *, width: int = 56, blocks: int = 2) -> None:
        super().__init__()
        self.volumes = nn.Parameter(torch.full((MAX_ATOMIC_NUMBER,), START_LOG_VOLUME))
        self.composition = CompositionEncoder(width=width, blocks=blocks)
        self.net = ResidualNet(self.composition.n_out, 2, 2 * width, 1)
        # widths begin inside their range, where they have a gradient
        nn.init.zeros_(self.net.last.weight)
        self.net.last.bias.data = torch.tensor([0.0, START_LOG_WIDTH])

    def forward(self, compositions: Tensor) -> Tensor:
        """(batch, 2) for compositions (batch, 100)."""
        out: Tensor = self.net(self.composition(compositions))
        additive = (compositions @ self.volumes.exp()).log()
        return torch.stack([out[:, 0] + additive, out[:, 1].clamp(*MAX_LOG_WIDTH)], dim=1)

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Negative log likelihood of Laplace's distribution, and the mean absolute error."""
        compositions, labels = batch
        logarithms, log_widths = self(compositions).unbind(1)
        errors = (labels - logarithms).abs()
        return {"loss": (errors * (-log_widths).exp() + log_widths).mean(), "mae": errors.mean()}
