"""Readers of public databases. The client of a database is imported only when it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from matlode.data.labels import Column
from matlode.data.readers.source import UNKNOWN_LICENCE, ReadOptions, Source, pack_records
from matlode.errors import InputError, suggest

if TYPE_CHECKING:
    from requests import Session

Document: TypeAlias = Mapping[str, Any]
"""A document that a database sends, in its own layout."""

MP_KEY_VARIABLE = "MP_API_KEY"
"""Environment variable: the API key of the Materials Project."""
MP_LICENCE = "CC BY 4.0"
MP_FIELDS = (
    "material_id",
    "structure",
    "formation_energy_per_atom",
    "energy_above_hull",
    "band_gap",
    "bulk_modulus",
    "shear_modulus",
    "total_magnetization",
    "symmetry",
    "theoretical",
)
"""Requested fields of the Materials Project, in eV, GPa and µB per cell."""

OPTIMADE_PROPERTIES = (
    "chemical_formula_reduced",
    "cartesian_site_positions",
    "dimension_types",
    "elements",
    "elements_ratios",
    "chemical_formula_anonymous",
    "lattice_vectors",
    "last_modified",
    "nelements",
    "nperiodic_dimensions",
    "nsites",
    "species",
    "species_at_sites",
    "structure_features",
)
"""Properties of the OPTIMADE specification 1.x that describe a crystal."""
OPTIMADE_TIMEOUT_S = 60.0
OPTIMADE_TRIES = 5
"""Number of retries for a page if the provider is busy, with increasing delays."""

JARVIS_COLUMNS = (
    Column("formation_energy_per_atom", "formation_energy_peratom", "eV/atom"),
    Column("energy_above_hull", "ehull", "eV/atom"),
    Column("band_gap", "optb88vdw_bandgap", "eV"),
)
"""Conversions of JARVIS columns. Its moduli are Voigt averages and therefore not converted."""

MATMINER_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "elastic_tensor_2015": (
        Column("bulk_modulus_vrh", "K_VRH", "GPa"),
        Column("shear_modulus_vrh", "G_VRH", "GPa"),
    ),
    "dielectric_constant": (
        Column("n_refr", "n"),
        Column("eps_electronic_poly", "poly_electronic"),
        Column("eps_total_poly", "poly_total"),
    ),
    "piezoelectric_tensor": (Column("piezo_eij_max", "eij_max", "C/m**2"),),
    "matbench_mp_gap": (Column("band_gap", "gap pbe", "eV"),),
    "matbench_mp_e_form": (Column("formation_energy_per_atom", "e_form", "eV/atom"),),
    "matbench_log_kvrh": (Column("bulk_modulus_vrh", "log10(K_VRH)", "log10(GPa)"),),
    "matbench_log_gvrh": (Column("shear_modulus_vrh", "log10(G_VRH)", "log10(GPa)"),),
    "matbench_phonons": (Column("ph_last_dos_peak_cm", "last phdos peak", "1/cm"),),
    "matbench_dielectric": (Column("n_refr", "n"),),
}
"""Conversions of columns of matminer's data sets that have the same definition as in matlode."""


def open_materials_project(query: str, options: ReadOptions) -> Source:
    """Query the Materials Project: ids (mp-149,mp-804), a formula (GaN), a chemical system (Ga-N).

    An empty query returns all materials. Raises InputError if the API key ($MP_API_KEY) or
    the package mp-api is missing, or if the request fails.
    """
    client = _import_client("mp_api.client", "mp-api", "the Materials Project")
    key = os.environ.get(MP_KEY_VARIABLE)
    if not key:
        raise InputError(
            f"the Materials Project requires an API key; set the environment variable "
            f"{MP_KEY_VARIABLE} to yours (see materialsproject.org/api)."
        )
    try:
        # plain documents, since the models of the client change more often than the fields
        with client.MPRester(key, use_document_model=False, mute_progress_bars=True) as rester:
            version = str(rester.get_database_version())
            documents = rester.materials.summary.search(
                **_parse_query(query), fields=list(MP_FIELDS), all_fields=False
            )
    except Exception as error:
        # the client raises exceptions of many libraries, some of which contain the secret key
        message = str(error).replace(key, "***")
        raise InputError(f"the request to the Materials Project failed: {message}") from None
    name = f"Materials Project {version}"
    return Source(
        name=name,
        chunks=pack_records(
            convert_mp_documents(documents, version), name="mp", options=ReadOptions()
        ),
        licence=MP_LICENCE,
        citation="Jain et al., APL Materials 1, 011002 (2013)",
    )


