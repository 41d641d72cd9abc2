"""Forward passes of trained networks in NumPy, so that predictions need not import PyTorch.

Functions of the weights in an artefact that reproduce ``networks.ResidualNet`` and
``composition_encoder.CompositionEncoder``. PyTorch is used for training only; the tests compare
both implementations.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.engine import count_threads
from matlode.errors import ArtefactError
from matlode.representation.descriptors import tabulate_element_properties
from matlode.representation.diffraction import STANDARD_SETTINGS

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

MAX_ELEMENTS = 8
"""Only this many elements of a formula are used: those with the largest fractions."""
SMALLEST_FRACTION = 1e-4
"""Smaller fractions are raised to this before a root or logarithm is taken."""
N_HEADS = 4
"""Attention heads."""
ELEMENT_SPREAD = 0.3
"""Standard deviation of the element vectors when training starts."""
NORM_EPSILON = 1e-5
"""Added to the variance in layer normalisation; PyTorch's default."""

N_COARSE = (STANDARD_SETTINGS.n_points + 1) // 2
"""Points of a pattern that networks use: every second one."""
ROWS_AT_ONCE = 256
"""Rows that are evaluated together; their hidden layers take a few megabytes."""

Output = TypeVar("Output")
AnyArray = TypeVar("AnyArray", bound=NDArray[np.generic])
Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]
"""Weights of a network under the names of PyTorch's ``state_dict``."""
Shapes = dict[str, tuple[int, ...]]


def check_weights(
    arrays: Mapping[str, NDArray[np.generic]], shapes: Shapes, folder: Path
) -> Weights:
    """Convert weights to single precision after checking names, shapes and values.

    Raises ArtefactError, naming ``folder``, unless ``arrays`` have exactly these names and
    shapes, are not empty, and hold finite floating-point numbers.
    """
    found = {name: array.shape for name, array in arrays.items()}
    wrong = sorted({name for name, _ in found.items() ^ shapes.items()})
    if wrong:
        why = f"{wrong[0]} has shape {found.get(wrong[0])}, expected {shapes.get(wrong[0])}"
    elif not all(array.dtype.kind == "f" and array.size for array in arrays.values()):
        why = "an array is empty or does not hold floating-point numbers"
    else:
        with np.errstate(over="ignore"):
            weights = {name: array.astype(np.float32) for name, array in arrays.items()}
        if all(np.isfinite(array).all() for array in weights.values()):
            return weights
        why = "some values are not finite"
    raise ArtefactError(
        f"{folder}: weights are damaged or of another architecture ({why}); run "
        f"`matlode train models {folder.name}` to train the model again."
    )


def halve_precision(
    weights: Weights, *, exact: tuple[str, ...] = ()
) -> dict[str, NDArray[np.floating]]:
    """Convert weights to half precision, as artefacts store them, except those named ``exact``."""
    return {name: a if name in exact else a.astype(np.float16) for name, a in weights.items()}


def map_blocks(function: Callable[..., Output], *columns: NDArray[np.generic]) -> list[Output]:
    """Call ``function`` with blocks of ROWS_AT_ONCE rows of each column, on several threads.

    Returns one output per block, in order. Columns without rows make one empty block.
    """
    starts = range(0, max(len(columns[0]), 1), ROWS_AT_ONCE)
    blocks = [[column[at : at + ROWS_AT_ONCE] for column in columns] for at in starts]
    with one_thread(), ThreadPoolExecutor(count_threads()) as pool:
        return list(pool.map(function, *zip(*blocks, strict=True)))


class _OneThread:
    """Limits BLAS and PyTorch to one thread while any caller is inside the context."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._restore: Callable[[], None]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Limit threads in the block: more of them sum in another order and change last digits."""
        with self._lock:
            if self._inside == 0:
                self._restore = _limit_threads()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._restore()


one_thread = _OneThread()
"""A context in which products use one thread; blocks of rows are what runs side by side."""


def _limit_threads() -> Callable[[], None]:
    """Limit products to one thread; returns a function that lifts the limit."""
    limit = _blas().limit(limits=1, user_api="blas")
    torch = sys.modules.get("torch")  # where it was never imported, it computes nothing
    if torch is None:
        return limit.restore_original_limits
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def restore() -> None:
        limit.restore_original_limits()
        torch.set_num_threads(before)

    return restore


