"""What was computed is computed once, and damaged results are computed again."""

import pytest

from matlode.evidence import laboratory as module
from matlode.evidence.laboratory import Laboratory
from tests.evidence.test_relaxation import copper


def _refuse(*arguments):
    raise AssertionError("computed again")


def test_results_are_remembered_by_structure(emt, tmp_path, monkeypatch):
    laboratory = Laboratory(emt, tmp_path)
    first = laboratory.relaxed(copper(3.7))
    stiff = laboratory.elasticity(first)
    assert laboratory.has_relaxed(copper(3.7))
    assert laboratory.has_elasticity(first)
    assert not laboratory.has_relaxed(copper(3.71))
    monkeypatch.setattr(module, "relax", _refuse)
    monkeypatch.setattr(module, "compute_elasticity", _refuse)
    assert Laboratory(emt, tmp_path).relaxed(copper(3.7)) == first
    assert Laboratory(emt, tmp_path).elasticity(first) == stiff
    with pytest.raises(AssertionError, match="computed again"):
        laboratory.relaxed(copper(3.71))


@pytest.mark.parametrize("damage", ["", "{}", '{"lattice": 3}', "[1]"])
def test_damaged_results_are_made_anew(emt, tmp_path, damage):
    laboratory = Laboratory(emt, tmp_path)
    first = laboratory.relaxed(copper(3.7))
    (file,) = tmp_path.rglob("*.json")
    file.write_text(damage)
    assert laboratory.relaxed(copper(3.7)).energy_per_atom_ev == first.energy_per_atom_ev
