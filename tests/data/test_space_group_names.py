from __future__ import annotations

import gemmi
import moyopy
import numpy as np
import pytest

from matlode.data.space_group_names import find_number_settings, find_settings, read_hall_symbol

GROUPS = list(gemmi.spacegroup_table())
MOYO = [moyopy.HallSymbolEntry(at) for at in range(1, 531)]


def operations_of(hall: str) -> set[str]:
    return {op.triplet() for op in gemmi.symops_from_hall(hall)}


def respell(name: str, rng: np.random.Generator) -> str:
    """Another usual spelling of a symbol: blanks, case, brackets and underscores of screws."""
    letter, *axes = name.split()
    how = int(rng.integers(5))
    if how == 1:
        axes = [f"{a[0]}({a[1]}){a[2:]}" if a[:2].isdecimal() and len(a) > 1 else a for a in axes]
    elif how == 2:
        axes = [f"{a[0]}_{a[1:]}" if a[:2].isdecimal() and len(a) > 1 else a for a in axes]
    blank = rng.choice(["", " ", "  ", "_"]) if how != 2 else " "
    text = blank.join([letter, *axes])
    return str(rng.choice([text, text.upper(), text.lower(), text.replace("-", "−")]))


def test_each_spelling_of_each_setting_is_found():
    rng = np.random.default_rng(28)
    for group in GROUPS:
        if "(" in group.hm or group.hm.endswith("a)"):
            continue  # names of the CCP4 programs
        for _ in range(4):
            ending = f":{group.ext}" if group.ext != "\0" else ""
            text = respell(group.hm, rng) + ending
            names = [setting.name for setting in find_settings(text)]
            assert group.xhm() in names, text
            assert len(names) == 1 or not ending, text


def test_full_symbols_and_symbols_with_e_glides_are_found():
    for entry in MOYO:
        # "P 2_1/c" is the short symbol of all settings of its group there
        short = "C 2/c" if entry.number == 15 else entry.hm_short
        for name in (entry.hm_full, entry.hm_full.replace("_", ""), short):
            assert {s.number for s in find_settings(name)} == {entry.number}, name


def test_each_hall_symbol_of_two_tables_is_read():
    halls = [(g.hall, g.number) for g in GROUPS]
    for hall, number in [*halls, *((e.hall_symbol, e.number) for e in MOYO)]:
        read = read_hall_symbol(hall)
        assert read is not None
        assert read.number == number
        assert len(read) == len(operations_of(hall.replace("=", '"')))
    assert read_hall_symbol("-P 2ybc (x-z,y,z)").number == 14
    assert read_hall_symbol("F d -3 m") is None
    assert read_hall_symbol("?") is None


@pytest.mark.parametrize("number", range(1, 231))
def test_numbers_give_the_standard_settings(number):
    settings = find_number_settings(number)
    assert {setting.number for setting in settings} == {number}
    assert {s.name.partition(":")[2] for s in settings} in ({""}, {"1", "2"}, {"H", "R"})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("F d 3 m S", ["F d -3 m:1"]),
        ("FD-3MZ", ["F d -3 m:2"]),
        ("F d -3 m (origin choice 2)", ["F d -3 m:2"]),
        ("I 41/a m d S", ["I 41/a m d:1"]),
        ("R -3 m S", ["R -3 m:H", "R -3 m:R"]),
        ("R-3mH", ["R -3 m:H"]),
        ("R 3 c R", ["R 3 c:R"]),
        ("H -3 m", ["R -3 m:H"]),
        ("P a 3", ["P a -3"]),
        ("I a 3 d", ["I a -3 d"]),
        ("F 4/m 3 2/m", ["F m -3 m"]),
        ("P n m a (62)", ["P n m a"]),
        ("P n m a #62", ["P n m a"]),
        ("P 21/c:b1", ["P 1 21/c 1"]),
        ("P 21/b", ["P 1 1 21/b", "P 21/b 1 1"]),
        ("P 3", ["P 3"]),
        ("F m -3 m :2", []),
        ("F d d d 1 origin", []),
        ("P 4 3 m", []),
        ("", []),
        ("?", []),
        ("S", []),
    ],
)
def test_usual_names(name, settings):
    assert [setting.name for setting in find_settings(name)] == settings


def test_cells_decide_the_axes():
    hexagonal, rhombohedral = find_settings("R -3 m")
    cell = np.array([[4.4, 0, 0], [-2.2, 4.4 * 3**0.5 / 2, 0], [0, 0, 30.5]])
    assert hexagonal.fit_cell(cell, 0.02)
    assert not rhombohedral.fit_cell(cell, 0.02)
    assert rhombohedral.fit_cell(4 * np.eye(3), 0.02)
    assert not hexagonal.fit_cell(4 * np.eye(3), 0.02)
