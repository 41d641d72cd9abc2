"""Parsing and validation of goals, from TOML files and command-line options."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from matlode.artefacts import read_toml
from matlode.data.formulas import MAX_AMOUNT, atomic_numbers, format_formula, parse_formula
from matlode.data.symmetry import CRYSTAL_SYSTEMS
from matlode.errors import GoalError, InputError, suggest
from matlode.latent.formula_limits import MAX_SITES
from matlode.optimisation.goal import (
    DEFAULT_RISK,
    STABILITY,
    Direction,
    Goal,
    Objective,
    Range,
    mask_elements,
)
from matlode.properties.endpoints import ENDPOINTS, Endpoint, find_endpoint
from matlode.realisation.structure_families import Family, find_family
from matlode.screening.elements import KINDS, Abundant, Affordable

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "maximize": (),
    "minimize": (),
    "near": (),
    "within": (),
    "elements": (
        "allowed", "required", "forbidden", "number", "max_price", "min_abundance",
        *KINDS,
    ),
    "formula": ("exact", "chemical_system", "stoichiometry", "sites", "max_atoms"),
    "symmetry": ("crystal_systems", "space_groups", "prototype"),
    "prefer": (
        "charge_neutral", "plausible_pattern", "novel", "like", "like_pattern", "familiar",
    ),
    "search": (),
    "screens": (),
}  # fmt: skip
"""Section of a goal file → its allowed keys. Keys of sections without a list are names of
properties, of search settings or of screens."""
PLACEHOLDERS = frozenset("ADEGJLMQRTXZ")
"""Letters that stand for any element in a stoichiometry, because no element has this symbol; next
to A, also B and C. Other symbols denote elements: ABO3 is an oxide of any A and B, MB2 a boride,
WC tungsten carbide."""
ALLOWED_KINDS = {"radioactive": False, "noble_gases": False, "toxic": True, "noble_metals": True}
"""Kinds of elements → whether they are allowed if a goal neither says so nor names them."""
DEFAULT_PREFERENCES: Mapping[str, float] = {"familiar": 0.3}
"""Preference → weight, unless the goal gives it another."""
DEFAULT_STABILITY = 0.5
"""Lower limit of the probability of stability if the goal sets none."""
STABILITY_MEASURES = (
    "hull_probability_100_mev", "hull_probability_50_mev", "energy_above_hull",
    "energy_above_hull_mp2021",
)  # fmt: skip
"""A goal with a range of one of these sets its own limit of stability."""

MIN_ELEMENTS = 2
"""Fewest different elements unless a goal says otherwise: pure elements are all known."""
_KIND_WORDS = {
    "radioactive": "radioactive elements", "noble_gases": "noble gases",
    "toxic": "toxic elements", "noble_metals": "noble metals",
}  # fmt: skip

_RANGE = re.compile(r"\s*(-?[\d.eE+-]+?)\s*\.\.\s*(-?[\d.eE+-]+)\s*")
_BOUND = re.compile(r"\s*([<>])\s*=?\s*(-?[\d.eE+-]+)\s*")
_PART = re.compile(r"([A-Z][a-z]?)(\d*)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class _FormulaWishes:
    """The fields of ``Goal`` that limit formulas."""

    allowed: tuple[str, ...]
    required: tuple[str, ...]
    min_elements: int
    max_elements: int
    max_atoms: int
    sites: tuple[tuple[int, tuple[str, ...]], ...]
    stoichiometry: str
    without: tuple[str, ...]


def read_goal_file(path: Path) -> dict[str, Any]:
    """Read the sections of a goal file; paths in it are relative to its folder.

    Raises InputError if the file cannot be read, GoalError for an unknown section or key.
    """
    sections = read_toml(path)
    check_keys(sections)
    prefer = sections.get("prefer", {})
    for key in ("like", "like_pattern"):
        file = path.parent / str(prefer.get(key, ""))
        if key in prefer and file.is_file():
            prefer[key] = str(file)
    return sections


def merge_options(sections: Mapping[str, object], options: Mapping[str, object]) -> dict[str, Any]:
    """Merge ``options`` into ``sections``: lists are concatenated, except for the list of allowed
    elements, which is replaced like single values."""
    merged = dict(sections)
    for name, option in options.items():
        given = merged.get(name)
        if name == "allowed" or not given:
            merged[name] = option
        elif isinstance(given, Mapping):
            wanted = (
                option if isinstance(option, Mapping) else dict.fromkeys(parse_names(option), 1.0)
            )
            merged[name] = merge_options(given, wanted)
        elif isinstance(option, list):
            merged[name] = [*parse_names(given), *option]
        else:
            merged[name] = option
    return merged


def check_keys(sections: Mapping[str, object]) -> None:
    """Raise GoalError for an unknown section or key, suggesting the most similar known one."""
    for section in sections:
        if section not in SECTIONS:
            everywhere = [*SECTIONS, *(key for keys in SECTIONS.values() for key in keys)]
            raise GoalError(f'unknown goal section "{section}". {suggest(section, everywhere)}')
        if section in ("maximize", "minimize"):
            continue
        for key in _read_table(sections, section):
            if SECTIONS[section] and key not in SECTIONS[section]:
                raise GoalError(f'[{section}] has no "{key}". {suggest(key, SECTIONS[section])}')


def _read_table(sections: Mapping[str, object], name: str) -> Mapping[str, object]:
    """The table ``name``, empty if it is missing; raises GoalError if it is not a table."""
    content = sections.get(name, {})
    if not isinstance(content, Mapping):
        raise GoalError(f'"{name}" must be a table ([{name}]), not {content!r}.')
    return content


def make_goal(
    sections: Mapping[str, object],
    *,
    known_elements: Sequence[str],
    endpoints: Mapping[str, Endpoint] = ENDPOINTS,
    risk: float = DEFAULT_RISK,
) -> Goal:
    """Build a goal from its sections.

    ``known_elements`` are the elements of the known materials, ``endpoints`` the properties that
    the models predict, ``risk`` is ``Goal.risk``. Raises GoalError for unknown names and for goals
    that no material can meet.
    """
    check_keys(sections)
    objectives = _parse_objectives(sections, endpoints)
    ranges = _parse_ranges(_read_table(sections, "within"), endpoints)
    prefer = _read_table(sections, "prefer")
    preferences = {name: _parse_weight(name, value) for name, value in prefer.items()}
    if not (objectives or ranges or any(preferences.values())):
        raise GoalError(
            "nothing to search for: give at least one of --maximize, --minimize, --near, --within "
            "and --like."
        )
    symmetry = _read_table(sections, "symmetry")
    prototype, family = (
        find_family(str(symmetry["prototype"])) if "prototype" in symmetry else ("", None)
    )
    wishes = _parse_formula_wishes(sections, known_elements, family)
    if not any(r.endpoint in STABILITY_MEASURES for r in ranges):
        ranges = (*ranges, Range(STABILITY, low=DEFAULT_STABILITY))
    return Goal(
        objectives=objectives,
        ranges=ranges,
        preferences={
            name: weight
            for name, weight in {**preferences, **DEFAULT_PREFERENCES, **preferences}.items()
            if weight
        },
        space_groups=_parse_space_groups(symmetry),
        prototype=prototype,
        like=str(prefer.get("like", "")),
        like_pattern=str(prefer.get("like_pattern", "")),
        allowed=wishes.allowed,
        required=wishes.required,
        min_elements=wishes.min_elements,
        max_elements=wishes.max_elements,
        max_atoms=wishes.max_atoms,
        sites=wishes.sites,
        stoichiometry=wishes.stoichiometry,
        without=wishes.without,
        risk=risk,
    )


def _parse_objectives(
    sections: Mapping[str, object], endpoints: Mapping[str, Endpoint]
) -> tuple[Objective, ...]:
    found: list[Objective] = []
    directions: tuple[tuple[str, Direction], ...] = (
        ("maximize", "maximise"),
        ("minimize", "minimise"),
    )
    for section, direction in directions:
        wishes = sections.get(section, ())
        if isinstance(wishes, Mapping):
            weights: Mapping[str, object] = wishes
        else:
            names = parse_names(wishes)
            weights = dict.fromkeys(names, 1.0)
            if len(weights) < len(names):
                raise GoalError(f"{section}: a property is named more than once; name it once.")
        for name, weight in weights.items():
            known = find_endpoint(name, endpoints).name
            found.append(Objective(known, direction, weight=_parse_positive(name, weight)))
    for name, target in _read_table(sections, "near").items():
        endpoint = find_endpoint(name, endpoints)
        value = _parse_number(f"near {name}", target)
        _check_possible(endpoint, value, value)
        found.append(Objective(endpoint.name, "near", target=value))
    names = [objective.endpoint for objective in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GoalError(f"{', '.join(twice)}: named more than once; keep one direction.")
    return tuple(found)


def _parse_ranges(
    wishes: Mapping[str, object], endpoints: Mapping[str, Endpoint]
) -> tuple[Range, ...]:
    found = []
    for name, text in wishes.items():
        low, high = parse_range(name, text)
        endpoint = find_endpoint(name, endpoints)
        _check_possible(endpoint, low, high)
        bottom, top = (end if math.isfinite(end) else None for end in (low, high))
        found.append(Range(endpoint.name, bottom, top))
    return tuple(found)


def parse_range(name: str, text: object) -> tuple[float, float]:
    """Parse the limits of "1.1..1.7", "< 0.1", ">= 5" or [1.1, 1.7].

    Raises GoalError for anything else; ``name`` is the key, for its message.

    >>> parse_range("band_gap", "1.1..1.7")
    (1.1, 1.7)
    """
    low, high = -math.inf, math.inf
    try:
        if isinstance(text, Sequence) and not isinstance(text, str):
            low, high = map(float, text)
        elif found := _RANGE.fullmatch(str(text)):
            low, high = float(found[1]), float(found[2])
        elif found := _BOUND.fullmatch(str(text)):
            low, high = (low, float(found[2])) if found[1] == "<" else (float(found[2]), high)
        else:
            low = high = float(text if isinstance(text, int | float) else str(text))
    except (TypeError, ValueError, OverflowError) as error:
        raise GoalError(
            f"{name} = {text!r} is not a valid range; expected a range such as "
            '"1.1..1.7", "< 0.1", "> 5" or [1.1, 1.7].'
        ) from error
    if not low <= high:
        raise GoalError(f"{name} = {text!r}: the range from {low:g} to {high:g} is empty.")
    return low, high


def _check_possible(endpoint: Endpoint, low: float, high: float) -> None:
    least, most = endpoint.lowest, endpoint.highest
    if endpoint.task == "probability":
        least, most = max(least, 0.0), min(most, 1.0)
    if low > most or high < least:
        raise GoalError(
            f"{endpoint.name} between {low:g} and {high:g} is impossible: it lies between "
            f"{least:g} and {most:g} {endpoint.unit}.".replace(" .", ".")
        )


def _parse_formula_wishes(
    sections: Mapping[str, object], known_elements: Sequence[str], family: Family | None
) -> _FormulaWishes:
    formula, elements = _read_table(sections, "formula"), _read_table(sections, "elements")
    kinds = [key for key in ("exact", "chemical_system", "stoichiometry") if key in formula]
    if len(kinds) > 1:
        raise GoalError(
            f"[formula] has {' and '.join(kinds)}; each defines the formula, keep only one."
        )
    allowed, without = _select_allowed(elements, known_elements, _list_named(formula))
    required = tuple(check_symbols(parse_names(elements.get("required", ()))))
    fewest, most = _parse_element_numbers(elements)
    if "number" not in elements:
        fewest = min(fewest, len(allowed))
    max_atoms = _parse_whole("max_atoms", formula.get("max_atoms", 20))
    sites: tuple[tuple[int, tuple[str, ...]], ...] = ()
    text = ""
    if "chemical_system" in formula:
        system = check_symbols(re.split(r"[-,\s]+", str(formula["chemical_system"])))
        required = tuple(dict.fromkeys([*required, *system]))
        _check_subset(system, allowed, "chemical_system")
        allowed = tuple(symbol for symbol in allowed if symbol in system)
        fewest = most = len(system)
    if "exact" in formula:
        amounts = _parse_exact(formula["exact"])
        text = format_formula("".join(f"{s}{n}" for s, n in sorted(amounts.items())))
        sites = tuple((n, (symbol,)) for symbol, n in amounts.items())
        _check_subset(amounts, allowed, "exact formula")
    elif "stoichiometry" in formula or family is not None:
        text = str(formula.get("stoichiometry", family and family.stoichiometry))
        sites = parse_stoichiometry(text, _read_table(formula, "sites"), allowed)
    elif "sites" in formula:
        raise GoalError("[formula] sites belong to a stoichiometry; give one, such as ABX3.")
    _check_subset(required, allowed, "required elements")
    if family is not None:
        _check_family(text, sites, family)
    if sites:
        _check_sites(text, sites, required)
        atoms, count = sum(n for n, _ in sites), len(sites)
        if "number" in elements and not fewest <= count <= most:
            raise GoalError(
                f"{text} has {count} elements, which contradicts number = {elements['number']!r}."
            )
        if "max_atoms" in formula and atoms > max_atoms:
            raise GoalError(f"{text} has {atoms} atoms, more than max_atoms = {max_atoms}.")
        fewest, most, max_atoms = count, count, atoms
    if fewest > len(allowed):
        raise GoalError(
            f"at least {fewest} elements are wanted, but only {len(allowed)} are allowed."
        )
    if len(required) > most:
        raise GoalError(f"{len(required)} elements are required, but at most {most} are wanted.")
    if max(fewest, len(required)) > max_atoms:
        raise GoalError(
            f"{max(fewest, len(required))} elements do not fit into max_atoms = {max_atoms}."
        )
    return _FormulaWishes(
        allowed=allowed,
        required=required,
        min_elements=fewest,
        max_elements=most,
        max_atoms=max_atoms,
        sites=sites,
        stoichiometry=text,
        without=without,
    )


def _list_named(formula: Mapping[str, object]) -> set[str]:
    """Symbols of the elements that the section [formula] names."""
    named = set(re.findall(r"[A-Z][a-z]?", str(formula.get("chemical_system", ""))))
    named |= {name for name, _ in _PART.findall(str(formula.get("exact", "")))}
    named |= {name for name, _ in _PART.findall(str(formula.get("stoichiometry", "")))}
    for symbols in _read_table(formula, "sites").values():
        named |= {name.capitalize() for name in parse_names(symbols)}
    return named


def _select_allowed(
    elements: Mapping[str, object], known_elements: Sequence[str], named: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The elements that meet all limits, and the kinds of elements that are left out, as text."""
    wanted = list(known_elements)
    if "allowed" in elements:
        wanted = check_symbols(parse_names(elements["allowed"]))
    required = check_symbols(parse_names(elements.get("required", ())))
    unknown = [s for s in [*wanted, *required] if s not in known_elements]
    if unknown:
        raise GoalError(
            f"{', '.join(unknown)}: no known material contains it, so nothing can be predicted; "
            "leave it out or pass a table that contains it with --known."
        )
    forbidden = check_symbols(parse_names(elements.get("forbidden", ())))
    both = sorted(set(required) & set(forbidden))
    if both:
        raise GoalError(f"{', '.join(both)}: both required and forbidden.")
    wanted = [symbol for symbol in wanted if symbol not in forbidden]
    for limit, is_allowed in _list_element_limits(elements):
        excluded = [symbol for symbol in required if not is_allowed(symbol)]
        if excluded:
            raise GoalError(f"{', '.join(excluded)}: required, but {limit} forbids it.")
        wanted = [symbol for symbol in wanted if is_allowed(symbol)]
    left_out = [kind for kind in KINDS if not _is_kind_allowed(elements, kind)]
    named = named | set(required) | (set(wanted) if "allowed" in elements else set())
    usual = [s for s in wanted if s in named or not any(s in KINDS[kind] for kind in left_out)]
    if not usual:
        raise GoalError(
            "no element is left: the limits in [elements] exclude every allowed element."
        )
    without = tuple(_KIND_WORDS[kind] for kind in left_out if not set(usual) & set(KINDS[kind]))
    return tuple(usual), () if "allowed" in elements else without


