"""Names that a shell completes.

They are repeated here because the modules that define them load numpy or torch, for which a shell
does not wait; tests/test_completion.py compares them with the definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

PROPERTIES = (
    "bulk_modulus", "shear_modulus", "formation_energy", "formation_probability",
    "energy_above_hull", "formation_energy_mp2021", "energy_above_hull_mp2021",
    "hull_probability_100_mev", "hull_probability_50_mev", "volume_per_atom", "band_gap",
    "metal_probability", "magnetic_moment", "magnetic_probability", "debye_temperature",
    "thermal_conductivity", "thermal_expansion", "refractive_index", "dielectric_constant",
    "piezoelectric_maximum", "vickers_hardness", "vickers_hardness_chen", "youngs_modulus",
    "poisson_ratio", "pugh_ratio", "heat_capacity_cv", "heat_capacity_cp",
    "thermal_conductivity_600k", "density",
)  # fmt: skip
"""Those that matlode brings; folders of models add a user's own."""
PROTOTYPES = (
    "perovskite", "cubic perovskite", "double perovskite", "vacancy-ordered perovskite",
    "Ruddlesden-Popper", "spinel", "garnet", "ilmenite", "pyrochlore", "corundum", "rock salt",
    "caesium chloride", "zinc blende", "wurtzite", "nickel arsenide", "chalcopyrite", "fluorite",
    "antifluorite", "rutile", "pyrite", "cadmium iodide", "molybdenite", "skutterudite",
    "tetradymite", "half-Heusler", "Heusler", "inverse Heusler", "ThCr2Si2", "A15", "Laves",
)  # fmt: skip
CRYSTAL_SYSTEMS = (
    "triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic",
)  # fmt: skip
SAMPLERS = ("tpe", "tpe-independent", "gp", "cma-es", "gradient", "map-elites", "random")
FORMATS = ("cif", "poscar", "extxyz", "ase-db", "pymatgen", "optimade", "csv", "lemat")
POTENTIALS = ("sevennet-l3i5", "sevennet-0", "chgnet")
SPLITS = ("random", "formula", "chemical_system", "prototype")
PRUNERS = ("hyperband", "median", "none")
ARRAYS = ("patterns", "compositions", "composition-descriptors", "pattern-descriptors")
CELLS = ("primitive", "conventional", "as-is")
RADIATIONS = ("CuKa", "CuKa1", "MoKa", "MoKa1", "AgKa", "CoKa1", "CrKa1", "FeKa1")


def of(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a function that completes an option or argument by these names.

    >>> of(SAMPLERS)("tpe")
    ['tpe', 'tpe-independent']
    """
    known = tuple(names)
    return lambda incomplete: [name for name in known if name.startswith(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """Models that `matlode train models` trains: those that ship, by the names of their folders.

    >>> complete_models("standard-sp")
    ['standard-space-group']
    """
    from importlib import resources

    names = (entry.name for entry in (resources.files("matlode") / "models").iterdir())
    faces = ("standard-", "reference-")
    return sorted(n for n in names if n.startswith(incomplete) and n.startswith(faces))
