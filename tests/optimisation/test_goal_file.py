"""Goals as people write them: what is understood, and how mistakes are told."""

import pytest

from matlode.errors import GoalError, InputError
from matlode.optimisation.goal_file import (
    check_symbols,
    make_goal,
    merge_options,
    parse_range,
    read_goal_file,
)
from matlode.realisation.structure_families import FAMILIES

KNOWN = ("B", "C", "N", "O", "S", "Ti", "Co", "W", "Pb", "Sr", "Pu", "Xe", "Au")
USUAL = ("B", "C", "N", "O", "S", "Ti", "Co", "W", "Pb", "Sr", "Au")


def goal(**sections):
    if not {"minimize", "near", "within", "prefer"} & sections.keys():
        sections = {"maximize": ["bulk_modulus"]} | sections
    return make_goal(sections, known_elements=KNOWN)


def test_forbidden_elements_are_not_allowed():
    asked = goal(elements={"allowed": ["b", "C", "W"], "forbidden": ["W"]})
    assert asked.allowed == ("B", "C")
    assert asked.limits.allowed.sum() == 2


def test_limits_on_elements_take_elements_away():
    asked = goal(elements={"toxic": False, "radioactive": False, "max_price": 40.0})
    assert not {"Pb", "Pu"} & set(asked.allowed)
    assert {"Ti", "O"} <= set(asked.allowed)
    assert set(goal(elements={"min_abundance": 100.0}).allowed) < set(KNOWN)


def test_radioactive_elements_and_noble_gases_are_left_out_unless_they_are_named():
    assert goal().allowed == USUAL
    assert "without radioactive elements, noble gases" in goal().in_words()
    assert goal(elements={"radioactive": True}).allowed == tuple(s for s in KNOWN if s != "Xe")
    assert "Xe" in goal(elements={"allowed": ["Xe", "O"]}).allowed
    assert "Pu" in goal(elements={"required": ["Pu"]}).allowed
    assert "Pu" in goal(formula={"chemical_system": "O-Pu"}).allowed
    assert goal(formula={"exact": "PuO2"}).sites == ((2, ("O",)), (1, ("Pu",)))
    assert goal(formula={"stoichiometry": "PuX2"}).sites[0] == (1, ("Pu",))
    sites = goal(formula={"stoichiometry": "AX2", "sites": {"A": ["Pu", "Ti"]}}).sites
    assert sites[0] == (1, ("Pu", "Ti"))


def test_toxic_elements_and_noble_metals_are_allowed_unless_the_goal_says_otherwise():
    left = goal(elements={"toxic": False, "noble_metals": False})
    assert set(USUAL) - set(left.allowed) == {"Pb", "Au"}
    assert "without" in left.in_words()


def test_pure_elements_are_listed_only_if_asked_for():
    assert (goal().min_elements, goal().max_elements) == (2, 5)
    assert goal(elements={"number": 1}).min_elements == 1
    assert goal(elements={"allowed": ["C"]}).min_elements == 1
    assert goal(formula={"exact": "C"}).min_elements == 1


def test_a_chemical_system_is_all_of_its_elements_and_no_other():
    asked = goal(formula={"chemical_system": "B-C-N"})
    assert set(asked.allowed) == set(asked.required) == {"B", "C", "N"}
    assert (asked.min_elements, asked.max_elements) == (3, 3)


def test_a_stoichiometry_has_places_for_elements():
    asked = goal(formula={"stoichiometry": "ABO3", "sites": {"A": ["Sr", "Pb"]}})
    assert asked.sites == ((1, ("Sr", "Pb")), (1, USUAL), (3, ("O",)))
    assert (asked.min_elements, asked.max_elements, asked.max_atoms) == (3, 3, 5)


def test_symbols_mean_themselves_unless_they_stand_beside_an_a():
    places = goal(formula={"stoichiometry": "MB2"}).sites
    assert places == ((1, USUAL), (2, ("B",)))
    assert goal(formula={"stoichiometry": "WC"}).sites == ((1, ("W",)), (1, ("C",)))
    assert goal(formula={"stoichiometry": "ABC2"}).sites == ((1, USUAL), (1, USUAL), (2, USUAL))


def test_an_exact_formula_leaves_no_choice():
    asked = goal(formula={"exact": "W2C2"})
    assert asked.sites == ((1, ("C",)), (1, ("W",)))
    assert asked.stoichiometry == "WC"


@pytest.mark.parametrize(
    ("text", "fewest", "most"),
    [
        ("2..4", 2, 4),
        (3, 3, 3),
        ("< 3", 2, 2),
        ("<= 3", 2, 3),
        ("1..3", 1, 3),
        ("< 2", 1, 1),
        ("> 2", 3, 8),
        ([2, 3], 2, 3),
    ],
)
def test_numbers_of_elements(text, fewest, most):
    asked = goal(elements={"number": text})
    assert (asked.min_elements, asked.max_elements) == (fewest, most)


