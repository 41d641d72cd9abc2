"""Frozen records from the content of JSON files, with every type checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")

SCALARS: Mapping[object, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (float, int),  # JSON does not keep the difference for whole numbers
    bool: (bool,),
    NoneType: (NoneType,),
}
"""Annotation → types of the values that it accepts."""


def parse_record(kind: type[Record], content: object) -> Record:
    """Make a record of dataclass ``kind`` from a JSON object; ignore keys it has no field for.

    Fields may be annotated as str, int, float, bool, None, object, tuple[X, ...],
    Mapping[str, X], another dataclass, or a union of these. Values are kept as they are.
    Raises ValueError, which names the entry, for missing entries and for wrong types.

    >>> from matlode.records import Prediction
    >>> parse_record(Prediction, {"value": 1, "low": 0.5, "high": 2, "unit": 3})
    Traceback (most recent call last):
    ValueError: unit: found 3, expected str
    """
    make: Callable[..., Record] = kind
    return make(**_parse_fields(kind, content, ""))


def _parse_fields(kind: type[object], content: object, place: str) -> dict[str, object]:
    if not isinstance(content, dict):
        raise ValueError(_describe(place, content, "an object"))
    values: dict[str, object] = {}
    for name, annotation, is_optional in _fields(kind):
        below = f"{place}.{name}" if place else name
        if name in content:
            values[name] = _parse(annotation, content[name], below)
        elif not is_optional:
            raise ValueError(f'entry "{below}" is missing')
    return values


_known_fields: dict[object, tuple[tuple[str, object, bool], ...]] = {}
"""What ``_fields`` found: to look up annotations takes longer than to check a value."""


def _fields(kind: type[object]) -> tuple[tuple[str, object, bool], ...]:
    """(name, annotation, whether it has a default) of each field of a dataclass."""
    if kind not in _known_fields:
        if not is_dataclass(kind):
            raise TypeError(f"{kind.__name__} is not a dataclass")
        annotations = get_type_hints(kind)
        _known_fields[kind] = tuple(
            (
                field.name,
                annotations[field.name],
                field.default is not MISSING or field.default_factory is not MISSING,
            )
            for field in fields(kind)
        )
    return _known_fields[kind]


def _parse(annotation: object, value: object, place: str) -> object:
    if annotation in SCALARS:
        # bool is a subclass of int, and true is not a number
        if isinstance(value, SCALARS[annotation]) and (
            annotation is bool or not isinstance(value, bool)
        ):
            return value
        raise ValueError(_describe(place, value, getattr(annotation, "__name__", "null")))
    if annotation is object:
        return value
    if isinstance(annotation, type) and is_dataclass(annotation):
        return annotation(**_parse_fields(annotation, value, place))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _parse_union(arguments, value, place)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(_describe(place, value, "a list"))
        return tuple(_parse(arguments[0], item, f"{place}[{at}]") for at, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise ValueError(_describe(place, value, "an object"))
        return {key: _parse(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    raise TypeError(f"{place}: fields of type {annotation} are not supported")


def _parse_union(choices: tuple[object, ...], value: object, place: str) -> object:
    if value is None and NoneType in choices:
        return None
    others = [choice for choice in choices if choice is not NoneType]
    for choice in others[:-1]:
        try:
            return _parse(choice, value, place)
        except ValueError:
            continue
    return _parse(others[-1], value, place)


def _describe(place: str, value: object, expected: str) -> str:
    found = repr(value)
    found = found if len(found) <= 60 else f"{found[:60]}..."
    return f"{place or 'content'}: found {found}, expected {expected}"
