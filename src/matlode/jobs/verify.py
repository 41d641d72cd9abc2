"""The function `relax`: candidates of a search or structure files, with the usual options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matlode.engine import Engine
from matlode.errors import InputError
from matlode.evidence.examination import Examination
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.relax import make_sources, relax_files, relax_run
from matlode.jobs.runs import Run
from matlode.progress import Progress, silent
from matlode.run_records import EvidenceRow


def relax(
    sources: Run | str | Path | Sequence[str | Path],
    *,
    top: int = 10,
    potential: str = "sevennet-l3i5",
    second_potential: str = "chgnet",
    hull: bool = True,
    elastic: bool = True,
    out: str | Path = "relaxed",
    models: Models | None = None,
    known: Known | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> list[EvidenceRow]:
    """Verify candidates with two ML potentials: relaxation, hull energy, elasticity.

    ``sources`` is a search (``Run`` or its folder), whose ``top`` best candidates are relaxed
    into its own folder, or structure files, whose results go to ``out``. ``potential`` computes
    all results, ``second_potential`` checks the energies; the workers of ``engine`` (default: this
    process) compute. Needs the extra ``relax``.

    Raises GoalError for an unknown potential, InputError for one that is not installed and for
    sources that cannot be read.

    >>> relax("runs/hard", top=3)  # doctest: +SKIP
    [EvidenceRow(TaB2: relaxed, 0.012 eV/atom above the hull, ...), ...]
    >>> relax("runs/hard", potential="emu")
    Traceback (most recent call last):
    matlode.errors.GoalError: unknown potential "emu". Known: chgnet, sevennet-0, sevennet-l3i5.
    """
    examination = Examination(
        (known or Known()).materials, (models or Models()).folder, primary=potential,
        secondary=second_potential, hull=hull, elastic=elastic,
    )  # fmt: skip
    if isinstance(sources, Run):
        return relax_run(sources.folder, top, examination, progress, engine=engine)
    several = [sources] if isinstance(sources, str | Path) else list(sources)
    paths = [Path(path) for path in several]
    if not paths:
        raise InputError("nothing to relax; give the folder of a search, or structure files.")
    if len(paths) == 1 and paths[0].is_dir():
        return relax_run(paths[0], top, examination, progress, engine=engine)
    return relax_files(make_sources(paths), Path(out), examination, progress, engine=engine)
