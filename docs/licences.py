"""Write docs/licences.md: the licence of every pinned package, as its own metadata state it.

``python docs/licences.py``, in an environment with ``pip install -c constraints.txt -e .[dev]``.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = """# Licences of dependencies

Of every package in `constraints.txt`, as its metadata state it; made by `python docs/licences.py`.
matlode itself is under Apache-2.0. None of these packages is part of the repository.

| package | version | licence |
|---|---|---|
"""
ABSENT = "not installed here"


def licence(name: str) -> tuple[str, str]:
    """Version and licence of an installed package: the expression, else the classifiers, else the
    first line of the field that was used before."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "", ABSENT
    classifiers = [
        c.rpartition(" :: ")[2] for c in found.get_all("Classifier") or () if "License ::" in c
    ]
    text = found.get("License-Expression") or "; ".join(classifiers)
    if not text or text == "OSI Approved":
        text = (found.get("License") or "not stated").strip().splitlines()[0][:80]
    return found["Version"], text


def table(constraints: str) -> str:
    """The page, for the text of constraints.txt."""
    names = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", constraints, flags=re.M)
    rows = [(name, pinned, licence(name)[1]) for name, pinned in names]
    return HEAD + "".join(f"| {name} | {pinned} | {text} |\n" for name, pinned, text in rows)


if __name__ == "__main__":
    page = table((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    (ROOT / "docs" / "licences.md").write_text(page, encoding="utf-8")
