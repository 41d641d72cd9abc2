"""Convert PyTorch networks to the arrays of an artefact, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from matlode.artefacts import MALFORMED
from matlode.errors import ArtefactError
from matlode.latent.forward import halve_precision

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def export_weights(network: nn.Module) -> dict[str, NDArray[np.floating]]:
    """Weights by name in half precision, as artefacts store them."""
    return halve_precision(extract_weights(network))


def extract_weights(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Weights by name in the precision that the network has."""
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def restore_network(
    make: Callable[[], AnyNetwork], weights: Mapping[str, NDArray[np.number]], folder: Path
) -> AnyNetwork:
    """Restore a network in evaluation mode from ``export_weights``.

    ``make`` returns an untrained network of the same architecture. Raises ArtefactError, naming
    ``folder``, if the weights do not fit it or are not finite.
    """
    try:
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise ValueError("some values are not finite")
        with _no_larger_than(sum(array.size for array in weights.values())):
            network = make()
        network.load_state_dict({name: torch.from_numpy(a) for name, a in weights.items()})
    except MALFORMED as error:  # other shapes, or unknown arguments in the header
        raise ArtefactError(
            f"{folder}: weights are damaged or of another architecture ({error}); run "
            f"`matlode train models {folder.name}` to train the model again."
        ) from error
    return network.eval()


@contextmanager
def _no_larger_than(n_weights: int) -> Iterator[None]:
    """Raise ValueError in the block before a network with many more weights is initialised:
    a foreign header may claim any size."""
    left = 2 * n_weights + 1000

    def count(module: nn.Module, name: str, weights: nn.Parameter | None) -> None:
        nonlocal left
        left -= 1 if weights is None else weights.numel() + 1
        if left < 0:
            raise ValueError("the header describes a larger network than the weights belong to")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
