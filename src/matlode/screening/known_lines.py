"""Search-match: identifies the known crystals in a measured powder pattern.

An index holds the strongest lines of every known crystal. A search correlates all of them with
the pattern at several isotropic scales. The cells of the best are then fitted, within their
lattice symmetry, in three passes with decreasing peak width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.artefacts import write_atomically, write_json
from matlode.data.batches import split_range
from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals
from matlode.data.tables import Materials
from matlode.engine import count_threads
from matlode.errors import ArtefactError, ScatteringError
from matlode.progress import Progress, silent
from matlode.representation.diffraction import CHUNK, compute_chunk_peaks, find_scattering_factors
from matlode.representation.observation import (
    LOG_Q_STEP,
    MATCH_SETTINGS,
    Observation,
    View,
    convert_to_log_q_bins,
)
from matlode.representation.strained_lines import (
    CellFit,
    Factors,
    FitCosts,
    StrainedLines,
    find_lattice_strains,
)
from matlode.screening.phase_prior import GASES, Prior, find_made

KIND: Final = "known-lines"
SCHEMA: Final = 3
HEADER: Final = "index.json"
N_LINES: Final = 96
"""Number of lines per crystal in the index: the strongest."""
MERGED: Final = 2.0
"""Lines within this many bins in ln Q (0.3 % of a length) are merged in the index."""
MEASURED_PER_COMPUTED: Final = 0.99
"""Median ratio of the cell lengths of measured crystals (COD/AMCSD) to those of the same phases as
computed with density functionals: 0.989 for 196 pairs, with a standard deviation of 0.013."""
EXPECTED_SCALE: Final = 0.995
"""Ratio at which the strain of a computed cell costs nothing. With the median, crystals whose cells
are as computed lose to isotypic ones that are 1 % larger; with 1, measured minerals lose."""
MEASURED_DATABASES: Final = ("COD/AMCSD",)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass of fits."""

    sigma_deg: float
    """Width of the peaks in degrees 2θ; wide peaks overlap over larger shifts."""
    n: int
    """Number of crystals, the best so far, that are fitted."""


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    """How known crystals are compared with a pattern."""

    largest_scale: float = 0.03
    """Largest relative change of all lengths in the first comparison."""
    look_sigma: float = 0.003
    """Peak width in ln Q in the first comparison, wide enough for lattices of another shape."""
    passes: tuple[Pass, ...] = (
        Pass(sigma_deg=0.6, n=450), Pass(sigma_deg=0.3, n=150), Pass(sigma_deg=0.15, n=50),
    )  # fmt: skip
    """Passes of fits; the last determines how many crystals are ranked."""
    costs: FitCosts = field(default_factory=FitCosts)
    """Penalties of strain and other parameters of a fit."""
    prior: Prior = field(default_factory=Prior)
    """Advantages of likely phases."""


STANDARD_MATCH: Final = MatchSettings()


@dataclass(frozen=True)
class Match:
    """A known crystal, fitted to a pattern."""

    row: int
    """Row of the known materials."""
    lines: StrainedLines
    fit: CellFit
    prior: float
    """Advantage of the crystal before the pattern is seen (``Prior``)."""
    expected_scale: float

    @property
    def score(self) -> float:
        """Score by which matches are ranked."""
        return self.fit.score + self.prior

    @property
    def scale(self) -> float:
        """Mean ratio of the sample's cell lengths to those of the known crystal."""
        return self.expected_scale * (1 + float(np.trace(self.lines.strain(self.fit))) / 3)


