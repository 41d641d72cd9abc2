"use strict";
let page; // what is in page-data
const options = { responsive: true, displaylogo: false };
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = id => document.getElementById(id);
const isPhone = matchMedia("(max-width: 45rem)").matches;

// ---- what is packed in the page -------------------------------------------------------------

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(one(id).textContent), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function once(make) {
  let made;
  return () => (made ??= make());
}

async function address(id) {
  return URL.createObjectURL(new Blob([await unpacked(id)], { type: "text/javascript" }));
}

async function run(id) {
  const script = document.createElement("script");
  script.src = await address(id);
  await new Promise((done, failed) => {
    script.onload = done;
    script.onerror = failed;
    document.head.append(script);
  });
}

const charts = once(async () => {
  await run("script-charts");
  // the viewer has a Plotly of its own, which would take this one's style sheet by its name
  one("plotly.js-style-global").removeAttribute("id");
});
const viewers = once(() => run("script-viewer"));
const tables = once(async () => import(await address("script-table")));
const cardsData = once(async () => JSON.parse(await unpacked("cards-data")));

// ---- plots ----------------------------------------------------------------------------------

function colours() {
  const style = getComputedStyle(document.documentElement);
  const [ink, line, page] = ["--ink", "--line", "--page"].map(name => style.getPropertyValue(name).trim());
  return { ink, line, page };
}

function layout(x, y) {
  const { ink, line } = colours();
  const axis = title => ({ title: { text: title }, gridcolor: line, zerolinecolor: line });
  return { margin: { t: 10, r: 10, l: 60, b: 50 }, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink }, xaxis: axis(x), yaxis: axis(y),
    hovermode: "closest", legend: { orientation: "h", y: 1.02, yanchor: "bottom" } };
}

function recolour() {
  const { ink, line, page: back } = colours();
  for (const plot of all(".js-plotly-plot")) {
    const named = (plot.layout.annotations ?? []).map(one => ({ ...one, bgcolor: back, arrowcolor: ink }));
    Plotly.relayout(plot, { "font.color": ink, "xaxis.gridcolor": line, "yaxis.gridcolor": line,
      "xaxis.zerolinecolor": line, "yaxis.zerolinecolor": line, annotations: named });
  }
  shown.forEach(colourCell);
}

one("theme").addEventListener("click", () => {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  if (window.Plotly) recolour();
});

// many points are quicker as pixels of a canvas than as parts of the page
const scatter = n => (n > 1000 ? "scattergl" : "scatter");

// named points, [name, x, y] each, are written on top of all others
function annotations(named) {
  return named.map(([text, x, y], at) => ({ x, y, text, arrowhead: 0, arrowwidth: 1, ax: at % 2 ? 55 : -55, ay: -12 - 16 * (at >> 1),
    arrowcolor: colours().ink, bgcolor: colours().page, opacity: 0.85, font: { size: 11 }, borderpad: 1 }));
}

async function draw(plot, traces, x, y, named = []) {
  await charts();
  await Plotly.react(plot, traces, { ...layout(x, y), annotations: annotations(named) }, options);
  plot.removeAllListeners("plotly_click");
  plot.on("plotly_click", event => {
    const rank = event.points[0].customdata;
    if (rank) location.hash = `card-${rank}`;
  });
}

function bars(group, name) {
  const { below, above } = group;
  return below[name] && { type: "data", symmetric: false, array: above[name], arrayminus: below[name],
    color: group.colour, thickness: 0.5, width: 0 };
}

function drawProperties() {
  const { axes, groups } = page.properties;
  const [x, y] = all("#axes select").map(select => select.value);
  const title = name => axes.find(axis => axis.name === name).title;
  const traces = groups.map(group => ({
    type: scatter(group.formulas.length), mode: "markers", name: group.name,
    x: group.values[x], y: group.values[y], hovertext: group.formulas, customdata: group.ranks,
    error_x: bars(group, x), error_y: bars(group, y),
    hovertemplate: "%{hovertext}<br>%{x:.3g}, %{y:.3g}<extra></extra>",
    marker: { color: group.colour, size: group.size, symbol: group.symbol, opacity: 0.75 },
  }));
  const named = groups.flatMap(group => group.labels.map((label, at) => [label, group.values[x][at], group.values[y][at]]));
  return draw(one("property-map"), traces, title(x), title(y), named.filter(([label]) => label));
}

const elementsOf = formula => formula.match(/[A-Z][a-z]?/g) ?? [];
const ORIGINS = { known: ["known materials", "#9aa5b1"], substitution: ["substitutions", "#e0a52a"],
  variation: ["variations", "#0f9d58"], sampler: ["latent points", "#3b7dd8"] };

