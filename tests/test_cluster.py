"""A Dask cluster gives the results of this machine, whatever is lost."""

import os
import signal

import pytest
from pymatgen.core import Lattice, Structure

from matlode.engine import Here
from matlode.errors import InputError
from matlode.evidence.examination import Examination
from matlode.jobs.relax import make_sources, relax_structures
from matlode.optimisation.campaign import BLOCK
from matlode.progress import silent
from tests.optimisation.cheap import START, CheapEvaluator, cheap_campaign
from tests.optimisation.crystal_search import assert_same
from tests.test_engine import die, fail, look_up, square

distributed = pytest.importorskip("distributed")
# Dask's own sockets and loops are closed by its clean-up, after pytest looks
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def engine():
    from matlode.cluster import Cluster

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        Cluster(cluster.scheduler_address) as engine,
    ):
        yield engine


def test_results_come_in_order(engine):
    assert engine.n_workers == 2
    tasks = [engine.submit(square, x) for x in range(7)]
    assert list(engine.gather(tasks)) == [x * x for x in range(7)]
    assert list(engine.stream(square, range(20))) == [x * x for x in range(20)]


def test_errors_of_a_call_are_raised(engine):
    with pytest.raises(ValueError, match="no 1"):
        engine.submit(fail, 1).result()


def test_a_worker_that_is_killed_costs_nothing(engine, tmp_path):
    """Those that start in its place have the shared values, too."""
    n_trials = 5 * BLOCK
    wanted = cheap_campaign().run(START, n_trials, seed=1)
    campaign = cheap_campaign(CheapEvaluator(killed_at=tmp_path))
    assert_same(campaign.run(START, n_trials, seed=1, engine=engine), wanted)
    assert len(list(tmp_path.iterdir())) == 6
    shared = engine.share(10)
    assert [engine.submit(look_up, shared, x).result()[0] for x in range(4)] == [10, 11, 12, 13]


def calculate_by_emt():
    """ASE's effective medium theory of a few metals, a potential that costs nothing."""
    from ase.calculators.emt import EMT

    return EMT()


def test_evidence_is_that_of_one_machine_though_a_worker_is_killed(engine, starter, tmp_path):
    files = [tmp_path / f"{edge_a}.cif" for edge_a in (3.8, 3.9, 4.0)]
    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    for file in files:
        lattice = Lattice.cubic(float(file.stem))
        Structure(lattice, ["Au", "Cu", "Cu", "Cu"], sites).to(str(file))
    worker, killed = engine.submit(os.getpid).result(), []

    def kill_a_worker(_stage, done, *_):
        if done and not killed:
            killed.append(worker)
            os.kill(worker, signal.SIGKILL)

    emt, found = f"{__name__}:calculate_by_emt", {}
    for name, where, progress in (("here", Here(), silent), ("there", engine, kill_a_worker)):
        out = tmp_path / name
        examination = Examination(starter, primary=emt, secondary=emt, cache=out / "cache")
        relax_structures(make_sources(files), out, examination, progress, engine=where)
        computed = sorted(path.name for path in (out / "cache").rglob("*.json"))
        found[name] = (out / "evidence.csv").read_bytes(), computed
    assert killed
    assert found["here"] == found["there"]
    assert len(found["there"][0].splitlines()) == 4


@pytest.mark.slow
def test_a_call_that_kills_every_worker_is_given_up(engine):
    with pytest.raises(InputError, match="several workers were lost"):
        engine.submit(die, 0).result()


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch):
    from matlode import cluster

    monkeypatch.setattr(cluster, "CONNECTION_S", 0.5)
    with pytest.raises(InputError, match="no Dask scheduler answers at"):
        cluster.Cluster("tcp://127.0.0.1:1")
