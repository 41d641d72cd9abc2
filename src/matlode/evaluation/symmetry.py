"""Scores of the space-group classifiers of both faces, on unseen rows or formulas."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from matlode.artefacts import write_json
from matlode.data.splits import SPLITS, TEST, Fold
from matlode.errors import GoalError, suggest
from matlode.evaluation.score_row import ScoreRow
from matlode.latent.space import list_trained_faces
from matlode.progress import Progress, silent
from matlode.records import Face
from matlode.training.model_spec import ModelSpec
from matlode.training.model_table import MODELS
from matlode.training.recipes import fit_symmetry, score_symmetry_cases
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer

N_PARTS = 10
"""One tenth of the rows (or formulas, ...) is the test set."""


def measure_symmetry(
    *,
    split: str = "random",
    faces: Sequence[Face] | None = None,
    data: Path | None = None,
    out: Path = Path("folds"),
    models: Path | None = None,
    epochs: int | None = None,
    progress: Progress = silent,
) -> list[ScoreRow]:
    """Train classifiers on nine tenths of a table and score them on the rest: one row per face
    and kind of input (default: both faces, if the reference's autoencoders are in ``models``).

    The random split is the paper's; equal formulas are then in both parts. Scores that are in
    ``out`` already are read. Raises GoalError for an unknown split.
    """
    if split not in SPLITS:
        raise GoalError(f'unknown split "{split}". {suggest(split, SPLITS)}')
    trainer = Trainer.of(TrainingTable.load(data), out, progress, models=models)
    n = int((Fold(split, 0, N_PARTS).roles(trainer.table.materials.frame) == TEST).sum())
    return [
        row
        for face in faces or list_trained_faces(models)
        for row in make_symmetry_rows(
            face,
            measure_symmetry_split(trainer, face, split, out, epochs=epochs),
            split=f"a tenth by {split.replace('_', ' ')}",
            rows=n,
        )
    ]


def measure_symmetry_split(
    trainer: Trainer, face: Face, split: str, out: Path, *, epochs: int | None = None
) -> dict[str, dict[str, float]]:
    """Scores by input (``score_symmetry_cases``) of a classifier trained on nine tenths of the
    table; read from ``out`` if they are there."""
    spec = find_symmetry_spec(face)
    file = out / f"{spec.name}-{split}-{trainer.table.sha256[:12]}.json"
    if not file.exists():
        trainer = trainer.with_fold(Fold(split, 0, N_PARTS))
        own = replace(spec, name=f"{spec.name}-{split}")
        if epochs is not None:
            own = own.with_settings({"max_epochs": epochs})
        assert own.network is not None
        classifier, _ = fit_symmetry(trainer, own, own.network())
        out.mkdir(parents=True, exist_ok=True)
        write_json(file, score_symmetry_cases(trainer, classifier, face))
        trainer.checkpoint(own.name).unlink(missing_ok=True)
    found: dict[str, dict[str, float]] = json.loads(file.read_text())
    return found


def find_symmetry_spec(face: Face) -> ModelSpec:
    """The space-group classifier of a face."""
    return next(s for s in MODELS.values() if s.kind == "symmetry" and s.face == face)


def make_symmetry_rows(
    face: Face, cases: Mapping[str, Mapping[str, float]], *, split: str, rows: int | None
) -> list[ScoreRow]:
    """Rows of the scores of a classifier by input (``score_symmetry_cases``)."""
    return [
        ScoreRow(
            endpoint="space_group",
            model=f"{face}, {case}",
            face=face,
            given=case,
            rows=rows,
            split=split,
            scores=scores,
        )
        for case, scores in cases.items()
        # the reference ignores the composition
        if face == "standard" or case.endswith("without composition")
    ]
