import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from matlode.properties.applicability import MIN_FORMULAS, N_AXES, Applicability
from matlode.representation.composition import compute_formula_vectors
from matlode.testing import SINGLE_PRECISION

N_READ = 24
FORMULAS = [f"Na{n}Cl{m}" for n in range(1, 12) for m in range(1, 12)] + ["Re2B3"]


def read(compositions):
    """Stands for a network: any smooth function of the composition."""
    rng = np.random.default_rng(0)
    return 100 * np.tanh(compositions @ rng.normal(size=(100, N_READ))).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    return compute_formula_vectors(FORMULAS)


@pytest.fixture(scope="module")
def applicability(trained):
    unseen = compute_formula_vectors([f"Na{n}Cl{13 - n}" for n in range(1, 13)])
    return Applicability.fit(read(trained), trained, (read(unseen), unseen))


def test_what_was_trained_on_is_near_and_what_is_unlike_it_further(applicability, trained):
    near = applicability.distances(read(trained[:50]), trained[:50])
    # landmarks are kept in steps of 1/127 of the largest coordinate
    assert near.max() <= float(applicability.step[0]) * np.sqrt(N_AXES) / 2 + SINGLE_PRECISION
    middling = compute_formula_vectors(["Na20Cl"])
    assert applicability.distances(read(middling), middling) > near.max()


def test_a_distance_does_not_depend_on_its_batch(applicability, trained):
    together = applicability.distances(read(trained), trained)
    backwards = applicability.distances(read(trained[::-1]), trained[::-1])[::-1]
    singles = [float(applicability.distances(read(x[None]), x[None])[0]) for x in trained]
    assert_array_equal(together, backwards)
    assert_array_equal(together, singles)


def test_what_holds_a_hardly_known_element_is_infinitely_far(applicability):
    strange = compute_formula_vectors(["NaRe", "NaPo", "NaCl"])
    distances = applicability.distances(read(strange), strange)
    assert_array_equal(np.isinf(distances), [True, True, False])


def test_elements_are_learned_from_enough_formulas_on(trained):
    few = trained[:-1][: MIN_FORMULAS - 1]
    enough = trained[:-1][:MIN_FORMULAS]
    salt = compute_formula_vectors(["NaCl"])
    for known, is_far in ((few, True), (enough, False)):
        found = Applicability.fit(read(known), known, (read(salt), salt))
        assert np.isinf(found.distances(read(salt), salt)[0]) == is_far


def test_shares_and_limits_are_inverse_and_rise(applicability):
    shares = np.linspace(0.05, 0.95, 7)
    limits = [applicability.limit(share) for share in shares]
    assert (np.diff(limits) >= 0).all()
    for share, limit in zip(shares, limits, strict=True):
        assert applicability.share_nearer(limit) == pytest.approx(share, abs=0.01)
    assert applicability.share_nearer(np.inf) == 1
    assert applicability.share_nearer(-1.0) == 0


def test_pairs_are_counted_by_formula(applicability):
    sodium, chlorine, boron, rhenium = 11, 17, 5, 75
    assert applicability.pairs[sodium - 1, chlorine - 1] == 121
    (mixed,) = compute_formula_vectors(["NaReB"])
    assert applicability.rarest_pair(mixed) == (boron, sodium, 0)
    (boride,) = compute_formula_vectors(["ReB"])
    assert applicability.rarest_pair(boride) == (boron, rhenium, 1)
    (element,) = compute_formula_vectors(["Re"])
    assert applicability.rarest_pair(element) == (rhenium, rhenium, 1)


def test_fitting_twice_gives_the_same(trained, applicability):
    unseen = trained[:3]
    one, other = (Applicability.fit(read(trained), trained, (read(unseen), unseen)) for _ in "ab")
    for name, array in vars(one).items():
        assert_allclose(array, vars(other)[name])
