from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from numpy.testing import assert_allclose

from matlode.errors import ArtefactError
from matlode.latent.networks import ResidualNet
from matlode.latent.weights import export_weights, extract_weights, restore_network

SMALL = {"n_in": 5, "n_out": 2, "width": 8, "blocks": 2}


def test_weights_come_back():
    network = ResidualNet(**SMALL).eval()
    weights = extract_weights(network)
    again = restore_network(partial(ResidualNet, **SMALL), weights, Path("x"))
    x = torch.ones(3, 5)
    assert_allclose(again(x).detach(), network(x).detach())


@pytest.mark.parametrize(
    "sizes",
    [{"width": 10**5}, {"width": 2**40}, {"blocks": 10**9}],
)
def test_sizes_of_a_foreign_header_take_neither_memory_nor_time(sizes):
    weights = export_weights(ResidualNet(**SMALL))
    with pytest.raises(ArtefactError, match="weights are damaged or of another architecture"):
        restore_network(partial(ResidualNet, **{**SMALL, **sizes}), weights, Path("x"))
    # and only there
    assert ResidualNet(**{**SMALL, "width": 64}).first.weight.numel() == 5 * 64


def test_weights_that_are_no_numbers_are_refused():
    weights = export_weights(ResidualNet(**SMALL))
    weights["first.weight"][0, 0] = float("nan")
    with pytest.raises(ArtefactError, match="not finite"):
        restore_network(partial(ResidualNet, **SMALL), weights, Path("x"))
