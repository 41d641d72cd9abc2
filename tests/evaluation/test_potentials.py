"""Potentials and our models are scored on the same known materials, and reports can tell."""

import pytest

from matlode.artefacts import load_header
from matlode.data.splits import TEST
from matlode.evaluation.potentials import (
    MAX_ATOMS,
    MEASURED,
    OUR_MODELS,
    _draw_rows,
    measure_potentials,
)
from matlode.training.table import TrainingTable

pytestmark = pytest.mark.filterwarnings("ignore")  # of the potentials' packages


def test_materials_are_drawn_from_test_formulas():
    table = TrainingTable.load(None)
    known = _draw_rows(table, 5, seed=0)
    assert len(known.rows) == 5
    assert (table.roles[known.rows] == TEST).all()
    assert (table.materials.crystals.n_atoms[known.rows] <= MAX_ATOMS).all()
    assert not any((values != values).any() for values in known.labels.values())


@pytest.mark.slow
def test_scores_stand_side_by_side(tmp_path):
    pytest.importorskip("sevenn")
    rows = measure_potentials(
        n_structures=2, potentials=["sevennet-0"], cache=tmp_path / "cache",
        keep=tmp_path / "models",
    )  # fmt: skip
    assert [(row.endpoint, row.model) for row in rows] == [
        (endpoint, model) for endpoint in MEASURED for model in ("sevennet-0", OUR_MODELS)
    ]
    energy = next(r for r in rows if r.endpoint == "formation_energy")
    assert energy.scores["mae"] < 0.5
    assert load_header(tmp_path / "models" / "potential-errors")["rows"] == [
        row.to_json() for row in rows
    ]
