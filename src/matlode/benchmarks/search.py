"""Benchmark of the samplers, against Optuna and Hyperopt: test functions of two variables (Figure
S8 of Korolev et al. 2020), the latent space of 88 variables, and the time per suggestion."""

from __future__ import annotations

import json
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import write_json
from matlode.benchmarks.tables import Row, Tables
from matlode.data.batches import split_range
from matlode.data.splits import TRAIN
from matlode.errors import GoalError, suggest
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.starts import SearchSettings, prepare_campaign
from matlode.optimisation.campaign import BLOCK, Campaign
from matlode.optimisation.goal import Goal, Scale, compute_merit
from matlode.optimisation.goal_file import make_goal
from matlode.optimisation.sampler import Array, History, Sampler, map_to_box
from matlode.optimisation.samplers import SAMPLERS
from matlode.optimisation.trials import PROPOSERS, Trials, select_diverse
from matlode.progress import Progress, silent
from matlode.properties.endpoints import Endpoint, Estimates
from matlode.properties.scores import predict_element_statistics
from matlode.records import Cell
from matlode.report.drawing import COLOURS, pyplot, save_figure
from matlode.representation.composition import compute_formula_vectors
from matlode.training.table import TrainingTable

N_START = 10
"""Random points before the first suggestion, on functions of two variables."""
HIT = 1.0
"""Merit above which a formula is a hit: that of the best 5 % of the known materials."""
TOP = 50
"""Number of best distinct formulas whose mean merit is reported."""
COMPARED = ("tpe", "tpe-independent", "Optuna TPE", "Hyperopt TPE")
"""Implementations of the same estimator, which are also compared in the latent space."""
N_COMPARED = 512
"""Evaluations of this comparison; after a thousand, the others take minutes per batch."""
Curves: TypeAlias = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
"""Function → sampler → lower quartile, median and upper quartile of the regret after each
evaluation."""
Trace: TypeAlias = dict[str, object]
"""A Plotly trace."""


def _branin(x: Array, y: Array) -> Array:
    inner = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return inner**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10


def _six_hump_camel(x: Array, y: Array) -> Array:
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2


def _ackley(x: Array, y: Array) -> Array:
    bowl = -20 * np.exp(-0.2 * np.sqrt((x**2 + y**2) / 2))
    waves = np.exp((np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y)) / 2)
    return bowl - waves + np.exp(1) + 20


def _goldstein_price(x: Array, y: Array) -> Array:
    first = 19 - 14 * x + 3 * x**2 - 14 * y + 6 * x * y + 3 * y**2
    second = 18 - 32 * x + 12 * x**2 + 48 * y - 36 * x * y + 27 * y**2
    return (1 + (x + y + 1) ** 2 * first) * (30 + (2 * x - 3 * y) ** 2 * second)


def _beale(x: Array, y: Array) -> Array:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


@dataclass(frozen=True)
class TestFunction:
    """A function of two variables with a known minimum (Surjanovic and Bingham, Virtual Library
    of Simulation Experiments)."""

    function: Callable[[Array, Array], Array]
    bounds: tuple[tuple[float, float], tuple[float, float]]
    minimum: float


TEST_FUNCTIONS: Mapping[str, TestFunction] = {
    "Branin": TestFunction(_branin, ((-5, 10), (0, 15)), 0.39788736),
    "six-hump camel": TestFunction(_six_hump_camel, ((-3, 3), (-2, 2)), -1.0316285),
    "Ackley": TestFunction(_ackley, ((-32.768, 32.768), (-32.768, 32.768)), 0.0),
    "Rosenbrock": TestFunction(
        lambda x, y: 100 * (y - x**2) ** 2 + (x - 1) ** 2, ((-5, 10), (-5, 10)), 0.0
    ),
    "Rastrigin": TestFunction(
        lambda x, y: 20 + x**2 + y**2 - 10 * np.cos(2 * np.pi * x) - 10 * np.cos(2 * np.pi * y),
        ((-5.12, 5.12), (-5.12, 5.12)),
        0.0,
    ),
    "Himmelblau": TestFunction(
        lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2, ((-5, 5), (-5, 5)), 0.0
    ),
    "Beale": TestFunction(_beale, ((-4.5, 4.5), (-4.5, 4.5)), 0.0),
    "Goldstein-Price": TestFunction(_goldstein_price, ((-2, 2), (-2, 2)), 3.0),
}


