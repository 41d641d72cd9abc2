"""Search-match: known phases, space group and composition of a measured powder pattern."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import ARRAYS_FILE, find_model, write_atomically
from matlode.data.batches import split_range
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import atomic_numbers, element_symbols, format_formula
from matlode.data.symmetry import CRYSTAL_SYSTEMS, crystal_system
from matlode.data.tables import checksum
from matlode.errors import GridMismatchError, InputError, suggest
from matlode.jobs.deprecated import accept_identifier
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.options import Names
from matlode.optimisation.goal_file import parse_names
from matlode.progress import Progress, silent
from matlode.report.match_figures import Overlay, check_ending, draw_matches
from matlode.representation.diffraction import simulate_possible
from matlode.representation.observation import MATCH_SETTINGS, Observation
from matlode.representation.pattern_grid import to_grid
from matlode.representation.patterns import MeasuredPattern, read_pattern
from matlode.screening.known_lines import STANDARD_MATCH, KnownLines, Match, keep_distinct
from matlode.screening.mixtures import MixturePhase, find_mixture
from matlode.screening.phase_probability import CONFIDENCE, CONFIDENT, measure_overlap
from matlode.screening.symmetry import SymmetryClassifier, compute_system_probabilities

SURE_OF_SYSTEM = 0.8
"""Probability of a crystal system below which the answer is "can't tell": of 300 calibration
patterns made as if measured, 37 % reach it, and of these 90 % are right (0.6: 61 and 81 %)."""
CANNOT_TELL = "can't tell"
N_NEIGHBOURS = 20
"""Latent neighbours from which elements are guessed."""
ENCODED_AT_ONCE = 4096
MIN_UNEXPLAINED = 0.1
"""Share of the observed intensity that must be unexplained before other phases are searched."""
NO_MATCH = "no confident match"
NO_PEAKS = "no peaks above the noise"


@dataclass(frozen=True)
class Phase:
    """A known phase that a pattern matches."""

    rank: int
    id: str
    formula: str
    space_group: int
    crystal_system: str
    score: float
    """``match`` minus the penalties for free parameters, strain and unlikely phases."""
    match: float
    """Cosine of the observed and the fitted pattern."""
    scale: float
    """Fitted over tabulated lattice constants."""
    cell: tuple[float, ...]
    """Fitted a, b, c in Å and α, β, γ in degrees."""
    zero_shift_deg: float
    damping_a2: float
    explained: float
    """Share of the observed intensity that the phase explains."""
    missing: float
    """Share of the calculated intensity that is not observed."""


@dataclass(frozen=True)
class PhasePart:
    """A phase of a mixture."""

    id: str
    formula: str
    space_group: int
    cell: tuple[float, ...]
    """Fitted a, b, c in Å and α, β, γ in degrees."""
    weight_fraction: float
    """From scale · mass of the cell · volume of the cell; absorption is neglected."""
    uncertainty: float
    """Standard deviation of the weight fraction."""


@dataclass(frozen=True)
class SymmetryGuess:
    """Crystal system and space groups of a pattern alone, with probabilities, likeliest first."""

    answer: str = CANNOT_TELL
    """A crystal system, or "can't tell"."""
    crystal_systems: Mapping[str, float] = field(default_factory=dict)
    space_groups: Mapping[str, float] = field(default_factory=dict)
    why: str | None = None
    """Why there is no guess, if there is none."""


@dataclass(frozen=True)
class CompositionGuess:
    """Composition by the nearest known patterns in the latent space."""

    formulas: Mapping[str, float] = field(default_factory=dict)
    """Formula → latent distance, nearest first."""
    elements: Mapping[str, float] = field(default_factory=dict)
    """Element → share of the neighbours that contain it."""
    why: str | None = None
    """Why there is no guess, if there is none."""


@dataclass(frozen=True, repr=False)
class Identification:
    """What a measured pattern contains."""

    pattern: str
    """Source of the pattern."""
    wavelength_angstrom: float
    notes: tuple[str, ...]
    known: int
    """Number of known crystals that were searched."""
    answer: str
    """Formula of the first phase, "no confident match" or "no peaks above the noise"."""
    probability: float
    """Probability that the first phase is in the sample, if it is a known one."""
    phases: tuple[Phase, ...]
    """Best first, each as if it were the only one."""
    mixture: tuple[PhasePart, ...]
    """Phases that explain the pattern together, the largest part first."""
    symmetry: SymmetryGuess
    composition: CompositionGuess

    def __repr__(self) -> str:
        best = ", ".join(f"{p.formula} ({p.match:.2f})" for p in self.phases[:3]) or "no phase"
        return f"Identification({self.pattern}: {best}; {self.symmetry.answer})"

    def to_json(self) -> dict[str, object]:
        """The object that ``matlode identify --json`` prints."""
        found = asdict(self)
        for guess in (found["symmetry"], found["composition"]):
            if guess["why"] is None:
                del guess["why"]
        return found


@dataclass(frozen=True)
class FailedPattern:
    """A file of several that could not be used."""

    pattern: str
    error: str

    def to_json(self) -> dict[str, object]:
        """The object that ``matlode identify --json`` prints."""
        return asdict(self)


@accept_identifier
def identify(
    pattern: str | Path | MeasuredPattern,
    *,
    elements: Names | None = None,
    require: Names | None = None,
    wavelength: str | float | None = None,
    top: int = 10,
    plot: Path | None = None,
    models: Models | None = None,
    known: Known | None = None,
    progress: Progress = silent,
) -> Identification:
    """Identify the known phases in a measured powder pattern, its space group and composition.

    Phases contain no other elements than ``elements`` and all of ``require``; at most ``top``
    are returned. The phases of a mixture contain ``require`` together. ``plot`` names a figure of
    the pattern with the phases laid over it.

    Raises InputError for a file that is not a powder pattern and for unknown elements,
    GridMismatchError if the measured range is too short.

    >>> identify("salt.xy", elements="Na,Cl")  # doctest: +SKIP
    Identification(salt.xy: NaCl (1.00); cubic)
    """
    models, known = models or Models(), known or Known()
    allowed, required = _make_mask(elements), _make_mask(require)
    if plot is not None:
        check_ending(plot)
    if not isinstance(pattern, MeasuredPattern):
        pattern = read_pattern(pattern, wavelength=wavelength)
    seen = Observation.of(pattern)
    lines = known.lines
    rows = lines.find_rows(allowed, required)
    matches = find_phases(lines, seen, rows) if seen.has_peaks else []
    phases = _describe_phases(matches, seen, lines, top)
    probability = CONFIDENCE.compute(matches, lines, len(rows), allowed)
    mixture = _find_mixture(matches, seen, lines, allowed, required)
    if seen.has_peaks:
        symmetry, composition = _guess(pattern, models, known, allowed, top, progress)
    else:
        symmetry, composition = SymmetryGuess(why=NO_PEAKS), CompositionGuess(why=NO_PEAKS)
    if plot is not None:
        _draw(plot, mixture, seen, lines)
    return Identification(
        pattern=pattern.source,
        wavelength_angstrom=pattern.wavelength_angstrom,
        notes=tuple(seen.gridded.notes),
        known=len(lines),
        answer=_answer(seen, phases, probability),
        probability=round(probability, 3),
        phases=phases,
        mixture=_describe_mixture(mixture, lines),
        symmetry=symmetry,
        composition=composition,
    )


def identify_files(
    patterns: Sequence[Path],
    *,
    elements: Sequence[str] | None = None,
    require: Sequence[str] | None = None,
    wavelength: str | float | None = None,
    top: int = 10,
    plots: Path | None = None,
    models: Models | None = None,
    known: Known | None = None,
    progress: Progress = silent,
) -> Iterator[Identification | FailedPattern]:
    """Identify the phases in each of many files, in order (see ``identify``).

    A file that is not a usable powder pattern gives a record with the error. The folder ``plots``
    gets one figure per file, named after it.
    """
    models, known = models or Models(), known or Known()
    _make_mask(elements), _make_mask(require)  # an error of all files is raised
    for number, path in enumerate(patterns):
        progress("patterns identified", number, len(patterns), path.name)
        try:
            yield identify(
                path,
                elements=elements,
                require=require,
                wavelength=wavelength,
                top=top,
                plot=None if plots is None else plots / f"{path.name}.png",
                models=models,
                known=known,
            )
        except (GridMismatchError, InputError) as error:
            yield FailedPattern(str(path), str(error))
    progress("patterns identified", len(patterns), len(patterns))


def find_phases(lines: KnownLines, seen: Observation, rows: NDArray[np.intp]) -> list[Match]:
    """Known phases among the crystals of ``rows`` that match a pattern, each once, best first."""
    return keep_distinct(lines.search(seen, rows, STANDARD_MATCH), lines)


def guess_symmetry(
    classifier: SymmetryClassifier, pattern: NDArray[np.float64], top: int
) -> SymmetryGuess:
    """Crystal systems and space groups of a pattern (1601,)."""
    groups = classifier.predict(pattern[None])
    systems = compute_system_probabilities(groups)[0]
    best = int(systems.argmax())
    order = np.argsort(-groups[0])[:top]
    names = list(CRYSTAL_SYSTEMS)
    return SymmetryGuess(
        answer=names[best] if systems[best] >= SURE_OF_SYSTEM else CANNOT_TELL,
        crystal_systems={names[i]: round(float(systems[i]), 3) for i in np.argsort(-systems)[:3]},
        space_groups={str(i + 1): round(float(groups[0, i]), 3) for i in order},
    )


def encode_known(models: Models, known: Known, progress: Progress = silent) -> NDArray[np.float32]:
    """Encode the patterns of the known materials: (n, 64), NaN without a pattern.

    They are kept beside the index, under a name made of the autoencoder's checksum.
    """
    place = find_model("standard-pattern-vae", models.folder)
    file = known.index_folder / f"latents-{checksum(place / ARRAYS_FILE)[:16]}.npy"
    crystals = known.lines.crystals
    if file.exists():
        kept: NDArray[np.float32] = np.load(file)
        if len(kept) == len(crystals):
            return kept
    found = np.full((len(crystals), 64), np.nan, np.float32)
    for part in split_range(len(crystals), ENCODED_AT_ONCE):
        rows = np.arange(part.start, part.stop)
        possible, patterns, _ = simulate_possible(known.lines.exact(rows))
        if len(possible):
            found[rows[possible]] = models.space.encode_patterns(patterns, refine=0)
        progress("known patterns encoded", part.stop, len(crystals))
    write_atomically(file, lambda stream: np.save(stream, found, allow_pickle=False))
    return found


def find_latent_neighbours(
    pattern: NDArray[np.float64],
    models: Models,
    known: Known,
    allowed: NDArray[np.bool_] | None = None,
    progress: Progress = silent,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Rows and distances of the N_NEIGHBOURS known patterns that are nearest to a pattern
    (1601,) in the latent space, nearest first."""
    latents = encode_known(models, known, progress)
    point = models.space.encode_patterns(pattern[None], refine=0)
    rows = known.lines.find_rows(allowed)
    rows = rows[np.isfinite(latents[rows, 0])]
    distances = np.linalg.norm(latents[rows] - point, axis=1)
    nearest = np.argsort(distances, kind="stable")[:N_NEIGHBOURS]
    return rows[nearest], distances[nearest]


