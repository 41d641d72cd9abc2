"""Small files of kinds that were read wrongly, each with the right answer in expected.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from matlode.data.crystals import Crystals
from matlode.data.formulas import canonicalise_formula, compute_formulas
from matlode.data.structures import read_structure
from matlode.data.symmetry import find_space_group
from matlode.errors import InputError

CASES = Path(__file__).parent / "cases"
EXPECTED = json.loads((CASES / "expected.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_the_answer_is_right(name):
    expected = EXPECTED[name]
    if "refuse" in expected:
        with pytest.raises(InputError):
            read_structure(CASES / name)
        return
    crystals = Crystals.from_structures([read_structure(CASES / name)])
    assert compute_formulas(crystals) == [canonicalise_formula(expected["formula"])]
    group = find_space_group(crystals, 0)
    assert group == expected.get("space_group", group)
