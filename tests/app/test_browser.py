"""The page as a newcomer uses it: in a real browser, with nothing loaded from outside."""

import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from matlode.data.crystals import Crystals
from matlode.data.structures import read_structure
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns
from matlode.testing import rock_salt

pytest.importorskip("nicegui", reason="needs NiceGUI (extra app)")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
PATIENCE_MS = 300_000
"""On a busy machine."""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt install chromium)"),
    pytest.mark.slow,
]


def is_open(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server of the page in an empty folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("app")
    words = [sys.executable, "-m", "matlode.cli", "app", "runs", "--port", str(port)]
    # NiceGUI behaves otherwise where this variable is set
    environment = {n: v for n, v in os.environ.items() if n != "PYTEST_CURRENT_TEST"}
    server = subprocess.Popen([*words, "--no-browser"], cwd=folder, env=environment)
    while not is_open(port):
        assert server.poll() is None, "the server ended"
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(60)


@pytest.fixture
def page(address):
    complaints = []
    with playwright.sync_playwright() as driver:
        root = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=[*root, "--enable-unsafe-swiftshader"],
            timeout=PATIENCE_MS,
        )  # fmt: skip
        page = browser.new_page(viewport={"width": 1230, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        ours = (address, address.replace("http", "ws"), "blob:", "data:")
        page.on("request", lambda r: r.url.startswith(ours) or complaints.append(r.url))
        page.goto(address)
        yield page
        browser.close()
    assert complaints == []


def choose(page, label, option):
    page.get_by_label(label).click()
    page.get_by_role("option", name=option).click()


def test_a_newcomer_gets_a_crystal(page, tmp_path):
    page.locator('.periodic button[aria-label="Boron"]').click()
    page.get_by_role("button", name="Boron: required").wait_for()
    choose(page, "size", "quick look")
    page.get_by_text("Goal file and command").click()
    page.get_by_text('required = ["B"]').wait_for()
    page.get_by_role("button", name="Start the search").click()
    page.wait_for_url("**/run/bulk-modulus-1")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Resume").click()
    report = page.frame_locator("iframe")
    report.locator("html[data-ready]").wait_for(state="attached")
    with page.expect_download() as waiting:
        report.get_by_role("button", name="download the CIF").first.click()
    waiting.value.save_as(tmp_path / "first.cif")
    assert "B" in read_structure(tmp_path / "first.cif").symbol_set
    assert page.get_by_role("button", name="Relax the pinned candidates").is_visible()
    page.get_by_role("link", name="matlode").click()
    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("link", name="bulk-modulus-1").wait_for()


def test_a_measured_pattern_is_identified_and_solved(page, tmp_path):
    (curve,) = simulate_patterns(Crystals.from_structures([rock_salt()]))
    scan = tmp_path / "scan.xy"
    np.savetxt(scan, np.column_stack([STANDARD_SETTINGS.grid, curve]), fmt="%.4f")
    page.get_by_role("tab", name="Measured pattern").click()
    page.locator("input[type=file]").set_input_files(scan)
    page.get_by_text("Pattern: scan.xy").wait_for()
    page.get_by_label("elements, such as").fill("Na,Cl")
    page.get_by_role("button", name="Identify known phases").click()
    page.get_by_role("cell", name="NaCl", exact=True).first.wait_for()
    page.get_by_label("formula, such as").fill("NaCl")
    page.get_by_role("button", name="Find structures").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").first.click()
    waiting.value.save_as(tmp_path / "solved.cif")
    assert read_structure(tmp_path / "solved.cif").get_space_group_info()[1] == 225
