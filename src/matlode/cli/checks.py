"""Commands about this machine: what is installed."""

from __future__ import annotations

import typer

from matlode.cli.printing import print_json, print_table
from matlode.cli.shared import AsJson, ModelsFolder

commands = typer.Typer()


@commands.command()
def doctor(models: ModelsFolder = None, as_json: AsJson = False) -> None:
    """Check the installation: packages, models, tables.

    Exit status 1 if something is wrong.
    """
    from dataclasses import asdict

    from matlode.jobs.doctor import examine_installation

    findings = examine_installation(models)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        signs = {"ok": "✓", "absent": "–", "wrong": "✗"}
        rows = [[signs[f.state], f.about, f.name, f.found, f.advice] for f in findings]
        print_table(["", "about", "what", "found", "advice"], rows)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)
