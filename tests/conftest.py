"""Laws are checked on the same draws in every run; what costs seconds is made once and shared."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest
from filelock import FileLock
from hypothesis import settings

from matlode.data.tables import Materials, load_starter
from matlode.evidence import potentials
from matlode.evidence.potentials import PotentialInfo
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.screens import load_rules
from matlode.jobs.search import Run, resume, search
from matlode.jobs.starts import SearchSettings
from matlode.screening.rule import Rule
from tests import WORKER

# a command would start a process per core, each of which imports what is there already
os.environ["MATLODE_WORKERS"] = "1"

settings.register_profile(
    "matlode", derandomize=True, deadline=None, max_examples=25, database=None
)
settings.load_profile("matlode")


LONG_FIRST = (
    "hostile/test_fuzz.py",
    "paper/test_reproduce.py",
    "jobs/test_campaigns.py",
    "jobs/test_search.py",
    "paper/test_tune.py",
    "hostile/test_kills.py",
    "test_cli.py",
    "jobs/test_rounds.py",
    "jobs/test_own_properties.py",
    "jobs/test_shortlist.py",
    "jobs/test_relax.py",
    "docs/test_pages.py",
    "report/test_browser.py",
    "training/test_train.py",
    "benchmarks/test_rediscovery.py",
    "benchmarks/test_scale.py",
    "evaluation/test_cross_validation.py",
)
"""Files of tests that take longest. With one file per process at a time (--dist loadfile), a long
one that begins last would keep one process busy while the others have nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    places = {name: place for place, name in enumerate(LONG_FIRST)}

    def place(item: pytest.Item) -> int:
        file = item.path.relative_to(Path(__file__).parent).as_posix()
        return places.get(file, len(places))

    items.sort(key=place)


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that ``make`` fills in the first of the processes that run tests; the
    others wait for it."""
    shared = factory.getbasetemp().parent if WORKER else factory.getbasetemp()
    done = shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            make(shared / name)
            done.touch()
    return shared / name


@pytest.fixture(scope="session")
def starter() -> Materials:
    """The embedded starter set; treat it as read-only."""
    return load_starter()


SMALL_SEARCH = SearchSettings(trials=192, n_start=200, n_screened=60, n_candidates=20)


@pytest.fixture(scope="session")
def models() -> Models:
    """The shipped models; treat them as read-only."""
    return Models()


@pytest.fixture(scope="session")
def known() -> Known:
    """The starter set as known materials; treat it as read-only."""
    return Known()


@pytest.fixture(scope="session")
def rules(models: Models, known: Known) -> tuple[Rule, ...]:
    """The screening rules with their defaults."""
    return load_rules(models, known)


@pytest.fixture(scope="session")
def hard_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small search for hard materials with the shipped models; treat it as read-only."""

    def make(folder: Path) -> Run:
        wanted = ["bulk_modulus", "shear_modulus"]
        return search(maximize=wanted, out=folder, settings=SMALL_SEARCH)

    return resume(make_once(tmp_path_factory, "hard", make))


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
