"""The same crystal or pattern in another spelling is the same, or is refused: never another one.

``mutations`` finds what crashes; these rewrites find what would be read as something else in
silence. Each is made from a seed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from matlode.data.readers import read_materials
from matlode.data.symmetry import find_space_group
from matlode.data.tables import load_starter
from matlode.errors import InputError
from matlode.representation.patterns import read_pattern
from matlode.representation.radiation import to_q
from tests.hostile.test_fuzz import MANY

Rng = np.random.Generator
Rewrite = Callable[[str, Rng], str]
QUICK = 60
ROUNDED_VOLUME = 2e-3
"""Relative."""

# Crystals ----------------------------------------------------------------------------------

SYMBOL = re.compile(r"^(_symmetry_space_group_name_H-M\s+)'?([^'\n]*)'?$", re.MULTILINE)
NUMBER = re.compile(r"^_symmetry_Int_Tables_number.*\n", re.MULTILINE)
OPERATIONS = re.compile(
    r"loop_\n _symmetry_equiv_pos_site_id\n _symmetry_equiv_pos_as_xyz\n(?:  .*\n)+"
)
COORDINATE = re.compile(r"(?<= )(\d\.\d{3})\d+(?= )")
OTHER_SYMBOLS = ("P 1", "P -1", "P m -3 m", "F m -3 m", "I 4/m m m", "R -3 m", "P 21/c", "C m c m")


def respell_symbol(text: str, rng: Rng) -> str:
    """Without blanks, quoted otherwise, in the new dictionary, or with a suffix."""
    how = (
        lambda m: m[1] + m[2].replace(" ", ""),
        lambda m: f'{m[1]}"{m[2].lower()}"',
        lambda m: f"_space_group_name_H-M_alt '{m[2]}'",
        lambda m: f"{m[1].upper()} '{m[2].replace('_', '')}'",
    )
    return SYMBOL.sub(how[rng.integers(len(how))], text)


def lose_operations(text: str, rng: Rng) -> str:
    """The symbol has to say it all."""
    del rng
    return OPERATIONS.sub("", text)


def lose_symbol(text: str, rng: Rng) -> str:
    """The operations have to say it all."""
    del rng
    return NUMBER.sub("", SYMBOL.sub("", text))


def change_symbol(text: str, rng: Rng) -> str:
    """Another group than that of the operations."""
    return SYMBOL.sub(rf"\1'{OTHER_SYMBOLS[rng.integers(len(OTHER_SYMBOLS))]}'", text)


def cut_operations(text: str, rng: Rng) -> str:
    """Some operations are missing; of the identity alone, generators of CIFs write a symbol."""
    found = OPERATIONS.search(text)
    if found is None:
        return text
    rows = found[0].splitlines()
    kept = int(rng.integers(1, max(len(rows) - 3, 2)))
    return text.replace(found[0], "\n".join(rows[: 3 + kept]) + "\n")


def round_places(text: str, rng: Rng) -> str:
    """Three digits, as in papers: 0.333."""
    del rng
    return COORDINATE.sub(lambda m: f"{float(m[0]):.3f}", text)


def lose_atoms(text: str, rng: Rng) -> str:
    """The last row of the sites is missing."""
    del rng
    return text.rstrip().rpartition("\n")[0] + "\n"


def change_case(text: str, rng: Rng) -> str:
    """Tags in upper case, lines with other ends, a byte order mark."""
    text = re.sub(r"^(\s*)(_\w+)", lambda m: m[1] + m[2].upper(), text, flags=re.MULTILINE)
    return "\ufeff" * int(rng.integers(2)) + text.replace("\n", "\r\n")


CRYSTALS: tuple[Rewrite, ...] = (
    respell_symbol, lose_operations, lose_symbol, change_symbol, cut_operations, round_places,
    lose_atoms, change_case,
)  # fmt: skip


def read_crystal(text: str, folder: Path) -> tuple[str, int, float] | None:
    """Formula, space group and volume per atom; None if it is refused."""
    (folder / "x.cif").write_text(text, encoding="utf-8", newline="")
    materials = read_materials([folder / "x.cif"])
    if not len(materials):
        assert materials.dropped[0].reason
        return None
    formula, crystals = str(materials.frame["formula"].iloc[0]), materials.crystals
    return formula, find_space_group(crystals, 0), float(crystals.volumes_per_atom_a3[0])


def misread_crystals(folder: Path, seeds: range) -> list[str]:
    starter = load_starter()
    small = np.flatnonzero(starter.crystals.n_atoms <= 16)
    wrong, same = [], 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        structure = starter.crystals.structure(int(rng.choice(small)))
        text = structure.to(fmt="cif", symprec=0.01)
        first = read_crystal(text, folder)
        assert first is not None
        names = []
        for rewrite in rng.choice(np.array(CRYSTALS), rng.integers(1, 3), replace=False):
            text = rewrite(text, rng)
            names.append(rewrite.__name__)
        again = read_crystal(text, folder)
        if again is None:
            continue
        same += 1
        if again[:2] != first[:2] or abs(again[2] / first[2] - 1) > ROUNDED_VOLUME:
            wrong.append(f"seed {seed}, {', '.join(names)}: {first} became {again}")
    print(f"{same} of {len(seeds)} read")
    assert same > len(seeds) / 3
    return wrong


# Patterns ----------------------------------------------------------------------------------

WAVELENGTH = 1.5406
TWO_THETA = 20 + 0.1 * np.arange(500)
Q = to_q(TWO_THETA, "two_theta", WAVELENGTH)
AXES = {
    "2theta": TWO_THETA, "2Theta (deg)": TWO_THETA, "Angle": TWO_THETA, "tth": TWO_THETA,
    "2theta (rad)": np.radians(TWO_THETA), "2theta_mrad": 1000 * np.radians(TWO_THETA),
    "2theta (centideg)": 100 * TWO_THETA, "theta": TWO_THETA / 2,
    "theta (rad)": np.radians(TWO_THETA / 2),
    "d": 2 * np.pi / Q, "d (pm)": 200 * np.pi / Q, "d_nm": 0.2 * np.pi / Q, "1/d": Q / (2 * np.pi),
    "d*": Q / (2 * np.pi), "q": Q, "Q (nm^-1)": 10 * Q, "Q^2": Q**2, "Q squared": Q**2,
    "ln(q)": np.log(Q),
    "stol": Q / (4 * np.pi), "sin(theta)/lambda": Q / (4 * np.pi), "s": Q / (2 * np.pi),
    "energy (keV)": 3 * Q, "channel": np.arange(500.0), "TOF": 1000 / Q,
    "sin(theta)": np.sin(TWO_THETA / 115),
    "1000/d": 159 * Q, "q^4": Q**4, "temperature": TWO_THETA, "time": TWO_THETA,
}  # fmt: skip
"""Names of columns, and what is in them; some have to be refused."""
INTENSITIES = ("intensity", "Counts", "I", "I(obs)", "yobs", "Iobs [cts]", "cps", "experimental")
OTHERS = ("background", "ycalc", "I(calc)", "yobs-ycalc", "time", "index", "temperature", "fit")
LENGTHS = (
    "Wavelength: 1.5406", "lambda = 0.15406 nm", "K-Alpha1 wavelength 1.5406",
    "λ(Cu Ka1) = 1,5406 Å",
    "Wavelength (CuKa1): 1.5406", "Energy: 8.04778 keV", "wavelength [pm]: 154.06",
)  # fmt: skip


def write_table(rng: Rng) -> tuple[str, np.ndarray]:
    """A table with columns in any order, and its intensities."""
    centres = rng.uniform(22, 68, 6)
    counts = 50 + rng.uniform(200, 5000, 6) @ np.exp(
        -0.5 * ((TWO_THETA - centres[:, None]) / 0.3) ** 2
    )
    axis = str(rng.choice(list(AXES)))
    columns = {axis: AXES[axis], str(rng.choice(INTENSITIES)): np.rint(counts)}
    for name in rng.choice(OTHERS, rng.integers(3), replace=False):
        columns[str(name)] = rng.uniform(10, 5000, len(TWO_THETA))
    order = rng.permutation(list(columns))
    separator = str(rng.choice([",", "\t", ";"]))
    stream = io.StringIO()
    stream.write(f"# {rng.choice(LENGTHS)}\n{rng.choice(['', '# '])}{separator.join(order)}\n")
    np.savetxt(
        stream, np.column_stack([columns[str(n)] for n in order]), "%.9g", delimiter=separator
    )
    text = stream.getvalue()
    if separator == ";" and rng.random() < 0.5:
        body = text.index("\n", text.index("\n") + 1)
        text = text[:body] + text[body:].replace(".", ",")
    return text, np.rint(counts)


def misread_patterns(folder: Path, seeds: range) -> list[str]:
    wrong, same = [], 0
    for seed in seeds:
        text, counts = write_table(np.random.default_rng(seed))
        (folder / "x.csv").write_text(text, encoding="utf-8")
        try:
            pattern = read_pattern(folder / "x.csv")
        except InputError:
            continue
        same += 1
        q = to_q(pattern.two_theta_deg, "two_theta", pattern.wavelength_angstrom)
        fits = len(q) == len(Q) and np.allclose(q, Q, rtol=2e-4)
        if not fits or not np.allclose(pattern.intensity, counts, rtol=1e-4):
            wrong.append(f"seed {seed}: {text.splitlines()[:3]} {pattern.notes}")
    print(f"{same} of {len(seeds)} read")
    assert same > len(seeds) / 3
    return wrong


@pytest.mark.parametrize("misread", [misread_crystals, misread_patterns])
def test_another_spelling_is_the_same_or_refused(misread, tmp_path):
    assert misread(tmp_path, range(QUICK)) == []


@pytest.mark.hours
@pytest.mark.parametrize("misread", [misread_crystals, misread_patterns])
def test_thousands_of_other_spellings_are_the_same_or_refused(misread, tmp_path):
    assert misread(tmp_path, range(10_000, 10_000 + MANY)) == []
