"""A small search: hard and without cobalt or rhenium, then the story of its best candidate."""

import tempfile
from pathlib import Path

from matlode import SearchSettings, search

with tempfile.TemporaryDirectory() as folder:
    run = search(
        maximize=["bulk_modulus", "shear_modulus"],
        exclude=["Co", "Re"],
        out=Path(folder) / "run",
        settings=SearchSettings(trials=256, n_start=300, n_candidates=10),
    )
    best = run.candidates.iloc[0]
    print(f"{best.formula}: K = {best.bulk_modulus:.0f} GPa, {best.verdict}, {best.novelty}")
    print(best.reasons.replace(" | ", "\n"))
