"""How much a formula resembles those that have been made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import atomic_numbers, element_symbols, parse_formula
from matlode.optimisation.formula_edits import FormulaEditor
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.screening.chemistry import ChargeNeutral
from matlode.screening.formula_lists import MADE, FormulaLists

N_MADE = 2000
"""Made formulas that the model is fitted to; as many of each two others are made up."""
MADE_UP_PER_MADE = 2
MAX_EDITS = 3
"""A made-up formula is a made one after 1 to MAX_EDITS changes."""
MAX_ELEMENTS, MAX_ATOMS = 5, 20
"""Largest formulas that the model is fitted to, as the default limits of a goal."""
FAR = 2.0
"""Distance from the nearest made formula if none has the same stoichiometry."""
TOP_QUANTILE = 0.99
"""Quantile of the scores of made formulas that counts as fully familiar."""


@dataclass(frozen=True)
class Familiarity:
    """Logistic model that tells made formulas from made-up ones, by composition alone.

    Learned from positive and unlabelled formulas: what is in the list of made compounds, and random
    changes of it that are in no list. It knows nothing of a formula but its number of elements and
    atoms, how often pairs of its elements occur together, its distance from the
    nearest made formula of the same stoichiometry, and whether its charges cannot balance.
    """

    library: PrototypeLibrary
    """Templates whose formulas were made."""
    pairs: NDArray[np.float64]
    """(101, 101), number of made formulas that contain both elements, by atomic number."""
    weights: NDArray[np.float64]
    """(n_features + 1,), of the features and the constant."""
    top: float
    """Score of a fully familiar formula."""

    @classmethod
    def fit(cls, library: PrototypeLibrary, lists: FormulaLists, *, seed: int = 0) -> Familiarity:
        """Fit to the formulas of ``library`` that are in the list of made compounds; to all of them
        if none is in the list."""
        from sklearn.linear_model import LogisticRegression

        rng = np.random.default_rng(seed)
        formulas = library.materials.frame["formula"].to_numpy(dtype=str)[library.rows]
        found = lists.find(formulas.tolist())
        is_made = np.array([one is not None and one.name == MADE for one in found])
        if not is_made.any():
            is_made[:] = True
        made = [f for f in dict.fromkeys(formulas[is_made].tolist()) if _is_small(f)]
        usable = np.zeros(len(library.materials), dtype=bool)
        usable[library.rows[is_made]] = True
        of_made = library.restrict(usable)
        blank = cls(of_made, _count_pairs(made), np.zeros(0), 0.0)
        drawn = [made[at] for at in rng.permutation(len(made))[:N_MADE]]
        editor = FormulaEditor(of_made, _list_elements(made))
        other = _make_up(made, MADE_UP_PER_MADE * len(drawn), editor, lists, rng)
        features = np.concatenate([blank.describe(drawn, are_counted=True), blank.describe(other)])
        is_positive = np.arange(len(features)) < len(drawn)
        scale = np.maximum(features.std(axis=0), 1e-9)
        model = LogisticRegression(max_iter=1000).fit(features / scale, is_positive)
        weights = np.append(model.coef_[0] / scale, model.intercept_[0])
        scores = features[is_positive] @ weights[:-1] + weights[-1]
        return replace(blank, weights=weights, top=float(np.quantile(scores, TOP_QUANTILE)))

    def describe(
        self, formulas: Sequence[str], *, are_counted: bool = False
    ) -> NDArray[np.float64]:
        """Features (n, 7) of formulas; ``are_counted`` says that ``pairs`` contain them."""
        return np.array([self._describe(formula, are_counted) for formula in formulas]).reshape(
            len(formulas), N_FEATURES
        )

    def score(self, formulas: Sequence[str]) -> NDArray[np.float64]:
        """Log odds (n,) of being made, for canonical formulas, at most ``top``."""
        distinct = list(dict.fromkeys(formulas))
        scores = self.describe(distinct) @ self.weights[:-1] + self.weights[-1]
        found = dict(zip(distinct, np.minimum(scores, self.top).tolist(), strict=True))
        return np.array([found[formula] for formula in formulas])

    def _describe(self, formula: str, is_counted: bool) -> tuple[float, ...]:
        amounts = parse_formula(formula)
        z = [atomic_numbers()[symbol] for symbol in amounts]
        together = [self.pairs[i, j] for i, j in combinations(z, 2)] or [self.pairs[z[0], z[0]]]
        common = np.log1p(np.maximum(np.array(together) - is_counted, 0))
        return (
            float(len(amounts)),
            float(np.log(sum(amounts.values()))),
            float(np.log(max(amounts.values()))),
            float(common.min()),
            float(common.mean()),
            self.library.find_distance(formula, default=FAR),
            float(not ChargeNeutral().grade(formula).passed),
        )


N_FEATURES = 7


def _is_small(formula: str) -> bool:
    amounts = parse_formula(formula)
    return 2 <= len(amounts) <= MAX_ELEMENTS and sum(amounts.values()) <= MAX_ATOMS


def _list_elements(formulas: Sequence[str]) -> list[str]:
    present = {symbol for formula in formulas for symbol in parse_formula(formula)}
    return [symbol for symbol in element_symbols() if symbol in present]


def _count_pairs(formulas: Sequence[str]) -> NDArray[np.float64]:
    """(101, 101); the diagonal counts the formulas that contain an element."""
    counts = np.zeros((MAX_ATOMIC_NUMBER + 1, MAX_ATOMIC_NUMBER + 1))
    for formula in formulas:
        z = [atomic_numbers()[symbol] for symbol in parse_formula(formula)]
        counts[np.ix_(z, z)] += 1
    return counts


def _make_up(
    made: Sequence[str],
    n: int,
    editor: FormulaEditor,
    lists: FormulaLists,
    rng: np.random.Generator,
) -> list[str]:
    """``n`` distinct formulas that are in no list: changes of made ones."""
    found: dict[str, None] = {}
    for formula in _change_at_random(made, editor, rng):
        if len(found) == n:
            break
        if _is_small(formula) and formula not in lists:
            found.setdefault(formula)
    return list(found)


def _change_at_random(
    made: Sequence[str], editor: FormulaEditor, rng: np.random.Generator
) -> Iterator[str]:
    edits = (editor.exchange_element, editor.exchange_amounts, editor.change_amount)
    # few known materials have few changes
    for _ in range(100 * MADE_UP_PER_MADE * N_MADE):
        formula = made[int(rng.integers(len(made)))]
        for _ in range(rng.integers(1, MAX_EDITS + 1)):
            edit = edits[rng.choice(len(edits), p=(0.5, 0.37, 0.13))]
            formula = edit(parse_formula(formula), rng)
        yield formula
