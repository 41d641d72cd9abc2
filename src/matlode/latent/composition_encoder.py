"""Encoder of compositions as sets of elements with self-attention, shared by several networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.latent.forward import ELEMENT_SPREAD, MAX_ELEMENTS, N_HEADS, SMALLEST_FRACTION
from matlode.latent.networks import N_COMPOSITION
from matlode.representation.descriptors import tabulate_element_properties


class CompositionEncoder(nn.Module):
    """Compositions (batch, 100) → (batch, 3 · width), independent of the order of elements.

    Each element is a token: the sum of a learned vector and projections of its properties and
    its fraction. Tokens attend to each other, with larger weight on larger fractions (as in
    CrabNet, Wang et al., npj Comput. Mater. 7, 77, 2021). The output concatenates their
    fraction-weighted mean, maximum and plain mean.
    """

    element_properties: Tensor
    """(100, n_properties)."""

    def __init__(self, *, width: int = 96, blocks: int = 2) -> None:
        super().__init__()
        table = torch.from_numpy(tabulate_element_properties()).float()
        self.register_buffer("element_properties", table)
        self.elements = nn.Parameter(ELEMENT_SPREAD * torch.randn(N_COMPOSITION, width))
        self.properties = nn.Linear(table.shape[1], width)
        self.amounts = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_AttentionBlock(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.n_out = 3 * width

    def forward(self, x: Tensor) -> Tensor:
        """See the class; a row of zeros stands for an unknown composition and gives zeros."""
        n_tokens = int((x > 0).sum(1).amax().clamp(1, MAX_ELEMENTS)) if len(x) else 1
        # stable, as in ``forward``: among equal amounts the first elements are used
        fraction, which = (y[:, :n_tokens] for y in x.sort(dim=1, descending=True, stable=True))
        present = fraction > 0
        floored = fraction.clamp(min=SMALLEST_FRACTION)
        amounts = self.amounts(torch.stack([fraction, floored.sqrt(), floored.log()], dim=2))
        tokens = (self.elements + self.properties(self.element_properties))[which] + amounts
        # absent elements get no attention, small fractions little
        bias = torch.where(present, floored.log(), -1e4)[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, bias)
        tokens = self.norm(tokens) * present[:, :, None]
        mean = (tokens * fraction[:, :, None]).sum(1)
        largest = torch.where(present[:, :, None], tokens, -1e4).amax(1)
        largest = largest * present.any(1, keepdim=True)
        plain = tokens.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        return torch.cat([mean, largest, plain], dim=1)


class _AttentionBlock(nn.Module):
    """Pre-normalised self-attention and a gated dense layer, both residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.look = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.gated = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, n, width = x.shape
        split = self.look(self.norms[0](x)).view(batch, n, 3, N_HEADS, width // N_HEADS)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias.expand(-1, N_HEADS, n, -1)
        )
        x = x + self.merge(seen.transpose(1, 2).reshape(batch, n, width))
        value, gate = self.gated(self.norms[1](x)).chunk(2, dim=2)
        out: Tensor = x + self.narrow(value * F.silu(gate))
        return out
