"""A small run has every table, and its ranks are those of the right phases."""

import json

import numpy as np
import pytest

from matlode.benchmarks.identify import MINERALS, bench_identify
from matlode.benchmarks.measured_like import LADDER
from matlode.data.tables import write_materials


@pytest.mark.slow
def test_every_rung_is_measured_beside_the_baseline(starter, tmp_path):
    small = starter.take(np.arange(0, len(starter), 12))
    twice = small.take(np.r_[np.arange(len(small)), 5])
    twice.frame["database"] = np.where(np.arange(len(twice)) == 5, MINERALS, "MP")
    write_materials(twice, tmp_path / "table")
    found = bench_identify(
        tmp_path / "table" / "materials.parquet",
        n_patterns=2 * len(LADDER),
        index=tmp_path / "index",
        out=tmp_path / "out",
    )
    ranks, guesses, seconds = list(found.values())[:3]
    assert [row["patterns"] for row in ranks[:-1]] == [rung.name for rung in LADDER]
    assert ranks[0]["rank 1"] == 1.0
    # the mineral's own row is hidden, its twin is found
    assert ranks[-1]["n"] == 1
    assert ranks[-1]["rank 1"] == 1.0
    for row in ranks:
        assert row["rank 1"] <= row["rank 5"]
        assert row["cosine, rank 1"] <= row["cosine, rank 5"]
    assert {row["patterns"] for row in guesses} == {row["patterns"] for row in ranks}
    assert seconds[0]["seconds"] > 0
    assert json.loads((tmp_path / "out" / "identify.json").read_text()) == found
