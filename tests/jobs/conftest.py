import pytest

from matlode.jobs.search import SearchSettings, search

SMALL = SearchSettings(trials=192, n_start=200, n_screened=60, n_candidates=20)


@pytest.fixture(scope="session")
def hard_run(tmp_path_factory):
    """A small search for hard materials with the shipped models."""
    return search(
        maximize=["bulk_modulus", "shear_modulus"],
        out=tmp_path_factory.mktemp("runs") / "hard",
        settings=SMALL,
    )
