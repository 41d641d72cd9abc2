import base64
import gzip
import html
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from matlode.errors import InputError
from matlode.report.html import write_report
from matlode.report.labels import write_subscripts
from tests.run_rows import evidence_row

HOSTILE = "</script><script>window.hit=1</script><img src=x onerror='window.hit=1'>"
"""What no data may do to the page."""


@pytest.fixture
def folder(hard_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(hard_run.folder, copy)
    return copy


def read(path):
    return json.loads(path.read_text())


def rewrite(path, change):
    found = read(path)
    change(found)
    path.write_text(json.dumps(found))


def without_scripts(page):
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def cards_data(page):
    packed = re.search(r'id="cards-data">(.*?)</script>', page, flags=re.S).group(1)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def evidence_for(row):
    """As `matlode relax` writes it, of a candidate whose structure did not move."""
    return {
        "primary_potential": "primary-1",
        "second_potential": "second-2",
        "hull": "5,785 known structures",
        "structures": [
            evidence_row(
                formula=row["formula"],
                source_file=row["structure_file"].split("/")[1],
                relaxed_file=row["structure_file"],
                energy_above_hull_ev=0.0123,
                decomposition="1.00 TaB2",
                born_stable=False,
            ).to_json()
        ],
    }


def poison(folder):
    """Put HOSTILE wherever the run folder holds text that could come from outside."""

    def candidates(rows):
        for row in rows:
            for name in ("formula", "nearest_known", "novelty", "crystal_system", "reasons"):
                row[name] += HOSTILE
        rows[0]["structure_file"] = f"structures/{HOSTILE.replace('/', '')}.cif"

    def details(found):
        for row in found["candidates"]:
            for near in row["nearest_known"]:
                near["id"] += HOSTILE
                near["formula"] += HOSTILE
            row["missed"] = [HOSTILE]
            row["story"] += HOSTILE

    rewrite(folder / "candidates.json", candidates)
    rewrite(folder / "details.json", details)
    rewrite(folder / "known.json", lambda rows: [row.update(formula=HOSTILE) for row in rows])
    rewrite(
        folder / "funnel.json",
        lambda rows: rows[0].update(failed=[{"formula": HOSTILE, "reason": HOSTILE}]),
    )
    rewrite(folder / "provenance.json", lambda found: found["goal"].update(words=HOSTILE))
    for name, column in (("verdicts.csv", "reason"), ("trials.csv", "formula")):
        table = pd.read_csv(folder / name, keep_default_na=False)
        table[column] += HOSTILE
        table.to_csv(folder / name, index=False)
    for path in (folder / "structures").glob("*.cif"):
        path.write_text(f"# {HOSTILE}\n{path.read_text()}")
    evidence = evidence_for(read_candidates(folder)[1])
    evidence |= {"primary_potential": HOSTILE, "second_potential": HOSTILE, "hull": HOSTILE}
    evidence["structures"][0] |= {
        "formula": HOSTILE,
        "decomposition": HOSTILE,
        "fell_apart": HOSTILE,
    }
    (folder / "evidence.json").write_text(json.dumps(evidence))  # fmt: skip


def test_report_is_made_from_the_folder_alone(folder):
    first = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert write_report(folder).read_text() == first


def test_report_opens_without_a_network(folder):
    page = (folder / "report.html").read_text()
    plain = re.sub(r'<a href="https://[^"]*" rel="noreferrer">', "", without_scripts(page))
    assert plain.count("https://") < without_scripts(page).count("https://")  # links are there
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", plain)
    assert "@import" not in page
    assert not re.search(r"url\([\"']?https?:", without_scripts(page))
    assert len(page.encode()) < 6e6


def read_candidates(folder):
    """Without the known materials above them."""
    return [row for row in read(folder / "candidates.json") if row["rank"]]


def test_every_candidate_stands_in_the_page(folder):
    page = (folder / "report.html").read_text()
    rows = read_candidates(folder)
    for row in rows:
        assert f"{row['rank']}. {write_subscripts(row['formula'])}</h2>" in page
        assert f'href="#card-{row["rank"]}"' in page
    assert page.count('class="card"') == len(rows)


def test_a_card_tells_all_predictions_verdicts_and_neighbours(folder):
    page = (folder / "report.html").read_text()
    card = page.split('id="card-1"')[1].split("</dialog>")[0].split("<h3>")
    parts = {part.split("</h3>")[0]: part for part in card[1:]}
    told = read(folder / "details.json")["candidates"][0]
    verdicts = pd.read_csv(folder / "verdicts.csv")
    assert parts["Verdicts"].count("<li>") == (verdicts["rank"] == 1).sum()
    assert parts["Nearest known materials"].count("<tr>") == 1 + len(told["nearest_known"])
    predictions = parts["Predictions"]
    assert predictions.split("</table>")[0].count("<tr>") == 1 + len(told["predictions"])
    for name in ("bulk_modulus", "shear_modulus"):
        low, high = (told["predictions"][name][end] for end in ("low", "high"))
        assert f"{low:.0f}–{high:.0f}" in predictions


def test_the_page_begins_with_goal_best_candidates_and_limits(folder):
    page = (folder / "report.html").read_text()
    first = page.split("<h1>")[1].split("</table>")[0]
    assert first.startswith("Crystals with high bulk modulus and high shear modulus</h1>")
    best = first.split('class="best"')[1].split("</ol>")[0]
    assert best.count("<svg") == best.count("<li>") == 5
    for row in read_candidates(folder)[:5]:
        assert write_subscripts(row["formula"]) in best
        assert f"{row['bulk_modulus_low']:.0f}–{row['bulk_modulus_high']:.0f}" in best
    counts = pd.Series([row["novelty"] for row in read_candidates(folder)]).value_counts()
    assert f"{counts['made']} made" in first
    assert "None is relaxed or checked with a potential" in first
    assert "about 60 % of search winners" in first


def test_a_run_without_candidates_is_shown(folder):
    rewrite(folder / "candidates.json", lambda rows: rows.clear())
    page = write_report(folder).read_text()
    assert 'class="best"' not in page
    assert "<dialog" not in page


def test_links_lead_to_databases(folder):
    page = (folder / "report.html").read_text()
    near = read(folder / "details.json")["candidates"][0]["nearest_known"][0]
    assert (
        f'<a href="https://materialsproject.org/materials/{near["id"]}" rel="noreferrer">' in page
    )
    assert page.count(">COD</a>") == len(read_candidates(folder))


def test_cards_hold_patterns_peaks_structures_and_files(folder):
    rows, cards = read_candidates(folder), cards_data((folder / "report.html").read_text())
    for row, card in zip(rows, cards, strict=True):
        assert max(card["pattern"]["intensities"]) <= 1000
        record = json.loads(card["files"][f"{row['rank']:03d}-{row['formula']}.json"])
        assert record["bulk_modulus"] == row["bulk_modulus"]
        cif = folder / row["structure_file"]
        assert card["files"][cif.name] == cif.read_text()
        strongest = max(card["pattern"]["peaks"], key=lambda peak: peak[1])
        assert strongest[1] > 0.5
        assert re.fullmatch(r"-?\d+ -?\d+ -?\d+", strongest[2])
        (view,) = card["views"].values()
        assert view["size"] == len(view["names"]) == len(view["x"]) == len(view["z"])
        assert len(view["cell"]) == 9
        places = np.array([view["x"], view["y"], view["z"]]).T
        inside = places @ np.linalg.inv(np.reshape(view["cell"], (3, 3)))
        assert inside.min() > -0.01
        assert inside.max() < 1.0


def test_the_funnel_tells_why_candidates_fell(folder):
    funnel = (folder / "report.html").read_text().split('id="funnel"')[1].split("</table>")[0]
    rules = read(folder / "funnel.json")
    for rule in rules:
        assert len(rule["failed"]) == rule["in"] - rule["passed"]
    assert funnel.count("<li>") == sum(len(rule["failed"]) for rule in rules)
    assert "crystals evaluated" in funnel


def test_what_potentials_said_stands_in_the_card(folder):
    row = read_candidates(folder)[0]
    (folder / "evidence.json").write_text(json.dumps(evidence_for(row)))
    page = write_report(folder).read_text()
    card = page.split('id="card-1"')[1].split("</dialog>")[0]
    assert "0.0123" in card
    table, best = (page.split(f'{at}"')[1] for at in ('id="candidates', 'class="best'))
    assert "0.0123" in table.split("</table>")[0]
    assert "0.0123" in best.split("</ol>")[0]
    assert "1 is relaxed and checked with two potentials" in page
    assert 'data-view="relaxed"' in card
    assert f"001-{row['formula']}-relaxed.cif" in cards_data(page)[0]["files"]
    assert (
        "Verification with two potentials" not in page.split('id="card-2"')[1].split("</dialog>")[0]
    )


def test_a_range_that_is_not_kept_is_told_before_the_verdicts(folder):
    def change(details):
        details["candidates"][0]["missed"] = ["band gap ≥ 1 is required, 0 eV is predicted"]

    rewrite(folder / "details.json", change)
    card = write_report(folder).read_text().split('id="card-1"')[1].split("<h3>Verdicts")[1]
    first, second = re.findall(r"<li>(.*?)</li>", card)[:2]
    assert "band gap ≥ 1 is required" in first
    assert "likely stable" in second


def test_a_run_of_before_is_still_shown(folder):
    for name in ("details.json", "map.csv"):
        (folder / name).unlink()
    rewrite(folder / "funnel.json", lambda rows: [row.pop("failed") for row in rows])
    rewrite(folder / "provenance.json", lambda found: found["goal"].pop("shown"))
    page = write_report(folder).read_text()
    assert "latent-map" not in without_scripts(page)
    (view,) = cards_data(page)[0]["views"].values()
    assert view["size"] > 0


def test_a_run_without_missed_ranges_in_its_details_shows_the_whole_text(folder):
    def change(details):
        for row in details["candidates"]:
            del row["missed"], row["story"]

    rewrite(folder / "details.json", change)
    write_report(folder)
    after = card_of(folder, 1)
    reasons = read_candidates(folder)[0]["reasons"]
    assert html.escape(reasons, quote=False) in html.unescape(after).replace("&", "&amp;")


def card_of(folder, rank):
    page = (folder / "report.html").read_text()
    return page.split(f'id="card-{rank}"')[1].split('class="card"')[0]


def test_indices_of_peaks_that_are_text_are_refused(folder):
    rewrite(
        folder / "details.json",
        lambda found: found["candidates"][0]["structure"]["peaks"][0].update(hkl=[HOSTILE]),
    )
    with pytest.raises(InputError, match=r"details\.json is damaged.*hkl\[0\]"):
        write_report(folder)


def test_what_comes_from_data_is_escaped(folder):
    poison(folder)
    page = write_report(folder).read_text()
    ours = page.count("<script")
    assert "<script>window.hit" not in page
    assert "onerror='" not in page
    assert ours == page.count("</script>")


def test_an_unfinished_run_is_told(tmp_path):
    with pytest.raises(InputError, match="not a finished run"):
        write_report(tmp_path)
