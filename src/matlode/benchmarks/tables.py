"""Tables of results, as benchmarks return and print them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from matlode.records import Cell

Row: TypeAlias = Mapping[str, Cell]
"""Heading → cell."""
Tables: TypeAlias = Mapping[str, Sequence[Row]]
"""Title → rows; all rows of a table have the same headings."""