def _is_kind_allowed(elements: Mapping[str, object], kind: str) -> bool:
    """Whether elements of a kind are allowed if they are not named."""
    wish = elements.get(kind, ALLOWED_KINDS[kind])
    if not isinstance(wish, bool):
        raise GoalError(f"[elements] {kind} = {wish!r}; expected true or false.")
    return wish


def _list_element_limits(
    elements: Mapping[str, object],
) -> Iterable[tuple[str, Callable[[str], bool]]]:
    """Each limit as text and as a predicate of element symbols."""
    if "max_price" in elements:
        max_price = _parse_number("max_price", elements["max_price"])
        price = Affordable().value
        yield f"max_price = {max_price:g}", lambda s: (price(s) or math.inf) <= max_price
    if "min_abundance" in elements:
        min_abundance = _parse_number("min_abundance", elements["min_abundance"])
        abundance = Abundant().value
        yield (
            f"min_abundance = {min_abundance:g}",
            lambda s: (abundance(s) or 0.0) >= min_abundance,
        )
    for kind, members in KINDS.items():
        if kind in elements and not _is_kind_allowed(elements, kind):
            yield f"{kind} = false", partial(_is_outside, members)


def _is_outside(members: Collection[str], symbol: str) -> bool:
    return symbol not in members


def _parse_element_numbers(elements: Mapping[str, object]) -> tuple[int, int]:
    if "number" not in elements:
        return MIN_ELEMENTS, 5
    low, high = parse_range("number", elements["number"])
    fewest, most = max(1, math.ceil(low)) if low > -math.inf else MIN_ELEMENTS, high
    text = str(elements["number"])
    if most == math.inf:
        most = 8
    if "<" in text and "=" not in text:
        most -= 1
    if ">" in text and "=" not in text:
        fewest += 1
    if low == -math.inf:
        fewest = min(fewest, max(1, int(most)))
    if most < fewest or most > 8:
        raise GoalError(f"number = {text!r}; expected a range between 1 and 8 elements.")
    return fewest, int(most)


