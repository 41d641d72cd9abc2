"""The autoencoders: the paper's (reference) and ours (standard), behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.data.crystals import MAX_ATOMIC_NUMBER

N_COMPOSITION = MAX_ATOMIC_NUMBER
N_PATTERN = 1601
COMPOSITION_LATENT = 24
PATTERN_LATENT = 64
MAX_LOG_VARIANCE = 8.0
"""Keeps exp() of an untrained encoder finite."""


class VariationalAutoencoder(nn.Module, ABC):
    """Data x (batch, n) ↔ latent z (batch, d) with a standard normal prior.

    The loss is -E[log p(x|z)] + KL(q(z|x) || N(0, I)), in nats per row (Kingma and Welling
    2014), with noise of unit scale in the latent space.
    """

    latent_size: int

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), each (batch, latent_size)."""

    @abstractmethod
    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """The data (batch, n) that latent points stand for.

        ``allowed`` (n,) of booleans keeps everything else zero, by construction.
        """

    @abstractmethod
    def reconstruction_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p(x|z) up to a constant, (batch,), in nats."""

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Terms of the loss, averaged over the batch; ``warmth`` 0..1 scales the KL term."""
        (x,) = batch
        mean, log_variance = self.encode(x)
        z = mean
        if self.training:
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        reconstruction = self.reconstruction_loss(x, z).mean()
        kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        return {"loss": reconstruction + warmth * kl, "reconstruction": reconstruction, "kl": kl}


class ReferenceCompositionVAE(VariationalAutoencoder):
    """The paper's compositional VAE: 100 → 95 → 50 → 24 and its mirror (Table S1)."""

    latent_size = COMPOSITION_LATENT

    def __init__(self, *, units: tuple[int, int] = (95, 50), dropout: float = 4.49e-6) -> None:
        super().__init__()
        first, second = units
        self.encoder = nn.Sequential(
            *(_dense(N_COMPOSITION, first, dropout) + _dense(first, second, dropout))
        )
        self.mean = nn.Linear(second, self.latent_size)
        self.log_variance = nn.Linear(second, self.latent_size)
        self.decoder = nn.Sequential(
            *(_dense(self.latent_size, second, dropout) + _dense(second, first, dropout)),
            nn.Linear(first, N_COMPOSITION),
        )
        _initialise(self, "he_normal")

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See VariationalAutoencoder."""
        hidden = self.encoder(x)
        return self.mean(hidden), self.log_variance(hidden).clamp(max=MAX_LOG_VARIANCE)

    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Fractions of at least 2 %, renormalised: a sigmoid never says exactly zero."""
        logits = self.decoder(z)
        if allowed is not None:
            # among forbidden neighbours an allowed element may be rare: compare within them
            logits = logits.masked_fill(~allowed, -torch.inf)
            logits = logits - logits.amax(1, keepdim=True).clamp(max=0)
        fractions = torch.sigmoid(logits)
        fractions = fractions / fractions.sum(1, keepdim=True)
        strongest = fractions.amax(1, keepdim=True)
        kept = fractions * (fractions >= strongest.clamp(max=0.02))
        return kept / kept.sum(1, keepdim=True)

    def reconstruction_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Binary cross-entropy summed over elements, as the authors' code has it."""
        logits = self.decoder(z)
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


