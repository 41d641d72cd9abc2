"""Splitting of long sequences into parts, so that memory does not grow with their length."""

from __future__ import annotations


def split_range(n: int, size: int) -> list[slice]:
    """Return consecutive slices of at most ``size`` elements that cover 0..n - 1.

    >>> split_range(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
