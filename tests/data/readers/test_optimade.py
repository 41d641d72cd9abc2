"""Against the reference server of OPTIMADE, on the loopback, with real structures in it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from pymatgen.core import Lattice, Structure

from matlode.data.readers import databases, gather, open_source
from matlode.data.readers.source import ReadOptions
from matlode.data.symmetry import find_space_group
from matlode.data.tables import Materials
from matlode.errors import InputError
from matlode.representation.diffraction import simulate_patterns
from matlode.testing import SINGLE_PRECISION

pytest.importorskip("optimade.server.config", reason="optimade[server] (extra dev) is absent")
pytest.importorskip("mongomock", reason="optimade[server] (extra dev) is absent")

N = 50
PAGE = 20
"""Rows per page that the reference server gives when it is not asked for more."""
START_LIMIT_S = 60
GAP = {"name": "band_gap", "type": "float", "unit": "eV", "description": "The row's number."}
ALLOY = Structure(Lattice.cubic(3.8), [{"Cu": 0.25, "Au": 0.5}, "O"], [[0, 0, 0], [0.5] * 3])


def optimade_document(name: str, structure: Structure, band_gap: float) -> dict:
    from optimade.adapters.structures.pymatgen import from_pymatgen

    ordered = structure if structure.is_ordered else structure.copy()
    if not structure.is_ordered:
        ordered = Structure(structure.lattice, ["Cu", "O"], structure.frac_coords)
    document = json.loads(from_pymatgen(ordered).model_dump_json())
    if not structure.is_ordered:
        mixed = next(kind for kind in document["species"] if kind["name"] == "Cu")
        mixed |= {
            "chemical_symbols": ["Cu", "Au", "vacancy"],
            "concentration": [0.25, 0.5, 0.25],
        }
        document["structure_features"] = ["disorder"]
    document |= {
        "last_modified": "2026-01-01T00:00:00Z",
        "band_gap": band_gap,
        "immutable_id": None,
    }
    return {"id": name, "type": "structures", "attributes": document}


@pytest.fixture(scope="module")
def some(starter) -> Materials:
    small = np.flatnonzero(starter.crystals.n_atoms <= 20)
    return starter.take(small[:: len(small) // N][:N])


@pytest.fixture(scope="module")
def server(tmp_path_factory, some) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("optimade")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    documents = [
        optimade_document(name, structure, float(at))
        for at, (name, structure) in enumerate(
            zip(some.frame["id"], some.crystals.structures(), strict=True)
        )
    ]
    documents.append(optimade_document("alloy", ALLOY, 99.0))
    lines = [{"x-optimade": {"meta": {"api_version": "1.1.0"}}}, *documents]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = {
        "database_backend": "mongomock",
        "insert_test_data": False,
        "insert_from_jsonl": str(folder / "data.jsonl"),
        "base_url": base,
        "provider": {"prefix": "test", "name": "Test provider", "description": "of these tests"},
        "provider_fields": {"structures": [GAP]},
        "log_dir": str(folder),
    }
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "uvicorn", "optimade.server.main:app", "--port", str(port)]
    environment = {**os.environ, "OPTIMADE_CONFIG_FILE": str(folder / "config.json")}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        _wait(base, process, folder / "server.log")
        yield base
    finally:
        process.terminate()
        process.wait(20)


def _wait(base: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(f"{base}/v1/info", timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    pytest.fail(f"the reference server did not start: {log.read_text()[-2000:]}")


def test_what_comes_back_is_what_went_in(server, some):
    read = gather(open_source(f"optimade:{server}"))
    assert read.dropped == ()
    assert sorted(read.frame["id"]) == sorted([*some.frame["id"], "alloy"])
    order = [read.frame["id"].tolist().index(name) for name in some.frame["id"]]
    back = read.take(np.array(order))
    assert back.frame["formula"].tolist() == some.frame["formula"].tolist()
    assert back.frame["_test_band_gap"].tolist() == list(np.arange(float(N)))
    np.testing.assert_allclose(back.crystals.lattices, some.crystals.lattices, atol=1e-9)
    np.testing.assert_allclose(
        simulate_patterns(back.crystals), simulate_patterns(some.crystals), atol=SINGLE_PRECISION
    )
    for index in range(N):
        assert find_space_group(back.crystals, index) == find_space_group(some.crystals, index)


def test_all_pages_are_read_once(server, monkeypatch):
    asked = []
    get = databases._request

    def remember(session, url, parameters):
        asked.append(url)
        return get(session, url, parameters)

    monkeypatch.setattr(databases, "_request", remember)
    read = gather(open_source(f"optimade:{server}"))
    assert len(read) == read.frame["id"].nunique() == N + 1
    pages = [url for url in asked if "/structures" in url and "/info" not in url]
    assert len(pages) == len(set(pages)) == -(-(N + 1) // PAGE)


def test_disorder_comes_back(server):
    read = gather(open_source(f"optimade:{server}", ReadOptions(filter='elements HAS "Cu"')))
    (at,) = np.flatnonzero(read.frame["id"] == "alloy")
    assert read.crystals.structure(int(at)) == ALLOY


def test_filters_are_the_databases_own(server, some):
    read = gather(open_source(f"optimade:{server}/v1", ReadOptions(filter="nelements=2")))
    binary = some.frame["id"][some.frame["n_elements"] == 2]
    # the alloy was told to be of Cu and O
    assert sorted(read.frame["id"]) == sorted([*binary, "alloy"])


def test_provider_and_licence_are_told(server):
    source = open_source(f"optimade:{server}")
    assert source.name.startswith("Test provider, OPTIMADE 1.")
    assert source.licence == "unknown"


def test_a_filter_that_is_refused_is_told(server):
    source = open_source(f"optimade:{server}", ReadOptions(filter="nelements=="))
    with pytest.raises(InputError, match="the OPTIMADE provider rejected the request"):
        gather(source)


def test_what_is_no_provider_is_told(server):
    with pytest.raises(InputError, match=r"the OPTIMADE provider (rejected the request|failed)"):
        open_source(f"optimade:{server}/nowhere")
    with pytest.raises(InputError, match=r'"example" is not the URL of an OPTIMADE provider'):
        open_source("optimade:example")
