"""The list of licences names every pinned package."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_pinned_package_has_its_licence():
    pinned = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.M)
    page = (ROOT / "docs" / "licences.md").read_text()
    assert len(pinned) > 100
    for name, version in pinned:
        assert f"| {name} | {version} |" in page, f"{name}: run `python docs/licences.py`"
