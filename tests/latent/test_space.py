from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from matlode.artefacts import save_artefact
from matlode.errors import ArtefactError, GridMismatchError
from matlode.latent.networks import AUTOENCODERS
from matlode.latent.space import FACES, LatentSpace, View, load_view, save_view
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.testing import HALF_PRECISION, SAMPLING_SIGMAS, SINGLE_PRECISION, SMALL_CRYSTALS

SIZES = {"composition": 24, "pattern": 64}

pytestmark = pytest.mark.usefixtures("tiny_autoencoders")


def view(face: str, name: str, seed: int = 0) -> View:
    torch.manual_seed(seed)
    spread = np.linspace(1, 2, SIZES[name])
    return View(AUTOENCODERS[face, name]().eval(), np.stack([-spread, spread], axis=1))


def save(folder: Path, face: str, name: str, saved: View | None = None) -> View:
    saved = saved or view(face, name)
    save_view(
        folder / f"{face}-{name}-vae",
        saved.network,
        face=face,
        view=name,
        bounds=saved.bounds,
        header={"seed": 0},
    )
    return saved


@pytest.fixture
def space() -> LatentSpace:
    return LatentSpace(view("standard", "composition"), view("standard", "pattern"), "standard")


@pytest.fixture(scope="module")
def materials() -> tuple[np.ndarray, np.ndarray]:
    structures = [build() for build in SMALL_CRYSTALS.values()]
    formulas = [structure.reduced_formula for structure in structures]
    return compute_formula_vectors(formulas), simulate_patterns(structures)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", SIZES)
def test_a_saved_view_reads_back_in_half_precision(tmp_path, face, name):
    saved = save(tmp_path, face, name)
    loaded = load_view(tmp_path / f"{face}-{name}-vae")
    assert_array_equal(loaded.bounds, saved.bounds)
    assert not loaded.network.training
    after = loaded.network.state_dict()
    for key, before in saved.network.state_dict().items():
        assert torch.equal(after[key], before.half().float())
        torch.testing.assert_close(after[key], before, rtol=HALF_PRECISION, atol=1e-7)


@pytest.mark.parametrize("name", SIZES)
def test_saving_what_was_loaded_changes_nothing(tmp_path, name):
    save(tmp_path, "standard", name)
    once = load_view(tmp_path / f"standard-{name}-vae")
    save(tmp_path / "again", "standard", name, once)
    twice = load_view(tmp_path / "again" / f"standard-{name}-vae")
    points = np.random.default_rng(0).standard_normal((4, SIZES[name]))
    assert_array_equal(twice.decode(points), once.decode(points))


@pytest.mark.parametrize("face", FACES)
def test_a_space_is_the_pair_in_its_folder(tmp_path, face, materials):
    for name in SIZES:
        save(tmp_path, face, name)
    space = LatentSpace.load(tmp_path, face=face)
    assert (space.face, space.size, space.bounds.shape) == (face, 88, (88, 2))
    points = space.encode(*materials)
    assert points.shape == (len(materials[0]), 88)
    assert_array_equal(points[:, :24], space.composition.encode(materials[0]))
    assert_array_equal(points[:, 24:], space.encode_patterns(materials[1]))
    compositions, patterns = space.decode(points)
    assert_array_equal(compositions, space.composition.decode(points[:, :24]))
    assert_array_equal(patterns, space.reconstruct_patterns(materials[1]))


def test_long_batches_are_their_parts(space):
    points = space.sample_prior(5000, np.random.default_rng(0))
    whole = space.composition.decode(points[:, :24])
    parts = [space.composition.decode(points[at : at + 700, :24]) for at in range(0, 5000, 700)]
    assert_allclose(whole, np.concatenate(parts), atol=SINGLE_PRECISION)
    assert_allclose(whole.sum(axis=1), 1, atol=SINGLE_PRECISION)


def test_no_points_decode_to_nothing(space):
    compositions, patterns = space.decode(np.zeros((0, 88)))
    assert (compositions.shape, patterns.shape) == ((0, 100), (0, 1601))
    assert space.encode(compositions, patterns).shape == (0, 88)


