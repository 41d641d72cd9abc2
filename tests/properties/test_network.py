from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from matlode.artefacts import save_artefact
from matlode.errors import ArtefactError
from matlode.latent.weights import extract_weights
from matlode.properties.derived import DERIVATIONS
from matlode.properties.endpoints import ENDPOINTS, VOLUME, Endpoint
from matlode.properties.expected_volume import ExpectedVolume
from matlode.properties.heads import CASES
from matlode.properties.network import (
    NETWORK_MODEL,
    Member,
    PropertyNetwork,
    TargetScale,
    prepare_inputs,
    select_tree_features,
)
from matlode.properties.property_net import make_network
from matlode.properties.targets import AUXILIARY, TARGETS
from matlode.properties.trees import TreeSettings, fit_trees
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.environments import LN_VOLUME, compute_crystal_descriptors
from matlode.testing import SINGLE_PRECISION, check_estimates

VOLUMES = ExpectedVolume.load()


@pytest.fixture(scope="module")
def crystals(starter):
    """Compositions, patterns and descriptors of crystals."""
    chosen = starter.take(np.arange(0, 5785, 97))
    groups = chosen.frame["space_group"].to_numpy()
    return (
        composition_vectors(chosen.crystals),
        simulate_patterns(chosen.crystals),
        compute_crystal_descriptors(chosen.crystals, groups),
    )


@pytest.fixture(scope="module")
def materials(crystals):
    """Compositions and patterns."""
    return crystals[:2]


@pytest.fixture(scope="module")
def properties(models):
    return models.properties


@pytest.mark.parametrize("case", CASES)
def test_shipped_models_keep_the_contract(properties, materials, case):
    assert list(properties.endpoints) == [*ENDPOINTS, *DERIVATIONS]
    check_estimates(properties.endpoints, lambda *x: properties.predict(*x, case=case), *materials)


def test_predictions_for_crystals_keep_the_contract(properties, crystals):
    def predict(compositions, patterns, built):
        return properties.predict(compositions, patterns, case="simulated", crystals=built)

    check_estimates(properties.endpoints, predict, *crystals)


def test_the_volume_of_a_crystal_is_its_own(properties, crystals):
    found = properties.predict(
        *crystals[:2], case="simulated", crystals=crystals[2], names=[VOLUME, "density"]
    )
    own = np.exp(crystals[2][:, LN_VOLUME])
    np.testing.assert_allclose(found[VOLUME].value, own, rtol=10 * SINGLE_PRECISION)
    np.testing.assert_array_equal(found[VOLUME].low, found[VOLUME].high)


def test_named_endpoints_are_those_of_all(properties, materials):
    names = ["vickers_hardness", "bulk_modulus"]
    some = properties.predict(*materials, case="simulated", names=names)
    every = properties.predict(*materials, case="simulated")
    assert list(some) == names
    for name in names:
        np.testing.assert_array_equal(some[name].value, every[name].value)


TOY = (
    Endpoint(name="bulk_modulus", unit="GPa", column="x", lowest=0.0),
    Endpoint(name="thermal_conductivity", unit="W/m/K", column="y", transform="log", lowest=0.0),
    Endpoint(name="hull_probability_100_mev", unit="", column="z", task="probability"),
)


def nets(materials, n):
    """Untrained networks, as PyTorch has them, and their numbers of descriptors."""
    torch.manual_seed(0)
    _, described, _, peaks, built = prepare_inputs(VOLUMES, *materials)
    sizes = [part.shape[1] for part in (described, peaks, built)]
    return [make_network(TOY, sizes).eval() for _ in range(n)], sizes


