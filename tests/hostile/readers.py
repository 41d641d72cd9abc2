"""Everything that matlode reads: sound samples of it, and what must hold of whatever is read."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from matlode.artefacts import find_shipped_models, load_artefact, save_artefact
from matlode.data.cleaning import find_problems
from matlode.data.crystals import Crystals
from matlode.data.formulas import canonicalise_formula, parse_formula
from matlode.data.tables import load_starter, read_crystal_batches, read_table, write_materials
from matlode.errors import MatlodeError
from matlode.jobs.import_data import import_data
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_possible
from matlode.representation.pattern_grid import GriddedPattern, to_grid
from matlode.representation.patterns import read_pattern
from matlode.representation.streaming import compute_part
from tests.data.readers import test_formats as tables
from tests.representation import test_patterns as patterns
from tests.run_rows import evidence_row

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Reader:
    """One way into matlode."""

    samples: Callable[[Path], None]
    """Writes sound files into a folder."""
    read: Callable[[Path], None]
    """Reads a hostile one; an AssertionError says that something wrong was read."""
    folder: bool = False
    """Whether ``read`` takes the folder in which one file is hostile, in place of the file."""
    only: tuple[str, ...] = ()
    """Of a folder: which files are made hostile (default: all)."""


# Crystals ----------------------------------------------------------------------------------

MIXED_CIF = """data_mixed
_cell_length_a 5.64(2)
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90.0(1)
_cell_angle_gamma 90
loop_
_symmetry_equiv_pos_as_xyz
'x, y, z'
'x, y+1/2, z+1/2'
'x+1/2, y, z+1/2'
'x+1/2, y+1/2, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na+ 0 0 0 0.75
K1 K+ 0 0 0 0.25
Cl1 Cl- 0.5 0.5 0.5 1
"""


def some_crystals(n: int = 6) -> tables.Rows:
    """Known materials of the starter set, small ones."""
    starter = load_starter()
    small = np.flatnonzero((starter.crystals.n_atoms <= 8) & (starter.crystals.n_atoms >= 2))
    rows = small[:: len(small) // n][:n]
    ids = starter.frame["id"]
    return [(str(ids.iloc[r]), starter.crystals.structure(int(r)), 1.0 + r) for r in rows]


def check_crystals(crystals: Crystals) -> None:
    """Whatever was taken for crystals is one each, and simulates to a finite pattern."""
    assert find_problems(crystals) == [None] * len(crystals)
    if not len(crystals):
        return
    assert np.isfinite(crystals.lattices).all()
    assert np.isfinite(crystals.frac_coords).all()
    assert (crystals.occupancies > 0).all()
    assert (crystals.occupancies <= 1 + 1e-6).all()
    compositions = composition_vectors(crystals)
    assert np.isfinite(compositions).all()
    possible, simulated, _ = simulate_possible(crystals)
    assert len(possible) == len(simulated)
    assert np.isfinite(simulated).all()
    assert (simulated >= 0).all()


def read_crystals(path: Path) -> None:
    """The whole import: read, cleaned, reduced, described, written and read again."""
    out = path.parent / "out"
    imported = import_data([path], out)
    materials = imported.materials
    assert len(materials) == len(materials.crystals)
    assert len(materials) + len(materials.dropped) >= 1
    assert all(row.reason for row in materials.dropped)
    check_crystals(materials.crystals)
    for formula in materials.frame["formula"]:
        assert canonicalise_formula(formula) == formula
    for name in ("volume", "density", "volume_per_atom"):
        if len(materials):
            assert np.isfinite(materials.frame[name]).all()
    again = read_table(out / "materials.parquet")
    assert list(again.frame["formula"]) == list(materials.frame["formula"])
    json.loads((out / "provenance.json").read_text())


def cif_samples(folder: Path) -> None:
    for name, structure, _ in some_crystals():
        (folder / f"{name}.cif").write_text(structure.to(fmt="cif"))
    _, structure, _ = some_crystals()[0]
    (folder / "symmetrised.cif").write_text(structure.to(fmt="cif", symprec=0.1))
    (folder / "mixed.cif").write_text(MIXED_CIF)


def poscar_samples(folder: Path) -> None:
    for name, structure, _ in some_crystals():
        (folder / f"{name}.vasp").write_text(structure.to(fmt="poscar"))
    (folder / "selective.poscar").write_text(
        "rock salt\n-179.4\n1 0 0\n0 1 0\n0 0 1\nNa Cl\n4 4\nSelective dynamics\nDirect\n"
        + "".join(
            f"{x} {y} {z} T F T\n"
            for s in (0.0, 0.5)
            for x, y, z in (
                (s, s, s),
                (s, s + 0.5, s + 0.5),
                (s + 0.5, s, s + 0.5),
                (s + 0.5, s + 0.5, s),
            )
        )
    )


def samples_of(*writers: Callable[[Path, tables.Rows], Path]) -> Callable[[Path], None]:
    def samples(folder: Path) -> None:
        for writer in writers:
            writer(folder / writer.__name__, some_crystals(4))

    return samples


def own_table_samples(folder: Path) -> None:
    """matlode's own tables, plain and with mixed sites."""
    from matlode.data.readers import read_materials

    write_materials(load_starter().take(np.arange(0, 5000, 500)), folder / "w")
    (folder / "w" / "materials.parquet").rename(folder / "plain.parquet")
    (folder / "w" / "mixed.cif").write_text(MIXED_CIF)
    write_materials(read_materials([folder / "w" / "mixed.cif"]), folder / "w")
    (folder / "w" / "materials.parquet").rename(folder / "mixed.parquet")
    for path in (folder / "w").iterdir():
        path.unlink()
    (folder / "w").rmdir()
    # the same without compression, where a changed byte is a changed value
    for path in list(folder.iterdir()):
        pd.read_parquet(path).to_parquet(folder / f"raw-{path.name}", compression=None)


