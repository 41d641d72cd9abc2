from __future__ import annotations

import os
import time

import numpy as np
import pytest
from pymatgen.core import Structure

from matlode.data.readers import parsing
from matlode.data.readers.parsing import parse_all
from matlode.errors import InputError
from matlode.testing import rock_salt
from tests.data.test_crystals import assert_same

N, BATCH = 17, 4
BAD, DEADLY = 3, 5


def build(item: int) -> Structure:
    if item == BAD:
        raise InputError("unlucky")
    return rock_salt(a_angstrom=5 + item / 100)


def kill(item: int) -> Structure:
    if item == DEADLY:
        os._exit(1)
    return build(item)


def linger(item: int) -> Structure:
    if item == BAD:
        time.sleep(20)
    return build(item)


@pytest.fixture
def _always_in_processes(monkeypatch):
    monkeypatch.setattr(parsing, "PARALLEL_FROM", 1)
    monkeypatch.setattr(parsing, "BATCH", BATCH)


@pytest.mark.usefixtures("_always_in_processes")
def test_processes_give_what_one_gives_in_order():
    alone, together = (parse_all(build, range(N), n_jobs=n) for n in (1, 2))
    assert_same(alone.crystals, together.crystals)
    assert alone.reasons == together.reasons
    assert [row for row, reason in enumerate(alone.reasons) if reason] == [BAD]
    assert alone.reasons[BAD] == "unlucky"
    expected = [5 + item / 100 for item in range(N) if item != BAD]
    np.testing.assert_allclose(alone.crystals.lattices[:, 0, 0], expected)


@pytest.mark.slow
@pytest.mark.usefixtures("_always_in_processes")
@pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")
def test_a_crystal_that_kills_its_process_costs_only_itself():
    parsed = parse_all(kill, range(N), n_jobs=2)
    assert [row for row, reason in enumerate(parsed.reasons) if reason] == [BAD, DEADLY]
    assert parsed.reasons[DEADLY] == "crashed the program that reads it"
    assert len(parsed.crystals) == N - 2


def test_a_crystal_that_takes_too_long_costs_only_itself(monkeypatch):
    monkeypatch.setattr(parsing, "TIME_LIMIT_S", 0.2)
    parsed = parse_all(linger, range(12))
    assert [reason for reason in parsed.reasons if reason] == ["took longer than 0.2 s to read"]
    assert len(parsed.crystals) == 11


def test_nothing_is_parsed_to_nothing():
    parsed = parse_all(build, [])
    assert len(parsed.crystals) == 0
    assert parsed.reasons == ()
