"""All heads of one face together: what a material is predicted to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import (
    ARRAYS_FILE,
    HEADER_FILE,
    find_model,
    has_models,
    load_header,
    shipped_models,
)
from matlode.data.tables import checksum
from matlode.errors import ArtefactError
from matlode.latent.space import LatentSpace
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.features import FEATURES, LatentFeatures, ObjectFeatures
from matlode.properties.heads import Estimates, Head, endpoint_of, predict_trees

VOLUME = "volume_per_atom"
"""Estimated first: the other standard heads are given it as a feature. What a pattern says
about the moduli is above all how dense the atoms sit."""


@dataclass(frozen=True)
class PropertyModels:
    """Heads by endpoint name, sharing one set of features."""

    features: ObjectFeatures | LatentFeatures
    heads: Mapping[str, Head]

    @classmethod
    def load(
        cls, space: LatentSpace, folder: Path | None = None, *, face: str = "standard"
    ) -> PropertyModels:
        """Every head of ``face`` in ``folder``, and the shipped ones (see ``find_heads``).

        Raises ArtefactError if there is none, or if one was trained on another latent space.
        """
        places = find_heads(folder, face=face)
        if not places:
            raise ArtefactError(
                f"no {face} property models in {folder or shipped_models()}; run `matlode train`."
            )
        heads = {name: Head.load(place) for name, place in places.items()}
        for name, head in heads.items():
            _check_foundations(head, places[name], folder)
        return cls(FEATURES[face](space), heads)

    def predict(
        self,
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        *,
        case: str,
        names: Iterable[str] | None = None,
    ) -> dict[str, Estimates]:
        """Estimates per endpoint for compositions (n, 100) and patterns (n, 1601).

        ``case`` says where the patterns come from (``heads.CASES``); ``names`` picks
        endpoints (default: all).
        """
        base = self.features.compute(compositions, patterns)
        wanted = list(self.heads) if names is None else list(names)
        return {name: self.estimate(name, base, case=case) for name in wanted}

    def estimate(self, name: str, base: NDArray[np.floating], *, case: str) -> Estimates:
        """Estimates of one endpoint from feature rows of ``self.features``."""
        return self.heads[name].predict(self.inputs(name, base), case=case)

    def inputs(self, name: str, base: NDArray[np.floating]) -> NDArray[np.floating]:
        """What a head is given: the features and, for the standard face, the volume."""
        if name == VOLUME or isinstance(self.features, LatentFeatures):
            return base
        volume = self.heads[VOLUME].value_model
        return np.column_stack([base, predict_trees(volume, base)])


def find_heads(folder: Path | None = None, *, face: str = "standard") -> dict[str, Path]:
    """endpoint name → folder of its head: ours first, in the order of ENDPOINTS.

    What ``folder`` lacks ships with matlode, unless ``folder`` has an autoencoder of its own:
    the shipped heads know nothing of its latent variables.
    """
    found: dict[str, Path] = {}
    own_space = any(shipped_models() not in place.parents for place in _views(folder, face))
    for root in ([] if own_space else [shipped_models()]) + ([folder] if folder else []):
        for place in sorted(root.glob(f"{face}-*")):
            if (place / HEADER_FILE).exists():
                header = load_header(place)
                if header["kind"] == "head":
                    found[header["endpoint"]] = place
    order = [*ENDPOINTS, *sorted(set(found) - set(ENDPOINTS))]
    return {name: found[name] for name in order if name in found}


def known_endpoints(folder: Path | None = None) -> dict[str, Endpoint]:
    """name → endpoint: those that matlode brings, and those of the heads in ``folder``."""
    own = {}
    if folder is not None and has_models(folder):
        for name, place in find_heads(folder).items():
            own[name] = endpoint_of(load_header(place))
    return {**ENDPOINTS, **own}


def foundations(folder: Path | None, face: str, endpoint: str) -> dict[str, str]:
    """model → SHA-256 of the weights that a head of ``endpoint`` in ``folder`` builds on."""
    places = _views(folder, face)
    if face == "standard" and endpoint != VOLUME:
        heads = find_heads(folder, face=face)
        if VOLUME not in heads:
            raise ArtefactError(
                f"{folder} has a latent space of its own but no {head_folder(Path(), VOLUME, face)}"
                ", which the other heads build on; train that first."
            )
        places.append(heads[VOLUME])
    return {place.name: checksum(place / ARRAYS_FILE) for place in places}


def _views(folder: Path | None, face: str) -> list[Path]:
    return [find_model(f"{face}-{view}-vae", folder) for view in ("composition", "pattern")]


def _check_foundations(head: Head, place: Path, folder: Path | None) -> None:
    # the shipped heads, made before this was written down, lie beside what they build on
    if "built_on" not in head.report:
        return
    now = foundations(folder, head.face, head.endpoint.name)
    other = sorted(name for name, digest in head.report["built_on"].items() if now[name] != digest)
    if other:
        raise ArtefactError(
            f"{place} was trained on another {' and '.join(other)} than those in use; run "
            f"`matlode train {place.name} --out {place.parent}` again."
        )


def head_folder(root: Path, endpoint: str, face: str) -> Path:
    """Where a head lies below a folder of models."""
    return root / f"{face}-{endpoint.replace('_', '-')}"