def read_own_table(path: Path) -> None:
    """As a table of known materials, in batches, and as an import."""
    with contextlib.suppress(MatlodeError):
        for crystals in read_crystal_batches(path):
            assert compute_part(crystals, ["patterns"], STANDARD_SETTINGS).n_rows == len(crystals)
    with contextlib.suppress(MatlodeError):
        materials = read_table(path)
        assert len(materials) == len(materials.crystals)
        check_crystals(materials.crystals)
    read_crystals(path)


# Patterns ----------------------------------------------------------------------------------


def text_pattern_samples(folder: Path) -> None:
    for path in patterns.SPECIMENS.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())


def binary_pattern_samples(folder: Path) -> None:
    scans = [
        (patterns.TWO_THETA, patterns.COUNTS, 1.0),
        (patterns.TWO_THETA + 1, patterns.COUNTS, 2.0),
    ]
    for number, (ending, writer) in enumerate(patterns.BINARY.values()):
        (folder / f"{number}{ending}").write_bytes(writer(scans))


def read_any_pattern(path: Path) -> None:
    """Read, and brought to the grid of the simulated ones."""
    pattern = read_pattern(path)
    n = len(pattern.two_theta_deg)
    assert n >= 10
    assert pattern.intensity.shape == (n,)
    assert np.isfinite(pattern.intensity).all()
    assert np.isfinite(pattern.two_theta_deg).all()
    assert (np.diff(pattern.two_theta_deg) > 0).all()
    assert 0 <= pattern.two_theta_deg[0] <= pattern.two_theta_deg[-1] <= 180
    assert 0 < pattern.wavelength_angstrom < 1e4
    assert pattern.sigma is None or np.isfinite(pattern.sigma).all()
    with contextlib.suppress(MatlodeError):
        gridded = to_grid(pattern)
        check_gridded(gridded)


def check_gridded(gridded: GriddedPattern) -> None:
    assert np.isfinite(gridded.intensity).all()
    assert gridded.intensity.max() == 1
    assert gridded.intensity.min() >= 0


# What people write -------------------------------------------------------------------------

GOALS = {
    "everything.toml": """
maximize = ["bulk_modulus", "shear_modulus"]
[minimize]
formation_energy = 2
[near]
band_gap = 1.4
[within]
refractive_index = "2..3"
energy_above_hull = "< 0.1"
debye_temperature = [100, 900]
[elements]
allowed = "Li,Na,K,Ti,O,N,C,B,Sr,Ca"
required = ["O"]
forbidden = ["Co"]
number = "2..4"
max_price = 100.0
min_abundance = 0.001
toxic = false
radioactive = false
[formula]
stoichiometry = "ABX3"
sites = { A = ["Ca", "Sr"], X = ["O"] }
max_atoms = 12
[symmetry]
crystal_systems = ["cubic", "tetragonal"]
space_groups = [221, "P4mm", "225"]
[prefer]
charge_neutral = 0.5
plausible_pattern = true
novel = 1
like = "SrTiO3"
like_pattern = "scan.xy"
[search]
trials = 64
seed = 3
sampler = "tpe"
[screens]
likely_stable = { min_probability = 0.6, required = false }
""",
    "exact.toml": 'maximize = "bulk_modulus"\n[formula]\nexact = "Ca2(TiO3)2"\n',
    "system.toml": 'minimize = ["band_gap"]\n[formula]\nchemical_system = "Li-O-Ti"\n',
}
OWN_PROPERTIES = """
hardness_own = { column = "bulk_modulus_vrh", unit = "GPa", transform = "log", lowest = 0.1 }
hard = { column = "bulk_modulus_vrh", kind = "classification", at_least = 200 }
kind_of = { column = "source", kind = "classification", equals = "x" }
old = { column = "band_gap", vintage_column = "run", vintages = ["a", "b"], highest = 10 }
"""
SETTINGS = """
[reference-pattern-vae]
learning_rate = 0.001
batch_size = 64
[reference-bulk-modulus]
eta = 0.05
max_depth = 4
"""
SPACE = """
[reference-pattern-vae]
learning_rate = { log = [1e-4, 1e-2] }
batch_size = { int = [32, 256] }
optimizer = { choices = ["adam", "sgd"] }
"""


