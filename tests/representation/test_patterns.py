from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from matlode.errors import InputError
from matlode.representation.patterns import MIN_POINTS, READERS, read_pattern
from matlode.representation.radiation import find_wavelength, from_q, to_q
from matlode.testing import ROUND_OFF
from tests.strategies import reals

SPECIMENS = Path(__file__).parent / "specimens"
PRINTED_DEG = 1e-5
"""Positions in specimens that are printed as Q or d with six decimals."""
FLOAT32 = 1e-6
"""Relative precision of what RAW files hold in single precision."""
CU = (1.540598, 1.544426)
CU_MEAN = (2 * CU[0] + CU[1]) / 3

TWO_THETA = 10 + 0.02 * np.arange(40)
COUNTS = np.array([(7 * n * n) % 311 + 20.0 for n in range(40)])

Scan = tuple[np.ndarray, np.ndarray, float]
"""Positions, counts, seconds per point."""
ONE_RANGE: list[Scan] = [(TWO_THETA, COUNTS, 1.0)]


# Writers, from the documented layouts ------------------------------------------------------


def put(data: bytearray, at: int, layout: str, *values: object) -> None:
    struct.pack_into(f"<{layout}", data, at, *values)


def floats(counts: np.ndarray) -> bytes:
    return counts.astype("<f4").tobytes()


def raw_1(scans: Sequence[Scan], *, repeat_magic: bool = True) -> bytes:
    """DIFFRAC-AT manual, appendix B."""
    parts = []
    for n, (positions, counts, seconds) in enumerate(scans):
        head = bytearray(156)
        put(head, 0, "4sIff", b"RAW ", len(counts), seconds, positions[1] - positions[0])
        put(head, 24, "f", positions[0])
        put(head, 72, "ff", *CU)
        put(head, 152, "I", len(scans) - 1 - n)
        parts.append(head[0 if n == 0 or repeat_magic else 4 :] + floats(counts))
    return b"".join(parts)


def raw_2(scans: Sequence[Scan]) -> bytes:
    """DIFFRAC-AT manual, appendix B."""
    file = bytearray(256)
    put(file, 0, "4sH", b"RAW2", len(scans))
    put(file, 188, "2sfff", b"Cu", *CU, 0.5)
    for positions, counts, seconds in scans:
        head = bytearray(60)
        put(head, 0, "HH", len(head), len(counts))
        put(head, 8, "fff", seconds, positions[1] - positions[0], positions[0])
        file += head + floats(counts)
    return bytes(file)


def raw_3(scans: Sequence[Scan], *, extra: int = 40) -> bytes:
    """DIFFRAC plus XCH V5.0 manual, appendix A."""
    file = bytearray(712)
    put(file, 0, "8sII", b"RAW1.01", 1, len(scans))
    put(file, 608, "4s4xddddd", b"Cu", CU_MEAN, *CU, 1.39225, 0.5)
    for positions, counts, seconds in scans:
        head = bytearray(304)
        put(head, 0, "IIdd", len(head), len(counts), positions[0] / 2, positions[0])
        put(head, 176, "d8xf", positions[1] - positions[0], seconds)
        put(head, 256, "I", extra)
        file += head + bytes(extra) + floats(counts)
    return bytes(file)