class ExternalSampler(Sampler):
    """A sampler of another library."""

    @abstractmethod
    def load_history(
        self, history: History, n_variables: int, rng: np.random.Generator
    ) -> Callable[[int], Array]:
        """Pass the history (in the unit box) to the library; returns a function that suggests n
        points (n, n_variables) of the unit box."""

    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """See Sampler."""
        unit = replace(history, points=history.to_unit_box(bounds))
        return map_to_box(self.load_history(unit, len(bounds), rng)(n), bounds)


@dataclass(frozen=True, kw_only=True)
class OptunaSampler(ExternalSampler):
    """A sampler of Optuna."""

    kind: str
    """Name of the class in ``optuna.samplers``."""
    options: Mapping[str, bool]

    def load_history(
        self, history: History, n_variables: int, rng: np.random.Generator
    ) -> Callable[[int], Array]:
        """See ExternalSampler."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kind = getattr(optuna.samplers, self.kind)
        with warnings.catch_warnings():
            # Optuna marks the multivariate estimator as experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = kind(seed=int(rng.integers(2**31)), **self.options)
        study = optuna.create_study(sampler=sampler)
        space: dict[str, optuna.distributions.BaseDistribution] = {
            str(i): optuna.distributions.FloatDistribution(0.0, 1.0) for i in range(n_variables)
        }
        for x, value in zip(history.points, history.merits, strict=True):
            parameters = dict(zip(space, map(float, x), strict=True))
            study.add_trial(
                optuna.create_trial(params=parameters, distributions=space, value=-float(value))
            )

        def suggest_points(n: int) -> Array:
            trials = [study.ask(space) for _ in range(n)]
            return np.array([[trial.params[name] for name in space] for trial in trials])

        return suggest_points


@dataclass(frozen=True, kw_only=True)
class HyperoptSampler(ExternalSampler):
    """TPE of Hyperopt, which Korolev et al. 2020 used."""

    def load_history(
        self, history: History, n_variables: int, rng: np.random.Generator
    ) -> Callable[[int], Array]:
        """See ExternalSampler."""
        from hyperopt import JOB_STATE_DONE, STATUS_OK, Domain, Trials, hp, tpe

        names = [f"z{i:03d}" for i in range(n_variables)]
        domain = Domain(lambda _: 0.0, {name: hp.uniform(name, 0, 1) for name in names})
        trials = Trials()
        ids = trials.new_trial_ids(len(history.points))
        documents = []
        for number, x, value in zip(ids, history.points, history.merits, strict=True):
            result = {"status": STATUS_OK, "loss": -float(value)}
            misc = {
                "tid": number,
                "cmd": domain.cmd,
                "idxs": {name: [number] for name in names},
                "vals": {name: [float(v)] for name, v in zip(names, x, strict=True)},
            }
            (document,) = trials.new_trial_docs([number], [None], [result], [misc])
            documents.append({**document, "state": JOB_STATE_DONE})
        trials.insert_trial_docs(documents)
        trials.refresh()

        def suggest_points(n: int) -> Array:
            found = []
            for number in trials.new_trial_ids(n):  # Hyperopt suggests one point at a time
                found += tpe.suggest([number], domain, trials, int(rng.integers(2**31)))
            return np.array([[doc["misc"]["vals"][name][0] for name in names] for doc in found])

        return suggest_points


EXTERNAL_SAMPLERS: Mapping[str, ExternalSampler] = {
    "Optuna TPE": OptunaSampler(kind="TPESampler", options={"multivariate": True}),
    "Optuna TPE, independent": OptunaSampler(kind="TPESampler", options={"multivariate": False}),
    "Hyperopt TPE": HyperoptSampler(),
}
"""Name → sampler of another library (extra ``bench``)."""


def compute_regrets(test: TestFunction, sampler: Sampler, *, seed: int, n: int) -> Array:
    """(n,), difference of the best value and the minimum after 1, 2, ..., n evaluations."""
    bounds = np.array(test.bounds, dtype=float)
    rng = np.random.default_rng(seed)
    points = map_to_box(rng.random((N_START, 2)), bounds)
    while len(points) < n:
        history = History(points, -test.function(*points.T))
        points = np.concatenate([points, sampler.suggest(history, bounds, 1, rng)])
    values = np.minimum.accumulate(test.function(*points.T)[:n])
    return np.asarray(values - test.minimum)


def bench_functions(
    *,
    samplers: Mapping[str, Sampler],
    n_seeds: int = 20,
    n_evaluations: int = 100,
    out: Path,
    progress: Progress = silent,
) -> list[Row]:
    """Run the samplers on TEST_FUNCTIONS (Figure S8): one row per function with the median and the
    quartiles of each sampler's regret after all evaluations.

    Writes the curves and their figure to ``out``.
    """
    curves: dict[str, dict[str, list[list[float]]]] = {}
    done = 0
    for name, test in TEST_FUNCTIONS.items():
        curves[name] = {}
        for label, sampler in samplers.items():
            runs = np.array(
                [compute_regrets(test, sampler, seed=s, n=n_evaluations) for s in range(n_seeds)]
            )
            curves[name][label] = np.quantile(runs, [0.25, 0.5, 0.75], axis=0).tolist()
            done += 1
            progress("functions", done, len(TEST_FUNCTIONS) * len(samplers), f"{name}, {label}")
    write_json(out / "functions.json", {"seeds": n_seeds, "curves": curves})
    _draw_functions(curves, out / "s8-functions")
    return [
        {
            "function": name,
            **{
                label: f"{quartiles[1][-1]:.2g} ({quartiles[0][-1]:.2g}-{quartiles[2][-1]:.2g})"
                for label, quartiles in of.items()
            },
        }
        for name, of in curves.items()
    ]


@dataclass(frozen=True)
class IndependentModel:
    """Model that the samplers cannot exploit: XGBoost on element statistics.

    It uses neither patterns nor latent variables and is trained on the training rows of a table.
    """

    goal: Goal
    scale: Scale
    table: TrainingTable

    def merits(
        self, compositions: NDArray[np.floating], endpoints: Mapping[str, Endpoint]
    ) -> Array:
        """(n,), merits of compositions (n, 100)."""
        rows = self.table.roles == TRAIN
        estimates = {}
        for name in self.goal.endpoints:
            labels = self.table.labels(endpoints[name])
            known = rows & ~np.isnan(labels)
            value = predict_element_statistics(
                endpoints[name], self.table.compositions[known], labels[known], compositions
            )
            estimates[name] = Estimates(*3 * (np.asarray(value, dtype=float),))
        gains = self.scale.gains(self.goal, estimates)
        return compute_merit(self.goal, gains, self.scale.shortfalls(self.goal, estimates))


@dataclass(frozen=True)
class LatentRun:
    """Campaign of one sampler and one seed; lists have one entry per batch of trials, and repeat
    the last one where proposals led to fewer trials."""

    evaluated: int
    """Number of trials. A proposal without a new formula that has a template leads to none."""
    best: list[float]
    """Best merit so far."""
    hits: list[int]
    """Number of distinct formulas with a merit above HIT so far."""
    top: float
    """Mean merit of the TOP best distinct formulas."""
    formulas: list[str]
    """(TOP,), these formulas, repeated if there are fewer."""
    seconds: float


@dataclass(frozen=True)
class _ScoredRun:
    run: LatentRun
    independent: float
    """Mean merit of ``run.formulas`` by the IndependentModel."""


def bench_latent(
    *,
    samplers: Mapping[str, Sampler],
    n_seeds: int = 20,
    n_trials: int = 2048,
    n_start: int = 1500,
    data: Path | None = None,
    out: Path,
    progress: Progress = silent,
) -> list[Row]:
    """Maximise bulk and shear modulus of stable materials in the latent space: one row per sampler.

    Seeds are paired: for each seed, all samplers start with the same known materials, without
    substitutions. A row contains the best merit, the mean merit of the TOP best distinct formulas
    by the models and by the IndependentModel, the number of distinct hits, the time and, compared
    with ``tpe-independent``, the evaluations needed to reach its best merit. Writes the curves and
    their figure to ``out``; runs that are there already are reused.
    """
    models, known = Models(), Known()
    goal = make_goal(
        {"maximize": ["bulk_modulus", "shear_modulus"]},
        known_elements=known.elements,
        endpoints=models.endpoints,
    )
    (out / "runs").mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[LatentRun]] = {name: [] for name in samplers}
    for seed in range(n_seeds):
        settings = SearchSettings(seed=seed, n_start=n_start, substituted_share=0.0)
        prepared = prepare_campaign(goal, models, known, settings)
        if seed == 0:
            scale = prepared.campaign.evaluator.valuation.scale
        for name, sampler in samplers.items():
            file = out / "runs" / f"{name.replace(' ', '-')}-{seed}.json"
            if not file.exists():
                campaign = replace(prepared.campaign, sampler=sampler, variations=None)
                write_json(file, asdict(_run_latent(campaign, prepared.known, n_trials, seed)))
            runs[name].append(LatentRun(**json.loads(file.read_text())))
            n_done = seed * len(samplers) + len([r for r in runs.values() if len(r) > seed])
            progress("latent", n_done, n_seeds * len(samplers), f"{name}, seed {seed}")
    model = IndependentModel(goal, scale, TrainingTable.load(data))
    every = [run for of in runs.values() for run in of]
    tops = compute_formula_vectors([formula for run in every for formula in run.formulas])
    means = model.merits(tops, models.endpoints).reshape(len(every), TOP).mean(axis=1)
    independent = iter(means.tolist())
    scored = {name: [_ScoredRun(run, next(independent)) for run in of] for name, of in runs.items()}
    records = {
        name: [{**asdict(one.run), "by element statistics": one.independent} for one in of]
        for name, of in scored.items()
    }
    write_json(out / "latent.json", {"trials": n_trials, "seeds": n_seeds, "runs": records})
    _draw_latent(runs, out / "latent-samplers")
    return [_tabulate_latent(name, of, runs.get("tpe-independent")) for name, of in scored.items()]


def _run_latent(campaign: Campaign, known: Trials, n_trials: int, seed: int) -> LatentRun:
    began = time.perf_counter()
    trials = campaign.run(known, n_trials, seed)
    seconds = time.perf_counter() - began
    found = trials.take(trials.proposers != PROPOSERS.index("known"))
    merits = found.merits(campaign.goal)
    rows = select_diverse(found, merits, TOP, max_per_system=TOP)
    best = np.maximum.accumulate(merits)
    ends = np.minimum(np.arange(BLOCK, n_trials + 1, BLOCK), len(merits)) - 1
    hits = _count_hits(found, merits)
    return LatentRun(
        evaluated=len(merits),
        best=best[ends].tolist(),
        hits=[hits[end // BLOCK] for end in ends.tolist()],
        top=float(merits[rows].mean()),
        formulas=[str(formula) for formula in found.formulas[np.resize(rows, TOP)]],
        seconds=seconds,
    )


def _count_hits(trials: Trials, merits: Array) -> list[int]:
    """Number of distinct formulas with a merit above HIT after each batch."""
    seen: set[str] = set()
    counts = []
    for part in split_range(len(trials), BLOCK):
        seen |= set(trials.formulas[part][merits[part] > HIT].tolist())
        counts.append(len(seen))
    return counts


def _tabulate_latent(
    name: str, scored: Sequence[_ScoredRun], paper: Sequence[LatentRun] | None
) -> Row:
    runs = [one.run for one in scored]
    row: dict[str, Cell] = {
        "sampler": name,
        "best merit": _format_mean([run.best[-1] for run in runs]),
        f"mean of {TOP} best": _format_mean([run.top for run in runs]),
        "of these, by element statistics": _format_mean([one.independent for one in scored]),
        "evaluated": f"{np.mean([run.evaluated for run in runs]):.0f}",
        "distinct hits": f"{np.mean([run.hits[-1] for run in runs]):.0f}",
        "hits per minute": f"{np.mean([60 * run.hits[-1] / run.seconds for run in runs]):.0f}",
        "seconds": f"{np.mean([run.seconds for run in runs]):.1f}",
    }
    if paper is not None:
        needed = [
            _count_evaluations(run.best, other.best[-1])
            for run, other in zip(runs, paper, strict=True)
        ]
        n_not = sum(n is None for n in needed)
        reached = [n for n in needed if n is not None]
        text = f"{np.median(reached):.0f}" if reached else "never"
        row["evaluations to the paper's best"] = text + (f" ({n_not} not)" if n_not else "")
    return row


def _count_evaluations(best: Sequence[float], merit: float) -> int | None:
    """Evaluations, in whole batches, until ``best`` reaches a merit; None if it never does."""
    batches = np.flatnonzero(np.array(best) >= merit)
    return None if not len(batches) else int(batches[0] + 1) * BLOCK


def _format_mean(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.2f} ± {sd:.2f}"


def bench_suggestions(
    *,
    samplers: Mapping[str, Sampler],
    external: Mapping[str, ExternalSampler],
    n_seen: int = 1000,
    n_dimensions: int = 88,
    repeats: int = 3,
) -> list[Row]:
    """Time per suggestion in milliseconds after ``n_seen`` points: the shortest of ``repeats``.

    matlode's samplers suggest batches. External ones suggest one point at a time, because they
    have no batches; loading the history is not timed.
    """
    rng = np.random.default_rng(0)
    bounds = np.tile([0.0, 1.0], (n_dimensions, 1))
    points = rng.random((n_seen, n_dimensions))
    history = History(points, -(points**2).sum(axis=1))
    calls: dict[str, tuple[int, Callable[[int], Array]]] = {
        name: (BLOCK, partial(_suggest, sampler, history, bounds))
        for name, sampler in samplers.items()
    }
    calls |= {
        name: (1, sampler.load_history(history, n_dimensions, rng))
        for name, sampler in external.items()
    }
    rows: list[Row] = []
    for name, (size, suggest_points) in calls.items():
        suggest_points(size)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            suggest_points(size)
            seconds.append(time.perf_counter() - began)
        rows.append({"sampler": name, "batch": size, "ms each": 1e3 * min(seconds) / size})
    return rows


def _suggest(sampler: Sampler, history: History, bounds: Array, n: int) -> Array:
    return sampler.suggest(history, bounds, n, np.random.default_rng(0))


def _draw_functions(curves: Curves, stem: Path) -> list[Path]:
    plt = pyplot()
    figure, axes = plt.subplots(2, 4, figsize=(14, 7), layout="constrained")
    traces: list[Trace] = []
    for axis, (name, of) in zip(axes.flat, curves.items(), strict=True):
        colours = _choose_colours(len(of))
        for colour, (label, (low, middle, high)) in zip(colours, of.items(), strict=True):
            x = np.arange(1, len(middle) + 1)
            floor = 1e-6
            axis.fill_between(
                x, np.maximum(low, floor), np.maximum(high, floor), color=colour, alpha=0.12, lw=0
            )
            axis.plot(x, np.maximum(middle, floor), color=colour, label=label, lw=1.3)
            traces.append(
                {"type": "scatter", "x": x.tolist(), "y": middle, "name": f"{name}: {label}",
                 "visible": True if name == "Branin" else "legendonly"}
            )  # fmt: skip
        axis.set(title=name, yscale="log", xlabel="evaluations", ylabel="best - minimum")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return save_figure(figure, stem, traces, "evaluations", "best - minimum")


def _draw_latent(runs: Mapping[str, Sequence[LatentRun]], stem: Path) -> list[Path]:
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    traces: list[Trace] = []
    panels: dict[str, dict[str, list[list[float]]]] = {
        "best merit": {name: [run.best for run in of] for name, of in runs.items()},
        f"distinct formulas of merit > {HIT:g}": {
            name: [[float(n) for n in run.hits] for run in of] for name, of in runs.items()
        },
    }
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        for colour, (name, values) in zip(_choose_colours(len(panel)), panel.items(), strict=True):
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
            x = BLOCK * np.arange(1, len(middle) + 1)
            axis.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
            axis.plot(x, middle, color=colour, label=name, lw=1.4)
            traces.append(
                {"type": "scatter", "x": x.tolist(), "y": middle.tolist(),
                 "name": f"{title}: {name}",
                 "visible": True if title == "best merit" else "legendonly"}
            )  # fmt: skip
        axis.set(title=title, xlabel="evaluations")
    axes[0].legend(fontsize=8)
    return save_figure(figure, stem, traces, "evaluations", "merit, or formulas")


def _choose_colours(n: int) -> list[str]:
    extra = ("#1f2933", "#5b8c5a", "#8d6e63")
    return [*COLOURS, *extra][:n]


def bench_search(
    names: Sequence[str] = (),
    *,
    n_seeds: int = 20,
    n_trials: int = 2048,
    data: Path | None = None,
    out: Path = Path("arena"),
    progress: Progress = silent,
) -> Tables:
    """Run all benchmarks of the samplers: test functions, time per suggestion, the latent space.

    ``names`` selects samplers (default: all); external samplers are always included where they
    apply. Raises GoalError for an unknown name.
    """
    for name in names:
        if name not in SAMPLERS:
            raise GoalError(f'unknown sampler "{name}". {suggest(name, SAMPLERS)}')
    ours = {name: SAMPLERS[name] for name in names or SAMPLERS}
    external = {
        name: sampler
        for name, sampler in EXTERNAL_SAMPLERS.items()
        if not isinstance(sampler, HyperoptSampler) or find_spec("hyperopt")
    }
    out.mkdir(parents=True, exist_ok=True)
    # samplers designed for many variables or groups are not compared on two variables
    on_functions = {n: s for n, s in ours.items() if n not in ("gradient", "map-elites")}
    return {
        f"regret after 100 evaluations, median (quartiles) of {n_seeds} seeds": bench_functions(
            samplers={**on_functions, **external}, n_seeds=n_seeds, out=out, progress=progress
        ),
        "milliseconds per suggestion, 88 variables, 1,000 points seen": bench_suggestions(
            samplers=ours, external=external
        ),
        f"88 variables, {n_trials} evaluations, {n_seeds} seeds": bench_latent(
            samplers=ours, n_seeds=n_seeds, n_trials=n_trials, data=data, out=out / "latent",
            progress=progress,
        ),
        f"beside others: 88 variables, {N_COMPARED} evaluations, {n_seeds} seeds": bench_latent(
            samplers={n: s for n, s in (ours | external).items() if n in COMPARED}, n_seeds=n_seeds,
            n_trials=N_COMPARED, n_start=N_COMPARED // 2, data=data, out=out / "beside",
            progress=progress,
        ),
    }  # fmt: skip
