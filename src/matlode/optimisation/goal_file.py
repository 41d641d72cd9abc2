"""Goals as people write them, in TOML or on the command line, checked before any work."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from matlode.artefacts import read_toml
from matlode.data.formulas import atomic_numbers, conventional_formula, parse_formula
from matlode.data.symmetry import CRYSTAL_SYSTEMS
from matlode.errors import GoalError, InputError, suggest
from matlode.latent.formula_search import MAX_SITES
from matlode.optimisation.goal import STABILITY, Direction, Goal, Objective, Range, element_mask
from matlode.properties.endpoints import ENDPOINTS, Endpoint, find_endpoint
from matlode.screening.elements import Abundant, Affordable, NotRadioactive, NotToxic

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "maximize": (),
    "minimize": (),
    "near": (),
    "within": (),
    "elements": (
        "allowed", "required", "forbidden", "number", "max_price", "min_abundance", "toxic",
        "radioactive",
    ),
    "formula": ("exact", "chemical_system", "stoichiometry", "sites", "max_atoms"),
    "symmetry": ("crystal_systems", "space_groups"),
    "prefer": ("charge_neutral", "plausible_pattern", "novel", "like", "like_pattern"),
    "search": (),
    "screens": (),
}  # fmt: skip
"""Section of a goal file → its keys; those of the others are names of properties, of settings
of the search, of screens."""
PLACEHOLDERS = frozenset("ADEGJLMQRTXZ")
"""Letters that are no element and stand for any in a stoichiometry; so do B and C beside A.
Other symbols mean themselves: ABO3 is of any A and B with oxygen, MB2 a boride, WC tungsten
carbide."""
DEFAULT_STABILITY = 0.5
"""Least chance of stability that is asked for if the goal does not say."""
HULL_CHANCES = {0.1: "stable_probability", 0.05: "near_hull_probability"}
"""Energy above the hull, eV/atom → the chance that a material is no further."""

_RANGE = re.compile(r"\s*(-?[\d.eE+-]+?)\s*\.\.\s*(-?[\d.eE+-]+)\s*")
_BOUND = re.compile(r"\s*([<>])\s*=?\s*(-?[\d.eE+-]+)\s*")
_PART = re.compile(r"([A-Z][a-z]?)(\d*)")


def read_goal_file(path: Path) -> dict[str, Any]:
    """The sections of a goal file, with paths in it made relative to the folder of the file.

    Raises InputError if it cannot be read, GoalError for an unknown section or key.
    """
    sections = read_toml(path)
    check_keys(sections)
    prefer = sections.get("prefer", {})
    for key in ("like", "like_pattern"):
        file = path.parent / str(prefer.get(key, ""))
        if key in prefer and file.is_file():
            prefer[key] = str(file)
    return sections


def with_options(sections: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Sections with what ``options`` say on top of them: lists are joined (but the list of
    allowed elements is replaced), single values replaced."""
    merged = dict(sections)
    for name, option in options.items():
        given = merged.get(name)
        if name == "allowed" or not given:
            merged[name] = option
        elif isinstance(given, Mapping):
            wanted = option if isinstance(option, Mapping) else dict.fromkeys(option, 1.0)
            merged[name] = with_options(given, wanted)
        elif isinstance(option, list):
            merged[name] = [*_list(given), *option]
        else:
            merged[name] = option
    return merged


def check_keys(sections: Mapping[str, Any]) -> None:
    """Raise GoalError for a section or key that no goal has, with the nearest that one has."""
    for section, content in sections.items():
        if section not in SECTIONS:
            everywhere = [*SECTIONS, *(key for keys in SECTIONS.values() for key in keys)]
            raise GoalError(f'a goal has no "{section}". {suggest(section, everywhere)}')
        if section in ("maximize", "minimize"):
            continue
        if not isinstance(content, Mapping):
            raise GoalError(f'"{section}" must be a table ([{section}]), not {content!r}.')
        for key in content:
            if SECTIONS[section] and key not in SECTIONS[section]:
                raise GoalError(f'[{section}] has no "{key}". {suggest(key, SECTIONS[section])}')