def raw_4(scans: Sequence[Scan], *, width: int = 4, kind: bytes = b"Locked Coupled") -> bytes:
    """As independent readers of RAW4.00 agree."""
    file = bytearray(61)
    put(file, 0, "8s", b"RAW4.00")
    file += struct.pack("<II4s24s8s", 10, 44, b"", b"USER", b"someone")
    hardware = bytearray(120)
    put(hardware, 0, "II", 30, len(hardware))
    put(hardware, 72, "ddddd", CU_MEAN, *CU, 1.39225, 0.5)
    file += hardware
    for positions, counts, seconds in scans:
        head = bytearray(160)
        put(head, 32, "24s", kind)
        put(head, 72, "ddIf", positions[0], positions[1] - positions[0], len(counts), seconds)
        put(head, 136, "II", width, 64)
        drive = bytearray(64)
        put(drive, 0, "II4x24s", 50, 64, b"2Theta")
        points = np.full((len(counts), width // 4), -1.0)
        points[:, 0] = counts
        file += head + drive + floats(points)
    return bytes(file)


def rasx(scans: Sequence[Scan], *, axis: str = "TwoThetaTheta") -> bytes:
    files = {}
    for n, (positions, counts, _) in enumerate(scans):
        rows = zip(positions, counts, strict=True)
        files[f"Data{n}/Profile{n}.txt"] = "\ufeff" + "".join(
            f"{a:.4f}\t{i / 4}\t4\r\n" for a, i in rows
        )
        files[f"Data{n}/MesurementConditions{n}.xml"] = (
            f"<Measurement><ScanInformation><AxisName>{axis}</AxisName></ScanInformation>"
            f"<HWConfigurations><XrayGenerator><WavelengthKalpha1>{CU[0]}</WavelengthKalpha1>"
            f"<WavelengthKalpha2>{CU[1]}</WavelengthKalpha2></XrayGenerator></HWConfigurations>"
            "</Measurement>"
        )
    return archive(files)


def brml(scans: Sequence[Scan], *, axis: str = "TwoTheta") -> bytes:
    files = {"Experiment0/DataContainer.xml": "<DataContainer/>"}
    for n, (positions, counts, seconds) in enumerate(scans):
        rows = zip(positions, counts, strict=True)
        files[f"Experiment0/RawData{n}.xml"] = (
            '<RawData xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><FixedInformation>'
            f'<Tube><WaveLengthAlpha1 Unit="Å" Value="{CU[0]}"/>'
            f'<WaveLengthAlpha2 Unit="Å" Value="{CU[1]}"/><WaveLengthRatio Value="0.5"/></Tube>'
            "</FixedInformation><DataRoutes><DataRoute><ScanInformation>"
            f"<TimePerStep>{seconds}</TimePerStep><ScanAxes><ScanAxisInfo AxisName='{axis}'>"
            f"<Reference>0.01</Reference><Start>{positions[0] - 0.01}</Start>"
            f"<Stop>{positions[-1] - 0.01}</Stop></ScanAxisInfo></ScanAxes></ScanInformation>"
            '<DataViews><RawDataView Start="0" Length="2" xsi:type="FixedRawDataView"/>'
            '<RawDataView Start="4" Length="1" xsi:type="RecordedRawDataView"/></DataViews>'
            + "".join(f"<Datum>{seconds},1,{a},{a / 2},{i}</Datum>" for a, i in rows)
            + "</DataRoute></DataRoutes></RawData>"
        )
    return archive(files)


def with_counter_at(start: str) -> bytes:
    """A sound file, but for the column of the counter."""
    with zipfile.ZipFile(io.BytesIO(brml(ONE_RANGE))) as sound:
        files = {name: sound.read(name).decode() for name in sound.namelist()}
    return archive(
        {name: text.replace('Start="4"', f'Start="{start}"') for name, text in files.items()}
    )


def archive(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name, text in files.items():
            target.writestr(name, text)
    return stream.getvalue()


BINARY: dict[str, tuple[str, Callable[[Sequence[Scan]], bytes]]] = {
    "RAW 1": (".raw", raw_1),
    "RAW 1 without repeated magic": (".raw", lambda s: raw_1(s, repeat_magic=False)),
    "RAW 2": (".raw", raw_2),
    "RAW 3": (".raw", raw_3),
    "RAW 4": (".raw", raw_4),
    "RAW 4 with two numbers per point": (".raw", lambda s: raw_4(s, width=8)),
    "rasx": (".rasx", rasx),
    "brml": (".brml", brml),
}


def columns(positions: np.ndarray = TWO_THETA, intensity: np.ndarray = COUNTS) -> str:
    return "".join(f"{a:.17g} {i:.17g}\n" for a, i in zip(positions, intensity, strict=True))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def to_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to_file


# Laws --------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(
    st.lists(reals(0, 1e6), min_size=10, max_size=30),
    reals(4, 90),
    reals(0.001, 2),
    st.sampled_from([" ", "\t", ",", ", ", ";", " ; "]),
)
def test_columns_come_back_as_they_were_written(tmp_path_factory, counts, start, step, separator):
    counts[0] += 1
    positions = start + step * np.arange(len(counts))
    path = tmp_path_factory.mktemp("columns") / "pattern.xy"
    path.write_text(
        "".join(f"{a!r}{separator}{i!r}\n" for a, i in zip(positions.tolist(), counts, strict=True))
    )
    pattern = read_pattern(path)
    assert_array_equal(pattern.two_theta_deg, positions)
    assert_array_equal(pattern.intensity, counts)


@pytest.mark.parametrize(("ending", "writer"), BINARY.values(), ids=BINARY)
def test_binary_formats_come_back_as_they_were_written(write, ending, writer):
    pattern = read_pattern(write(f"pattern{ending}", writer([(TWO_THETA, COUNTS, 1.0)])))
    assert_allclose(pattern.two_theta_deg, TWO_THETA, rtol=FLOAT32)
    assert_array_equal(pattern.intensity, COUNTS)
    assert pattern.wavelength_angstrom == pytest.approx(CU_MEAN, rel=FLOAT32)
    assert any("averaged to 1.54187 Å" in note for note in pattern.notes)


@pytest.mark.parametrize(
    ("ending", "writer"),
    [format_ for name, format_ in BINARY.items() if name != "rasx"],  # which has no time
    ids=[name for name in BINARY if name != "rasx"],
)
def test_ranges_are_joined_at_one_counting_time(write, ending, writer):
    first, second = slice(0, 20), slice(20, 40)
    # in the wrong order, the later one counted twice as long
    scans = [
        (TWO_THETA[second], 2 * COUNTS[second], 2.0),
        (TWO_THETA[first], COUNTS[first], 1.0),
    ]
    pattern = read_pattern(write(f"pattern{ending}", writer(scans)))
    assert_allclose(pattern.two_theta_deg, TWO_THETA, rtol=FLOAT32)
    assert_array_equal(pattern.intensity, 2 * COUNTS)
    assert "2 scans joined." in pattern.notes
    assert "counting times differ; all points scaled to 2 s." in pattern.notes


def test_a_range_measured_twice_is_averaged(write):
    scans = [(TWO_THETA, COUNTS, 1.0), (TWO_THETA, COUNTS + 10, 1.0)]
    pattern = read_pattern(write("twice.raw", raw_3(scans)))
    assert_array_equal(pattern.intensity, COUNTS + 5)
    assert "40 repeated positions averaged." in pattern.notes


def test_two_measurements_of_a_point_have_the_error_of_their_mean(write):
    rows = [f"{a} {i} 4" for a, i in zip(TWO_THETA, COUNTS, strict=True)]
    pattern = read_pattern(write("twice.xye", "\n".join([*rows[:5], rows[4], *rows[5:]])))
    assert_allclose(pattern.sigma[:6], [4, 4, 4, 4, 4 / np.sqrt(2), 4])
    assert_array_equal(pattern.intensity, COUNTS)


def test_descending_patterns_are_turned_round(write):
    pattern = read_pattern(write("down.xy", columns(TWO_THETA[::-1], COUNTS[::-1])))
    assert_array_equal(pattern.two_theta_deg, TWO_THETA)
    assert_array_equal(pattern.intensity, COUNTS)
    assert "descending positions turned round." in pattern.notes


@pytest.mark.parametrize("axis", ["q", "d", "log_q"])
@pytest.mark.parametrize("radiation", ["CuKa", "MoKa1"])
def test_other_axes_are_the_same_pattern(write, axis, radiation):
    q = to_q(TWO_THETA, "two_theta", find_wavelength(radiation))
    positions = {"q": q, "d": 2 * np.pi / q, "log_q": np.log(q)}[axis]
    path = write("other.dat", columns(positions))
    pattern = read_pattern(path, axis=axis, wavelength=radiation)
    assert_allclose(pattern.two_theta_deg, TWO_THETA, rtol=ROUND_OFF)
    assert_array_equal(pattern.intensity, COUNTS)
    named = write("named.dat", f"# {axis} intensity\n" + columns(positions))
    assert_array_equal(
        read_pattern(named, wavelength=radiation).two_theta_deg, pattern.two_theta_deg
    )


def test_the_wavelength_asked_for_comes_before_the_files(write):
    path = write("pattern.xy", "# wavelength = 0.7093\n" + columns())
    told, given_ = read_pattern(path), read_pattern(path, wavelength="CoKa1")
    assert (told.wavelength_angstrom, told.notes) == (0.7093, ("λ = 0.7093 Å from the header.",))
    assert given_.wavelength_angstrom == find_wavelength("CoKa1")
    assert given_.notes[1:] == ("λ = 1.78896 Å as given; the file says 0.7093 Å.",)
    (note,) = read_pattern(write("none.xy", columns())).notes
    assert note == "no wavelength in the file; Cu Kα (1.54184 Å) assumed."


@pytest.mark.parametrize(
    ("line", "wavelength_angstrom"),
    [
        ("# lambda 1.5406", 1.5406),
        ("! Lambda1: 1.5406", 1.5406),
        ("; λ=0.7093 Å", 0.7093),
        ("# Wavelength (nm) = 0.15406", 1.5406),
        ("# Wavelength: 4.1e-11 m", 0.41),
        ("' Wave length [A], 1", 1.0),
    ],
)
def test_wavelengths_in_comments(write, line, wavelength_angstrom):
    pattern = read_pattern(write("pattern.xy", f"{line}\n{columns()}"))
    assert pattern.wavelength_angstrom == pytest.approx(wavelength_angstrom)


def test_negative_intensities_stay(write):
    # patterns whose background is gone scatter about zero
    pattern = read_pattern(write("flat.xy", columns(TWO_THETA, COUNTS - 100)))
    assert_array_equal(pattern.intensity, COUNTS - 100)


def test_points_without_two_theta_are_told(write):
    q = np.linspace(1, 10, 91)
    pattern = read_pattern(write("q.xy", columns(q, q)), axis="q")
    assert (pattern.intensity <= 4 * np.pi / 1.54184).all()
    assert "19 points left out that have no 2θ at λ = 1.54184 Å." in pattern.notes
    assert len(pattern.intensity) == 72


# Specimens ---------------------------------------------------------------------------------

HALITE_200_DEG = 31.7
"""(200) of NaCl at d = 2.821 Å (PDF 5-0628) in Cu Kα, to the specimens' step of 0.05°."""
TOTAL_COUNTS = 12155
"""Of the one made-up measurement that all specimens hold, 25..35°."""


@pytest.mark.parametrize(
    ("name", "wavelength_angstrom", "has_sigma", "notes"),
    [
        ("columns.txt", 1.54184, False, ["no wavelength"]),
        ("decimal_commas.csv", 1.54184, False, ["columns ignored: background", "no wavelength"]),
        ("fullprof.dat", 1.54184, False, ["from the header", "FullProf"]),
        ("gsas2.xye", 1.54184, True, ["from the header"]),
        ("one_scan.xrdml", CU_MEAN, False, ["averaged to"]),
        ("panalytical.csv", CU_MEAN, False, ["averaged to"]),
        ("plain.xy", 1.54184, False, ["no wavelength"]),
        ("q_nm.dat", 1.54184, False, ["positions are q", "from the header"]),
        ("smartlab.ras", (2 * 1.540593 + 1.544414) / 3, False, ["averaged to", "attenuation"]),
        ("spacings.csv", 1.54184, True, ["positions are d", "no wavelength"]),
        ("topas.xye", 1.54184, True, ["from the header"]),
        ("two_scans.xrdml", CU_MEAN, False, ["averaged to", "scaled to 1 s", "2 scans"]),
    ],
)
def test_specimens(name, wavelength_angstrom, has_sigma, notes):
    pattern = read_pattern(SPECIMENS / name)
    assert_allclose(pattern.two_theta_deg, np.linspace(25, 35, 201), atol=PRINTED_DEG)
    strongest = pattern.two_theta_deg[pattern.intensity.argmax()]
    assert strongest == pytest.approx(HALITE_200_DEG, abs=PRINTED_DEG)
    assert pattern.intensity.sum() == pytest.approx(TOTAL_COUNTS)
    assert pattern.wavelength_angstrom == pytest.approx(wavelength_angstrom)
    assert pattern.source == str(SPECIMENS / name)
    assert len(pattern.notes) == len(notes)
    for note, part in zip(pattern.notes, notes, strict=True):
        assert part in note
    if has_sigma:
        assert_allclose(pattern.sigma, np.sqrt(pattern.intensity), atol=5e-4)  # three decimals
    else:
        assert pattern.sigma is None


def test_every_text_specimen_is_read_and_every_ending_is_tried():
    tried = {path.suffix for path in SPECIMENS.iterdir()} | {end for end, _ in BINARY.values()}
    tried |= {".uxd", ".gsa", ".gsas", ".gda", ".fxye", ".xra", ".chi", ".cif", ".xyd"}
    assert tried == set(READERS)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "utf-8-sig", "latin-1"])