def convert_mp_documents(
    documents: Iterable[Document], version: str
) -> Iterator[Mapping[str, object]]:
    """Convert summary documents to rows; moduli are the Voigt-Reuss-Hill averages."""
    for document in documents:
        symmetry = document.get("symmetry") or {}
        yield {
            "material_id": str(document["material_id"]),
            "structure": document["structure"],
            "formation_energy_per_atom": document.get("formation_energy_per_atom"),
            "energy_above_hull": document.get("energy_above_hull"),
            "band_gap": document.get("band_gap"),
            "bulk_modulus_vrh": (document.get("bulk_modulus") or {}).get("vrh"),
            "shear_modulus_vrh": (document.get("shear_modulus") or {}).get("vrh"),
            "total_magnetization": document.get("total_magnetization"),
            "space_group_reported": symmetry.get("number"),
            "theoretical": document.get("theoretical"),
            **_label_vintages(f"MP-{version}"),
        }


def open_optimade(url: str, options: ReadOptions) -> Source:
    """Query an OPTIMADE provider by its base URL and read all pages.

    Provider-specific properties (``_prefix_name``) become columns. Raises InputError if the
    request fails or the provider rejects the filter.
    """
    _import_client("optimade.adapters", "optimade", "OPTIMADE")
    base = url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise InputError(
            f'"{url}" is not the URL of an OPTIMADE provider; expected optimade:https://…'
        )
    if not base.rpartition("/")[2].startswith("v"):
        base += "/v1"
    client = _open_session()
    info = _request(client, f"{base}/info", {})
    meta = info.get("meta", {})
    own = [name for name in _request_properties(client, base) if name.startswith("_")]
    # a provider that lists no specific properties may still send some if no fields are requested
    parameters = {"response_fields": ",".join([*OPTIMADE_PROPERTIES, *own])} if own else {}
    if options.filter:
        parameters["filter"] = options.filter
    provider = (meta.get("provider") or {}).get("name", base)
    return Source(
        name=f"{provider}, OPTIMADE {meta.get('api_version', '1')} at {base}",
        chunks=pack_records(
            _request_structures(client, f"{base}/structures", parameters),
            name="optimade",
            options=ReadOptions(),
        ),
        licence=find_optimade_licence(info),
    )


def open_jarvis(name: str, options: ReadOptions) -> Source:
    """Read a data set of jarvis-tools, such as dft_3d.

    Raises InputError if jarvis-tools is missing, or if the data set is unknown or cannot be
    downloaded.
    """
    figshare = _import_client("jarvis.db.figshare", "jarvis-tools", "JARVIS")
    info = figshare.get_db_info()
    if name not in info:
        raise InputError(f'JARVIS has no data set "{name}". {suggest(name, info)}')
    try:
        # it prints messages, but our standard output is reserved for tables
        with redirect_stdout(sys.stderr):
            documents = figshare.data(name)
    except Exception as error:
        # download errors of several libraries
        raise InputError(f"cannot download the data set {name} of JARVIS: {error}") from error
    _, file_name, _, reference = info[name]
    records = ({**document, **_label_vintages("JARVIS OptB88vdW")} for document in documents)
    return Source(
        name=f"JARVIS {name} ({file_name})",
        chunks=pack_records(records, name="jarvis", options=options),
        columns=JARVIS_COLUMNS,
        citation=reference.split("\n")[0],
    )