def make_goal(
    sections: Mapping[str, Any],
    *,
    known_elements: Sequence[str],
    endpoints: Mapping[str, Endpoint] = ENDPOINTS,
) -> Goal:
    """A goal from its sections.

    ``known_elements`` are those that the known materials hold, ``endpoints`` what can be
    predicted. Raises GoalError for unknown names and for goals that nothing can meet.
    """
    check_keys(sections)
    objectives = _objectives(sections, endpoints)
    ranges = _ranges(sections.get("within", {}), endpoints)
    prefer = sections.get("prefer", {})
    preferences = {name: _weight(name, value) for name, value in prefer.items()}
    if not (objectives or ranges or preferences):
        raise GoalError(
            "nothing to search for: give at least one --maximize, --minimize, --near, --within "
            "or --like."
        )
    limits = _formula_limits(sections, known_elements)
    if not any(r.endpoint in HULL_CHANCES.values() for r in ranges):
        ranges = (*ranges, Range(STABILITY, low=DEFAULT_STABILITY))
    return Goal(
        objectives=objectives,
        ranges=ranges,
        preferences=preferences,
        space_groups=_space_groups(sections.get("symmetry", {})),
        like=str(prefer.get("like", "")),
        like_pattern=str(prefer.get("like_pattern", "")),
        **limits,
    )


