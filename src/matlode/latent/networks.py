"""The autoencoders: the paper's (reference) and ours (standard), behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.errors import GoalError
from matlode.latent.formula_search import FormulaLimits, likeliest_formulas
from matlode.latent.forward import N_COARSE
from matlode.latent.layers import activation_layer, initialise
from matlode.representation.descriptors import electronegativity_order, element_property_table

N_COMPOSITION = MAX_ATOMIC_NUMBER
N_PATTERN = 1601
COMPOSITION_LATENT = 24
PATTERN_LATENT = 64
SLOTS = 8
"""Elements of a formula whose amounts are told apart."""
MAX_AMOUNT = 64
"""Largest number of atoms of an element in a reduced formula; more have 0.3 % of known ones."""
MAX_RAREST = 16
"""Most atoms of the rarest element."""
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

    def __init__(
        self,
        *,
        units: Sequence[int] = (95, 50),
        dropout: float = 4.49e-6,
        activation: str = "selu",
        initializer: str = "he_normal",
    ) -> None:
        super().__init__()
        first, second = units
        self.encoder = nn.Sequential(
            *_dense(N_COMPOSITION, first, dropout, activation),
            *_dense(first, second, dropout, activation),
        )
        self.mean = nn.Linear(second, self.latent_size)
        self.log_variance = nn.Linear(second, self.latent_size)
        self.decoder = nn.Sequential(
            *_dense(self.latent_size, second, dropout, activation),
            *_dense(second, first, dropout, activation),
            nn.Linear(first, N_COMPOSITION),
        )
        initialise(self, initializer)

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
        filters: Sequence[int] = (16, 17, 37),
        kernel: int = 4,
        pool: int = 2,
        units: Sequence[int] = (693, 403),
        dropout: float = 0.0204,
        activation: str = "selu",
        initializer: str = "lecun_normal",
    ) -> None:
        super().__init__()
        a, b, c = filters
        first, second = units
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.activation = activation_layer(activation)
        self.down = nn.ModuleList(_convolution(i, o, kernel) for i, o in ((1, a), (a, b), (b, c)))
        length = N_PATTERN
        for _ in self.down:
            length //= pool
        if length == 0:
            raise GoalError(f"three pools of {pool} leave nothing of {N_PATTERN} points.")
        self.encoder = nn.Sequential(
            *_dense(c * length, first, dropout, activation),
            *_dense(first, second, dropout, activation),
        )
        self.mean = nn.Linear(second, self.latent_size)
        self.log_variance = nn.Linear(second, self.latent_size)
        self.decoder = nn.Sequential(
            *_dense(self.latent_size, second, dropout, activation),
            *_dense(second, N_PATTERN * b, dropout, activation),
        )
        self.up = nn.ModuleList(_convolution(i, o, kernel) for i, o in ((b, c), (c, b), (b, a)))
        self.last = _convolution(a, 1, kernel)
        initialise(self, initializer)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See VariationalAutoencoder."""
        hidden = x[:, None, None]
        for convolution in self.down:
            hidden = self.dropout(self.activation(convolution(hidden)))
            hidden = F.max_pool2d(hidden, (1, self.pool))
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
            hidden = self.dropout(self.activation(convolution(hidden)))
        logits: Tensor = self.last(hidden).flatten(1)
        return logits


