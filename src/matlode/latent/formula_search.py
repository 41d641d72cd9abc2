"""Search for the likeliest formulas within limits, given logits of elements and amounts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.latent.formula_limits import FormulaLimits

BEAM_ELEMENTS = 12
"""Number of elements, the likeliest of a point, from which its formula is made."""
BEAM_WIDTH = 8
"""Partial formulas that the beam search keeps, at least."""
_MAX_ASSIGNMENTS = 3200
"""Largest number of assignments that are enumerated per point."""
_BATCH = 256
"""Points that are searched together."""


def find_likeliest_formulas(
    support: Tensor, logits: Tensor, n: int, limits: FormulaLimits
) -> tuple[Tensor, Tensor]:
    """Find the ``n`` likeliest formulas: amounts (batch, n, 100) and log p (batch, n).

    ``support`` (batch, 100) are the logits of the elements in the order of decreasing
    electronegativity; ``limits`` are in the same order. ``logits`` (batch, n_slots, n_amounts)
    are those of 1, 2, ... atoms of the first element in the formula, of the second, and so on.
    Amounts may have a common divisor; log p is -inf where fewer formulas were found.
    """
    find = _assignments if limits.sites else _beam
    parts = [
        find(support[at : at + _BATCH], logits[at : at + _BATCH], n, limits)
        for at in range(0, max(len(support), 1), _BATCH)
    ]
    amounts, scores = zip(*parts, strict=True)
    return torch.cat(amounts), torch.cat(scores)


def _beam(support: Tensor, logits: Tensor, n: int, limits: FormulaLimits) -> tuple[Tensor, Tensor]:
    """Beam search over the likeliest elements, the most electronegative first.

    Each element is left out or taken with an amount. Partial formulas that can no longer be
    completed within the limits are dropped, so every result satisfies them.
    """
    allowed, required = (
        torch.from_numpy(mask).to(support.device) for mask in (limits.allowed, limits.required)
    )
    support = support.masked_fill(~allowed, -torch.inf)
    wanted_first = support.masked_fill(required, torch.inf)
    among = wanted_first.topk(BEAM_ELEMENTS, dim=1).indices.sort(1).values
    taken = F.logsigmoid(support).gather(1, among)
    absent = F.logsigmoid(-support).gather(1, among).masked_fill(required[among], -torch.inf)
    required_after = _later(required[among])
    possible_after = _later(taken > -torch.inf)
    amount = torch.log_softmax(logits, 2)[:, : limits.max_elements, : limits.max_atoms]
    batch, width, options = len(support), max(2 * n, BEAM_WIDTH), amount.shape[2] + 1
    score = support.new_full((batch, width), -torch.inf)
    score[:, 0] = 0.0
    atoms = torch.zeros(batch, width, BEAM_ELEMENTS, dtype=torch.long, device=support.device)
    choices = torch.arange(1, options, device=support.device)
    for step in range(BEAM_ELEMENTS):
        used = (atoms > 0).sum(2)
        slot = used.clamp(max=amount.shape[1] - 1)[:, :, None].expand(-1, -1, options - 1)
        grown = score[:, :, None] + taken[:, step, None, None] + amount.gather(1, slot)
        wanted, possible = required_after[:, step, None], possible_after[:, step, None]
        missing = limits.min_elements - used - 1
        crowded = (used + 1 + wanted > limits.max_elements) | (missing > possible)
        room = limits.max_atoms - atoms.sum(2) - torch.maximum(missing, wanted).clamp(min=0)
        heavy = choices > room[:, :, None]
        grown = grown.masked_fill(crowded[:, :, None] | heavy, -torch.inf)
        left_out = score + absent[:, step, None]
        left_out = left_out.masked_fill(missing + 1 > possible, -torch.inf)
        every = torch.cat([left_out[:, :, None], grown], dim=2).flatten(1)
        score, best = every.topk(width, dim=1)
        parent = (best // options)[:, :, None].expand(-1, -1, BEAM_ELEMENTS)
        atoms = atoms.gather(1, parent)
        atoms[:, :, step] = best % options
    score, best = score.topk(n, dim=1)
    atoms = atoms.gather(1, best[:, :, None].expand(-1, -1, BEAM_ELEMENTS))
    found = atoms.new_zeros(batch, n, MAX_ATOMIC_NUMBER)
    return found.scatter_(2, among[:, None].expand(-1, n, -1), atoms), score


def _later(marks: Tensor) -> Tensor:
    """(batch, n), how many of the following ``marks`` (batch, n) are set, for each position."""
    return marks.flip(1).cumsum(1).flip(1) - marks.long()


def _assignments(
    support: Tensor, logits: Tensor, n: int, limits: FormulaLimits
) -> tuple[Tensor, Tensor]:
    """Enumerate the assignments of the likeliest elements to the sites of a stoichiometry."""
    amounts = [amount for amount, _ in limits.sites]
    masks = [torch.from_numpy(which & limits.allowed) for _, which in limits.sites]
    required = torch.from_numpy(limits.required).to(support.device)
    wanted_first = support.masked_fill(required, torch.inf)
    at_most = _widest([int(mask.sum()) for mask in masks])
    likeliest = [
        wanted_first.masked_fill(~mask.to(support.device), -torch.inf)
        .topk(min(at_most, int(mask.sum())), dim=1)
        .indices
        for mask in masks
    ]
    ways = torch.cartesian_prod(*(torch.arange(part.shape[1]) for part in likeliest))
    ways = ways.reshape(-1, len(masks)).to(support.device)
    chosen = torch.stack([part[:, ways[:, k]] for k, part in enumerate(likeliest)], dim=2)
    order = chosen.sort(dim=2)
    slot = order.indices.argsort(dim=2)
    log_amount = torch.log_softmax(logits, 2)
    per_site = [log_amount[:, :, amount - 1].gather(1, slot[:, :, k].clamp(max=logits.shape[1] - 1))
                for k, amount in enumerate(amounts)]  # fmt: skip
    score = support.gather(1, chosen.flatten(1)).view(chosen.shape).sum(2) + sum(per_site)
    twice = (order.values[:, :, 1:] == order.values[:, :, :-1]).any(2)
    lacking = (required[chosen].sum(2) < required.sum()) | twice
    for k, other in _same_sites(limits):
        lacking = lacking | (chosen[:, :, k] > chosen[:, :, other])
    score = score.masked_fill(lacking, -torch.inf)
    score, best = score.topk(min(n, score.shape[1]), dim=1)
    places = chosen.gather(1, best[:, :, None].expand(-1, -1, len(masks)))
    atoms = torch.tensor(amounts, device=support.device).expand(places.shape)
    found = atoms.new_zeros(*best.shape, MAX_ATOMIC_NUMBER)
    return found.scatter_(2, places, atoms), score


def _widest(counts: list[int]) -> int:
    """Number of elements to try per site; at least the number of sites, so that an assignment
    of different elements always exists."""
    width = MAX_ATOMIC_NUMBER
    while width > len(counts) and np.prod([min(width, c) for c in counts]) > _MAX_ASSIGNMENTS:
        width -= 1
    return width


def _same_sites(limits: FormulaLimits) -> Iterator[tuple[int, int]]:
    """Pairs of equivalent sites: exchanging their elements gives the same formula."""
    for k, (amount, which) in enumerate(limits.sites):
        for other in range(k + 1, len(limits.sites)):
            if amount == limits.sites[other][0] and np.array_equal(which, limits.sites[other][1]):
                yield k, other
