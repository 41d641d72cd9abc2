from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matlode.errors import InputError
from matlode.representation.patterns import read_pattern
from matlode.representation.radiation import find_wavelength, to_q

TWO_THETA = 20 + 0.5 * np.arange(60)
COUNTS = np.rint(900 + 4000 * np.exp(-0.5 * (np.arange(60) - 25.0) ** 2 / 4))
BACKGROUND = np.full(60, 850.0)
SIGMA = np.sqrt(COUNTS)
Q = to_q(TWO_THETA, "two_theta", 1.54184)
D = 2 * np.pi / Q
INDEX = np.arange(60.0)


def table(*columns: np.ndarray, separator: str = " ") -> str:
    return "\n".join(separator.join(f"{x:.8g}" for x in row) for row in zip(*columns, strict=True))


def read(tmp_path: Path, text: str, name: str = "a.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_pattern(tmp_path / name)


@pytest.mark.parametrize(
    ("header", "separator", "columns", "has_sigma"),
    [
        ("Angle d-value Intensity", " ", (TWO_THETA, D, COUNTS), False),
        ("Angle,TimePerStep,Intensity,ESD", ",", (TWO_THETA, INDEX, COUNTS, SIGMA), True),
        ("2Theta,Background,Counts", ",", (TWO_THETA, BACKGROUND, COUNTS), False),
        ("2theta,ycalc,yobs", ",", (TWO_THETA, BACKGROUND, COUNTS), False),
        ("d 2theta I", " ", (D, TWO_THETA, COUNTS), False),
        ("Intensity\t2Theta", "\t", (COUNTS, TWO_THETA), False),
        (",2theta,intensity", ",", (INDEX, TWO_THETA, COUNTS), False),
        ("Unnamed: 0;2θ;I", ";", (INDEX, TWO_THETA, COUNTS), False),
        ("2theta (deg) Intensity (cts) sigma", " ", (TWO_THETA, COUNTS, SIGMA), True),
        ("Q(1/A) I(Q) error", " ", (Q, COUNTS, SIGMA), True),
        ("q [nm^-1], intensity", ",", (10 * Q, COUNTS), False),
        ("Q^2 I", " ", (Q**2, COUNTS), False),
        ("1/d I", " ", (1 / D, COUNTS), False),
        ("stol,counts", ",", (Q / (4 * np.pi), COUNTS), False),
        ("d(pm) I", " ", (100 * D, COUNTS), False),
        ("d/nm I", " ", (D / 10, COUNTS), False),
        ("2theta(rad) I", " ", (np.radians(TWO_THETA), COUNTS), False),
        ("2theta[mrad] I", " ", (1000 * np.radians(TWO_THETA), COUNTS), False),
        ("theta,intensity", ",", (TWO_THETA / 2, COUNTS), False),
        ("2theta(centideg) counts", " ", (100 * TWO_THETA, COUNTS), False),
        ("2theta_mrad,I", ",", (1000 * np.radians(TWO_THETA), COUNTS), False),
        ("d* (1/A),I", ",", (1 / D, COUNTS), False),
        ("1/d^2,I", ",", (D**-2.0, COUNTS), False),
        ("Q squared,I", ",", (Q**2, COUNTS), False),
        ("d_pm,I", ",", (100 * D, COUNTS), False),
        ("2Theta\tI(calc)\tI(obs)", "\t", (TWO_THETA, BACKGROUND, COUNTS), False),
        ("2Theta Ycal Yobs-Ycal Yobs", " ", (TWO_THETA, INDEX, INDEX, COUNTS), False),
        ("2theta,fit,data", ",", (TWO_THETA, BACKGROUND, COUNTS), False),
        ("Angle,Intensity Calc,Intensity Obs", ",", (TWO_THETA, BACKGROUND, COUNTS), False),
        ("X,Ycalc,Yobs", ",", (TWO_THETA, BACKGROUND, COUNTS), False),
        ("Bkg,Degrees 2-theta,Counts", ",", (BACKGROUND, TWO_THETA, COUNTS), False),
        ("diffraction angle,counts", ",", (TWO_THETA, COUNTS), False),
        ("2θ,強度", ",", (TWO_THETA, COUNTS), False),
    ],
)
def test_columns_are_found_by_their_names(tmp_path, header, separator, columns, has_sigma):
    for comment in ("", "# "):
        text = f"{comment}{header}\n{table(*columns, separator=separator)}"
        if header.startswith(",") and comment:
            continue  # pandas writes no comments
        pattern = read(tmp_path, text)
        np.testing.assert_allclose(pattern.two_theta_deg, TWO_THETA, atol=1e-4)
        np.testing.assert_allclose(pattern.intensity, COUNTS, rtol=1e-6)
        assert (pattern.sigma is not None) == has_sigma


def test_ignored_columns_are_noted(tmp_path):
    pattern = read(tmp_path, "2theta,Background,Counts\n" + table(TWO_THETA, BACKGROUND, COUNTS))
    assert "columns ignored: background." in pattern.notes


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Energy(keV) Intensity", "names an energy"),
        ("s intensity", "names no position"),
        ("2theta background", "names no intensity"),
        ("time counts", "names no position"),
        ("tof counts", "a time of flight"),
        ("sample,temperature", "names no position"),
        ("Potential (V),Current", "no axis of diffraction"),
        ("q^4 I", "a scaled axis"),
    ],
)
def test_headers_without_position_or_intensity_are_refused(tmp_path, header, reason):
    with pytest.raises(InputError, match=reason):
        read(tmp_path, f"{header}\n{table(TWO_THETA, COUNTS)}")


