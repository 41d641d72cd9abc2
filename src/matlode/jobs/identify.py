"""What is in a measured powder pattern: known phases, space group, composition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import write_atomically
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import atomic_numbers, conventional_formula, element_symbols
from matlode.data.symmetry import CRYSTAL_SYSTEMS, crystal_system
from matlode.data.tables import checksum, load_starter, read_table, starter_path
from matlode.errors import ArtefactError, GridMismatchError, InputError, suggest
from matlode.evidence.laboratory import cache_folder
from matlode.latent.space import LatentSpace
from matlode.progress import Progress, silent
from matlode.report.match_figures import Overlay, check_ending, draw_matches
from matlode.representation.diffraction import simulate_possible
from matlode.representation.observation import MATCH_SETTINGS, Observation
from matlode.representation.pattern_grid import to_grid
from matlode.representation.patterns import MeasuredPattern, read_pattern
from matlode.screening.known_lines import STANDARD_MATCH, KnownLines, Match, MatchSettings, distinct
from matlode.screening.symmetry import SymmetryClassifier, system_probabilities

SURE_OF_SYSTEM = 0.8
"""Probability of a crystal system below which the answer is "can't tell": of 300 calibration
patterns made as if measured, 37 % reach it, and of these 90 % are right (0.6: 61 and 81 %)."""
N_NEIGHBOURS = 20
"""Latent neighbours that elements are guessed from."""
ENCODED_AT_ONCE = 4096
OVERLAID = 3
"""Phases in the figure."""


@dataclass(frozen=True, eq=False)
class Identifier:
    """What measured patterns are held against; each part is made when used and kept on disk."""

    known_table: Path | None = None
    """Structure table (default: the starter set)."""
    index: Path | None = None
    """Folder of the index (default: one for the table in the user's cache)."""
    models_folder: Path | None = None
    settings: MatchSettings = STANDARD_MATCH
    progress: Progress = silent

    @cached_property
    def folder(self) -> Path:
        """Where the index of the table lies, or will lie."""
        return self.index or cache_folder() / "lines" / self._source[:16]

    @cached_property
    def _source(self) -> str:
        table = self.known_table or starter_path()
        if not table.is_file():
            raise InputError(f"no structure table at {table}; name a Parquet file.")
        return checksum(table)

    @cached_property
    def known(self) -> KnownLines:
        """The index, made anew if it is not there or of another table."""
        try:
            return KnownLines.load(self.folder, self._source)
        except ArtefactError:
            table = self.known_table
            materials = read_table(table) if table else load_starter()
            known = KnownLines.build(materials, self.progress)
            known.save(self.folder, self._source)
            return known

    @cached_property
    def space(self) -> LatentSpace:
        """The standard latent space."""
        return LatentSpace.load(self.models_folder)

    @cached_property
    def symmetry(self) -> SymmetryClassifier:
        """The space-group classifier."""
        return SymmetryClassifier.load(self.models_folder)

    @cached_property
    def latents(self) -> NDArray[np.float32]:
        """(n, 64), the known materials' patterns in the latent space; NaN without a pattern."""
        crystals = self.known.crystals
        file = self.folder / "latents.npy"
        if self.models_folder is None and file.exists():
            kept = np.load(file)
            if len(kept) == len(crystals):
                return kept
        found = np.full((len(crystals), 64), np.nan, np.float32)
        for at in range(0, len(crystals), ENCODED_AT_ONCE):
            rows = np.arange(at, min(at + ENCODED_AT_ONCE, len(crystals)))
            possible, patterns, _ = simulate_possible(self.known.exact(rows))
            if len(possible):
                found[rows[possible]] = self.space.encode_patterns(patterns, refine=0)
            self.progress("known patterns encoded", rows[-1] + 1, len(crystals))
        if self.models_folder is None:
            write_atomically(file, lambda stream: np.save(stream, found, allow_pickle=False))
        return found

    def phases(
        self,
        seen: Observation,
        elements: NDArray[np.bool_] | None,
        required: NDArray[np.bool_] | None,
    ) -> list[Match]:
        """Known phases that a pattern shows, each once, likeliest first."""
        rows = self.known.rows_with(elements, required)
        return distinct(self.known.search(seen, rows, self.settings), self.known)

    def symmetry_of(self, pattern: NDArray[np.float64], top: int) -> dict[str, Any]:
        """Crystal systems and space groups of a pattern (1601,), likeliest first, with their
        probabilities; ``answer`` is a crystal system or "can't tell"."""
        groups = self.symmetry.predict(pattern[None])
        systems = system_probabilities(groups)[0]
        best = int(systems.argmax())
        order = np.argsort(-groups[0])[:top]
        names = np.array(list(CRYSTAL_SYSTEMS))
        return {
            "answer": str(names[best]) if systems[best] >= SURE_OF_SYSTEM else "can't tell",
            "crystal_systems": {
                str(names[i]): round(float(systems[i]), 3) for i in np.argsort(-systems)[:3]
            },
            "space_groups": {str(i + 1): round(float(groups[0, i]), 3) for i in order},
        }

    def neighbours_of(
        self, pattern: NDArray[np.float64], allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Rows and distances of the N_NEIGHBOURS known patterns that are nearest to a pattern
        (1601,) in the latent space, nearest first."""
        point = self.space.encode_patterns(pattern[None], refine=0)
        rows = self.known.rows_with(allowed)
        rows = rows[np.isfinite(self.latents[rows, 0])]
        distances = np.linalg.norm(self.latents[rows] - point, axis=1)
        nearest = np.argsort(distances, kind="stable")[:N_NEIGHBOURS]
        return rows[nearest], distances[nearest]

    def compositions_of(
        self, pattern: NDArray[np.float64], allowed: NDArray[np.bool_] | None, top: int
    ) -> dict[str, Any]:
        """Formulas of the neighbours of a pattern (1601,), with their distances, and which part
        of the neighbours holds each element."""
        rows, distances = self.neighbours_of(pattern, allowed)
        formulas: dict[str, float] = {}
        for row, distance in zip(rows, distances.tolist(), strict=True):
            name = conventional_formula(str(self.known.formulas[row]))
            formulas.setdefault(name, round(distance, 2))
        share = self.known.elements[rows].sum(axis=0) / max(len(rows), 1)
        likely = [z for z in np.argsort(-share, kind="stable")[:8] if share[z] > 0]
        return {
            "formulas": dict(list(formulas.items())[:top]),
            "elements": {element_symbols()[z]: round(float(share[z]), 2) for z in likely},
        }


def identify(
    pattern: str | Path | MeasuredPattern,
    *,
    elements: Sequence[str] | None = None,
    require: Sequence[str] | None = None,
    wavelength: str | float | None = None,
    top: int = 10,
    plot: Path | None = None,
    identifier: Identifier | None = None,
) -> dict[str, Any]:
    """Known phases, space group and composition of a measured powder pattern, JSON-ready.

    ``elements`` are the only ones that phases may hold, ``require`` those that they must. The
    answer has ``phases``, at most ``top``, likeliest first: id, formula and space group, how well
    the pattern is met (``match``, a cosine, and ``score``, the same less what strain costs), the
    ``scale`` of the lattice with the fitted ``cell``, the zero shift, which parts of the observed
    intensity are ``explained`` and of the calculated one ``missing``; ``beside``, the likeliest
    phases of what the first leaves unexplained; ``symmetry`` (a crystal system or "can't tell",
    and space groups with probabilities); ``composition`` (the latent neighbours' formulas and
    elements). ``plot``: figure of the pattern with the best phases laid over it.

    Raises InputError for a file that is no powder pattern and for what is no element,
    GridMismatchError if too little was measured.
    """
    identifier = identifier or Identifier()
    allowed, required = _mask(elements), _mask(require)
    if plot is not None:
        check_ending(plot)
    if not isinstance(pattern, MeasuredPattern):
        pattern = read_pattern(pattern, wavelength=wavelength)
    seen = Observation.of(pattern)
    matches = identifier.phases(seen, allowed, required)
    answer: dict[str, Any] = {
        "pattern": pattern.source,
        "wavelength_angstrom": pattern.wavelength_angstrom,
        "notes": list(seen.gridded.notes),
        "known": len(identifier.known),
        "phases": _told(matches[:top], seen, identifier),
        "beside": [],
    }
    if matches:
        rest = _unexplained(matches[0], seen)
        if rest is not None:
            others = identifier.phases(rest, allowed, None)
            answer["beside"] = _told(others[: min(top, 3)], rest, identifier)
    answer |= _guesses(pattern, identifier, allowed, top)
    if plot is not None:
        _draw(plot, matches[:OVERLAID], seen, identifier)
    return answer


def _mask(symbols: Sequence[str] | None) -> NDArray[np.bool_] | None:
    if symbols is None:
        return None
    mask = np.zeros(MAX_ATOMIC_NUMBER, bool)
    known = atomic_numbers()
    for symbol in symbols:
        if symbol not in known:
            raise InputError(f'"{symbol}" is no element. {suggest(symbol, known)}')
        mask[known[symbol] - 1] = True
    return mask


REST = 0.1
"""Part of the observed intensity that has to be unexplained before a second phase is looked for."""


def _unexplained(match: Match, seen: Observation) -> Observation | None:
    """What a phase leaves of a pattern; None if that is little."""
    rest = seen.without(match.lines.profile(match.fit, seen.as_it_is()))
    part = rest.gridded.intensity.sum() / max(float(seen.gridded.intensity.sum()), 1e-12)
    return rest if part >= REST else None


def _told(
    matches: Sequence[Match], seen: Observation, identifier: Identifier
) -> list[dict[str, Any]]:
    from pymatgen.core import Lattice

    known = identifier.known
    view = seen.view(identifier.settings.passes[-1].sigma_deg)
    observed = view.roots**2
    answers = []
    for rank, match in enumerate(matches, start=1):
        profile = match.lines.profile(match.fit, view)
        common = float(np.minimum(profile, observed).sum())
        strain = match.lines.strain(match.fit)
        cell = Lattice(known.crystals.lattices[match.row] @ (np.eye(3) + strain))
        group = int(known.space_groups[match.row])
        answers.append(
            {
                "rank": rank,
                "id": str(known.ids[match.row]),
                "formula": conventional_formula(str(known.formulas[match.row])),
                "space_group": group,
                "crystal_system": crystal_system(group),
                "score": round(match.score, 4),
                "match": round(match.fit.match, 4),
                "scale": round(match.scale, 4),
                "cell": [round(value, 4) for value in cell.parameters],
                "zero_shift_deg": round(match.fit.zero_deg, 3),
                "damping_a2": round(match.fit.damping_a2, 2),
                "explained": round(common / max(float(observed.sum()), 1e-12), 3),
                "missing": round(1 - common / max(float(profile.sum()), 1e-12), 3),
            }
        )
    return answers


def _guesses(
    pattern: MeasuredPattern, identifier: Identifier, allowed: NDArray[np.bool_] | None, top: int
) -> dict[str, Any]:
    try:
        gridded = to_grid(pattern).intensity
    except GridMismatchError as error:  # enough for lines, not for the models
        nothing = {"answer": "can't tell", "crystal_systems": {}, "space_groups": {}}
        return {
            "symmetry": {**nothing, "why": str(error)},
            "composition": {"formulas": {}, "elements": {}, "why": str(error)},
        }
    return {
        "symmetry": identifier.symmetry_of(gridded, min(top, 5)),
        "composition": identifier.compositions_of(gridded, allowed, top),
    }


def _draw(path: Path, matches: Sequence[Match], seen: Observation, identifier: Identifier) -> None:
    view = seen.as_it_is()
    height = max(float((view.roots**2).max()), 1e-12)
    known = identifier.known
    grid = MATCH_SETTINGS.grid
    overlays = [
        Overlay(
            f"{conventional_formula(str(known.formulas[m.row]))} "
            f"({int(known.space_groups[m.row])}), {m.fit.match:.2f}",
            m.lines.profile(m.fit, view) / height,
            m.lines.two_theta_deg(m.fit),
        )
        for m in matches
    ]
    first, last = seen.limits_deg
    inside = (grid >= first) & (grid <= last)
    overlays = [Overlay(o.name, o.profile[inside], o.lines_deg) for o in overlays]
    draw_matches(
        path, grid[inside], (view.roots**2 / height)[inside], overlays,
        title=Path(seen.source).name,
    )  # fmt: skip
