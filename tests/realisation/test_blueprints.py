from types import SimpleNamespace

import numpy as np
import pytest

from matlode.data.formulas import canonicalise_formula
from matlode.realisation.blueprints import Blueprints, find_substitutions
from matlode.realisation.volumes import TemplateVolumes
from matlode.representation.composition import composition_vectors


@pytest.fixture(scope="module")
def library(known):
    return known.prototypes


def test_crystals_have_the_formulas_and_the_volumes(library):
    formulas = ["CaO3Ti", "ClNa", "B17C3N11"]
    owners, used = find_substitutions(library, formulas, 4)
    assert set(owners) == {0, 1}
    blueprints = Blueprints.of(used, np.linspace(10, 20, len(used)))
    crystals = blueprints.build(library)
    np.testing.assert_allclose(crystals.volumes_per_atom_a3, blueprints.volumes_per_atom_a3)
    for row, owner in enumerate(owners):
        formula = crystals.structure(row).composition.reduced_formula
        assert canonicalise_formula(formula) == formulas[owner]


def test_blueprints_repeat_what_the_library_builds(library):
    _, used = find_substitutions(library, ["CaO3Ti"], 6)
    volumes = np.full(len(used), 12.0)
    blueprints = Blueprints.of(used, volumes)
    direct = library.crystals(used)
    built = blueprints.build(library)
    np.testing.assert_array_equal(built.numbers, direct.numbers)
    np.testing.assert_array_equal(built.frac_coords, direct.frac_coords)
    for row, substitution in enumerate(used):
        again = blueprints.find_substitution(row, library)
        assert (again.template, again.exchange) == (substitution.template, substitution.exchange)


def test_known_materials_are_built_as_they_are(library, starter):
    rows = np.arange(50)
    built = Blueprints.of_known(library, rows).build(library)
    original = starter.crystals.take(rows)
    np.testing.assert_array_equal(built.numbers, original.numbers)
    np.testing.assert_allclose(built.lattices, original.lattices)


def test_a_restricted_library_has_fewer_templates(library):
    cubic = library.restrict(library.space_groups >= 195)
    assert cubic.has_template("ClNa")
    _, used = find_substitutions(cubic, ["ClNa", "CaO3Ti"], 20)
    assert (library.space_groups[[s.template for s in used]] >= 195).all()
    assert not library.restrict(library.space_groups < 0).has_template("ClNa")


def test_volumes_of_templates_with_their_own_elements_are_between_model_and_template(starter):
    crystals = starter.crystals.take(np.arange(20))
    true = crystals.volumes_per_atom_a3
    flat = SimpleNamespace(predict=lambda x: SimpleNamespace(value=np.full(len(x), 15.0)))
    volumes = TemplateVolumes.fit(flat, crystals)
    predicted = volumes.predict(composition_vectors(crystals), np.arange(20))
    np.testing.assert_allclose(predicted, np.sqrt(15.0 * true))
