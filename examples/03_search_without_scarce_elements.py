"""A small search: hard and without cobalt or rhenium, then the story of its best candidate."""

import tempfile
from pathlib import Path

from matlode import RunFolder, SearchSettings, search

with tempfile.TemporaryDirectory() as folder:
    run = search(
        maximize=["bulk_modulus", "shear_modulus"],
        exclude=["Co", "Re"],
        out=Path(folder) / "run",
        settings=SearchSettings(trials=256, n_start=300, n_screened=100, n_candidates=10),
    )
    best, *_ = RunFolder(run.folder).read_candidates()
    modulus = best.bulk_modulus
    print(f"{best.formula}: K = {modulus.value:.0f} GPa, {best.verdict}, {best.novelty}")
    for found in RunFolder(run.folder).explain(best).verdicts:
        print(f"{found.outcome} {found.verdict.rule}: {found.verdict.reason}")