def test_texts_of_other_encodings_are_read(write, codec):
    text = "# σ\n" if codec != "latin-1" else "# Å\n"
    data = (text + columns()).encode(codec)
    if codec == "utf-16-be":
        data = b"\xfe\xff" + data
    assert_array_equal(read_pattern(write("text.xy", data)).intensity, COUNTS)


def test_comments_after_the_first_row_name_no_axis(write):
    first, _, rest = columns().partition("\n")
    pattern = read_pattern(write("late.xy", f"{first}\n# d intensity\n{rest}"))
    assert_array_equal(pattern.two_theta_deg, TWO_THETA)


def without(data: bytes, pattern: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        texts = {name: source.read(name).decode() for name in source.namelist()}
    assert any(re.search(pattern, text) for text in texts.values())
    return archive({name: re.sub(pattern, "", text) for name, text in texts.items()})


@pytest.mark.parametrize("n_named", [1, 0])
def test_wavelengths_that_a_file_does_not_name(write, n_named):
    """With Kα1 alone nothing is averaged; with neither, what is assumed is told."""
    xrdml = (SPECIMENS / "one_scan.xrdml").read_text(encoding="utf-8")
    numbers = "[12]" if n_named == 0 else "2"
    contents = {
        "p.xrdml": re.sub(f"<kAlpha{numbers}.*?</kAlpha{numbers}>", "", xrdml),
        "p.rasx": without(rasx(ONE_RANGE), f"<WavelengthKalpha{numbers}>.*?<[^>]*>"),
        "p.brml": without(brml(ONE_RANGE), f"<WaveLengthAlpha{numbers}[^>]*>"),
    }
    for name, content in contents.items():
        pattern = read_pattern(write(name, content))
        assert pattern.wavelength_angstrom == (CU[0] if n_named else pytest.approx(1.54184))
        assert any("assumed" in note for note in pattern.notes) == (n_named == 0)


def test_rasx_without_conditions_is_read(write):
    with zipfile.ZipFile(io.BytesIO(rasx(ONE_RANGE))) as source:
        profiles = {n: source.read(n).decode() for n in source.namelist() if n.endswith(".txt")}
    pattern = read_pattern(write("bare.rasx", archive(profiles)))
    assert_allclose(pattern.intensity, COUNTS)


def test_the_range_of_an_angle_is_a_half_turn():
    assert from_q(np.array([4 * np.pi]), "two_theta", 1.0).tolist() == [180.0]
    assert np.isnan(from_q(np.array([4 * np.pi + 1e-6]), "two_theta", 1.0)).all()


def test_alpha_1_alone_is_not_averaged(write):
    text = (SPECIMENS / "one_scan.xrdml").read_text(encoding="utf-8")
    pattern = read_pattern(write("alpha1.xrdml", text.replace('"K-Alpha"', '"K-Alpha 1"')))
    assert (pattern.wavelength_angstrom, pattern.notes) == (1.540598, ())


# Errors ------------------------------------------------------------------------------------


def long_xrdml(old: str, new: str) -> str:
    text = (SPECIMENS / "one_scan.xrdml").read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new)


