"""Tables and JSON on stdout."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matlode.terminal import stdout_is_terminal

if TYPE_CHECKING:
    from matlode.evaluation.designs import DesignRow
    from matlode.evaluation.score_row import ScoreRow
    from matlode.evaluation.screens import ScreenRow
    from matlode.jobs.identify import FailedPattern, Identification, PhasePart
    from matlode.jobs.predict import CrystalPrediction
    from matlode.run_records import CandidateRow, EvidenceRow, PredictedValue, Provenance
    from matlode.training.check_data import PropertyCheck, TableCheck


def print_json(value: object) -> None:
    """Print numbers, texts, lists and dictionaries as JSON."""
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def print_json_list(values: Iterable[object]) -> None:
    """Print what ``print_json`` prints of the list, each value as soon as it is known."""
    before = "["
    for value in values:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
        print(before, text.replace("\n", "\n "), sep="\n ", end="")
        before = ","
    print("[]" if before == "[" else "\n]")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print columns under headings; texts are not interpreted."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(box=box.SIMPLE, title=title or None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")  # a narrow terminal wraps, but loses nothing
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)  # brackets are text
    if not stdout_is_terminal():  # a pipe has no width
        console.width = WIDEST
        console.width = max(Measurement.get(console, console.options, table).maximum, len(title))
    console.print(table)


WIDEST = 10_000
"""Most characters in a line of a table that does not go to a terminal."""


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def digits(value: object) -> str:
    """A float with five digits; anything else as text."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _with_unit(name: str, unit: str) -> str:
    return f"{name} / {unit}" if unit else name


def _format_interval(predicted: PredictedValue) -> str:
    """Three digits of the value, and as many decimals at the ends of its interval."""
    value, low, high = predicted.value, predicted.low, predicted.high
    size = max(abs(value), abs(high))
    form = ".2e"
    if size == 0:
        form = ".2f"
    elif 1e-2 <= size < 1e6:
        # a value near zero takes the decimals of its interval
        decimals = 2 - math.floor(math.log10(max(abs(value), size / 10, 1e-2)))
        form = f".{min(max(decimals, 0), 3)}f"
    gap = "-" if low >= 0 else ".."
    return f"{value:{form}} ({low:{form}}{gap}{high:{form}})"


SYMBOLS = {
    "bulk_modulus": "K",
    "shear_modulus": "G",
    "vickers_hardness": "Hv",
    "volume_per_atom": "V",
}
"""Short headings; other properties stand under their names."""


def print_candidates(rows: Sequence[CandidateRow], provenance: Provenance, n: int = 25) -> None:
    """Print the known materials among ``rows`` and the first ``n`` candidates, with the properties
    that their goal is about."""
    goal = provenance.goal
    known = [row for row in rows if row.is_known]
    rows = [row for row in rows if not row.is_known]
    # runs without units in their provenance have these two properties in every table
    units = provenance.units or {"bulk_modulus": "GPa", "shear_modulus": "GPa"}
    wanted = [name for name in goal.shown_properties if rows and rows[0].interval(name)]
    headings = ["#", "formula", "system"]
    for name in wanted:
        unit = units.get(name, "")
        symbol = SYMBOLS.get(name, name)
        headings.append(f"P({symbol})" if unit == "probability" else _with_unit(symbol, unit))
    headings += ["E_f / eV", "P(stable)", "charges", "novelty", "verdict"]
    print_table(
        headings,
        [_candidate_cells(row, wanted) for row in [*known, *rows[:n]]],
        title=f"the first {min(n, len(rows))} of {len(rows)} candidates (90 % intervals)",
    )
    if not all(row.in_ranges for row in rows):
        n_kept = sum(row.in_ranges and row.is_accepted for row in rows)
        ranges = ", ".join(entry.endpoint for entry in goal.ranges)
        print(
            f"Accepted, and in the ranges of {ranges}: {n_kept} of "
            f"{len(rows)}; `matlode explain` prints what the others miss."
        )


def _candidate_cells(row: CandidateRow, wanted: Sequence[str]) -> list[str]:
    from matlode.report.labels import label_novelty

    intervals = [row.interval(name) for name in wanted]
    return [
        "known" if row.is_known else str(row.rank),
        row.formula,
        f"{row.crystal_system} {row.space_group}",
        *("" if interval is None else _format_interval(interval) for interval in intervals),
        f"{row.formation_energy:.2f}",
        f"{row.hull_probability_50_mev:.2f}",
        str(row.charge_neutral),
        label_novelty(row),
        row.verdict,
    ]


EVIDENCE_COLUMNS = (
    ("space_group", "space group"),
    ("unchanged", "structure kept"),
    ("formation_energy_ev", "E_f / eV"),
    ("second_potential_formation_energy_ev", "second potential"),
    ("energy_above_hull_ev", "above hull / eV"),
    ("second_potential_energy_above_hull_ev", "second potential"),
    ("bulk_modulus_gpa", "K / GPa"),
    ("shear_modulus_gpa", "G / GPa"),
    ("lowest_gamma_thz", "lowest at Γ / THz"),
)
"""Column of evidence.csv → heading."""


