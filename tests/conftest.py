"""Laws are checked on the same draws in every run; fixtures that cost a second are made once."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import settings

from matlode.data.tables import Materials, load_starter
from matlode.evidence import potentials
from matlode.evidence.potentials import PotentialInfo
from matlode.jobs.search import Run, search
from matlode.jobs.starts import SearchSettings

settings.register_profile(
    "matlode", derandomize=True, deadline=None, max_examples=25, database=None
)
settings.load_profile("matlode")


@pytest.fixture(scope="session")
def starter() -> Materials:
    """The embedded starter set; treat it as read-only."""
    return load_starter()


SMALL_SEARCH = SearchSettings(
    trials=192, n_start=200, n_screened=60, n_realised=30, n_candidates=20
)


@pytest.fixture(scope="session")
def hard_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small search for hard materials with the shipped models; treat it as read-only."""
    return search(
        maximize=["bulk_modulus", "shear_modulus"],
        out=tmp_path_factory.mktemp("runs") / "hard",
        settings=SMALL_SEARCH,
    )


def _emt(device, weights):
    from ase.calculators.emt import EMT

    return EMT()


@pytest.fixture
def emt(monkeypatch):
    """The name of a potential that costs nothing: ASE's effective medium theory of a few metals."""
    info = PotentialInfo("emt", "ase", "emt", "Jacobsen et al., 1996", corrected=True, load=_emt)
    known = {**potentials.POTENTIALS, "emt": info}
    monkeypatch.setattr(potentials, "POTENTIALS", MappingProxyType(known))
    potentials.load_calculator.cache_clear()
    yield "emt"
    potentials.load_calculator.cache_clear()