def _guess_composition(
    lines: KnownLines, rows: NDArray[np.intp], distances: NDArray[np.float64], top: int
) -> CompositionGuess:
    formulas: dict[str, float] = {}
    for row, distance in zip(rows, distances.tolist(), strict=True):
        name = format_formula(str(lines.formulas[row]))
        formulas.setdefault(name, round(distance, 2))
    share = lines.elements[rows].sum(axis=0) / max(len(rows), 1)
    likely = [z for z in np.argsort(-share, kind="stable")[:8] if share[z] > 0]
    return CompositionGuess(
        formulas=dict(list(formulas.items())[:top]),
        elements={element_symbols()[z]: round(float(share[z]), 2) for z in likely},
    )


def _make_mask(symbols: Names | None) -> NDArray[np.bool_] | None:
    if symbols is None:
        return None
    mask = np.zeros(MAX_ATOMIC_NUMBER, bool)
    known = atomic_numbers()
    for symbol in parse_names(symbols):
        if symbol not in known:
            raise InputError(f'unknown element "{symbol}". {suggest(symbol, known)}')
        mask[known[symbol] - 1] = True
    return mask


def _answer(seen: Observation, phases: Sequence[Phase], probability: float) -> str:
    if not seen.has_peaks:
        return NO_PEAKS
    return phases[0].formula if phases and probability >= CONFIDENT else NO_MATCH


