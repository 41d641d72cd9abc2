from __future__ import annotations

import json
import os
import signal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from matlode.data.crystals import Crystals
from matlode.data.tables import count_rows, find_starter, read_crystal_batches
from matlode.errors import InputError
from matlode.representation.composition import composition_vectors
from matlode.representation.descriptors import (
    compute_composition_descriptors,
    compute_pattern_descriptors,
)
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.streaming import QUANTITIES, stream_table
from matlode.testing import SINGLE_PRECISION

N_ROWS = 400


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Some starter rows, one of them with an element that has no scattering factor and one
    with a cell that cannot be."""
    rows = pq.read_table(find_starter()).slice(0, N_ROWS)
    numbers, lattices = rows["numbers"].to_pylist(), rows["lattice"].to_pylist()
    numbers[7] = [100] * len(numbers[7])
    lattices[300] = [100 * x for x in lattices[300]]
    for name, values in (("numbers", numbers), ("lattice", lattices)):
        at = rows.column_names.index(name)
        rows = rows.set_column(at, name, pa.array(values, rows.schema.field(name).type))
    path = tmp_path_factory.mktemp("tables") / "some.parquet"
    pq.write_table(rows, path, row_group_size=90)
    return path


def arrays(folder, names=tuple(QUANTITIES)):
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}


def test_batches_are_the_table(table):
    parts = list(read_crystal_batches(table, 64))
    whole = Crystals.from_table(pq.read_table(table))
    assert count_rows(table) == N_ROWS == len(Crystals.concatenate(parts))
    assert_array_equal(Crystals.concatenate(parts).frac_coords, whole.frac_coords)
    assert max(map(len, parts)) <= 64


@pytest.mark.parametrize("batch_rows", [37, 4096])
def test_streamed_arrays_are_those_of_the_whole_table(table, tmp_path, batch_rows):
    header = stream_table(table, tmp_path, tuple(QUANTITIES), batch_rows=batch_rows)
    good = np.ones(N_ROWS, dtype=bool)
    good[[7, 300]] = False
    crystals = Crystals.from_table(pq.read_table(table)).take(good)
    patterns, vectors = simulate_patterns(crystals), composition_vectors(crystals)
    expected = {
        "patterns": patterns,
        "compositions": vectors.astype(np.float32),
        "composition-descriptors": compute_composition_descriptors(vectors),
        "pattern-descriptors": compute_pattern_descriptors(patterns),
    }
    for name, values in arrays(tmp_path).items():
        assert_allclose(values[good], expected[name], atol=SINGLE_PRECISION, err_msg=name)
        assert not values[~good].any()
    unusable = pd.read_csv(tmp_path / "unusable.csv")
    assert unusable["row"].tolist() == [7, 300]
    assert unusable["reason"][0] == "an element has no tabulated X-ray scattering factor"
    assert "Å³ per atom" in unusable["reason"][1]
    told = json.loads(header.read_text(encoding="utf-8"))
    assert (told["rows"], told["unusable"]) == (N_ROWS, 2)


def test_unknown_quantities_and_tables_say_so(table, tmp_path):
    with pytest.raises(InputError, match='Did you mean "patterns"'):
        stream_table(table, tmp_path, ["pattern"])
    with pytest.raises(InputError, match="not a readable Parquet table"):
        stream_table(tmp_path / "none.parquet", tmp_path)


@pytest.mark.slow
# Dask's own sockets and loops are closed by its clean-up, after pytest looks
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_that_loses_a_worker_gives_the_same_files(table, tmp_path):
    distributed = pytest.importorskip("distributed")
    from matlode.cluster import Cluster

    here, there = tmp_path / "here", tmp_path / "there"
    stream_table(table, here)
    killed = []

    def kill_one(_stage, done, total, _note=""):
        if not killed and done < total:
            victim = next(iter(cluster.workers.values()))
            killed.append(victim.pid)
            os.kill(victim.pid, signal.SIGKILL)

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        Cluster(cluster.scheduler_address) as engine,
    ):
        stream_table(table, there, engine=engine, batch_rows=20, progress=kill_one)
    assert killed
    for name in ("patterns.npy", "unusable.csv", "arrays.json"):
        assert (there / name).read_bytes() == (here / name).read_bytes()