def test_arrays_that_must_not_be_written_are_read(space, materials):
    # as memory-mapped patterns are
    locked = [array.astype(np.float32) for array in materials]
    for array in locked:
        array.setflags(write=False)
    assert_array_equal(space.encode(*locked), space.encode(*materials))


def test_forbidden_elements_never_come_out(space):
    allowed = np.zeros(100, dtype=bool)
    allowed[[7, 13, 25]] = True
    compositions, _ = space.decode(
        space.sample_prior(50, np.random.default_rng(0)), allowed=allowed
    )
    assert (compositions[:, ~allowed] == 0).all()
    assert_allclose(compositions.sum(axis=1), 1, atol=SINGLE_PRECISION)


def test_prior_is_standard_normal_and_follows_its_seed(space):
    points = space.sample_prior(2000, np.random.default_rng(5))
    assert_array_equal(points, space.sample_prior(2000, np.random.default_rng(5)))
    assert points.shape == (2000, 88)
    assert abs(points.mean()) < SAMPLING_SIGMAS / np.sqrt(points.size)
    assert abs(points.var() - 1) < SAMPLING_SIGMAS * np.sqrt(2 / points.size)


def test_another_grid_is_refused(space, materials):
    compositions, patterns = materials
    with pytest.raises(GridMismatchError) as caught:
        space.encode(compositions, patterns[:, :1500])
    assert str(caught.value) == (
        f"patterns have shape ({len(patterns)}, 1500); the encoder expects (n, 1601). "
        "Simulate patterns with matlode.representation.diffraction.STANDARD_SETTINGS."
    )
    with pytest.raises(GridMismatchError, match=r"compositions have shape \(100,\)"):
        space.encode(compositions[0], patterns)
    with pytest.raises(GridMismatchError, match=r"points have shape \(3, 87\); expected \(n, 88\)"):
        space.decode(np.zeros((3, 87)))


def test_a_missing_model_is_named_with_what_to_do(tmp_path):
    with pytest.raises(ArtefactError, match=r"no model at .*standard-composition-vae: .*train"):
        LatentSpace.load(tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path, monkeypatch):
    save(tmp_path, "standard", "composition")
    wider = AUTOENCODERS["standard", "composition"].func
    monkeypatch.setitem(AUTOENCODERS, ("standard", "composition"), lambda: wider(width=24))
    with pytest.raises(ArtefactError, match="weights are damaged or of another architecture"):
        load_view(tmp_path / "standard-composition-vae")


@pytest.mark.parametrize("name", ["composition", "pattern"])
def test_a_view_of_other_sizes_comes_back_by_its_header(name, tmp_path):
    sizes = {"composition": {"units": [7, 5]}, "pattern": {"filters": [2, 2, 3], "units": [5, 4]}}
    sizes[name]["activation"] = "tanh"
    network = AUTOENCODERS["reference", name](**sizes[name]).eval()
    bounds = np.tile([-1.0, 1.0], (network.latent_size, 1))
    save_view(
        tmp_path, network, face="reference", view=name, bounds=bounds,
        header={"architecture": sizes[name]},
    )  # fmt: skip
    again = load_view(tmp_path).network
    assert str(again) == str(network)
    for key, kept in again.state_dict().items():
        before = network.state_dict()[key]
        torch.testing.assert_close(kept, before, rtol=HALF_PRECISION, atol=1e-7)


def test_sizes_that_no_network_has_are_refused(tmp_path):
    network = AUTOENCODERS["reference", "composition"]().eval()
    header = {"architecture": {"rooms": 3}}
    save_view(
        tmp_path, network, face="reference", view="composition", bounds=np.zeros((24, 2)),
        header=header,
    )  # fmt: skip
    with pytest.raises(ArtefactError, match=r"another architecture .*rooms"):
        load_view(tmp_path)


