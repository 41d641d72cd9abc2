"""The report as people use it: in a real browser, without a network."""

import json
import os
import re
import shutil
import zipfile
from contextlib import suppress

import pandas as pd
import pytest

from matlode.report.html import write_report
from tests.report.test_html import poison, read_candidates

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
PATIENCE_MS = 180_000
"""Without a graphics card, on a busy machine."""
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1230, "height": 900}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt install chromium)")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # Chromium refuses its sandbox to root
        root = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[*root, "--enable-unsafe-swiftshader"],
            timeout=PATIENCE_MS,
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Opens reports; afterwards none of them may have complained or asked for anything."""
    contexts, complaints = [], []

    def open_report(folder, anchor="", **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda r: re.match("file:|blob:|data:", r.url) or complaints.append(r.url),
        )
        page.goto(f"{(folder / 'report.html').as_uri()}{anchor}")
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(opened, hard_run):
    return opened(hard_run.folder, viewport=DESKTOP)


def read_table(run):
    """The table of candidates, with the known materials above them."""
    return pd.read_csv(run.folder / "candidates.csv", keep_default_na=False)


def column(page, number):
    return page.locator(f"#candidates tbody td:nth-child({number})").all_inner_texts()


def formulas(page):
    return column(page, 2)


def test_the_table_is_sorted_by_mouse_and_keyboard(page, hard_run):
    by_modulus = read_table(hard_run).sort_values("bulk_modulus", kind="stable")
    heading = page.locator('#candidates th[data-name="bulk_modulus"]')
    heading.click()
    page.wait_for_selector('#candidates th[data-name="bulk_modulus"][aria-sort="ascending"]')
    assert formulas(page) == by_modulus["formula"].tolist()
    heading.locator("[role=button], button").first.press("Enter")
    page.wait_for_selector('#candidates th[data-name="bulk_modulus"][aria-sort="descending"]')
    assert formulas(page)[0] == by_modulus["formula"].iloc[-1]


def test_the_table_is_filtered_and_searched(page, hard_run):
    table = read_table(hard_run)
    for name in ("novelty", "crystal_system"):
        value = table[name].iloc[-1]
        page.select_option(f'#filters [data-column="{name}"]', value)
        assert formulas(page) == table.loc[table[name] == value, "formula"].tolist()
        page.select_option(f'#filters [data-column="{name}"]', "")
    page.get_by_label("with all of these elements").fill("B")
    with_boron = [f for f in table["formula"] if "B" in re.findall("[A-Z][a-z]?", f)]
    assert formulas(page) == with_boron
    page.get_by_label("with all of these elements").fill("")
    longest = max(table["formula"], key=len)  # a short one may be part of a word
    page.get_by_role("searchbox").fill(longest)
    playwright.expect(page.locator("#candidates tbody tr")).to_have_count(
        sum(longest in formula for formula in table["formula"]), timeout=PATIENCE_MS
    )
    assert longest in formulas(page)


def test_the_table_as_shown_is_exported_with_its_intervals(page, hard_run, tmp_path):
    table = read_table(hard_run)
    value = table["novelty"].iloc[-1]
    page.select_option('#filters [data-column="novelty"]', value)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export CSV").click()
    waiting.value.save_as(tmp_path / "shown.csv")
    shown = pd.read_csv(tmp_path / "shown.csv")
    wanted = table.loc[table["novelty"] == value]
    assert shown["formula"].tolist() == wanted["formula"].tolist()
    assert shown["symmetry"].tolist() == wanted["space_group"].tolist()
    for heading, name in (("", ""), (": low", "_low"), (": high", "_high")):
        values = shown[f"bulk modulus, GPa{heading}"]
        assert values.tolist() == wanted[f"bulk_modulus{name}"].tolist()


def test_eight_columns_fit_and_others_are_chosen(page):
    assert page.locator("#candidates thead th").count() == 8
    assert page.evaluate("document.documentElement.scrollWidth") <= 1230
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("button", name="structure type").click()
    assert page.locator("#candidates thead th").count() == 9


def test_a_card_opens_and_closes_by_keyboard(page):
    link = page.locator("#candidates a").first
    link.focus()
    link.press("Enter")
    card = page.locator("#card-1")
    page.wait_for_selector("#card-1[data-drawn]")
    assert card.evaluate("card => card.open")
    assert card.locator(".plot .scatterlayer .trace").count() == 2
    assert card.locator(".viewer canvas").count() > 0
    assert page.evaluate("document.activeElement.closest('dialog')?.id") == "card-1"
    page.keyboard.press("Escape")
    page.wait_for_selector("#card-1:not([data-drawn])", state="attached")
    assert not card.evaluate("card => card.open")
    assert card.locator(".viewer canvas").count() == 0


def test_an_address_opens_a_card_and_buttons_lead_to_its_neighbours(opened, hard_run):
    page = opened(hard_run.folder, anchor="#card-2")
    page.wait_for_selector("#card-2[data-drawn]")
    page.locator("#card-2").get_by_role("button", name="next candidate").click()
    page.wait_for_selector("#card-3[data-drawn]")
    assert page.locator("dialog[open]").count() == 1
    page.locator("#card-3").get_by_role("button", name="Close").click()
    page.wait_for_selector("#card-3:not([data-drawn])", state="attached")
    assert page.locator("dialog[open]").count() == 0
    assert "#" not in page.url


def test_a_card_gives_its_files(page, hard_run, tmp_path):
    page.locator("#candidates a").first.click()
    page.wait_for_selector("#card-1[data-drawn]")
    row = read_candidates(hard_run.folder)[0]
    texts = {}
    for ending in ("json", "cif"):
        with page.expect_download() as waiting:
            page.locator(f'#card-1 [data-file$=".{ending}"]').click()
        waiting.value.save_as(tmp_path / ending)
        texts[ending] = (tmp_path / ending).read_text()
    assert json.loads(texts["json"])["formula"] == row["formula"]
    assert texts["cif"] == (hard_run.folder / row["structure_file"]).read_text()


def test_pinned_candidates_are_compared_and_downloaded(page, hard_run, tmp_path):
    pin = page.locator('#candidates [data-pin="2"]')
    pin.check()
    assert page.get_by_role("button", name="Compare").is_disabled()
    page.locator('.best [data-pin="1"]').check()
    assert page.locator('#candidates [data-pin="1"]').is_checked()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_selector("#comparison[data-drawn]")
    assert page.locator("#compared .viewer canvas").count() >= 2
    assert page.locator("#compared-patterns .scatterlayer .trace").count() == 4
    first = page.locator("#compared-values tbody tr").first.locator("td").all_inner_texts()
    rows = read_candidates(hard_run.folder)[:2]
    for text, row in zip(first, rows, strict=True):
        assert text.startswith(f"{row['bulk_modulus']:.0f}")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV and CIF").click()
    waiting.value.save_as(tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        table = pd.read_csv(bundle.open("candidates.csv"), keep_default_na=False)
        names = bundle.namelist()
    wanted = read_table(hard_run).query("1 <= rank <= 2").reset_index(drop=True)
    pd.testing.assert_frame_equal(table, wanted)
    assert {row["structure_file"].split("/")[1] for row in rows} <= set(names)
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#comparison").is_hidden()
    assert not pin.is_checked()


def test_an_element_of_the_periodic_table_filters(page, hard_run):
    page.locator('.elements [data-element="B"]').click()
    table = read_table(hard_run)["formula"]
    assert formulas(page) == [f for f in table if "B" in re.findall("[A-Z][a-z]?", f)]


def test_maps_show_points_and_a_click_opens_a_card(page):
    for name in ("property-map", "latent-map"):
        assert page.evaluate(f"document.getElementById('{name}').data.length") >= 3
    names = "document.getElementById('latent-map').data.map(trace => trace.name)"
    assert {"cubic", "candidates", "path of the best"} <= set(page.evaluate(names))
    page.select_option("#colouring", "B")
    page.wait_for_function(f"{names}.includes('with B')")
    page.evaluate(
        "document.getElementById('property-map').emit('plotly_click', {points: [{customdata: 1}]})"
    )
    page.wait_for_selector("#card-1[data-drawn]")


def test_light_and_dark(opened, hard_run):
    def background(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    dark, light = (opened(hard_run.folder, color_scheme=s) for s in ("dark", "light"))
    assert background(dark) != background(light)
    font = "document.getElementById('property-map').layout.font.color"
    assert dark.evaluate(font) != light.evaluate(font)
    light.get_by_role("button", name="switch between light and dark").click()
    assert background(light) == background(dark)
    light.wait_for_function(f"{font} === '{dark.evaluate(font)}'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("anchor", ["", "#card-1"], ids=["page", "card"])
def test_nothing_is_too_wide_and_all_has_names(opened, hard_run, scheme, size, anchor):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    page = opened(
        hard_run.folder, anchor=anchor, viewport=size, is_mobile=size is PHONE, color_scheme=scheme
    )
    if anchor:
        page.wait_for_selector(f"{anchor}[data-drawn]")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    # what the libraries draw is theirs
    context = {"exclude": [[".js-plotly-plot"], [".viewer"], [".modal"]]}
    found = axe.Axe().run(page, context=context)
    complaints = [
        (rule["id"], node["target"]) for rule in found.response["violations"]
        for node in rule["nodes"]
    ]  # fmt: skip
    assert complaints == []


def test_hostile_data_does_nothing(opened, hard_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(hard_run.folder, folder)
    poison(folder)
    write_report(folder)
    page = opened(folder)
    page.locator('#candidates a[href="#card-2"]').click()
    page.wait_for_selector("#card-2[data-drawn]")
    page.keyboard.press("Escape")
    for map_ in ("property-map", "latent-map"):
        with suppress(playwright.TimeoutError):
            page.locator(f"#{map_}").hover(timeout=1000)
    assert page.evaluate("window.hit") is None
