"""The page of all scores, with baselines and published scores for comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from matlode.evaluation.published import PAPER, PEERS, Published
from matlode.evaluation.score_row import ScoreRow
from matlode.properties.derived import GAS_CONSTANT
from matlode.properties.intervals import COVERAGE

MISSING, UNCOUNTED = "not measured", "not stored"
UNPRINTED = "–"
MEASURES = {
    "mae": "MAE", "rmse": "RMSE", "r2": "R²", "mae_ln": "MAE of ln", "rmse_ln": "RMSE of ln",
    "r2_ln": "R² of ln",
    "auc": "AUC", "accuracy": "accuracy", "f1": "F1",
}  # fmt: skip
"""score → its name in tables."""
WITH_UNIT = ("mae", "rmse", "interval_width")
SIZES = (*WITH_UNIT, "mae_ln", "set_size")
"""Scores that are shown with three digits; the others are shares, shown with three decimals."""
NOMINAL = f"{100 * COVERAGE:.0f} %"
SYMMETRY_MEASURES = {
    "space_group": "space group", "space_group_top_5": "among five likeliest",
    "crystal_system": "crystal system", "space_group_of_surest_half": "surest half",
    "set_coverage": "set coverage", "set_size": "set size",
}  # fmt: skip
MODELS = {
    "standard, crystal": "from the crystal",
    "standard, simulated pattern": "from the pattern",
    "standard, decoded pattern": "what the latent space gives back",
    "reference, simulated pattern": "paper's recipe",
    "element statistics + XGBoost": "elements + XGBoost",
    "nearest formula": "nearest formula",
    "ridge": "ridge",
    "mean": "mean",
}
"""model → heading of its column."""
OURS = next(iter(MODELS))
SHIPPED, HARD = "by formula", "folds by chemical system"
"""Beginning of the name of the shipped models' split, end of the name of the hardest folds."""
REGRESSION, LOGARITHM, CHANCE = ("mae", "r2"), ("mae_ln", "r2_ln"), ("auc", "accuracy", "f1")


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """Lines of a table: one per split."""

    endpoint: str
    label: str
    unit: str = ""
    measures: tuple[str, ...] = REGRESSION
    scale: float = 1.0
    """Factor that converts measured values to ``unit``."""
    printed: str | None = None
    """Quantity of ``Published.numbers`` to compare with (default: the endpoint)."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table with its introduction and its figures."""

    title: str
    text: str
    quantities: tuple[Quantity, ...] = ()
    every_split: bool = True
    """Whether folds of all splits are shown, or only those of the hardest one."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """Name of a picture → its caption."""


def _list_modulus_quantities(which: str) -> tuple[Quantity, ...]:
    name, endpoint = f"{which} modulus", f"{which}_modulus"
    return (
        Quantity(endpoint=f"{endpoint}_vrh/aflow", label=f"{name}, AFLOW rows", unit="GPa",
                 printed=endpoint),
        Quantity(endpoint=endpoint, label=f"{name}, AFLOW and MP pooled", unit="GPa"),
        Quantity(endpoint=f"{endpoint}_vrh/jarvis", label=f"{name}, JARVIS rows (Voigt)",
                 unit="GPa"),
    )  # fmt: skip


def _list_quantities(
    *names: str, unit: str = "", measures: tuple[str, ...] = REGRESSION
) -> list[Quantity]:
    return [
        Quantity(endpoint=name, label=name.replace("_", " "), unit=unit, measures=measures)
        for name in names
    ]


SECTIONS: tuple[Section, ...] = (
    Section(
        title="Elastic moduli",
        text="Voigt-Reuss-Hill moduli of AFLOW and the Materials Project are pooled for the "
        "endpoint; outputs of their own answer for AFLOW's rows alone and for JARVIS's Voigt "
        "averages. Held-out chemical systems are the split to trust: no compound of the same "
        "elements was learned from.",
        quantities=(*_list_modulus_quantities("bulk"), *_list_modulus_quantities("shear")),
    ),
    Section(
        title="Thermal properties",
        text="All follow AFLOW's AGL. Heat capacities are derived (Debye's model; Cₚ = Cᵥ + "
        "α²KVT), and so are the values that they are measured against. The conductivity's "
        "logarithm has the same errors at both temperatures: AGL's 1/T law is a constant there.",
        quantities=(
            Quantity(endpoint="debye_temperature", label="Debye temperature", unit="K"),
            Quantity(endpoint="heat_capacity_cv", label="heat capacity Cᵥ", unit="k_B/atom",
                     scale=1 / GAS_CONSTANT),
            Quantity(endpoint="heat_capacity_cp", label="heat capacity Cₚ", unit="k_B/atom",
                     scale=1 / GAS_CONSTANT),
            Quantity(endpoint="thermal_expansion", label="thermal expansion", measures=LOGARITHM),
            Quantity(endpoint="thermal_conductivity", measures=LOGARITHM,
                     label="thermal conductivity (300 K and 600 K)"),
        ),
    ),
    Section(
        title="Formation energy",
        text="One vintage of the Materials Project, never pooled with others.",
        quantities=(
            Quantity(endpoint="formation_energy", label="formation energy", unit="eV/atom"),
        ),
        figures={
            "s6-parity": "Predicted against true values of unseen formulas (the paper's S6); "
            "orange: outside the interval"
        },
    ),
    Section(
        title="Metals and magnets",
        text="Metal: no Kohn-Sham gap. Magnetic: the ferromagnetic cell has a moment of more "
        "than 0.05 µB. The paper does not name its second classifier; it is taken to be this one.",
        quantities=(
            Quantity(endpoint="metal_probability", label="metal", measures=CHANCE),
            Quantity(endpoint="magnetic_probability", label="magnetic", measures=CHANCE),
        ),
        figures={"s7-metal-magnetic": "ROC curves, and confusion at one half (the paper's S7)"},
    ),
    Section(
        title="Stability",
        text="The paper's stability classifier is read as that of the formation energy's sign, "
        "which is the easy question: most compounds that were ever computed have a negative one. "
        "Distances to the hull are what decides.",
        quantities=(
            Quantity(endpoint="formation_probability", label="formation energy ≤ 0",
                     measures=CHANCE),
            Quantity(endpoint="hull_probability_50_mev", label="hull ≤ 0.05 eV/atom",
                     measures=CHANCE),
            Quantity(endpoint="hull_probability_100_mev", label="hull ≤ 0.1 eV/atom",
                     measures=CHANCE),
        ),
        figures={
            "s9-stability": "ROC curves, and confusion at one half (the paper's S9 C, D)",
            "reliability": "How often comes true what has a chance, in bins of equally many rows",
        },
    ),
    Section(
        title="Other properties",
        text="Those that follow from others by a formula are measured against what the formula "
        "gives for the known values.",
        every_split=False,
        quantities=(
            *_list_quantities("band_gap", unit="eV"),
            *_list_quantities("magnetic_moment", unit="µB/atom"),
            *_list_quantities("volume_per_atom", unit="Å³/atom"),
            *_list_quantities("density", unit="g/cm³"),
            Quantity(endpoint="refractive_index", label="refractive index",
                     measures=("mae", "mae_ln")),
            *_list_quantities("dielectric_constant", "piezoelectric_maximum", measures=LOGARITHM),
            Quantity(endpoint="vickers_hardness", unit="GPa",
                     label="Vickers hardness (Mazhnik and Oganov)"),
            Quantity(endpoint="vickers_hardness_chen", unit="GPa",
                     label="Vickers hardness (Chen et al.)"),
            Quantity(endpoint="youngs_modulus", label="Young's modulus", unit="GPa"),
            Quantity(endpoint="poisson_ratio", label="Poisson ratio"),
            Quantity(endpoint="pugh_ratio", label="Pugh ratio"),
        ),
    ),
)  # fmt: skip
"""Tables of properties, in the order of the page."""

LABELS = {q.endpoint: q.label for section in SECTIONS for q in section.quantities}
SYMMETRY = Section(
    title="Space group and crystal system",
    text="Shares of test rows that are named rightly. \"Surest half\": accuracy where the "
    "classifier is allowed to abstain for half of the rows. Sets are the smallest that hold the "
    f"true space group in {NOMINAL} of cases. On random rows, twins of the test rows "
    "(equal formula, other entry) are learned from; formulas never seen are the honest question.",
    figures={
        "s9-space-groups": "Space groups named for decoded patterns of unseen formulas (S9 A)",
        "s9-crystal-systems": "Crystal systems, sums of their space groups' chances (S9 B)",
        "abstention-space-groups": "Accuracy when the least certain predictions are left out",
    },
)  # fmt: skip
INTERVALS = Section(
    title="Coverage of intervals",
    text=f"Share of truths inside the {NOMINAL} intervals, calibrated on formulas that were "
    "not learned from. Below the nominal share, intervals are too narrow.",
    figures={"coverage": "Intervals of other levels, their factors from the calibration rows"},
)
PLAUSIBILITY = Section(
    title="Plausibility of patterns",
    text='"Pass": share that the screen lets through; AUC: how well strangeness tells the kind '
    "from simulated patterns of unseen real crystals (one half: not at all).",
    figures={"s10-characteristics": "Characteristics of patterns (the paper's S10)"},
)


@dataclass(frozen=True)
class ScoreTable:
    """All scores, found by endpoint and split."""

    rows: Sequence[ScoreRow]
    """Those of folds have standard deviations, too: "mae_sd", ..."""
    trained_on: Mapping[str, object] = field(default_factory=dict)
    """Table, rows and formulas of the training data (``TrainingTable.header``)."""

    def find(self, endpoint: str, split: str) -> dict[str, ScoreRow]:
        """model → its row."""
        found = (row for row in self.rows if row.endpoint == endpoint and row.split == split)
        return {row.model: row for row in found}

    def property_splits(self, *, every: bool = True) -> list[str]:
        """Splits of property rows, that of the shipped models first. SHIPPED and HARD are listed
        even if nothing was measured on them."""
        other = ("space_group", "pattern")
        found = dict.fromkeys(row.split for row in self.rows if row.endpoint not in other)
        wanted = [split for split in found if every or "folds" not in split or HARD in split]
        wanted += [name for name in (SHIPPED, HARD) if not any(name in split for split in wanted)]
        return sorted(wanted, key=lambda split: not split.startswith(SHIPPED))


def render_accuracy_page(scores: ScoreTable, *, command: str, figures: Mapping[str, str]) -> str:
    """Render the page in Markdown; ``figures``: name of a picture → its address, from the page."""
    parts = [
        "# How accurate the models are",
        f"Made by `{command}` from what other commands measured: the headers of the models "
        "(`matlode train models`), folds (`matlode evaluate folds`), space groups (`matlode "
        'evaluate symmetry`). What was not measured says so. Models of the table "{table}": '
        "{rows:,} structures of {formulas:,} formulas.".format(**scores.trained_on),
        "Cells hold the scores that the first column names, with standard deviations over the "
        'folds where there are some. "By formula": a tenth of the formulas, held out from '
        "everything; three columns are ours: from the crystal, from its pattern alone, and from "
        "what the latent space returns for pattern and composition. Folds from the pattern were "
        "measured with the network of before, which read no crystals and had trees for this case. "
        '"Paper\'s recipe": the '
        "reference face on the same rows. The paper and peers are as printed "
        f'("{UNPRINTED}": not printed), on rows and splits of their own: see '
        "[the list](#published-numbers) before comparing.",
        *(_render_property_section(section, scores, figures) for section in SECTIONS),
        _render_section(SYMMETRY, _render_symmetry_table(scores), figures),
        _render_section(INTERVALS, _render_coverage_table(scores), figures),
        _render_section(PLAUSIBILITY, _render_plausibility_table(scores), figures),
        "## Published numbers",
        _render_published_table(),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _render_property_section(
    section: Section, scores: ScoreTable, figures: Mapping[str, str]
) -> str:
    splits = scores.property_splits(every=section.every_split)
    lines = [
        [
            *_render_property_line(quantity, split, scores),
            *(_render_published(quantity) if at == 0 else ("", "")),
        ]
        for quantity in section.quantities
        for at, split in enumerate(_select_splits(quantity, splits, scores))
    ]
    headings = ["quantity", "split", "test rows", *MODELS.values(), "paper", "peers"]
    return _render_section(section, _render_table(headings, lines), figures)


def _select_splits(quantity: Quantity, splits: list[str], scores: ScoreTable) -> list[str]:
    """Splits that the quantity was measured on, and those that every table shows."""
    return [
        split for split in splits
        if scores.find(quantity.endpoint, split) or split.startswith(SHIPPED) or HARD in split
    ]  # fmt: skip


def _render_property_line(quantity: Quantity, split: str, scores: ScoreTable) -> list[str]:
    found = scores.find(quantity.endpoint, split)
    ours = found.get(OURS) or next(iter(found.values()), None)
    rows = None if ours is None else ours.rows
    unit = f", {quantity.unit}" if quantity.unit else ""
    names = " / ".join(MEASURES[m] for m in quantity.measures)
    return [
        f"{quantity.label}{unit}: {names}",
        split.split(":")[0],
        MISSING if rows is None else f"{rows:,}",
        *(_render_scores(found.get(model), quantity, rows) for model in MODELS),
    ]


def _render_published(quantity: Quantity) -> tuple[str, str]:
    """Scores that the paper printed, and that peers printed."""
    name = quantity.printed or quantity.endpoint
    peers = [f"{p.name} {_format_published(p, name, quantity)}" for p in PEERS if name in p.numbers]
    paper = _format_published(PAPER, name, quantity) if name in PAPER.numbers else UNPRINTED
    return paper, "; ".join(peers) or UNPRINTED


def _render_scores(row: ScoreRow | None, quantity: Quantity, rows: int | None) -> str:
    if row is None:
        return MISSING
    cells = []
    for measure in quantity.measures:
        scale = quantity.scale if measure in WITH_UNIT else 1.0
        value, sd = (row.scores.get(key) for key in (measure, f"{measure}_sd"))
        text = MISSING if value is None else _format_score(measure, scale * value)
        cells.append(text if sd is None else f"{text} ± {_format_score(measure, scale * sd)}")
    other = "" if row.rows == rows else f" ({row.rows:,} rows)"
    return " / ".join(cells) + other


def _format_score(measure: str, value: float) -> str:
    return format_number(value) if measure in SIZES else format_share(value)


def _format_published(source: Published, name: str, quantity: Quantity) -> str:
    values = (source.numbers[name].get(measure) for measure in quantity.measures)
    return " / ".join(map(_format_value, values))


def _format_value(value: float | None) -> str:
    if value is None:
        return UNPRINTED
    return f"{value:g}" if value >= 1 else max(f"{value:.2f}", f"{value:g}", key=len)


def format_number(value: float) -> str:
    """Three digits without an exponent.

    >>> format_number(1234.6), format_number(9.7501), format_number(0.05)
    ('1235', '9.75', '0.0500')
    """
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".removesuffix(".")


def format_share(value: float) -> str:
    """Three decimals.

    >>> format_share(0.97313), format_share(-0.00003)
    ('0.973', '0.000')
    """
    return f"{round(value, 3) + 0.0:.3f}"


def _render_symmetry_table(scores: ScoreTable) -> str:
    lines = []
    for row in (r for r in scores.rows if r.endpoint == "space_group"):
        rows = UNCOUNTED if row.rows is None else f"{row.rows:,}"
        shown = [(measure, row.scores.get(measure)) for measure in SYMMETRY_MEASURES]
        who = "ours" if row.face == "standard" else "paper's recipe"
        cells = [MISSING if value is None else _format_score(m, value) for m, value in shown]
        lines.append([who, row.given, row.split.split(":")[0], rows, *cells])
    seen = {(line[0], line[2]) for line in lines}
    lines += [
        [who, "decoded pattern", RANDOM_TENTH, *[MISSING] * (len(SYMMETRY_MEASURES) + 1)]
        for who in ("ours", "paper's recipe")
        if (who, RANDOM_TENTH) not in seen
    ]
    for source in (p for p in (PAPER, *PEERS) if "space_group" in p.numbers):
        values = (source.numbers["space_group"].get(measure) for measure in SYMMETRY_MEASURES)
        cells = [_format_value(value) for value in values]
        given = "decoded pattern, without composition" if source is PAPER else source.rows
        lines.append([f"{source.name}, as printed", given, source.split, UNPRINTED, *cells])
    headings = ["who", "what is given", "split", "test rows", *SYMMETRY_MEASURES.values()]
    return _render_table(headings, lines)


RANDOM_TENTH = "a tenth by random"


def _render_coverage_table(scores: ScoreTable) -> str:
    """A line per endpoint, a column per split."""
    covered = [row for row in scores.rows if "coverage" in row.scores]
    splits = scores.property_splits()
    columns = [
        (split, model) for split in splits for model in list(MODELS)[:3]
        if split.startswith(SHIPPED) or model == OURS
    ]  # fmt: skip
    headings = [
        f"{split.split(':')[0]}, {MODELS[model]}" if split.startswith(SHIPPED) else split
        for split, model in columns
    ]
    lines = []
    for endpoint in dict.fromkeys(row.endpoint for row in covered):
        cells = []
        for split, model in columns:
            row = scores.find(endpoint, split).get(model)
            known = row is not None and "coverage" in row.scores
            cells.append(_render_coverage(row) if row and known else MISSING)
        lines.append([LABELS.get(endpoint, endpoint.replace("_", " ")), *cells])
    return _render_table(["property", *headings], lines or [[MISSING] * (len(headings) + 1)])


def _render_coverage(row: ScoreRow) -> str:
    sd = row.scores.get("coverage_sd")
    spread = "" if sd is None else f" ± {format_share(sd)}"
    return f"{format_share(row.scores['coverage'])}{spread} ({row.rows:,})"


def _render_plausibility_table(scores: ScoreTable) -> str:
    lines = [
        [row.model, UNCOUNTED if row.rows is None else f"{row.rows:,}",
         format_share(row.scores["passed"]), format_share(row.scores["auc_from_simulated"])]
        for row in scores.rows if row.endpoint == "pattern"
    ]  # fmt: skip
    return _render_table(["patterns", "how many", "pass", "AUC"], lines or [[MISSING] * 4])


def _render_published_table() -> str:
    lines = [[p.name, p.citation, p.rows, p.split, p.compare] for p in (PAPER, *PEERS)]
    return _render_table(["who", "where", "rows", "split", "beside ours"], lines)


def _render_section(section: Section, table: str, figures: Mapping[str, str]) -> str:
    images = [f"![{text}]({figures[n]})" for n, text in section.figures.items() if n in figures]
    return "\n\n".join([f"## {section.title}", section.text, table, *images])


def _render_table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * len(headings)
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *lines))