def _objectives(
    sections: Mapping[str, Any], endpoints: Mapping[str, Endpoint]
) -> tuple[Objective, ...]:
    found: list[Objective] = []
    directions: tuple[tuple[str, Direction], ...] = (
        ("maximize", "maximise"),
        ("minimize", "minimise"),
    )
    for section, direction in directions:
        wishes = sections.get(section, ())
        weights = wishes if isinstance(wishes, Mapping) else dict.fromkeys(_list(wishes), 1.0)
        if not isinstance(wishes, Mapping) and len(weights) < len(_list(wishes)):
            raise GoalError(f"{section}: a property is named more than once; name it once.")
        for name, weight in weights.items():
            known = find_endpoint(name, endpoints).name
            found.append(Objective(known, direction, weight=_positive(name, weight)))
    for name, target in sections.get("near", {}).items():
        endpoint = find_endpoint(name, endpoints)
        value = _number(f"near {name}", target)
        _check_possible(endpoint, value, value)
        found.append(Objective(endpoint.name, "near", target=value))
    names = [objective.endpoint for objective in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GoalError(f"{', '.join(twice)}: named more than once; keep one direction.")
    return tuple(found)


def _ranges(wishes: Mapping[str, Any], endpoints: Mapping[str, Endpoint]) -> tuple[Range, ...]:
    found = []
    for name, text in wishes.items():
        low, high = parse_range(name, text)
        if name == "energy_above_hull":
            if high not in HULL_CHANCES or low > 0:
                raise GoalError(
                    f'within energy_above_hull = "{text}": the models tell the chance of being at '
                    f"most {' or '.join(map(str, HULL_CHANCES))} eV/atom above the hull; ask for "
                    'one of these, such as "< 0.1".'
                )
            found.append(Range(HULL_CHANCES[high], low=DEFAULT_STABILITY))
            continue
        endpoint = find_endpoint(name, endpoints)
        _check_possible(endpoint, low, high)
        bottom, top = (end if math.isfinite(end) else None for end in (low, high))
        found.append(Range(endpoint.name, bottom, top))
    return tuple(found)


def parse_range(name: str, text: Any) -> tuple[float, float]:
    """Ends of "1.1..1.7", "< 0.1", ">= 5" or [1.1, 1.7]; raises GoalError for anything else.

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
            low = high = float(text)
    except (TypeError, ValueError) as error:
        raise GoalError(
            f'{name} = {text!r} is no range; wanted "1.1..1.7", "< 0.1", "> 5" or [1.1, 1.7].'
        ) from error
    if not low <= high:
        raise GoalError(f"{name} = {text!r}: nothing lies between {low:g} and {high:g}.")
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


def _formula_limits(sections: Mapping[str, Any], known_elements: Sequence[str]) -> dict[str, Any]:
    """The keywords of ``Goal`` that say what formulas may be."""
    formula, elements = sections.get("formula", {}), sections.get("elements", {})
    kinds = [key for key in ("exact", "chemical_system", "stoichiometry") if key in formula]
    if len(kinds) > 1:
        raise GoalError(f"[formula] has {' and '.join(kinds)}; each says all, keep one.")
    allowed = _allowed(elements, known_elements)
    required = tuple(check_symbols(_list(elements.get("required", ()))))
    fewest, most = _element_numbers(elements)
    max_atoms = _whole("max_atoms", formula.get("max_atoms", 20))
    sites: tuple[tuple[int, tuple[str, ...]], ...] = ()
    text = ""
    if "chemical_system" in formula:
        system = check_symbols(re.split(r"[-,\s]+", str(formula["chemical_system"])))
        required = tuple(dict.fromkeys([*required, *system]))
        _subset(system, allowed, "chemical_system")
        allowed = tuple(symbol for symbol in allowed if symbol in system)
        fewest = most = len(system)
    elif "exact" in formula:
        amounts = _exact(formula["exact"])
        text = conventional_formula("".join(f"{s}{n}" for s, n in sorted(amounts.items())))
        sites = tuple((n, (symbol,)) for symbol, n in amounts.items())
        _subset(amounts, allowed, "exact formula")
    elif "stoichiometry" in formula:
        text = str(formula["stoichiometry"])
        sites = stoichiometry_sites(text, formula.get("sites", {}), allowed)
    elif "sites" in formula:
        raise GoalError("[formula] sites belong to a stoichiometry; give one, such as ABX3.")
    _subset(required, allowed, "required elements")
    if sites:
        _check_sites(text, sites, required)
        atoms, count = sum(n for n, _ in sites), len(sites)
        if "number" in elements and not fewest <= count <= most:
            raise GoalError(f"{text} has {count} elements, number = {elements['number']!r}.")
        if "max_atoms" in formula and atoms > max_atoms:
            raise GoalError(f"{text} has {atoms} atoms, max_atoms = {max_atoms}.")
        fewest, most, max_atoms = count, count, atoms
    if fewest > len(allowed):
        raise GoalError(f"{fewest} elements are wanted and {len(allowed)} are allowed.")
    if len(required) > most:
        raise GoalError(f"{len(required)} elements are required and at most {most} wanted.")
    if max(fewest, len(required)) > max_atoms:
        raise GoalError(
            f"{max(fewest, len(required))} elements do not fit into max_atoms = {max_atoms}."
        )
    return {
        "allowed": allowed,
        "required": required,
        "min_elements": fewest,
        "max_elements": most,
        "max_atoms": max_atoms,
        "sites": sites,
        "stoichiometry": text,
    }


def _allowed(elements: Mapping[str, Any], known_elements: Sequence[str]) -> tuple[str, ...]:
    """The elements that are left when all limits on them are kept."""
    wanted = list(known_elements)
    if "allowed" in elements:
        wanted = check_symbols(_list(elements["allowed"]))
    required = check_symbols(_list(elements.get("required", ())))
    strangers = [s for s in [*wanted, *required] if s not in known_elements]
    if strangers:
        raise GoalError(
            f"{', '.join(strangers)}: no known material here holds it, so nothing can be "
            "predicted; leave it out or give a table that has it (--known)."
        )
    forbidden = check_symbols(_list(elements.get("forbidden", ())))
    both = sorted(set(required) & set(forbidden))
    if both:
        raise GoalError(f"{', '.join(both)}: both required and forbidden.")
    wanted = [symbol for symbol in wanted if symbol not in forbidden]
    for reason, is_fit in _element_limits(elements):
        lost = [symbol for symbol in required if not is_fit(symbol)]
        if lost:
            raise GoalError(f"{', '.join(lost)}: required, but {reason} forbids it.")
        wanted = [symbol for symbol in wanted if is_fit(symbol)]
    if not wanted:
        raise GoalError("no element is left: what is forbidden takes away all that is allowed.")
    return tuple(wanted)


def _element_limits(
    elements: Mapping[str, Any],
) -> Iterable[tuple[str, Callable[[str], bool]]]:
    if "max_price" in elements:
        dearest = _number("max_price", elements["max_price"])
        price = Affordable().value
        yield f"max_price = {dearest:g}", lambda s: (price(s) or math.inf) <= dearest
    if "min_abundance" in elements:
        rarest = _number("min_abundance", elements["min_abundance"])
        abundance = Abundant().value
        yield f"min_abundance = {rarest:g}", lambda s: (abundance(s) or 0.0) >= rarest
    for key, rule in (("toxic", NotToxic()), ("radioactive", NotRadioactive())):
        wish = elements.get(key, True)
        if not isinstance(wish, bool):
            raise GoalError(f"[elements] {key} = {wish!r}; wanted true or false.")
        if not wish:
            yield f"{key} = false", rule.allows


def _element_numbers(elements: Mapping[str, Any]) -> tuple[int, int]:
    if "number" not in elements:
        return 1, 5
    low, high = parse_range("number", elements["number"])
    fewest, most = max(1, math.ceil(low)) if low > -math.inf else 1, high
    text = str(elements["number"])
    if most == math.inf:
        most = 8
    if "<" in text and "=" not in text:
        most -= 1
    if ">" in text and "=" not in text:
        fewest += 1
    if most < fewest or most > 8:
        raise GoalError(f"number = {text!r}: wanted between 1 and 8 elements.")
    return fewest, int(most)


def stoichiometry_sites(
    text: str, sites: Mapping[str, Any], allowed: Sequence[str]
) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Atoms and possible elements of each place of "ABX3", "A2BO4" or the like.

    Placeholders (PLACEHOLDERS) stand for any allowed element, or for those that ``sites``
    names; other symbols mean themselves. Raises GoalError for what is no stoichiometry.
    """
    parts = _PART.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        raise GoalError(f'stoichiometry "{text}" is not like ABX3 or A2BO4.')
    names = [name for name, _ in parts]
    if len(set(names)) < len(names):
        raise GoalError(f'stoichiometry "{text}" names a place twice.')
    for name in sites:
        if name not in names:
            raise GoalError(f'[formula] sites: "{text}" has no {name}. {suggest(name, names)}')
    placeholders = PLACEHOLDERS | ({"B", "C"} if "A" in names else set())
    found = []
    for name, number in parts:
        if name in sites:
            symbols = check_symbols(_list(sites[name]))
        elif name in placeholders:
            symbols = list(allowed)
        else:
            symbols = check_symbols([name])
        left = tuple(symbol for symbol in symbols if symbol in allowed)
        if not left:
            raise GoalError(f"{text}: no allowed element can stand for {name}.")
        found.append((int(number or 1), left))
    divisor = math.gcd(*(amount for amount, _ in found))
    if divisor != 1 or min(amount for amount, _ in found) < 1:
        raise GoalError(f'stoichiometry "{text}" is not reduced; divide it by {divisor}.')
    if len(found) > MAX_SITES and any(len(symbols) > 1 for _, symbols in found):
        raise GoalError(f"{text} has {len(found)} places; up to {MAX_SITES} can be searched.")
    return tuple(found)


def _check_sites(
    text: str, sites: Sequence[tuple[int, tuple[str, ...]]], required: Sequence[str]
) -> None:
    """That different elements fit on the sites, the required ones among them."""
    fits = np.array([element_mask(symbols) for _, symbols in sites])
    cost = np.where(fits, 1.0, 1e6) - fits * element_mask(tuple(required))
    total = cost[linear_sum_assignment(cost)].sum()
    if total > len(sites) - len(required):
        wanted = f" with {', '.join(required)}" if required else ""
        raise GoalError(
            f"{text}: no different elements{wanted} fit on its {len(sites)} places; allow more "
            "elements, or others in sites."
        )


def _exact(text: Any) -> Mapping[str, int]:
    try:
        return parse_formula(str(text))
    except InputError as error:
        raise GoalError(str(error)) from error


def _space_groups(symmetry: Mapping[str, Any]) -> tuple[int, ...]:
    numbers = set(range(1, 231))
    if "crystal_systems" in symmetry:
        numbers = set()
        for name in _list(symmetry["crystal_systems"]):
            if name not in CRYSTAL_SYSTEMS:
                raise GoalError(f'"{name}" is no crystal system. {suggest(name, CRYSTAL_SYSTEMS)}')
            first, last = CRYSTAL_SYSTEMS[name]
            numbers |= set(range(first, last + 1))
    if "space_groups" in symmetry:
        given = symmetry["space_groups"]
        wanted = {_space_group(g) for g in (given if isinstance(given, list) else [given])}
        numbers &= wanted
        if not numbers:
            raise GoalError(
                f"space groups {sorted(wanted)} are of none of the crystal systems "
                f"{symmetry.get('crystal_systems')}."
            )
    return () if len(numbers) == 230 else tuple(sorted(numbers))


def _space_group(name: Any) -> int:
    """A number from a number or a symbol, such as 225 or "Fm-3m"."""
    if isinstance(name, int) and 1 <= name <= 230:
        return name
    if isinstance(name, str) and name.isdigit():
        return _space_group(int(name))
    from pymatgen.symmetry.groups import SpaceGroup

    try:
        return int(SpaceGroup(str(name)).int_number)
    except ValueError as error:
        raise GoalError(f"{name!r} is no space group; wanted 1 to 230 or a symbol.") from error


def _suggest_symbol(name: str) -> str:
    from pymatgen.core import Element

    spelled = {Element(symbol).long_name: symbol for symbol in atomic_numbers()}
    return suggest(spelled.get(name, name), atomic_numbers())


def check_symbols(symbols: Iterable[str]) -> list[str]:
    """The symbols, each once and in order; raises GoalError for what is no element."""
    out = []
    for symbol in symbols:
        name = str(symbol).strip().capitalize()
        if name not in atomic_numbers():
            raise GoalError(f'"{symbol}" is not an element. {_suggest_symbol(name)}')
        out.append(name)
    return list(dict.fromkeys(out))


def _subset(symbols: Iterable[str], allowed: Sequence[str], what: str) -> None:
    lost = [symbol for symbol in symbols if symbol not in allowed]
    if lost:
        raise GoalError(f"{what}: {', '.join(lost)} is not among the allowed elements.")


def _list(value: Any) -> list[str]:
    """Names in a list, or in a text with commas or spaces between them."""
    if isinstance(value, str):
        return [part for part in re.split(r"[,\s]+", value) if part]
    if not isinstance(value, Iterable):
        raise GoalError(f'{value!r} is no list of names; write ["one", "other"] or "one, other".')
    return [str(part) for part in value]


def _weight(name: str, value: Any) -> float:
    """Of a preference; the materials and patterns that "like" names weigh 1."""
    if name in ("like", "like_pattern"):
        return 1.0
    return 1.0 if value is True else _positive(name, value)


def _positive(name: str, value: Any) -> float:
    number = _number(name, value)
    if number <= 0:
        raise GoalError(f"{name}: a weight must be positive, not {value!r}.")
    return number


def _number(name: str, value: Any) -> float:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    # an integer that no double holds is none, like infinity
    if not (numeric and abs(value) <= sys.float_info.max):
        raise GoalError(f"{name} = {str(value)[:40]}; wanted a number.")
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise GoalError(f"{name} = {value!r}; wanted a positive whole number.")
    return value