def toy(materials, *, labels=None):
    networks, sizes = nets(materials, 2)
    members = tuple(Member.of(extract_weights(net), TOY, sizes, Path("toy")) for net in networks)
    scales = {
        "bulk_modulus": TargetScale(100.0, 50.0, (0.0, 500.0)),
        "thermal_conductivity": TargetScale(1.0, 1.0, (-3.0, 5.0)),
    }
    network = PropertyNetwork(VOLUMES, members, TOY, scales, report={"built_on": {}, "note": "toy"})
    if labels is None:
        return network
    names = [endpoint.name for endpoint in TOY]
    return network.calibrated(names, labels, dict.fromkeys(CASES, materials))


@pytest.fixture(scope="module")
def labels(materials):
    rng = np.random.default_rng(0)
    n = len(materials[0])
    return np.column_stack(
        [rng.uniform(20, 300, n), np.exp(rng.normal(1, 1, n)), rng.random(n) < 0.5]
    ).astype(float)


def test_intervals_hold_the_rows_that_they_were_calibrated_on(materials, labels):
    network = toy(materials, labels=labels)
    estimates = network.estimates(*network.raw(*materials), case="decoded")
    for at, endpoint in enumerate(TOY[:2]):
        found = estimates[endpoint.name]
        inside = (labels[:, at] >= found.low) & (labels[:, at] <= found.high)
        # conformal: the (n + 1) 90 %-th of n
        assert inside.mean() >= 0.9


@pytest.fixture(scope="module")
def far_sighted(materials, labels):
    network = toy(materials)
    compositions = np.unique(materials[0], axis=0)
    aware = network.with_applicability(compositions, len(compositions), materials[0])
    return aware.calibrated(
        [endpoint.name for endpoint in TOY], labels, dict.fromkeys(CASES, materials)
    )


def test_intervals_are_no_narrower_for_what_is_further_away(far_sighted, materials):
    outputs, widths = far_sighted.raw(*materials)
    near, far = (
        far_sighted.estimates(
            outputs, widths, case="decoded", distances=np.full(len(outputs), distance)
        )["thermal_conductivity"]
        for distance in (0.0, np.inf)
    )
    assert (far.high >= near.high).all()
    assert (far.low <= near.low).all()


def test_distances_belong_to_single_compositions(far_sighted, materials):
    compositions = materials[0][:9]
    singles = [far_sighted.distances(x[None])[0] for x in compositions]
    np.testing.assert_array_equal(far_sighted.distances(compositions), singles)
    assert np.isnan(toy(materials).distances(compositions)).all()


def test_forgetting_an_element_changes_answers_and_not_the_network(far_sighted, materials):
    before = far_sighted.raw(*materials)
    forgetful = far_sighted.predict_without_one_element(*materials)
    for one, other, again in zip(before, forgetful, far_sighted.raw(*materials), strict=True):
        np.testing.assert_array_equal(one, again)
        assert one.shape == other.shape
    assert (forgetful[0] != before[0]).any(axis=1).all()
    assert np.median(abs(forgetful[0] - before[0])) > 1e-3
    repeated = far_sighted.predict_without_one_element(*materials)
    np.testing.assert_array_equal(forgetful[0], repeated[0])


def test_a_saved_network_knows_as_well_how_far_things_are(far_sighted, materials, tmp_path):
    far_sighted.save(tmp_path)
    again = PropertyNetwork.load(tmp_path / NETWORK_MODEL, VOLUMES)
    for name, part in vars(far_sighted.applicability).items():
        np.testing.assert_array_equal(getattr(again.applicability, name), part)
    for key, table in far_sighted.calibration.items():
        np.testing.assert_array_equal(again.calibration[key], table)


def test_what_has_no_labels_gets_no_answer(materials, labels):
    some = labels.copy()
    some[:, 1] = np.nan
    network = toy(materials, labels=some)
    assert list(network.answers) == ["bulk_modulus", "hull_probability_100_mev"]
    assert set(network.estimates(*network.raw(*materials), case="simulated")) == set(
        network.answers
    )


