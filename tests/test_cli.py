import json
import re
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from matlode import completion
from matlode.cli import app
from matlode.cli.printing import print_table
from matlode.data.tables import find_starter, write_materials
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns
from matlode.testing import rock_salt, rutile
from matlode.version import __version__
from tests.command_line import matlode


def run(*arguments):
    """What a command does, in this process."""
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A goal file that only says how few materials are to be looked at."""
    path = tmp_path_factory.mktemp("goals") / "few.toml"
    path.write_text("[search]\nn_start = 200\nn_screened = 60\n")
    return path


@pytest.fixture(scope="module")
def run_folder(few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = matlode(
        "search", few, "--maximize", "bulk_modulus", "--exclude", "Co,Tc", "--trials", 64,
        "--seed", 3, "--out", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done


def test_search_prints_a_table_and_keeps_progress_apart(run_folder):
    folder, done = run_folder
    assert "K / GPa" in done.stdout
    assert "report.html" in done.stdout
    assert "screen" in done.stderr
    assert "screen:" not in done.stdout
    assert (folder / "report.html").is_file()


def test_show_and_explain_read_the_run(run_folder):
    folder, _ = run_folder
    shown = matlode("show", folder, "--json")
    rows = json.loads(shown.stdout)
    assert all("Co" not in row["chemical_system"].split("-") for row in rows)
    rows = [row for row in rows if row["rank"]]
    explained = matlode("explain", folder, rows[0]["formula"])
    assert "likely_stable" in explained.stdout
    assert json.loads(matlode("explain", folder, rows[0]["formula"], "--json").stdout) == rows[0]
    assert matlode("explain", folder, "Xe7Rn2").returncode == 1
    mistyped = matlode("show", folder.with_name("rum"))
    assert mistyped.returncode == 1
    assert 'no such run. Did you mean "run"' in mistyped.stderr


def test_ranges_that_nothing_meets_are_told(run_folder, tmp_path):
    folder, _ = run_folder
    rows = [row for row in json.loads((folder / "candidates.json").read_text()) if row["rank"]]
    missed = tmp_path / "missed"
    missed.mkdir()
    (missed / "provenance.json").write_text((folder / "provenance.json").read_text())

    def shown(in_ranges):
        marked = [row | {"in_ranges": in_ranges} for row in rows]
        (missed / "candidates.json").write_text(json.dumps(marked))
        return matlode("show", missed).stdout

    assert f"in the ranges of hull_probability_50_mev: 0 of {len(rows)};" in shown(False)
    assert "in the ranges" not in shown(True)


def test_predict_json_is_a_list_of_answers(tmp_path):
    rock_salt("NaCl", a_angstrom=5.64).to(filename=str(tmp_path / "salt.cif"))
    done = matlode("predict", tmp_path / "salt.cif", "--json")
    (answer,) = json.loads(done.stdout)
    assert answer["formula"] == "NaCl"
    printed = matlode("predict", tmp_path / "salt.cif").stdout
    assert "salt.cif: NaCl, space group 225" in printed
    assert "vickers_hardness / GPa" in printed
    copies = [tmp_path / f"{i}.cif" for i in range(4)]
    for copy in copies:
        copy.write_bytes((tmp_path / "salt.cif").read_bytes())
    printed = matlode("predict", *copies).stdout
    assert printed.count("NaCl") >= 4
    assert "more properties with --json" in printed


def test_import_tells_what_was_dropped(tmp_path):
    rock_salt("NaCl", a_angstrom=5.64).to(filename=str(tmp_path / "salt.cif"))
    (tmp_path / "bad.cif").write_text("nonsense")
    done = matlode("data", "import", tmp_path, "--out", tmp_path / "table")
    assert "1 materials, 1 dropped" in done.stdout
    dropped = (tmp_path / "table" / "dropped.csv").read_text()
    assert "bad.cif" in dropped
    assert "not readable" in dropped
    info = matlode("data", "info", "--data", tmp_path / "table" / "materials.parquet")
    assert "1 materials, 1 formulas" in info.stdout
    info = matlode("data", "info", "--data", tmp_path / "table" / "materials.parquet", "--json")
    assert json.loads(info.stdout)["materials"] == 1


def test_data_check_gives_a_verdict_and_no_error(tmp_path):
    (tmp_path / "my.toml").write_text('index = { column = "n_refrr" }')
    arguments = ("data", "check", find_starter(), "--properties", tmp_path / "my.toml")
    done = matlode(*arguments)
    assert done.returncode == 0, done.stderr
    assert "bulk_modulus / GPa: enough" in done.stdout
    assert 'Did you mean "n_refr"' in done.stdout
    assert "14 of 16 properties have enough to train on" in done.stdout
    assert json.loads(matlode(*arguments, "--json").stdout)["rows"] == 5785


def test_stored_scores_are_printed_beside_baselines():
    done = run("evaluate", "properties", "--stored", "shear_modulus")
    assert "nearest formula" in done.stdout
    assert "standard, decoded pattern" in done.stdout


def test_all_scores_go_into_one_page(tmp_path):
    page = tmp_path / "docs" / "accuracy.md"
    done = matlode("evaluate", "accuracy", "--folds", tmp_path / "folds", "--out", page)
    assert done.stdout.strip() == str(page), done.stderr
    assert page.read_text().startswith("# How accurate the models are")


def test_tuning_shows_the_papers_optimum_beside_the_best(tmp_path):
    done = matlode(
        "tune", "reference-composition-vae", "--trials", 2, "--epochs", 1, "--rows", 64,
        "--data", find_starter(), "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "paper's optimum" in done.stdout
    assert "held-out loss / nats" in done.stdout
    assert f"matlode train models --settings {tmp_path}/best.toml" in done.stdout.replace("\n", "")


def test_our_errors_exit_with_1_and_advice_wrong_usage_with_2(tmp_path):
    wrong = matlode("search", "--maximize", "bulk_modulos", "--out", tmp_path / "x")
    assert wrong.returncode == 1
    assert 'Did you mean "bulk_modulus"' in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert matlode("--verbose", "search", "--maximize", "x").stderr.startswith("Traceback")
    assert matlode("--help").returncode == 0


def test_a_process_ends_with_the_status_of_its_error(tmp_path):
    command = [sys.executable, "-m", "matlode.cli", "predict", str(tmp_path / "nothing.cif")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("InputError: ")


def test_what_cannot_be_read_is_told_without_a_table(tmp_path):
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a 4.0\n")
    told = matlode("predict", tmp_path / "broken.cif").stdout
    assert "broken.cif: not readable as a crystal structure" in told
    assert "nearest known" not in told


def test_a_run_that_was_interrupted_is_told_how_to_go_on(tmp_path):
    (tmp_path / "request.json").write_text("{}")
    assert "`matlode resume" in matlode("explain", tmp_path, "TiO2").stderr


def test_a_file_that_is_not_there_is_told(tmp_path):
    assert "goal.toml: no such file." in matlode("search", tmp_path / "goal.toml").stderr


def test_mistyped_names_are_told_with_the_nearest(tmp_path):
    wrong = {
        ("serach",): "Did you mean 'search'",
        ("data", "chekc", "x"): "Did you mean 'check'",
        ("bench", "serach"): "Did you mean 'search'",
        ("evaluate", "latnet"): "Did you mean 'latent'",
        ("search", "--maximise", "bulk_modulus"): "--maximize",
    }
    for arguments, told in wrong.items():
        done = matlode(*arguments)
        assert done.returncode == 2
        assert told in done.stderr


def test_the_version_is_printed():
    assert run("--version").stdout == f"matlode {__version__}\n"


def test_help_lists_every_command_under_a_heading_users_first():
    lines = run("--help").stdout.splitlines()
    headings = [line.strip(" :") for line in lines if re.fullmatch(r"[A-Z].*:", line)]
    group = get_command(app)
    assert headings == ["Options", *group.headings]
    assert headings[1:3] == ["Find", "Your crystals and patterns"]
    below = {line.split()[0] for line in lines if re.match(r"  [a-z]", line)}
    assert below == {*group.commands}
    assert [name for names in group.sections().values() for name in names] == [
        name for names in group.headings.values() for name in names
    ]


@pytest.mark.parametrize(
    ("group", "commands"),
    [
        (
            "evaluate",
            "properties latent folds symmetry realisation screens potentials designs accuracy",
        ),
        ("train", "models properties"),
        (
            "bench",
            "xrd predict search search-cost rediscovery discovery identify solve scale coordinator",
        ),
        ("data", "features import elements prototypes info check"),
    ],
)
def test_a_group_lists_its_commands_and_each_has_help(group, commands):
    shown = run(group, "--help").stdout
    below = [line.split()[0] for line in shown.splitlines() if re.match(r"  [a-z]", line)]
    assert below == commands.split()
    for name in below:
        done = run(group, name, "--help")
        assert done.exit_code == 0
        assert f"{group} {name} [OPTIONS]" in done.stdout
    nothing = run(group)
    assert nothing.exit_code == 2
    assert "Usage:" in nothing.output


@pytest.mark.parametrize(
    ("line", "new_form"),
    [
        ("evaluate --stored", "evaluate properties --stored"),
        ("evaluate bulk_modulus", "evaluate properties bulk_modulus"),
        ("evaluate my_own", "evaluate properties my_own"),
        ("train --data TABLE", "train models --data"),
        ("train standard-properties", "train models standard-properties"),
        ("train --properties my.toml", "train properties FILE"),
    ],
)
def test_the_form_of_before_ends_with_the_new_form(line, new_form):
    done = run(*line.split())
    assert done.exit_code == 2
    assert f"`matlode {new_form}`" in done.stderr
    assert "Did you mean" not in done.stderr


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("search --maximize band_gap --rounds 2 --relax 1 --storage sqlite:///x", "--storage"),
        ("search --maximize band_gap --rounds 2 --relax 1 --campaign x", "--campaign"),
        ("resume rounds --storage sqlite:///x", "--storage"),
        ("show finished --storage sqlite:///x", "--storage"),
        ("relax finished --out x", "--out"),
        ("relax a.cif --top 3", "--top"),
        ("data import a.cif --out x --filter nelements=2", "--filter"),
        ("train models reference-bulk-modulus --epochs 3", "--epochs"),
        ("train models --settings head.toml --epochs 3", "--epochs"),
        ("train models reference-shear-modulus --settings head.toml", "--settings"),
        ("train properties own.toml --settings head.toml", "--settings"),
        ("tune reference-bulk-modulus --epochs 3", "--epochs"),
        ("evaluate properties --stored --data x", "--data"),
        ("evaluate properties --stored --properties x.toml", "--properties"),
        ("evaluate accuracy --data x", "--data"),
        ("reproduce --quick --seeds 3", "--seeds"),
    ],
)
def test_an_option_that_would_be_ignored_is_an_error(line, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, file in (("rounds", "rounds.json"), ("finished", "candidates.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("[]")
    (tmp_path / "own.toml").write_text('index = { column = "n_refr" }')
    (tmp_path / "head.toml").write_text("[reference-bulk-modulus]\nn_rounds = 10\n")
    before = sorted(tmp_path.rglob("*"))
    done = run(*line.split())
    assert done.exit_code == 2, done.output
    assert f"Error: {option} has no effect" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_rounds_need_relaxations():
    done = run("search", "--maximize", "band_gap", "--rounds", 2)
    assert done.exit_code == 2
    assert "--rounds needs --relax" in done.stderr


def test_a_storage_of_the_environment_is_no_option(run_folder, monkeypatch):
    monkeypatch.setenv("MATLODE_STORAGE", "sqlite:///elsewhere")
    assert run("show", run_folder[0]).exit_code == 0


def test_former_names_of_potentials_still_work(tmp_path):
    rock_salt("NaCl", a_angstrom=5.64).to(filename=str(tmp_path / "salt.cif"))
    for option in ("--judge", "--potential", "--witness", "--second-potential"):
        done = run("relax", tmp_path / "salt.cif", option, "nix", "--out", tmp_path / "out")
        assert '"nix"' in str(done.exception)
    assert "--judge" not in run("relax", "--help").stdout


def test_properties_are_listed_with_unit_range_and_error():
    printed = run("properties").stdout
    assert "PBE Kohn-Sham gap" in printed
    assert re.search(r"bulk_modulus +GPa .*Voigt.* \d+\.\.\d+ +MAE \d", printed)
    rows = json.loads(run("properties", "--json").stdout)
    assert [row["name"] for row in rows] == list(completion.PROPERTIES)


def test_progress_is_as_loud_as_asked(tmp_path):
    rock_salt("NaCl", a_angstrom=5.64).to(filename=str(tmp_path / "salt.cif"))
    normal, quiet, loud = (
        matlode(*before, "xrd", tmp_path / "salt.cif", *after)
        for before, after in (((), ()), ((), ("--quiet",)), (("-v",), ()))
    )
    assert normal.stdout == quiet.stdout == loud.stdout
    assert quiet.stderr == ""
    assert re.search(r"^\[ +\d+\.\d s\] peaks: 1 of 1, took", loud.stderr, flags=re.M)


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on(few, tmp_path):
    out = tmp_path / "run"
    # without the 5,000 substitutions that so many trials would begin with
    goal = tmp_path / "goal.toml"
    goal.write_text(few.read_text() + "substituted_share = 0.0\n")
    command = [sys.executable, "-m", "matlode.cli", "search", "-v", str(goal)]
    with subprocess.Popen(
        [*command, "--maximize", "bulk_modulus", "--trials", "20000", "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        # what a shell starts in the background ignores Ctrl-C, and so would its children
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        for line in process.stderr:
            if "] search: " in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert f"Interrupted. `matlode resume {out}` continues the search." in rest
    assert "Traceback" not in rest
    shown = matlode("show", out)
    assert "of 313 blocks done" in shown.stdout


def test_doctor_finds_what_ships(tmp_path):
    findings = json.loads(matlode("doctor", "--json").stdout)
    by_name = {finding["name"]: finding for finding in findings}
    assert by_name["starter set"]["found"].startswith("5,785 rows")
    assert matlode("doctor", "--models", tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("words", "found"),
    [("matlode sea", "search"), ("matlode search --sampler tpe-", "tpe-independent")],
)
def test_the_shell_completes(words, found):
    environment = {
        "_MATLODE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    assert found in matlode(env=environment).stdout.split()


def test_help_loads_nothing_heavy():
    heavy = ["torch", "pymatgen", "numba", "pandas", "xgboost"]
    code = f"import sys, matlode.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_identify_prints_phases_and_keeps_its_index(tmp_path, starter):
    rows = (starter.frame["formula"] == "O2Sn").to_numpy() | (np.arange(len(starter)) < 50)
    write_materials(starter.take(rows), tmp_path / "known")
    (curve,) = simulate_patterns([rutile("SnO2", a_angstrom=4.737, c_angstrom=3.186)])
    sample = tmp_path / "sample.xy"
    np.savetxt(sample, np.column_stack([STANDARD_SETTINGS.grid, 1000 * curve + 50]), fmt="%.4f")
    given = ["--known", tmp_path / "known" / "materials.parquet", "--index", tmp_path / "index"]
    done = matlode("identify", sample, *given, "--plot", tmp_path / "plot.png", "--top", 3)
    assert done.returncode == 0, done.stderr
    assert "SnO2" in done.stdout
    assert "136 (tetragonal)" in done.stdout
    assert "latent neighbours:" in done.stdout
    assert (tmp_path / "plot.png").is_file()
    assert (tmp_path / "index" / "index.json").is_file()
    answer = json.loads(matlode("identify", sample, *given, "--elements", "Sn,O", "--json").stdout)
    assert answer["phases"][0]["formula"] == "SnO2"
    refused = matlode("identify", sample, *given, "--elements", "Sn,Ox")
    assert refused.returncode == 1
    assert "unknown element" in refused.stderr


def test_commands_that_read_nothing_end_with_1(tmp_path):
    (tmp_path / "bad.cif").write_text("data_bad\n_cell_length_a five\n")
    rock_salt("NaCl").to(filename=str(tmp_path / "good.cif"))
    for words in (["predict"], ["predict", "--json"], ["xrd"], ["xrd", "--json"]):
        bad = matlode(*words, tmp_path / "bad.cif")
        assert bad.returncode == 1
        assert "readable" in bad.stdout
        assert matlode(*words, tmp_path / "bad.cif", tmp_path / "good.cif").returncode == 0
    nothing = matlode("data", "import", tmp_path / "bad.cif", "--out", tmp_path / "table")
    assert nothing.returncode == 1
    assert "0 materials, 1 dropped" in nothing.stdout


def test_tables_in_pipes_lose_nothing(capsys):
    long, wide = "x" * 180, "y" * 120
    print_table(["a", "b"], [[long, wide]], title="t")
    assert re.search(f"{long} +{wide}", capsys.readouterr().out)


def test_tables_on_narrow_terminals_wrap_and_lose_nothing(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("matlode.cli.printing.stdout_is_terminal", lambda: True)
    print_table(["a", "b"], [["x" * 100, "y" * 30]])
    printed = capsys.readouterr().out
    assert (printed.count("x"), printed.count("y")) == (100, 30)
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 60


def test_the_time_at_the_end_is_wall_time(run_folder, monkeypatch):
    folder, done = run_folder
    assert re.search(r"candidates in \d+ s", done.stdout)
    seconds = sum(json.loads((folder / "provenance.json").read_text())["seconds"].values())
    clock = iter([0.0, 3 * 3600.0])
    monkeypatch.setattr("matlode.cli.searches.time.perf_counter", lambda: next(clock, 3 * 3600.0))
    again = matlode("resume", folder)  # finished, so that nothing else is measured
    assert "candidates in 10800 s" in again.stdout
    assert seconds < 3600


def test_options_of_symmetry_and_price_limit_a_search(tmp_path):
    words = ["search", "--maximize", "bulk_modulus,shear_modulus", "--out", tmp_path / "run"]
    impossible = matlode(*words, "--space-group", "225", "--crystal-system", "hexagonal")
    assert impossible.returncode == 1
    assert "belong to none of the crystal systems" in impossible.stderr
    cheap = matlode(*words, "--max-price", "1", "--require", "Pt")
    assert "max_price = 1 forbids it" in cheap.stderr
    assert "toxic = false forbids it" in matlode(*words, "--no-toxic", "--require", "Pb").stderr
    assert not (tmp_path / "run").exists()
