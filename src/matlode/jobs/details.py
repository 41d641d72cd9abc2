"""What a run keeps for its report beside the tables: details.json and map.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.artefacts import write_json, write_text
from matlode.data.formulas import conventional_formula
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.run_folder import Proposal, significant
from matlode.latent.networks import COMPOSITION_LATENT
from matlode.optimisation.campaign import Trials
from matlode.optimisation.goal import Goal
from matlode.records import Prediction, RealisedStructure
from matlode.representation.diffraction import simulate_peaks
from matlode.screening.novelty import KnownMaterials

N_NEAREST = 5
"""Known materials that a candidate is shown beside."""
N_PEAKS = 30
"""Peaks of a structure that are told, the strongest."""


def write_details(
    folder: Path,
    proposals: Sequence[Proposal],
    screened: Sequence[Proposal],
    trials: Trials,
    *,
    known_rows: NDArray[np.intp],
    n_known: int,
    n_realised: int,
    goal: Goal,
    models: Models,
    known: Known,
) -> None:
    """Write details.json (each of the ``proposals`` with all its predictions, its nearest known
    materials and its structure) and map.csv (all ``trials`` in the plane, see ``latent_map``).

    ``known_rows``: which known materials the first trials are; ``n_known``: trials at points that
    were not searched for; ``n_realised``: proposals that a structure was tried for.
    """
    places, shares = latent_map(trials.points)
    write_text(
        folder / "map.csv",
        _map_rows(places, proposals, screened, known_rows, n_known, known).to_csv(index=False),
    )
    labels = {name: models.endpoints[name].labels(known.materials) for name in goal.shown}
    write_json(
        folder / "details.json",
        {
            "schema": 1,
            "map_shares": [round(float(share), 4) for share in shares],
            "counts": {
                "known": n_known,
                "evaluated": len(trials) - n_known,
                "formulas": len(set(trials.formulas[n_known:].tolist())),
                "realised": min(n_realised, len(screened)),
            },
            "candidates": [
                _details(rank, proposal, labels, known.catalogue)
                for rank, proposal in enumerate(proposals, start=1)
            ],
        },
    )


def latent_map(points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (n, 88) in the plane, (n, 2), and the shares of the spread (2,) that it keeps.

    The two principal components of the composition's half: what a point is made of can be seen in
    two dimensions, while the pattern's half spreads evenly over too many.
    """
    half = np.asarray(points[:, :COMPOSITION_LATENT], dtype=float)
    centred = half - half.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    # an axis and its opposite are equally good; of its numbers the largest shall be positive
    signs = np.sign(axes[np.arange(len(axes)), abs(axes).argmax(axis=1)])
    places = centred @ (signs[:, None] * axes)[:2].T
    return places, (spread**2 / max((spread**2).sum(), 1e-12))[:2]


def _map_rows(
    places: NDArray[np.float64],
    proposals: Sequence[Proposal],
    screened: Sequence[Proposal],
    known_rows: NDArray[np.intp],
    n_known: int,
    known: Known,
) -> pd.DataFrame:
    """One row per trial, as in trials.csv; space group 0 where none was asked for, rank 0 where a
    trial is no candidate."""
    space_groups, ranks = np.zeros((2, len(places)), dtype=int)
    space_groups[: len(known_rows)] = np.array(known.catalogue.space_groups)[known_rows]
    for proposal in screened:
        space_groups[n_known + proposal.trial] = proposal.candidate.space_group
    for rank, proposal in enumerate(proposals, start=1):
        ranks[n_known + proposal.trial] = rank
    return pd.DataFrame(
        {
            "trial": np.arange(len(places)),
            "x": places[:, 0].round(4),
            "y": places[:, 1].round(4),
            "space_group": space_groups,
            "rank": ranks,
        }
    )


def _details(
    rank: int,
    proposal: Proposal,
    labels: Mapping[str, NDArray[np.float64]],
    known: KnownMaterials,
) -> dict[str, Any]:
    candidate = proposal.candidate
    row = {
        "rank": rank,
        "formula": conventional_formula(candidate.formula),
        "predictions": _rounded(candidate.predictions),
        "nearest_known": [
            _known(index, distance, labels, known)
            for index, distance in known.nearest_several(candidate.composition, N_NEAREST)
        ],
    }
    if proposal.built is not None:
        row["structure_predictions"] = _rounded(proposal.built_predictions)
        row["structure"] = _structure(proposal.built)
    return row


def _rounded(predictions: Mapping[str, Prediction]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            key: value if isinstance(value, str) else significant(value)
            for key, value in asdict(prediction).items()
        }
        for name, prediction in predictions.items()
    }


def _known(
    index: int, distance: float, labels: Mapping[str, NDArray[np.float64]], known: KnownMaterials
) -> dict[str, Any]:
    return {
        "formula": conventional_formula(known.formulas[index]),
        "id": known.ids[index],
        "space_group": known.space_groups[index],
        "atoms_that_differ": round(distance, 4),
        "labels": {
            name: significant(values[index])
            for name, values in labels.items()
            if not np.isnan(values[index])
        },
    }


def _structure(built: RealisedStructure) -> dict[str, Any]:
    """The built structure with its strongest peaks, by angle, and where it comes from."""
    peaks = simulate_peaks(built.structure)
    strongest = np.sort(np.argsort(-peaks.intensity, kind="stable")[:N_PEAKS])
    return {
        "space_group": built.space_group,
        "lattice": np.round(built.structure.lattice.matrix, 5).tolist(),
        "species": [site.specie.symbol for site in built.structure],
        "frac_coords": np.round(built.structure.frac_coords, 5).tolist(),
        "template_formula": conventional_formula(built.template_formula),
        "template_id": built.template_id,
        "substitution": built.substitution,
        "prototype": built.prototype,
        "n_trials": built.n_trials,
        "peaks": [
            {
                "two_theta_deg": round(float(peaks.two_theta_deg[at]), 3),
                "intensity": round(float(peaks.intensity[at]), 4),
                "hkl": peaks.reflections[at][0].hkl,
            }
            for at in strongest
        ],
    }
