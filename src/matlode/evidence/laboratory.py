"""Computation with one potential, with a cache of results on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from matlode.artefacts import write_json
from matlode.evidence.elasticity import Elasticity, compute_elasticity
from matlode.evidence.potentials import find_potential
from matlode.evidence.relaxation import RelaxationSettings, Relaxed, relax

if TYPE_CHECKING:
    from pymatgen.core import Structure

Result = TypeVar("Result", Relaxed, Elasticity)

TIGHT = RelaxationSettings(max_force_ev_a=0.005)
"""Tight enough for second derivatives, which require vanishing forces."""


def get_cache_folder() -> Path:
    """The folder of the cache: ``$MATLODE_CACHE``, by default ``~/.cache/matlode``."""
    return Path(os.environ.get("MATLODE_CACHE") or Path.home() / ".cache" / "matlode")


@dataclass(frozen=True)
class Laboratory:
    """Computes with one potential and caches results by structure, potential and settings."""

    potential: str
    folder: Path = field(default_factory=get_cache_folder)
    settings: RelaxationSettings = TIGHT

    def relaxed(self, structure: Structure) -> Relaxed:
        """The relaxed structure; see ``relaxation.relax``."""
        return self._load_or_compute(
            self._find_relaxed(structure),
            Relaxed,
            lambda: relax(structure, self.potential, self.settings),
        )

    def elasticity(self, relaxed: Relaxed) -> Elasticity:
        """Elastic constants and phonons at Γ; see ``elasticity.compute_elasticity``."""
        return self._load_or_compute(
            self._find_elasticity(relaxed),
            Elasticity,
            lambda: compute_elasticity(relaxed, self.potential),
        )

    def keep(self, structure: Structure, relaxed: Relaxed, elasticity: Elasticity | None) -> None:
        """Write results to the cache, from a worker that does not share it."""
        if not self.has_relaxed(structure):
            self._write(self._find_relaxed(structure), relaxed)
        if elasticity is not None and not self.has_elasticity(relaxed):
            self._write(self._find_elasticity(relaxed), elasticity)

    def name_result(self, structure: Structure) -> str:
        """A name of the result of ``relaxed``: of the structure, the potential and the settings."""
        return self._find_relaxed(structure).stem

    def has_relaxed(self, structure: Structure) -> bool:
        """Whether the result of ``relaxed`` is in the cache."""
        return self._find_relaxed(structure).exists()

    def has_elasticity(self, relaxed: Relaxed) -> bool:
        """Whether the result of ``elasticity`` is in the cache."""
        return self._find_elasticity(relaxed).exists()

    def _find_relaxed(self, structure: Structure) -> Path:
        return self._find_file("relaxed", structure, asdict(self.settings))

    def _find_elasticity(self, relaxed: Relaxed) -> Path:
        return self._find_file("elasticity", relaxed.structure, {})

    def _load_or_compute(
        self, file: Path, result: type[Result], compute: Callable[[], Result]
    ) -> Result:
        try:
            return result(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # missing, damaged or from another version
            computed = compute()
            self._write(file, computed)
            return computed

    @staticmethod
    def _write(file: Path, result: Relaxed | Elasticity) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(result))

    def _find_file(self, kind: str, structure: Structure, settings: Mapping[str, object]) -> Path:
        key = {
            "potential": find_potential(self.potential).key,
            "settings": dict(settings),
            "lattice": np.round(structure.lattice.matrix, 6).tolist(),
            "numbers": [site.specie.Z for site in structure],
            "frac_coords": np.round(structure.frac_coords, 6).tolist(),
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / kind / digest[:2] / f"{digest}.json"
