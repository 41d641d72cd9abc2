"""Building blocks of the paper's networks: activations and initialisers under Keras' names,
dropout, and convolutions, long ones by Fourier transform."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from matlode.errors import GoalError, suggest

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
}
"""name → layer."""

INITIALIZERS = ("lecun_normal", "he_normal", "he_uniform")
"""Distributions of initial weights: variance 1 (lecun) or 2 (he) over the number of inputs."""


def make_activation(name: str) -> nn.Module:
    """Create a layer of ACTIVATIONS; raises GoalError for an unknown name."""
    if name not in ACTIVATIONS:
        raise GoalError(f'unknown activation "{name}". {suggest(name, ACTIVATIONS)}')
    return ACTIVATIONS[name]()


def initialise_weights(model: nn.Module, scheme: str) -> None:
    """Draw the kernels of dense and convolutional layers at random and set biases to zero.

    Raises GoalError if ``scheme`` is not one of INITIALIZERS.
    """
    if scheme not in INITIALIZERS:
        raise GoalError(f'unknown initializer "{scheme}". {suggest(scheme, INITIALIZERS)}')
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            fan_in = layer.weight[0].numel()
            variance = (1.0 if scheme == "lecun_normal" else 2.0) / fan_in
            if scheme == "he_uniform":
                limit = (3 * variance) ** 0.5
                nn.init.uniform_(layer.weight, -limit, limit)
            else:
                nn.init.trunc_normal_(layer.weight, std=variance**0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class SparseDropout(nn.Module):
    """Dropout with a small ``rate``, the same in law as ``nn.Dropout`` and faster.

    Instead of a number per element, the elements that become zero are drawn: a Poisson number of
    them, uniformly and with replacement, so that each is hit with probability ``rate``,
    independently of the others.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; unchanged in evaluation mode."""
        if not (self.training and self.rate):
            return x
        # torch gives the method no types
        drop = cast(Callable[[Tensor, float], Tensor], _Dropped.apply)
        return drop(x, self.rate)


class _Dropped(torch.autograd.Function):
    """Elements set to zero, the others scaled so that the mean is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        hits = torch.poisson(torch.tensor(-x.numel() * math.log1p(-rate), dtype=torch.float64))
        ctx.rows, ctx.scale = torch.randint(x.numel(), (int(hits),)), 1 / (1 - rate)
        return _zero_elements(x * ctx.scale, ctx.rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return _zero_elements(gradient * ctx.scale, ctx.rows), None


def _zero_elements(x: Tensor, rows: Tensor) -> Tensor:
    """Set the elements ``rows`` of ``x`` to zero, counted in the order of channels-last memory,
    in place where possible."""
    last = x.movedim(1, -1) if x.ndim == 4 else x
    flat = last.reshape(-1)
    flat.index_fill_(0, rows, 0)
    return flat.view(last.shape).movedim(-1, 1) if x.ndim == 4 else flat.view(x.shape)


MANY_PRODUCTS = 1000
"""Above this many products per output value, a convolution is faster by Fourier transform."""


def make_convolution(n_in: int, n_out: int, kernel: int, stride: int, padding: int) -> nn.Conv2d:
    """Create the fastest form of a convolution along the last axis of (batch, n_in, 1, length)."""
    if stride == 1 and n_in * kernel > MANY_PRODUCTS:
        return FourierConv(n_in, n_out, kernel, padding)
    return channels_last(nn.Conv2d(n_in, n_out, (1, kernel), (1, stride), (0, padding)))


def channels_last(layer: nn.Conv2d) -> nn.Conv2d:
    """Store the kernels of ``layer`` in channels-last memory, in place; faster on a CPU."""
    # Module.to does the same, but its type has no memory_format
    layer.weight.data = layer.weight.data.to(memory_format=torch.channels_last)
    return layer


class FourierConv(nn.Conv2d):
    """A convolution along the last axis of (batch, channels, 1, length) by Fourier transform.

    Weights and results equal those of ``Conv2d`` with kernel (1, ``kernel``) and stride 1, but
    there is one product per frequency instead of one per kernel element. For the paper's
    classifier (kernel 37, 104 channels, 51 filters) this needs a fifteenth of the
    multiplications and a third of the training time.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, padding: int) -> None:
        super().__init__(n_in, n_out, (1, kernel), padding=(0, padding))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, filters, 1, length + 2 padding - kernel + 1)."""
        weight, padding = self.weight[:, :, 0], int(self.padding[1])
        n_out = x.shape[-1] + 2 * padding - weight.shape[-1] + 1
        # a multiple of 32 has enough small factors
        n_fourier = -(-(x.shape[-1] + weight.shape[-1] - 1) // 32) * 32
        of_x = torch.fft.rfft(x[:, :, 0], n_fourier).permute(2, 0, 1)
        of_weight = torch.fft.rfft(weight, n_fourier).conj().permute(2, 1, 0)
        y = torch.fft.irfft(torch.bmm(of_x, of_weight).permute(1, 2, 0), n_fourier)
        # outputs that start in the left padding have wrapped around to the end
        y = torch.cat([y[..., n_fourier - padding :], y[..., : n_out - padding]], dim=-1)
        assert self.bias is not None
        return (y + self.bias[:, None])[:, :, None]