def parse_stoichiometry(
    text: str, sites: Mapping[str, object], allowed: Sequence[str]
) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Parse a stoichiometry such as "ABX3" or "A2BO4": number of atoms and possible elements of
    each site.

    Placeholders (PLACEHOLDERS) stand for any allowed element, or for the elements in ``sites``;
    other symbols denote elements. Raises GoalError for an invalid stoichiometry.
    """
    parts = _PART.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        raise GoalError(f'invalid stoichiometry "{text[:80]}"; expected one such as ABX3 or A2BO4.')
    if max(len(number) for _, number in parts) > len(str(MAX_AMOUNT)):
        raise GoalError(f'stoichiometry "{text[:80]}": amounts may be at most {MAX_AMOUNT:,}.')
    names = [name for name, _ in parts]
    if len(set(names)) < len(names):
        raise GoalError(f'stoichiometry "{text}" names a site twice.')
    for name in sites:
        if name not in names:
            raise GoalError(f'[formula] sites: "{text}" has no {name}. {suggest(name, names)}')
    placeholders = PLACEHOLDERS | ({"B", "C"} if "A" in names else set())
    found = []
    for name, number in parts:
        if name in sites:
            symbols = check_symbols(parse_names(sites[name]))
        elif name in placeholders:
            symbols = list(allowed)
        else:
            symbols = check_symbols([name])
        left = tuple(symbol for symbol in symbols if symbol in allowed)
        if not left:
            raise GoalError(f"{text}: no allowed element can stand for {name}.")
        found.append((int(number or 1), left))
    if min(amount for amount, _ in found) < 1:
        raise GoalError(f'stoichiometry "{text}" has an amount of 0; leave this site out.')
    divisor = math.gcd(*(amount for amount, _ in found))
    if divisor != 1:
        raise GoalError(f'stoichiometry "{text}" is not reduced; divide it by {divisor}.')
    if len(found) > MAX_SITES and any(len(symbols) > 1 for _, symbols in found):
        raise GoalError(f"{text} has {len(found)} sites; at most {MAX_SITES} can be searched.")
    return tuple(found)


def _check_sites(
    text: str, sites: Sequence[tuple[int, tuple[str, ...]]], required: Sequence[str]
) -> None:
    """Raise GoalError unless distinct elements, with all required ones, fit on the sites."""
    from scipy.optimize import linear_sum_assignment

    fits = np.array([mask_elements(symbols) for _, symbols in sites])
    cost = np.where(fits, 1.0, 1e6) - fits * mask_elements(tuple(required))
    total = cost[linear_sum_assignment(cost)].sum()
    if total > len(sites) - len(required):
        wanted = f" with {', '.join(required)}" if required else ""
        raise GoalError(
            f"{text}: no distinct elements{wanted} fit on its {len(sites)} sites; allow more "
            "elements, or other ones in [formula] sites."
        )


def _check_family(text: str, sites: Sequence[tuple[int, tuple[str, ...]]], family: Family) -> None:
    """Raise GoalError unless the sites are those of a structure family."""
    wanted = sorted(int(number or 1) for _, number in _PART.findall(family.stoichiometry))
    if sorted(amount for amount, _ in sites) != wanted:
        raise GoalError(
            f"formula {text} does not fit the prototype, which is {family.stoichiometry}; drop one."
        )


def _parse_exact(text: object) -> Mapping[str, int]:
    try:
        amounts = parse_formula(str(text))
    except InputError as error:
        raise GoalError(str(error)) from error
    missing = sorted({name for name, _ in _PART.findall(str(text))} - amounts.keys())
    if missing:
        raise GoalError(f'exact = "{text}": the amount of {", ".join(missing)} is 0; leave it out.')
    return amounts


def _parse_space_groups(symmetry: Mapping[str, object]) -> tuple[int, ...]:
    numbers = set(range(1, 231))
    if "crystal_systems" in symmetry:
        numbers = set()
        for name in parse_names(symmetry["crystal_systems"]):
            if name not in CRYSTAL_SYSTEMS:
                raise GoalError(
                    f'unknown crystal system "{name}". {suggest(name, CRYSTAL_SYSTEMS)}'
                )
            first, last = CRYSTAL_SYSTEMS[name]
            numbers |= set(range(first, last + 1))
    if "space_groups" in symmetry:
        given = symmetry["space_groups"]
        wanted = {_parse_space_group(g) for g in (given if isinstance(given, list) else [given])}
        numbers &= wanted
        if not numbers:
            raise GoalError(
                f"space groups {sorted(wanted)} belong to none of the crystal systems "
                f"{symmetry.get('crystal_systems')}."
            )
    return () if len(numbers) == 230 else tuple(sorted(numbers))


def _parse_space_group(name: object) -> int:
    """The number of a space group given by number or symbol, such as 225 or "Fm-3m"."""
    if type(name) is int and 1 <= name <= 230:
        return name
    if isinstance(name, str) and re.fullmatch(r"[0-9]{1,3}", name):
        return _parse_space_group(int(name))
    from pymatgen.symmetry.groups import SpaceGroup

    try:
        return int(SpaceGroup(str(name)).int_number)
    except ValueError as error:
        raise GoalError(
            f"unknown space group {str(name)[:80]}; expected a number from 1 to 230 or a symbol."
        ) from error


def _suggest_symbol(name: str) -> str:
    from pymatgen.core import Element

    symbols_of = {Element(symbol).long_name: symbol for symbol in atomic_numbers()}
    return suggest(symbols_of.get(name, name), atomic_numbers())


def check_symbols(symbols: Iterable[str]) -> list[str]:
    """The distinct element symbols, in order; raises GoalError for an unknown one."""
    out = []
    for symbol in symbols:
        name = str(symbol).strip().capitalize()
        if name not in atomic_numbers():
            raise GoalError(f'"{str(symbol)[:80]}" is not an element. {_suggest_symbol(name[:80])}')
        out.append(name)
    return list(dict.fromkeys(out))


def _check_subset(symbols: Iterable[str], allowed: Sequence[str], what: str) -> None:
    excluded = [symbol for symbol in symbols if symbol not in allowed]
    if excluded:
        raise GoalError(f"{what}: {', '.join(excluded)} is not among the allowed elements.")


def parse_names(value: object) -> list[str]:
    """Names from a list, or from a text with commas or spaces between them.

    >>> parse_names("Li, Fe")
    ['Li', 'Fe']
    """
    if isinstance(value, str):
        return [part for part in re.split(r"[,\s]+", value) if part]
    if not isinstance(value, Iterable):
        raise GoalError(
            f'{value!r} is not a list of names; write ["one", "other"] or "one, other".'
        )
    return [str(part) for part in value]


def _parse_weight(name: str, value: object) -> float:
    """The weight of a preference; 1 for "like" and "like_pattern", whose values are names, 0 for
    false."""
    if name in ("like", "like_pattern"):
        return 1.0
    if value is False:
        return 0.0
    return 1.0 if value is True else _parse_positive(name, value)


def _parse_positive(name: str, value: object) -> float:
    number = _parse_number(name, value)
    if number <= 0:
        raise GoalError(f"{name}: a weight must be positive, not {value!r}.")
    return number


def _parse_number(name: str, value: object) -> float:
    # infinity and integers beyond the range of a double are rejected
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) <= sys.float_info.max
    ):
        raise GoalError(f"{name} = {str(value)[:40]}; expected a number.")
    return float(value)


def _parse_whole(name: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_AMOUNT:
        raise GoalError(
            f"{name} = {value!r}; expected a positive whole number, at most {MAX_AMOUNT:,}."
        )
    return value
