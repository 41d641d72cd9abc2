"""The scripts that a report carries: read from installed packages, so that it opens offline.

Charts are Plotly's, the table is DataTables (as itables bundles it), and structures are shown by
chemiscope (which draws by 3Dmol.js).
"""

from __future__ import annotations

import gzip
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from matlode.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Script:
    """One file of a package, as the page knows it."""

    name: str
    package: str
    file: str
    """Below the folder that packages are installed in."""
    licences: tuple[str, ...] = ("LICENSE",)
    """How the files end that its licences are in."""

    def text(self) -> str:
        """What the file holds; raises InputError if the package lacks it."""
        return _read(self.package, self.file)

    def licence(self) -> str:
        """Package, version and the licences that its files came under."""
        found = distribution(self.package)
        texts = [
            Path(str(file.locate())).read_text(encoding="utf-8").strip()
            for ending in self.licences
            for file in found.files or []
            if file.name.endswith(ending)
        ]
        return "\n\n".join([f"{self.package} {found.version}", *texts])


CHARTS: Final = Script(
    name="charts",
    package="plotly",
    file="plotly/package_data/plotly.min.js",
    licences=("LICENSE.txt",),
)
TABLE: Final = Script(name="table", package="itables", file="itables/html/dt_bundle.js")
"""The licences of DataTables and its extensions stand at the end of the file itself."""
VIEWER: Final = Script(
    name="viewer",
    package="chemiscope",
    file="chemiscope/sphinx/static/chemiscope.min.js",
    licences=("LICENSE", "widget.mjs.LICENSE.txt"),
)
SCRIPTS: Final = (CHARTS, TABLE, VIEWER)
TABLE_STYLE: Final = "itables/html/dt_bundle.css"


@cache
def pack_script(script: Script) -> str:
    """The script as ``pack`` gives it."""
    return pack(script.text())


def read_table_style() -> str:
    """The style sheet of the table."""
    return _read(TABLE.package, TABLE_STYLE)


def pack(text: str) -> str:
    """Text compressed (gzip) in base64: what a page can hold between two tags whatever it is.

    Equal texts give equal results.
    """
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _read(package: str, file: str) -> str:
    installed: Distribution = distribution(package)
    try:
        return Path(str(installed.locate_file(file))).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(
            f"{package} {installed.version} has no {file}, which reports are made with; install "
            "the version in constraints.txt."
        ) from error