def test_a_saved_network_answers_as_before(materials, labels, tmp_path):
    network = toy(materials, labels=labels)
    network.save(tmp_path)
    again = PropertyNetwork.load(tmp_path / NETWORK_MODEL, VOLUMES)
    assert again.report["note"] == "toy"
    assert again.endpoints == TOY
    before, after = (n.estimates(*n.raw(*materials), case="simulated") for n in (network, again))
    for name, estimates in before.items():
        # weights went through half precision
        np.testing.assert_allclose(after[name].value, estimates.value, rtol=0.05, atol=0.05)
    again.save(tmp_path / "copy")
    twice = PropertyNetwork.load(tmp_path / "copy" / NETWORK_MODEL, VOLUMES)
    for name, estimates in twice.estimates(*twice.raw(*materials), case="simulated").items():
        np.testing.assert_array_equal(estimates.value, after[name].value)


@pytest.fixture(scope="module")
def counselled(crystals):
    """A network that is averaged with trees, for one value and one probability."""
    network = toy(crystals)
    features = select_tree_features(prepare_inputs(VOLUMES, *crystals))
    quick = TreeSettings(n_rounds=5, max_depth=3)
    light = crystals[0][:, :20].sum(1)
    trees = {
        "bulk_modulus": fit_trees(features, light, quick, objective="reg:squarederror"),
        "hull_probability_100_mev": fit_trees(
            features, light > 0.4, quick, objective="binary:logistic"
        ),
    }
    shares = {"bulk_modulus": 0.3, "hull_probability_100_mev": 0.4}
    return replace(network, trees=trees, tree_shares=shares), features


def test_trees_have_their_share_where_there_are_any(counselled, crystals):
    network, features = counselled
    alone, widths = replace(network, trees={}).raw(*crystals)
    together, same = network.raw(*crystals)
    np.testing.assert_array_equal(widths, same)
    for at, endpoint in enumerate(TOY):
        if endpoint.name not in network.trees:
            np.testing.assert_array_equal(alone[:, at], together[:, at])
            continue
        said = network.trees[endpoint.name].predict(features, logits=True)
        share = (together[:, at] - alone[:, at]) / (said - alone[:, at])
        np.testing.assert_allclose(share, network.tree_shares[endpoint.name], atol=1e-4)


def test_trees_are_used_for_crystals_only(counselled, materials):
    network, _ = counselled
    alone = replace(network, trees={})
    np.testing.assert_array_equal(network.raw(*materials)[0], alone.raw(*materials)[0])


def test_trees_are_saved_with_the_network(counselled, materials, tmp_path):
    network, features = counselled
    network.save(tmp_path)
    again = PropertyNetwork.load(tmp_path / NETWORK_MODEL, VOLUMES)
    assert again.trees.keys() == network.trees.keys()
    assert again.tree_shares == network.tree_shares
    for name, trees in network.trees.items():
        np.testing.assert_array_equal(again.trees[name].predict(features), trees.predict(features))


def test_another_artefact_is_refused(tmp_path):
    save_artefact(tmp_path / NETWORK_MODEL, kind="head", header={}, arrays={})
    with pytest.raises(ArtefactError, match='is a "head", expected a "properties"'):
        PropertyNetwork.load(tmp_path / NETWORK_MODEL, VOLUMES)


def asked(*materials):
    return tuple(torch.from_numpy(part) for part in prepare_inputs(VOLUMES, *materials))