class StandardCompositionVAE(VariationalAutoencoder):
    """Which elements, and how many atoms of each in the order of electronegativity.

    A formula is a set of elements (a support head: one bit each) and the amounts of its most
    electronegative element, of the next, and so on (``SLOTS`` categorical heads over 1, 2 ...
    ``MAX_AMOUNT``). NaCl, KBr and PbS so share their amounts, 1 and 1, and the decoder need not
    learn them for every pair of elements; what it decodes are integers, never fractions.

    Every formula counts ``weight`` times against the KL term (a β of 1/weight, Higgins et al.
    2017): at 1 the encoder stays silent. A linear read-out of the latent variables predicts the
    mean element properties, so that neighbours are chemical neighbours.
    """

    latent_size = COMPOSITION_LATENT
    order: Tensor
    """(100,), indices of the elements by falling electronegativity."""
    element_properties: Tensor
    """(100, n_properties)."""

    def __init__(
        self,
        *,
        width: int = 384,
        blocks: int = 3,
        weight: float = 20.0,
        properties_weight: float = 5.0,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.properties_weight = properties_weight
        table = torch.from_numpy(element_property_table()).float()
        self.register_buffer("order", torch.from_numpy(electronegativity_order()))
        self.register_buffer("element_properties", table)
        n_in = N_COMPOSITION + SLOTS * (MAX_AMOUNT + 2)
        n_out = N_COMPOSITION + SLOTS * MAX_AMOUNT
        self.encoder = ResidualNet(n_in, 2 * self.latent_size, width, blocks)
        self.decoder = ResidualNet(self.latent_size, n_out, width, blocks)
        self.properties = nn.Linear(self.latent_size, table.shape[1])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See VariationalAutoencoder."""
        present, amounts = self._slots(x)
        classes = F.one_hot(amounts.clamp(max=MAX_AMOUNT), MAX_AMOUNT + 1).to(x.dtype)
        features = torch.cat(
            [present.to(x.dtype), classes.flatten(1), torch.log1p(amounts.to(x.dtype))], dim=1
        )
        mean, log_variance = self.encoder(features).chunk(2, dim=1)
        return mean, log_variance.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Fractions of integer formulas; rows sum to 1."""
        support, amounts = self._heads(z)
        if allowed is not None:
            support = support.masked_fill(~allowed[self.order], -torch.inf)
        likeliest = support == support.amax(1, keepdim=True)
        present = (support > 0) | likeliest
        atoms = (amounts.argmax(2) + 1).gather(1, _slot_of(present)) * present
        fractions = torch.empty_like(support)
        fractions[:, self.order] = atoms.to(z.dtype)
        return fractions / fractions.sum(1, keepdim=True)

    def reconstruction_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Bernoulli of the set and categorical of the amounts; amounts above MAX_AMOUNT are
        left out. With the squared error of the mean element properties."""
        support, logits = self._heads(z)
        present, amounts = self._slots(x)
        which = F.binary_cross_entropy_with_logits(support, present.to(x.dtype), reduction="none")
        known = (amounts > 0) & (amounts <= MAX_AMOUNT)
        classes = (amounts - 1).clamp(0, MAX_AMOUNT - 1)
        how_many = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
        formula = which.sum(1) + (how_many.view_as(amounts) * known).sum(1)
        error = self.properties(z) - x @ self.element_properties
        return self.weight * formula + self.properties_weight * (error**2).sum(1)

    def best_formulas(self, z: Tensor, n: int, limits: FormulaLimits) -> tuple[Tensor, Tensor]:
        """The ``n`` likeliest formulas within limits: amounts (batch, n, 100) and log p (batch,
        n), see ``likeliest_formulas``."""
        support, logits = self._heads(z)
        ordered = limits.in_order(self.order.cpu().numpy())
        amounts, score = likeliest_formulas(support, logits, n, ordered)
        found = torch.empty_like(amounts)
        found[:, :, self.order] = amounts
        return found, score

    def _heads(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the set (batch, 100), in the order of slots, and of the amounts (batch,
        SLOTS, MAX_AMOUNT)."""
        out = self.decoder(z)
        amounts = out[:, N_COMPOSITION:].unflatten(1, (SLOTS, MAX_AMOUNT))
        return out[:, :N_COMPOSITION], amounts

    def _slots(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which elements fractions (batch, 100) hold, by electronegativity, and the amounts of
        their simplest integer formula (batch, SLOTS), zeros behind the last."""
        x = x[:, self.order]
        present = x > 0
        share = x.new_zeros(len(x), SLOTS).scatter_add_(1, _slot_of(present), x)
        return present, _whole_numbers(share)


def _slot_of(present: Tensor) -> Tensor:
    """(batch, 100), the slot of each element that is present; those beyond share the last."""
    return (present.cumsum(1) - 1).clamp(0, SLOTS - 1)


def _whole_numbers(share: Tensor) -> Tensor:
    """The smallest integers (batch, n) in the ratio of ``share``, to 2 % of an atom; zeros stay.

    Tried are multiples of the smallest share up to MAX_RAREST; the best if none fits.
    """
    smallest = share.masked_fill(share == 0, torch.inf).amin(1, keepdim=True)
    ratio = (share / smallest)[:, None]
    multiples = torch.arange(1, MAX_RAREST + 1, device=share.device)[None, :, None]
    amounts = ratio * multiples
    error = (amounts - amounts.round()).abs().amax(2)
    # the first that fits, else the one that fits best
    fits = error < 0.02
    chosen = torch.where(fits, multiples[:, :, 0] / MAX_RAREST - 1, error).argmin(1)
    rows = torch.arange(len(share), device=share.device)
    return amounts[rows, chosen].round().long()


class StandardPatternVAE(VariationalAutoencoder):
    """Square-root intensities through dense residual blocks, in 64 numbers.

    Square roots make the noise of counting uniform and weak peaks count; the likelihood is
    Gaussian with standard deviation ``noise``. Peaks are six grid steps wide, so every second
    point tells all (cosine 0.99997 or better); those between are interpolated.
    """

    latent_size = PATTERN_LATENT

    def __init__(self, *, width: int = 1024, blocks: int = 3, noise: float = 0.03) -> None:
        super().__init__()
        self.noise = noise
        n = N_COARSE
        # a smaller encoder: what it leaves, a refinement makes good
        self.encoder = ResidualNet(n, 2 * self.latent_size, 3 * width // 4, max(blocks - 1, 1))
        self.decoder = ResidualNet(self.latent_size, n, width, blocks)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See VariationalAutoencoder."""
        mean, log_variance = self.encoder(x[:, ::2].sqrt()).chunk(2, dim=1)
        return mean, log_variance.clamp(-2 * MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Intensities, the strongest point 1."""
        intensity = _between(self.decoder(z)).clamp(min=0) ** 2
        if allowed is not None:
            intensity = intensity * allowed
        return intensity / intensity.amax(1, keepdim=True).clamp(min=1e-6)

    def reconstruction_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Squared error of every second square root over 2 noise²."""
        return ((self.decoder(z) - x[:, ::2].sqrt()) ** 2).sum(1) / (2 * self.noise**2)


class ResidualNet(nn.Module):
    """Linear, then pre-normalised residual blocks of a gated dense layer, then linear.

    A block adds u · silu(v), where u and v are halves of one layer (Shazeer, arXiv:2002.05202).
    """

    def __init__(self, n_in: int, n_out: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_in, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks + 1))
        self.blocks = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.last = nn.Linear(width, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n_in) → (batch, n_out)."""
        hidden = self.first(x)
        for norm, block in zip(self.norms, self.blocks, strict=False):
            value, gate = block(norm(hidden)).chunk(2, dim=1)
            hidden = hidden + value * F.silu(gate)
        out: Tensor = self.last(self.norms[-1](hidden))
        return out


AUTOENCODERS: dict[tuple[str, str], type[VariationalAutoencoder]] = {
    ("reference", "composition"): ReferenceCompositionVAE,
    ("reference", "pattern"): ReferencePatternVAE,
    ("standard", "composition"): StandardCompositionVAE,
    ("standard", "pattern"): StandardPatternVAE,
}
"""(face, view) → network."""


def _between(curve: Tensor) -> Tensor:
    """Curves (batch, n) on a grid twice as fine, (batch, 2n - 1): polynomials of degree 5."""
    taps = curve.new_tensor([3, -25, 150, 150, -25, 3]) / 256
    padded = F.pad(curve[:, None], (2, 2), mode="replicate")
    fine = curve.new_empty(len(curve), 2 * curve.shape[1] - 1)
    fine[:, ::2] = curve
    fine[:, 1::2] = F.conv1d(padded, taps[None, None])[:, 0]
    return fine


def single(data: NDArray[np.floating]) -> Tensor:
    """A copy of any array, of any strides, in single precision."""
    return torch.tensor(np.ascontiguousarray(data, dtype=np.float32))


def _dense(n_in: int, n_out: int, dropout: float, activation: str) -> list[nn.Module]:
    return [nn.Linear(n_in, n_out), activation_layer(activation), nn.Dropout(dropout)]


def _convolution(n_in: int, n_out: int, kernel: int) -> nn.Module:
    # padding="same" copies for even kernels, and warns; the odd zero goes right, as in Keras
    before = (kernel - 1) // 2
    pad = nn.ZeroPad2d((before, kernel - 1 - before, 0, 0))
    layer: Any = nn.Conv2d(n_in, n_out, (1, kernel))
    return nn.Sequential(pad, layer.to(memory_format=torch.channels_last))
