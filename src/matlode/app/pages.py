"""The pages: what is wanted, how a search goes, what a measured pattern holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nicegui import run, ui

from matlode.app.known_values import Distribution
from matlode.app.patterns import show_patterns
from matlode.app.wishes import SIZES, Kind, Standing, Wish, Wishes
from matlode.app.workshop import Workshop
from matlode.errors import MatlodeError
from matlode.jobs.list_properties import PropertyInfo, list_properties
from matlode.jobs.search import read_standing
from matlode.realisation.structure_families import FAMILIES
from matlode.report.elements import ElementCell, arrange_elements
from matlode.run_folder import REPORT_FILE

if TYPE_CHECKING:
    from nicegui.elements.mixins.value_element import ValueElement

KINDS: dict[Kind, str] = {
    "maximize": "as high as possible", "minimize": "as low as possible", "near": "near a value",
    "within": "in a range",
}  # fmt: skip
_LIMITS = {"low": "at least", "high": "at most"}
NEXT: dict[Standing, Standing] = {
    "allowed": "required", "required": "forbidden", "forbidden": "allowed",
}  # fmt: skip
"""What a click on an element changes it to."""
READ_PINS = "document.querySelector('iframe')?.contentDocument?.documentElement?.dataset.pins ?? ''"
"""The ranks that are pinned in the report, with commas between."""
STYLE = Path(__file__).with_name("page.css")


def show_home(workshop: Workshop) -> None:
    """The page that a search begins on."""
    _begin_page("matlode")
    with ui.tabs().props("align=left") as tabs:
        ui.tab("Search")
        ui.tab("Measured pattern")
        ui.tab("Runs")
    with ui.tab_panels(tabs, value="Search").classes("w-full bg-transparent"):
        with ui.tab_panel("Search"):
            _Asking(workshop).show()
        with ui.tab_panel("Measured pattern"):
            show_patterns(workshop)
        with ui.tab_panel("Runs"):
            _list_runs(workshop)


def show_run(workshop: Workshop, name: str) -> None:
    """The page of one run: live while it goes, then its report."""
    _begin_page(name)
    if name not in workshop.list_runs() and name not in workshop.jobs:
        ui.label(f'there is no run "{name}" in {workshop.folder}.')
        return
    _Following(workshop, name).show()


def _begin_page(title: str) -> None:
    ui.page_title(title)
    ui.add_css(STYLE)
    ui.query(".nicegui-content").classes("max-w-7xl mx-auto w-full")
    ui.colors(primary="#1f5aa6")
    with ui.row().classes("w-full items-center"):
        with ui.element("h1"):
            ui.link("matlode", "/").classes("text-xl font-bold no-underline")
        ui.label("crystal search on this computer").classes("opacity-70")


def _list_runs(workshop: Workshop) -> None:
    names = workshop.list_runs()
    if not names:
        ui.label("No searches yet.")
    for name in names:
        ui.link(name, f"/run/{name}")


class _Asking:
    """The form of a new search."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.wishes = Wishes()
        self.infos: dict[str, PropertyInfo] = {info.name: info for info in list_properties()}
        self.name = ""

    def show(self) -> None:
        """Draw the form."""
        ui.label("What should the crystals be like?").classes("text-lg font-bold")
        self.rows = ui.refreshable(self._show_wishes)
        self.rows()
        ui.button("Another property", on_click=self._add, icon="add").props("no-caps")
        with ui.row().classes("w-full gap-8"):
            with ui.column().classes("grow"):
                self._show_elements()
            with ui.column().classes("w-72"):
                self._show_limits()
        self.count = ui.label().classes("text-lg").props('aria-live="polite"')
        with ui.expansion("Goal file and command").classes("w-full"):
            self.goal = ui.code(language="toml").classes("w-full")
            self.command = ui.code(language="bash").classes("w-full")
        with ui.row().classes("items-center"):
            self.name_input = ui.input("name of the run").props("dense")
            ui.button("Start the search", on_click=self._start).props("no-caps")
        self._update()

    def _show_wishes(self) -> None:
        options = {n: f"{n.replace('_', ' ')} ({i.unit})" if i.unit else n.replace("_", " ")
                   for n, i in self.infos.items()}  # fmt: skip
        for wish in self.wishes.properties:
            with ui.card().classes("w-full"), ui.row().classes("w-full items-center"):
                chosen = ui.select(options, label="property", with_input=True, value=wish.property)
                chosen.classes("w-72").on_value_change(partial(self._set_property, wish))
                kind = ui.select(KINDS, label="wanted", value=wish.kind).classes("w-48")
                kind.on_value_change(partial(self._set, wish, "kind", redraw=True))
                if wish.kind in ("near", "within"):
                    self._show_numbers(wish)
                ui.label(self.infos[wish.property].meaning).classes("opacity-70 text-sm")
                if len(self.wishes.properties) > 1:
                    remove = ui.button(icon="delete", on_click=partial(self._remove, wish))
                    remove.props('flat dense aria-label="remove this property"')

    def _show_numbers(self, wish: Wish) -> None:
        """The value or the limits, over the distribution of known materials."""
        known = self.workshop.values.describe(wish.property)
        with ui.column().classes("w-96 gap-0"):
            if known is None:
                for field in ("value",) if wish.kind == "near" else ("low", "high"):
                    self._bind(ui.number(field, value=getattr(wish, field)), wish, field)
                return
            ui.html(_draw_distribution(known), sanitize=False).classes("w-full")
            if wish.kind == "near":
                if wish.value is None:
                    wish.value = known.middle
                slider = ui.slider(min=known.low, max=known.high, step=known.step, value=wish.value)
                self._bind(slider.props("label-always"), wish, "value")
                return
            limits = ui.range(
                min=known.low, max=known.high, step=known.step, value=_place_ends(wish, known)
            ).props(f'aria-label="range of {wish.property.replace("_", " ")}"')
            with ui.row().classes("w-full justify-between"):
                for end in ("low", "high"):
                    number = ui.number(_LIMITS[end]).props("dense clearable").classes("w-32")
                    number.bind_value(wish, end)
                    number.on_value_change(lambda _: limits.set_value(_place_ends(wish, known)))
                    number.on_value_change(lambda _: self._update())
            limits.on_value_change(partial(self._set_range, wish, known))
            ui.label(f"{known.labelled:,} known materials").classes("text-sm opacity-70")

    def _show_elements(self) -> None:
        ui.label("Elements").classes("font-bold")
        ui.label("Click once to require an element, twice to forbid it.").classes("opacity-70")
        with ui.element("div").classes("periodic"):
            for cell in arrange_elements():
                button = ui.element("button").props(f'type=button aria-label="{cell.name}"')
                button.style(f"grid-area: {cell.row} / {cell.column}").props(f'title="{cell.name}"')
                with button:
                    ui.label(cell.symbol)
                button.on("click", partial(self._turn, cell, button))

    def _show_limits(self) -> None:
        ui.label("Limits").classes("font-bold")
        prototypes = {"": "any structure", **{name: name for name in FAMILIES}}
        self._bind(ui.select(prototypes, label="prototype", value=""), self.wishes, "prototype")
        self._bind(ui.input("stoichiometry, such as ABX3"), self.wishes, "formula")
        for field in ("toxic", "noble_metals", "radioactive"):
            text = f"{field.replace('_', ' ')}{'' if field == 'noble_metals' else ' elements'}"
            box = ui.checkbox(f"allow {text}", value=getattr(self.wishes, field))
            self._bind(box, self.wishes, field)
        self._bind(ui.number("highest price of an element, $/kg", min=0), self.wishes, "max_price")
        self._bind(
            ui.number("most elements", value=5, min=2, max=8, precision=0),
            self.wishes, "most_elements",
        )  # fmt: skip
        sizes = {name: f"{name}: {s['trials']:,} proposals" for name, s in SIZES.items()}
        self._bind(ui.select(sizes, label="size", value=self.wishes.size), self.wishes, "size")

    # ---- answers to what is clicked ----------------------------------------------------------

    def _bind(self, element: ValueElement[Any], target: object, field: str) -> None:
        element.classes("w-full").on_value_change(partial(self._set, target, field))

    def _set(self, target: object, field: str, event: Any, *, redraw: bool = False) -> None:
        setattr(target, field, event.value)
        if redraw:
            self.rows.refresh()
        self._update()

    def _set_property(self, wish: Wish, event: Any) -> None:
        wish.property, wish.value, wish.low, wish.high = event.value, None, None, None
        self.rows.refresh()
        self._update()

    def _set_range(self, wish: Wish, known: Distribution, event: Any) -> None:
        if event.value == _place_ends(wish, known):  # moved by the numbers below it
            return
        # an end at the border of the slider is no limit
        low, high = event.value["min"], event.value["max"]
        wish.low = float(f"{low:.3g}") if low > known.low else None  # 0.30000000000000004
        wish.high = float(f"{high:.3g}") if high < known.high else None
        self._update()

    def _add(self) -> None:
        asked = {wish.property for wish in self.wishes.properties}
        self.wishes.properties.append(Wish(next(name for name in self.infos if name not in asked)))
        self.rows.refresh()
        self._update()

    def _remove(self, wish: Wish) -> None:
        self.wishes.properties.remove(wish)
        self.rows.refresh()
        self._update()

    def _turn(self, cell: ElementCell, button: ui.element) -> None:
        standing = NEXT[self.wishes.elements.get(cell.symbol, "allowed")]
        self.wishes.elements[cell.symbol] = standing
        button.classes(replace="" if standing == "allowed" else standing)
        button.props(f'aria-label="{cell.name}: {standing}"')
        self._update()

    def _update(self) -> None:
        """Count, and write the goal as it is now."""
        found = self.workshop.values.count(self.wishes)
        self.count.set_text(
            f"{found.met:,} of {found.labelled:,} known materials whose values are known meet the "
            "ranges and the limits on elements."
        )
        if self.name_input.value in ("", self.name):
            self.name = self.workshop.suggest_name(self.wishes)
            self.name_input.set_value(self.name)
        self.goal.set_content(self.wishes.to_toml())
        self.command.set_content(self.workshop.write_commands(self.name_input.value))

    async def _start(self) -> None:
        name = self.name_input.value
        try:
            await run.io_bound(self.workshop.begin, name, self.wishes)
        except MatlodeError as error:
            ui.notify(str(error), type="negative", multi_line=True, timeout=10_000)
            return
        ui.navigate.to(f"/run/{name}")


