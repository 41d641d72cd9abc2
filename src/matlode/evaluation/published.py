"""Published scores, in the units of our tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Published:
    """Scores of one publication, and the data that they were measured on."""

    name: str
    citation: str
    rows: str
    """Data set."""
    split: str
    compare: str
    """How comparable the scores are with ours."""
    numbers: Mapping[str, Mapping[str, float]]
    """quantity (the name of an endpoint, "space_group") → score → value."""


PAPER = Published(
    name="paper",
    citation="Korolev, Mitrofanov, Eliseev, Tkachenko, Mater. Horiz. 2020, Tables S3, S4, Fig. S9",
    rows="Materials Project (130,998 formation energies; 28,737 metal, 30,787 magnetic or not), "
    "AFLOW (2,721; conductivity 5,511)",
    split="not stated, most likely random rows",
    compare="other rows; compare it with the random split, and with its recipe on our rows",
    numbers={
        "formation_energy": {"mae": 0.19, "rmse": 0.29, "r2": 0.93},
        "thermal_conductivity": {"mae_ln": 0.45, "rmse_ln": 0.62, "r2_ln": 0.71},
        "heat_capacity_cv": {"mae": 0.09, "rmse": 0.14, "r2": 0.81},
        "heat_capacity_cp": {"mae": 0.10, "rmse": 0.16, "r2": 0.81},
        "bulk_modulus": {"mae": 24.6, "rmse": 33.7, "r2": 0.81},
        "shear_modulus": {"mae": 18.5, "rmse": 31.1, "r2": 0.81},
        "debye_temperature": {"mae": 64.3, "rmse": 97.8, "r2": 0.80},
        "thermal_expansion": {"mae_ln": 0.17, "rmse_ln": 0.24, "r2_ln": 0.82},
        "metal_probability": {"auc": 0.93, "accuracy": 0.90, "f1": 0.87},
        "magnetic_probability": {"auc": 0.86, "accuracy": 0.86, "f1": 0.72},
        "formation_probability": {"auc": 0.98, "accuracy": 0.96},
        "space_group": {"space_group": 0.54, "crystal_system": 0.72},
    },
)
"""The work that the reference face follows. Its stability classifier is read as that of the
formation energy's sign, its second classifier as that of magnetic cells."""

_MATBENCH, _MATBENCH_SPLIT = "Materials Project 2019 (Matbench)", "five folds of random rows"
_MATBENCH_WORTH = "later vintage and random rows: the order of magnitude"
_JARVIS, _JARVIS_SPLIT = "JARVIS-DFT (OptB88vdW)", "random rows, the leaderboard's"

PEERS: tuple[Published, ...] = (
    Published(
        name="PLMF",
        citation="Isayev et al., Nat. Commun. 8, 15679 (2017)",
        rows="AFLOW",
        split="five folds of random rows",
        compare="same source as the AFLOW rows, fewer of them; sees the full structure",
        numbers={
            "bulk_modulus": {"mae": 8.7, "r2": 0.97},
            "shear_modulus": {"mae": 10.6, "r2": 0.88},
            "debye_temperature": {"mae": 35.9, "r2": 0.95},
            "heat_capacity_cv": {"mae": 0.04},
            "heat_capacity_cp": {"mae": 0.05},
            "thermal_expansion": {"r2_ln": 0.91},
            "metal_probability": {"auc": 0.98, "accuracy": 0.93},
        },
    ),
    Published(
        name="CFID",
        citation="Choudhary, DeCost, Tavazza, Phys. Rev. Mater. 2, 083801 (2018); JARVIS-ML",
        rows=_JARVIS,
        split=_JARVIS_SPLIT,
        compare="another functional; Voigt moduli; compare it with the JARVIS rows",
        numbers={
            "metal_probability": {"auc": 0.95},
            "magnetic_probability": {"auc": 0.96},
            "bulk_modulus_vrh/jarvis": {"mae": 14.20},
            "shear_modulus_vrh/jarvis": {"mae": 11.92},
        },
    ),
    Published(
        name="ALIGNN",
        citation="Choudhary, DeCost, npj Comput. Mater. 7, 185 (2021), and its README",
        rows=f"{_JARVIS}; formation energies: {_MATBENCH}",
        split="random rows",
        compare="a graph network of the full structure, on random rows",
        numbers={
            "bulk_modulus_vrh/jarvis": {"mae": 10.40},
            "shear_modulus_vrh/jarvis": {"mae": 9.48},
            "formation_energy": {"mae": 0.0215},
            "metal_probability": {"auc": 0.92},
            "magnetic_probability": {"auc": 0.91},
        },
    ),
    Published(
        name="coGN, coNGN",
        citation="Ruff et al., Digital Discovery 3, 594 (2024); Matbench, JARVIS leaderboard",
        rows=f"{_MATBENCH}; moduli: {_JARVIS}",
        split="random rows",
        compare="the best graph networks of the full structure, on random rows",
        numbers={
            "bulk_modulus_vrh/jarvis": {"mae": 8.70},
            "shear_modulus_vrh/jarvis": {"mae": 8.49},
            "formation_energy": {"mae": 0.0170},
            "band_gap": {"mae": 0.1559},
        },
    ),
    Published(
        name="CrabNet",
        citation="Wang et al., npj Comput. Mater. 7, 77 (2021); Matbench",
        rows=_MATBENCH,
        split=_MATBENCH_SPLIT,
        compare=f"composition alone; {_MATBENCH_WORTH}",
        numbers={
            "formation_energy": {"mae": 0.0862},
            "band_gap": {"mae": 0.2655},
            "refractive_index": {"mae": 0.3234},
        },
    ),
    Published(
        name="MODNet",
        citation="De Breuck, Hautier, Rignanese, npj Comput. Mater. 7, 83 (2021); Matbench",
        rows=_MATBENCH,
        split=_MATBENCH_SPLIT,
        compare=f"descriptors of the full structure; {_MATBENCH_WORTH}",
        numbers={
            "formation_energy": {"mae": 0.0448},
            "band_gap": {"mae": 0.2199},
            "refractive_index": {"mae": 0.2711},
        },
    ),
    Published(
        name="Park",
        citation="Park et al., IUCrJ 4, 486 (2017)",
        rows="ICSD, simulated patterns",
        split="random rows",
        compare="twins of the test rows are learned from",
        numbers={"space_group": {"space_group": 0.8114, "crystal_system": 0.9499}},
    ),
    Published(
        name="Vecsei",
        citation="Vecsei et al., Phys. Rev. B 99, 245120 (2019)",
        rows="measured patterns (RRUFF)",
        split="learned from simulated ones (ICSD)",
        compare="measured patterns are harder; compared with its most certain half",
        numbers={"space_group": {"space_group": 0.54, "space_group_of_surest_half": 0.82}},
    ),
    Published(
        name="Schopmans",
        citation="Schopmans, Reiser, Friederich, Digital Discovery 2, 1414 (2023)",
        rows="ICSD, simulated patterns",
        split="structure types never seen",
        compare="a split as honest as ours by prototype; pattern alone",
        numbers={"space_group": {"space_group": 0.561}},
    ),
)
"""Others, for orientation: none of them measured on our rows and splits."""