def write_all(files: Mapping[str, str]) -> Callable[[Path], None]:
    def samples(folder: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text)

    return samples


@cache
def _elements() -> list[str]:
    return sorted({s for f in load_starter().frame["formula"] for s in parse_formula(f)})


def read_goal(path: Path) -> None:
    """All checks that come before a search."""
    from matlode.jobs.search import _settings
    from matlode.jobs.starts import SearchSettings
    from matlode.optimisation.goal_file import make_goal, merge_options, read_goal_file
    from matlode.screening.funnel import choose_rules
    from matlode.screening.stability import LikelyStable

    sections = merge_options(read_goal_file(path), {"maximize": ["volume_per_atom"]})
    settings = _settings(SearchSettings(), sections.get("search", {}))
    assert settings.trials >= 1
    goal = make_goal(sections, known_elements=_elements())
    assert goal.in_words()
    assert np.isfinite([r.low for r in goal.ranges if r.low is not None]).all()
    assert 1 <= goal.min_elements <= goal.max_elements <= 8
    choose_rules((LikelyStable(),), sections.get("screens", {}))


def read_own_properties(path: Path) -> None:
    from matlode.properties.own import read_properties

    for endpoint in read_properties(path).values():
        assert endpoint.lowest <= endpoint.highest
        with contextlib.suppress(MatlodeError):
            from matlode.properties.own import check_labels

            labels = check_labels(endpoint, _labelled(), table="starter")
            assert not np.isinf(labels).any()


@cache
def _labelled() -> Any:
    return load_starter().take(np.arange(200))


def read_screen_file(path: Path) -> None:
    from matlode.screening.chemistry import ChargeNeutral
    from matlode.screening.funnel import choose_rules, read_screens
    from matlode.screening.stability import LikelyStable
    from matlode.screening.symmetry import ClearSymmetry

    choose_rules((LikelyStable(), ClearSymmetry(), ChargeNeutral()), read_screens(path))


def read_settings_file(path: Path) -> None:
    from matlode.training.model_table import MODELS
    from matlode.training.settings import read_settings

    for name, given in read_settings(path, MODELS).items():
        MODELS[name].with_settings(given)


def read_space_file(path: Path) -> None:
    from matlode.paper.spaces import convert_choice, find_first_choice, read_space
    from matlode.training.model_table import MODELS

    spec = MODELS["reference-pattern-vae"]
    space = read_space(path, spec)
    convert_choice(spec, space, find_first_choice(spec, space))


def formula_samples(folder: Path) -> None:
    formulas = sorted(set(load_starter().frame["formula"]))[::800]
    for number, formula in enumerate([*formulas, "Fe4(SiO4)2", "Ca0.5Sr0.5TiO3", "K[PtCl3(C2H4)]"]):
        (folder / f"{number}.formula").write_text(formula)


def read_formula(path: Path) -> None:
    """As a formula on the command line, and as one of a goal."""
    from matlode.data.formulas import anonymise_formula, format_formula

    # what a shell cannot pass on is no formula
    text = path.read_bytes().decode("utf-8", "replace")
    formula = canonicalise_formula(text)
    assert canonicalise_formula(formula) == formula
    assert all(n > 0 for n in parse_formula(formula).values())
    if len(formula) < 1000:
        assert canonicalise_formula(format_formula(formula)) == formula
    anonymise_formula(formula)


# What matlode wrote ------------------------------------------------------------------------


def artefact_samples(folder: Path) -> None:
    save_artefact(
        folder,
        kind="head",
        header={"unit": "GPa", "seed": 3, "scores": {"mae": 1.5}},
        arrays={
            "weights/first": np.arange(12, dtype=np.float16).reshape(3, 4),
            "bits": np.arange(4000, dtype=np.uint8),
            "names": np.array(["Å", "θ"]),
            "scalar": np.array(2.5),
        },
    )


