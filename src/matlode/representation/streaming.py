"""Compute patterns and descriptors of tables of any size and write them to .npy files.

A table is read part by part. Each part is computed by an engine and written to its rows of
``NAME.npy``, so that memory does not grow with the table. The crystals are sent with the tasks, so
workers need no shared file system.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.artefacts import write_text
from matlode.data.cleaning import find_problems
from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals
from matlode.data.tables import BATCH_ROWS, count_rows, read_crystal_batches
from matlode.engine import Engine, Here
from matlode.errors import InputError, PatternError, suggest
from matlode.progress import Progress, silent
from matlode.representation.composition import composition_vectors
from matlode.representation.descriptors import (
    compute_composition_descriptors,
    compute_pattern_descriptors,
    list_composition_descriptors,
    list_pattern_descriptors,
)
from matlode.representation.diffraction import (
    STANDARD_SETTINGS,
    DiffractionSettings,
    simulate_patterns,
)

HEADER = "arrays.json"
UNUSABLE = "unusable.csv"


@dataclass(frozen=True)
class Quantity:
    """A quantity that can be computed for every crystal."""

    width: Callable[[DiffractionSettings], int]
    """Number of values per crystal."""
    compute: Callable[[Crystals, NDArray[np.float32], DiffractionSettings], NDArray[np.floating]]
    """Function of the crystals and their patterns that returns (n, width)."""


QUANTITIES = {
    "patterns": Quantity(lambda settings: settings.n_points, lambda _, patterns, __: patterns),
    "compositions": Quantity(
        lambda _: MAX_ATOMIC_NUMBER, lambda crystals, _, __: composition_vectors(crystals)
    ),
    "composition-descriptors": Quantity(
        lambda _: len(list_composition_descriptors()),
        lambda crystals, _, __: compute_composition_descriptors(composition_vectors(crystals)),
    ),
    "pattern-descriptors": Quantity(
        lambda _: len(list_pattern_descriptors()),
        lambda _, patterns, settings: compute_pattern_descriptors(patterns, settings),
    ),
}
"""Quantities by name; each is written to NAME.npy, float32, one row per row of the table."""


def stream_table(
    table: Path,
    out: Path,
    names: str | Sequence[str] = ("patterns",),
    *,
    settings: DiffractionSettings = STANDARD_SETTINGS,
    engine: Engine | None = None,
    batch_rows: int = BATCH_ROWS,
    progress: Progress = silent,
) -> Path:
    """Compute ``names`` (keys of QUANTITIES) for every crystal of a Parquet table.

    Writes NAME.npy, (rows of the table, width) float32, to the folder ``out``; it can be read with
    ``numpy.load(mmap_mode="r")``. Rows of crystals that cannot be used are zero; they are listed
    with the reason in unusable.csv. The workers of ``engine`` (default: this process, which uses
    threads) compute, with the same result. Returns the path of the header, arrays.json, which is
    written last. Raises InputError for unknown names and unreadable tables.

    >>> stream_table(Path("materials.parquet"), Path("arrays"))  # doctest: +SKIP
    PosixPath('arrays/arrays.json')
    """
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in QUANTITIES:
            raise InputError(f'unknown quantity "{name}". {suggest(name, QUANTITIES)}')
    n_rows = count_rows(table)
    out.mkdir(parents=True, exist_ok=True)
    (out / HEADER).unlink(missing_ok=True)
    shapes = {name: (n_rows, QUANTITIES[name].width(settings)) for name in names}
    parts = (engine or Here()).stream(
        partial(compute_part, names=names, settings=settings),
        read_crystal_batches(table, batch_rows),
    )
    unusable: list[tuple[int, str]] = []
    done = 0
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(_RowFile(out / f"{name}.npy", shape))
            for name, shape in shapes.items()
        }
        for part in parts:
            for name, values in part.arrays.items():
                files[name].write(done, values)
            unusable += [(done + row, reason) for row, reason in part.unusable]
            done += part.n_rows
            progress("crystals", done, n_rows)
    frame = pd.DataFrame(unusable, columns=["row", "reason"])
    write_text(out / UNUSABLE, frame.to_csv(index=False))
    header = {
        "table": table.name,
        "rows": n_rows,
        "unusable": len(unusable),
        "arrays": {name: list(shape) for name, shape in shapes.items()},
        "diffraction": settings.as_dict(),
    }
    write_text(out / HEADER, json.dumps(header, indent=1) + "\n")
    return out / HEADER


class _RowFile:
    """A .npy file of float32 rows.

    The file is not mapped, since mapped pages count as memory of the process until written.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        array = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        self.begin, self.row_bytes = array.offset, array.strides[0]
        self.stream = path.open("r+b")

    def __enter__(self) -> _RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, row: int, values: NDArray[np.float32]) -> None:
        """Write ``values`` (n, width) to the rows row..row + n - 1."""
        self.stream.seek(self.begin + row * self.row_bytes)
        self.stream.write(np.ascontiguousarray(values, np.float32).data)


@dataclass(frozen=True)
class Part:
    """The quantities of consecutive rows of a table."""

    n_rows: int
    arrays: dict[str, NDArray[np.float32]]
    """Arrays (n_rows, width) by name."""
    unusable: list[tuple[int, str]]
    """Rows of this part that cannot be used, with the reason."""


def compute_part(crystals: Crystals, names: Sequence[str], settings: DiffractionSettings) -> Part:
    """Compute the quantities of some crystals; those of unusable crystals are zero."""
    unusable = {row: why for row, why in enumerate(find_problems(crystals)) if why}
    wanted = {"patterns", "pattern-descriptors"} & set(names)
    patterns = np.empty((0, settings.n_points), np.float32)
    while True:
        good = np.ones(len(crystals), dtype=bool)
        good[list(unusable)] = False
        usable = crystals if good.all() else crystals.take(good)
        try:
            if wanted:
                patterns = simulate_patterns(usable, settings)
            break
        except PatternError as error:
            rows = np.flatnonzero(good)[list(error.indices)]
            unusable |= dict.fromkeys(rows.tolist(), error.reason)
    arrays = {}
    for name in names:
        values = QUANTITIES[name].compute(usable, patterns, settings).astype(np.float32, copy=False)
        if not good.all():
            whole = np.zeros((len(crystals), values.shape[1]), np.float32)
            whole[good] = values
            values = whole
        arrays[name] = values
    return Part(len(crystals), arrays, sorted(unusable.items()))
