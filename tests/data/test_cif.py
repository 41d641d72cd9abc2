from __future__ import annotations

import gemmi
import numpy as np
import pytest
from pymatgen.core import Lattice
from pymatgen.io.cif import CifWriter

from matlode.data.cif import parse_cif
from matlode.data.crystals import Crystals
from matlode.data.formulas import compute_formulas
from matlode.data.structures import NOTES, convert_structure, read_structure
from matlode.data.symmetry import find_space_group
from matlode.errors import InputError

GROUPS = [group for group in gemmi.spacegroup_table() if "(" not in group.hm]
SYSTEMS = {
    "triclinic": (25.3, 26.1, 27.7, 82, 97, 104),
    "orthorhombic": (25.3, 26.1, 27.7, 90, 90, 90),
    "tetragonal": (25.3, 25.3, 27.7, 90, 90, 90),
    "trigonal": (25.3, 25.3, 27.7, 90, 90, 120),
    "hexagonal": (25.3, 25.3, 27.7, 90, 90, 120),
    "cubic": (37.3, 37.3, 37.3, 90, 90, 90),
}
GENERAL = [("Ti", (0.1037, 0.2719, 0.3041)), ("O", (0.0513, 0.4281, 0.1777))]


def cell_of(group: gemmi.SpaceGroup) -> tuple[float, ...]:
    if group.crystal_system_str() == "monoclinic":
        angles = {"a": (97, 90, 90), "b": (90, 97, 90), "c": (90, 90, 97)}
        return (25.3, 26.1, 27.7, *angles[group.monoclinic_unique_axis()])
    if group.ext == "R":
        return (25.3, 25.3, 25.3, 74, 74, 74)
    return SYSTEMS[group.crystal_system_str()]


def cif(
    cell: tuple[float, ...],
    symmetry: str,
    atoms: list[tuple[str, tuple[object, ...]]] = GENERAL,
    more: str = "",
) -> str:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"_cell_{name} {value}" for name, value in zip(names, cell, strict=True)]
    sites = [f"{e}{n} {e} {x} {y} {z}" for n, (e, (x, y, z)) in enumerate(atoms, start=1)]
    columns = ["label", "type_symbol", "fract_x", "fract_y", "fract_z"]
    loop = ["loop_", *(f"_atom_site_{name}" for name in columns), *sites]
    return "\n".join(["data_t", more, *lines, symmetry, *loop, ""])


def loop_of(operations: list[str], tag: str = "_symmetry_equiv_pos_as_xyz") -> str:
    return "\n".join(["loop_", tag, *(f"'{text}'" for text in operations)])


def hm(name: str) -> str:
    return f"_space_group_name_H-M_alt '{name}'"


def summary(text: str) -> tuple[str, int, int]:
    crystals = Crystals.from_structures([convert_structure(text)])
    return compute_formulas(crystals)[0], find_space_group(crystals, 0), int(crystals.n_atoms[0])


NACL = [("Na", (0, 0, 0)), ("Cl", (0.5, 0.5, 0.5))]
CUBIC = (5.64, 5.64, 5.64, 90, 90, 90)
ROCK_SALT_OPERATIONS = [op.triplet() for op in gemmi.SpaceGroup(225).operations()]
ROCK_SALT = ("ClNa", 225, 8)


@pytest.mark.parametrize("group", GROUPS[::3], ids=lambda g: g.xhm())
def test_operations_symbol_and_hall_symbol_give_one_crystal(group):
    """Two general sites have exactly the symmetry of the group, whatever states it."""
    cell = cell_of(group)
    triplets = [op.triplet() for op in gemmi.symops_from_hall(group.hall)]
    hall = f"_space_group_name_Hall '{group.hall}'"
    read = summary(cif(cell, loop_of(triplets)))
    assert read[2] == 2 * len(triplets)
    assert read[1] == group.number
    assert summary(cif(cell, hall)) == read
    # a loop of unknown operations is none
    assert summary(cif(cell, f"{hm(group.xhm())}\n{loop_of(['?'])}")) == read
    full = f"{hm(group.hm)}\n{hall}\n_space_group_IT_number {group.number}\n{loop_of(triplets)}"
    assert summary(cif(cell, full)) == read


