"""Descriptors of compositions and powder patterns, the input of property models."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from matlode.data.batches import split_range
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.representation.diffraction import (
    STANDARD_SETTINGS,
    DiffractionSettings,
    run_in_chunks,
)

ELEMENT_PROPERTIES = (
    "Z",
    "X",
    "atomic_radius",
    "atomic_mass",
    "row",
    "group",
    "mendeleev_no",
    "melting_point",
    "boiling_point",
    "molar_volume",
    "density_of_solid",
    "thermal_conductivity",
    "ionization_energy",
    "electron_affinity",
    "average_ionic_radius",
    "bulk_modulus",
    "youngs_modulus",
)
"""Attributes of pymatgen's Element."""

SHELLS = ("s", "p", "d", "f")

N_FIRST_PEAKS = 12
N_STRONGEST_PEAKS = 8

_ROWS_AT_ONCE = 1024


def list_composition_descriptors() -> list[str]:
    """Return the names of the columns of ``compute_composition_descriptors``."""
    names = [
        *ELEMENT_PROPERTIES,
        "max_oxidation_state",
        "min_oxidation_state",
        *(f"{shell}_electrons" for shell in SHELLS),
    ]
    fractions = [f"fraction_{z}" for z in range(1, MAX_ATOMIC_NUMBER + 1)]
    statistics = [
        f"{how}_{name}" for how in ("mean", "std", "max", "min", "range") for name in names
    ]
    return [*fractions, *statistics, "n_elements"]


def compute_composition_descriptors(compositions: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return descriptors (n, n_columns) of compositions (n, 100).

    These are the atomic fractions, and the weighted mean, weighted standard deviation, maximum,
    minimum and range of each element property, similar to Ward et al., npj Comput. Mater. 2,
    16028 (2016). The properties are taken from pymatgen.
    """
    table = _element_table()
    x = np.asarray(compositions, dtype=float)
    mean, std, highest, lowest = np.empty((4, len(x), table.shape[1]))
    for rows in split_range(len(x), _ROWS_AT_ONCE):
        # no product by BLAS, whose last digits depend on how many threads are free: boosted trees
        # would amplify them
        share = x[rows, :, None]
        mean[rows] = (share * table).sum(axis=1)
        std[rows] = np.sqrt((share * (table - mean[rows, None]) ** 2).sum(axis=1))
        highest[rows] = np.where(share > 0, table, -np.inf).max(axis=1)
        lowest[rows] = np.where(share > 0, table, np.inf).min(axis=1)
    count = (x > 0).sum(axis=1, keepdims=True)
    return np.hstack([x, mean, std, highest, lowest, highest - lowest, count]).astype(np.float32)


def list_pattern_descriptors() -> list[str]:
    """Return the names of the columns of ``compute_pattern_descriptors``."""
    return [
        *(f"d_first_{i}" for i in range(N_FIRST_PEAKS)),
        *(f"d_strongest_{i}" for i in range(N_STRONGEST_PEAKS)),
        *(f"intensity_strongest_{i}" for i in range(N_STRONGEST_PEAKS)),
        "n_peaks",
        "centroid_two_theta_deg",
        "total_intensity",
        "std_intensity",
    ]


def compute_pattern_descriptors(
    patterns: NDArray[np.floating], settings: DiffractionSettings = STANDARD_SETTINGS
) -> NDArray[np.float32]:
    """Return descriptors (n, n_columns) of patterns (n, n_points).

    These are d (Å) of the first peaks by angle, d and intensity of the strongest peaks by
    intensity, and moments of the pattern. Values of missing peaks are 0.
    """
    from matlode.representation.series import read_peaks

    two_theta = settings.two_theta_deg
    d_angstrom = settings.wavelength_angstrom / (2 * np.sin(np.radians(two_theta / 2)))
    out = np.zeros((len(patterns), 2 * N_STRONGEST_PEAKS + N_FIRST_PEAKS + 4), np.float32)

    def fill(rows: slice) -> None:
        part = np.ascontiguousarray(patterns[rows], float)
        read_peaks(part, two_theta, d_angstrom, N_FIRST_PEAKS, N_STRONGEST_PEAKS, out[rows])

    run_in_chunks(fill, len(patterns), None)
    return out


@cache
def sort_by_electronegativity() -> NDArray[np.int64]:
    """Return (100,), indices of the elements in order of decreasing electronegativity (Pauling).

    Elements without a value, mostly noble gases, come first.
    """
    import warnings

    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = [Element.from_Z(z).X for z in range(1, MAX_ATOMIC_NUMBER + 1)]
    return np.argsort(-np.nan_to_num(values, nan=np.inf), kind="stable")


@cache
def tabulate_element_properties() -> NDArray[np.float64]:
    """Return (100, n_properties): ``ELEMENT_PROPERTIES``, oxidation states, electrons per shell.

    Each is scaled to mean 0 and standard deviation 1 over the elements.
    """
    table = _element_table()
    return (table - table.mean(axis=0)) / table.std(axis=0)


@cache
def _element_table() -> NDArray[np.float64]:
    """Return (100, n_properties); unknown values are replaced by the median of the known ones."""
    import warnings

    from pymatgen.core import Element

    rows = []
    with warnings.catch_warnings():
        # pymatgen warns of each unknown value
        warnings.simplefilter("ignore")
        for z in range(1, MAX_ATOMIC_NUMBER + 1):
            element = Element.from_Z(z)
            states = element.common_oxidation_states or (0,)
            electrons = dict.fromkeys(SHELLS, 0)
            for _, shell, n in element.full_electronic_structure:
                electrons[shell] += n
            values = [getattr(element, name) for name in ELEMENT_PROPERTIES]
            rows.append([*values, max(states), min(states), *electrons.values()])
    table = np.array([[np.nan if value is None else float(value) for value in row] for row in rows])
    return np.where(np.isnan(table), np.nanmedian(table, axis=0), table)
