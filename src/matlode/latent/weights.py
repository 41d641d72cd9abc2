"""Networks as the arrays of an artefact, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from matlode.errors import ArtefactError

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


def kept_weights(network: nn.Module, *, exact: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """Weights by name, in half precision but for the ``exact`` ones."""
    arrays = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    return {name: a if name in exact else a.astype(np.float16) for name, a in arrays.items()}


def network_of(
    make: Callable[[], AnyNetwork], weights: Mapping[str, NDArray[Any]], folder: Path
) -> AnyNetwork:
    """The network that ``kept_weights`` were of, ready to answer; ``make`` gives an untrained one.

    Raises ArtefactError, naming ``folder``, for weights of another architecture.
    """
    try:
        network = make()
        network.load_state_dict({name: torch.from_numpy(a) for name, a in weights.items()})
    except (RuntimeError, TypeError) as error:  # sizes, or arguments that are not known
        raise ArtefactError(
            f"{folder}: weights of another architecture ({error}); remake it with "
            f"`matlode train {folder.name}`."
        ) from error
    return network.eval()