def open_matminer(name: str, options: ReadOptions) -> Source:
    """Read a data set of matminer that contains structures, such as elastic_tensor_2015.

    Raises InputError if matminer is missing, or if the data set is unknown or cannot be
    downloaded.
    """
    datasets = _import_client("matminer.datasets", "matminer", "matminer:")
    known = datasets.get_available_datasets(print_format=None)
    if name not in known:
        raise InputError(f'matminer has no data set "{name}". {suggest(name, known)}')
    try:
        frame = datasets.load_dataset(name)
    except Exception as error:
        # download errors of several libraries
        raise InputError(f"cannot download the data set {name} of matminer: {error}") from error
    return Source(
        name=f"matminer {name}",
        chunks=pack_records(frame.to_dict("records"), name=name, options=options),
        columns=MATMINER_COLUMNS.get(name, ()),
        citation=datasets.get_dataset_reference(name),
    )


def _import_client(module: str, package: str, what: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"{what} needs the package {package} ({error}); "
            'install it, or the clients of all databases with pip install "matlode[databases]".'
        ) from error


def _parse_query(text: str) -> dict[str, list[str]]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        return {}
    if parts[0].startswith("mp-"):
        return {"material_ids": parts}
    return {"chemsys" if "-" in parts[0] else "formula": parts}


def _label_vintages(text: str) -> dict[str, str]:
    """Return columns that keep labels of different databases or versions from being combined."""
    return {"label_vintage": text, "hull_vintage": text, "gap_vintage": text}


def _open_session() -> Session:
    from requests import Session
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    busy = (429, 500, 502, 503, 504)
    retry = Retry(total=OPTIMADE_TRIES, backoff_factor=0.5, status_forcelist=busy)
    session = Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _request(session: Session, url: str, parameters: Mapping[str, str]) -> Document:
    from requests import RequestException

    try:
        response = session.get(url, params=parameters, timeout=OPTIMADE_TIMEOUT_S)
        content = response.json()
    except (RequestException, ValueError) as error:
        raise InputError(
            f"{url}: the request to the OPTIMADE provider failed ({error})."
        ) from error
    if not response.ok or "errors" in content:
        details = [str(e.get("detail") or e.get("title")) for e in content.get("errors", [])]
        message = "; ".join(details) or f"HTTP status {response.status_code}"
        raise InputError(f"{url}: the OPTIMADE provider rejected the request: {message}")
    return content


def _request_properties(session: Session, base: str) -> list[str]:
    data = _request(session, f"{base}/info/structures", {}).get("data", {})
    return list(data.get("properties", {}))


def find_optimade_licence(info: Document) -> str:
    """Return the licence in a provider's /info: SPDX names, else a link, else "unknown"."""
    attributes = (info.get("data") or {}).get("attributes") or {}
    named = attributes.get("available_licenses") or attributes.get("available_licenses_for_entries")
    if named:
        return ", ".join(named)
    stated = attributes.get("license")
    if isinstance(stated, Mapping):
        stated = stated.get("href")
    return str(stated) if stated else UNKNOWN_LICENCE


def _request_structures(
    session: Session, url: str, parameters: Mapping[str, str]
) -> Iterator[Mapping[str, object]]:
    seen = set()
    following: str | None = url
    while following:
        if following in seen:
            raise InputError(
                f"{url}: the OPTIMADE provider links to a page that was already read ({following})."
            )
        seen.add(following)
        # the link to the next page contains the parameters
        page = _request(session, following, parameters if following == url else {})
        for document in page["data"]:
            own = {k: v for k, v in document["attributes"].items() if k.startswith("_")}
            yield {**own, "id": document["id"], "structure": document}
        link = (page.get("links") or {}).get("next")
        following = link.get("href") if isinstance(link, dict) else link