def test_a_third_column_is_a_deviation_only_if_it_looks_like_one(tmp_path):
    others = (COUNTS * 0.98, BACKGROUND, 0 * COUNTS + 1, D, INDEX)
    for third, is_sigma in ((SIGMA, True), *((values, False) for values in others)):
        pattern = read(tmp_path, table(TWO_THETA, COUNTS, third), "a.xy")
        assert (pattern.sigma is not None) == is_sigma


@pytest.mark.parametrize("line", ["Temperature 298", "background subtracted", "time: 12"])
def test_words_of_comments_are_no_columns(tmp_path, line):
    pattern = read(tmp_path, f"# {line}\n{table(TWO_THETA, COUNTS)}", "a.xy")
    np.testing.assert_allclose(pattern.two_theta_deg, TWO_THETA)


def test_positions_that_may_be_radians_are_refused_if_nothing_says_so(tmp_path):
    body = table(np.radians(TWO_THETA), COUNTS)
    with pytest.raises(InputError, match="no header says what they are"):
        read(tmp_path, body, "a.xy")
    assert read(tmp_path, f"2theta,I\n{body}", "a.xy").two_theta_deg[-1] < 1


def test_constant_intensities_are_no_pattern(tmp_path):
    with pytest.raises(InputError, match="all intensities are 7"):
        read(tmp_path, table(TWO_THETA, 0 * COUNTS + 7))


def test_blanks_and_tabs_may_be_mixed(tmp_path):
    rows = [f"{x:g}\t{y:g} {s:.4g}" for x, y, s in zip(TWO_THETA, COUNTS, SIGMA, strict=True)]
    pattern = read(tmp_path, "\n".join(rows), "a.xy")
    assert pattern.sigma is not None
    np.testing.assert_allclose(pattern.intensity, COUNTS)


@pytest.mark.parametrize(
    ("line", "wavelength"),
    [
        ("Wavelength (CuKa1): 1.5406", 1.5406),
        ("K-alpha 1 = 1.5406", 1.5406),
        ("K-Alpha1 wavelength,1.540598", 1.540598),
        ("λ = 1,54184 A", 1.54184),
        ("Anode material,Co", find_wavelength("CoKa")),
        ("Radiation: MoKa1", find_wavelength("MoKa1")),
        ("Energy: 15.54 keV", 12.398419843 / 15.54),
        ("energy = 8047.8 eV", 12.398419843 / 8.0478),
        ("lambda(Cu Ka1) = 0.15406 nm", 1.5406),
        ("Wavelength [pm]: 154.06", 1.5406),
        ("wavelength/nm = 0.15406", 1.5406),
        ("X-ray energy (keV) = 17.4", 12.398419843 / 17.4),
    ],
)
def test_wavelengths_of_headers_are_read_and_noted(tmp_path, line, wavelength):
    pattern = read(tmp_path, f"# {line}\n{table(TWO_THETA, COUNTS)}", "a.xy")
    assert pattern.wavelength_angstrom == pytest.approx(wavelength, rel=1e-5)
    assert any("the header" in note for note in pattern.notes)


