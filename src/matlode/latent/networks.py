"""Variational autoencoders of compositions and patterns: the paper's ("reference") and those
developed for matlode ("standard")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.errors import GoalError
from matlode.latent.formula_limits import FormulaLimits
from matlode.latent.formula_search import find_likeliest_formulas
from matlode.latent.forward import N_COARSE
from matlode.latent.layers import channels_last, initialise_weights, make_activation
from matlode.representation.descriptors import (
    sort_by_electronegativity,
    tabulate_element_properties,
)

N_COMPOSITION = MAX_ATOMIC_NUMBER
N_PATTERN = 1601
COMPOSITION_LATENT = 24
PATTERN_LATENT = 64
SLOTS = 8
"""Elements of a formula that have an amount of their own; further ones share the last slot."""
MAX_AMOUNT = 64
"""Largest number of atoms of one element in a reduced formula; 0.3 % of known formulas have
more."""
MAX_RAREST = 16
"""Largest number of atoms of the rarest element."""
MAX_LOG_VARIANCE = 8.0
"""Upper bound that keeps exp() of an untrained encoder finite."""


class VariationalAutoencoder(nn.Module, ABC):
    """Maps data x (batch, n) to latent variables z (batch, d) and back; the prior is N(0, I).

    The loss is -E[log p(x|z)] + KL(q(z|x) || N(0, I)), in nats per row (Kingma and Welling
    2014); z is drawn with the reparametrisation trick.
    """

    latent_size: int

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), each (batch, latent_size)."""

    @abstractmethod
    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Decode latent points (batch, latent_size) to data (batch, n).

        Where the boolean mask ``allowed`` (n,) is false, the data are exactly zero.
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
        initialise_weights(self, initializer)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See VariationalAutoencoder."""
        hidden = self.encoder(x)
        return self.mean(hidden), self.log_variance(hidden).clamp(max=MAX_LOG_VARIANCE)

    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Normalised fractions of elements with at least 2 %, since a sigmoid is never zero."""
        logits = self.decoder(z)
        if allowed is not None:
            # allowed elements may all be small beside forbidden ones: compare among themselves
            logits = logits.masked_fill(~allowed, -torch.inf)
            logits = logits - logits.amax(1, keepdim=True).clamp(max=0)
        fractions = torch.sigmoid(logits)
        fractions = fractions / fractions.sum(1, keepdim=True)
        strongest = fractions.amax(1, keepdim=True)
        kept = fractions * (fractions >= strongest.clamp(max=0.02))
        return kept / kept.sum(1, keepdim=True)

    def reconstruction_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Binary cross-entropy summed over elements, as in the authors' code."""
        logits = self.decoder(z)
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


