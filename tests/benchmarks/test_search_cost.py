import time
from pkgutil import resolve_name

import pytest

from matlode.benchmarks import search_cost
from matlode.benchmarks.search_cost import STAGES, StageClock, bench_search_cost


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_a_function_that_exists(name):
    assert callable(resolve_name(name))


def test_inner_stages_do_not_count_for_the_outer_ones():
    clock = StageClock()
    outer, inner = list(clock.seconds)[:2]

    def work():
        time.sleep(0.05)

    def work_around():
        clock.time_calls(work, inner)()
        time.sleep(0.02)

    clock.time_calls(work_around, outer)()
    assert clock.seconds[inner] >= 0.05
    assert 0.02 <= clock.seconds[outer] < clock.seconds[inner]


@pytest.mark.laboratory
def test_stages_add_up_to_the_whole(monkeypatch):
    monkeypatch.setattr(search_cost, "N_POINTS", 64)
    (rows,) = bench_search_cost(n_trials=64).values()
    seconds = {row["stage"]: row["64 crystals"] for row in rows}
    assert set(STAGES.values()) <= set(seconds)
    parts = sum(seconds[stage] for stage in (*STAGES.values(), "everything else"))
    assert parts == pytest.approx(seconds["whole"], abs=0.2)
    assert seconds["simulate patterns"] > 0