// name and colour of a point's group, by what the reader chose
function grouping(chosen) {
  const { systems, origins, formulas, colours } = page.latent;
  if (chosen === "system")
    return at => (systems[at] ? [systems[at], colours[systems[at]]] : ["unknown", "#b8c0c8"]);
  if (chosen === "origin") return at => ORIGINS[origins[at]] ?? ORIGINS.sampler;
  return at => elementsOf(formulas[at]).includes(chosen)
    ? [`with ${chosen}`, "#c2185b"] : [`without ${chosen}`, "#b8c0c8"];
}

function drawLatent() {
  const { x, y, formulas, merits, ranks, path, origins, labels } = page.latent;
  const group = grouping(one("colouring").value);
  const order = [...x.keys()];
  const rows = new Map();
  for (const at of order) {
    const [name] = group(at);
    if (!rows.has(name)) rows.set(name, []);
    rows.get(name).push(at);
  }
  const label = at => `${formulas[at]}, ${origins[at]}, score ${merits[at].toPrecision(3)}`;
  const trace = (name, at, more) => ({ type: "scattergl", mode: "markers", name,
    x: at.map(i => x[i]), y: at.map(i => y[i]), hovertext: at.map(label), customdata: at.map(i => ranks[i]),
    hovertemplate: "%{hovertext}<extra></extra>", ...more });
  const traces = [...rows].sort((a, b) => b[1].length - a[1].length).map(([name, at]) =>
    trace(name, at, { marker: { color: group(at[0])[1], size: 5, opacity: 0.6 } }));
  const { ink } = colours();
  const candidates = order.filter(at => ranks[at]);
  const named = order.filter(at => labels[at]).map(at => [labels[at], x[at], y[at]]);
  traces.push(
    trace("candidates", candidates, { marker: { color: candidates.map(at => group(at)[1]), size: 10,
      symbol: "diamond", line: { color: ink, width: 1 } } }),
    trace("path of the best", path, { mode: "lines+markers", line: { color: ink, width: 1.5 },
      marker: { color: ink, size: 6 } }));
  return draw(one("latent-map"), traces, "first component", "second component", named);
}

function offerElements() {
  const found = new Set(page.latent.formulas.flatMap(elementsOf));
  for (const symbol of [...found].sort()) one("elements").append(new Option(symbol));
}

// ---- structures -----------------------------------------------------------------------------

const shown = new Map(); // element → its viewer

// chemiscope draws cells in black, whatever is behind them
function colourCell(viewer) {
  for (const { viewer: { _viewer: drawing, _current } } of viewer.structure._cellsData.values()) {
    const hidden = { hidden: true };
    drawing.addUnitCell(_current.model, { box: { color: colours().ink, linewidth: 4 },
      astyle: hidden, bstyle: hidden, cstyle: hidden });
    drawing.render();
  }
}

function turn(viewer) {
  for (const { viewer: { _viewer: drawing } } of viewer.structure._cellsData.values()) {
    drawing.rotate(-72, "x");
    drawing.rotate(18, "y");
    drawing.zoomTo(); // all of it; chemiscope begins closer
    drawing.zoom(1.5);
  }
}

async function view(element, structure) {
  hide(element);
  await viewers();
  if (!element.isConnected) return;
  const parts = { meta: document.createElement("div"), info: document.createElement("div"),
    structure: element };
  const cells = structure.size < 8 ? [2, 2, 2] : [1, 1, 1];
  const settings = { unitCell: true, bonds: true, axes: "abc", supercell: cells };
  const viewer = await Chemiscope.StructureVisualizer.load(parts, { meta: { name: "structure" },
    structures: [structure], properties: {}, settings: { structure: [settings] } });
  // once more, now that it knows how many cells there are to be seen
  await viewer.structure.show({ environment: 0, structure: 0 });
  turn(viewer);
  colourCell(viewer);
  if (element.isConnected && element.offsetParent) shown.set(element, viewer);
  else viewer.remove();
}

// a browser has few drawing contexts, so what is closed releases its own
function hide(element) {
  shown.get(element)?.remove();
  shown.delete(element);
  element.replaceChildren();
}

// ---- cards ----------------------------------------------------------------------------------

function patternTraces(card, name, color, lift = 0) {
  const [first, last] = page.angles;
  const { intensities, peaks } = card.pattern;
  const angles = intensities.map((_, i) => first + (last - first) * i / (intensities.length - 1));
  const marker = { size: 6, color };
  return [
    { x: angles, y: intensities.map(v => lift + v / 1000), name, mode: "lines",
      line: { width: 1.3, color }, hoverinfo: "skip" },
    { x: peaks.map(p => p[0]), y: peaks.map(p => lift + p[1]), text: peaks.map(p => p[2]), marker,
      name: "peaks (hkl)", mode: "markers", hovertemplate: "%{x:.2f}° %{text}<extra></extra>" },
  ];
}

