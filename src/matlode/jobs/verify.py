"""The function `relax`: candidates of a search or structure files, with the usual options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from matlode.data.readers.memory import Crystal, is_crystal
from matlode.engine import Engine
from matlode.errors import InputError
from matlode.evidence.examination import Examination
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.relax import make_sources, relax_run, relax_structures
from matlode.jobs.runs import Run
from matlode.optimisation.goal_file import parse_names
from matlode.progress import Progress, silent
from matlode.run_records import EvidenceRow


def relax(
    sources: Run | str | Path | Crystal | Sequence[str | Path | Crystal],
    *,
    top: int = 10,
    only: str | Sequence[int | str] = (),
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
    into its own folder, or those that ``only`` names by rank or formula; or one or several
    crystals (structure files, pymatgen Structures, ASE Atoms), whose results go to ``out``.
    ``potential`` computes all results, ``second_potential`` checks the energies; the workers of
    ``engine`` (default: this process) compute. Needs the extra ``relax``.

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
    run = _find_run(sources)
    if run is not None:
        named = parse_names(only) if isinstance(only, str) else only
        ranks = {run[which].rank for which in named}
        return relax_run(run.folder, top, examination, progress, ranks=ranks, engine=engine)
    is_one = isinstance(sources, str | Path) or is_crystal(sources)
    found = make_sources([sources] if is_one else list(cast(Iterable[object], sources)))
    if not found:
        raise InputError("nothing to relax; give the folder of a search, or crystals.")
    return relax_structures(found, Path(out), examination, progress, engine=engine)


def _find_run(sources: object) -> Run | None:
    """The search that the sources are; None if they are crystals."""
    if isinstance(sources, list | tuple) and len(sources) == 1:
        (sources,) = sources
    if isinstance(sources, str | Path) and Path(sources).is_dir():
        return Run(Path(sources))
    return sources if isinstance(sources, Run) else None
