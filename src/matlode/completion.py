"""Names that a shell completes.

They stand here because a shell does not wait for the modules that hold their tables, which load
numpy or torch; tests/test_completion.py holds them against these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

PROPERTIES = (
    "bulk_modulus", "shear_modulus", "formation_energy", "formation_probability",
    "stable_probability", "near_hull_probability", "volume_per_atom", "band_gap",
    "metal_probability", "magnetic_moment", "magnetic_probability", "debye_temperature",
    "thermal_conductivity", "thermal_expansion", "refractive_index", "dielectric_constant",
    "piezoelectric_maximum", "vickers_hardness", "vickers_hardness_chen", "youngs_modulus",
    "poisson_ratio", "pugh_ratio", "heat_capacity_cv", "heat_capacity_cp",
    "thermal_conductivity_600k", "density",
)  # fmt: skip
"""That matlode brings; own ones are added by folders of models."""
SAMPLERS = ("tpe", "tpe-independent", "gp", "cma-es", "gradient", "map-elites", "random")
POTENTIALS = ("sevennet-l3i5", "sevennet-0", "chgnet")
SPLITS = ("random", "formula", "chemical_system", "prototype")
PRUNERS = ("hyperband", "median", "none")
ARRAYS = ("patterns", "compositions", "composition-descriptors", "pattern-descriptors")
CELLS = ("primitive", "conventional", "as-is")
RADIATIONS = ("CuKa", "CuKa1", "MoKa", "MoKa1", "AgKa", "CoKa1", "CrKa1", "FeKa1")
EVALUATIONS = ("latent", "folds", "symmetry", "realisation", "potentials", "accuracy")
"""What `matlode evaluate` measures besides properties."""
BENCHMARKS = (
    *("xrd", "training", "predict", "search", "rediscovery", "discovery", "identify", "scale"),
)


def of(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Completion of an option or argument by these names.

    >>> of(SAMPLERS)("tpe")
    ['tpe', 'tpe-independent']
    """
    known = tuple(names)
    return lambda incomplete: [name for name in known if name.startswith(incomplete)]


def trainable(incomplete: str) -> list[str]:
    """Models that `matlode train` makes: those that ship, by the names of their folders.

    >>> trainable("standard-sp")
    ['standard-space-group']
    """
    from importlib import resources

    names = (entry.name for entry in (resources.files("matlode") / "models").iterdir())
    faces = ("standard-", "reference-")
    return sorted(n for n in names if n.startswith(incomplete) and n.startswith(faces))
