import json

import numpy as np
import pandas as pd
import pytest

from matlode.jobs.details import N_NEAREST, N_PEAKS, N_POLYMORPHS, project_on_plane
from matlode.latent.networks import COMPOSITION_LATENT


@pytest.fixture
def details(hard_run):
    return json.loads((hard_run.folder / "details.json").read_text())


def points(n=60, seed=0):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, COMPOSITION_LATENT)) * np.linspace(4, 0.5, COMPOSITION_LATENT)
    return np.hstack([half, rng.normal(size=(n, 64))])


def test_the_map_keeps_the_widest_directions_and_says_how_much():
    found, shares = project_on_plane(points())
    half = points()[:, :COMPOSITION_LATENT]
    total = half.var(axis=0).sum()
    np.testing.assert_allclose(found.var(axis=0), shares * total)
    assert shares[0] >= shares[1] > 0
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)


def test_the_map_depends_on_neither_the_order_nor_the_pattern():
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_allclose(
        project_on_plane(points()[order])[0], project_on_plane(points())[0][order]
    )
    other = points()
    other[:, COMPOSITION_LATENT:] = 0
    np.testing.assert_allclose(project_on_plane(other)[0], project_on_plane(points())[0])


def test_every_trial_is_on_the_map_and_every_candidate_among_them(hard_run):
    places = pd.read_csv(hard_run.folder / "map.csv")
    trials = pd.read_csv(hard_run.folder / "trials.csv")
    assert places["trial"].tolist() == trials["trial"].tolist()
    ranked = places[places["rank"] > 0].set_index("rank").sort_index()
    assert ranked.index.tolist() == hard_run.candidates["rank"].tolist()
    assert trials["formula"][ranked["trial"]].tolist() == hard_run.candidates["formula"].tolist()
    assert ranked["space_group"].tolist() == hard_run.candidates["space_group"].tolist()
    assert (places["space_group"][trials["origin"] == "known"] > 0).all()


def test_details_agree_with_the_table(hard_run, details):
    counts = details["counts"]
    assert counts["proposed"] == 192
    assert 150 < counts["evaluated"] == counts["formulas"] <= 192
    for row, told in zip(hard_run.candidates.itertuples(), details["candidates"], strict=True):
        assert (told["rank"], told["formula"]) == (row.rank, row.formula)
        bulk = told["predictions"]["bulk_modulus"]
        assert bulk["low"] == pytest.approx(row.bulk_modulus_low, abs=1e-3)
        assert bulk["unit"] == "GPa"
        nearest = told["nearest_known"]
        assert len(nearest) == N_NEAREST
        assert f"{nearest[0]['formula']} ({nearest[0]['id']})" == row.nearest_known
        apart = [near["atoms_that_differ"] for near in nearest]
        assert apart == sorted(apart)
        assert all(0 <= share <= 1 for share in apart)


def test_structures_are_told_with_their_peaks(hard_run, details):
    for row, told in zip(hard_run.candidates.itertuples(), details["candidates"], strict=True):
        structure = told["structure"]
        assert structure["space_group"] == row.space_group
        assert len(structure["species"]) == len(structure["frac_coords"])
        angles = [peak["two_theta_deg"] for peak in structure["peaks"]]
        assert angles == sorted(angles)
        assert len(angles) <= N_PEAKS
        assert max(peak["intensity"] for peak in structure["peaks"]) == 1
        assert structure["substitution"] in row.reasons
        assert 0 <= told["decoded_match"] <= 1


def test_polymorphs_are_other_crystals_the_likeliest_first(details):
    several = [told for told in details["candidates"] if told["polymorphs"]]
    assert several
    for told in several:
        others = told["polymorphs"]
        assert len(others) <= N_POLYMORPHS
        chances = [other["hull_probability_50_mev"] for other in others]
        assert chances == sorted(chances, reverse=True)
        assert told["structure"]["template_id"] not in {o["template_id"] for o in others}
