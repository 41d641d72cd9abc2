"""Options of a search make the sections of a goal file, in Python as on the command line."""

import pytest

from matlode import import_data, stored_scores, stream_table, train_models
from matlode.errors import GoalError
from matlode.jobs.goal_check import check_goal
from matlode.jobs.options import make_sections
from matlode.testing import rutile


@pytest.mark.parametrize("names", ["bulk_modulus,density", ["bulk_modulus", "density"],
                                   ["bulk_modulus,density"], "bulk_modulus density"])  # fmt: skip
def test_a_text_holds_one_name_or_several(names):
    wanted = ["bulk_modulus", "density"]
    found = make_sections(None, maximize=names)["maximize"]
    assert [o.endpoint for o in check_goal({"maximize": found}).objectives] == wanted


def test_elements_in_a_text_are_not_its_letters():
    assert make_sections(None, exclude="Co")["elements"] == {"forbidden": ["Co"]}
    assert make_sections(None, elements="B, C")["elements"] == {"allowed": ["B", "C"]}
    with pytest.raises(GoalError, match='"BC" is not an element'):
        check_goal(make_sections(None, maximize="density", require="BC"))


def test_options_come_on_top_of_a_goal():
    goal = {"maximize": ["density"], "elements": {"forbidden": ["Pb"]}}
    found = make_sections(goal, exclude="Co", trials=64)
    assert found == {
        "maximize": ["density"],
        "elements": {"forbidden": ["Pb", "Co"]},
        "search": {"trials": 64},
    }
    assert goal["elements"] == {"forbidden": ["Pb"]}


def test_limits_of_symmetry_price_and_poison():
    goal = check_goal(
        make_sections(
            None, maximize="density", space_group="Fm-3m,227,12", crystal_system="cubic",
            max_price=100, no_toxic=True,
        )
    )  # fmt: skip
    assert goal.space_groups == (225, 227)
    assert not {"Pb", "As", "Au", "Rh"} & set(goal.allowed)
    assert make_sections(None, space_group=225)["symmetry"] == {"space_groups": [225]}
    assert make_sections(None, space_group=[225, "P1"])["symmetry"] == {"space_groups": [225, "P1"]}


def test_ranges_are_texts_or_mappings():
    texts = make_sections(None, within=["band_gap=1.1..1.7", "density<5"], near="density=3")
    assert texts["within"] == {"band_gap": "1.1..1.7", "density": "<5"}
    assert texts["near"] == {"density": 3.0}
    assert make_sections(None, within={"band_gap": [1.1, 1.7]})["within"]["band_gap"] == [1.1, 1.7]
    with pytest.raises(GoalError, match="write a property and a value"):
        make_sections(None, within="band_gap")
    with pytest.raises(GoalError, match="is not a number"):
        make_sections(None, near="band_gap=one")


def test_other_functions_take_one_name_as_well(tmp_path):
    names = {"bulk_modulus", "band_gap"}
    assert {row.endpoint for row in stored_scores("bulk_modulus, band_gap")} == names
    rutile().to(filename=str(tmp_path / "rutile.cif"))
    imported = import_data(str(tmp_path / "rutile.cif"), tmp_path / "table")
    assert imported.provenance["rows"]["kept"] == 1
    header = stream_table(imported.table, tmp_path / "arrays", "patterns")
    assert (header.parent / "patterns.npy").exists()
    with pytest.raises(GoalError, match='unknown model "bulk"'):
        train_models("bulk", out=tmp_path / "models")
