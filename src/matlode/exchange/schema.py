"""The published schema of candidates.json (JSON Schema, draft 2020-12)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from matlode.run_folder import CANDIDATES_SCHEMA
from matlode.run_records import CandidateRow, PredictedValue

DESCRIPTIONS = {
    "rank": "From 1, best first; 0 for a known material that stands above the candidates.",
    "formula": "Reduced, cations first.",
    "chemical_system": "Elements in alphabetical order with hyphens between.",
    "space_group": "International number of the crystal in structure_file.",
    "crystal_system": "Of the space group.",
    "prototype": "Structure type of the template; empty if it has no name.",
    "bulk_modulus": "GPa, with the ends of the 90 % interval in _low and _high.",
    "shear_modulus": "GPa, with the ends of the 90 % interval in _low and _high.",
    "formation_energy": "Predicted, eV/atom.",
    "hull_probability_50_mev": "Predicted probability of at most 0.05 eV/atom above the hull.",
    "charge_neutral": "Finding of the rule on charges.",
    "novelty": "known structure, made, computed, or in none of the lists.",
    "nearest_known": "Formula and id of the known material of the nearest composition.",
    "structure_file": "Path of the CIF in the run folder.",
    "verdict": "accepted, rejected, or known, for comparison.",
    "reasons": "For people; verdicts.csv has them for programs.",
    "merit": "Score that the candidates are ranked by.",
    "in_ranges": "Whether all ranges of the goal are met.",
}
"""Column → description; further properties of the goal have name, name_low and name_high."""


def make_candidates_schema() -> dict[str, Any]:
    """The schema that every candidates.json of version ``CANDIDATES_SCHEMA`` fulfils.

    It is published as docs/candidates.schema.json. provenance.json names the version under
    "schemas".

    >>> make_candidates_schema()["items"]["required"][:3]
    ['rank', 'formula', 'chemical_system']
    """
    types = {field.name: str(field.type) for field in fields(CandidateRow)}
    properties: dict[str, dict[str, Any]] = {}
    for name, description in DESCRIPTIONS.items():
        names = [name]
        if types[name] == PredictedValue.__name__:
            names += [f"{name}_low", f"{name}_high"]
        for column in names:
            properties[column] = {"type": JSON_TYPES[types[name]], "description": description}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:matlode:candidates:{CANDIDATES_SCHEMA}",
        "title": f"candidates.json of matlode, version {CANDIDATES_SCHEMA}",
        "type": "array",
        "items": {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name != "prototype"],
            "additionalProperties": {
                "type": "number",
                "description": "A further property of the goal, or an end of its interval, in the "
                "unit that provenance.json gives.",
            },
        },
    }


JSON_TYPES: dict[str, Any] = {
    "int": "integer", "float": "number", "bool": "boolean", "str": "string",
    "PredictedValue": "number", "int | float | str": ["number", "string"],
}  # fmt: skip
"""Annotation of a field → type in JSON Schema."""