RAS = (SPECIMENS / "smartlab.ras").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.xy", "", "the file is empty; export the pattern again."),
        ("p.xy", " \n\n", "the file is empty"),
        ("p.pdf", "x", 'unknown file ending ".pdf". Known: .brml, .chi'),
        ("p.xyz", "x", 'unknown file ending ".xyz". Did you mean ".xy"?'),
        ("p.xy", b"10 \x00\x01 5", "not a text file: byte 3 is binary; export it again"),
        ("p.xy", "only words\nand more", "no rows of numbers; expected columns of position"),
        ("p.xy", "10 5\n11 abc\n", 'line 2: "abc" is not a number; correct or delete the line.'),
        ("p.xy", "# c\n10 5\n11 nan\n", 'line 3: "nan" is not a number'),
        ("p.xy", "10 inf\n", 'line 1: "inf" is not a number'),
        ("p.xy", "10 5\n11 5 1\n", "line 2: 3 columns; expected 2 as in the first row"),
        ("p.xy", "10\n11\n", 'line 1: only one column ("10"); expected position and'),
        ("p.xy", columns(TWO_THETA[:9], COUNTS[:9]), "only 9 points; expected at least 10."),
        ("p.xy", columns(TWO_THETA, 0 * COUNTS), "no intensity above zero (the highest is 0);"),
        ("p.xy", columns(TWO_THETA - 10.1), "point 1 is at -0.1; expected 2θ in 0..180°;"),
        ("p.xy", columns(TWO_THETA + 169.5), "point 27 is at 180.02; expected 2θ in 0..180°"),
        (
            "p.xy",
            columns(np.append(TWO_THETA[20:], TWO_THETA[:20] + 0.5)),
            "10.78° is followed by 10.5°; expected one scan, ascending or descending.",
        ),
        (
            "p.xy",
            "# wavelength = 154\n" + columns(),
            "invalid wavelength 154 Å; expected 0.01..10 Å.",
        ),
        (
            "p.xy",
            "# q i\n" + columns(TWO_THETA - 10),
            "point 1 is at 0; expected q above 0; remove",
        ),
        ("p.xrdml", long_xrdml("</xrdMeasurements>", ""), "the file is not complete XML"),
        ("p.xrdml", long_xrdml("UTF-8", "UTF-inf"), "the file is not complete XML"),
        ("p.xrdml", "<a/>", "the file has no scan over 2θ; export only the powder scan."),
        ("p.xrdml", long_xrdml("dataPoints", "points"), "scan 1 has no <dataPoints>"),
        ("p.xrdml", long_xrdml("intensities", "other"), "scan 1 has neither <intensities> nor"),
        ("p.xrdml", long_xrdml('"counts">42', '"counts">x'), 'scan 1, <intensities>: "x" is not'),
        ("p.xrdml", long_xrdml("1.5405980", "long"), '<kAlpha1> is "long"; expected a number.'),
        ("p.xrdml", long_xrdml('"2Theta"', '"Omega"'), "scan 1 is not a scan over 2θ"),
        ("p.xrdml", long_xrdml(">0.44<", ">0<"), "invalid counting time 0 s; expected times"),
        (
            "p.xrdml",
            long_xrdml("<commonC", "<countingTimes>1 2</countingTimes><commonC"),
            "scan 1 has 2 counting times for 201 intensities; export it again.",
        ),
        ("p.ras", RAS.partition("*RAS_INT_END")[0], "the file is truncated: *RAS_INT_END is"),
        ("p.ras", RAS.replace("TwoThetaTheta", "Omega"), 'line 6: the scan axis is "Omega";'),
        ("p.ras", "*RAS_DATA_START\n", "the file has no scan over 2θ"),
        ("p.ras", RAS.replace("25.0000 ", "25.x "), 'line 9: "25.x" is not a number'),
        ("p.rasx", b"PK nothing", "not a zip archive, or truncated; copy it again."),
        ("p.rasx", rasx(ONE_RANGE, axis="Phi"), 'Conditions0.xml: the scan axis is "Phi"'),
        ("p.brml", brml(ONE_RANGE)[:-40], "not a zip archive, or truncated"),
        ("p.brml", brml(ONE_RANGE, axis="Phi"), "RawData0.xml is not a 2θ scan with exactly one"),
        ("p.brml", archive({"a.txt": "a"}), "the file has no scan over 2θ"),
        *(
            ("p.brml", with_counter_at(start), "the counter is column")
            for start in ("5", "-1", "x", "9" * 5000)
        ),
        ("p.raw", b"FI\x00\x00some Rigaku", 'unsupported RAW file: it begins with "FI'),
        ("p.raw", b"RAW5.00 " + bytes(99), "expected Bruker RAW 1, 2, 1.01 or 4.00 (the binary"),
        ("p.raw", raw_4(ONE_RANGE, kind=b"Rocking Curve"), 'is a "Rocking Curve" scan; expected a'),
        ("p.raw", raw_3([(np.zeros(40), COUNTS, 1.0)]), "a range has steps of 0°; expected a scan"),
    ],
)
def test_what_is_wrong_is_told_with_the_place(write, name, content, said):
    path = write(name, content)
    with pytest.raises(InputError) as caught:
        read_pattern(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("writer", [raw_1, raw_2, raw_3, raw_4])
@pytest.mark.parametrize("kept", [0.3, 0.97])
def test_truncated_raw_files_are_told_with_the_byte(write, writer, kept):
    whole = writer(ONE_RANGE)
    part = whole[: int(kept * len(whole))]
    with pytest.raises(InputError, match=f"ends at byte {len(part)}, but its header declares"):
        read_pattern(write("part.raw", part))


def test_a_block_without_a_size_does_not_hang(write):
    broken = bytearray(raw_4(ONE_RANGE))
    put(broken, 65, "I", 0)
    with pytest.raises(InputError, match="the block at byte 61 has 0 bytes"):
        read_pattern(write("broken.raw", bytes(broken)))


def test_missing_files_and_directories_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read \\(No such file or directory\\)"):
        read_pattern(tmp_path / "none.xy")
    (tmp_path / "folder.xy").mkdir()
    with pytest.raises(InputError, match="cannot be read \\(Is a directory\\)"):
        read_pattern(tmp_path / "folder.xy")


def test_unknown_radiation_and_axes_are_told(write):
    path = write("pattern.xy", columns())
    with pytest.raises(InputError, match='unknown radiation "unobtainium"'):
        read_pattern(path, wavelength="unobtainium")
    with pytest.raises(InputError, match='unknown axis "two_teta"'):
        read_pattern(path, axis="two_teta")


@settings(max_examples=40)
@given(st.sampled_from(sorted(READERS)), st.binary(max_size=200))
def test_garbage_is_refused_and_never_crashes(tmp_path_factory, ending, garbage):
    path = tmp_path_factory.mktemp("garbage") / f"garbage{ending}"
    path.write_bytes(garbage)
    with pytest.raises(InputError):
        read_pattern(path)


@pytest.mark.parametrize("writer", [raw_1, raw_2, raw_3, raw_4])
@settings(max_examples=15)
@given(at=st.integers(0, 900), garbage=st.binary(min_size=1, max_size=8))
def test_damaged_raw_files_are_read_or_refused(tmp_path_factory, writer, at, garbage):
    data = bytearray(writer(ONE_RANGE))
    data[at : at + len(garbage)] = garbage
    path = tmp_path_factory.mktemp("damaged") / "damaged.raw"
    path.write_bytes(bytes(data))
    try:
        pattern = read_pattern(path)
    except InputError:
        return
    assert len(pattern.two_theta_deg) >= MIN_POINTS
    assert (np.diff(pattern.two_theta_deg) > 0).all()
    assert np.isfinite(pattern.intensity).all()


def test_an_archive_that_grows_without_end_is_refused(write):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("Experiment0/RawData0.xml", " " * 70_000_000)
    with pytest.raises(InputError, match="the archive unpacks to 70 MB"):
        read_pattern(write("bomb.brml", stream.getvalue()))


def test_a_file_without_points_is_told(write):
    empty = np.zeros(0)
    file = raw_3([(TWO_THETA, empty, 1.0)])
    with pytest.raises(InputError, match="the file has no point"):
        read_pattern(write("none.raw", file))
