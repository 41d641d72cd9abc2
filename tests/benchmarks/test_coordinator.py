from matlode.benchmarks.coordinator import bench_coordinator


def test_workers_are_busier_the_longer_a_trial_takes():
    (rows,) = bench_coordinator(workers=(1, 8), seconds=(1e-4, 10.0)).values()
    for row in rows:
        assert 0 < row["0.0001 s"] < row["10 s"] <= 1
    assert rows[1]["10 s"] > 0.9
    assert rows[1]["0.0001 s"] < rows[0]["0.0001 s"]
