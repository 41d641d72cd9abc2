from __future__ import annotations

import numpy as np
import pytest

from matlode.data.poscar import parse_poscar
from matlode.data.structures import is_structure_file
from matlode.errors import InputError

RUTILE = """rutile
1.0
4.594 0 0
0 4.594 0
0 0 2.959
Ti O
2 4
Direct
0 0 0
.5 .5 .5
.305 .305 0
.695 .695 0
.195 .805 .5
.805 .195 .5
"""


def cartesian(text: str, *, scale: str = "1.0", factors: tuple[float, ...] = (1, 1, 1)) -> str:
    lines = text.replace("1.0\n", f"{scale}\n", 1).replace("Direct", "Cartesian").splitlines()
    edges = np.array([4.594, 4.594, 2.959])
    places = [np.array([float(word) for word in line.split()]) for line in lines[8:]]
    vectors = np.diag(edges / factors)
    lines[2:5] = [" ".join(map(str, row)) for row in vectors]
    lines[8:] = [" ".join(map(str, place * edges / factors)) for place in places]
    return "\n".join(lines)


SPELLINGS = {
    "as it is": RUTILE,
    "comments": RUTILE.replace("1.0\n", "1.0  scale ! of all\n")
    .replace("4.594 0 0", "4.594 0 0 a-axis").replace("2 4", "2 4 # atoms"),
    "hashes": RUTILE.replace("Ti O", "Ti_sv/1a2b3c O/4d5e6f"),
    "exponents": RUTILE.replace("1.0\n", "1.0D0\n").replace(".305", "3.05d-1"),
    "three factors": cartesian(RUTILE, scale="2.0 2.0 0.5", factors=(2.0, 2.0, 0.5)),
    "Cartesian": cartesian(RUTILE),
    "Cartesian, scaled": cartesian(RUTILE, scale="2.0", factors=(2.0,)),
    "volume": RUTILE.replace("1.0\n", "-62.449425\n"),
    "title": RUTILE.replace("Ti O\n", "").replace("rutile", "Ti O"),
    "ends": "\n".join(
        f"{line} {'Ti' if 8 <= at < 10 else 'O'}" if at >= 8 else line
        for at, line in enumerate(RUTILE.replace("Ti O\n", "\n").splitlines())
    ).replace("\n\n", "\n", 1).replace(".5 .5 .5 O", ".5 .5 .5 Ti").replace("0 0 0 O", "0 0 0 Ti"),
    "selective": RUTILE.replace("Direct", "Selective dynamics\nDirect").replace(
        ".305 .305 0", ".305 .305 0 T T F"
    ),
    "velocities": RUTILE + "\n0 0 0\n0 0 0\n",
    "commas of ends": RUTILE.replace("\n", "\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_all_spellings_are_rutile(name):
    structure = parse_poscar(SPELLINGS[name])
    assert structure.composition.reduced_formula == "TiO2"
    assert [site.specie.Z for site in structure] == [22, 22, 8, 8, 8, 8]
    assert structure.lattice.abc == pytest.approx((4.594, 4.594, 2.959), rel=1e-5)
    assert structure.frac_coords[2] == pytest.approx([0.305, 0.305, 0])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("2 4", "6", "2 elements for 1 numbers"),
        ("2 4", "2 2 2", "2 elements for 3 numbers"),
        ("2 4", "2 5", "promises 7 atoms, but has 6"),
        ("2 4", "2 99999999", "promises 1e\\+08 atoms, but has 6"),
        ("2 4", "two four", "expected numbers of atoms"),
        ("Ti O\n", "", "names no elements"),
        ("Ti O", "Ti Xx", "no element"),
        ("Ti O", "Ti OH", "not one element"),
        ("1.0\n", "1.0 2.0\n", "one or three scale factors"),
        ("1.0\n", "0\n", "one or three scale factors"),
        ("1.0\n", "nan\n", "one or three scale factors"),
        ("0 4.594 0", "0 4.594", "three vectors"),
        ("0 0 2.959", "0 0 0", "volume 0"),
        ("Direct\n", "", "expected Direct or Cartesian"),
        (".305 .305 0", ".305 .305", "expected three coordinates of atom 3 of 6"),
        (".305 .305 0", ".305 nan 0", "expected three coordinates of atom 3 of 6"),
    ],
)
def test_what_is_no_poscar_is_refused(old, new, reason):
    with pytest.raises(InputError, match=reason):
        parse_poscar(RUTILE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("POSCAR", True), ("CONTCAR", True), ("POSCAR-001", True), ("SPOSCAR", True),
        ("Si_POSCAR", True), ("run.CONTCAR", True), ("POSCAR_relaxed.txt", True),
        ("POSCAR.vasp", True), ("a.cif", True), ("a.CIF", True), ("POSCARS", False),
        ("OUTCAR", False), ("notes.txt", False), ("mypostcard", False),
    ],
)  # fmt: skip
def test_names_of_structure_files(tmp_path, name, is_one):
    assert is_structure_file(tmp_path / name) == is_one
