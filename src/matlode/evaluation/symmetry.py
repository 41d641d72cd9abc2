"""Space groups from patterns: the paper's classifier and ours, on rows or formulas never seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from matlode.artefacts import write_json
from matlode.data.splits import SPLITS, TEST, Fold
from matlode.errors import GoalError, suggest
from matlode.latent.space import FACES
from matlode.progress import Progress, silent
from matlode.screening.symmetry_answers import REFERENCE_SYMMETRY_MODEL, SYMMETRY_MODEL
from matlode.screening.symmetry_nets import SYMMETRY_NETS
from matlode.training.recipes import Trainer, all_symmetry_scores, fit_symmetry
from matlode.training.settings import TRAINING
from matlode.training.table import TrainingTable

N_PARTS = 10
"""A tenth of the rows (or formulas, ...) tests."""


def measure_symmetry(
    *,
    split: str = "random",
    faces: tuple[str, ...] = FACES,
    data: Path | None = None,
    out: Path = Path("folds"),
    models: Path | None = None,
    epochs: int | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """One row per face and kind of input, from classifiers trained on the other nine tenths.

    The random split faces the paper; rows of equal formula then stand on both sides. What
    is in ``out`` already is not made again. Raises GoalError for an unknown split.
    """
    if split not in SPLITS:
        raise GoalError(f'"{split}" is no split. {suggest(split, SPLITS)}')
    whole = TrainingTable.load(data)
    table = replace(whole, fold=Fold(split, 0, N_PARTS))
    trainer = Trainer(table, out, dict(TRAINING), progress, models=models)
    rows = []
    for face in faces:
        name = {"standard": SYMMETRY_MODEL, "reference": REFERENCE_SYMMETRY_MODEL}[face]
        file = out / f"{name}-{split}-{whole.sha256[:12]}.json"
        if not file.exists():
            named = f"{name}-{split}"
            settings = trainer.settings[name]
            if epochs is not None:
                settings = replace(settings, max_epochs=epochs)
            own = replace(trainer, settings={**trainer.settings, named: settings})
            classifier, _ = fit_symmetry(own, named, SYMMETRY_NETS[name]())
            out.mkdir(parents=True, exist_ok=True)
            write_json(file, all_symmetry_scores(own, classifier))
            own.checkpoint(named).unlink(missing_ok=True)
        scores = json.loads(file.read_text())
        rows += [
            {
                "endpoint": "space_group",
                "unit": "",
                "model": f"{face}, {case}",
                "rows": int((table.roles == TEST).sum()),
                "split": f"a tenth by {split.replace('_', ' ')}",
                "scores": of_case,
            }
            for case, of_case in scores.items()
            # the paper's does not look at the composition
            if face == "standard" or case.endswith("without composition")
        ]
    return rows
