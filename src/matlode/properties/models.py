"""All property models of one set, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import (
    ARRAYS_FILE,
    HEADER_FILE,
    find_model,
    find_shipped_models,
    has_models,
    load_header,
)
from matlode.data.tables import checksum
from matlode.errors import ArtefactError
from matlode.properties.correction import Correction
from matlode.properties.derived import DERIVATIONS, Derivation
from matlode.properties.designs import READ, Designs
from matlode.properties.endpoints import ENDPOINTS, VOLUME, Endpoint, Estimates
from matlode.properties.expected_volume import VOLUME_MODEL, ExpectedVolume
from matlode.properties.features import FEATURES, LatentFeatures, ObjectFeatures
from matlode.properties.heads import Head, read_endpoint
from matlode.properties.network import NETWORK_MODEL, PropertyNetwork
from matlode.records import Basis, Case, Face
from matlode.representation.environments import LN_VOLUME

if TYPE_CHECKING:
    from matlode.latent.space import LatentSpace


@dataclass(frozen=True)
class PropertyModels:
    """The property models of one face, that is of one set of models.

    Standard: one network for the built-in properties, boosted trees for user-defined ones, and
    formulas for derived ones (``derived``). Reference: boosted trees on the latent variables.
    """

    features: ObjectFeatures | LatentFeatures
    heads: Mapping[str, Head]
    network: PropertyNetwork | None = None
    correction: Correction | None = None
    """Correction of the network's errors, learned from materials computed after its training."""
    designs: Designs | None = None
    """Errors for crystals that searches built, which correct the predictions of further ones."""

    @classmethod
    def load(
        cls,
        space: Callable[[], LatentSpace],
        folder: Path | None = None,
        *,
        face: Face = "standard",
    ) -> PropertyModels:
        """Load the models of ``face`` in ``folder`` and the shipped ones (see ``find_heads``).

        ``space`` returns the latent space and is called when it is needed. Raises ArtefactError
        if there are no models, or if one was trained on another latent space.
        """
        places = find_heads(folder, face=face)
        if face != "standard" and not places:
            raise ArtefactError(
                f"no {face} property models found in {folder or find_shipped_models()}; run "
                "`matlode train models` to make them."
            )
        digests = {below.name: checksum(below / ARRAYS_FILE) for below in _below_head(folder, face)}
        network = None
        if face == "standard":
            place = find_model(NETWORK_MODEL, folder)
            network = PropertyNetwork.load(place, ExpectedVolume.load(folder))
            _check_foundations(network.report, place, digests)
        heads = {name: Head.load(place) for name, place in places.items()}
        for name, head in heads.items():
            _check_foundations(head.report, places[name], digests)
        if network is None:
            return cls(FEATURES[face](space), heads)
        return cls(
            FEATURES[face](space), heads, network, Correction.load(folder), Designs.load(folder)
        )

    @cached_property
    def endpoints(self) -> dict[str, Endpoint]:
        """name → endpoint: built-in, derived and user-defined properties, in this order."""
        given = {} if self.network is None else self.network.answers
        derived = {
            name: d.endpoint for name, d in DERIVATIONS.items() if given.keys() >= set(d.needs)
        }
        return {**given, **derived, **{name: head.endpoint for name, head in self.heads.items()}}

    def predict(
        self,
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        *,
        case: Case,
        names: Iterable[str] | None = None,
        distances: NDArray[np.float64] | None = None,
        crystals: NDArray[np.floating] | None = None,
        designed: bool = False,
    ) -> dict[str, Estimates]:
        """Estimates by endpoint for compositions (n, 100) and patterns (n, 1601).

        ``case`` is the origin of the patterns, ``names`` selects endpoints (default: all).
        ``distances`` (n,) may be passed if ``self.distances`` was already evaluated for these
        compositions. ``crystals`` (n, n_descriptors) are the descriptors of the materials, if they
        are crystals (``compute_crystal_descriptors``). Their own volumes then replace the predicted
        ones, with intervals of no width, also where other properties need them. ``designed``: a
        search built the crystals, whose predictions are corrected (``designs``).
        """
        wanted = list(self.endpoints) if names is None else list(names)
        found: dict[str, Estimates] = {}
        outputs = None
        if self.network is not None:
            designs = self.designs if designed and crystals is not None else None
            read = READ if designs is not None else ()
            network = self.network.restrict({*self._list_needed(wanted), *read})
            outputs, widths = network.raw(compositions, patterns, crystals)
            if distances is None:
                distances = self.distances(compositions)
            basis: Basis = case if crystals is None else "crystal"
            found |= network.estimates(outputs, widths, case=basis, distances=distances)
            if self.correction is not None:
                found = self.correction.apply(found, compositions)
            if designs is not None and crystals is not None:
                found = designs.apply(found, compositions, crystals)
            if crystals is not None:
                given = np.exp(crystals[:, LN_VOLUME].astype(float))
                found[VOLUME] = Estimates(given, given, given)
            found |= {
                name: d.estimate(found, compositions) for name, d in _derivations(wanted).items()
            }
        own = [name for name in wanted if name in self.heads]
        if own:
            features = self.inputs(compositions, patterns, outputs)
            found |= {name: self.heads[name].predict(features, case=case) for name in own}
        return {name: found[name] for name in wanted}

    def _list_needed(self, wanted: Collection[str]) -> set[str]:
        """What the network must predict for the properties ``wanted``."""
        needed = {name for d in _derivations(wanted).values() for name in d.needs}
        own = {VOLUME} if self.heads.keys() & wanted else set()
        return {*wanted, *needed, *own}

    def distances(self, compositions: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,), distances of compositions (n, 100) from the training compositions of the network
        (``applicability``); NaN if there is no network or it has no such distance."""
        if self.network is None:
            return np.full(len(compositions), np.nan)
        return self.network.distances(compositions)

    def inputs(
        self,
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        outputs: NDArray[np.float64] | None = None,
    ) -> NDArray[np.floating]:
        """Feature rows (n, n_columns) for the heads; with the standard models, the last column is
        the volume predicted by the network.

        ``outputs`` may be passed if the network was already evaluated for these rows.
        """
        base = self.features.compute(compositions, patterns)
        if self.network is None:
            return base
        if outputs is None:
            outputs, _ = self.network.raw(compositions, patterns)
        return np.column_stack([base, self.network.values(VOLUME, outputs)])


def _derivations(wanted: Iterable[str]) -> dict[str, Derivation]:
    return {name: DERIVATIONS[name] for name in wanted if name in DERIVATIONS}


def find_heads(folder: Path | None = None, *, face: Face = "standard") -> dict[str, Path]:
    """Find the heads of ``face``: endpoint name → folder, in the order of ENDPOINTS, then by name.

    Heads that ``folder`` lacks ship with matlode. If ``folder`` contains an autoencoder or a
    property network, only its own heads are used: the shipped ones were trained on other inputs.
    """
    found: dict[str, Path] = {}
    own_base = any(
        find_shipped_models() not in place.parents for place in _below_head(folder, face)
    )
    for root in ([] if own_base else [find_shipped_models()]) + ([folder] if folder else []):
        for place in sorted(root.glob(f"{face}-*")):
            if (place / HEADER_FILE).exists():
                header = load_header(place)
                if header["kind"] == "head":
                    found[header["endpoint"]] = place
    order = [*ENDPOINTS, *sorted(set(found) - set(ENDPOINTS))]
    return {name: found[name] for name in order if name in found}


def list_endpoints(folder: Path | None = None) -> dict[str, Endpoint]:
    """name → endpoint: the built-in ones, and those of the heads in ``folder``."""
    own = {}
    if folder is not None and has_models(folder):
        for name, place in find_heads(folder).items():
            own[name] = read_endpoint(load_header(place))
    return {**ENDPOINTS, **own}


def hash_foundations(folder: Path | None, face: Face, *, network: bool = False) -> dict[str, str]:
    """model → SHA-256 of its weights, for the models whose output a head in ``folder``, or the
    ``network``, is trained on."""
    places = _below_network(folder) if network else _below_head(folder, face)
    return {place.name: checksum(place / ARRAYS_FILE) for place in places}


def _views(folder: Path | None, face: Face) -> list[Path]:
    return [find_model(f"{face}-{view}-vae", folder) for view in ("composition", "pattern")]


def _below_network(folder: Path | None) -> list[Path]:
    return [*_views(folder, "standard"), find_model(VOLUME_MODEL, folder)]


def _below_head(folder: Path | None, face: Face) -> list[Path]:
    if face == "reference":
        return _views(folder, face)
    return [*_below_network(folder), find_model(NETWORK_MODEL, folder)]


def _check_foundations(report: Mapping[str, object], place: Path, now: Mapping[str, str]) -> None:
    built_on = cast(Mapping[str, str], report["built_on"])
    other = sorted(name for name, digest in built_on.items() if now[name] != digest)
    if other:
        raise ArtefactError(
            f"{place} was trained with another {' and '.join(other)} than the one in use; run "
            f"`matlode train models {place.name} --out {place.parent}` to train it again."
        )


def head_name(endpoint: str, face: Face) -> str:
    """Name of the head of ``endpoint``, which is also its folder.

    >>> head_name("bulk_modulus", "reference")
    'reference-bulk-modulus'
    """
    return f"{face}-{endpoint.replace('_', '-')}"
