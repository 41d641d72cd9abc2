"""Large structure tables, a part at a time, so that memory does not grow with the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from matlode.data.crystals import ALL_CRYSTAL_COLUMNS, Crystals
from matlode.data.tables import parquet_file

BATCH_ROWS = 4096
"""Crystals read at once: some megabytes, and enough work to share among threads."""


def count_rows(table: Path) -> int:
    """Rows of a Parquet table, from its footer. Raises InputError if it cannot be read."""
    with parquet_file(table) as file:
        return file.metadata.num_rows


def crystal_batches(table: Path, n_rows: int = BATCH_ROWS) -> Iterator[Crystals]:
    """The crystals of a Parquet table, ``n_rows`` at a time, in order.

    Only the crystal columns of one row group are in memory. Raises InputError if the table
    cannot be read or lacks the columns.
    """
    with parquet_file(table) as file:
        present = [n for n in ALL_CRYSTAL_COLUMNS if n in file.schema_arrow.names]
        for batch in file.iter_batches(n_rows, columns=present):
            batch.validate(full=True)  # damaged lists would be read beyond their ends
            yield Crystals.from_table(pa.Table.from_batches([batch]))
