"""What a run keeps for its report beside the tables: details.json and map.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import format_formula
from matlode.jobs.candidate_table import Proposal, describe_structure, round_significant
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.latent.networks import COMPOSITION_LATENT
from matlode.optimisation.campaign import Trials
from matlode.optimisation.goal import Goal
from matlode.records import Prediction, RealisedStructure
from matlode.representation.diffraction import simulate_peaks
from matlode.run_folder import RunFolder
from matlode.run_records import (
    BuiltStructure,
    CandidateDetails,
    Counts,
    Details,
    MapTable,
    NearKnown,
    PeakRow,
)
from matlode.screening.novelty import KnownMaterials

N_NEAREST = 5
"""Known materials per candidate."""
N_PEAKS = 30
"""Peaks per structure, the strongest."""


def write_details(
    folder: RunFolder,
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
    materials and its structure) and map.csv (all ``trials``, see ``project_on_plane``).

    ``known_rows``: which known materials the first trials are; ``n_known``: trials at known
    materials; ``n_realised``: the number of proposals for which a structure was tried.
    """
    places, shares = project_on_plane(trials.points)
    folder.write_map(_tabulate_map(places, proposals, screened, known_rows, n_known, known))
    labels = {name: models.endpoints[name].labels(known.materials) for name in goal.shown}
    counts = Counts(
        known=n_known,
        evaluated=len(trials) - n_known,
        formulas=len(set(trials.formulas[n_known:].tolist())),
        realised=min(n_realised, len(screened)),
    )
    candidates = tuple(
        _describe_candidate(rank, proposal, labels, known.catalogue)
        for rank, proposal in enumerate(proposals, start=1)
    )
    map_shares = tuple(round(float(share), 4) for share in shares)
    folder.write_details(Details(map_shares, counts, candidates))


def project_on_plane(
    points: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (n, 88) in the plane, (n, 2), and the shares of the spread (2,) that it keeps.

    Two principal components of the composition's half: two dimensions show the composition of a
    point, while the pattern's half spreads evenly over many more.
    """
    half = np.asarray(points[:, :COMPOSITION_LATENT], dtype=float)
    centred = half - half.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    # an axis is defined up to its sign; its largest number shall be positive
    signs = np.sign(axes[np.arange(len(axes)), abs(axes).argmax(axis=1)])
    places = centred @ (signs[:, None] * axes)[:2].T
    return places, (spread**2 / max((spread**2).sum(), 1e-12))[:2]


def _tabulate_map(
    places: NDArray[np.float64],
    proposals: Sequence[Proposal],
    screened: Sequence[Proposal],
    known_rows: NDArray[np.intp],
    n_known: int,
    known: Known,
) -> MapTable:
    space_groups, ranks = np.zeros((2, len(places)), dtype=int)
    space_groups[: len(known_rows)] = np.array(known.catalogue.space_groups)[known_rows]
    for proposal in screened:
        space_groups[n_known + proposal.trial] = proposal.candidate.space_group
    for rank, proposal in enumerate(proposals, start=1):
        ranks[n_known + proposal.trial] = rank
    return MapTable(places[:, 0].round(4), places[:, 1].round(4), space_groups, ranks)


def _describe_candidate(
    rank: int,
    proposal: Proposal,
    labels: Mapping[str, NDArray[np.float64]],
    known: KnownMaterials,
) -> CandidateDetails:
    candidate, built = proposal.candidate, proposal.built
    nearest = known.find_nearest_several(candidate.composition, N_NEAREST)
    return CandidateDetails(
        rank=rank,
        formula=format_formula(candidate.formula),
        predictions=_round_predictions(candidate.predictions),
        nearest_known=tuple(
            _describe_neighbour(index, distance, labels, known) for index, distance in nearest
        ),
        structure_predictions=(
            None if built is None else _round_predictions(proposal.built_predictions)
        ),
        structure=None if built is None else _describe_built(built),
        missed=proposal.missed,
        story=describe_structure(built),
    )


def _round_predictions(predictions: Mapping[str, Prediction]) -> dict[str, Prediction]:
    return {
        name: Prediction(
            round_significant(p.value), round_significant(p.low), round_significant(p.high), p.unit
        )
        for name, p in predictions.items()
    }


def _describe_neighbour(
    index: int, distance: float, labels: Mapping[str, NDArray[np.float64]], known: KnownMaterials
) -> NearKnown:
    return NearKnown(
        formula=format_formula(known.formulas[index]),
        id=known.ids[index],
        space_group=known.space_groups[index],
        atoms_that_differ=round(distance, 4),
        labels={
            name: round_significant(values[index])
            for name, values in labels.items()
            if not np.isnan(values[index])
        },
    )


def _describe_built(built: RealisedStructure) -> BuiltStructure:
    """The structure with its strongest peaks, by angle, and where it comes from."""
    peaks = simulate_peaks(built.structure)
    strongest = np.sort(np.argsort(-peaks.intensity, kind="stable")[:N_PEAKS])
    return BuiltStructure(
        space_group=built.space_group,
        lattice=tuple(map(tuple, np.round(built.structure.lattice.matrix, 5).tolist())),
        species=tuple(site.specie.symbol for site in built.structure),
        frac_coords=tuple(map(tuple, np.round(built.structure.frac_coords, 5).tolist())),
        template_formula=format_formula(built.template_formula),
        template_id=built.template_id,
        substitution=built.substitution,
        prototype=built.prototype,
        n_trials=built.n_trials,
        peaks=tuple(
            PeakRow(
                two_theta_deg=round(float(peaks.two_theta_deg[at]), 3),
                intensity=round(float(peaks.intensity[at]), 4),
                hkl=peaks.reflections[at][0].hkl,
            )
            for at in strongest
        ),
    )
