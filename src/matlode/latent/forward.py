"""What trained networks answer, in NumPy: who asks a question need not wait for PyTorch to load.

These are the forward passes of ``networks.ResidualNet`` and ``composition_encoder``, functions of
the arrays that an artefact keeps; PyTorch learns, and the tests hold one against the other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.errors import ArtefactError
from matlode.representation.descriptors import element_property_table
from matlode.representation.diffraction import STANDARD_SETTINGS

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

MAX_ELEMENTS = 8
"""Elements of a formula that are looked at, those with the largest fractions."""
SMALLEST_FRACTION = 1e-4
N_HEADS = 4
ELEMENT_SPREAD = 0.3
"""Deviation of what will be learned of elements, before it is."""
NORM_EPSILON = 1e-5
"""PyTorch's, of layer normalisation."""

N_COARSE = (STANDARD_SETTINGS.n_points + 1) // 2
"""Every second point of a pattern."""
ROWS_AT_ONCE = 512
"""Of what is asked: their hidden layers take some megabytes."""

Answer = TypeVar("Answer")
Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
"""Arrays of a network, as PyTorch names them."""
Shapes = dict[str, tuple[int, ...]]


def fitting(arrays: Mapping[str, NDArray[Any]], shapes: Shapes, folder: Path) -> Weights:
    """Arrays in single precision; raises ArtefactError, naming ``folder``, unless they are finite
    real numbers and of just these shapes, none of them empty."""
    found = {name: array.shape for name, array in arrays.items()}
    wrong = sorted({name for name, _ in found.items() ^ shapes.items()})
    if wrong:
        why = f"{wrong[0]} is {found.get(wrong[0])}, wanted {shapes.get(wrong[0])}"
    elif not all(array.dtype.kind == "f" and array.size for array in arrays.values()):
        why = "some are no numbers, or there are none"
    else:
        with np.errstate(over="ignore"):
            weights = {name: array.astype(np.float32) for name, array in arrays.items()}
        if all(np.isfinite(array).all() for array in weights.values()):
            return weights
        why = "they are not finite"
    raise ArtefactError(
        f"{folder}: weights of another architecture or damaged ({why}); remake it with "
        f"`matlode train models {folder.name}`."
    )