def read_artefact(folder: Path) -> None:
    artefact = load_artefact(folder)
    for name, (kind, *shape) in artefact.header["arrays"].items():
        assert not artefact.arrays[name].dtype.hasobject
        assert [*artefact.arrays[name].shape] == shape
        assert str(artefact.arrays[name].dtype) == kind


SMALL_MODELS = ("known-formulas", "pattern-characteristics", "element-references")


def model_samples(folder: Path) -> None:
    """Those models that are read within a moment."""
    for name in SMALL_MODELS:
        for file in (find_shipped_models() / name).iterdir():
            (folder / f"{name}__{file.name}").write_bytes(file.read_bytes())


def _unpacked(folder: Path) -> Path:
    """A folder of models; names of folders were joined with "__"."""
    root = folder / "models"
    for path in list(folder.iterdir()):
        name, _, file = path.name.partition("__")
        if file:
            (root / name).mkdir(parents=True, exist_ok=True)
            path.rename(root / name / file)
    return root


def read_small_models(folder: Path) -> None:
    from matlode.evidence.elements import ElementReferences
    from matlode.screening.formula_lists import FormulaLists
    from matlode.screening.plausibility import PatternBands

    root = _unpacked(folder)
    with contextlib.suppress(MatlodeError):
        known = FormulaLists.load(root)
        assert all(isinstance(bool(f in known), bool) for f in ("NaCl", "O2Ti"))
    with contextlib.suppress(MatlodeError):
        bands = PatternBands.load(root)
        for verdict in bands.check_all(_pattern()):
            assert np.isfinite(verdict.value)
    for energies in ElementReferences.load(root).energies.values():
        assert all(np.isfinite(energy) for energy in energies.values())


@cache
def _pattern() -> Any:
    return simulate_possible(load_starter().crystals.take([5, 600]))[1]


LARGE_MODELS = ("standard-composition-vae", "standard-pairing", "standard-space-group")


def large_model_samples(folder: Path) -> None:
    for name in LARGE_MODELS:
        for file in (find_shipped_models() / name).iterdir():
            (folder / f"{name}__{file.name}").write_bytes(file.read_bytes())
    for name in ("standard-pattern-vae", "standard-properties"):
        (folder / f"{name}__model.json").write_bytes(
            (find_shipped_models() / name / "model.json").read_bytes()
        )


def read_large_models(folder: Path) -> None:
    """Loaded as a search loads them, and asked something."""
    from matlode.latent.pairing import Pairing
    from matlode.latent.space import load_view
    from matlode.properties.expected_volume import ExpectedVolume
    from matlode.properties.network import PropertyNetwork
    from matlode.screening.symmetry import SymmetryClassifier

    root = _unpacked(folder)
    for name in ("standard-pattern-vae", "standard-properties"):
        (root / name / "weights.npz").symlink_to(find_shipped_models() / name / "weights.npz")
    compositions = composition_vectors(load_starter().crystals.take([5, 600]))
    loads: Mapping[str, Callable[[], object]] = {
        "standard-composition-vae": lambda: load_view(root / "standard-composition-vae"),
        "standard-pattern-vae": lambda: load_view(root / "standard-pattern-vae"),
        "standard-pairing": lambda: Pairing.load(root / "standard-pairing"),
        "standard-properties": lambda: PropertyNetwork.load(
            root / "standard-properties", ExpectedVolume.load()
        ),
        "standard-space-group": lambda: SymmetryClassifier.load(root),
    }
    # the others are as they were shipped
    changed = [name for name in loads if _is_changed(root / name)]
    for name in changed or loads:
        model = loads[name]()
        if isinstance(model, SymmetryClassifier):
            assert np.isfinite(model.predict(_pattern(), compositions)).all()


def _is_changed(folder: Path) -> bool:
    shipped = find_shipped_models() / folder.name
    return any(p.read_bytes() != (shipped / p.name).read_bytes() for p in folder.iterdir())


def _first(folder: Path) -> str:
    """A candidate that is there."""
    with contextlib.suppress(ValueError, LookupError, TypeError):
        rows = json.loads((folder / "candidates.json").read_text())
        return str(next(row for row in rows if row["rank"])["formula"])
    return "NaCl"


