"""Training targets of the property network: the endpoints and auxiliary targets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from matlode.properties.endpoints import ELASTIC_SOURCES, ENDPOINTS, Endpoint, Transform


def _of_vintage(
    column: str, vintage_column: str, *, transform: Transform = "none", **vintages: str
) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(name=f"{column}/{name}", unit="", column=column, vintage_column=vintage_column,
                 vintages=(vintage,), transform=transform)
        for name, vintage in vintages.items()
    )  # fmt: skip


AUXILIARY: tuple[Endpoint, ...] = (
    *_of_vintage("bulk_modulus_vrh", "elastic_source", transform="log",
                 aflow=ELASTIC_SOURCES[0], jarvis="JARVIS (Voigt, not VRH)"),
    *_of_vintage("shear_modulus_vrh", "elastic_source", transform="log",
                 aflow=ELASTIC_SOURCES[0], jarvis="JARVIS (Voigt, not VRH)"),
    *_of_vintage("formation_energy_per_atom", "label_vintage",
                 wbm="WBM (MP2020 corr.)", castelli="Castelli", jarvis="JARVIS"),
    *_of_vintage("band_gap", "gap_vintage", wbm="WBM (MP2020 corr.)", castelli="Castelli"),
    Endpoint(name="eps_electronic_poly", unit="", column="eps_electronic_poly", transform="log"),
    Endpoint(name="ph_last_dos_peak_cm", unit="1/cm", column="ph_last_dos_peak_cm",
             transform="log"),
    Endpoint(name="minimum_thermal_conductivity_600K", unit="W/m/K",
             column="minimum_thermal_conductivity_600K", transform="log"),
    Endpoint(name="cv_300K_per_atom", unit="J/mol/K", column="cv_300K_per_atom"),
    *(
        Endpoint(name=source, unit=unit, column=source)
        for source, unit in (
            ("crabnet:CritExam__Ef", "eV/atom"),
            ("crabnet:CritExam__Ed", "eV/atom"),
            ("crabnet:mp_e_hull", "eV/atom"),
            ("crabnet:mp_mu_b", "µB"),
            ("crabnet:aflow__Egap", "eV"),
            ("crabnet:aflow__energy_atom", "eV/atom"),
            ("roost:MP-bandgap", "eV"),
        )
    ),
)  # fmt: skip
"""Labels of other methods and vintages, and of formulas without structures. They are not pooled
with the labels of an endpoint: each is a separate output of the multi-task network."""

FORMULA_SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "formation_energy": "roost:mp-formation",
        "thermal_conductivity": "crabnet:aflow__agl_thermal_conductivity_300K",
        "thermal_expansion": "crabnet:aflow__agl_thermal_expansion_300K",
    }
)
"""endpoint → source of the same quantity in a table of formulas without structures."""

TARGETS: tuple[Endpoint, ...] = tuple(
    sorted([*ENDPOINTS.values(), *AUXILIARY], key=lambda e: e.task == "probability")
)
"""All targets of the network, values before probabilities."""