def halved(weights: Weights, *, exact: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """As an artefact keeps them: in half precision, but for the ``exact`` ones."""
    return {name: a if name in exact else a.astype(np.float16) for name, a in weights.items()}


def in_blocks(answer: Callable[..., Answer], *columns: NDArray[Any]) -> list[Answer]:
    """What is answered to ROWS_AT_ONCE rows of each column at a time, in order; several blocks
    at once. Of no rows there is one empty block."""
    starts = range(0, max(len(columns[0]), 1), ROWS_AT_ONCE)
    blocks = [[column[at : at + ROWS_AT_ONCE] for column in columns] for at in starts]
    if len(blocks) == 1:
        return [answer(*blocks[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(answer, *zip(*blocks, strict=True)))


class _OneThread:
    """Counts who wants products of matrices by one thread each."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._limit: Any = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """For the block: with more threads sums have another order, and last digits differ."""
        with self._lock:
            if self._inside == 0:
                self._limit = _blas().limit(limits=1, user_api="blas")
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._limit.restore_original_limits()


_one_thread = _OneThread()


@cache
def _blas() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def part(weights: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What lies below ``name``, a module of the network."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)}


def as_part(name: str, shapes: Shapes) -> Shapes:
    """Shapes of a module called ``name`` in the whole."""
    return {f"{name}.{key}": shape for key, shape in shapes.items()}


def residual_net(weights: Weights, x: Floats) -> Floats:
    """(n, n_in) → (n, n_out), see ``networks.ResidualNet``."""
    n_blocks = _n_blocks(weights)
    with _one_thread():
        hidden = _linear(weights, "first", x)
        for i in range(n_blocks):
            gated = _linear(weights, f"blocks.{i}", _norm(weights, f"norms.{i}", hidden))
            hidden += _gate(gated)
        return _linear(weights, "last", _norm(weights, f"norms.{n_blocks}", hidden))


def residual_shapes(weights: Mapping[str, NDArray[Any]], n_in: int, n_out: int) -> Shapes:
    """The shapes of a ``ResidualNet`` as wide and deep as one of these ``weights``."""
    width = len(weights.get("first.bias", ()))
    n_blocks = _n_blocks(weights)
    shapes = {**_linear_shapes("first", n_in, width), **_linear_shapes("last", width, n_out)}
    for i in range(n_blocks):
        shapes |= _linear_shapes(f"blocks.{i}", width, 2 * width)
    for i in range(n_blocks + 1):
        shapes |= _norm_shapes(f"norms.{i}", width)
    return shapes


def read_compositions(weights: Weights, x: Floats) -> Floats:
    """(n, 100) → (n, 3 · width), see ``composition_encoder``; zeros of an unknown composition."""
    out = np.zeros((len(x), n_read(weights)), np.float32)
    counts = np.minimum((x > 0).sum(axis=1), MAX_ELEMENTS)
    with _one_thread():
        of_elements = weights["elements"] + _linear(
            weights, "properties", weights["element_properties"]
        )
        # rows of as many elements go together: no place is left empty
        for n_elements in np.unique(counts[counts > 0]):
            rows = counts == n_elements
            out[rows] = _read_alike(weights, of_elements, x[rows], int(n_elements))
    return out


def n_read(weights: Mapping[str, NDArray[Any]]) -> int:
    """Numbers that compositions are read as."""
    return 3 * len(weights.get("norm.bias", ()))


def composition_shapes(weights: Mapping[str, NDArray[Any]]) -> Shapes:
    """The shapes of a ``CompositionEncoder`` as wide and deep as one of these ``weights``."""
    width = len(weights.get("norm.bias", ())) // N_HEADS * N_HEADS
    table = element_property_table().shape
    shapes = {
        "elements": (MAX_ATOMIC_NUMBER, width),
        "element_properties": table,
        **_linear_shapes("properties", table[1], width),
        **_linear_shapes("amounts.0", 3, width),
        **_linear_shapes("amounts.2", width, width),
        **_norm_shapes("norm", width),
    }
    block = {
        **_norm_shapes("norms.0", width),
        **_norm_shapes("norms.1", width),
        **_linear_shapes("look", width, 3 * width),
        **_linear_shapes("merge", width, width),
        **_linear_shapes("gated", width, 4 * width),
        **_linear_shapes("narrow", 2 * width, width),
    }
    for i in range(_n_blocks(weights, of="merge.bias")):
        shapes |= as_part(f"blocks.{i}", block)
    return shapes


def _read_alike(weights: Weights, of_elements: Floats, x: Floats, n_elements: int) -> Floats:
    """``read_compositions`` of rows that hold so many elements, or more of which so many count."""
    # stable: which of equal amounts count must not depend on the processor
    which = np.argsort(-x, axis=1, kind="stable")[:, :n_elements]
    fraction = np.take_along_axis(x, which, axis=1)
    floored = np.maximum(fraction, np.float32(SMALLEST_FRACTION))
    logarithm = np.log(floored)
    amounts = np.stack([fraction, np.sqrt(floored), logarithm], axis=2)
    tokens = of_elements[which]
    tokens += _linear(weights, "amounts.2", _silu(_linear(weights, "amounts.0", amounts)))
    for i in range(_n_blocks(weights, of="merge.bias")):
        block = part(weights, f"blocks.{i}")
        tokens += _looked_around(block, _norm(block, "norms.0", tokens), logarithm)
        gated = _gate(_linear(block, "gated", _norm(block, "norms.1", tokens)))
        tokens += _linear(block, "narrow", gated)
    tokens = _norm(weights, "norm", tokens)
    mean = (tokens * fraction[:, :, None]).sum(axis=1)
    return np.concatenate([mean, tokens.max(axis=1), tokens.mean(axis=1)], axis=1)


def _looked_around(weights: Weights, x: Floats, bias: Floats) -> Floats:
    """What the tokens (n, n_elements, width) see in each other, more in those of larger ``bias``
    (n, n_elements)."""
    n, n_elements, width = x.shape
    looked = _linear(weights, "look", x).reshape(n, n_elements, 3, N_HEADS, width // N_HEADS)
    query, key, value = looked.transpose(2, 0, 3, 1, 4)
    scores = query @ key.swapaxes(2, 3) / np.float32(np.sqrt(width // N_HEADS))
    scores += bias[:, None, None, :]
    scores -= scores.max(axis=3, keepdims=True)
    shares = np.exp(scores, out=scores)
    shares /= shares.sum(axis=3, keepdims=True)
    seen = (shares @ value).swapaxes(1, 2).reshape(n, n_elements, width)
    return _linear(weights, "merge", seen)


def _linear(weights: Weights, name: str, x: Floats) -> Floats:
    # one product: of more than two axes NumPy would make many small ones
    out: Floats = x.reshape(-1, x.shape[-1]) @ weights[f"{name}.weight"].T
    out += weights[f"{name}.bias"]
    return out.reshape(*x.shape[:-1], out.shape[-1])


def _norm(weights: Weights, name: str, x: Floats) -> Floats:
    out: Floats = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...i,...i->...", out, out)[..., None] / np.float32(x.shape[-1])
    out /= np.sqrt(variance + np.float32(NORM_EPSILON))
    out *= weights[f"{name}.weight"]
    out += weights[f"{name}.bias"]
    return out


def _gate(halves: Floats) -> Floats:
    value, gate = np.split(halves, 2, axis=-1)
    return value * _silu(gate)


def _silu(x: Floats) -> Floats:
    """x · sigmoid(x)."""
    # far below zero exp overflows to infinity, and the quotient is rightly zero
    with np.errstate(over="ignore"):
        below = np.exp(-x)
    below += 1
    return np.divide(x, below, out=below)


def _n_blocks(weights: Mapping[str, Any], *, of: str = "bias") -> int:
    return sum(key.startswith("blocks.") and key.endswith(f".{of}") for key in weights)


def _linear_shapes(name: str, n_in: int, n_out: int) -> Shapes:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def _norm_shapes(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
