"""The command that opens the local page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

commands = typer.Typer()


@commands.command()
def app(
    folder: Annotated[Path, typer.Argument(help="Folder for goal files and runs.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this computer.")] = 8765,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Search and look at patterns in a page of the browser, on this computer only."""
    from matlode.app.server import serve

    serve(folder, port=port, show=browser)