def print_evidence(rows: Sequence[EvidenceRow]) -> None:
    """Print what potentials computed of each structure."""
    tables = [row.to_columns() for row in rows]
    print_table(
        ["", *(heading for _, heading in EVIDENCE_COLUMNS)],
        [
            [row.formula, *(_cell(columns.get(name)) for name, _ in EVIDENCE_COLUMNS)]
            for row, columns in zip(rows, tables, strict=True)
        ],
        title="Verification with two potentials (energies per atom)",
    )
    for row in rows:
        if row.fell_apart:
            print(f"{row.formula} fell apart: {row.fell_apart}.")


MAX_IN_FULL = 3


CORE_ENDPOINTS = (
    "bulk_modulus", "shear_modulus", "vickers_hardness", "formation_energy",
    "hull_probability_50_mev", "band_gap",
)  # fmt: skip


def _brought_endpoints() -> list[str]:
    from matlode.properties.derived import DERIVATIONS
    from matlode.properties.endpoints import ENDPOINTS

    return [*ENDPOINTS, *DERIVATIONS]


def _prediction_cells(answer: CrystalPrediction, names: Sequence[str]) -> list[str]:
    name = Path(answer.name).name if answer.is_file else answer.name
    if answer.error:
        return [name, answer.error, *[""] * (len(names) + 2)]
    cells = [
        f"{p.value:.3g}" + (f" ({p.low:.3g}..{p.high:.3g})" if p.low < p.high else "")
        for p in (answer.predictions[n] for n in names)
    ]
    return [name, answer.formula or "", str(answer.space_group), *cells, answer.nearest_known or ""]


def print_predictions(answers: Sequence[CrystalPrediction]) -> None:
    """Few crystals with all that is predicted, one below the other; many in one table with the
    core of it."""
    names = list(next((a.predictions for a in answers if a.predictions), {}))
    if len(answers) > MAX_IN_FULL:
        brought = {*_brought_endpoints()} - {*CORE_ENDPOINTS}
        names = [name for name in names if name not in brought]
        print_table(
            ["file or id", "formula", "space group", *names, "nearest known"],
            [_prediction_cells(answer, names) for answer in answers],
        )
        for answer in answers:
            if answer.note:
                print(f"{answer.name}: {answer.note}")
        print(f"{len(brought)} more properties with --json.")
        return
    for answer in answers:
        if answer.error:
            print(f"{answer.name}: {answer.error}")
            continue
        name, formula, group, *cells, nearest = _prediction_cells(answer, names)
        title = f"{name}: {formula}" + (f", space group {group}" if group else "")
        rows = [
            [_with_unit(n, answer.predictions[n].unit), cell]
            for n, cell in zip(names, cells, strict=True)
        ]
        rows += [[v.rule, v.reason] for v in answer.verdicts]
        if nearest:
            rows.append(["nearest known", nearest])
        if answer.note:
            rows.append(["note", answer.note])
        print_table(["", "value (90 % interval), or why"], rows, title=title)


def print_identified(answer: Identification) -> None:
    """Print the known phases in a pattern with the guesses at symmetry and composition."""
    for note in answer.notes:
        print(f"{answer.pattern}: {note}")
    print(f"{answer.pattern}: {answer.answer}", end="")
    print(f", probability {answer.probability:.2f}" if answer.phases else "")
    headings = ["", "formula", "space group", "score", "match", "scale", "zero / °"]
    headings += ["explained", "missing", "id"]
    rows = [
        [
            str(p.rank), p.formula, f"{p.space_group} ({p.crystal_system})",
            f"{p.score:.3f}", f"{p.match:.3f}", f"{p.scale:.4f}",
            f"{p.zero_shift_deg:+.3f}", f"{p.explained:.0%}", f"{p.missing:.0%}", p.id,
        ]
        for p in answer.phases
    ]  # fmt: skip
    if rows:
        print_table(headings, rows, title=f"best of {answer.known:,} known crystals, each alone")
        parts = [
            [part.formula, str(part.space_group), _with_error(part), part.id]
            for part in answer.mixture
        ]
        headings = ["formula", "space group", "weight", "id"]
        print_table(headings, parts, title="phases that explain the pattern together")
    elif answer.answer != "no peaks above the noise":
        print("No known crystal of these elements has a line where the pattern has one.")
    symmetry, composition = answer.symmetry, answer.composition
    for name, part in (
        (f"pattern alone: {symmetry.answer};", symmetry.crystal_systems),
        ("space groups:", symmetry.space_groups),
        ("latent neighbours:", composition.formulas),
        ("elements of these:", composition.elements),
    ):
        print(name, ", ".join(f"{key} {value:g}" for key, value in part.items()) or "none")


