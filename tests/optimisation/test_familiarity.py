import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from matlode.data.formulas import parse_formula
from matlode.optimisation.familiarity import Familiarity
from matlode.optimisation.formula_edits import FormulaEditor
from matlode.optimisation.preferences import Decoded, Familiar


@pytest.fixture(scope="module")
def familiarity(known, models):
    return Familiarity.fit(known.prototypes, models.formula_lists)


def test_simple_formulas_are_more_familiar_than_their_distortions(familiarity):
    pairs = [("O2Ti", "O7Ti3"), ("B2Ti", "B13Ti3V2"), ("BaO3Ti", "BaN5Ti3"), ("ClNa", "Cl5Na2")]
    for simple, odd in pairs:
        assert familiarity.score([simple])[0] > familiarity.score([odd])[0] + 0.5


def test_made_formulas_that_were_not_learned_are_told_from_changed_ones(known, models):
    lists, library = models.formula_lists, known.prototypes
    learned = np.arange(len(known.materials)) % 2 == 0
    half = Familiarity.fit(library.restrict(learned), lists)
    formulas = known.materials.frame["formula"].to_numpy(dtype=str)
    made = sorted({f for f in formulas[~learned] if 2 <= len(parse_formula(f)) <= 5}
                  - set(formulas[learned]))[::5]  # fmt: skip
    editor = FormulaEditor(library, known.elements)
    rng = np.random.default_rng(0)
    changed = [editor.change_amount(parse_formula(formula), rng) for formula in made]
    changed = [formula for formula in changed if formula not in lists]
    assert len(changed) > 100
    scores = half.score([*made, *changed])
    labels = np.arange(len(scores)) < len(made)
    assert roc_auc_score(labels, scores) > 0.75


def test_the_penalty_is_what_is_missing_and_the_same_in_any_company(familiarity):
    formulas = ["O2Ti", "B13Ti3V2", "O2Ti"]
    decoded = Decoded(np.zeros((3, 88)), formulas, np.zeros((3, 100)), np.zeros((3, 1601)))
    penalty = Familiar(familiarity=familiarity).shortfall(decoded)
    assert (penalty >= 0).all()
    assert penalty[0] == penalty[2]
    assert penalty[1] > penalty[0]
    alone = familiarity.score(["B13Ti3V2"])
    assert penalty[1] == pytest.approx(familiarity.top - alone[0])


def test_the_same_table_gives_the_same_model(familiarity, known, models):
    again = Familiarity.fit(known.prototypes, models.formula_lists)
    np.testing.assert_array_equal(again.weights, familiarity.weights)
    assert again.top == familiarity.top


def test_a_table_without_listed_formulas_is_taken_as_made(known):
    class Nothing:
        def find(self, formulas):
            return [None] * len(formulas)

        def __contains__(self, formula):
            return False

    few = known.prototypes.restrict(np.arange(len(known.materials)) < 600)
    found = Familiarity.fit(few, Nothing())
    assert np.isfinite(found.weights).all()
    simple = found.score(["O2Ti", "ClNa", "BTi", "MgO"]).mean()
    assert simple > found.score(["O7Ti4", "Cl5Na4", "B7Ti3V", "Mg5O3"]).mean()
