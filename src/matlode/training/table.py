"""Training data: materials with their patterns, compositions, roles in the split and labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.data.formulas import canonicalise_formula
from matlode.data.splits import Fold, split_by_formula
from matlode.data.tables import (
    Materials,
    checksum,
    find_full_table,
    find_starter,
    load_materials,
    parquet_file,
)
from matlode.properties.endpoints import Endpoint
from matlode.records import DroppedRow
from matlode.representation.composition import (
    composition_vectors,
)
from matlode.representation.diffraction import (
    STANDARD_SETTINGS,
    simulate_patterns,
    simulate_possible,
)
from matlode.representation.environments import compute_crystal_descriptors
from matlode.version import __version__


@dataclass(frozen=True)
class TrainingTable:
    """Materials and formulas that models are trained on."""

    materials: Materials
    source: str
    sha256: str
    formulas: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Values known of formulas alone: one row per canonical formula, one column per source."""
    known_formulas: Path | None = None
    """The file known_formulas.npz beside the table, if there is one."""
    fold: Fold | None = None
    """Test fold of a cross-validation; None for the split of the shipped models."""

    @classmethod
    def load(cls, path: Path | None = None) -> TrainingTable:
        """Load the named table (``path`` or $MATLODE_DATA), else the starter set.

        A ``compositions.parquet`` beside the table (columns formula, source, value) adds its
        formulas; of several values the median is used. A ``known_formulas.npz`` beside it has the
        lists of known formulas.
        """
        table = find_full_table(path)
        materials = load_materials(path)
        if table is None:
            return cls(_with_patterns(materials), "starter set", checksum(find_starter()))
        listed = table.with_name("known_formulas.npz")
        loaded = cls(
            _with_patterns(materials),
            table.name,
            checksum(table),
            known_formulas=listed if listed.is_file() else None,
        )
        extra = table.with_name("compositions.parquet")
        if extra == table or not extra.is_file():
            return loaded
        with parquet_file(extra) as file:
            values = file.read(["formula", "source", "value"]).to_pandas()
        unique = values["formula"].unique()
        names = pd.Series([canonicalise_formula(name) for name in unique], index=unique)
        values["formula"] = values["formula"].map(names)
        wide = values.groupby(["formula", "source"])["value"].median().unstack()
        return replace(loaded, formulas=wide)

    @property
    def extra_formulas(self) -> list[str]:
        """Formulas without a structure, the index of ``formulas``."""
        return [str(formula) for formula in self.formulas.index]

    @cached_property
    def patterns(self) -> NDArray[np.float32]:
        """(n, 1601), simulated."""
        return simulate_patterns(self.materials.crystals)

    @cached_property
    def compositions(self) -> NDArray[np.float64]:
        """(n, 100)."""
        return composition_vectors(self.materials.crystals)

    @cached_property
    def crystal_descriptors(self) -> NDArray[np.float64]:
        """(n, n_descriptors)."""
        groups = self.materials.frame["space_group"].to_numpy(dtype=np.int64)
        return compute_crystal_descriptors(self.materials.crystals, groups)

    @cached_property
    def roles(self) -> NDArray[np.str_]:
        """(n,), the role of each row."""
        if self.fold is None:
            return split_by_formula(self.materials.frame["formula"])
        return self.fold.roles(self.materials.frame)

    @cached_property
    def formula_roles(self) -> NDArray[np.str_]:
        """Role of each of ``extra_formulas``."""
        if self.fold is None:
            return split_by_formula(self.extra_formulas)
        return self.fold.roles_of_formulas(self.extra_formulas, self.materials.frame, self.roles)

    def labels(self, endpoint: Endpoint) -> NDArray[np.float64]:
        """(n,), labels of an endpoint, NaN where unknown."""
        return endpoint.labels(self.materials)

    @property
    def header(self) -> dict[str, Any]:
        """Entries of a model's header on its training data."""
        return {
            "matlode": __version__,
            "trained_on": {
                "table": self.source,
                "sha256": self.sha256,
                "rows": len(self.materials),
                "formulas": int(self.materials.frame["formula"].nunique()),
            },
            "split": "by formula: 80 % train, 10 % calibration, 10 % test (hash, seed 0)",
        }


def _with_patterns(materials: Materials) -> Materials:
    """The materials for which a pattern can be simulated; the others are listed in ``dropped``."""
    # which crystals fail does not depend on the grid: a coarse one is faster
    coarse = replace(STANDARD_SETTINGS, n_points=161)
    rows, _, refused = simulate_possible(materials.crystals, coarse)
    ids = materials.frame["id"]
    dropped = [
        DroppedRow(str(ids.iloc[row]), f"no pattern: {type(error).__name__}")
        for row, error in refused.items()
    ]
    return replace(materials.take(rows), dropped=(*materials.dropped, *dropped))
