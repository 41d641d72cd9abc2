"""Laws are checked on the same draws in every run; fixtures that cost a second are made once."""

from __future__ import annotations

import pytest
from hypothesis import settings

from matlode.data.tables import Materials, load_starter

settings.register_profile(
    "matlode", derandomize=True, deadline=None, max_examples=25, database=None
)
settings.load_profile("matlode")


@pytest.fixture(scope="session")
def starter() -> Materials:
    """The embedded starter set; treat it as read-only."""
    return load_starter()
