"""A refinement without rietx says how to get it."""

import sys

import numpy as np
import pytest

from matlode.errors import InputError
from matlode.jobs.refine import refine_structure
from matlode.jobs.solve import solve
from matlode.representation.patterns import MeasuredPattern


def test_without_rietx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rietx", None)
    pattern = MeasuredPattern(
        two_theta_deg=np.arange(10.0, 90), intensity=np.ones(80), sigma=None,
        wavelength_angstrom=1.5406, source="made",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"matlode\[refine\]"):
        refine_structure(tmp_path / "a.cif", pattern, tmp_path)


def test_a_refinement_needs_a_folder(tmp_path):
    path = tmp_path / "sample.xy"
    with pytest.raises(InputError, match="--out"):
        solve(path, "TiO2", refine=True)
