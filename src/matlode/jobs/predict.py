"""Predictions for given crystals: properties, verdicts and the nearest known material."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from html import escape

import numpy as np

from matlode.data.formulas import format_formula
from matlode.data.readers import Sources, open_sources, read_material_parts
from matlode.data.readers.source import NOTE_COLUMN
from matlode.data.tables import Materials
from matlode.engine import Engine, Here, Shared
from matlode.jobs.deprecated import accept_toolbox
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.screens import load_rules
from matlode.progress import Progress, silent
from matlode.records import Prediction, Verdict, tabulate_predictions
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_possible
from matlode.representation.environments import describe_crystals
from matlode.screening.funnel import screen
from matlode.screening.rule import Rule

CHUNK = 1024
"""Crystals predicted at once: patterns of a chunk take 6.5 MB."""


@dataclass(frozen=True, repr=False)
class CrystalPrediction:
    """Everything that is predicted for one crystal, or why nothing is."""

    name: str
    """Path of a file, id of a row in a table."""
    is_file: bool = False
    formula: str | None = None
    space_group: int | None = None
    """Number of the structure's space group, by moyopy."""
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    """By property."""
    verdicts: tuple[Verdict, ...] = ()
    accepted: bool | None = None
    """Whether no required screen rejects the crystal."""
    nearest_known: str | None = None
    """Formula and id of the known material of the nearest composition."""
    note: str | None = None
    """What was assumed in reading the crystal."""
    error: str | None = None
    """Why the crystal could not be read or has no pattern; None for all others."""

    def __repr__(self) -> str:
        if self.error is not None:
            return f"CrystalPrediction({self.name}: {self.error})"
        verdict = "accepted" if self.accepted else "rejected"
        return (
            f"CrystalPrediction({self.name}: {self.formula}, space group {self.space_group}, "
            f"{verdict})"
        )

    def _repr_html_(self) -> str:
        """For notebooks: all predictions."""
        return f"<p>{escape(repr(self))}</p>{tabulate_predictions(self.predictions)}"

    def to_json(self) -> dict[str, object]:
        """The object that ``matlode predict --json`` prints."""
        verdict = None if self.accepted is None else "accepted" if self.accepted else "rejected"
        return {
            "file" if self.is_file else "id": self.name,
            "formula": self.formula,
            "space_group": self.space_group,
            # vars() rather than dataclasses.asdict, which copies every number
            "predictions": {name: dict(vars(p)) for name, p in self.predictions.items()},
            "verdicts": [dict(vars(verdict)) for verdict in self.verdicts],
            "verdict": verdict,
            "nearest_known": self.nearest_known,
            "note": self.note,
            "error": self.error,
        }


@accept_toolbox
def predict(
    sources: Sources | Materials,
    *,
    models: Models | None = None,
    known: Known | None = None,
    screens: Mapping[str, object] | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> list[CrystalPrediction]:
    """Predict the properties of crystals.

    ``sources`` is one or several of: paths of files (CIF, POSCAR, ...), folders and tables,
    pymatgen Structures, ASE Atoms, pandas frames with a crystal in each row. Returns one record
    per crystal, in order; those that cannot be read follow the others of their part of at least
    1,024 and give the reason in ``error``.
    Raises InputError if a source does not exist, GoalError for unknown ``screens``.

    >>> predict("salt.cif")
    [CrystalPrediction(salt.cif: NaCl, space group 225, accepted)]
    >>> from ase.build import bulk
    >>> copper, = predict(bulk("Cu"))
    >>> copper.predictions["bulk_modulus"].unit
    'GPa'
    """
    return list(
        stream_predictions(
            sources, models=models, known=known, screens=screens, engine=engine, progress=progress
        )
    )


@accept_toolbox
def stream_predictions(
    sources: Sources | Materials,
    *,
    models: Models | None = None,
    known: Known | None = None,
    screens: Mapping[str, object] | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Iterator[CrystalPrediction]:
    """Yield what ``predict`` returns, holding only some parts of the sources in memory at a time.

    The workers of ``engine`` (default: this process, which uses threads) predict; they find
    ``models`` and ``known`` under the same paths.

    >>> for answer in stream_predictions("salt.cif"):
    ...     print(answer.formula, answer.space_group)
    NaCl 225
    """
    models, known = models or Models(), known or Known()
    if isinstance(sources, Materials):
        parts: Iterator[Materials] = _split(sources)
        n_rows: float = len(sources) + len(sources.dropped)
    else:
        opened = open_sources(sources)
        # infinite if the length of a source is unknown
        parts, n_rows = read_material_parts(opened, CHUNK), sum(source.n_rows for source in opened)
    predictor = _Predictor(models, known, screens or {})
    return _predict_parts(parts, predictor, n_rows, engine or Here(), progress)


def _split(materials: Materials) -> Iterator[Materials]:
    for at in range(0, max(len(materials), 1), CHUNK):
        part = materials.take(np.arange(at, min(at + CHUNK, len(materials))))
        yield part if at + CHUNK >= len(materials) else replace(part, dropped=())


@dataclass(frozen=True)
class _Predictor:
    """What predictions need, loaded for the first crystal."""

    models: Models
    known: Known
    screens: Mapping[str, object]

    @cached_property
    def rules(self) -> Sequence[Rule]:
        """The screens."""
        return load_rules(self.models, self.known, self.screens)


def _predict_parts(
    parts: Iterable[Materials],
    predictor: _Predictor,
    n_rows: float,
    engine: Engine,
    progress: Progress,
) -> Iterator[CrystalPrediction]:
    done = 0
    shared = engine.share(predictor)
    for answers in engine.stream(partial(_predict_part, shared), parts):
        yield from answers
        done += len(answers)
        progress("predict", done, n_rows)
    if done != n_rows:
        progress("predict", done, done)


def _predict_part(shared: Shared[_Predictor], part: Materials) -> list[CrystalPrediction]:
    """The predictions of a part, in a worker."""
    refused = [CrystalPrediction(row.id, row.is_file, error=row.reason) for row in part.dropped]
    return [*_predict_crystals(part, shared()), *refused] if len(part) else refused


def _predict_crystals(materials: Materials, predictor: _Predictor) -> list[CrystalPrediction]:
    models, known = predictor.models, predictor.known.catalogue
    keep, patterns, refused = simulate_possible(materials.crystals)
    names = list(map(str, materials.frame["id"]))
    is_file = materials.frame.get("is_file", [False] * len(names))
    notes = materials.frame.get(NOTE_COLUMN, [None] * len(names))
    answers = [
        CrystalPrediction(
            name,
            bool(of_file),
            note=note if isinstance(note, str) else None,
            error=str(refused.get(row, "")),
        )
        for row, (name, of_file, note) in enumerate(zip(names, is_file, notes, strict=True))
    ]
    if not len(keep):
        return answers
    good = materials.take(keep)
    compositions = composition_vectors(good.crystals)
    candidates = models.predict_candidates(
        list(good.frame["formula"]), compositions, patterns, case="simulated",
        crystals=describe_crystals(good.crystals),
    )  # fmt: skip
    nearest = known.nearest(compositions)
    for position, screened in enumerate(screen(candidates, predictor.rules)):
        candidate, (index, _) = screened.candidate, nearest[position]
        row = int(keep[position])
        answers[row] = replace(
            answers[row],
            formula=format_formula(candidate.formula),
            space_group=candidate.space_group,
            predictions=candidate.predictions,
            verdicts=screened.verdicts,
            accepted=screened.accepted,
            nearest_known=f"{format_formula(known.formulas[index])} ({known.ids[index]})",
            error=None,
        )
    return answers