@cache
def _blas() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def select_part(weights: Mapping[str, AnyArray], name: str) -> dict[str, AnyArray]:
    """Select the weights of the submodule ``name``, under their names within it."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)}


def prefix_shapes(name: str, shapes: Shapes) -> Shapes:
    """Put the name of a submodule before the names of its weights."""
    return {f"{name}.{key}": shape for key, shape in shapes.items()}


def apply_residual_net(weights: Weights, x: Floats) -> Floats:
    """Apply a ``networks.ResidualNet`` to ``x`` (n, n_in); returns (n, n_out)."""
    n_blocks = _n_blocks(weights)
    with one_thread():
        hidden = _linear(weights, "first", x)
        for i in range(n_blocks):
            gated = _linear(weights, f"blocks.{i}", _norm(weights, f"norms.{i}", hidden))
            hidden += _gate(gated)
        return _linear(weights, "last", _norm(weights, f"norms.{n_blocks}", hidden))


def residual_shapes(weights: Mapping[str, NDArray[np.generic]], n_in: int, n_out: int) -> Shapes:
    """Expected shapes of a ``ResidualNet``, with the width and depth that ``weights`` have."""
    width = len(weights.get("first.bias", ()))
    n_blocks = _n_blocks(weights)
    shapes = {**_linear_shapes("first", n_in, width), **_linear_shapes("last", width, n_out)}
    for i in range(n_blocks):
        shapes |= _linear_shapes(f"blocks.{i}", width, 2 * width)
    for i in range(n_blocks + 1):
        shapes |= _norm_shapes(f"norms.{i}", width)
    return shapes


def encode_compositions(weights: Weights, x: Floats) -> Floats:
    """Apply a ``CompositionEncoder`` to compositions (n, 100); returns (n, 3 · width).

    A row of zeros stands for an unknown composition and gives zeros.
    """
    out = np.zeros((len(x), n_encoded(weights)), np.float32)
    counts = np.minimum((x > 0).sum(axis=1), MAX_ELEMENTS)
    with one_thread():
        of_elements = weights["elements"] + _linear(
            weights, "properties", weights["element_properties"]
        )
        # rows with the same number of elements form one batch: no padding
        for n_elements in np.unique(counts[counts > 0]):
            rows = counts == n_elements
            out[rows] = _encode_equal_counts(weights, of_elements, x[rows], int(n_elements))
    return out


def n_encoded(weights: Mapping[str, NDArray[np.generic]]) -> int:
    """Number of columns that a ``CompositionEncoder`` with these weights returns."""
    return 3 * len(weights.get("norm.bias", ()))


def composition_shapes(weights: Mapping[str, NDArray[np.generic]]) -> Shapes:
    """Expected shapes of a ``CompositionEncoder``, with the width and depth of ``weights``."""
    width = len(weights.get("norm.bias", ())) // N_HEADS * N_HEADS
    table = tabulate_element_properties().shape
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
        shapes |= prefix_shapes(f"blocks.{i}", block)
    return shapes


def _encode_equal_counts(
    weights: Weights, of_elements: Floats, x: Floats, n_elements: int
) -> Floats:
    """Encode compositions by their ``n_elements`` largest fractions; no row has fewer."""
    # stable: the choice among equal amounts must not depend on the processor
    which = np.argsort(-x, axis=1, kind="stable")[:, :n_elements]
    fraction = np.take_along_axis(x, which, axis=1)
    floored = np.maximum(fraction, np.float32(SMALLEST_FRACTION))
    logarithm = np.log(floored)
    amounts = np.stack([fraction, np.sqrt(floored), logarithm], axis=2)
    tokens = of_elements[which]
    tokens += _linear(weights, "amounts.2", _silu(_linear(weights, "amounts.0", amounts)))
    for i in range(_n_blocks(weights, of="merge.bias")):
        block = select_part(weights, f"blocks.{i}")
        tokens += _attend(block, _norm(block, "norms.0", tokens), logarithm)
        gated = _gate(_linear(block, "gated", _norm(block, "norms.1", tokens)))
        tokens += _linear(block, "narrow", gated)
    tokens = _norm(weights, "norm", tokens)
    mean = (tokens * fraction[:, :, None]).sum(axis=1)
    return np.concatenate([mean, tokens.max(axis=1), tokens.mean(axis=1)], axis=1)


def _attend(weights: Weights, x: Floats, bias: Floats) -> Floats:
    """Self-attention among tokens (n, n_elements, width); ``bias`` (n, n_elements) is added to
    the scores of the tokens attended to."""
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
    # flattened to one product: with more than two axes NumPy computes many small ones
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
    # far below zero exp overflows to infinity, and the quotient is correctly zero
    with np.errstate(over="ignore"):
        below = np.exp(-x)
    below += 1
    return np.divide(x, below, out=below)


def _n_blocks(weights: Mapping[str, object], *, of: str = "bias") -> int:
    return sum(key.startswith("blocks.") and key.endswith(f".{of}") for key in weights)


def _linear_shapes(name: str, n_in: int, n_out: int) -> Shapes:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def _norm_shapes(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