class ReferencePatternVAE(VariationalAutoencoder):
    """The paper's structural VAE (Table S1, Fig. S1, after astroNN): convolutional and dense
    layers.

    Two-dimensional convolutions of one row in channels-last memory give the same results as
    one-dimensional ones and are about a third faster on a CPU.
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
        self.activation = make_activation(activation)
        self.down = nn.ModuleList(_convolution(i, o, kernel) for i, o in ((1, a), (a, b), (b, c)))
        length = N_PATTERN
        for _ in self.down:
            length //= pool
        if length == 0:
            raise GoalError(
                f"pool = {pool} is too large: three poolings leave none of the {N_PATTERN} points; "
                "choose a smaller pool."
            )
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
        initialise_weights(self, initializer)

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
        """Binary cross-entropy summed over the grid; patterns are scaled to 0..1."""
        logits = self._logits(z)
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)

    def _logits(self, z: Tensor) -> Tensor:
        hidden = self.decoder(z).unflatten(1, (1, N_PATTERN, -1)).permute(0, 3, 1, 2)
        for convolution in self.up:
            hidden = self.dropout(self.activation(convolution(hidden)))
        logits: Tensor = self.last(hidden).flatten(1)
        return logits


class StandardCompositionVAE(VariationalAutoencoder):
    """Autoencoder of integer formulas: a set of elements and the number of atoms of each.

    A support head has one logit per element. ``SLOTS`` categorical heads give the amounts
    (1 to ``MAX_AMOUNT``) of the most electronegative element present, of the next, and so on.
    NaCl, KBr and PbS therefore share the amounts 1 and 1, and the decoder need not learn them
    for each pair of elements.

    The likelihood of a formula is weighted by ``weight`` relative to the KL term (β = 1/weight,
    Higgins et al. 2017); with weight 1 the posterior collapses to the prior. A linear layer
    predicts the mean element properties from the latent variables, so that points close to each
    other are chemically similar.
    """

    latent_size = COMPOSITION_LATENT
    order: Tensor
    """(100,), indices of the elements in the order of decreasing electronegativity."""
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
        table = torch.from_numpy(tabulate_element_properties()).float()
        self.register_buffer("order", torch.from_numpy(sort_by_electronegativity()))
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
        """Atomic fractions of the decoded integer formulas; rows sum to 1."""
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
        """Weighted sum of three terms: Bernoulli of the set of elements, categorical of their
        amounts (those above MAX_AMOUNT are left out), and squared error of the mean element
        properties."""
        support, logits = self._heads(z)
        present, amounts = self._slots(x)
        which = F.binary_cross_entropy_with_logits(support, present.to(x.dtype), reduction="none")
        known = (amounts > 0) & (amounts <= MAX_AMOUNT)
        classes = (amounts - 1).clamp(0, MAX_AMOUNT - 1)
        how_many = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
        formula = which.sum(1) + (how_many.view_as(amounts) * known).sum(1)
        error = self.properties(z) - x @ self.element_properties
        return self.weight * formula + self.properties_weight * (error**2).sum(1)

    def find_best_formulas(self, z: Tensor, n: int, limits: FormulaLimits) -> tuple[Tensor, Tensor]:
        """The ``n`` likeliest formulas within ``limits`` for points (batch, 24): amounts
        (batch, n, 100) and log p (batch, n), see ``find_likeliest_formulas``."""
        support, logits = self._heads(z)
        ordered = limits.in_order(self.order.cpu().numpy())
        amounts, score = find_likeliest_formulas(support, logits, n, ordered)
        found = torch.empty_like(amounts)
        found[:, :, self.order] = amounts
        return found, score

    def _heads(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the elements (batch, 100), in the order ``self.order``, and of the amounts
        (batch, SLOTS, MAX_AMOUNT)."""
        out = self.decoder(z)
        amounts = out[:, N_COMPOSITION:].unflatten(1, (SLOTS, MAX_AMOUNT))
        return out[:, :N_COMPOSITION], amounts

    def _slots(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Elements present (batch, 100) in fractions (batch, 100), in the order ``self.order``,
        and amounts of the simplest integer formula (batch, SLOTS), filled with zeros."""
        x = x[:, self.order]
        present = x > 0
        share = x.new_zeros(len(x), SLOTS).scatter_add_(1, _slot_of(present), x)
        return present, _whole_numbers(share)


def _slot_of(present: Tensor) -> Tensor:
    """(batch, 100), the slot of each element present; elements beyond SLOTS share the last."""
    return (present.cumsum(1) - 1).clamp(0, SLOTS - 1)


def _whole_numbers(share: Tensor) -> Tensor:
    """The smallest integers (batch, n) in the ratio of ``share``, to 2 % of an atom; zeros stay.

    Multiples of the smallest share up to MAX_RAREST are tried; if none fits, the multiple with
    the smallest error is used.
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
    """Autoencoder of square-root intensities with dense residual blocks and 64 latent variables.

    Square roots make counting noise uniform and give weak peaks weight; the likelihood is
    Gaussian with standard deviation ``noise``. Peaks are six grid steps wide, so the network
    uses every second point and the others are interpolated (cosine 0.99997 or better).
    """

    latent_size = PATTERN_LATENT

    def __init__(self, *, width: int = 1024, blocks: int = 3, noise: float = 0.03) -> None:
        super().__init__()
        self.noise = noise
        n = N_COARSE
        # a smaller encoder suffices: refinement reduces its errors
        self.encoder = ResidualNet(n, 2 * self.latent_size, 3 * width // 4, max(blocks - 1, 1))
        self.decoder = ResidualNet(self.latent_size, n, width, blocks)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See VariationalAutoencoder."""
        mean, log_variance = self.encoder(x[:, ::2].sqrt()).chunk(2, dim=1)
        return mean, log_variance.clamp(-2 * MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, z: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Intensities, scaled so that the strongest point is 1."""
        intensity = _between(self.decoder(z)).clamp(min=0) ** 2
        if allowed is not None:
            intensity = intensity * allowed
        return intensity / intensity.amax(1, keepdim=True).clamp(min=1e-6)

    def reconstruction_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """Squared error of every second square-root intensity, divided by 2 noise²."""
        return ((self.decoder(z) - x[:, ::2].sqrt()) ** 2).sum(1) / (2 * self.noise**2)


class ResidualNet(nn.Module):
    """Linear layer, pre-normalised residual blocks of one gated dense layer each, linear layer.

    A block adds u · silu(v), where u and v are the two halves of a dense layer's output
    (Shazeer, arXiv:2002.05202).
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
    """Interpolate curves (batch, n) to half the grid step, (batch, 2n - 1), by polynomials of
    degree 5."""
    taps = curve.new_tensor([3, -25, 150, 150, -25, 3]) / 256
    padded = F.pad(curve[:, None], (2, 2), mode="replicate")
    fine = curve.new_empty(len(curve), 2 * curve.shape[1] - 1)
    fine[:, ::2] = curve
    fine[:, 1::2] = F.conv1d(padded, taps[None, None])[:, 0]
    return fine


def single(data: NDArray[np.floating]) -> Tensor:
    """Copy an array of any strides to a tensor in single precision."""
    return torch.tensor(np.ascontiguousarray(data, dtype=np.float32))


def _dense(n_in: int, n_out: int, dropout: float, activation: str) -> list[nn.Module]:
    return [nn.Linear(n_in, n_out), make_activation(activation), nn.Dropout(dropout)]


def _convolution(n_in: int, n_out: int, kernel: int) -> nn.Module:
    # padding="same" copies and warns for even kernels; the odd zero goes right, as in Keras
    before = (kernel - 1) // 2
    pad = nn.ZeroPad2d((before, kernel - 1 - before, 0, 0))
    return nn.Sequential(pad, channels_last(nn.Conv2d(n_in, n_out, (1, kernel))))