def test_an_unknown_face_is_refused(tmp_path):
    saved = view("standard", "composition")
    save_view(
        tmp_path / "new",
        saved.network,
        face="deluxe",
        view="composition",
        bounds=saved.bounds,
        header={},
    )
    with pytest.raises(ArtefactError, match=r"unknown autoencoder \('deluxe', 'composition'\)"):
        load_view(tmp_path / "new")


def test_an_artefact_of_another_kind_is_refused(tmp_path):
    save_artefact(tmp_path / "head", kind="head", header={}, arrays={})
    with pytest.raises(ArtefactError, match='is a "head", expected a "autoencoder"'):
        load_view(tmp_path / "head")


def test_log_prior_is_the_standard_normal(space):
    points = np.random.default_rng(0).standard_normal((5, 88))
    np.testing.assert_allclose(space.log_prior(points), norm.logpdf(points).sum(1))


def test_interpolation_keeps_its_ends_and_the_radius(space):
    start, end = np.random.default_rng(0).standard_normal((2, 88))
    path = space.interpolate(start, end, 9)
    assert path.shape == (9, 88)
    np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-5)
    for part in (slice(0, 24), slice(24, None)):
        radii = np.linalg.norm(path[:, part], axis=1)
        np.testing.assert_allclose(np.diff(radii), np.diff(radii)[0], atol=1e-5)


def test_interpolation_between_equal_points_stays(space):
    start = np.ones(88)
    np.testing.assert_allclose(space.interpolate(start, start, 3), np.ones((3, 88)), atol=1e-6)
    np.testing.assert_allclose(space.interpolate(0 * start, start, 3)[1], 0.5 * start, atol=1e-6)


def test_the_nearest_neighbour_of_a_known_point_is_itself(space):
    known = np.random.default_rng(0).standard_normal((50, 88))
    distances, rows = space.neighbours(known[:7], known, 3)
    assert rows.shape == distances.shape == (7, 3)
    assert_array_equal(rows[:, 0], np.arange(7))
    assert (np.diff(distances, axis=1) >= 0).all()


def test_idle_variables_do_not_decide_who_is_near(space):
    known = np.random.default_rng(0).standard_normal((50, 88))
    known[:, 0] = 1e-3 * np.arange(50)
    asked = known[:1].copy()
    asked[:, 0] = 1e3
    assert space.neighbours(asked, known, 1)[1] == 0


def test_prior_points_without_pairing_are_standard_normal(space):
    points = space.sample_prior(4000, np.random.default_rng(0))
    assert points.shape == (4000, 88)
    assert abs(points.mean(0)).max() < 0.1
    assert abs(points.std(0) - 1).max() < 0.1


def test_a_space_without_pairing_says_so(space):
    with pytest.raises(ArtefactError, match="no joint prior of compositions and patterns"):
        space.affinity(np.zeros((1, 88)))


def test_refinement_goes_down_row_by_row(space, materials):
    compositions, patterns = materials
    points = space.encode(compositions, patterns, refine=0)
    refined = space.encode(compositions, patterns, refine=10)
    network = space.pattern.network

    def cost(z: np.ndarray) -> np.ndarray:
        z = torch.from_numpy(z[:, 24:])
        with torch.no_grad():
            loss = network.reconstruction_loss(torch.from_numpy(patterns).float(), z)
        return (loss + 0.5 * (z**2).sum(1)).numpy()

    assert (cost(refined) < cost(points)).all()
    assert_array_equal(refined[:, :24], points[:, :24])
    alone = space.encode(compositions[:1], patterns[:1], refine=10)
    # a step of Adam has a length of its own: rounding may turn one where a gradient is nil
    assert_allclose(alone[0], refined[0], atol=0.05)


def test_no_refinement_is_the_encoder(space, materials):
    points = space.pattern.encode(materials[1])
    assert_array_equal(space.pattern.refine(points, materials[1], steps=0), points)


def test_neighbours_in_a_collapsed_space_are_an_answer(space):
    points = np.full((4, 88), 0.001) * np.arange(4)[:, None]
    _, rows = space.neighbours(points, points, 1)
    assert_array_equal(rows[:, 0], np.arange(4))
