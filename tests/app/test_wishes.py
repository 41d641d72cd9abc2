import tomllib

import pytest

from matlode.app.wishes import SIZES, Wish, Wishes, write_command, write_toml
from matlode.optimisation.goal_file import make_goal
from matlode.properties.endpoints import ENDPOINTS

ELEMENTS = ["B", "C", "Co", "Fe", "N", "O", "Ti", "W"]


def make(wishes, endpoints=ENDPOINTS):
    sections = tomllib.loads(wishes.to_toml())
    assert sections == wishes.to_goal()
    sections.pop("search")
    return make_goal(sections, known_elements=ELEMENTS, endpoints=endpoints)


def test_what_is_asked_for_is_what_the_goal_file_says(models):
    wishes = Wishes(
        properties=[
            Wish("bulk_modulus"), Wish("density", "minimize"), Wish("band_gap", "near", value=1.4),
            Wish("formation_energy", "within", high=-0.5),
            Wish("shear_modulus", "within", low=100.0, high=200.0),
        ],
        elements={"Ti": "required", "Co": "forbidden", "C": "allowed"},
        formula="ABO3", prototype="perovskite", noble_metals=False, most_elements=3.0,
    )  # fmt: skip
    goal = make(wishes, models.endpoints)
    words = goal.in_words()
    for part in (
        "maximise bulk modulus", "minimise density", "band gap near 1.4",
        "formation energy ≤ -0.5", "shear modulus 100 to 200", "perovskite", "noble metals",
    ):  # fmt: skip
        assert part in words
    assert goal.required == ("Ti",)
    assert "Co" not in goal.allowed
    assert goal.max_elements == 3


@pytest.mark.parametrize("size", SIZES)
def test_the_first_form_is_a_goal_of_any_size(size):
    wishes = Wishes(size=size)
    assert [objective.endpoint for objective in make(wishes).objectives] == ["bulk_modulus"]
    assert wishes.to_goal()["search"] == SIZES[size]


def test_empty_fields_are_left_out():
    wishes = Wishes(properties=[Wish("band_gap", "within"), Wish("density", "near")])
    assert wishes.to_goal().keys() == {"elements", "formula", "search"}


def test_texts_with_quotes_are_read_again():
    sections = {"formula": {"stoichiometry": 'A"B\\X\n3 θ', "max_atoms": 20}}
    assert tomllib.loads(write_toml(sections)) == sections


def test_commands_can_be_typed():
    assert write_command(["matlode", "search", "my goal.toml"]) == "matlode search 'my goal.toml'"