def test_unknown_wavelengths_without_a_unit_are_doubted(tmp_path):
    body = table(TWO_THETA, COUNTS)
    doubted = read(tmp_path, f"# wavelength 1.2\n{body}", "a.xy")
    assert any("no known tube" in note for note in doubted.notes)
    certain = read(tmp_path, f"# wavelength 1.2 Å\n{body}", "a.xy")
    assert not any("no known tube" in note for note in certain.notes)


def columns_of(values: np.ndarray, n: int, width: int) -> str:
    words = [f"{value:{width}.1f}" for value in values]
    return "\n".join("".join(words[at : at + n]) for at in range(0, len(words), n))


BANK = f"title\nBANK 1 60 12 CONST {100 * TWO_THETA[0]:.1f} 50.0 0 0"
PAIRS = np.stack([COUNTS, np.round(SIGMA, 1)], axis=1).ravel()
CIF_ROWS = "\n".join(f"{x} {y}(9)" for x, y in zip(TWO_THETA, COUNTS, strict=True))
FORMATS = {
    "pairs.uxd": "; comment\n_WL1=1.5406\n_WL2=1.54439\n_START=20.0\n_2THETACOUNTS\n"
    + table(TWO_THETA, COUNTS),
    "steps.uxd": "_STEPTIME=1.0\n_START=20.0\n_STEPSIZE=0.5\n_COUNTS\n"
    + "\n".join(f"{y:g}" for y in COUNTS),
    "esd.gsa": f"{BANK} ESD\n{columns_of(PAIRS, 10, 8)}",
    "std.xra": f"{BANK} STD\n"
    + "\n".join("".join(f" 1{y:6.0f}" for y in COUNTS[at : at + 10]) for at in range(0, 60, 10)),
    "fxye.fxye": f"{BANK} FXYE\n{table(100 * TWO_THETA, COUNTS, SIGMA)}",
    "text.raw": f"{BANK} FXYE\n{table(100 * TWO_THETA, COUNTS, SIGMA)}",
    "two.chi": f"name\n2-Theta Angle (Degrees)\nIntensity\n   60\n{table(TWO_THETA, COUNTS)}",
    "q.chi": f"name\nQ (Inverse Nanometres)\nIntensity\n   60\n{table(10 * Q, COUNTS)}",
    "list.cif": "data_a\n_diffrn_radiation_wavelength 1.5406\nloop_\n_pd_meas_2theta_scan\n"
    f"_pd_meas_counts_total\n{CIF_ROWS}\n",
    "range.cif": "data_a\n_pd_meas_2theta_range_min 20\n_pd_meas_2theta_range_max 49.5\n"
    "_pd_meas_2theta_range_inc 0.5\nloop_\n_pd_meas_counts_total\n"
    + "\n".join(f"{y}" for y in COUNTS),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_give_the_same_pattern(tmp_path, name):
    pattern = read(tmp_path, FORMATS[name], name)
    np.testing.assert_allclose(pattern.two_theta_deg, TWO_THETA, atol=1e-4)
    np.testing.assert_allclose(pattern.intensity, COUNTS, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.gsa", f"{BANK} ESD\n{columns_of(PAIRS[:40], 10, 8)}", "20 points; its first line"),
        ("a.gsa", FORMATS["esd.gsa"].replace("CONST", "SLOG"), "constant wavelength"),
        ("a.cif", "data_a\n_cell_length_a 3\n", "no block with a powder pattern"),
        ("a.uxd", "_START=x\n_STEPSIZE=1\n_COUNTS\n1 2 3\n", "is not a number"),
        ("a.uxd", "no data\n", "is not a number|no scan"),
        ("a.chi", "only\nwords\n", "no rows of two numbers"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, text, reason):
    with pytest.raises(InputError, match=reason):
        read(tmp_path, text, name)
