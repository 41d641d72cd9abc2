"""The arena: every sampler on functions of two variables (the paper's S8), on the real objective
in 88, against Optuna's and Hyperopt's estimators, and before a judge of its own."""

from __future__ import annotations

import json
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import write_json
from matlode.data.splits import TRAIN
from matlode.errors import GoalError, suggest
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.starts import SearchSettings, prepare_campaign
from matlode.optimisation.campaign import BATCH, Campaign, Trials, select_diverse
from matlode.optimisation.goal import Goal, Scale, merit
from matlode.optimisation.goal_file import make_goal
from matlode.optimisation.sampler import Array, History, Sampler, out_of_box
from matlode.optimisation.samplers import SAMPLERS
from matlode.progress import Progress, silent
from matlode.properties.endpoints import Estimates
from matlode.properties.scores import element_statistics_baseline
from matlode.report.drawing import COLOURS, pyplot, save_figure
from matlode.representation.composition import formula_vectors
from matlode.training.table import TrainingTable

N_START = 10
"""Random points that every sampler begins with, on functions of two variables."""
HIT = 1.0
"""Merit of a hit: as good as the best 5 % of the known materials."""
TOP = 50
BESIDE = ("tpe", "tpe-independent", "Optuna TPE", "Hyperopt TPE")
"""Samplers of one kind, that are held against each other in the latent space, too."""
N_BESIDE = 512
"""Evaluations of it: after a thousand, the others take minutes per batch."""


def _branin(x: Array, y: Array) -> Array:
    inner = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return inner**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10


def _six_hump_camel(x: Array, y: Array) -> Array:
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2


def _ackley(x: Array, y: Array) -> Array:
    bowl = -20 * np.exp(-0.2 * np.sqrt((x**2 + y**2) / 2))
    waves = np.exp((np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y)) / 2)
    return bowl - waves + np.e + 20


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


class Rival(Sampler):
    """A sampler of another library, behind our interface."""

    @abstractmethod
    def told(
        self, history: History, n_variables: int, rng: np.random.Generator
    ) -> Callable[[int], Array]:
        """What gives n points of the unit box, once the library has been told the history."""

    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """See Sampler."""
        unit = replace(history, points=history.in_box(bounds))
        return out_of_box(self.told(unit, len(bounds), rng)(n), bounds)


@dataclass(frozen=True, kw_only=True)
class OptunaSampler(Rival):
    """One of Optuna's."""

    kind: str
    options: Mapping[str, Any]

    def told(
        self, history: History, n_variables: int, rng: np.random.Generator
    ) -> Callable[[int], Array]:
        """See Rival."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kind = getattr(optuna.samplers, self.kind)
        with warnings.catch_warnings():
            # the multivariate estimator is called experimental
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

        def ask(n: int) -> Array:
            asked = [study.ask(space) for _ in range(n)]
            return np.array([[trial.params[name] for name in space] for trial in asked])

        return ask


@dataclass(frozen=True, kw_only=True)
class HyperoptSampler(Rival):
    """Hyperopt's TPE, which the paper used."""

    def told(
        self, history: History, n_variables: int, rng: np.random.Generator
    ) -> Callable[[int], Array]:
        """See Rival."""
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

        def ask(n: int) -> Array:
            found = []
            for number in trials.new_trial_ids(n):  # it suggests one at a time
                found += tpe.suggest([number], domain, trials, int(rng.integers(2**31)))
            return np.array([[doc["misc"]["vals"][name][0] for name in names] for doc in found])

        return ask


RIVALS: Mapping[str, Rival] = {
    "Optuna TPE": OptunaSampler(kind="TPESampler", options={"multivariate": True}),
    "Optuna TPE, independent": OptunaSampler(kind="TPESampler", options={"multivariate": False}),
    "Hyperopt TPE": HyperoptSampler(),
}
"""name → sampler of others (extra ``bench``)."""


