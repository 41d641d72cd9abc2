"""What all training functions share: the table, its encodings, and the training loop's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from matlode.data.splits import Fold, hash_formulas
from matlode.latent.training import TrainingSettings, train
from matlode.progress import Progress
from matlode.records import Face
from matlode.training.encoding import EncodedTable
from matlode.training.table import TrainingTable


@dataclass(frozen=True)
class Trainer:
    """A table, what encoders make of it, and the folder that models are written into."""

    table: TrainingTable
    root: Path
    progress: Progress
    standard: EncodedTable
    reference: EncodedTable

    @classmethod
    def of(
        cls, table: TrainingTable, root: Path, progress: Progress, *, models: Path | None = None
    ) -> Trainer:
        """Models are written into ``root``; those that they build on are read from ``models``
        (default: ``root``)."""
        folder = models or root
        standard, reference = (
            EncodedTable(table, folder, "standard"),
            EncodedTable(table, folder, "reference"),
        )
        return cls(table, root, progress, standard, reference)

    def with_fold(self, fold: Fold) -> Trainer:
        """The same materials in another split; their encodings are shared."""
        return replace(self, table=replace(self.table, fold=fold))

    def find_encoding(self, face: Face) -> EncodedTable:
        """The materials in the latent space of ``face``."""
        return self.standard if face == "standard" else self.reference

    @property
    def models(self) -> Path | None:
        """Folder of the models to build on, or None for the shipped ones."""
        return self.standard.models

    def select_rows(
        self, role: str, labels: NDArray[np.float64] | None = None
    ) -> NDArray[np.bool_]:
        """Mask (n,) of the rows with this role (and a label)."""
        mask: NDArray[np.bool_] = self.table.roles == role
        return mask if labels is None else mask & ~np.isnan(labels)

    @property
    def halves(self) -> NDArray[np.bool_]:
        """(n,), true for one half of the formulas: the errors of a model of one half are measured
        on the other."""
        return hash_formulas(self.table.materials.frame["formula"], seed=1) < 0.5

    def fit(
        self,
        name: str,
        network: torch.nn.Module,
        data: Sequence[torch.Tensor],
        held_out: Sequence[torch.Tensor],
        settings: TrainingSettings,
        fresh: Callable[[int], Sequence[torch.Tensor]] | None = None,
    ) -> list[dict[str, float]]:
        """Train ``network`` in place; returns one log row per epoch (``latent.training.train``).

        ``name`` names the checkpoint, the log file and the progress bar.
        """
        torch.manual_seed(settings.seed)
        return train(
            network,
            data,
            held_out,
            settings,
            fresh=fresh,
            checkpoint=self.checkpoint(name),
            log_file=self.root / "logs" / f"{name}.csv",
            progress=self.progress,
            stage=name,
        )

    def checkpoint(self, name: str) -> Path:
        """File from which an unfinished training of ``name`` on these rows continues."""
        return self.root / "checkpoints" / f"{name}-{self.table.sha256[:12]}.npz"
