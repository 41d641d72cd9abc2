"""Records are read with every type checked, and errors name the entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matlode.json_records import parse_record


@dataclass(frozen=True)
class Part:
    name: str
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Whole:
    share: float
    is_new: bool
    parts: tuple[Part, ...]
    by_name: Mapping[str, float | str]
    best: Part | None = None
    anything: object = None


WHOLE = {"share": 1, "is_new": True, "parts": [{"name": "a", "sizes": [1, 2]}],
         "by_name": {"b": 2.5, "c": "d"}, "best": {"name": "e"}, "anything": [{}]}  # fmt: skip

parts = st.builds(Part, st.text(), st.lists(st.integers()).map(tuple))
numbers = st.floats(allow_nan=False) | st.integers()
wholes = st.builds(
    Whole,
    numbers,
    st.booleans(),
    st.lists(parts, max_size=3).map(tuple),
    st.dictionaries(st.text(), numbers | st.text(), max_size=3),
    st.none() | parts,
)


@given(wholes)
def test_what_is_written_is_read_back(whole):
    assert parse_record(Whole, json.loads(json.dumps(asdict(whole)))) == whole


def test_values_are_kept_and_other_keys_ignored():
    whole = parse_record(Whole, {**WHOLE, "new": 1})
    assert whole == Whole(1, True, (Part("a", (1, 2)),), WHOLE["by_name"], Part("e"), [{}])
    assert isinstance(whole.share, int)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"share": True}, "share: found True, expected float"),
        ({"is_new": 1}, "is_new: found 1, expected bool"),
        ({"parts": {}}, r"parts: found \{\}, expected a list"),
        ({"parts": [{"name": "a"}, {}]}, r'entry "parts\[1\].name" is missing'),
        ({"parts": [{"name": "a", "sizes": [1, 2.5]}]}, r"parts\[0\].sizes\[1\]: found 2.5"),
        ({"by_name": []}, "by_name: found .*, expected an object"),
        ({"by_name": {"b": None}}, "by_name.b: found None, expected str"),
        ({"best": 3}, "best: found 3, expected an object"),
        ({"share": "x" * 99}, "found 'x{59}[.]{3}, expected float"),
    ],
)
def test_wrong_entries_are_named(change, error):
    with pytest.raises(ValueError, match=error):
        parse_record(Whole, {**WHOLE, **change})


def test_what_is_no_object_is_refused():
    with pytest.raises(ValueError, match="content: found 3, expected an object"):
        parse_record(Whole, 3)
