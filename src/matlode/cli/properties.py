"""The command that lists what can be asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import typer

from matlode.cli.printing import print_json, print_table
from matlode.cli.shared import AsJson, ModelsFolder

if TYPE_CHECKING:
    from matlode.jobs.list_properties import PropertyInfo

commands = typer.Typer()


@commands.command("properties")
def list_properties(models: ModelsFolder = None, as_json: AsJson = False) -> None:
    """List the properties: unit, meaning, typical range, error."""
    from dataclasses import asdict

    from matlode.jobs.list_properties import list_properties

    found = list_properties(models)
    if as_json:
        print_json([asdict(info) for info in found])
        return
    rows = [[i.name, i.unit, i.meaning, _typical(i), _error(i), _count(i)] for i in found]
    headings = ["property", "unit", "meaning", "typical", "error", "test rows"]
    print_table(headings, rows)
    print(
        "typical: 5 to 95 % of the starter set. error: on formulas that no model saw, from the "
        "pattern of the real structure.\nband_gap is a PBE Kohn-Sham gap: smaller than a measured "
        "gap, commonly by 30 to 50 %."
    )


def _typical(info: PropertyInfo) -> str:
    """Both ends with the decimals of three digits of the larger one."""
    if info.typical_low is None or info.typical_high is None:
        return ""
    size = max(abs(info.typical_low), abs(info.typical_high))
    decimals = 2 - math.floor(math.log10(size)) if size else 0
    return "..".join(f"{round(v, decimals) + 0.0:g}" for v in (info.typical_low, info.typical_high))


def _error(info: PropertyInfo) -> str:
    if info.error is None or info.measure is None:
        return ""
    return f"{info.measure.upper()} {info.error:.3g}"


def _count(info: PropertyInfo) -> str:
    return "" if info.test_rows is None else f"{info.test_rows:,}"
