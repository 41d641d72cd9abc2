import numpy as np
import pytest
from numpy.testing import assert_allclose

from matlode.properties.derived import (
    DERIVATIONS,
    GAS_CONSTANT,
    heat_capacity_cp,
    heat_capacity_cv,
    poisson_ratio,
    vickers_hardness_chen,
    vickers_hardness_mazhnik,
    youngs_modulus,
)
from matlode.properties.endpoints import ENDPOINTS, Estimates
from matlode.representation.composition import compute_formula_vectors

K, G = np.meshgrid(np.linspace(20, 450, 12), np.linspace(5, 520, 12))


def test_elastic_constants_of_an_isotropic_solid_agree():
    nu, e = poisson_ratio(K, G), youngs_modulus(K, G)
    # E = 2G(1 + ν) = 3K(1 - 2ν)
    assert_allclose(e, 2 * G * (1 + nu))
    assert_allclose(e, 3 * K * (1 - 2 * nu))


@pytest.mark.parametrize(
    ("bulk", "shear", "measured"),
    # diamond, cubic BN, SiC, WC, TiC, Al2O3: K, G (GPa) and Vickers hardness as measured
    [
        (443, 535, 96),
        (382, 404, 62),
        (220, 192, 30),
        (389, 286, 27),
        (242, 188, 27),
        (246, 163, 19),
    ],
)
def test_hardness_of_known_materials(bulk, shear, measured):
    for model in (vickers_hardness_chen, vickers_hardness_mazhnik):
        assert float(model(np.array([bulk]), np.array([shear]))[0]) == pytest.approx(
            measured, rel=0.45, abs=12
        )


def test_hardness_is_never_negative_and_grows_with_the_shear_modulus():
    for model in (vickers_hardness_chen, vickers_hardness_mazhnik):
        assert (model(K, G) >= 0).all()
    assert (np.diff(vickers_hardness_chen(K, G), axis=0) >= 0).all()


def test_debye_heat_capacity_has_the_right_limits():
    # Dulong and Petit at high temperature, the T³ law (12π⁴/5 R) at low
    assert heat_capacity_cv(np.array([1.0]))[0] == pytest.approx(3 * GAS_CONSTANT, rel=1e-6)
    cold = 1e4
    cubic = 12 * np.pi**4 / 5 * GAS_CONSTANT * (300 / cold) ** 3
    assert heat_capacity_cv(np.array([cold]))[0] == pytest.approx(cubic, rel=2e-3)
    # copper: θ 343 K, α 5e-5 1/K (volume), K 140 GPa, 11.8 Å³; measured Cp is 24.4 J/mol/K
    cp = heat_capacity_cp(np.array([343.0]), np.array([5e-5]), np.array([140.0]), np.array([11.8]))
    assert cp[0] == pytest.approx(24.4, abs=0.5)


def exact(value):
    return Estimates(value, value.copy(), value.copy())


@pytest.mark.parametrize("name", DERIVATIONS)
def test_certain_inputs_give_a_point_and_uncertain_ones_an_interval(name):
    derivation = DERIVATIONS[name]
    values = {
        "bulk_modulus": 160.0, "shear_modulus": 130.0, "debye_temperature": 900.0,
        "thermal_expansion": 3e-5, "volume_per_atom": 9.3, "thermal_conductivity": 50.0,
    }  # fmt: skip
    x = compute_formula_vectors(["MgO"])
    given = {n: np.array([values[n]]) for n in derivation.needs}
    point = derivation.estimate({n: exact(v) for n, v in given.items()}, x)
    assert_allclose(point.low, point.value)
    assert_allclose(point.high, point.value)
    wide = {n: Estimates(v, 0.8 * v, 1.2 * v) for n, v in given.items()}
    spread = derivation.estimate(wide, x)
    assert spread.low[0] < spread.value[0] < spread.high[0]
    assert_allclose(spread.value, point.value)


def test_density_of_magnesia():
    volume = exact(np.array([4.212**3 / 8]))
    density = DERIVATIONS["density"].estimate(
        {"volume_per_atom": volume}, compute_formula_vectors(["MgO"])
    )
    assert density.value[0] == pytest.approx(3.58, abs=0.01)


def test_names_are_nobody_elses():
    assert not DERIVATIONS.keys() & ENDPOINTS.keys()
