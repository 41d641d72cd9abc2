"""Compact coding of sorted integers (Elias, J. ACM 21, 246, 1974; Fano, MIT, 1971).

The low bits of each integer are stored as they are. The high bits are stored in unary: bit
``high + i`` of a bitmap is set for integer i. An integer takes about 2 bits more than the
logarithm of the mean gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Low bits and bitmap, both packed into bytes."""


def encode_sorted(values: NDArray[np.uint64], n_bits: int) -> Codes:
    """Encode distinct ascending integers (n,) below 2**n_bits.

    Raises ValueError for other integers.
    """
    _check_values(values, n_bits)
    n_low = _count_low_bits(len(values), n_bits)
    bits = np.unpackbits(values.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    bitmap = np.zeros(_size_bitmap(len(values), n_bits), np.uint8)
    bitmap[(values >> np.uint64(n_low)).astype(np.int64) + np.arange(len(values))] = 1
    return np.packbits(bits[:, 64 - n_low :]), np.packbits(bitmap)


def decode_sorted(codes: Codes, n: int, n_bits: int) -> NDArray[np.uint64]:
    """Decode the n integers below 2**n_bits that ``encode_sorted`` encoded.

    Raises ValueError if the arrays do not hold n such integers.
    """
    n_low = _count_low_bits(n, n_bits)
    for name, array, size in zip(
        ("low bits", "bitmap"), codes, (n * n_low, _size_bitmap(n, n_bits)), strict=True
    ):
        wanted = -(-size // 8)
        if array.dtype != np.uint8 or array.shape != (wanted,):
            raise ValueError(
                f"{name} {array.dtype}{list(array.shape)}; {n} integers need uint8[{wanted}]"
            )
    low, high = codes
    places = np.flatnonzero(np.unpackbits(high))
    if len(places) != n:
        raise ValueError(f"{len(places)} bits of the bitmap are set, expected {n}")
    bits = np.zeros((n, 64), np.uint8)
    bits[:, 64 - n_low :] = np.unpackbits(low, count=n * n_low).reshape(n, n_low)
    values = (places - np.arange(n)).astype(np.uint64) << np.uint64(n_low)
    values |= np.packbits(bits).view(">u8").astype(np.uint64)
    _check_values(values, n_bits)
    return values


def _check_values(values: NDArray[np.uint64], n_bits: int) -> None:
    if np.any(values[1:] <= values[:-1]) or np.any(values >> np.uint64(n_bits)):
        raise ValueError(f"the integers are not ascending numbers below 2**{n_bits}")


def _count_low_bits(n: int, n_bits: int) -> int:
    """Logarithm of the mean gap, rounded down: the number that takes least space."""
    return max(0, ((1 << n_bits) // max(2, n)).bit_length() - 1)


def _size_bitmap(n: int, n_bits: int) -> int:
    return n + (1 << n_bits - _count_low_bits(n, n_bits))