def print_summary_of_patterns(answers: Sequence[Identification | FailedPattern]) -> None:
    """Print one line per pattern."""
    from matlode.jobs.identify import FailedPattern

    rows = []
    for one in answers:
        if isinstance(one, FailedPattern):
            rows.append([one.pattern, one.error, "", "", "", ""])
            continue
        group = str(one.phases[0].space_group) if one.phases else ""
        match = f"{one.phases[0].match:.3f}" if one.phases else ""
        parts = ", ".join(f"{part.formula} {_with_error(part)}" for part in one.mixture)
        rows.append([one.pattern, one.answer, f"{one.probability:.2f}", group, match, parts])
    headings = ["pattern", "answer", "probability", "space group", "match", "together"]
    print_table(headings, rows)


def _with_error(part: PhasePart) -> str:
    return f"{part.weight_fraction:.1%} ± {part.uncertainty:.1%}"


def print_scores(rows: Sequence[ScoreRow]) -> None:
    """Print one row per model and split, with the measures that occur."""
    metrics = ["mae", "mae_ln", "rmse", "r2", "r2_ln", "coverage", "interval_width"]
    metrics += ["auc", "brier", "accuracy", "f1", "space_group", "space_group_top_5"]
    metrics += ["crystal_system", "space_group_of_surest_half", "set_coverage", "set_size"]
    metrics += ["top_1", "top_1_se", "top_5", "top_5_se", "seconds"]
    for endpoint in dict.fromkeys(row.endpoint for row in rows):
        own = [row for row in rows if row.endpoint == endpoint]
        used = [m for m in metrics if any(m in row.scores for row in own)]
        title = f"{_with_unit(endpoint, own[0].unit)}: {own[0].rows} rows; {own[0].split}"
        cells = [
            [row.model, *(f"{row.scores[m]:.4g}" if m in row.scores else "" for m in used)]
            for row in own
        ]
        print_table(["model", *used], cells, title=title)


def print_screens(rows: Sequence[ScreenRow]) -> None:
    """Print the acceptance of real phases, then the rejection of wrong crystals."""
    for is_real, title in (
        (True, "unseen phases within 1 meV/atom of their hull"),
        (False, "crystals that are wrong on purpose"),
    ):
        cells = [
            [
                row.group,
                f"{row.n:,}",
                f"{row.accepted_share if is_real else 1 - row.accepted_share:.1%}",
                ", ".join(f"{rule} {n}" for rule, n in row.rejections.items()),
            ]
            for row in rows
            if row.is_real == is_real
        ]
        share = "accepted" if is_real else "rejected"
        print_table(["", "crystals", share, "rejected by"], cells, title=title)


def print_designs(rows: Sequence[DesignRow]) -> None:
    """Print errors and coverage of predictions for relaxed candidates."""

    def show(before: float | None, after: float | None, form: str) -> str:
        return "" if before is None or after is None else f"{before:{form}} → {after:{form}}"

    cells = [
        [row.endpoint, row.goal, f"{row.rows:,}", show(row.error, row.error_corrected, ".3g"),
         show(row.coverage, row.coverage_corrected, ".0%"), f"{row.width_ratio:.2f}",
         show(row.auc, row.auc_corrected, ".2f")]
        for row in rows
    ]  # fmt: skip
    print_table(
        ["property", "goal", "designs", "error", "inside", "wider by", "AUC, hull ≤ 0.05"],
        cells,
        title="relaxed candidates: as predicted → as corrected by those of the other goals",
    )


def print_check(check: TableCheck) -> None:
    """Print what a table holds, and which properties can be learned from it."""
    print(f"{check.source}: {check.rows:,} materials, {check.formulas:,} formulas")
    for reason, n in check.dropped.items():
        print(f"  {n:,} dropped: {reason}")
    print(f"  {check.twins:,} rows share formula and space group with another")
    print(f"  {check.formulas_in_two_roles} formulas in two roles of the split")
    if check.constant_columns:
        print(f"  constant columns, nothing to learn from: {', '.join(check.constant_columns)}")
    headings = ["property", "rows", "train / cal. / test", "range", "mean ± σ"]
    headings += ["elements (rare)", "outliers", "seen systems / types", "verdict"]
    print_table(headings, [_check_cells(p) for p in check.properties])
    for p in check.properties:
        print(f"{_with_unit(p.name, p.unit)}: {p.verdict}")
        for reason in p.reasons:
            print(f"  {reason}")
        if p.rare_elements:
            print(f"  rare elements: {', '.join(p.rare_elements)}")
    if check.absent:
        print(f"without any value: {', '.join(check.absent)}")
    print(check.summary)


def _check_cells(p: PropertyCheck) -> list[str]:
    seen = (p.test_systems_in_train, p.test_prototypes_in_train)
    return [
        p.name,
        f"{p.rows:,}",
        " / ".join(f"{n:,}" for n in p.roles.values()),
        "" if p.minimum is None else f"{p.minimum:.3g}..{p.maximum:.3g}",
        "" if p.mean is None else f"{p.mean:.3g} ± {p.sigma:.3g}",
        f"{p.elements} ({len(p.rare_elements)})",
        str(p.outliers),
        " / ".join("-" if share is None else f"{share:.0%}" for share in seen),
        p.verdict,
    ]
