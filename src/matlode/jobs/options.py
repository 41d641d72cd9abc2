"""Options of a search as keywords or on the command line, and the goal that they make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack

from matlode.errors import GoalError
from matlode.optimisation.goal_file import merge_options, parse_names, read_goal_file

Names: TypeAlias = str | Iterable[str]
"""One name or several: a list, or a text with commas between them."""
Numbers: TypeAlias = Mapping[str, float] | str | Iterable[str]
"""Property → number, or texts such as "band_gap=1.4"."""
Ranges: TypeAlias = Mapping[str, str | Sequence[float]] | str | Iterable[str]
"""Property → range, or texts such as "band_gap=1.1..1.7"."""


class Options(TypedDict, total=False):
    """What a search is asked for beside a goal file; what is None or empty is not asked for."""

    maximize: Names | Mapping[str, float] | None
    """Properties, or property → weight."""
    minimize: Names | Mapping[str, float] | None
    near: Numbers | None
    within: Ranges | None
    elements: Names | None
    """The only elements allowed."""
    require: Names | None
    """Elements that must occur."""
    exclude: Names | None
    """Elements that must not occur."""
    max_price: float | None
    """Highest price of an element in $/kg."""
    no_toxic: bool
    formula: str | None
    """Stoichiometry, such as ABX3."""
    prototype: str | None
    space_group: Names | int | Sequence[int] | None
    """Numbers or symbols."""
    crystal_system: Names | None
    like: str | Path | None
    """Formula or structure file of the material to resemble."""
    like_pattern: str | Path | None
    """Measured pattern to resemble."""
    trials: int | None
    seed: int | None
    sampler: str | None
    risk: float | None


def make_sections(
    goal: str | Path | Mapping[str, Any] | None, **options: Unpack[Options]
) -> dict[str, Any]:
    """Sections of a goal file: those of ``goal`` (a file or sections) with the options on top.

    Raises InputError if the file cannot be read, GoalError for options of a wrong form. What the
    names mean is checked by ``make_goal``.

    >>> make_sections(None, maximize="bulk_modulus", within="band_gap=1..2", exclude="Co,Pb")
    ... # doctest: +NORMALIZE_WHITESPACE
    {'maximize': ['bulk_modulus'], 'within': {'band_gap': '1..2'},
     'elements': {'forbidden': ['Co', 'Pb']}}
    """
    sections = read_goal_file(Path(goal)) if isinstance(goal, str | Path) else dict(goal or {})
    like, like_pattern = (
        path and str(path) for path in (options.get("like"), options.get("like_pattern"))
    )
    given = {
        "maximize": _list_objectives(options.get("maximize")),
        "minimize": _list_objectives(options.get("minimize")),
        "near": parse_numbers(options.get("near")),
        "within": parse_pairs(options.get("within")),
        "elements": {
            # an empty list is no limit, except that of the allowed elements, which is an error
            "allowed": _list_names(options.get("elements")),
            "required": _list_names(options.get("require")) or None,
            "forbidden": _list_names(options.get("exclude")) or None,
            "max_price": options.get("max_price"),
            "toxic": False if options.get("no_toxic") else None,
        },
        "formula": {"stoichiometry": options.get("formula")},
        "symmetry": {
            "prototype": options.get("prototype"),
            "space_groups": _list_space_groups(options.get("space_group")),
            "crystal_systems": _list_names(options.get("crystal_system")) or None,
        },
        "prefer": {"like": like, "like_pattern": like_pattern},
        "search": {name: options.get(name) for name in ("trials", "seed", "sampler", "risk")},
    }
    return merge_options(sections, _drop_empty(given))


def _drop_empty(options: Mapping[str, object]) -> dict[str, Any]:
    """The options that have a value; none that an empty section would hold."""
    kept = {
        name: _drop_empty(value) if isinstance(value, dict) else value
        for name, value in options.items()
    }
    return {name: value for name, value in kept.items() if value is not None and value != {}}


def _list_names(names: Names | None) -> list[str] | None:
    if names is None:
        return None
    parts = [names] if isinstance(names, str) else names
    return [name for part in parts for name in parse_names(part)]


def _list_objectives(names: Names | Mapping[str, float] | None) -> object:
    return dict(names) if isinstance(names, Mapping) else _list_names(names) or None


def _list_space_groups(groups: Names | int | Sequence[int] | None) -> list[Any] | None:
    if groups is None or isinstance(groups, str):
        return _list_names(groups) or None
    return [groups] if isinstance(groups, int) else list(groups) or None


def parse_numbers(texts: Numbers | None) -> dict[str, Any]:
    """Property → number of texts such as "band_gap=1.4"; mappings are returned as they are.

    Raises GoalError for what is not a number.

    >>> parse_numbers("band_gap=1.4")
    {'band_gap': 1.4}
    """
    if isinstance(texts, Mapping):
        return dict(texts)
    numbers = {}
    for name, value in parse_pairs(texts).items():
        try:
            numbers[name] = float(value)
        except ValueError as error:
            raise GoalError(
                f'"{name}={value}": {value!r} is not a number; write a number, such as {name}=1.4.'
            ) from error
    return numbers


def parse_pairs(texts: Ranges | Numbers | None) -> dict[str, Any]:
    """Property → range of texts such as "band_gap=1.1..1.7"; mappings are returned as they are.

    Raises GoalError for a text without a property or a value.

    >>> parse_pairs(["band_gap=1.1..1.7", "density<5"])
    {'band_gap': '1.1..1.7', 'density': '<5'}
    """
    if isinstance(texts, Mapping):
        return dict(texts)
    pairs = {}
    for text in [texts] if isinstance(texts, str) else texts or ():
        name, sign, value = text.partition("=")
        if name.strip().endswith(("<", ">")):  # band_gap>=1
            name, value = name.strip()[:-1], name.strip()[-1] + value
        elif not sign and (found := re.fullmatch(r"([^<>]+)([<>].*)", text)):
            name, value = found[1], found[2]
        if not value.strip():
            raise GoalError(f'"{text}": write a property and a value, such as band_gap=1.4.')
        pairs[name.strip()] = value.strip()
    return pairs