def _place_ends(wish: Wish, known: Distribution) -> dict[str, float]:
    """Where the ends of the slider stand: at the limits, as far as it reaches."""
    low = known.low if wish.low is None else wish.low
    high = known.high if wish.high is None else wish.high
    return {"min": known.clip(low), "max": known.clip(high)}


def _draw_distribution(known: Distribution) -> str:
    most = max(known.counts)
    bars = "".join(
        f'<rect x="{i}" y="{20 - 20 * n / most:.2f}" width=".9" height="{20 * n / most:.2f}"/>'
        for i, n in enumerate(known.counts)
    )
    return (
        f'<svg class="distribution" viewBox="0 0 {len(known.counts)} 20" role="img" '
        f'preserveAspectRatio="none" aria-label="distribution of known materials">{bars}</svg>'
    )


class _Following:
    """A run, live."""

    def __init__(self, workshop: Workshop, name: str) -> None:
        self.workshop, self.name = workshop, name
        self.run = workshop.find(name)
        self.shown = 0.0
        """When the report that is shown was written."""

    def show(self) -> None:
        """Draw the page and keep it up to date."""
        ui.label(self.name).classes("text-lg font-bold")
        self.standing = ui.label().props('aria-live="polite"')
        self.bar = ui.linear_progress(0, show_value=False).props("instant-feedback")
        self.latest = ui.label().classes("text-sm opacity-70")
        with ui.row().classes("items-center"):
            self.stop = ui.button("Stop", on_click=self._stop).props("no-caps")
            self.resume = ui.button("Resume", on_click=self._resume).props("no-caps")
            self.relax = ui.row().classes("items-center")
            with self.relax:
                ui.button("Relax the pinned candidates", on_click=self._relax).props("no-caps")
                ui.link("Report in a window of its own", self._report_address, new_tab=True)
        self.report = ui.column().classes("w-full")
        self.timer = ui.timer(1.0, self._update)

    @property
    def _report_address(self) -> str:
        return f"/files/{self.name}/{REPORT_FILE}"

    async def _update(self) -> None:
        job = self.workshop.jobs.get(self.name)
        running = job is not None and job.is_running
        done = self.run.has_report
        self.stop.set_visibility(running)
        self.resume.set_visibility(not running and not done)
        self.relax.set_visibility(not running and done)
        self.bar.set_visibility(running and not done)
        ended_early = job is not None and job.has_failed
        line = "" if job is None else job.read_last_line()
        self.latest.set_text(f"The last command ended early: {line}" if ended_early else line)
        if done:
            self.standing.set_text("Relaxing." if running else "Finished.")
            self._show_report()
        elif self.run.campaign_path.exists():
            await self._show_standing()
        else:
            self.standing.set_text("Loading models." if running else "Stopped.")

    async def _show_standing(self) -> None:
        try:
            found = await run.io_bound(read_standing, self.run.path)
        except MatlodeError:  # the campaign is just being created
            return
        if found is None:  # the page is being closed
            return
        self.bar.set_value(found.blocks_done / found.blocks_wanted)
        best = (
            "none yet"
            if found.best_merit is None
            else f"{found.best_formula}, score {found.best_merit:.2f}"
        )
        stage = (
            "Screening and building structures"
            if found.blocks_done >= found.blocks_wanted
            else f"{found.blocks_done} of {found.blocks_wanted} blocks"
        )
        self.standing.set_text(f"{stage}; best so far: {best}.")

    def _show_report(self) -> None:
        written = self.run.report_path.stat().st_mtime
        if written == self.shown:
            return
        self.shown = written
        self.report.clear()
        with self.report:
            address = f"{self._report_address}?{written}"
            ui.element("iframe").props(f'src="{address}" title="report"')

    async def _relax(self) -> None:
        pins = await ui.run_javascript(READ_PINS, timeout=30.0)
        if not pins:
            ui.notify("Pin candidates first: tick the boxes beside their ranks in the report.")
            return
        try:
            await run.io_bound(self.workshop.relax, self.name, [*map(int, pins.split(","))])
        except MatlodeError as error:
            ui.notify(str(error), type="negative", multi_line=True, timeout=10_000)

    def _stop(self) -> None:
        if job := self.workshop.jobs.get(self.name):
            job.stop()

    def _resume(self) -> None:
        self.workshop.resume(self.name)
