"""A structure's own pattern, made as if measured, gives the structure back."""

import json

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from matlode.errors import InputError, MatlodeError
from matlode.jobs.solve import solve
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns
from matlode.testing import rutile

MATCHER = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Rutile with a background and noise."""
    rng = np.random.default_rng(0)
    (pattern,) = simulate_patterns([rutile()])
    counts = rng.poisson(5000 * pattern + 200 + 100 * np.exp(-np.linspace(0, 4, len(pattern))))
    path = tmp_path_factory.mktemp("measured") / "sample.xy"
    np.savetxt(path, np.column_stack([STANDARD_SETTINGS.two_theta_deg, counts]), fmt="%.4f")
    return path


@pytest.fixture(scope="module")
def solved(measured, tmp_path_factory):
    out = tmp_path_factory.mktemp("solved") / "rutile"
    return solve(measured, "TiO2", n=3, hide_known=True, out=out), out


def test_the_right_structure_comes_first_though_its_formula_is_hidden(solved):
    answers, out = solved
    best = Structure.from_file(out / answers[0].file)
    assert MATCHER.fit(best, rutile())
    assert answers[0].space_group == 136
    assert answers[0].match > 0.9
    assert "TiO2" not in answers[0].template.split()[0]
    # the cell was fitted in both of its lengths
    ratio = best.lattice.c / best.lattice.a
    assert ratio == pytest.approx(rutile().lattice.c / rutile().lattice.a, rel=0.01)


def test_answers_differ_and_are_kept(solved):
    answers, out = solved
    assert [a.rank for a in answers] == list(range(1, len(answers) + 1))
    structures = [Structure.from_file(out / a.file) for a in answers]
    for i, one in enumerate(structures):
        assert not any(StructureMatcher().fit(one, other) for other in structures[:i])
    assert json.loads((out / "solutions.json").read_text()) == [a.to_json() for a in answers]


def test_json_is_what_it_always_was(solved):
    answers, _ = solved
    assert list(answers[0].to_json()) == [
        "rank", "formula", "space_group", "match", "score", "rwp", "volume_per_atom_a3", "template",
        "substitution", "file",
    ]  # fmt: skip


def test_what_cannot_be_solved_is_told(measured, tmp_path):
    with pytest.raises(InputError, match="stoichiometry"):
        solve(measured, "B33C3N11")
    with pytest.raises(MatlodeError):
        solve(measured, "not a formula")
    noise = tmp_path / "noise.xy"
    x = STANDARD_SETTINGS.two_theta_deg
    np.savetxt(noise, np.column_stack([x, np.random.default_rng(0).poisson(200, len(x))]))
    with pytest.raises(InputError, match="no peaks above the noise"):
        solve(noise, "TiO2")
    empty = tmp_path / "empty.xy"
    empty.write_text("")
    with pytest.raises(InputError, match=r"empty\.xy"):
        solve(empty, "TiO2")
