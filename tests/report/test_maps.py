import numpy as np
import pytest

from matlode.report import maps
from matlode.report.maps import make_latent_map, make_property_map
from matlode.run_folder import RunFolder
from matlode.run_records import (
    KNOWN,
    GoalEntry,
    GoalSummary,
    KnownRow,
    KnownSummary,
    Provenance,
    SettingsSummary,
)
from tests.run_rows import candidate_row


def provenance(*objectives):
    return Provenance(
        goal=GoalSummary(
            words="",
            objectives=tuple(GoalEntry(name) for name in objectives),
            shown=(*objectives, "hull_probability_50_mev", "formation_energy"),
        ),
        settings=SettingsSummary(trials=1, seed=0, sampler="tpe"),
        known_materials=KnownSummary(rows=1),
        versions={},
    )


@pytest.fixture
def known():
    rows = [KnownRow(f"A{n}", {"bulk_modulus": n, "band_gap": 2 * n}) for n in range(50)]
    return [KnownRow("A0", {**rows[0].labels, "shear_modulus": 7}), *rows[1:]]


def candidate(**more):
    return candidate_row(band_gap=2.0, band_gap_low=1.0, band_gap_high=3.0, **more)


def drawn(folder):
    folder = RunFolder(folder)
    return make_latent_map(folder.read_map(), folder.read_trials(), folder.read_rows(), [0.1, 0.1])


def test_every_candidate_is_in_one_group(known):
    rows = [
        candidate(verdict=verdict, novelty=novelty)
        for verdict in ("accepted", "rejected")
        for novelty in (
            "known structure", "made", "computed", "in none of the lists", "not checked",
            "novel", "known", "new polymorph",  # of older runs
        )
    ]  # fmt: skip
    found = make_property_map(known, rows, provenance("bulk_modulus", "band_gap"))
    assert {group.name: len(group.formulas) for group in found.groups[1:]} == {
        "candidates, rejected": 8,
        "candidates, known structure": 2,
        "candidates, made": 1,
        "candidates, computed": 2,
        "candidates, in no list": 3,
    }


def test_known_materials_and_the_best_are_named_and_candidates_have_intervals(known):
    rows = [
        candidate(rank=0, verdict=KNOWN, formula="TaB2"),
        candidate(rank=5, formula="VB"),
        candidate(rank=6, formula="CrB"),
    ]
    found = make_property_map(known, rows, provenance("bulk_modulus", "band_gap"))
    groups = {group.name: group for group in found.groups}
    assert groups["known, predicted"].labels == ("TaB2",)
    candidates = groups["candidates, in no list"]
    assert candidates.labels == ("VB", "")
    assert candidates.below["bulk_modulus"] == (0.5, 0.5)
    assert candidates.above["bulk_modulus"] == (1.0, 1.0)
    assert not groups["known materials (labels)"].below


def test_three_objectives_are_three_axes_and_unknown_values_stay_unknown(known):
    wanted = ("bulk_modulus", "band_gap", "shear_modulus")
    found = make_property_map(known, [candidate()], provenance(*wanted))
    assert [axis.name for axis in found.axes] == list(wanted)
    assert found.axes[0].title == "bulk modulus, GPa"
    assert found.groups[0].values["shear_modulus"][:2] == (7, None)


def test_one_objective_stands_against_what_else_the_goal_shows(known):
    found = make_property_map(known, [candidate()], provenance("bulk_modulus"))
    assert [axis.name for axis in found.axes] == ["bulk_modulus", "hull_probability_50_mev"]


def test_many_known_materials_are_thinned_and_counted(known, monkeypatch):
    monkeypatch.setattr(maps, "MAX_POINTS", 20)
    found = make_property_map(known, [candidate()], provenance("bulk_modulus", "band_gap"))
    assert (found.known, found.step) == (50, 3)
    assert found.groups[0].formulas == tuple(f"A{n}" for n in range(0, 50, 3))


def test_the_path_joins_trials_that_were_better_than_all_before(hard_run):
    found = drawn(hard_run.folder)
    path = [found.merits[at] for at in found.path]
    searched = [
        merit
        for merit, origin in zip(found.merits, found.origins, strict=True)
        if origin != "known"
    ]
    assert path == sorted(set(path))
    assert (path[0], path[-1]) == (searched[0], max(searched))


def test_a_thinned_map_keeps_path_and_candidates(hard_run, monkeypatch):
    full = drawn(hard_run.folder)
    monkeypatch.setattr(maps, "MAX_POINTS", 30)
    thin = drawn(hard_run.folder)
    assert thin.shown < full.shown == full.points == thin.points
    assert sorted(filter(None, thin.ranks)) == sorted(filter(None, full.ranks))
    for found in (full, thin):
        assert len({len(getattr(found, name)) for name in ("x", "y", "formulas", "systems")}) == 1
    assert [thin.x[at] for at in thin.path] == [full.x[at] for at in full.path]


def test_landmarks_are_named(hard_run):
    found = drawn(hard_run.folder)
    named = {label for label in found.labels if label}
    rows = RunFolder(hard_run.folder).read_rows()
    assert {row.formula for row in rows if 1 <= row.rank <= 5} <= named
    assert {row.formula for row in rows if row.is_known} <= named


def test_candidates_lie_where_their_trials_do(hard_run):
    found = drawn(hard_run.folder)
    at = {rank: at for at, rank in enumerate(found.ranks) if rank}
    for row in hard_run.candidates.itertuples():
        assert found.formulas[at[row.rank]] == row.formula
        assert found.systems[at[row.rank]] == row.crystal_system
    assert np.isfinite(found.x).all()