@pytest.mark.parametrize("group", GROUPS[::11], ids=lambda g: g.xhm())
def test_a_wrong_number_is_refused(group):
    other = group.number % 230 + 1
    triplets = loop_of([op.triplet() for op in gemmi.symops_from_hall(group.hall)])
    for symmetry in (triplets, hm(group.xhm()), f"_space_group_name_Hall '{group.hall}'"):
        with pytest.raises(InputError, match="contradictory space groups"):
            parse_cif(cif(cell_of(group), f"{symmetry}\n_space_group_IT_number {other}"))


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_rounded_special_positions_are_one_atom(digits):
    """Thirds in wurtzite, and x, 2x, z in a rhombohedral group."""
    third, two = round(1 / 3, digits), round(2 / 3, digits)
    group = gemmi.SpaceGroup("P 63 m c")
    text = cif(
        (3.25, 3.25, 5.207, 90, 90, 120),
        loop_of([op.triplet() for op in group.operations()]),
        [("Zn", (third, two, 0)), ("O", (third, two, 0.38))],
    )
    assert summary(text) == ("OZn", 186, 4)
    places = parse_cif(text)[0].frac_coords
    assert np.allclose(places[:, 0] * 3 % 1 % 1, 0, atol=1e-9) or np.allclose(
        np.rint(places[:, 0] * 3), places[:, 0] * 3
    )
    x = 0.1053
    text = cif(
        (12, 12, 14, 90, 90, 120), hm("R -3 m :H"),
        [("O", (round(x, digits), round(2 * x, digits), 0.25))],
    )  # fmt: skip
    assert summary(text)[1:] == (166, 18)


SPELLINGS = {
    "bom": lambda t: "\ufeff" + t,
    "words": lambda t: t.replace("data_", "DATA_").replace("loop_", "Loop_"),
    "tags": lambda t: t.replace("_cell", "_Cell").replace("_atom_site_fract", "_Atom_Site_FRACT"),
    "returns": lambda t: t.replace("\n", "\r\n"),
    "dots": lambda t: t.replace("_atom_site_", "_atom_site.").replace("_cell_", "_cell."),
    "two blocks": lambda t: "data_first\n_journal_year 2020\n" + t,
    "same name": lambda t: "data_t\n_journal_year 2020\n" + t,
    "save frame": lambda t: t + "\nsave_frame\n_cell_length_a 99\nsave_\n",
    "uncertainties": lambda t: t.replace("length_a 5.64", "length_a 5.64(2)"),
    "comments": lambda t: "# a comment\n\n" + t.replace("loop_", "# another\nloop_"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_other_spellings_are_the_same_crystal(name):
    assert summary(SPELLINGS[name](cif(CUBIC, hm("F m -3 m"), NACL))) == ROCK_SALT


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_encodings_of_files(tmp_path, encoding):
    path = tmp_path / "a.cif"
    path.write_bytes(cif(CUBIC, hm("F m -3 m"), NACL, "_author 'Müller'").encode(encoding))
    assert len(read_structure(path)) == 8


def test_missing_parameters_follow_from_the_system():
    lines = cif(CUBIC, hm("F m -3 m"), NACL).splitlines()
    only_a = [line for line in lines if not line.startswith(("_cell_length_b", "_cell_length_c"))]
    assert summary("\n".join(only_a)) == ROCK_SALT
    no_angles = [line for line in only_a if not line.startswith("_cell_angle")]
    assert summary("\n".join(no_angles)) == ROCK_SALT
    with pytest.raises(InputError, match="incomplete cell"):
        parse_cif("\n".join(only_a).replace("F m -3 m", "F m m m"))
    text = cif((3.2, 3.2, 5.2, 90, 90, 120), hm("P 63/m m c"), [("Mg", ("0.3333", "0.6667", 0.25))])
    short = [x for x in text.splitlines() if not x.startswith(("_cell_length_b", "_cell_angle"))]
    assert summary("\n".join(short)) == ("Mg", 194, 2)


def test_one_atom_without_a_loop_and_cartesian_sites():
    head = cif(CUBIC, hm("F m -3 m"), []).split("loop_")[0]
    atom = "_atom_site_type_symbol Cu\n_atom_site_fract_x 0\n_atom_site_fract_y 0\n"
    assert summary(head + atom + "_atom_site_fract_z 0\n") == ("Cu", 225, 4)
    cell = SYSTEMS["triclinic"]
    lattice = Lattice.from_parameters(*cell, vesta=True)
    fractions = [place for _, place in GENERAL]
    cartesian = lattice.get_cartesian_coords(fractions)
    atoms = [(e, tuple(x)) for (e, _), x in zip(GENERAL, cartesian, strict=True)]
    text = cif(cell, hm("P 1"), atoms).replace("_fract_", "_Cartn_")
    assert np.allclose(parse_cif(text)[0].frac_coords, fractions)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("Fe3+", 26), ("O2-", 8), ("O-2", 8), ("7Li", 3), ("15N", 7), ("2H", 1), ("D", 1),
        ("T", 1), ("D1+", 1), ("na", 11), ("CL", 17), ("Fe2.5+", 26), ("Ho", 67),
        ("OH", None), ("OH2", None), ("Wat", None), ("H2O", None), ("NH4", None), ("Fe/Mg", None),
        ("Fe0.5Mg0.5", None), ("(Fe,Mg)", None), ("X", None), ("Vac", None), ("M", None),
        ("Xx3+", None), ("1", None), ("Uuo", None),
    ],
)  # fmt: skip
def test_atom_types_are_read_or_refused(kind, number):
    text = cif(SYSTEMS["orthorhombic"], hm("P 1"), NACL).replace("Na1 Na", f"A1 {kind}")
    if number is None:
        with pytest.raises(InputError, match="the atom type"):
            parse_cif(text)
        return
    assert number == parse_cif(text)[0][0].specie.Z