@dataclass(frozen=True, eq=False)
class KnownLines:
    """Index of the strongest lines of n known crystals, with the crystals."""

    crystals: Crystals
    """Coordinates may be in single precision; see ``exact``."""
    ids: NDArray[np.str_]
    formulas: NDArray[np.str_]
    """(n,), canonical."""
    space_groups: NDArray[np.int64]
    expected_scales: NDArray[np.float32]
    """(n,), expected lengths of a sample's cell relative to those in the table. ``crystals`` and
    lines have the expected cells."""
    n_strains: NDArray[np.uint8]
    """(n,), number of strains that keep the symmetry of the lattice."""
    made: NDArray[np.bool_]
    """(n,), whether the formula is in the list of those that were made."""
    hull_energies: NDArray[np.float32]
    """(n,), energy above the hull in eV/atom, the smallest of the phase; NaN if unknown."""
    bins: NDArray[np.uint16]
    """(m,), positions of lines in ln Q."""
    amplitudes: NDArray[np.float32]
    """(m,), square roots of their intensities; the squares over all lines of a crystal, including
    those left out, sum to 1."""
    starts: NDArray[np.int64]
    """(n + 1,); crystal i has the lines starts[i]:starts[i + 1], none if it has no pattern."""

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(cls, materials: Materials, progress: Progress = silent) -> KnownLines:
        """Build the index; materials with an element without scattering factor are left out."""
        materials = select_scattering(materials)
        scales = np.where(find_computed(materials.frame), EXPECTED_SCALE, 1.0)
        crystals = materials.crystals
        crystals = replace(crystals, lattices=crystals.lattices * scales[:, None, None])
        parts = []
        for chunk in split_range(len(crystals), 64 * CHUNK):
            parts += _lines(crystals.take(np.arange(chunk.start, chunk.stop)))
            progress("lines of known crystals", chunk.stop, len(crystals))
        counts = np.concatenate([np.zeros(1, np.int64), *(counts for _, _, counts in parts)])
        frame = materials.frame
        space_groups = _space_groups(materials)
        return cls(
            crystals,
            frame["id"].to_numpy(str),
            frame["formula"].to_numpy(str),
            space_groups,
            scales.astype(np.float32),
            np.array([len(find_lattice_strains(cell)) for cell in crystals.lattices], np.uint8),
            find_made(frame["formula"].tolist()),
            _find_hull_energies(materials, space_groups),
            np.concatenate([np.zeros(0, np.uint16), *(bins for bins, _, _ in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(amplitudes for _, amplitudes, _ in parts)]),
            np.cumsum(counts),
        )

    @cached_property
    def elements(self) -> NDArray[np.bool_]:
        """(n, MAX_ATOMIC_NUMBER), true for the elements of each crystal."""
        found = np.zeros((len(self), MAX_ATOMIC_NUMBER + 1), bool)
        owners = np.repeat(np.arange(len(self)), self.crystals.n_atoms)
        found[owners, self.crystals.numbers] = True
        return found[:, 1:]

    @cached_property
    def gases(self) -> NDArray[np.bool_]:
        """(n,), true for elements that are gases at room conditions."""
        gas = np.isin(np.arange(1, MAX_ATOMIC_NUMBER + 1), GASES)
        return (self.elements.sum(axis=1) == 1) & self.elements[:, gas].any(axis=1)

    def find_rows(
        self, allowed: NDArray[np.bool_] | None, required: NDArray[np.bool_] | None = None
    ) -> NDArray[np.intp]:
        """Rows of the crystals that have only ``allowed`` elements and all ``required`` ones.

        Both are masks (MAX_ATOMIC_NUMBER,); None means no restriction. Elements that are gases
        are left out unless they are the only element that is allowed.
        """
        good = np.ones(len(self), bool)
        if allowed is None or allowed.sum() > 1:
            good &= ~self.gases
        if allowed is not None:
            good &= ~self.elements[:, ~allowed].any(axis=1)
        if required is not None:
            good &= self.elements[:, required].all(axis=1)
        return np.flatnonzero(good)

    def exact(self, rows: NDArray[np.intp]) -> Crystals:
        """The crystals of ``rows`` in double precision, as the diffraction engine needs them."""
        few = self.crystals.take(rows)
        return replace(
            few,
            numbers=few.numbers.astype(np.int64),
            frac_coords=few.frac_coords.astype(np.float64),
            occupancies=few.occupancies.astype(np.float64),
        )

    def search(
        self,
        seen: Observation,
        rows: NDArray[np.intp] | None = None,
        settings: MatchSettings = STANDARD_MATCH,
    ) -> list[Match]:
        """Search the crystals of ``rows`` (default: all) in a pattern; the best match first."""
        rows = self.find_rows(None) if rows is None else rows
        scores, scales = self.look(seen, rows, settings)
        best = np.argsort(-scores, kind="stable")[: settings.passes[0].n]
        best = best[scores[best] > settings.prior.worst]
        few = self.exact(rows[best])
        factors = find_scattering_factors(few, MATCH_SETTINGS)
        with ThreadPoolExecutor(count_threads()) as pool:
            found = list(
                pool.map(
                    lambda i: self._begin_fit(
                        few, i, factors, int(rows[best[i]]), float(scales[best[i]]), settings
                    ),
                    range(len(few)),
                )
            )
            for number, one in enumerate(settings.passes):
                fit = partial(
                    _fitted,
                    view=seen.view(one.sigma_deg),
                    costs=settings.costs,
                    strain_only=number == 0,
                )
                found = sorted(pool.map(fit, found[: one.n]), key=lambda match: -match.score)
        return found

    def look(
        self, seen: Observation, rows: NDArray[np.intp], settings: MatchSettings
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """First comparison of the crystals of ``rows``: score and isotropic strain, (n_rows,) each.

        The score is the largest cosine of square-root intensities, minus the cost of the strain
        that gives it, plus the prior.
        """
        from matlode.representation.line_kernels import correlate

        half = round(settings.largest_scale / LOG_Q_STEP)
        shifts = LOG_Q_STEP * np.arange(-half, half + 1.0)
        view = seen.bin_log_q(settings.look_sigma, half)
        observed = view.roots.astype(np.float32), view.seen.astype(np.float32)
        cost = (3 * settings.costs.scale * shifts**2).astype(np.float32)
        scores = np.empty(len(rows), np.float32)
        best = np.empty(len(rows), np.int64)

        def work(part: slice) -> None:
            correlate(
                self.bins, self.amplitudes, self.starts, rows[part], *observed, cost,
                scores[part], best[part],
            )  # fmt: skip

        step = max(1, -(-len(rows) // (4 * count_threads())))
        with ThreadPoolExecutor(count_threads()) as pool:
            list(pool.map(work, split_range(len(rows), step)))
        return scores + self.compute_priors(rows, settings.prior), -shifts[best + half]

    def compute_priors(self, rows: NDArray[np.intp], prior: Prior) -> NDArray[np.float32]:
        """Advantages of the crystals of ``rows`` before the pattern is seen, (n_rows,)."""
        return prior.compute(self.n_strains[rows], self.made[rows], self.hull_energies[rows])

    def _begin_fit(
        self,
        crystals: Crystals,
        index: int,
        factors: Factors,
        row: int,
        strain: float,
        settings: MatchSettings,
    ) -> Match:
        lines = StrainedLines.of(crystals, index, factors)
        prior = float(self.compute_priors(np.array([row]), settings.prior)[0])
        return Match(row, lines, lines.scaled(strain), prior, float(self.expected_scales[row]))

    def save(self, folder: Path, source: str) -> None:
        """Write plain arrays and, last, a header; ``source`` is the checksum of the table."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = self._arrays()
        for name, array in arrays.items():
            write_atomically(
                folder / f"{name}.npy",
                partial(np.save, arr=array, allow_pickle=False),
            )
        shapes = {name: [array.dtype.str, *array.shape] for name, array in arrays.items()}
        write_json(folder / HEADER, {**_identity(source), "arrays": shapes})

    @classmethod
    def load(cls, folder: Path, source: str) -> KnownLines:
        """Load an index with memory-mapped arrays.

        Raises ArtefactError unless ``save`` wrote it for the same ``source``.
        """
        try:
            header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
            if any(header[name] != value for name, value in _identity(source).items()):
                raise ArtefactError(
                    f"{folder} contains an index of another table or version; delete it."
                )
            # memory-mapped, but as np.ndarray, for which the kernels were compiled
            got = {
                name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
                for name in header["arrays"]
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(
                f"{folder} is damaged or not an index of diffraction lines ({error}); delete it."
            ) from error
        if any([a.dtype.str, *a.shape] != header["arrays"][n] for n, a in got.items()):
            raise ArtefactError(
                f"{folder}: the arrays do not have the shapes given in the header; delete it."
            )
        crystals = Crystals(*(got[name] for name in CRYSTAL_ARRAYS))
        return cls(crystals, *(got[name] for name in LINE_ARRAYS))

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        crystals = self.crystals
        return {
            "lattices": crystals.lattices,
            "numbers": crystals.numbers.astype(np.uint8),
            # errors of 1e-6 Å are far below the tolerances of the engine
            "frac_coords": crystals.frac_coords.astype(np.float32),
            "occupancies": crystals.occupancies.astype(np.float32),
            "offsets": crystals.offsets,
            **{name: getattr(self, name) for name in LINE_ARRAYS},
        }


CRYSTAL_ARRAYS = ("lattices", "numbers", "frac_coords", "occupancies", "offsets")
LINE_ARRAYS = (
    "ids",
    "formulas",
    "space_groups",
    "expected_scales",
    "n_strains",
    "made",
    "hull_energies",
    "bins",
    "amplitudes",
    "starts",
)


def keep_distinct(matches: Sequence[Match], known: KnownLines) -> list[Match]:
    """Keep the best match of each phase, that is of each formula and space group."""
    seen: set[tuple[str, int]] = set()
    kept = []
    for match in matches:
        phase = (str(known.formulas[match.row]), int(known.space_groups[match.row]))
        if phase not in seen:
            seen.add(phase)
            kept.append(match)
    return kept


def _fitted(match: Match, *, view: View, costs: FitCosts, strain_only: bool) -> Match:
    fit = match.lines.fitted(match.fit, view, costs, strain_only=strain_only)
    return replace(match, fit=fit)


def select_scattering(materials: Materials) -> Materials:
    """Select the materials all of whose elements have scattering factors: the rows of an index."""
    try:
        find_scattering_factors(materials.crystals, MATCH_SETTINGS)
    except ScatteringError as error:
        return materials.take(np.delete(np.arange(len(materials)), list(error.indices)))
    return materials


def _identity(source: str) -> dict[str, object]:
    """Entries of the header that must agree for an index to be used."""
    made_with = {"diffraction": MATCH_SETTINGS.as_dict(), "log_q_step": LOG_Q_STEP}
    return {"kind": KIND, "schema": SCHEMA, "source": source, **made_with}


def find_computed(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Find the rows of a table whose cells were computed: (n,).

    Cells are measured in MEASURED_DATABASES, and in the user's own files, which name no database
    and no energy.
    """
    computed = np.zeros(len(frame), bool)
    if "formation_energy_per_atom" in frame:
        computed |= frame["formation_energy_per_atom"].notna().to_numpy(bool)
    if "database" in frame:
        computed |= frame["database"].notna().to_numpy(bool)
        computed &= ~frame["database"].isin(MEASURED_DATABASES).to_numpy(bool)
    return computed


def _find_hull_energies(
    materials: Materials, space_groups: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Smallest energy above the hull of each phase, (n,); 0 for measured crystals."""
    frame = materials.frame
    energies = (
        frame["energy_above_hull"].to_numpy(float, copy=True)
        if "energy_above_hull" in frame
        else np.full(len(frame), np.nan)
    )
    energies[~find_computed(frame)] = 0
    phases = [frame["formula"].to_numpy(str), space_groups]
    return pd.Series(energies).groupby(phases).transform("min").to_numpy(np.float32)


def _space_groups(materials: Materials) -> NDArray[np.int64]:
    """Space groups (n,) of the table, or determined from the crystals."""
    if "space_group" in materials.frame:
        return materials.frame["space_group"].to_numpy(np.int64)
    from matlode.data.symmetry import find_space_group

    rows = range(len(materials))
    return np.array([find_space_group(materials.crystals, row) for row in rows], np.int64)


_Lines = tuple[NDArray[np.uint16], NDArray[np.float32], NDArray[np.int64]]
"""Bins and amplitudes of lines, and the number of lines of each crystal."""


def _lines(crystals: Crystals) -> list[_Lines]:
    """Merged lines of each chunk of crystals."""
    from matlode.representation.line_kernels import merge_lines

    factors, per_s = find_scattering_factors(crystals, MATCH_SETTINGS)

    def work(chunk: slice) -> _Lines:
        angle, intensity, ends = compute_chunk_peaks(
            crystals, chunk, MATCH_SETTINGS, factors, per_s
        )
        n = len(ends) - 1
        bins = np.zeros((n, N_LINES), np.uint16)
        amplitudes = np.zeros((n, N_LINES), np.float32)
        counts = np.zeros(n, np.int64)
        merge_lines(
            convert_to_log_q_bins(angle), intensity, ends, MERGED, N_LINES, bins, amplitudes, counts
        )
        used = np.arange(N_LINES) < counts[:, None]
        return bins[used], amplitudes[used], counts

    starts = range(0, len(crystals), CHUNK)
    with ThreadPoolExecutor(count_threads()) as pool:
        return list(pool.map(work, (slice(a, min(a + CHUNK, len(crystals))) for a in starts)))
