"""Patterns of other packages are read where they are, and not missed where they are not."""

import gzip

import numpy as np
from numpy.testing import assert_allclose

from matlode.benchmarks import measured_packages
from matlode.benchmarks.measured_packages import find_measured


def test_files_of_system_packages_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv(measured_packages.SYSTEM_ROOT, str(tmp_path))
    fox = tmp_path / "usr/share/doc/objcryst-fox/example"
    (fox / "tutorial-pbso4").mkdir(parents=True)
    counts = np.arange(1, 41)
    text = "10.000   0.025 10.975  made\n" + "\n".join(
        " ".join(map(str, row)) for row in counts.reshape(-1, 10)
    )
    (fox / "tutorial-pbso4/xray.dat.gz").write_bytes(gzip.compress(text.encode()))
    rows = "\n".join(f"{c} 1.0 1.0" for c in counts)
    xml = f'<IobsSigmaWeightList TThetaMin="5" TThetaStep="0.02">\n{rows}\n</IobsSigmaWeightList>'
    (fox / "brucite-textured.xml.gz").write_bytes(gzip.compress(xml.encode()))
    found = {p.formula: p for p in find_measured() if p.package == "objcryst-fox"}
    assert set(found) == {"O4PbS", "H2MgO2"}
    assert_allclose(found["O4PbS"].pattern.two_theta_deg[:2], [10, 10.025])
    assert_allclose(found["H2MgO2"].pattern.two_theta_deg[-1], 5 + 39 * 0.02)
    for phase in found.values():
        assert_allclose(phase.pattern.intensity, counts)
    assert found["O4PbS"].numbers == [8, 82, 16]


def test_gsas_files_are_read(tmp_path):
    std = tmp_path / "std.xra"
    fields = "".join(f"{2:2d}{c:6d}" for c in range(1, 13))
    std.write_text(f"title\nBANK 1 12 2 CONST 1500 2 0 0 STD\n{fields[:80]}\n{fields[80:]}\n")
    two_theta, counts = measured_packages._read_gsas(std)
    assert_allclose(two_theta[[0, 1, -1]], [15, 15.02, 15.22])
    assert_allclose(counts, np.arange(1, 13))
    fxye = tmp_path / "fxye.fxye"
    fxye.write_text("title\nBANK 1 2 2 CONS 50.0 0.1 0 0 FXYE\n50.0 7 1\n50.1 9 1\n")
    two_theta, counts = measured_packages._read_gsas(fxye)
    assert_allclose(two_theta, [0.5, 0.501])
    assert_allclose(counts, [7, 9])


def test_nothing_is_found_where_nothing_is_installed(tmp_path, monkeypatch):
    monkeypatch.setenv(measured_packages.SYSTEM_ROOT, str(tmp_path))
    assert {p.package for p in find_measured()} <= {"rietx"}