@pytest.mark.parametrize(
    ("label", "number"),
    [("Na1", 11), ("O1A", 8), ("D2", 1), ("FeM1", 26), ("CL2", 17), ("OA", 8), ("H1W", 1)],
)
def test_labels_tell_the_element_if_nothing_else_does(label, number):
    text = cif(SYSTEMS["orthorhombic"], hm("P 1"), NACL).replace("Na1 Na", f"{label} ?")
    assert number == parse_cif(text)[0][0].specie.Z


def test_the_formula_decides_between_labels():
    atoms = [("C", (0, 0, 0)), ("O", (0.3, 0.3, 0.3))]
    text = cif(SYSTEMS["orthorhombic"], hm("P 1"), atoms).replace("C1 C", "CA1 ?")
    assert parse_cif(text.replace("data_t", "data_t\n_chemical_formula_sum 'C O'"))[0].formula
    with pytest.raises(InputError, match="formula"):
        parse_cif(text.replace("data_t", "data_t\n_chemical_formula_sum 'N O'"))


P1 = (5.3, 6.1, 7.7, 90, 90, 90)
REFUSED = {
    "no symmetry": (cif(CUBIC, "", NACL), "states no symmetry"),
    "unknown symbol": (cif(CUBIC, hm("F q 7"), NACL), "unknown space-group symbol"),
    "only unknown operations": (cif(CUBIC, loop_of(["?"]), NACL), "states no symmetry"),
    "identity": (cif(CUBIC, f"{hm('F m -3 m')}\n{loop_of(['x,y,z'])}", NACL), "contradictory"),
    "symbols": (
        cif(CUBIC, f"{hm('F m -3 m')}\n_symmetry_space_group_name_H-M 'F d -3 m'", NACL),
        "contradictory",
    ),
    "no group": (cif(P1, loop_of(["x,y,z", "-x,-y,-z", "-x,y+1/2,-z+1/2"])), "do not form a group"),
    "operation": (cif(P1, loop_of(["x,y,z", "nonsense"])), "cannot be parsed"),
    "cell": (cif((5.6, 5.6, 6.1, 90, 90, 90), hm("F m -3 m"), NACL), "has not the symmetry"),
    "axes": (cif((4, 4, 9, 90, 90, 90), hm("R -3 m"), NACL), "has not the symmetry"),
    "modulated": (
        cif(P1, f"{hm('P 1')}\n_cell_modulation_dimension 1"),
        "modulated structure",
    ),
    "symbol of a subgroup": (
        cif(CUBIC, f"{hm('P 1')}\n{loop_of(ROCK_SALT_OPERATIONS)}", NACL),
        "contradictory",
    ),
    "formula": (cif(CUBIC, hm("F m -3 m"), NACL, "_chemical_formula_sum 'Na Cl O'"), "formula"),
    "units": (
        cif(CUBIC, hm("F m -3 m"), NACL, "_chemical_formula_sum 'Na Cl'\n_cell_formula_units_Z 2"),
        "4 atoms per cell stated, 8 read",
    ),
    "density": (
        cif(CUBIC, hm("F m -3 m"), NACL, "_exptl_crystal_density_diffrn 5.1"),
        "5.1 g/cm³ stated, 2.164 g/cm³ read",
    ),
    "volume": (
        cif(CUBIC, hm("F m -3 m"), NACL, "_cell_volume 99"),
        "99 Å³ stated, 179.406 Å³ computed",
    ),
    "coordinate": (cif(P1, hm("P 1"), [("O", (".", ".", "."))]), "no coordinates"),
    "two full sites": (
        cif(P1, hm("P 1"), [("O", (0.1, 0.1, 0.1)), ("Ti", (0.1, 0.1, 0.15))]),
        "two atoms are 0.3",
    ),
    "repeated tag": (cif(P1, f"{hm('P 1')}\n_cell_length_a 6.0"), "occurs twice"),
    "no atoms": ("data_x\n_cell_length_a 3\n", "no block with"),
    "no block": ("_cell_length_a 3\n_atom_site_fract_x 0\n", "not a valid CIF"),
    "hydrogens": (
        cif(P1, hm("P 1")).replace("_atom_site_type_symbol", "_atom_site_attached_hydrogens")
        .replace("Ti1 Ti", "Ti1 0").replace("O2 O", "O2 2"),
        "2 hydrogen atoms without coordinates",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_with_the_reason(name):
    text, reason = REFUSED[name]
    with pytest.raises(InputError, match=reason):
        convert_structure(text)


def test_testimony_that_agrees_is_accepted():
    told = (
        "_chemical_formula_sum 'Cl1 Na1'\n_cell_formula_units_Z 4\n_cell_volume 179.4\n"
        "_exptl_crystal_density_diffrn 2.163"
    )
    assert summary(cif(CUBIC, hm("F m -3 m"), NACL, told)) == ROCK_SALT
    # pymatgen writes the formula of the cell
    whole = told.replace("Cl1 Na1", "Cl4 Na4")
    assert summary(cif(CUBIC, hm("F m -3 m"), NACL, whole)) == ROCK_SALT


def test_operations_that_the_content_confirms_outweigh_a_symbol_of_less_symmetry():
    """pymatgen writes such files of nearly symmetric crystals."""
    every = loop_of(ROCK_SALT_OPERATIONS)
    told = "_chemical_formula_sum 'Na4 Cl4'\n_cell_formula_units_Z 4"
    structure, notes = parse_cif(cif(CUBIC, f"{hm('P 1')}\n{every}", NACL, told))
    assert len(structure) == 8
    assert "contradictory" in notes[0]
    with pytest.raises(InputError, match="contradictory"):
        parse_cif(cif(CUBIC, f"{hm('P 41')}\n{every}", NACL, told))


def test_origins_are_told_by_content_or_not_at_all():
    diamond = cif((5.431,) * 3 + (90,) * 3, hm("F d -3 m"), [("Si", (0.125, 0.125, 0.125))])
    structure, notes = parse_cif(diamond)
    assert len(structure) == 8
    assert "F d -3 m:2 assumed" in notes[0]
    spinel = [("Mg", (0.125,) * 3), ("Al", (0.5,) * 3), ("O", (0.2624,) * 3)]
    with pytest.raises(InputError, match="does not tell the origin"):
        parse_cif(cif((8.08,) * 3 + (90,) * 3, hm("F d -3 m"), spinel))
    told = cif((8.08,) * 3 + (90,) * 3, hm("F d -3 m"), spinel, "_chemical_formula_sum 'Al2 Mg O4'")
    assert summary(told) == ("Al2MgO4", 227, 56)


def test_partial_sites():
    loop = cif(CUBIC, hm("F m -3 m"), NACL).replace(
        "_type_symbol", "_type_symbol\n_atom_site_occupancy"
    )
    mixed = loop.replace("Na1 Na", "Na1 Na 0.75").replace("Cl2 Cl", "K1 K 0.25 0 0 0\nCl2 Cl .")
    structure, _ = parse_cif(mixed)
    assert len(structure) == 8
    assert structure.composition.as_dict() == pytest.approx({"Na": 3, "K": 1, "Cl": 4})
    for wrong in ("1.5", "-0.1", "x"):
        with pytest.raises(InputError, match="occupancy"):
            parse_cif(loop.replace("Na1 Na", f"Na1 Na {wrong}").replace("Cl2 Cl", "Cl2 Cl 1"))
    with pytest.raises(InputError, match="at most 1"):
        parse_cif(mixed.replace("K 0.25", "K 0.65"))


def test_split_atoms_stay_apart_and_rounded_ones_do_not():
    """Half an atom 0.2 Å off a mirror is two halves of one; 0.005 Å off it is on it."""
    symmetry = loop_of(["x,y,z", "-x,y,z"])
    for x, n_sites in ((0.02, 2), (0.0005, 1)):
        text = cif((10, 6, 7, 90, 90, 90), symmetry, [("O", (f"{x:.4f}", 0.2, 0.3))])
        half = text.replace("_type_symbol", "_type_symbol\n_atom_site_occupancy")
        structure, _ = parse_cif(half.replace("O1 O", "O1 O 0.5"))
        assert len(structure) == n_sites
        assert len(parse_cif(text)[0]) == 1


def test_dummies_and_empty_sites_are_left_out_with_a_note():
    text = cif(P1, hm("P 1")).replace("_type_symbol", "_type_symbol\n_atom_site_calc_flag")
    structure, notes = parse_cif(text.replace("Ti1 Ti", "Ti1 Ti dum").replace("O2 O", "O2 O d"))
    assert structure.formula == "O1"
    assert notes == ("dummy atom Ti1 left out",)


def test_the_first_of_several_blocks_is_read_and_told():
    one = cif(CUBIC, hm("F m -3 m"), NACL)
    structure = convert_structure(one + one.replace("Na", "K").replace("data_t", "data_u"))
    assert structure.composition.reduced_formula == "NaCl"
    assert structure.properties[NOTES] == ('2 blocks contain crystals; the first, "t", was read',)


def test_magnetic_operations_and_centrings():
    symmetry = loop_of(["x,y,z,+1", "-x,-y,-z,-1"], "_space_group_symop_magn_operation.xyz")
    centred = loop_of(["x,y,z,+1", "x+1/2,y+1/2,z+1/2,-1"], "_space_group_symop_magn_centering.xyz")
    structure, _ = parse_cif(cif(P1, f"{symmetry}\n{centred}"))
    assert len(structure) == 8


def test_unusual_settings_have_the_right_number():
    group = gemmi.SpaceGroup("P 1 21/c 1")
    fifth = [op.triplet() + "" for op in group.operations()]
    moved = [text.replace("-x,", "-x+2/5,") for text in fifth]  # the origin at x = 1/5
    text = cif(cell_of(group), f"{loop_of(moved)}\n_space_group_IT_number 14")
    assert summary(text)[1:] == (14, 8)


@pytest.mark.parametrize("symprec", [None, 0.01])
def test_what_pymatgen_writes_is_read_alike(starter, symprec):
    rows = np.random.default_rng(28).choice(len(starter), 30, replace=False)
    for row in rows:
        structure = starter.crystals.structure(int(row))
        text = str(CifWriter(structure, symprec=symprec, angle_tolerance=-1))
        read = convert_structure(text)
        assert read.composition.reduced_formula == structure.composition.reduced_formula
        assert read.density == pytest.approx(structure.density, rel=1e-4)
        assert find_space_group(Crystals.from_structures([read]), 0) == find_space_group(
            starter.crystals, int(row)
        )
