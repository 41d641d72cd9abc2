"""Check whether a table suffices for training: counts, coverage, leakage, outliers, a verdict."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.data.crystals import CRYSTAL_COLUMNS
from matlode.data.formulas import chemical_system, element_symbols, parse_formula
from matlode.data.splits import CALIBRATION, TEST, TRAIN
from matlode.errors import InputError
from matlode.progress import Progress, silent
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.own import check_labels, check_rows, read_properties
from matlode.training.table import TrainingTable

VERDICTS = ("enough", "thin", "too few", "unusable")
"""Best first. `matlode train properties` refuses "too few" and "unusable"."""

ENOUGH_TRAINING_ROWS = 400
"""Above this number, doubling the rows lowers the error by less than a fifth.

Measured on the starter set: element statistics + XGBoost (300 rounds), mean absolute error on
unseen formulas over that of the mean, averaged over four draws of 50, 100, 200, 400, 800
(1600) training rows. Bulk modulus 0.40, 0.37, 0.30, 0.26, 0.23; shear modulus 0.59, 0.53, 0.46,
0.41, 0.39; formation energy 0.44, 0.41, 0.33, 0.28, 0.24 (0.19); volume 0.63, 0.50, 0.36, 0.30,
0.26 (0.23). From 100 to 400 rows errors fall by 22 to 40 %, from 400 to 800 by 6 to 15 %.
More rows do not help every property: the ratio of piezoelectric moduli stays at 0.87.
"""
MIN_CLASS_ROWS = 50
"""Least training rows of the rarer class: with fewer, trees split on single materials."""
RARE_ELEMENT_ROWS = 10
"""An element with fewer rows has about one in each held-out role, too few to measure errors."""
OUTLIER_Z = 6.0
"""Robust standard deviations from the median; a normal distribution has one value in 500 million
outside."""
SKEWED_RATIO = 100.0
"""If the 99 % quantile of positive values exceeds the 1 % quantile by this factor, outliers are
looked for in their logarithms."""
NOISY = 0.5
"""Label noise relative to the labels' σ: above it no model's R² can exceed 1 - 0.5² = 0.75."""
VINTAGE_COLUMNS = "vintage|source|^database$"
"""Regular expression of columns that state the source of a label."""
VINTAGE_SHARE = 0.01
"""Vintages with a smaller share of the rows are ignored."""
N_EXAMPLES = 5

TYPICAL_MEDIAN: Mapping[str, tuple[float, float]] = {
    "bulk_modulus": (3, 500),
    "shear_modulus": (1, 500),
    "formation_energy": (-5, 3),
}
"""Range of the median in any table of crystals, in the endpoint's unit; for a user's own properties
their limits are used instead."""
OTHER_UNITS: Mapping[str, Mapping[str, float]] = {
    "GPa": {"Pa": 1e9, "MPa": 1e3, "kbar": 10},
    "eV": {"meV": 1e3, "kJ/mol": 96.485},
    "eV/atom": {"meV/atom": 1e3, "kJ/mol": 96.485},
    "K": {"mK": 1e3},
    "Å³/atom": {"nm³/atom": 1e-3, "m³/atom": 1e-30},
}
"""unit → other unit → factor from the first to the second (CODATA 2018 for kJ/mol per eV)."""


@dataclass(frozen=True, kw_only=True)
class PropertyCheck:
    """One property of a table; numbers are in its unit."""

    name: str
    unit: str
    values: int
    """Rows with a value in the column."""
    rows: int
    """Rows with a usable label."""
    formulas: int
    roles: Mapping[str, int]
    """Labelled rows per role of the split."""
    minimum: float | None
    maximum: float | None
    mean: float | None
    """For a classification: the share of ones."""
    sigma: float | None
    elements: int
    rare_elements: tuple[str, ...]
    """Elements with fewer than RARE_ELEMENT_ROWS labelled rows."""
    outliers: int
    outlier_ids: tuple[str, ...]
    """The furthest ones."""
    twins: int
    """Labelled rows that share formula and space group with another."""
    label_noise: float | None
    """σ of one label, from the differences between twins."""
    contradictions: int
    """Neighbouring twins whose labels differ by more than ``sigma`` (or in their class)."""
    test_systems_in_train: float | None
    """Share of test rows whose chemical system is also in the training rows; with a high share the
    split is easy."""
    test_prototypes_in_train: float | None
    """The same for anonymous formula and space group."""
    verdict: str
    """One of VERDICTS."""
    reasons: tuple[str, ...]
    """Reasons for the verdict, and what to do."""


@dataclass(frozen=True, kw_only=True)
class TableCheck:
    """A table and each property in it."""

    source: str
    rows: int
    formulas: int
    dropped: Mapping[str, int]
    """reason → rows without a usable crystal or pattern (numbers in it shown as #)."""
    twins: int
    """Rows that share formula and space group with another."""
    formulas_in_two_roles: int
    """Leakage; zero, because the split is by formula."""
    constant_columns: tuple[str, ...]
    absent: tuple[str, ...]
    """Built-in properties without any value in the table."""
    properties: tuple[PropertyCheck, ...]
    summary: str


def check_data(
    table: Path, *, properties: Path | None = None, progress: Progress = silent
) -> TableCheck:
    """Check a structure table (or its folder) for all built-in properties and for those in the TOML
    file ``properties``; nothing is trained.

    Raises InputError if the table or the file cannot be read, GoalError for an invalid property.

    >>> check_data(Path("materials.parquet")).rows  # doctest: +SKIP
    74762
    """
    own = read_properties(properties) if properties else {}
    loaded = TrainingTable.load(table)
    frame = loaded.materials.frame
    if frame.empty:
        raise InputError(f"{table} contains no materials.")
    here = [e for e in ENDPOINTS.values() if e.column in frame and frame[e.column].notna().any()]
    keys = Keys(loaded)
    checks: list[PropertyCheck] = []
    for endpoint in (wanted := [*here, *own.values()]):
        progress("check", len(checks), len(wanted), endpoint.name)
        checks.append(_check_property(endpoint, keys))
    progress("check", len(wanted), len(wanted))
    reasons = Counter(
        re.sub(r"[\d.]+(e[+-]?\d+)?", "#", d.reason) for d in loaded.materials.dropped
    )
    roles = pd.Series(loaded.roles).groupby(frame["formula"].to_numpy()).nunique()
    return TableCheck(
        source=table.name,
        rows=len(frame),
        formulas=int(frame["formula"].nunique()),
        dropped=dict(reasons.most_common()),
        twins=int(_mark_shared(keys.twins).sum()),
        formulas_in_two_roles=int((roles > 1).sum()),
        constant_columns=tuple(
            str(column)
            for column in frame.columns.difference([*CRYSTAL_COLUMNS, "is_file"])
            if len(frame) > 1 and frame[column].nunique(dropna=False) == 1
        ),
        absent=tuple(name for name in ENDPOINTS if name not in {e.name for e in here}),
        properties=tuple(checks),
        summary=_summarise(tuple(checks)),
    )


@dataclass(frozen=True)
class Keys:
    """Keys (n,) by which rows are compared."""

    table: TrainingTable

    @cached_property
    def twins(self) -> NDArray[np.object_]:
        """Formula and space group; the formula alone in tables without space groups."""
        return self._with_group(self.table.materials.frame["formula"])

    @cached_property
    def systems(self) -> NDArray[np.object_]:
        """Chemical systems."""
        formulas = self.table.materials.frame["formula"]
        return formulas.map({f: chemical_system(f) for f in formulas.unique()}).to_numpy(object)

    @cached_property
    def prototypes(self) -> NDArray[np.object_]:
        """Anonymous formula (amounts, ascending) and space group."""
        formulas = self.table.materials.frame["formula"]
        amounts = {f: str(sorted(parse_formula(f).values())) for f in formulas.unique()}
        return self._with_group(formulas.map(amounts))

    def _with_group(self, names: pd.Series[str]) -> NDArray[np.object_]:
        frame = self.table.materials.frame
        groups = frame["space_group"].astype(str) if "space_group" in frame else ""
        return (names + " " + groups).to_numpy(object)


def _check_property(endpoint: Endpoint, keys: Keys) -> PropertyCheck:
    table = keys.table
    frame = table.materials.frame
    labels, remarks = _check_labels(endpoint, keys)
    known = np.isfinite(labels)
    y = labels[known]
    roles = {r: int((known & (table.roles == r)).sum()) for r in (TRAIN, CALIBRATION, TEST)}
    if not remarks:
        remarks += _check_row_counts(endpoint, labels[known & (table.roles == TRAIN)])
    remarks += _check_label_quality(endpoint, labels, keys)
    classes = endpoint.task == "probability"
    far = np.flatnonzero(known)[[] if classes else find_outliers(y)]
    ids = tuple(frame["id"].iloc[far].astype(str))
    if len(far):
        worst = ", ".join(f"{i}: {labels[row]:.4g}" for i, row in zip(ids[:3], far, strict=False))
        remarks.append(
            ("enough", f"{len(far)} outliers (over {OUTLIER_Z:g} robust σ): check {worst}")
        )
    counts = (table.compositions[known] > 0).sum(axis=0)
    rare = np.flatnonzero((counts > 0) & (counts < RARE_ELEMENT_ROWS))
    noise, contradictions = _compare_twins(endpoint, labels, keys)
    values = _count_values(endpoint, keys)
    if values > len(y):
        remarks.append(("enough", _explain_missing_values(endpoint, values - len(y), values)))
    return PropertyCheck(
        name=endpoint.name,
        unit=endpoint.unit,
        values=values,
        rows=len(y),
        formulas=int(frame["formula"][known].nunique()),
        roles=roles,
        minimum=float(y.min()) if len(y) else None,
        maximum=float(y.max()) if len(y) else None,
        mean=float(y.mean()) if len(y) else None,
        sigma=float(y.std()) if len(y) else None,
        elements=int((counts > 0).sum()),
        rare_elements=tuple(element_symbols()[z] for z in rare),
        outliers=len(far),
        outlier_ids=ids[:N_EXAMPLES],
        twins=int(_mark_shared(keys.twins[known]).sum()),
        label_noise=noise,
        contradictions=contradictions,
        test_systems_in_train=_measure_share_in_train(keys.systems, table.roles, known),
        test_prototypes_in_train=_measure_share_in_train(keys.prototypes, table.roles, known),
        verdict=max((verdict for verdict, _ in remarks), key=VERDICTS.index, default="enough"),
        reasons=tuple(reason for _, reason in remarks)
        or (f"{roles[TRAIN]:,} training rows, no objection",),
    )


def _count_values(endpoint: Endpoint, keys: Keys) -> int:
    frame = keys.table.materials.frame
    return int(frame[endpoint.column].notna().sum()) if endpoint.column in frame else 0


def _explain_missing_values(endpoint: Endpoint, n: int, of: int) -> str:
    if endpoint.vintage_column:
        pooled = ", ".join(endpoint.vintages)
        return f"{n:,} of {of:,} values stay out: {endpoint.vintage_column} is none of {pooled}"
    return f"{n:,} of {of:,} values are not finite numbers"


def _check_labels(
    endpoint: Endpoint, keys: Keys
) -> tuple[NDArray[np.float64], list[tuple[str, str]]]:
    """Labels (n,), and the reason why training refuses them, if any, as (verdict, reason)."""
    table = keys.table
    try:
        labels = check_labels(endpoint, table.materials, table=table.source)
    except InputError as error:
        return _read_labels(endpoint, table), [("unusable", str(error))]
    try:
        check_rows(endpoint, labels, table.roles, table=table.source)
    except InputError as error:
        return labels, [("too few", str(error))]
    return labels, []


def _check_row_counts(endpoint: Endpoint, train: NDArray[np.float64]) -> list[tuple[str, str]]:
    remarks = []
    if len(train) < ENOUGH_TRAINING_ROWS:
        reason = (
            f"{len(train)} training rows; up to {ENOUGH_TRAINING_ROWS} each doubling takes a "
            "tenth to a third off the error: bring more"
        )
        remarks.append(("thin", reason))
    rarer = int(min(train.sum(), len(train) - train.sum()))
    if endpoint.task == "probability" and rarer < MIN_CLASS_ROWS:
        reason = (
            f"{rarer} training rows of the rarer class, expected {MIN_CLASS_ROWS}: add more of it "
            "or move the threshold"
        )
        remarks.append(("thin", reason))
    return remarks


def _check_label_quality(
    endpoint: Endpoint, labels: NDArray[np.float64], keys: Keys
) -> list[tuple[str, str]]:
    """Remarks (verdict, reason) on other units, mixed vintages and contradicting twins."""
    y = labels[np.isfinite(labels)]
    if not len(y):
        return []
    remarks = []
    classes = endpoint.task == "probability"
    other = None if classes else detect_other_unit(endpoint, float(np.median(y)))
    if other:
        remarks.append(("unusable", other))
    # a property with vintages has chosen its source
    mixed = None if endpoint.vintage_column else _find_mixed_vintages(labels, keys)
    if mixed:
        remarks.append(("thin", mixed))
    noise, contradictions = _compare_twins(endpoint, labels, keys)
    if noise is not None and not classes and noise > NOISY * y.std():
        reason = (
            f"labels of equal formula and space group scatter by {noise:.3g} (σ of all labels "
            f"{y.std():.3g}): look for mixed methods or phases"
        )
        remarks.append(("thin", reason))
    elif contradictions:
        reason = (
            f"rows of equal formula and space group that contradict each other: {contradictions} "
            "(other phases, or wrong labels)"
        )
        remarks.append(("enough", reason))
    return remarks


def _read_labels(endpoint: Endpoint, table: TrainingTable) -> NDArray[np.float64]:
    """Labels that training refuses, for the counts; all NaN if they are not numbers."""
    try:
        return endpoint.labels(table.materials)
    except InputError:
        return np.full(len(table.materials), np.nan)


def detect_other_unit(endpoint: Endpoint, median: float) -> str | None:
    """Describe the likely unit of labels with this median, if it is not the endpoint's."""
    limits = (endpoint.lowest, endpoint.highest)
    low, high = TYPICAL_MEDIAN.get(endpoint.name, limits)
    if low <= median <= high:
        return None
    fitting = [
        f"{unit} (divide by {factor:g})"
        for unit, factor in OTHER_UNITS.get(endpoint.unit, {}).items()
        if low <= median / factor <= high
    ]
    advice = f"this looks like {' or '.join(fitting)}" if fitting else "check the unit"
    return f"the median is {median:.3g}, expected {low:g}..{high:g} {endpoint.unit}: {advice}"


def find_outliers(values: NDArray[np.floating]) -> NDArray[np.intp]:
    """Find values (n,) more than OUTLIER_Z robust σ from the median: positions, the furthest first.

    Robust σ: 1.4826 median absolute deviations (Iglewicz and Hoaglin 1993). Skewed positive
    values are compared by their logarithms.
    """
    if not len(values):
        return np.empty(0, dtype=np.intp)
    v = np.asarray(values, dtype=float)
    low, high = np.quantile(v, [0.01, 0.99])
    if v.min() > 0 and high > SKEWED_RATIO * low:
        v = np.log(v)
    distance = np.abs(v - np.median(v))
    scale = 1.4826 * float(np.median(distance))
    # no scale if more than half of the values are equal
    far = distance > OUTLIER_Z * scale if scale > 0 else np.zeros(len(v), dtype=bool)
    order = np.argsort(-distance, kind="stable")
    return order[far[order]]


def _compare_twins(
    endpoint: Endpoint, labels: NDArray[np.float64], keys: Keys
) -> tuple[float | None, int]:
    """σ of one label from the differences between neighbouring twins, and how many contradict."""
    rows = np.flatnonzero(np.isfinite(labels))
    codes, _ = pd.factorize(keys.twins[rows])
    order = np.argsort(codes, kind="stable")
    equal = np.diff(codes[order]) == 0
    differences = np.abs(np.diff(labels[rows][order]))[equal]
    if not len(differences):
        return None, 0
    limit = 0.5 if endpoint.task == "probability" else labels[rows].std()
    # median absolute deviation → σ; a difference has twice the variance of one label
    noise = 1.4826 * float(np.median(differences)) / np.sqrt(2)
    return float(noise), int((differences > limit).sum())


def _find_mixed_vintages(labels: NDArray[np.float64], keys: Keys) -> str | None:
    """Describe the vintages or sources that the labels mix, if any."""
    frame = keys.table.materials.frame
    known = np.isfinite(labels)
    found = []
    for column in frame.columns:
        words = frame[column][known]
        # a column that is mostly empty describes another property
        if not re.search(VINTAGE_COLUMNS, str(column)) or words.isna().mean() > 0.5:
            continue
        if words.dropna().is_unique:  # identifiers of rows
            continue
        counts = words.astype(str)[words.notna()].value_counts(normalize=True)
        mixed = [str(v) for v in counts.index[counts >= VINTAGE_SHARE]]
        if len(mixed) > 1:
            found.append((*_compare_vintages(labels, keys, column, mixed), column, mixed))
    if not found:
        return None
    distance, both, column, mixed = max(found, key=lambda f: f[0])
    comparison = ""
    if both:
        comparison = (
            f" ({both} crystals of the first two differ by {distance:.3g} on average; σ of all "
            f"labels {labels[known].std():.3g})"
        )
    others = [other for *_, other, _ in found if other != column]
    return (
        f"mixes {column}: {', '.join(mixed[:4])}{', ...' * (len(mixed) > 4)}{comparison}; "
        f"choose with vintage_column and vintages, do not pool"
        + (f" (mixed as well: {', '.join(others)})" if others else "")
    )


def _compare_vintages(
    labels: NDArray[np.float64], keys: Keys, column: str, mixed: list[str]
) -> tuple[float, int]:
    """Mean absolute difference of the two most common vintages, and the number of crystals that
    both have."""
    vintages = keys.table.materials.frame[column].astype(str).to_numpy()
    parts = [
        pd.Series(labels[rows]).groupby(keys.twins[rows]).median()
        for rows in (np.isfinite(labels) & (vintages == vintage) for vintage in mixed[:2])
    ]
    both = pd.concat(parts, axis=1, join="inner").to_numpy()
    return (float(np.abs(both[:, 1] - both[:, 0]).mean()), len(both)) if len(both) else (0.0, 0)


def _mark_shared(keys: NDArray[np.object_]) -> NDArray[np.bool_]:
    return pd.Series(keys).duplicated(keep=False).to_numpy()


def _measure_share_in_train(
    keys: NDArray[np.object_], roles: NDArray[np.str_], known: NDArray[np.bool_]
) -> float | None:
    test = keys[known & (roles == TEST)]
    if not len(test):
        return None
    return float(pd.Series(test).isin(set(keys[known & (roles == TRAIN)])).mean())


def _summarise(checks: tuple[PropertyCheck, ...]) -> str:
    by_verdict = {v: [c.name for c in checks if c.verdict == v] for v in VERDICTS}
    parts = [f"{verdict}: {', '.join(names)}" for verdict, names in by_verdict.items() if names]
    n = len(by_verdict["enough"])
    return f"{n} of {len(checks)} properties have enough to train on. " + "; ".join(parts) + "."