def regrets(test: TestFunction, sampler: Sampler, *, seed: int, n: int) -> Array:
    """(n,), best value so far above the minimum after 1, 2 ... evaluations, one at a time."""
    bounds = np.array(test.bounds, dtype=float)
    rng = np.random.default_rng(seed)
    points = out_of_box(rng.random((N_START, 2)), bounds)
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
) -> list[dict[str, Any]]:
    """S8: one row per function with every sampler's median regret and quartiles after all
    evaluations; curves are kept and drawn in ``out``."""
    curves: dict[str, dict[str, Any]] = {}
    done = 0
    for name, test in TEST_FUNCTIONS.items():
        curves[name] = {}
        for label, sampler in samplers.items():
            runs = np.array(
                [regrets(test, sampler, seed=s, n=n_evaluations) for s in range(n_seeds)]
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
class Judge:
    """An opinion that no sampler can please on purpose: XGBoost on the elements' statistics,
    which sees no pattern and no latent space, learned from the training rows of a table."""

    goal: Goal
    scale: Scale
    table: TrainingTable

    def merits(self, compositions: NDArray[np.floating], endpoints: Mapping[str, Any]) -> Array:
        """(n,), merits of compositions (n, 100)."""
        rows = self.table.roles == TRAIN
        estimates = {}
        for name in self.goal.endpoints:
            labels = self.table.labels(endpoints[name])
            known = rows & ~np.isnan(labels)
            value = element_statistics_baseline(
                endpoints[name], self.table.compositions[known], labels[known], compositions
            )
            estimates[name] = Estimates(*3 * (np.asarray(value, dtype=float),))
        gains = self.scale.gains(self.goal, estimates)
        return merit(self.goal, gains, self.scale.shortfalls(self.goal, estimates))


def bench_latent(
    *,
    samplers: Mapping[str, Sampler],
    n_seeds: int = 20,
    n_trials: int = 2048,
    n_start: int = 1500,
    data: Path | None = None,
    out: Path,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Bulk and shear modulus as large as possible, stability wanted: one row per sampler.

    Seeds are paired: all samplers of a seed begin with the same known materials, and with no
    substitutions. Per sampler: best merit, mean of the TOP best distinct formulas and what the
    ``Judge`` says of these, distinct hits, seconds, and, beside the paper's form, how many
    evaluations it takes to reach that one's best. Curves are kept and drawn in ``out``; runs
    that it holds already are not made again.
    """
    models, known = Models(), Known()
    goal = make_goal(
        {"maximize": ["bulk_modulus", "shear_modulus"]},
        known_elements=known.elements,
        endpoints=models.endpoints,
    )
    (out / "runs").mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in samplers}
    for seed in range(n_seeds):
        settings = SearchSettings(seed=seed, n_start=n_start, substituted_share=0.0)
        prepared = prepare_campaign(goal, models, known, settings)
        if seed == 0:
            scale = prepared.campaign.scale
        for name, sampler in samplers.items():
            file = out / "runs" / f"{name.replace(' ', '-')}-{seed}.json"
            if not file.exists():
                campaign = replace(prepared.campaign, sampler=sampler)
                write_json(file, _latent_run(campaign, prepared.start, n_trials, seed))
            runs[name].append(json.loads(file.read_text()))
            n_done = seed * len(samplers) + len([r for r in runs.values() if len(r) > seed])
            progress("latent", n_done, n_seeds * len(samplers), f"{name}, seed {seed}")
    judge = Judge(goal, scale, TrainingTable.load(data))
    every = [run for of in runs.values() for run in of]
    tops = formula_vectors([formula for run in every for formula in run["formulas"]])
    judged = judge.merits(tops, models.endpoints).reshape(len(every), TOP).mean(axis=1)
    for run, merit_judged in zip(every, judged.tolist(), strict=True):
        run["judged"] = merit_judged
    write_json(out / "latent.json", {"trials": n_trials, "seeds": n_seeds, "runs": runs})
    _draw_latent(runs, out / "latent-samplers")
    return [_latent_row(name, of, runs.get("tpe-independent")) for name, of in runs.items()]


def _latent_run(
    campaign: Campaign, start: NDArray[np.floating], n_trials: int, seed: int
) -> dict[str, Any]:
    began = time.perf_counter()
    trials, n_known = campaign.run(start, n_trials, seed)
    seconds = time.perf_counter() - began
    found = trials.take(np.arange(n_known, len(trials)))
    merits = found.merits(campaign.goal)
    rows = select_diverse(found, merits, TOP, max_per_system=TOP)
    best = np.maximum.accumulate(merits)
    return {
        "best": best[BATCH - 1 :: BATCH].tolist(),
        "hits": _distinct_hits(found, merits),
        "top": float(merits[rows].mean()),
        "formulas": [str(formula) for formula in found.formulas[np.resize(rows, TOP)]],
        "seconds": seconds,
    }


def _distinct_hits(trials: Trials, merits: Array) -> list[int]:
    """Distinct formulas that are hits, after each batch."""
    seen: set[str] = set()
    counts = []
    for at in range(0, len(trials), BATCH):
        part = slice(at, at + BATCH)
        seen |= set(trials.formulas[part][merits[part] > HIT].tolist())
        counts.append(len(seen))
    return counts


def _latent_row(
    name: str, runs: Sequence[Mapping[str, Any]], paper: Sequence[Mapping[str, Any]] | None
) -> dict[str, Any]:
    row = {
        "sampler": name,
        "best merit": _mean_sd([run["best"][-1] for run in runs]),
        f"mean of {TOP} best": _mean_sd([run["top"] for run in runs]),
        "of these, by the judge": _mean_sd([run["judged"] for run in runs]),
        "distinct hits": f"{np.mean([run['hits'][-1] for run in runs]):.0f}",
        "hits per minute": f"{np.mean([60 * r['hits'][-1] / r['seconds'] for r in runs]):.0f}",
        "seconds": f"{np.mean([run['seconds'] for run in runs]):.1f}",
    }
    if paper is not None:
        needed = [_reached(run, other["best"][-1]) for run, other in zip(runs, paper, strict=True)]
        n_not = sum(n is None for n in needed)
        reached = [n for n in needed if n is not None]
        text = f"{np.median(reached):.0f}" if reached else "never"
        row["evaluations to the paper's best"] = text + (f" ({n_not} not)" if n_not else "")
    return row


def _reached(run: Mapping[str, Any], best: float) -> int | None:
    """Evaluations, in whole batches, until a run is as good as ``best``."""
    batches = np.flatnonzero(np.array(run["best"]) >= best)
    return None if not len(batches) else int(batches[0] + 1) * BATCH


def _mean_sd(values: Sequence[float]) -> str:
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.2f} ± {sd:.2f}"


def bench_suggestions(
    *,
    samplers: Mapping[str, Sampler],
    rivals: Mapping[str, Rival],
    n_seen: int = 1000,
    n_dimensions: int = 88,
    repeats: int = 3,
) -> list[dict[str, Any]]:
    """Milliseconds per suggestion in 88 dimensions after ``n_seen`` points, the least of some
    repeats: ours in batches, the rivals', which know none, one at a time, and without the time
    that it takes to tell them what was seen."""
    rng = np.random.default_rng(0)
    bounds = np.tile([0.0, 1.0], (n_dimensions, 1))
    points = rng.random((n_seen, n_dimensions))
    history = History(points, -(points**2).sum(axis=1))
    asks: dict[str, tuple[int, Callable[[int], Array]]] = {
        name: (BATCH, partial(_suggest, sampler, history, bounds))
        for name, sampler in samplers.items()
    }
    asks |= {name: (1, rival.told(history, n_dimensions, rng)) for name, rival in rivals.items()}
    rows = []
    for name, (size, ask) in asks.items():
        ask(size)
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            ask(size)
            seconds.append(time.perf_counter() - began)
        rows.append({"sampler": name, "batch": size, "ms each": 1e3 * min(seconds) / size})
    return rows


def _suggest(sampler: Sampler, history: History, bounds: Array, n: int) -> Array:
    return sampler.suggest(history, bounds, n, np.random.default_rng(0))


def _draw_functions(curves: Mapping[str, Mapping[str, Any]], stem: Path) -> list[Path]:
    plt = pyplot()
    figure, axes = plt.subplots(2, 4, figsize=(14, 7), layout="constrained")
    traces: list[dict[str, Any]] = []
    for axis, (name, of) in zip(axes.flat, curves.items(), strict=True):
        for colour, (label, (low, middle, high)) in zip(_colours(of), of.items(), strict=True):
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


def _draw_latent(runs: Mapping[str, Sequence[Mapping[str, Any]]], stem: Path) -> list[Path]:
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    traces: list[dict[str, Any]] = []
    for axis, key, title in zip(
        axes, ("best", "hits"), ("best merit", f"distinct formulas of merit > {HIT:g}"), strict=True
    ):
        for colour, (name, of) in zip(_colours(runs), runs.items(), strict=True):
            values = np.array([run[key] for run in of])
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
            x = BATCH * np.arange(1, len(middle) + 1)
            axis.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
            axis.plot(x, middle, color=colour, label=name, lw=1.4)
            traces.append(
                {"type": "scatter", "x": x.tolist(), "y": middle.tolist(),
                 "name": f"{title}: {name}",
                 "visible": True if key == "best" else "legendonly"}
            )  # fmt: skip
        axis.set(title=title, xlabel="evaluations")
    axes[0].legend(fontsize=8)
    return save_figure(figure, stem, traces, "evaluations", "merit, or formulas")


def _colours(named: Mapping[str, Any]) -> list[str]:
    extra = ("#1f2933", "#5b8c5a", "#8d6e63")
    return [*COLOURS, *extra][: len(named)]


def bench_search(
    names: Sequence[str] = (),
    *,
    n_seeds: int = 20,
    n_trials: int = 2048,
    data: Path | None = None,
    out: Path = Path("arena"),
    progress: Progress = silent,
) -> dict[str, list[dict[str, Any]]]:
    """The whole arena: test functions, cost of suggestions, the latent space.

    ``names`` picks samplers (default: all of ours; the rivals join on functions and for the
    cost). Raises GoalError for one that there is not.
    """
    for name in names:
        if name not in SAMPLERS:
            raise GoalError(f'"{name}" is no sampler. {suggest(name, SAMPLERS)}')
    ours = {name: SAMPLERS[name] for name in names or SAMPLERS}
    rivals = {
        name: sampler
        for name, sampler in RIVALS.items()
        if not isinstance(sampler, HyperoptSampler) or find_spec("hyperopt")
    }
    out.mkdir(parents=True, exist_ok=True)
    # what needs neighbours of other kinds says nothing of a function of two variables
    on_functions = {n: s for n, s in ours.items() if n not in ("gradient", "map-elites")}
    return {
        f"regret after 100 evaluations, median (quartiles) of {n_seeds} seeds": bench_functions(
            samplers={**on_functions, **rivals}, n_seeds=n_seeds, out=out, progress=progress
        ),
        "milliseconds per suggestion, 88 variables, 1,000 points seen": bench_suggestions(
            samplers=ours, rivals=rivals
        ),
        f"88 variables, {n_trials} evaluations, {n_seeds} seeds": bench_latent(
            samplers=ours, n_seeds=n_seeds, n_trials=n_trials, data=data, out=out / "latent",
            progress=progress,
        ),
        f"beside others: 88 variables, {N_BESIDE} evaluations, {n_seeds} seeds": bench_latent(
            samplers={n: s for n, s in (ours | rivals).items() if n in BESIDE}, n_seeds=n_seeds,
            n_trials=N_BESIDE, n_start=N_BESIDE // 2, data=data, out=out / "beside",
            progress=progress,
        ),
    }  # fmt: skip