def read_run(folder: Path) -> None:
    """Everything that a command does with a run that is there."""
    from matlode.cli import app
    from matlode.jobs.search import Request, read_standing, resume

    (folder / "structures").mkdir()
    for path in list(folder.glob("structures__*")):
        path.rename(folder / "structures" / path.name.removeprefix("structures__"))
    tries: tuple[Callable[[], object], ...] = (
        lambda: resume(folder),
        lambda: app(["show", str(folder)], standalone_mode=False),
        lambda: app(["explain", str(folder), _first(folder)], standalone_mode=False),
        lambda: app(["report", str(folder)], standalone_mode=False),
        lambda: read_standing(folder),
        lambda: Request.load(folder),
    )
    refused = None
    for attempt in tries:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                attempt()
        except MatlodeError as error:
            refused = error
    if refused is not None:
        raise refused


RUN_FILES = (
    "request.json", "candidates.json", "candidates.csv", "provenance.json", "funnel.json",
    "known.json", "patterns.npz", "campaign.db", "evidence.json", "details.json", "verdicts.csv",
)  # fmt: skip
EVIDENCE = {
    "schema": 1,
    "judge": "a",
    "witness": "b",
    "hull": "c",
    "structures": [evidence_row().to_json()],
}


def checkpoint_samples(folder: Path) -> None:
    _train(folder / "checkpoint.npz", epochs=2)


def _train(path: Path, epochs: int) -> list[dict[str, float]]:
    import torch

    from matlode.latent.training import TrainingSettings, train

    class Line(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(3, 1)

        def training_loss(self, batch: Any, *, warmth: float) -> Any:
            return {"loss": ((self.layer(batch[0])[:, 0] - batch[1]) ** 2).mean()}

    x = torch.linspace(0, 1, 60).reshape(20, 3)
    settings = TrainingSettings(max_epochs=3, batch_size=5)
    model = Line()

    def stop(epoch: int, _: float) -> None:
        if epoch == epochs:
            raise StopIteration

    with contextlib.suppress(StopIteration):
        return train(
            model, [x, x.sum(1)], [x, x.sum(1)], settings, checkpoint=path, report=stop,
            device=torch.device("cpu"),
        )  # fmt: skip
    return []


def read_checkpoint(path: Path) -> None:
    rows = _train(path, epochs=99)
    assert len(rows) >= 1


def prototype_samples(folder: Path) -> None:
    (folder / "t.prototypes.csv").write_text(
        "id,prototype,name\nmp-1,AB_cF8_225_a_b,Halite\nmp-2,A_cF4_225_a,\n"
    )


def read_prototypes(path: Path) -> None:
    from matlode.realisation.structure_types import read_types

    for name, label in read_types(path.with_name("t.parquet")).items():
        assert isinstance(name, str)
        assert isinstance(label, str)


CRYSTAL_JSON = (tables.json_of_pymatgen, tables.pandas_json, tables.split_json, tables.jsonl_of_ase)

READERS: Mapping[str, Reader] = {
    "cif": Reader(cif_samples, read_crystals),
    "poscar": Reader(poscar_samples, read_crystals),
    "xyz": Reader(samples_of(tables.extended_xyz), read_crystals),
    "csv": Reader(samples_of(tables.csv_of_cifs), read_crystals),
    "json": Reader(samples_of(*CRYSTAL_JSON), read_crystals),
    "parquet": Reader(samples_of(tables.parquet_of_cifs), read_crystals),
    "own-table": Reader(own_table_samples, read_own_table),
    "pattern-text": Reader(text_pattern_samples, read_any_pattern),
    "pattern-binary": Reader(binary_pattern_samples, read_any_pattern),
    "formula": Reader(formula_samples, read_formula),
    "goal": Reader(write_all(GOALS), read_goal),
    "own-properties": Reader(write_all({"own.toml": OWN_PROPERTIES}), read_own_properties),
    "screens": Reader(
        write_all(
            {"s.toml": "likely_stable = { min_probability = 0.7 }\ncharge_neutral = false\n"}
        ),
        read_screen_file,
    ),
    "settings": Reader(write_all({"settings.toml": SETTINGS}), read_settings_file),
    "space": Reader(write_all({"space.toml": SPACE}), read_space_file),
    "artefact": Reader(artefact_samples, read_artefact, folder=True),
    "small-models": Reader(model_samples, read_small_models, folder=True),
    "large-models": Reader(large_model_samples, read_large_models, folder=True),
    "checkpoint": Reader(checkpoint_samples, read_checkpoint),
    "prototypes": Reader(prototype_samples, read_prototypes),
    "run": Reader(lambda folder: None, read_run, folder=True, only=RUN_FILES),
}
"""name → reader; the samples of "run" are a finished run, which the tests bring."""
