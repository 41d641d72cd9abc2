"""A potential, and what was computed with it before."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from matlode.artefacts import write_json
from matlode.evidence.elasticity import Elasticity, elasticity
from matlode.evidence.potentials import potential_info
from matlode.evidence.relaxation import RelaxationSettings, Relaxed, relax

if TYPE_CHECKING:
    from pymatgen.core import Structure

Result = TypeVar("Result", Relaxed, Elasticity)

TIGHT = RelaxationSettings(max_force_ev_a=0.005)
"""For second derivatives, which are those of a crystal at rest."""


def cache_folder() -> Path:
    """``$MATLODE_CACHE``, or a folder of the user's."""
    return Path(os.environ.get("MATLODE_CACHE") or Path.home() / ".cache" / "matlode")


@dataclass(frozen=True)
class Laboratory:
    """Computes with one potential; results are kept by structure, potential and settings."""

    potential: str
    folder: Path = field(default_factory=cache_folder)
    settings: RelaxationSettings = TIGHT

    def relaxed(self, structure: Structure) -> Relaxed:
        """See ``relaxation.relax``."""
        return self._remembered(
            "relaxed",
            structure,
            asdict(self.settings),
            Relaxed,
            lambda: relax(structure, self.potential, self.settings),
        )

    def elasticity(self, relaxed: Relaxed) -> Elasticity:
        """See ``elasticity.elasticity``."""
        return self._remembered(
            "elasticity",
            relaxed.structure,
            {},
            Elasticity,
            lambda: elasticity(relaxed, self.potential),
        )

    def has_relaxed(self, structure: Structure) -> bool:
        """Whether ``relaxed`` would answer at once."""
        return self._file("relaxed", structure, asdict(self.settings)).exists()

    def has_elasticity(self, relaxed: Relaxed) -> bool:
        """Whether ``elasticity`` would answer at once."""
        return self._file("elasticity", relaxed.structure, {}).exists()

    def _remembered(
        self,
        kind: str,
        structure: Structure,
        settings: Mapping[str, Any],
        result: type[Result],
        make: Callable[[], Result],
    ) -> Result:
        file = self._file(kind, structure, settings)
        try:
            return result.from_dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # not there, or of another version
            made = make()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, made.to_dict())
            return made

    def _file(self, kind: str, structure: Structure, settings: Mapping[str, Any]) -> Path:
        asked = {
            "potential": potential_info(self.potential).key,
            "settings": dict(settings),
            "lattice": np.round(structure.lattice.matrix, 6).tolist(),
            "numbers": [site.specie.Z for site in structure],
            "frac_coords": np.round(structure.frac_coords, 6).tolist(),
        }
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return self.folder / kind / digest[:2] / f"{digest}.json"
