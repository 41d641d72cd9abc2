"""Decoded formulas keep every limit, by construction, and are the likeliest that do."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from matlode.latent.formula_limits import FormulaLimits
from matlode.latent.formula_search import find_likeliest_formulas
from matlode.latent.space import LatentSpace

N = 100
SLOTS, AMOUNTS = 8, 64


def heads(seed, n=4, spread=4.0):
    rng = torch.Generator().manual_seed(seed)
    support = spread * torch.randn(n, N, generator=rng) - 3
    return support, 2 * torch.randn(n, SLOTS, AMOUNTS, generator=rng)


def mask(elements):
    found = np.zeros(N, dtype=bool)
    found[list(elements)] = True
    return found


def check(amounts, limits):
    present = amounts > 0
    assert not present[..., ~limits.allowed].any()
    assert present[..., limits.required].all()
    count = present.sum(-1)
    if limits.sites:
        for row in amounts.reshape(-1, N):
            atoms = sorted(row[row > 0].tolist())
            assert atoms == sorted(n for n, _ in limits.sites)
            assert any(
                all(
                    which[e] and row[e] == n
                    for e, (n, which) in zip(order, limits.sites, strict=True)
                )
                for order in permutations(np.flatnonzero(row))
            )
        return
    assert ((count >= limits.min_elements) & (count <= limits.max_elements)).all()
    assert ((amounts.sum(-1) <= limits.max_atoms) & (amounts.sum(-1) > 0)).all()


@st.composite
def keepable(draw):
    """Limits that some formula can keep."""
    allowed = draw(st.sets(st.integers(0, N - 1), min_size=1, max_size=N))
    required = draw(st.sets(st.sampled_from(sorted(allowed)), max_size=4))
    most = draw(st.integers(max(1, len(required)), 8))
    fewest = draw(st.integers(1, min(most, len(allowed))))
    atoms = draw(st.integers(max(fewest, len(required)), 40))
    return FormulaLimits(
        allowed=mask(allowed), required=mask(required), min_elements=fewest, max_elements=most,
        max_atoms=atoms,
    )  # fmt: skip


@given(seed=st.integers(0, 1000), limits=keepable())
def test_the_likeliest_formulas_keep_every_limit(seed, limits):
    amounts, score = find_likeliest_formulas(*heads(seed), 3, limits)
    found = score > -torch.inf
    assert found[:, 0].all()
    assert (score[:, :-1] >= score[:, 1:]).all()
    check(amounts[found].numpy(), limits)


@st.composite
def stoichiometries(draw):
    amounts = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    places = draw(st.permutations(range(N)))[: len(amounts)]
    # every site may at least hold an element of its own
    sites = [mask({own, *draw(st.sets(st.integers(0, N - 1), max_size=60))}) for own in places]
    required = draw(st.sets(st.sampled_from(places), max_size=2))
    return FormulaLimits(required=mask(required), sites=tuple(zip(amounts, sites, strict=True)))


@given(seed=st.integers(0, 1000), limits=stoichiometries())
def test_a_stoichiometry_is_kept(seed, limits):
    amounts, score = find_likeliest_formulas(*heads(seed), 1, limits)
    assert (score > -torch.inf).all()
    check(amounts.numpy(), limits)


def test_the_likeliest_assignment_is_found():
    support, logits = heads(5, n=2)
    sites = ((1, mask(range(0, 6))), (2, mask(range(3, 9))), (3, mask(range(8, 12))))
    amounts, _ = find_likeliest_formulas(support, logits, 1, FormulaLimits(sites=sites))
    log_amount = torch.log_softmax(logits, 2)
    for row in range(2):
        best, chosen = -np.inf, None
        for a in range(0, 6):
            for b in range(3, 9):
                for c in range(8, 12):
                    placed = {a: 1, b: 2, c: 3}
                    if len(placed) < 3:
                        continue
                    worth = sum(float(support[row, e]) for e in placed)
                    for slot, element in enumerate(sorted(placed)):
                        worth += float(log_amount[row, slot, placed[element] - 1])
                    if worth > best:
                        best, chosen = worth, placed
        found = {e: int(n) for e, n in enumerate(amounts[row, 0]) if n}
        assert found == chosen


@pytest.fixture(scope="module")
def space():
    return LatentSpace.load()


@pytest.mark.parametrize(
    "limits",
    [
        FormulaLimits(allowed=mask(range(3, 30)), max_elements=3, max_atoms=9),
        FormulaLimits(required=mask([7]), min_elements=3, max_elements=4, max_atoms=12),
        FormulaLimits(
            allowed=~mask([26, 47]), sites=((1, ~mask([7])), (1, ~mask([])), (3, mask([7, 15])))
        ),
    ],
)
def test_ten_thousand_points_keep_hard_limits(space, limits):
    rng = np.random.default_rng(0)
    amounts = space.formulas(2 * rng.standard_normal((10_000, space.size)), limits)
    check(amounts, limits)