def test_symmetry_is_a_set_of_space_groups():
    assert goal(symmetry={"crystal_systems": ["cubic"]}).space_groups == tuple(range(195, 231))
    assert goal(symmetry={"space_groups": ["Fm-3m", 227]}).space_groups == (225, 227)
    assert goal(symmetry={}).space_groups == ()


def test_a_prototype_implies_its_stoichiometry():
    asked = goal(symmetry={"prototype": "Perovskite"})
    assert (asked.prototype, asked.stoichiometry) == ("perovskite", "ABX3")
    assert asked.sites == ((1, USUAL), (1, USUAL), (3, USUAL))
    assert "structure of perovskite" in asked.in_words()
    narrow = goal(symmetry={"prototype": "spinel"}, formula={"stoichiometry": "AB2O4"})
    assert narrow.sites == ((1, USUAL), (2, USUAL), (4, ("O",)))
    system = goal(symmetry={"prototype": "perovskite"}, formula={"chemical_system": "Sr-Ti-O"})
    assert set(system.required) == {"Sr", "Ti", "O"}
    assert system.sites[0] == (1, ("O", "Ti", "Sr"))
    of_sites = goal(symmetry={"prototype": "rock salt"}, formula={"sites": {"X": ["N", "C"]}})
    assert of_sites.sites == ((1, USUAL), (1, ("N", "C")))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_prototype_makes_a_goal(name):
    assert goal(symmetry={"prototype": name}).sites


def test_distance_to_the_hull_is_asked_as_a_chance():
    (wish,) = goal(within={"energy_above_hull": "< 0.05"}).ranges
    assert (wish.endpoint, wish.low, wish.high) == ("energy_above_hull", None, 0.05)
    (wish,) = goal(within={"near_hull_probability": "> 0.5"}).ranges
    assert (wish.endpoint, wish.low, wish.high) == ("hull_probability_50_mev", 0.5, None)


def test_stability_is_wanted_unless_the_goal_says_otherwise():
    assert [r.endpoint for r in goal().ranges] == ["hull_probability_50_mev"]
    own = goal(within={"hull_probability_100_mev": "> 0.9"}).ranges
    assert [(r.endpoint, r.low) for r in own] == [("hull_probability_100_mev", 0.9)]


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("1.1..1.7", (1.1, 1.7)),
        (" -2 .. 3e1", (-2, 30)),
        ("< 0.1", (float("-inf"), 0.1)),
        (">=5", (5, float("inf"))),
        ([1, 2], (1, 2)),
        (3, (3, 3)),
    ],
)
def test_ranges(text, ends):
    assert parse_range("x", text) == ends


