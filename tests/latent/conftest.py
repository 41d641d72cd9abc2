from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch

from matlode.latent.networks import (
    AUTOENCODERS,
    ReferenceCompositionVAE,
    ReferencePatternVAE,
    StandardCompositionVAE,
    StandardPatternVAE,
)

TINY = {
    ("reference", "composition"): partial(ReferenceCompositionVAE, units=(12, 8)),
    ("reference", "pattern"): partial(ReferencePatternVAE, filters=(2, 3, 2), units=(8, 6)),
    ("standard", "composition"): partial(StandardCompositionVAE, width=16, blocks=1),
    ("standard", "pattern"): partial(StandardPatternVAE, width=16, blocks=1),
}
"""(face, view) → the architecture with few units."""


@pytest.fixture(autouse=True, scope="package")
def _reproducible_torch() -> Iterator[None]:
    """One thread, so that sums have one order; every warning, not the first of its kind."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)
    torch.set_num_threads(n_threads)


@pytest.fixture
def tiny_autoencoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry, with tiny networks behind the same names."""
    for key, build in TINY.items():
        monkeypatch.setitem(AUTOENCODERS, key, build)
