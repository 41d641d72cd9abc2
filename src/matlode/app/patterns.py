"""The part of the page about measured powder patterns: known phases, and structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nicegui import events, run, ui

from matlode.app.processes import run as run_command
from matlode.app.workshop import Workshop

FOLDER = "patterns"
LARGEST_FILE = 50_000_000


def show_patterns(workshop: Workshop) -> None:
    """Draw the form, and answers below it."""
    _Patterns(workshop.folder / FOLDER).show()


class _Patterns:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pattern: Path | None = None

    def show(self) -> None:
        ui.label("Drop a measured powder pattern (.xy, .xrdml, .raw, ...).")
        ui.upload(
            label="pattern", auto_upload=True, max_files=1, max_file_size=LARGEST_FILE,
            on_upload=self._keep,
        ).classes("w-full max-w-xl")  # fmt: skip
        self.chosen = ui.label()
        with ui.row().classes("items-end"):
            self.elements = ui.input("elements, such as Li,Fe,P,O").props("dense")
            self._button("Identify known phases", self._identify)
        with ui.row().classes("items-end"):
            self.formula = ui.input("formula, such as TiO2").props("dense")
            self._button("Find structures", self._solve)
        self.answer = ui.column().classes("w-full").props('aria-live="polite"')

    def _button(self, text: str, answer: Any) -> None:
        ui.button(text, on_click=answer).props("no-caps")

    async def _keep(self, event: events.UploadEventArguments) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pattern = self.folder / Path(event.file.name).name
        await event.file.save(self.pattern)
        self.chosen.set_text(f"Pattern: {self.pattern.name}")

    async def _identify(self) -> None:
        if self.pattern is None:
            ui.notify("Drop a pattern first.", type="warning")
            return
        picture = self.pattern.with_name(f"{self.pattern.name}.png")
        elements = self.elements.value.strip()
        words = ["identify", str(self.pattern), "--plot", str(picture)]
        found = await self._ask([*words, *(["--elements", elements] if elements else [])])
        if found is None:
            return
        with self.answer:
            _show_table(("formula", "space_group", "id", "match", "explained"), found["phases"])
            ui.image(picture).classes("max-w-4xl").props('alt="the pattern with the best phases"')

    async def _solve(self) -> None:
        if self.pattern is None or not self.formula.value.strip():
            ui.notify("Drop a pattern and write its formula first.", type="warning")
            return
        out = self.pattern.with_name(f"{self.pattern.name}-structures")
        words = ["solve", str(self.pattern), "--formula", self.formula.value.strip()]
        found = await self._ask([*words, "--out", str(out)])
        if found is None:
            return
        with self.answer:
            _show_table(("rank", "formula", "space_group", "match", "template", "file"), found)
            for row in found:
                if row["file"]:
                    ui.button(f"Download {row['file']}", on_click=_make_download(out / row["file"]))

    async def _ask(self, words: list[str]) -> Any:
        """The JSON that a command prints; None after an error, which is shown."""
        self.answer.clear()
        with self.answer:
            ui.spinner(size="lg")
        done = await run.io_bound(run_command, [*words, "--json"])
        self.answer.clear()
        if done is None or done.returncode:
            with self.answer:
                ui.label(done.stderr.strip() if done else "").classes("text-red-700")
            return None
        return json.loads(done.stdout)


def _make_download(path: Path) -> Any:
    return lambda: ui.download.file(path)


def _show_table(names: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    columns = [
        {"name": n, "label": n.replace("_", " "), "field": n, "align": "left"} for n in names
    ]
    shown = [{name: _write(row.get(name)) for name in names} for row in rows]
    ui.table(columns=columns, rows=shown).classes("w-full")


def _write(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)
