"""OPTIMADE JSON lines, with optimade-python-tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from matlode.errors import InputError
from matlode.exchange.crystals import ExportedCrystal
from matlode.records import Cell
from matlode.version import __version__

PREFIX = "_matlode_"
"""Of the properties that OPTIMADE does not define."""
TYPES = {bool: "boolean", int: "integer", float: "float", str: "string"}
"""Type of a value → OPTIMADE's name for it."""


def write_lines(crystals: Sequence[ExportedCrystal]) -> Iterator[str]:
    """Yield the header, the definitions of matlode's properties, and one structure per line.

    Each structure has passed the models of optimade-python-tools, which the validator uses.
    Raises InputError without the extra ``databases``.
    """
    try:
        from optimade import __api_version__
    except ImportError as error:
        raise InputError(
            "OPTIMADE needs optimade-python-tools: install matlode[databases]."
        ) from error
    implementation = {"name": "matlode", "version": __version__}
    meta = {"api_version": __api_version__, "implementation": implementation}
    yield json.dumps({"x-optimade": {"meta": meta}})
    columns = [
        {**crystal.to_columns(), "created": f"{crystal.created:%Y-%m-%dT%H:%M:%SZ}"}
        for crystal in crystals
    ]
    yield json.dumps({
        "type": "info", "id": "structures",
        "description": "Crystals that matlode proposes; not synthesised.",
        "properties": _describe_properties(columns),
    })  # fmt: skip
    for crystal, row in zip(crystals, columns, strict=True):
        yield _make_line(crystal, row)


def _describe_properties(rows: Iterable[dict[str, Cell]]) -> dict[str, dict[str, str]]:
    found = {}
    for row in rows:
        for name, value in row.items():
            if name != "id" and value is not None:
                described = f"Column {name} of matlode's table of candidates."
                found[PREFIX + name] = {"type": TYPES[type(value)], "description": described}
    return found


def _make_line(crystal: ExportedCrystal, row: dict[str, Cell]) -> str:
    from optimade.adapters.structures.pymatgen import from_pymatgen
    from optimade.models import StructureResource

    attributes = from_pymatgen(crystal.structure).model_dump(exclude_none=True)
    attributes |= {
        # null is allowed; servers that load JSON lines compare a date with text, and fail
        "last_modified": None,
        "immutable_id": crystal.name,
        **{PREFIX + name: v for name, v in row.items() if name != "id" and v is not None},
    }
    resource = StructureResource(id=crystal.name, type="structures", attributes=attributes)
    line: str = resource.model_dump_json(exclude_unset=True)
    return line