function download(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function open(dialog) {
  dialog.showModal();
  dialog.querySelector("h2").focus();
  const card = (await cardsData())[Number(dialog.dataset.index)];
  const viewer = dialog.querySelector(".viewer");
  const buttons = all("[data-view]", dialog);
  for (const button of buttons)
    button.onclick = () => {
      buttons.forEach(other => other.setAttribute("aria-pressed", other === button));
      view(viewer, card.views[button.dataset.view]);
    };
  await draw(dialog.querySelector(".plot"), patternTraces(card, "pattern", "#3b7dd8"), "2θ (°), Cu Kα", "intensity");
  const [first] = Object.values(card.views);
  if (first) await view(viewer, first);
  dialog.dataset.drawn = "yes";
}

for (const dialog of all("dialog.card")) {
  dialog.addEventListener("close", () => {
    if (location.hash === `#${dialog.id}`) history.replaceState(null, "", location.pathname + location.search);
    const viewer = dialog.querySelector(".viewer");
    if (viewer) hide(viewer);
    const plot = dialog.querySelector(".plot");
    if (window.Plotly) Plotly.purge(plot);
    plot.replaceChildren();
    delete dialog.dataset.drawn;
  });
  dialog.addEventListener("click", event => {
    const button = event.target.closest("[data-step], [data-close]");
    if (!button && event.target !== dialog) return; // a click beside the dialog is on the dialog itself
    const next = one(`card-${Number(dialog.id.slice("card-".length)) + Number(button?.dataset.step)}`);
    dialog.close();
    if (next) location.hash = next.id;
  });
}

// the viewer keeps Escape for itself
addEventListener("keydown", event => event.key === "Escape" && document.querySelector("dialog[open]")?.close(), true);

function openTarget() {
  const target = one(location.hash.slice(1));
  if (!target?.matches("dialog.card") || target.open) return;
  all("dialog[open]").forEach(other => other.close());
  history.replaceState(null, "", `#${target.id}`);
  open(target);
}

document.addEventListener("click", async event => {
  const link = event.target.closest('a[href^="#card-"]');
  const file = event.target.closest("[data-file]");
  const element = event.target.closest("[data-element]");
  if (link) { // also one that was opened before
    event.preventDefault();
    history.replaceState(null, "", link.hash);
    openTarget();
  } else if (file) download(file.dataset.file, (await cardsData())[file.dataset.card].files[file.dataset.file]);
  else if (element) {
    one("with-elements").value = element.dataset.element;
    one("with-elements").dispatchEvent(new Event("input"));
    one("candidates-heading").scrollIntoView();
  }
});

// ---- pins, comparison, bundle ---------------------------------------------------------------

const pins = new Set(); // ranks
const MOST_COMPARED = 4;

function showPins() {
  for (const box of all("[data-pin]")) box.checked = pins.has(Number(box.dataset.pin));
  one("pins").hidden = !pins.size;
  one("pinned").textContent = `${pins.size} pinned`;
  document.documentElement.dataset.pins = [...pins].join(); // for the local page
  one("compare").disabled = pins.size < 2 || pins.size > MOST_COMPARED;
  one("compare").title = one("compare").disabled ? `pin two to ${MOST_COMPARED} candidates to compare them` : "";
}

document.addEventListener("change", event => {
  const rank = Number(event.target.dataset?.pin);
  if (!rank) return;
  if (event.target.checked) pins.add(rank);
  else pins.delete(rank);
  showPins();
});
one("unpin").addEventListener("click", () => { pins.clear(); closeComparison(); showPins(); });

async function pinned() {
  const cards = await cardsData();
  return [...pins].sort((a, b) => a - b).map(rank => ({ rank, heading: one(`card-${rank}-heading`), ...cards[rank - 1] }));
}

one("bundle").addEventListener("click", async () => {
  const { default: DataTable } = await tables();
  const zip = new (DataTable.Buttons.jszip())();
  const cards = await pinned();
  zip.file("candidates.csv", page.csv_heading + cards.map(card => card.row).join(""));
  for (const card of cards) for (const [name, text] of Object.entries(card.files)) zip.file(name, text);
  download("candidates.zip", await zip.generateAsync({ type: "blob" }));
});

function closeComparison() {
  all("#compared .viewer").forEach(hide);
  one("compared").replaceChildren();
  one("comparison").hidden = true;
}

function make(tag, content = "", attributes = {}) {
  const element = document.createElement(tag);
  element.append(...[content].flat());
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// a value with its interval on the scale that all compared candidates share
function bar({ value, low, high }, least, most) {
  const at = v => `${100 * (v - least) / (most - least || 1)}%`;
  const range = make("i"), mark = make("b");
  Object.assign(range.style, { left: at(low ?? value), right: `calc(100% - ${at(high ?? value)})` });
  mark.style.left = at(value);
  return make("div", [range, mark], { class: "bar" });
}

function compareValues(cards) {
  const head = make("tr", [make("th", "property", { scope: "col" }), ...cards.map(card => make("th", [...card.heading.cloneNode(true).childNodes], { scope: "col" }))]);
  const rows = cards[0].predictions.map(({ name, label }) => {
    const found = cards.map(card => card.predictions.find(p => p.name === name));
    const ends = found.flatMap(p => (p ? [p.value, p.low ?? p.value, p.high ?? p.value] : []));
    const cells = found.map(p => make("td", p ? [`${p.text} `, make("span", p.interval, { class: "soft" }),
      bar(p, Math.min(...ends), Math.max(...ends))] : "–"));
    return make("tr", [make("th", label, { scope: "row" }), ...cells]);
  });
  one("compared-values").replaceChildren(make("thead", head), make("tbody", rows));
}

one("compare").addEventListener("click", async () => {
  const cards = await pinned();
  closeComparison();
  one("comparison").hidden = false;
  one("comparison-heading").focus();
  one("comparison").scrollIntoView();
  compareValues(cards);
  const figures = cards.map(card => make("figure", [
    make("h3", make("a", [...card.heading.cloneNode(true).childNodes], { href: `#card-${card.rank}` })),
    make("div", "", { class: "viewer", role: "group", "aria-label": `structure of candidate ${card.rank}` })]));
  one("compared").replaceChildren(...figures);
  const hues = ["#3b7dd8", "#e0592a", "#0f9d58", "#a25ddc"];
  const traces = cards.flatMap((card, i) => patternTraces(card, card.heading.textContent, hues[i], cards.length - 1 - i)
    .map((trace, part) => ({ ...trace, showlegend: part === 0 })));
  await draw(one("compared-patterns"), traces, "2θ (°), Cu Kα", "intensity");
  for (const [i, card] of cards.entries()) {
    const [structure] = Object.values(card.views);
    if (structure) await view(figures[i].querySelector(".viewer"), structure);
  }
  one("comparison").dataset.drawn = "yes";
});

// ---- table ----------------------------------------------------------------------------------

async function makeTable() {
  const { ITable } = await tables();
  const hidden = all("#candidates thead th").flatMap((th, at) => (th.dataset.shown === "yes" ? [] : [at]));
  const table = new ITable("#candidates", {
    pageLength: isPhone ? 10 : 25,
    lengthMenu: [10, 25, 50, { label: "all", value: -1 }],
    order: [[0, "asc"]],
    autoWidth: false,
    columnDefs: [{ targets: hidden, visible: false }, { targets: ".dt-left", className: "dt-left" }],
    layout: {
      topStart: { buttons: [
        { extend: "colvis", text: "Columns", columns: "[data-name]" },
        { extend: "csv", text: "Export CSV", filename: "candidates", exportOptions: { orthogonal: "sort" } }] },
      topEnd: "search", bottomStart: ["info", "pageLength"], bottomEnd: "paging",
    },
  }).dt;
  table.on("draw", showPins);
  for (const select of all("#filters select"))
    select.addEventListener("change", () =>
      table.column(`${select.dataset.column}:name`).search(select.value, { exact: Boolean(select.value) }).draw());
  const elements = one("with-elements");
  elements.addEventListener("input", () => {
    const wanted = elementsOf(elements.value);
    table.search.fixed("elements", (text, row) => wanted.every(symbol => elementsOf(row[1]["@data-order"]).includes(symbol))).draw();
  });
}

// ---- begin ----------------------------------------------------------------------------------

addEventListener("hashchange", openTarget);

async function begin() {
  page = JSON.parse(await unpacked("page-data"));
  all("#axes select").forEach((select, at) => {
    select.value = page.properties.axes[at].name;
    select.addEventListener("change", drawProperties);
  });
  one("axes").hidden = page.properties.axes.length < 3;
  await makeTable();
  openTarget();
  await drawProperties();
  if (page.latent) {
    offerElements();
    one("colouring").addEventListener("change", drawLatent);
    await drawLatent();
  }
  document.documentElement.dataset.ready = "yes"; // for tests
}
begin();
