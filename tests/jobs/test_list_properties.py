import json

import numpy as np
import pytest

from matlode import completion
from matlode.artefacts import HEADER_FILE
from matlode.jobs.list_properties import MEANINGS, list_properties
from matlode.properties.derived import DERIVATIONS
from matlode.properties.endpoints import ENDPOINTS


@pytest.fixture(scope="module")
def listed():
    return {info.name: info for info in list_properties()}


def test_all_that_can_be_asked_for_is_listed_in_the_order_of_the_tables(listed):
    assert list(listed) == [*ENDPOINTS, *DERIVATIONS] == list(completion.PROPERTIES)
    assert set(MEANINGS) <= set(listed)


def test_every_meaning_is_a_phrase_of_its_own(listed):
    meanings = [info.meaning for info in listed.values()]
    assert all(8 < len(meaning) < 80 for meaning in meanings)
    assert len(set(meanings)) == len(meanings)
    assert "PBE Kohn-Sham gap" in listed["band_gap"].meaning


def test_typical_values_are_quantiles_of_the_labels(listed, starter):
    info, labels = listed["bulk_modulus"], ENDPOINTS["bulk_modulus"].labels(starter)
    labels = labels[~np.isnan(labels)]
    assert np.mean(labels < info.typical_low) == pytest.approx(0.05, abs=0.005)
    assert np.mean(labels > info.typical_high) == pytest.approx(0.05, abs=0.005)
    assert listed["hull_probability_100_mev"].typical_low is None
    assert listed["debye_temperature"].typical_high is None  # the starter set has none


def test_derived_ranges_follow_from_the_labels(listed):
    # water to osmium; diamond's 96 GPa is beyond 95 %
    assert 1 < listed["density"].typical_low < listed["density"].typical_high < 22.6
    assert 0 < listed["vickers_hardness"].typical_low < listed["vickers_hardness"].typical_high < 96
    assert listed["heat_capacity_cv"].typical_low is None


def test_errors_are_those_stored_with_the_models(listed):
    assert (listed["bulk_modulus"].measure, listed["metal_probability"].measure) == ("mae", "auc")
    assert 5 < listed["bulk_modulus"].error < 20
    assert listed["bulk_modulus"].test_rows == 1130
    assert 0.9 < listed["metal_probability"].error < 1
    assert listed["density"].error is listed["density"].test_rows is None


def test_own_properties_of_a_folder_of_models_come_last(tmp_path):
    folder = tmp_path / "standard-index"
    folder.mkdir()
    header = {
        "schema": 1, "kind": "head", "arrays": {}, "endpoint": "index", "split": "by formula",
        "definition": {"name": "index", "unit": "", "column": "n_refr",
                       "description": "refractive index, mine"},
        "rows": {"test": 20}, "scores": {"standard, simulated pattern": {"mae": 0.5}},
    }  # fmt: skip
    (folder / HEADER_FILE).write_text(json.dumps(header))
    own = list_properties(tmp_path)[-1]
    assert (own.name, own.meaning, own.error) == ("index", "refractive index, mine", 0.5)
    assert own.test_rows == 20
    assert 1 < own.typical_low < own.typical_high < 10
