"""What a person asks for on the page, as a goal file and as a command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["maximize", "minimize", "near", "within"]
Standing = Literal["allowed", "required", "forbidden"]

SIZES: Mapping[str, Mapping[str, int]] = {
    "quick look": {"trials": 256, "n_start": 1000, "n_screened": 60, "n_candidates": 20},
    "normal": {"trials": 2048},
    "thorough": {"trials": 8192},
}
"""Size of a search → settings of [search]."""


@dataclass
class Wish:
    """What is wanted of one property."""

    property: str
    kind: Kind = "maximize"
    value: float | None = None
    """For "near"."""
    low: float | None = None
    """For "within"; None: no limit."""
    high: float | None = None


@dataclass
class Wishes:
    """All that the page asks for."""

    properties: list[Wish] = field(default_factory=lambda: [Wish("bulk_modulus")])
    elements: dict[str, Standing] = field(default_factory=dict)
    """Elements that are not merely allowed."""
    prototype: str = ""
    """Empty: any."""
    formula: str = ""
    """Stoichiometry such as ABX3; empty: any."""
    toxic: bool = True
    noble_metals: bool = True
    radioactive: bool = False
    most_elements: int = 5
    most_atoms: int = 20
    max_price: float | None = None
    """$/kg of the most expensive element."""
    size: str = "normal"

    def list_elements(self, standing: Standing) -> list[str]:
        """Elements of a standing, in alphabetical order."""
        return sorted(symbol for symbol, found in self.elements.items() if found == standing)

    def to_goal(self) -> dict[str, object]:
        """Sections of the goal file (docs/goal.md)."""
        wanted = self.properties
        sections: dict[str, object] = {
            "maximize": [wish.property for wish in wanted if wish.kind == "maximize"],
            "minimize": [wish.property for wish in wanted if wish.kind == "minimize"],
            "near": {
                w.property: w.value for w in wanted if w.kind == "near" and w.value is not None
            },
            "within": {
                w.property: text for w in wanted if w.kind == "within" and (text := _range(w))
            },
            "elements": {
                "required": self.list_elements("required"),
                "forbidden": self.list_elements("forbidden"),
                "number": f"2..{int(self.most_elements)}",
                "max_price": self.max_price,
                "toxic": self.toxic,
                "noble_metals": self.noble_metals,
                "radioactive": self.radioactive,
            },
            "formula": {"stoichiometry": self.formula, "max_atoms": self.most_atoms},
            "symmetry": {"prototype": self.prototype},
            "search": dict(SIZES[self.size]),
        }
        return {name: kept for name, section in sections.items() if (kept := _drop_empty(section))}

    def to_toml(self) -> str:
        """The goal file."""
        return write_toml(self.to_goal())


def _range(wish: Wish) -> str:
    if wish.low is not None and wish.high is not None:
        return f"{wish.low:g}..{wish.high:g}"
    if wish.low is not None:
        return f"> {wish.low:g}"
    return "" if wish.high is None else f"< {wish.high:g}"


def _drop_empty(section: object) -> object:
    if not isinstance(section, Mapping):
        return section
    return {name: value for name, value in section.items() if value not in (None, "", [])}


def write_toml(sections: Mapping[str, object]) -> str:
    """Write lists, and tables of texts, numbers, truth values and lists, as TOML.

    >>> print(write_toml({"maximize": ["density"], "elements": {"toxic": False}}), end="")
    maximize = ["density"]
    <BLANKLINE>
    [elements]
    toxic = false
    """
    lines = [_assign(n, v) for n, v in sections.items() if not isinstance(v, Mapping)]
    for name, table in sections.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{name}]", *(_assign(key, value) for key, value in table.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _assign(name: str, value: object) -> str:
    # JSON writes these values as TOML does
    return f"{name} = {json.dumps(value)}"


def write_command(words: Iterable[str | Path]) -> str:
    """A command as one types it."""
    return shlex.join(map(str, words))
