from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matlode import errors
from matlode.errors import EmptyPatternError, MatlodeError, PatternError, ScatteringError, suggest

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_can_be_caught_as_ours(kind):
    assert issubclass(kind, MatlodeError)
    assert kind.__doc__


@pytest.mark.parametrize("kind", [EmptyPatternError, ScatteringError])
def test_pattern_errors_keep_the_indices(kind):
    error = kind("two crystals", iter([3, 5]))
    assert isinstance(error, PatternError)
    assert error.indices == (3, 5)
    assert str(error) == "two crystals"


@given(st.sets(st.text("abcdefgh_", min_size=3, max_size=12), min_size=1, max_size=6))
def test_suggestion_names_what_is_known(known):
    for name in known:
        assert suggest(name, known) == f'Did you mean "{name}"?'
    assert suggest("XYZXYZ", known) == f"Known: {', '.join(sorted(known))}."


def test_suggestion_takes_the_nearest_name():
    known = ["shear_modulus", "bulk_modulus", "formation_energy"]
    assert suggest("bulk_module", known) == 'Did you mean "bulk_modulus"?'