class ReferencePatternVAE(VariationalAutoencoder):
    """The paper's structural VAE (Table S1, Fig. S1, after astroNN): convolutions and dense.

    One-row two-dimensional convolutions in channels-last memory compute the same as
    one-dimensional ones, about a third faster on a CPU.
    """

    latent_size = PATTERN_LATENT

    def __init__(
        self,
        *,
        filters: tuple[int, int, int] = (16, 17, 37),
        kernel: int = 4,
        pool: int = 2,
        units: tuple[int, int] = (693, 403),
        dropout: float = 0.0204,
    ) -> None:
        super().__init__()
        a, b, c = filters
        first, second = units
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.down = nn.ModuleList(_convolution(i, o, kernel) for i, o in ((1, a), (a, b), (b, c)))
        length = N_PATTERN
        for _ in self.down:
            length //= pool
        self.encoder = nn.Sequential(
            *(_dense(c * length, first, dropout) + _dense(first, second, dropout))
        )
        self.mean = nn.Linear(second, self.latent_size)
        self.log_variance = nn.Linear(second, self.latent_size)
        self.decoder = nn.Sequential(
            *_dense(self.latent_size, second, dropout), *_dense(second, N_PATTERN * b, dropout)
        )
        self.up = nn.ModuleList(_convolution(i, o, kernel) for i, o in ((b, c), (c, b), (b, a)))
        self.last = _convolution(a, 1, kernel)
        _initialise(self, "lecun_normal")

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See VariationalAutoencoder."""
        hidden = x[:, None, None]
        for convolution in self.down:
            hidden = F.max_pool2d(self.dropout(F.selu(convolution(hidden))), (1, self.pool))
        hidden = self.encoder(hidden.flatten(1))
        return self.mean(hidden), self.log_variance(hidden).clamp(max=MAX_LOG_VARIANCE)

    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Intensities 0..1."""
        intensity = torch.sigmoid(self._logits(z))
        return intensity if allowed is None else intensity * allowed

    def reconstruction_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Binary cross-entropy summed over the grid, of patterns scaled to 0..1."""
        logits = self._logits(z)
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)

    def _logits(self, z: Tensor) -> Tensor:
        hidden = self.decoder(z).unflatten(1, (1, N_PATTERN, -1)).permute(0, 3, 1, 2)
        for convolution in self.up:
            hidden = self.dropout(F.selu(convolution(hidden)))
        logits: Tensor = self.last(hidden).flatten(1)
        return logits


class StandardCompositionVAE(VariationalAutoencoder):
    """Which elements (a support head) and how much of each (a softmax head), in 24 numbers.

    The reconstruction loss is that of ``atoms_seen`` atoms drawn from the material
    (multinomial) and of the element set (Bernoulli, seen ``support_weight`` times), so it is
    in nats and the KL term keeps its weight of 1. Few atoms leave 2:1 and 3:2 alike.
    """

    latent_size = COMPOSITION_LATENT

    def __init__(
        self,
        *,
        width: int = 384,
        blocks: int = 3,
        atoms_seen: float = 2000.0,
        support_weight: float = 20.0,
    ) -> None:
        super().__init__()
        self.atoms_seen = atoms_seen
        self.support_weight = support_weight
        self.encoder = ResidualNet(3 * N_COMPOSITION, 2 * self.latent_size, width, blocks)
        self.decoder = ResidualNet(self.latent_size, 2 * N_COMPOSITION, width, blocks)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See VariationalAutoencoder."""
        features = torch.cat([x, x.sqrt(), (x > 0).to(x.dtype)], dim=1)
        mean, log_variance = self.encoder(features).chunk(2, dim=1)
        return mean, log_variance.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Fractions over the elements of the support; rows sum to 1."""
        support, amounts = self.decoder(z).chunk(2, dim=1)
        if allowed is not None:
            support = support.masked_fill(~allowed, -torch.inf)
        likeliest = support == support.amax(1, keepdim=True)
        allowed = (support > 0) | likeliest
        return torch.softmax(amounts.masked_fill(~allowed, -torch.inf), dim=1)

    def reconstruction_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Multinomial plus Bernoulli, see the class."""
        support, amounts = self.decoder(z).chunk(2, dim=1)
        present = (x > 0).to(x.dtype)
        which = F.binary_cross_entropy_with_logits(support, present, reduction="none").sum(1)
        # among the elements that are there: the support head alone says which
        inside = amounts.masked_fill(present == 0, -torch.inf)
        log_share = torch.log_softmax(inside, dim=1).masked_fill(present == 0, 0.0)
        entropy = -torch.xlogy(x, x).sum(1)
        how_much = -(x * log_share).sum(1) - entropy
        return self.support_weight * which + self.atoms_seen * how_much


class StandardPatternVAE(VariationalAutoencoder):
    """Square-root intensities through dense residual blocks, in 64 numbers.

    Square roots make the noise of counting uniform and weak peaks count; the likelihood is
    Gaussian with standard deviation ``noise``.
    """

    latent_size = PATTERN_LATENT

    def __init__(self, *, width: int = 768, blocks: int = 2, noise: float = 0.03) -> None:
        super().__init__()
        self.noise = noise
        self.encoder = ResidualNet(N_PATTERN, 2 * self.latent_size, width, blocks)
        self.decoder = ResidualNet(self.latent_size, N_PATTERN, width, blocks)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See VariationalAutoencoder."""
        mean, log_variance = self.encoder(x.sqrt()).chunk(2, dim=1)
        return mean, log_variance.clamp(-2 * MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Intensities, the strongest point 1."""
        intensity = self.decoder(z).clamp(min=0) ** 2
        if allowed is not None:
            intensity = intensity * allowed
        return intensity / intensity.amax(1, keepdim=True).clamp(min=1e-6)

    def reconstruction_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Squared error of the square roots over 2 noise²."""
        return ((self.decoder(z) - x.sqrt()) ** 2).sum(1) / (2 * self.noise**2)


class ResidualNet(nn.Module):
    """Linear, then pre-normalised residual blocks of one dense layer, then linear."""

    def __init__(self, n_in: int, n_out: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_in, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks + 1))
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.last = nn.Linear(width, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n_in) → (batch, n_out)."""
        hidden = self.first(x)
        for norm, block in zip(self.norms, self.blocks, strict=False):
            hidden = hidden + F.gelu(block(norm(hidden)))
        out: Tensor = self.last(self.norms[-1](hidden))
        return out


AUTOENCODERS: dict[tuple[str, str], type[VariationalAutoencoder]] = {
    ("reference", "composition"): ReferenceCompositionVAE,
    ("reference", "pattern"): ReferencePatternVAE,
    ("standard", "composition"): StandardCompositionVAE,
    ("standard", "pattern"): StandardPatternVAE,
}
"""(face, view) → network."""


def _dense(n_in: int, n_out: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(n_in, n_out), nn.SELU(), nn.Dropout(dropout)]


def _convolution(n_in: int, n_out: int, kernel: int) -> nn.Module:
    # padding="same" copies for even kernels, and warns; the odd zero goes right, as in Keras
    before = (kernel - 1) // 2
    pad = nn.ZeroPad2d((before, kernel - 1 - before, 0, 0))
    layer: Any = nn.Conv2d(n_in, n_out, (1, kernel))
    return nn.Sequential(pad, layer.to(memory_format=torch.channels_last))


def _initialise(model: nn.Module, scheme: str) -> None:
    """Kernels drawn as Keras draws them, biases zero."""
    gain = {"lecun_normal": 1.0, "he_normal": 2.0}[scheme]
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            fan_in = layer.weight[0].numel()
            nn.init.trunc_normal_(layer.weight, std=(gain / fan_in) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
