"""The server of the page: on this computer only."""

from __future__ import annotations

from pathlib import Path

from matlode.app.workshop import Workshop
from matlode.errors import InputError

HOST = "127.0.0.1"
RECONNECT_TIMEOUT_S = 60.0
"""A browser that draws a report on a busy computer is silent for some seconds; after this time the
page would be loaded again, and what was pinned in it lost."""


def serve(folder: Path, *, port: int, show: bool) -> None:
    """Serve the page until Ctrl-C; ``folder`` is where runs are kept.

    Raises InputError if NiceGUI, the extra "app", is not installed.
    """
    try:
        from nicegui import app, ui
    except ImportError as error:
        raise InputError(
            "the page needs NiceGUI, which is not installed; install it with "
            '`pip install "matlode[app]"`.'
        ) from error
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from matlode.app.pages import show_home, show_run

    folder.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(folder)
    # other web sites must not reach the page by a name of their own for this computer
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    app.add_static_files("/files", folder, max_cache_age=0)
    app.on_shutdown(workshop.stop_all)

    @ui.page("/")
    def home() -> None:
        show_home(workshop)

    @ui.page("/run/{name}")
    def follow(name: str) -> None:
        show_run(workshop, name)

    print(f"The page is at http://{HOST}:{port}. Ctrl-C closes it; searches can be resumed.")
    ui.run(
        host=HOST, port=port, show=show, reload=False,
        title="matlode", language="en-US", dark=None, favicon="🔷", show_welcome_message=False,
        reconnect_timeout=RECONNECT_TIMEOUT_S,
    )  # fmt: skip
