"""Table of every score that the paper prints beside the reproduced ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from matlode.benchmarks.tables import Row
from matlode.evaluation.published import PAPER
from matlode.paper.printed_scores import QUANTITIES, Predicted, Quantity, Split, average_scores

Folds: TypeAlias = Mapping[tuple[str, Split], Sequence[Predicted]]
"""(quantity, split) → folds."""
Scores: TypeAlias = Mapping[str, float]


def tabulate_printed(
    folds: Folds,
    symmetry: Mapping[Split, Scores],
    standard: Mapping[str, Scores],
    *,
    n_crystals: int,
) -> list[Row]:
    """One row per printed score; what was not measured is None.

    ``symmetry`` are the scores of the space-group classifier by split, ``standard`` those of the
    standard models by quantity, in the unit of the quantity; ``n_crystals`` have a space group.
    """
    rows: list[Row] = []
    for name, printed in PAPER.numbers.items():
        if name == "space_group":
            of_split = {split: dict(scores) for split, scores in symmetry.items()}
            title, rows_paper, rows_here, note = "space group", None, n_crystals, "decoded patterns"
        elif (quantity := QUANTITIES.get(name)) is not None:
            of_split = {
                split: {
                    score: mean for score, (mean, _) in average_scores(of_one, quantity).items()
                }
                for (measured, split), of_one in folds.items()
                if measured == name and of_one
            }
            title, rows_paper, note = _describe(quantity)
            rows_here = max((_count_rows(folds, name, split) for split in of_split), default=0)
        else:
            continue
        for score, value in printed.items():
            rows.append(
                {
                    "quantity": title,
                    "metric": score,
                    "paper": value,
                    "reference_random": _pick(of_split.get("random", {}), score),
                    "reference_formula": _pick(of_split.get("formula", {}), score),
                    "standard": _pick(standard.get(name, {}), score),
                    "rows_paper": rows_paper,
                    "rows_here": rows_here,
                    "difference of the rows": note,
                }
            )
    return rows


def _describe(quantity: Quantity) -> tuple[str, int | None, str]:
    title = f"{quantity.title}, {quantity.unit}" if quantity.unit else quantity.title
    return title, quantity.rows_paper, quantity.note


def _count_rows(folds: Folds, name: str, split: Split) -> int:
    return sum(len(fold.truth) for fold in folds[name, split])


def _pick(scores: Scores, name: str) -> float | None:
    return round(scores[name], 4) if name in scores else None