def _find_mixture(
    matches: Sequence[Match],
    seen: Observation,
    lines: KnownLines,
    allowed: NDArray[np.bool_] | None,
    required: NDArray[np.bool_] | None,
) -> list[MixturePhase]:
    """Phases of the mixture; the best match alone if it leaves little unexplained."""
    if not matches:
        return []
    rest = seen.without(matches[0].lines.profile(matches[0].fit, seen.view_unbroadened()))
    part = rest.gridded.intensity.sum() / max(float(seen.gridded.intensity.sum()), 1e-12)
    rows = lines.find_rows(allowed) if part >= MIN_UNEXPLAINED else np.array([matches[0].row])
    wanted = allowed if required is None else required
    first = matches if required is None or part < MIN_UNEXPLAINED else None
    return find_mixture(lines, seen, rows, STANDARD_MATCH, wanted=wanted, first=first)


def _describe_mixture(mixture: Sequence[MixturePhase], lines: KnownLines) -> tuple[PhasePart, ...]:
    return tuple(
        PhasePart(
            id=str(lines.ids[phase.match.row]),
            formula=format_formula(str(lines.formulas[phase.match.row])),
            space_group=int(lines.space_groups[phase.match.row]),
            cell=_compute_cell(phase.match, lines),
            weight_fraction=round(phase.weight_fraction, 4),
            uncertainty=round(phase.uncertainty, 4),
        )
        for phase in mixture
    )


