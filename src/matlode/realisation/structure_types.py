"""Structure types: AFLOW labels (space group and Wyckoff sequence) and common names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from matlode.artefacts import convert_read_errors, write_text
from matlode.data.crystals import Crystals
from matlode.data.tables import Materials
from matlode.errors import InputError
from matlode.progress import Progress, silent

if TYPE_CHECKING:
    from pymatgen.core import Structure

COLUMNS = ("id", "prototype", "name")
_BATCH = 100


def find_structure_type(structure: Structure) -> str:
    """Determine the canonical AFLOW label, such as "AB_cF8_225_a_b" for rock salt.

    See Mehl et al., Comput. Mater. Sci. 136, S1, 2017. Empty for a structure with partial
    occupancies.
    """
    # imported here, since it loads all AFLOW prototypes, which takes seconds
    from pymatgen.analysis.prototypes import get_protostructure_label_from_moyopy

    if not structure.is_ordered:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        label = get_protostructure_label_from_moyopy(structure)
    return "" if label is None else str(label).split(":")[0]


@cache
def list_type_names() -> Mapping[str, str]:
    """Label → Strukturbericht symbol and mineral names, such as "B1, Halite, Rock Salt", for the
    288 prototypes in pymatgen."""
    from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY

    names: dict[str, str] = {}
    for known in AFLOW_PROTOTYPE_LIBRARY:
        tags = known["tags"]
        parts = [tags["strukturbericht"], tags["mineral"]]
        words = ", ".join(part for part in parts if part and part != "None")
        label = find_structure_type(known["snl"].structure)
        if label and words:
            # types with the same label differ in coordinates only
            names[label] = f"{names[label]} or {words}" if label in names else words
    return names


def structure_types(
    materials: Materials, n_jobs: int = 0, progress: Progress = silent
) -> pd.DataFrame:
    """Determine structure types: one row per material with id, label and name, if any.

    ``n_jobs`` is the number of processes (0: one per core).
    """
    from joblib import Parallel, delayed

    starts = range(0, len(materials), _BATCH)
    tasks = (
        delayed(_labels)(materials.crystals.take(list(range(a, min(a + _BATCH, len(materials))))))
        for a in starts
    )
    labels: list[str] = []
    for found in Parallel(n_jobs=n_jobs or os.cpu_count(), return_as="generator")(tasks):
        labels += found
        progress("prototypes", len(labels), len(materials))
    names = list_type_names()
    return pd.DataFrame(
        {
            "id": materials.frame["id"].astype(str).to_numpy(),
            "prototype": labels,
            "name": [names.get(label, "") for label in labels],
        }
    )


def find_types_file(table: Path | None) -> Path:
    """File with the structure types of a table, in the same folder; None is the starter set."""
    if table is None:
        return Path(str(resources.files("matlode.data") / "starter" / "prototypes.csv"))
    return table.with_suffix(".prototypes.csv")


def write_types(types: pd.DataFrame, file: Path) -> None:
    """Write structure types as CSV, sorted by id."""
    write_text(file, types.sort_values("id").to_csv(index=False))


def read_types(table: Path | None) -> dict[str, str]:
    """Read structure types: id → label and name.

    Empty if the types of the table were not determined (`matlode data prototypes`). Raises
    InputError for an invalid file.
    """
    file = find_types_file(table)
    if not file.exists():
        return {}
    with convert_read_errors(file, InputError):
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)[list(COLUMNS)]
    return {
        identifier: f"{label} ({name})" if name else label
        for identifier, label, name in frame.itertuples(index=False)
        if label
    }


def _labels(crystals: Crystals) -> list[str]:
    return [find_structure_type(structure) for structure in crystals.structures()]
