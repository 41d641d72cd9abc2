"""No file that is read lets anything in: refused with words, dropped with a reason, or read right.

Every case is made from a seed and read in a child process of limited time and memory
(``sandbox``). A broken promise names reader and seed; ``mutations`` makes the same file again.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from matlode.errors import MatlodeError
from matlode.jobs.search import Run
from tests.hostile import readers
from tests.hostile.readers import EVIDENCE, READERS, RUN_FILES
from tests.hostile.sandbox import Sandbox

QUICK = 100
QUICK_OF = {
    "large-models": 8,
    "run": 4,
    "checkpoint": 20,
    "cif": 40,
    "csv": 40,
    "poscar": 40,
    "xyz": 40,
}
"""Of those readers that take long."""
MANY = int(os.environ.get("MATLODE_FUZZ_CASES", "1000"))
FIRST_OF_MANY = 10_000
"""Seeds of the long runs are others than those of the short ones."""


@pytest.fixture
def samples(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Sound files of the reader that the test is about."""
    folder = tmp_path / "samples"
    folder.mkdir()
    reader = request.getfixturevalue("reader")
    READERS[reader].samples(folder)
    if reader == "run":
        run: Run = request.getfixturevalue("hard_run")
        for path in run.folder.rglob("*"):
            if path.name in RUN_FILES or path.suffix == ".cif":
                shutil.copy(path, folder / "__".join(path.relative_to(run.folder).parts))
        (folder / "evidence.json").write_text(json.dumps(EVIDENCE))
    return folder


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One for all readers: it takes seconds to start."""
    box = Sandbox()
    yield box
    box.close()


def broken_promises(sandbox: Sandbox, reader: str, samples: Path, seeds: range) -> list[str]:
    outcomes = list(sandbox.outcomes(reader, samples, seeds))
    print(reader, dict(Counter(outcome.kind for outcome in outcomes)))
    return [str(outcome) for outcome in outcomes if outcome.is_bad]


@pytest.mark.parametrize("reader", READERS)
def test_hostile_files_are_refused_or_read_right(reader, samples, sandbox):
    assert broken_promises(sandbox, reader, samples, range(QUICK_OF.get(reader, QUICK))) == []


@pytest.mark.hours
@pytest.mark.parametrize("reader", READERS)
def test_thousands_of_hostile_files_are_refused_or_read_right(reader, samples, sandbox):
    seeds = range(FIRST_OF_MANY, FIRST_OF_MANY + MANY)
    assert broken_promises(sandbox, reader, samples, seeds) == []


def refused_or_sound(read, path: Path) -> None:
    with contextlib.suppress(MatlodeError):
        read(path)


texts = st.one_of(
    st.text(max_size=200),
    st.text("ABCDEFHNOTLiu0123456789.()[]{}-+^_ ", max_size=60),
    st.lists(st.from_regex(r"[A-Z][a-z]?[0-9.]{0,4}", fullmatch=True), max_size=8).map("".join),
)


@given(texts)
def test_any_text_is_a_formula_or_told(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("f") / "x.formula"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    refused_or_sound(readers.read_formula, path)


keys = st.sampled_from(
    ["maximize", "minimize", "near", "within", "elements", "formula", "symmetry", "prefer",
     "search", "screens", "allowed", "required", "number", "exact", "stoichiometry", "sites",
     "max_atoms", "space_groups", "like", "band_gap", "bulk_modulus", "trials", "seed", "sampler"]
)  # fmt: skip
values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["ABX3", "Li,O", "1..2", "< 1", "Fm-3m", "cubic", "TiO2", "band_gap"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(keys, values, max_size=4))
@example({"maximize": 1})
@example({"elements": {"required": 1.5}, "maximize": "band_gap"})
@example({"symmetry": {"crystal_systems": True}, "maximize": "band_gap"})
def test_any_goal_is_a_goal_or_told(tmp_path_factory, sections):
    path = tmp_path_factory.mktemp("g") / "goal.toml"
    path.write_text(toml(sections), encoding="utf-8")
    refused_or_sound(readers.read_goal, path)


def toml(value: object) -> str:
    """A dictionary of anything as TOML."""
    assert isinstance(value, dict)
    return "".join(f"{json.dumps(key)} = {_inline(item)}\n" for key, item in value.items())


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value)
    return str(value).lower()


@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=True) | st.integers(-5, 200), st.floats() | st.integers(-9, 10**6)
        ),
        max_size=40,
    ),
    st.sampled_from([" ", "\t", ",", ";"]),
    st.text(max_size=30),
)
def test_any_columns_are_a_pattern_or_told(tmp_path_factory, rows, separator, header):
    path = tmp_path_factory.mktemp("p") / "x.xy"
    lines = [f"# {header}", *(f"{x}{separator}{y}" for x, y in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")
    refused_or_sound(readers.read_any_pattern, path)


CELL = "x\n1.0\n{a} 0 0\n0 {b} 0\n0 0 {c}\n{names}\n{counts}\nDirect\n{sites}\n"


def poscar(a=4.0, b=4.0, c=4.0, names="Na Cl", counts="1 1", sites="0 0 0\n0.5 0.5 0.5") -> str:
    return CELL.format(a=a, b=b, c=c, names=names, counts=counts, sites=sites)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (poscar(a=0), "volume 0"),
        (poscar(a="nan"), "three vectors"),
        (poscar(a=1e6), "Å³ per atom"),
        (poscar(a=1e-6), "Å³ per atom"),
        (poscar(a="1e308"), "volume|not finite|per atom"),
        (poscar(names="Na Og"), "Z = 118|Og"),
        (poscar(names="Na Xx"), "no element|not readable"),
        (poscar(counts="0 0", sites=""), "expected numbers of atoms"),
        (poscar(counts="1 99999999"), "promises 1e.08 atoms"),
        (poscar(sites="nan 0 0\n0.5 0.5 0.5"), "three coordinates"),
        (poscar(sites="0 0 0\n1 1 1"), "2 atoms stand at one place"),
    ],
)
def test_hostile_crystals_are_dropped_with_their_reason(tmp_path, text, reason):
    from matlode.data.readers import read_materials

    path = tmp_path / "x.vasp"
    path.write_text(text)
    materials = read_materials([path])
    assert len(materials) == 0
    (dropped,) = materials.dropped
    assert re.search(reason, dropped.reason), dropped.reason


CUBIC = "".join(f"_cell_length_{x} 24\n_cell_angle_{a} 90\n" for x, a in zip(
    "abc", ("alpha", "beta", "gamma"), strict=True
))  # fmt: skip
SITES = "loop_\n" + "".join(f"_atom_site_{x}\n" for x in ("label", "fract_x", "fract_y", "fract_z"))
SHIFTS = "".join(f"'x,y,z+{n}/192'\n" for n in range(192))
BY_SYMBOL = "_symmetry_space_group_name_H-M 'F m -3 m'\n"


def sites(n: int, *, along: str = "xyz") -> str:
    """General positions, or special ones on a fourfold axis."""
    draw = random.Random(0)
    rows = []
    for k in range(n):
        places = {"x": 0.02 + 0.22 * k / n, "y": draw.uniform(0.02, 0.24), "z": draw.random()}
        rows.append("Na " + " ".join(f"{places[a]:.5f}" if a in along else "0" for a in "xyz"))
    return SITES + "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{BY_SYMBOL}{sites(9680)}", "1858560 positions; expected at most"),
        (f"_space_group_IT_number 225\n{sites(9680)}", "1858560 positions; expected at most"),
        (f"loop_\n_symmetry_equiv_pos_as_xyz\n{SHIFTS}{sites(7)}", "translation of 0.125 Å"),
    ],
    ids=["a symbol", "a number", "translations"],
)
def test_a_cif_that_would_take_long_is_refused(tmp_path, text, reason):
    from matlode.data.readers import read_materials

    (tmp_path / "x.cif").write_text(f"data_x\n{CUBIC}{text}")
    (dropped,) = read_materials([tmp_path / "x.cif"]).dropped
    assert reason in dropped.reason


@pytest.mark.parametrize("alone", [False, True])
def test_an_operation_that_would_take_long_is_refused(tmp_path, alone):
    """pymatgen tries each way to cut its digits in three, which for 5,000 takes a minute."""
    from matlode.data.readers import read_materials

    operation = f"'x, y{'9' * 400}, z'"
    start = "_symmetry_equiv_pos_as_xyz " if alone else "loop_\n_symmetry_equiv_pos_as_xyz\n"
    (tmp_path / "x.cif").write_text(f"data_x\n{CUBIC}{start}{operation}\n{sites(2)}")
    (dropped,) = read_materials([tmp_path / "x.cif"]).dropped
    assert "a symmetry operation of 40" in dropped.reason


def test_special_positions_do_not_count_as_often_as_there_are_operations(tmp_path):
    from matlode.data.readers import read_materials

    (tmp_path / "x.cif").write_text(f"data_x\n{CUBIC}{BY_SYMBOL}{sites(9, along='x')}")
    assert read_materials([tmp_path / "x.cif"]).crystals.n_atoms.tolist() == [9 * 24]


def test_a_left_handed_cell_is_the_same_crystal(tmp_path):
    from numpy.testing import assert_allclose

    from matlode.data.readers import read_materials
    from matlode.representation.diffraction import simulate_patterns

    for name, a in (("right", 4.0), ("left", -4.0)):
        (tmp_path / f"{name}.vasp").write_text(poscar(a=a))
    materials = read_materials([tmp_path / "right.vasp", tmp_path / "left.vasp"])
    assert materials.frame["formula"].tolist() == ["ClNa", "ClNa"]
    right, left = simulate_patterns(materials.crystals)
    assert_allclose(right, left, atol=1e-6)


def test_deuterium_is_hydrogen(tmp_path):
    from matlode.data.readers import read_materials

    (tmp_path / "x.vasp").write_text(poscar(names="Na D"))
    materials = read_materials([tmp_path / "x.vasp"])
    assert materials.frame["formula"].tolist() == ["HNa"]
