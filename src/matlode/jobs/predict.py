"""Predictions for given crystals: properties, verdicts and the nearest known material."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape

import numpy as np

from matlode.data.formulas import format_formula
from matlode.data.readers import Sources, open_sources, read_material_parts
from matlode.data.tables import Materials
from matlode.jobs.deprecated import accept_toolbox
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.screens import load_rules
from matlode.notebook import html_table
from matlode.progress import Progress, silent
from matlode.records import DroppedRow, Prediction, Verdict
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_possible
from matlode.representation.environments import describe_crystals
from matlode.screening.funnel import screen
from matlode.screening.novelty import KnownMaterials
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
        rows = [
            [name.replace("_", " "), p.in_words(), p.unit] for name, p in self.predictions.items()
        ]
        heading = f"<p>{escape(repr(self))}</p>"
        return heading + html_table(["property", "value (90 % interval)", "unit"], rows)

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
            "error": self.error,
        }


@accept_toolbox
def predict(
    sources: Sources | Materials,
    *,
    models: Models | None = None,
    known: Known | None = None,
    screens: Mapping[str, object] | None = None,
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
        stream_predictions(sources, models=models, known=known, screens=screens, progress=progress)
    )


@accept_toolbox
def stream_predictions(
    sources: Sources | Materials,
    *,
    models: Models | None = None,
    known: Known | None = None,
    screens: Mapping[str, object] | None = None,
    progress: Progress = silent,
) -> Iterator[CrystalPrediction]:
    """Yield what ``predict`` returns, holding only a part of the sources in memory at a time.

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
    return _predict_parts(parts, models, known, screens or {}, n_rows, progress)


def _split(materials: Materials) -> Iterator[Materials]:
    for at in range(0, max(len(materials), 1), CHUNK):
        part = materials.take(np.arange(at, min(at + CHUNK, len(materials))))
        yield part if at + CHUNK >= len(materials) else replace(part, dropped=())


def _predict_parts(
    parts: Iterable[Materials],
    models: Models,
    known: Known,
    screens: Mapping[str, object],
    n_rows: float,
    progress: Progress,
) -> Iterator[CrystalPrediction]:
    done = 0
    rules: tuple[Rule, ...] | None = None
    for part in parts:
        if len(part):
            if rules is None:
                rules = load_rules(models, known, screens)
            yield from _predict_part(part, models, known.catalogue, rules)
        yield from map(_refuse, part.dropped)
        done += len(part) + len(part.dropped)
        progress("predict", done, n_rows)
    if done != n_rows:
        progress("predict", done, done)


def _predict_part(
    materials: Materials, models: Models, known: KnownMaterials, rules: Sequence[Rule]
) -> list[CrystalPrediction]:
    keep, patterns, refused = simulate_possible(materials.crystals)
    names = list(map(str, materials.frame["id"]))
    is_file = materials.frame.get("is_file", [False] * len(names))
    answers = [
        CrystalPrediction(name, bool(of_file), error=str(refused.get(row, "")))
        for row, (name, of_file) in enumerate(zip(names, is_file, strict=True))
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
    for position, screened in enumerate(screen(candidates, rules)):
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


def _refuse(dropped: DroppedRow) -> CrystalPrediction:
    return CrystalPrediction(dropped.id, dropped.is_file, error=dropped.reason)
