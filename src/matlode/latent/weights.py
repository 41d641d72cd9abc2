"""Networks as the arrays of an artefact, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from matlode.artefacts import MALFORMED
from matlode.errors import ArtefactError
from matlode.latent.forward import halved

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def kept_weights(network: nn.Module) -> dict[str, NDArray[Any]]:
    """Weights by name, in half precision."""
    return halved(learned_weights(network))


def learned_weights(network: nn.Module) -> dict[str, NDArray[Any]]:
    """Weights by name, as they are."""
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def network_of(
    make: Callable[[], AnyNetwork], weights: Mapping[str, NDArray[Any]], folder: Path
) -> AnyNetwork:
    """The network that ``kept_weights`` were of, ready to answer; ``make`` gives an untrained one.

    Raises ArtefactError, naming ``folder``, for weights of another architecture or not finite.
    """
    try:
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise ValueError("they are not finite")
        with _no_larger_than(sum(array.size for array in weights.values())):
            network = make()
        network.load_state_dict({name: torch.from_numpy(a) for name, a in weights.items()})
    except MALFORMED as error:  # sizes, or arguments that are not known
        raise ArtefactError(
            f"{folder}: weights of another architecture or damaged ({error}); remake it with "
            f"`matlode train models {folder.name}`."
        ) from error
    return network.eval()


@contextmanager
def _no_larger_than(n_weights: int) -> Iterator[None]:
    """Raises ValueError in the block before a network is filled that has many more weights: the
    sizes of a foreign header may be any."""
    left = 2 * n_weights + 1000

    def count(module: nn.Module, name: str, weights: nn.Parameter | None) -> None:
        nonlocal left
        left -= 1 if weights is None else weights.numel() + 1
        if left < 0:
            raise ValueError("its header tells of a larger network than its weights are")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
