"""What a run keeps for its report beside the tables: details.json and map.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import format_formula
from matlode.data.symmetry import find_space_group
from matlode.jobs.candidate_table import describe_origin, round_significant
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.shortlist import Proposal
from matlode.latent.networks import COMPOSITION_LATENT
from matlode.optimisation.evaluators import CrystalEvaluator
from matlode.optimisation.goal import STABILITY, Goal
from matlode.optimisation.trials import Trials
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
    Polymorph,
)
from matlode.screening.elements import count_notable
from matlode.screening.novelty import KnownMaterials

N_NEAREST = 5
"""Known materials per candidate."""
N_PEAKS = 30
"""Peaks per structure, the strongest."""
N_POLYMORPHS = 3
"""Other crystals per candidate, the likeliest to be stable."""


def write_details(
    folder: RunFolder,
    proposals: Sequence[Proposal],
    screened: Sequence[Proposal],
    trials: Trials,
    polymorphs: Sequence[Sequence[Polymorph]],
    *,
    known_rows: NDArray[np.intp],
    n_known: int,
    n_proposed: int,
    goal: Goal,
    models: Models,
    known: Known,
) -> None:
    """Write details.json (each of the ``proposals`` with all its predictions, its nearest known
    materials, its structure and its ``polymorphs``) and map.csv (all ``trials``, see
    ``project_on_plane``).

    ``known_rows``: which known materials the first trials are; ``n_known``: trials before those of
    the search; ``n_proposed``: proposals, also those that led to no crystal.
    """
    places, shares = project_on_plane(trials.points)
    folder.write_map(_tabulate_map(places, proposals, screened, known_rows, known))
    labels = {name: models.endpoints[name].labels(known.materials) for name in goal.shown}
    counts = Counts(
        known=n_known,
        evaluated=len(trials) - n_known,
        formulas=len(set(trials.formulas[n_known:].tolist())),
        proposed=n_proposed,
    )
    candidates = tuple(
        _describe_candidate(rank, proposal, labels, known.catalogue, others)
        for rank, (proposal, others) in enumerate(zip(proposals, polymorphs, strict=True), start=1)
    )
    map_shares = tuple(round(float(share), 4) for share in shares)
    notable = count_notable(proposal.candidate.formula for proposal in proposals).in_words()
    folder.write_details(Details(map_shares, counts, candidates, notable))


def find_polymorphs(
    proposals: Sequence[Proposal], trials: Trials, evaluator: CrystalEvaluator
) -> list[tuple[Polymorph, ...]]:
    """The other crystals of each candidate's formula, the likeliest to be stable first."""
    formulas = [proposal.candidate.formula for proposal in proposals]
    owners, crystals, _ = evaluator.evaluate_crystals(formulas)
    goal, frame = evaluator.valuation.goal, evaluator.library.materials.frame
    chances = crystals.values[:, goal.endpoints.index(STABILITY)]
    merits = crystals.merits(goal)
    built = crystals.blueprints.build(evaluator.library)
    found = []
    for place, proposal in enumerate(proposals):
        others = np.flatnonzero(
            (owners == place) & (crystals.templates != trials.templates[proposal.trial])
        )
        best = others[np.argsort(-chances[others], kind="stable")][:N_POLYMORPHS]
        found.append(
            tuple(
                Polymorph(
                    space_group=find_space_group(built, row),
                    template_formula=format_formula(frame["formula"].iloc[template]),
                    template_id=str(frame["id"].iloc[template]),
                    merit=round(float(merits[row]), 4),
                    hull_probability_50_mev=round(float(chances[row]), 4),
                    values={
                        name: round_significant(float(value))
                        for name, value in zip(goal.endpoints, crystals.values[row], strict=True)
                    },
                )
                for row in best
                for template in [int(crystals.templates[row])]
            )
        )
    return found


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
    known: Known,
) -> MapTable:
    space_groups, ranks = np.zeros((2, len(places)), dtype=int)
    space_groups[: len(known_rows)] = np.array(known.catalogue.space_groups)[known_rows]
    for proposal in screened:
        space_groups[proposal.trial] = proposal.built.space_group
    for rank, proposal in enumerate(proposals, start=1):
        ranks[proposal.trial] = rank
    return MapTable(places[:, 0].round(4), places[:, 1].round(4), space_groups, ranks)


def _describe_candidate(
    rank: int,
    proposal: Proposal,
    labels: Mapping[str, NDArray[np.float64]],
    known: KnownMaterials,
    polymorphs: Sequence[Polymorph],
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
        structure=_describe_built(built),
        decoded_match=round(built.match, 4),
        polymorphs=tuple(polymorphs),
        missed=proposal.missed,
        story=describe_origin(built.origin),
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
        template_formula=format_formula(built.origin.template_formula),
        template_id=built.origin.template_id,
        substitution=built.origin.substitution,
        prototype=built.origin.prototype,
        peaks=tuple(
            PeakRow(
                two_theta_deg=round(float(peaks.two_theta_deg[at]), 3),
                intensity=round(float(peaks.intensity[at]), 4),
                hkl=peaks.reflections[at][0].hkl,
            )
            for at in strongest
        ),
    )