def _compute_cell(match: Match, lines: KnownLines) -> tuple[float, ...]:
    """Fitted a, b, c in Å and α, β, γ in degrees."""
    from pymatgen.core import Lattice

    strain = match.lines.strain(match.fit)
    cell = Lattice(lines.crystals.lattices[match.row] @ (np.eye(3) + strain))
    return tuple(round(value, 4) for value in cell.parameters)


def _describe_phases(
    matches: Sequence[Match], seen: Observation, lines: KnownLines, top: int
) -> tuple[Phase, ...]:
    phases = []
    for rank, match in enumerate(matches[:top], start=1):
        overlap = measure_overlap(match, seen)
        group = int(lines.space_groups[match.row])
        phases.append(
            Phase(
                rank=rank,
                id=str(lines.ids[match.row]),
                formula=format_formula(str(lines.formulas[match.row])),
                space_group=group,
                crystal_system=crystal_system(group),
                score=round(match.score, 4),
                match=round(match.fit.match, 4),
                scale=round(match.scale, 4),
                cell=_compute_cell(match, lines),
                zero_shift_deg=round(match.fit.zero_deg, 3),
                damping_a2=round(match.fit.damping_a2, 2),
                explained=round(overlap.explained, 3),
                missing=round(overlap.missing, 3),
            )
        )
    return tuple(phases)


def _guess(
    pattern: MeasuredPattern,
    models: Models,
    known: Known,
    allowed: NDArray[np.bool_] | None,
    top: int,
    progress: Progress,
) -> tuple[SymmetryGuess, CompositionGuess]:
    try:
        gridded = to_grid(pattern).intensity
    except GridMismatchError as error:  # enough for lines, not for the models
        return SymmetryGuess(why=str(error)), CompositionGuess(why=str(error))
    rows, distances = find_latent_neighbours(gridded, models, known, allowed, progress)
    return (
        guess_symmetry(models.symmetry, gridded, min(top, 5)),
        _guess_composition(known.lines, rows, distances, top),
    )


def _draw(
    path: Path, mixture: Sequence[MixturePhase], seen: Observation, lines: KnownLines
) -> None:
    view = seen.view_unbroadened()
    observed = view.roots**2
    height = max(float(observed.max()), 1e-12)
    grid = MATCH_SETTINGS.grid
    first, last = seen.limits_deg
    inside = (grid >= first) & (grid <= last)
    overlays = [
        Overlay(
            f"{format_formula(str(lines.formulas[m.row]))} "
            f"({int(lines.space_groups[m.row])}), {part.weight_fraction:.0%}",
            (part.draw(view) / height)[inside],
            m.lines.two_theta_deg(m.fit),
        )
        for part in mixture
        for m in [part.match]
    ]
    draw_matches(
        path, grid[inside], (observed / height)[inside], overlays, title=Path(seen.source).name
    )
