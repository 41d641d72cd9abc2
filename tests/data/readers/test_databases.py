"""Databases by hand-made documents of their own form; nothing leaves this machine."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from matlode.data.labels import RawLabels
from matlode.data.readers import gather, open_source
from matlode.data.readers.databases import (
    JARVIS_COLUMNS,
    MATMINER_COLUMNS,
    MP_FIELDS,
    MP_KEY_VARIABLE,
    convert_mp_documents,
    find_optimade_licence,
)
from matlode.data.spool import SpooledTables
from matlode.data.structures import convert_structure
from matlode.errors import InputError
from matlode.testing import rock_salt

SUMMARY = {
    "material_id": "mp-22862",
    "structure": rock_salt(),
    "formation_energy_per_atom": -2.1,
    "energy_above_hull": 0.0,
    "band_gap": 5.1,
    "bulk_modulus": {"voigt": 25.0, "reuss": 23.0, "vrh": 24.0},
    "shear_modulus": None,
    "total_magnetization": 0.0,
    "symmetry": {"number": 225, "symbol": "Fm-3m"},
    "theoretical": False,
}


class Rester:
    """Answers as mp_api.client.MPRester does, and remembers what it was asked."""

    asked: dict

    def __init__(self, key, **options):
        assert key == "secret"
        self.materials = SimpleNamespace(summary=self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def get_database_version(self):
        return "2025.09.25"

    def search(self, **query):
        type(self).asked = query
        return [SUMMARY]


@pytest.fixture
def _client(monkeypatch):
    monkeypatch.setitem(sys.modules, "mp_api", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mp_api.client", SimpleNamespace(MPRester=Rester))
    monkeypatch.setenv(MP_KEY_VARIABLE, "secret")


@pytest.mark.usefixtures("_client")
@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", {}),
        ("mp-149, mp-22862", {"material_ids": ["mp-149", "mp-22862"]}),
        ("NaCl", {"formula": ["NaCl"]}),
        ("Na-Cl", {"chemsys": ["Na-Cl"]}),
    ],
)
def test_materials_project_is_asked_for_what_is_needed(query, asked):
    source = open_source(f"mp:{query}")
    assert Rester.asked == {**asked, "fields": list(MP_FIELDS), "all_fields": False}
    assert (source.name, source.licence) == ("Materials Project 2025.09.25", "CC BY 4.0")
    row = gather(source).frame.iloc[0]
    assert (row["id"], row["formula"], row["bulk_modulus_vrh"]) == ("mp-22862", "ClNa", 24.0)
    assert row["label_vintage"] == row["hull_vintage"] == "MP-2025.09.25"
    assert row["shear_modulus_vrh"] is None


def test_summary_documents_are_what_the_projects_own_model_writes():
    summary = pytest.importorskip("emmet.core.summary", reason="emmet-core (extra dev) is absent")
    assert set(MP_FIELDS) <= set(summary.SummaryDoc.model_fields)
    document = summary.SummaryDoc.model_construct(**SUMMARY)
    (row,) = convert_mp_documents(
        [document.model_dump(include=set(MP_FIELDS), warnings=False)], "2025.09.25"
    )
    assert convert_structure(row["structure"]) == SUMMARY["structure"]
    assert row["bulk_modulus_vrh"] == 24.0
    assert row["space_group_reported"] == 225


@pytest.mark.usefixtures("_client")
def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv(MP_KEY_VARIABLE)
    with pytest.raises(InputError, match=r"requires an API key; set .* MP_API_KEY to yours"):
        open_source("mp:NaCl")


@pytest.mark.usefixtures("_client")
def test_a_silent_database_is_told(monkeypatch):
    def search(self, **query):
        raise ConnectionError("no route")

    monkeypatch.setattr(Rester, "search", search)
    with pytest.raises(InputError, match="the request to the Materials Project failed: no route"):
        open_source("mp:NaCl")


@pytest.mark.parametrize(
    ("source", "module", "package"),
    [
        ("mp:NaCl", "mp_api.client", "mp-api"),
        ("optimade:https://example.org", "optimade.adapters", "optimade"),
        ("jarvis:dft_3d", "jarvis.db.figshare", "jarvis-tools"),
        ("matminer:elastic_tensor_2015", "matminer.datasets", "matminer"),
    ],
)
def test_an_absent_package_is_named(monkeypatch, source, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"needs the package {package} .*matlode\[databases\]"):
        open_source(source)


JARVIS = {
    "jid": "JVASP-23862",
    "formation_energy_peratom": -1.9,
    "ehull": 0.0,
    "optb88vdw_bandgap": 5.0,
    "mbj_bandgap": "na",
    "bulk_modulus_kv": 25.1,
    "spg_number": "225",
    "elastic_tensor": "na",
    "atoms": {
        "lattice_mat": [[0.0, 2.8, 2.8], [2.8, 0.0, 2.8], [2.8, 2.8, 0.0]],
        "coords": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]],
        "elements": ["Na", "Cl"],
        "abc": [3.96, 3.96, 3.96],
        "angles": [60.0, 60.0, 60.0],
        "cartesian": False,
        "props": ["", ""],
    },
}


def test_jarvis_documents_become_rows(monkeypatch, capsys):
    figshare = pytest.importorskip("jarvis.db.figshare", reason="jarvis-tools is absent")
    monkeypatch.setattr(figshare, "get_request_data", lambda **_: [JARVIS])
    source = open_source("jarvis:dft_3d")
    read = gather(source)
    assert capsys.readouterr().out == ""
    assert source.name.startswith("JARVIS dft_3d (jdft_3d-")
    assert source.licence == "unknown"
    assert source.columns == JARVIS_COLUMNS
    assert read.frame["id"].tolist() == ["JVASP-23862"]
    assert read.frame["formula"].tolist() == ["ClNa"]
    with SpooledTables() as spool:
        labels = RawLabels(spool)
        labels.add(read.frame, atoms_per_cell=np.full(1, 2))
        (part,) = labels.cleaned(known=source.columns).parts()
    frame = part.table.to_pandas()
    assert frame["band_gap"].tolist() == [5.0]
    assert frame["formation_energy_per_atom"].tolist() == [-1.9]
    assert frame["mbj_bandgap"].isna().all()
    assert frame["label_vintage"].tolist() == ["JARVIS OptB88vdW"]


def test_a_jarvis_set_that_is_unknown_or_away_is_told(monkeypatch):
    figshare = pytest.importorskip("jarvis.db.figshare", reason="jarvis-tools is absent")

    def fail(**_):
        raise ConnectionError("no route")

    monkeypatch.setattr(figshare, "get_request_data", fail)
    with pytest.raises(InputError, match=r'no data set "dft3d"\. Did you mean "dft_3d"\?'):
        open_source("jarvis:dft3d")
    with pytest.raises(InputError, match=r"download the data set dft_3d of JARVIS: no route"):
        open_source("jarvis:dft_3d")


def test_matminer_sets_become_rows(monkeypatch, tmp_path):
    datasets = pytest.importorskip(
        "matminer.datasets", reason="matminer is absent (it wants pandas below 3)"
    )
    retrieval = pytest.importorskip("matminer.datasets.dataset_retrieval")
    frame = {
        "columns": ["material_id", "structure", "K_VRH", "G_VRH", "cif"],
        "index": [0],
        "data": [["mp-22862", rock_salt().as_dict(), 24.0, 14.5, "data_x"]],
    }
    file = tmp_path / "elastic_tensor_2015.json.gz"
    file.write_bytes(gzip.compress(json.dumps(frame).encode()))
    monkeypatch.setenv("MATMINER_DATA", str(tmp_path))
    datasets.get_available_datasets(print_format=None)
    entry = {
        **retrieval._dataset_dict["elastic_tensor_2015"],
        "hash": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    monkeypatch.setitem(retrieval._dataset_dict, "elastic_tensor_2015", entry)
    source = open_source("matminer:elastic_tensor_2015")
    read = gather(source)
    assert source.licence == "unknown"
    assert "Jong" in str(source.citation)
    assert read.frame["id"].tolist() == ["mp-22862"]
    assert read.frame["formula"].tolist() == ["ClNa"]
    assert [column.theirs for column in source.columns] == ["K_VRH", "G_VRH"]
    assert read.frame["K_VRH"].tolist() == [24.0]


def test_matminer_columns_are_those_it_documents():
    datasets = pytest.importorskip(
        "matminer.datasets", reason="matminer is absent (it wants pandas below 3)"
    )
    for name, columns in MATMINER_COLUMNS.items():
        assert {column.theirs for column in columns} <= set(datasets.get_dataset_columns(name))


def test_a_matminer_set_that_is_unknown_is_told():
    pytest.importorskip("matminer.datasets", reason="matminer is absent (it wants pandas below 3)")
    with pytest.raises(InputError, match=r"Did you mean \"elastic_tensor_2015\"\?"):
        open_source("matminer:elastic_tensor")


@pytest.mark.parametrize(
    ("attributes", "licence"),
    [
        ({"available_licenses": ["CC-BY-4.0", "CC0-1.0"]}, "CC-BY-4.0, CC0-1.0"),
        ({"license": "https://example.org/terms"}, "https://example.org/terms"),
        ({"license": {"href": "https://example.org/terms"}}, "https://example.org/terms"),
        ({"license": None}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_licence_is_what_the_provider_states(attributes, licence):
    assert find_optimade_licence({"data": {"attributes": attributes}}) == licence