@pytest.mark.parametrize("text", ["1.1-1.7", "2..1", "abc", [1], "", None, {}, "nan..1", 10**400])
def test_what_is_no_range_is_told(text):
    with pytest.raises(GoalError):
        parse_range("band_gap", text)


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"maximise": ["bulk_modulus"]}, 'Did you mean "maximize"'),
        ({"maximize": ["bulk_module"]}, 'Did you mean "bulk_modulus"'),
        ({"elements": {"forbiden": ["Co"]}}, 'Did you mean "forbidden"'),
        ({"elements": ["Co"]}, "must be a table"),
        ({"maximize": []}, "nothing to search for"),
        ({"maximize": ["band_gap"], "minimize": ["band_gap"]}, "named more than once"),
        ({"maximize": ["band_gap", "band_gap"]}, "more than once"),
        ({"maximize": {"band_gap": -1}}, "weight must be positive"),
        ({"near": {"band_gap": "wide"}}, "expected a number"),
        ({"near": {"band_gap": 10**400}}, "expected a number"),
        ({"near": {"band_gap": -1.0}}, "impossible"),
        ({"within": {"hull_probability_100_mev": "> 2"}}, "impossible: it lies between 0 and 1"),
        ({"within": {"energy_above_hull": "< -1"}}, "impossible: it lies between 0 and inf"),
        ({"elements": {"allowed": ["B"], "forbidden": ["B"]}}, "no element is left"),
        ({"elements": {"required": ["Co"], "forbidden": ["Co"]}}, "both required and forbidden"),
        ({"elements": {"noble_metals": "few"}}, "expected true or false"),
        ({"elements": {"required": ["Pb"], "toxic": False}}, "required, but toxic = false"),
        ({"elements": {"required": ["Co"], "allowed": ["B", "C"]}}, "not among the allowed"),
        ({"elements": {"allowed": ["Xx"]}}, "is not an element"),
        ({"elements": {"forbidden": ["cobalt"]}}, 'Did you mean "Co"'),
        ({"elements": {"allowed": ["He"]}}, "no known material contains it"),
        ({"elements": {"required": ["B", "C", "N"], "number": "< 3"}}, "3 elements are required"),
        ({"elements": {"allowed": ["B", "C"], "number": 3}}, "3 elements are wanted, but only 2"),
        ({"elements": {"number": "4..9"}}, "between 1 and 8"),
        ({"elements": {"toxic": "no"}}, "expected true or false"),
        ({"formula": {"max_atoms": 0}}, "positive whole number"),
        ({"formula": {"max_atoms": 2, "chemical_system": "B-C-N"}}, "do not fit"),
        ({"formula": {"exact": "WC", "chemical_system": "C-W"}}, "each defines the formula"),
        ({"formula": {"exact": "not one"}}, "is not a formula"),
        ({"formula": {"exact": "HeO"}}, "not among the allowed"),
        ({"formula": {"stoichiometry": "abc"}}, "such as ABX3"),
        ({"formula": {"exact": "Ti0O"}}, "the amount of Ti is 0"),
        ({"formula": {"exact": f"Ti{5000 * '9'}O"}}, "at most 1e"),
        ({"formula": {"stoichiometry": f"A{5000 * '9'}B"}}, "at most 1,000,000"),
        ({"formula": {"stoichiometry": "A0B"}}, "an amount of 0"),
        ({"formula": {"max_atoms": 10**21}}, "at most 1,000,000"),
        ({"formula": {"sites": 3}}, "must be a table"),
        ({"symmetry": {"space_groups": 5000 * "9"}}, "unknown space group"),
        ({"symmetry": {"space_groups": True}}, "unknown space group"),
        ({"formula": {"stoichiometry": "A2B2"}}, "divide it by 2"),
        ({"formula": {"stoichiometry": "ABA3"}}, "names a site twice"),
        ({"formula": {"stoichiometry": "ABX3", "sites": {"Y": ["O"]}}}, "has no Y"),
        ({"formula": {"stoichiometry": "AB", "sites": {"A": ["O"], "B": ["O"]}}}, "no distinct"),
        ({"formula": {"stoichiometry": "ABO3"}, "elements": {"required": ["S", "C", "W"]}},
         "no distinct elements with S, C, W"),
        ({"formula": {"stoichiometry": "ABX3"}, "elements": {"number": 2}}, "has 3 elements"),
        ({"formula": {"stoichiometry": "ABX3", "max_atoms": 4}}, "has 5 atoms"),
        ({"formula": {"sites": {"A": ["O"]}}}, "belong to a stoichiometry"),
        ({"formula": {"stoichiometry": "ABX3", "sites": 3}}, "must be a table"),
        ({"symmetry": {"crystal_systems": ["kubic"]}}, 'Did you mean "cubic"'),
        ({"symmetry": {"crystal_systems": ["cubic"], "space_groups": [1]}}, "none of the crystal"),
        ({"symmetry": {"space_groups": [231]}}, "unknown space group"),
        ({"symmetry": {"prototype": "perovskit"}}, 'Did you mean "perovskite"'),
        ({"symmetry": {"prototype": "spinel"}, "formula": {"stoichiometry": "ABX3"}},
         "does not fit the prototype, which is AB2X4"),
        ({"prefer": {"novel": -1}}, "weight must be positive"),
        ({"prefer": {"pretty": True}}, 'has no "pretty"'),
    ],
)  # fmt: skip
def test_mistakes_and_impossible_goals_are_told_at_once(sections, text):
    with pytest.raises(GoalError, match=text):
        goal(**sections)


def test_symbols_are_kept_once_in_order():
    assert check_symbols(["w", "C", "W"]) == ["W", "C"]


def test_options_come_on_top_of_a_file():
    file = {"maximize": {"band_gap": 2.0}, "elements": {"allowed": ["B"], "forbidden": ["Co"]}}
    options = {"maximize": ["density"], "elements": {"allowed": ["C"], "forbidden": ["Pb"]}}
    assert merge_options(file, options) == {
        "maximize": {"band_gap": 2.0, "density": 1.0},
        "elements": {"allowed": ["C"], "forbidden": ["Co", "Pb"]},
    }
    assert merge_options(file, {}) == file
    assert merge_options({}, options) == options


def test_paths_are_those_beside_the_file(tmp_path):
    (tmp_path / "my.xy").write_text("10 1\n")
    file = tmp_path / "goal.toml"
    file.write_text('[prefer]\nlike_pattern = "my.xy"\nlike = "SrTiO3"\n')
    prefer = read_goal_file(file)["prefer"]
    assert prefer == {"like_pattern": str(tmp_path / "my.xy"), "like": "SrTiO3"}


@pytest.mark.parametrize("text", ["maximize = [", "\x00", "= 3"])
def test_a_file_that_is_no_toml_is_told(tmp_path, text):
    file = tmp_path / "goal.toml"
    file.write_text(text)
    with pytest.raises(InputError, match="not a readable TOML"):
        read_goal_file(file)
