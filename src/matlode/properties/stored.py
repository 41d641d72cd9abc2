"""Scores that stand in the headers of property models, measured when they were trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from matlode.artefacts import HEADER_FILE, find_model, load_header
from matlode.data.splits import TEST
from matlode.properties.models import find_heads
from matlode.properties.network import NETWORK_MODEL

FORMATION_NET = "reference-formation-net"
"""The paper's stability classifier; its name stands here because its module loads PyTorch."""


@dataclass(frozen=True, kw_only=True)
class StoredScore:
    """How well one model predicted one property of the test rows."""

    endpoint: str
    model: str
    """A face and the kind of pattern, such as "standard, decoded pattern", or a baseline."""
    test_rows: int
    split: str
    """How the test rows were held out, in words."""
    scores: Mapping[str, float]
    """Measure ("mae", "auc", ...) → value."""


def read_stored_scores(models: Path | None = None) -> Iterator[StoredScore]:
    """Scores of the property network, then of the heads of either face, then of the paper's
    network for formation energies; what the folder ``models`` lacks is read from the shipped
    models."""
    network = load_header(find_model(NETWORK_MODEL, models))
    for name, scores in network["scores"].items():
        yield from _scores(name, scores, network["rows"][name], network["split"])
    places = [find_heads(models, face=face) for face in ("standard", "reference")]
    headers = [load_header(place) for found in places for place in found.values()]
    formation = find_model(FORMATION_NET, models)
    if (formation / HEADER_FILE).exists():
        headers.append(load_header(formation))
    for header in headers:
        yield from _scores(header["endpoint"], header["scores"], header["rows"], header["split"])


def _scores(
    endpoint: str,
    scores: Mapping[str, Mapping[str, float]],
    rows: Mapping[str, int],
    split: str,
) -> Iterator[StoredScore]:
    for model, of_model in scores.items():
        yield StoredScore(
            endpoint=endpoint, model=model, test_rows=rows[TEST], split=split, scores=of_model
        )