def test_members_answer_as_the_networks_that_learned(crystals):
    networks, sizes = nets(crystals, 1)
    for parameter in networks[0].parameters():  # untrained norms would hide their weights
        torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():  # widths beyond their limits on either side
        networks[0].trunk.last.bias[2:4] = torch.tensor([20.0, -20.0])
    networks[0].scale.fill_(3.0)
    networks[0].centre.fill_(0.5)
    member = Member.of(extract_weights(networks[0]), TOY, sizes, Path("toy"))
    compositions, patterns, described = (part.copy() for part in crystals)
    patterns[::7] = 0.0  # unknown
    described[::5] = np.nan
    given = compositions, patterns, described
    with torch.inference_mode():
        expected = networks[0](*asked(*given))
    for answer, of_torch in zip(member(prepare_inputs(VOLUMES, *given)), expected, strict=True):
        size = float(of_torch.abs().max())
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, of_torch.numpy(), atol=100 * SINGLE_PRECISION * size)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("trunk.last.bias", lambda a: a[:1]),
        ("trunk.first.weight", lambda a: a[:, 1:]),
        ("composition.elements", lambda a: a[:-1]),
        ("composition.norm.bias", lambda a: a[:-1]),
        ("pattern.blocks.0.weight", lambda a: a[1:]),
        ("no_pattern", lambda a: a[None]),
        ("crystal.first.weight", lambda a: a[:, 1:]),
        ("no_crystal", lambda a: a[1:]),
        ("scale", lambda a: a * np.nan),
    ],
)
def test_weights_of_another_network_are_refused(materials, name, change):
    networks, sizes = nets(materials, 1)
    arrays = extract_weights(networks[0])
    arrays[name] = change(arrays[name])
    with pytest.raises(ArtefactError, match=r"toy: weights are damaged or of another architecture"):
        Member.of(arrays, TOY, sizes, Path("toy"))
    del arrays[name]
    with pytest.raises(ArtefactError, match="expected"):
        Member.of(arrays, TOY, sizes, Path("toy"))


def batch(materials, labels):
    compositions, described, patterns, peaks, built = asked(*materials)
    return (
        compositions, described, patterns, peaks, patterns, peaks, built,
        torch.from_numpy(labels.astype(np.float32)),
    )  # fmt: skip


def test_unknown_labels_teach_nothing(materials, labels):
    ((net,), _) = nets(materials, 1)
    net.training_loss(batch(materials, np.full_like(labels, np.nan)))["loss"].backward()
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())
    known = labels.copy()
    known[:, 1:] = np.nan
    net.training_loss(batch(materials, known))["loss"].backward()
    last = net.trunk.last.weight.grad
    rows = last.abs().sum(1)
    # outputs: two values, their two widths, one logit
    assert rows[[0, 2]].all()
    assert not rows[[1, 3, 4]].any()


def test_an_unknown_pattern_is_not_an_empty_guess(materials):
    ((net,), _) = nets(materials, 1)
    inputs = asked(materials[0], np.zeros_like(materials[1]))
    other = (*inputs[:3], torch.ones_like(inputs[3]), inputs[4])
    with torch.inference_mode():
        for a, b in zip(net(*inputs), net(*other), strict=True):
            assert torch.equal(a, b), "peaks of an unknown pattern count"


def test_scales_survive_wild_labels():
    labels = np.concatenate([np.random.default_rng(0).normal(3, 2, 5000), [1e9, np.nan]])
    scale = TargetScale.fit(labels)
    assert scale.centre == pytest.approx(3, abs=0.2)
    assert scale.spread == pytest.approx(2, abs=0.2)
    assert np.nanmax(scale.apply(labels)) < 5


def test_the_shipped_network_learned_what_would_be_learned_now(properties):
    assert properties.network.endpoints == TARGETS
    assert set(properties.network.trees) == set(ENDPOINTS)


def test_targets_are_named_once_and_values_come_first():
    names = [target.name for target in TARGETS]
    assert len(set(names)) == len(names)
    assert set(ENDPOINTS) < set(names)
    assert not ENDPOINTS.keys() & {target.name for target in AUXILIARY}
    tasks = [target.task for target in TARGETS]
    assert tasks == sorted(tasks, reverse=True)


def test_predictions_do_not_depend_on_what_else_runs(properties, crystals):
    """Boosted trees would amplify a last digit that depends on the number of free threads."""

    def predict(_):
        names = ["bulk_modulus", "hull_probability_50_mev"]
        found = properties.predict(
            *crystals[:2], case="simulated", crystals=crystals[2], names=names
        )
        return b"".join(found[name].value.tobytes() for name in names)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(predict, range(16)))) == 1
