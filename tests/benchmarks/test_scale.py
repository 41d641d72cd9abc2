from functools import partial

import numpy as np
import pytest

from matlode.benchmarks import scale
from matlode.benchmarks.scale import bench_scale, repeat_materials
from matlode.jobs.starts import SearchSettings


def test_repeats_are_as_many_as_asked_and_each_is_another_crystal(starter):
    few = starter.take(np.arange(7))
    many = repeat_materials(few, 17)
    assert len(many) == len(many.crystals) == 17
    assert many.frame["id"].is_unique
    volumes = many.crystals.volumes_a3
    assert volumes[:7] == pytest.approx(few.crystals.volumes_a3, rel=1e-12)
    assert (volumes[7:14] > volumes[:7]).all()
    assert (many.crystals.n_atoms[7:14] == few.crystals.n_atoms).all()


def check_tables(found):
    sizes = {title: next(iter(row.values())) for title, (row,) in found.items()}
    assert sizes == {
        "campaigns without models": "300", "campaigns": "3", "tables": "300", "predictions": "3"
    }  # fmt: skip
    (table,) = found.pop("tables")
    assert all(table[f"{name} / GB"] > 0.05 for name in ("write", "import", "patterns", "read"))
    assert all(row["peak memory / GB"] > 0.05 for (row,) in found.values())
    assert all(row["file / MB"] > 0 for row in found["campaigns"])


def test_sizes_stand_beside_time_and_memory(monkeypatch):
    """In this process, and from few known materials."""
    monkeypatch.setattr(scale, "run_alone", scale._measure_memory)
    monkeypatch.setattr(scale, "SearchSettings", partial(SearchSettings, n_start=60))
    check_tables(bench_scale(n_trials=3000, n_structures=3000, parts=[10]))


@pytest.mark.laboratory
def test_every_size_has_a_process_of_its_own():
    check_tables(bench_scale(n_trials=3000, n_structures=3000, parts=[10]))
