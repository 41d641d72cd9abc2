"""What hypothesis draws: cells, crystals, formulas and patterns."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pymatgen.core import Lattice, Structure

from matlode.data.formulas import element_symbols

SYMBOLS = element_symbols()[:94]
"""Hydrogen to plutonium."""


def reals(low: float, high: float) -> SearchStrategy[float]:
    """Numbers to three decimals: as cells are written, and never equal but for 1e-300."""
    return st.integers(round(1000 * low), round(1000 * high)).map(lambda n: n / 1000)


@st.composite
def cells(draw: st.DrawFn, shortest: float = 3.0, longest: float = 7.0) -> np.ndarray:
    """Cell vectors as rows, Å, from cubic to well skewed."""
    lengths = [draw(reals(shortest, longest)) for _ in range(3)]
    skews = [draw(reals(-0.4, 0.4)) for _ in range(3)]
    return np.array(
        [
            [lengths[0], 0.0, 0.0],
            [skews[0] * lengths[1], lengths[1], 0.0],
            [skews[1] * lengths[2], skews[2] * lengths[2], lengths[2]],
        ]
    )


@st.composite
def crystals(draw: st.DrawFn, max_atoms: int = 5) -> Structure:
    """Any cell with up to three elements anywhere; none so light that a pattern is all noise."""
    elements = st.sampled_from(draw(st.lists(st.integers(3, 94), min_size=1, max_size=3)))
    numbers = draw(st.lists(elements, min_size=1, max_size=max_atoms))
    places = st.tuples(reals(0, 0.999), reals(0, 0.999), reals(0, 0.999))
    sites = draw(st.lists(places, min_size=len(numbers), max_size=len(numbers)))
    return Structure(Lattice(draw(cells())), numbers, sites)


@st.composite
def unimodular_matrices(draw: st.DrawFn) -> np.ndarray:
    """Integer matrices of determinant ±1: other cells of the same lattice."""
    matrix = np.eye(3, dtype=int)[list(draw(st.permutations(range(3))))]
    for _ in range(draw(st.integers(1, 3))):
        row, other = draw(st.permutations(range(3)))[:2]
        matrix[row] += draw(st.sampled_from([-1, 1])) * matrix[other]
    return matrix


@st.composite
def rotations(draw: st.DrawFn) -> np.ndarray:
    """Proper rotations, from Euler angles."""
    matrix = np.eye(3)
    for axis in (2, 0, 2):
        angle = draw(reals(0, 2 * math.pi))
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix


@st.composite
def amounts(
    draw: st.DrawFn, max_elements: int = 5, max_amount: int = 12, max_atoms: int | None = None
) -> dict[str, int]:
    """Element → whole amount, of common divisor 1, in any order."""
    symbols = draw(
        st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=max_elements, unique=True)
    )
    left = max_atoms or max_elements * max_amount
    counts = {}
    for at, symbol in enumerate(symbols):
        most = min(max_amount, left - (len(symbols) - 1 - at))
        counts[symbol] = draw(st.integers(1, most))
        left -= counts[symbol]
    divisor = math.gcd(*counts.values())
    return {symbol: n // divisor for symbol, n in counts.items()}


def formula_texts(**limits: int) -> SearchStrategy[str]:
    """Reduced formulas with their elements in any order."""
    return amounts(**limits).map(lambda drawn: "".join(f"{s}{n}" for s, n in drawn.items()))
