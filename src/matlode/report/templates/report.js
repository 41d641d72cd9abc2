"use strict";
const page = JSON.parse(document.getElementById("page-data").textContent);
const options = { responsive: true, displaylogo: false };

// ---- what is packed in the page -------------------------------------------------------------

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), c => c.charCodeAt(0));
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
  document.getElementById("plotly.js-style-global").removeAttribute("id");
});
const viewers = once(() => run("script-viewer"));
const tables = once(async () => import(await address("script-table")));
const cardsData = once(async () => JSON.parse(await unpacked("cards-data")));

// ---- plots ----------------------------------------------------------------------------------

function colours() {
  const style = getComputedStyle(document.documentElement);
  return { ink: style.getPropertyValue("--ink").trim(), line: style.getPropertyValue("--line").trim() };
}

function layout(x, y) {
  const { ink, line } = colours();
  const axis = title => ({ title: { text: title }, gridcolor: line, zerolinecolor: line });
  return { margin: { t: 10, r: 10, l: 60, b: 50 }, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink }, xaxis: axis(x), yaxis: axis(y),
    hovermode: "closest", legend: { orientation: "h", y: 1.02, yanchor: "bottom" } };
}

function recolour() {
  const { ink, line } = colours();
  for (const plot of document.querySelectorAll(".js-plotly-plot"))
    Plotly.relayout(plot, { "font.color": ink, "xaxis.gridcolor": line, "yaxis.gridcolor": line,
      "xaxis.zerolinecolor": line, "yaxis.zerolinecolor": line });
}

document.getElementById("theme").addEventListener("click", () => {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  if (window.Plotly) recolour();
});

// many points are quicker as pixels of a canvas than as parts of the page
const scatter = n => (n > 1000 ? "scattergl" : "scatter");

async function draw(plot, traces, x, y) {
  await charts();
  await Plotly.react(plot, traces, layout(x, y), options);
  plot.removeAllListeners("plotly_click");
  plot.on("plotly_click", event => {
    const rank = event.points[0].customdata;
    if (rank) location.hash = `card-${rank}`;
  });
}

function drawProperties() {
  const { axes, groups } = page.properties;
  const [x, y] = [...document.querySelectorAll("#axes select")].map(select => select.value);
  const title = name => axes.find(axis => axis.name === name).title;
  const traces = groups.map(group => ({
    type: scatter(group.formulas.length), mode: "markers", name: group.name,
    x: group.values[x], y: group.values[y], text: group.formulas, customdata: group.ranks,
    hovertemplate: "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
    marker: { color: group.colour, size: group.size, symbol: group.symbol, opacity: 0.75 },
  }));
  return draw(document.getElementById("property-map"), traces, title(x), title(y));
}

const elementsOf = formula => formula.match(/[A-Z][a-z]?/g) ?? [];

// name and colour of a point's group, by what the reader chose
function grouping(chosen) {
  const { systems, origins, formulas, colours } = page.latent;
  if (chosen === "system")
    return at => (systems[at] ? [systems[at], colours[systems[at]]] : ["unknown", "#b8c0c8"]);
  if (chosen === "origin") {
    const of = { known: ["known materials", "#9aa5b1"], substitution: ["substitutions", "#e0a52a"],
      search: ["search", "#3b7dd8"] };
    return at => of[origins[at]];
  }
  return at => elementsOf(formulas[at]).includes(chosen)
    ? [`with ${chosen}`, "#c2185b"] : [`without ${chosen}`, "#b8c0c8"];
}

function drawLatent() {
  const { x, y, formulas, merits, ranks, path, origins } = page.latent;
  const group = grouping(document.getElementById("colouring").value);
  const rows = new Map();
  const order = [...x.keys()];
  for (const at of order) {
    const [name, colour] = group(at);
    if (!rows.has(name)) rows.set(name, { colour, at: [] });
    rows.get(name).at.push(at);
  }
  const label = at => `${formulas[at]}, ${origins[at]}, merit ${merits[at]}`;
  const trace = (name, at, more) => ({ type: "scattergl", mode: "markers", name,
    x: at.map(i => x[i]), y: at.map(i => y[i]), text: at.map(label), customdata: at.map(i => ranks[i]),
    hovertemplate: "%{text}<extra></extra>", ...more });
  const traces = [...rows].sort((a, b) => b[1].at.length - a[1].at.length).map(([name, part]) =>
    trace(name, part.at, { marker: { color: part.colour, size: 5, opacity: 0.6 } }));
  const { ink } = colours();
  const candidates = order.filter(at => ranks[at]);
  traces.push(
    trace("candidates", candidates, { marker: { color: candidates.map(at => group(at)[1]), size: 10,
      symbol: "diamond", line: { color: ink, width: 1 } } }),
    trace("path of the best", path, { mode: "lines+markers", line: { color: ink, width: 1.5 },
      marker: { color: ink, size: 6 } }));
  return draw(document.getElementById("latent-map"), traces, "first component", "second component");
}

function offerElements() {
  const found = new Set(page.latent.formulas.flatMap(elementsOf));
  for (const symbol of [...found].sort()) document.getElementById("elements").append(new Option(symbol));
}

// ---- cards ----------------------------------------------------------------------------------

function patternTraces(card) {
  const [first, last] = page.angles;
  const n = card.pattern.intensities.length;
  const angles = card.pattern.intensities.map((_, i) => first + (last - first) * i / (n - 1));
  const line = (pattern, sign, name, color) => ({ x: angles, y: pattern.intensities.map(v => sign * v / 1000),
    name, mode: "lines", line: { width: 1.3, color }, hoverinfo: "skip" });
  const dots = (pattern, sign, name, color) => ({ x: pattern.peaks.map(p => p[0]),
    y: pattern.peaks.map(p => sign * p[1]), text: pattern.peaks.map(p => p[2]), name, mode: "markers",
    marker: { size: 6, color }, hovertemplate: "%{x:.2f}° %{text}<extra></extra>" });
  const traces = [line(card.pattern, 1, "pattern", "#3b7dd8"),
    dots(card.pattern, 1, "its peaks (hkl)", "#3b7dd8")];
  return traces;
}

async function show(element, structure) {
  await viewers();
  if (!element.isConnected || !element.closest("details").open) return undefined;
  const parts = { meta: document.createElement("div"), info: document.createElement("div"),
    structure: element };
  const cells = structure.size < 8 ? [2, 2, 2] : [1, 1, 1];
  const settings = { unitCell: true, bonds: true, axes: "abc", supercell: cells };
  const viewer = await Chemiscope.StructureVisualizer.load(parts, { meta: { name: "structure" },
    structures: [structure], properties: {}, settings: { structure: [settings] } });
  // once more, now that it knows how many cells there are to be seen
  await viewer.structure.show({ environment: 0, structure: 0 });
  return viewer;
}

const shown = new Map(); // open card → its viewer

async function view(details, structure) {
  shown.get(details)?.remove();
  shown.delete(details);
  const viewer = await show(details.querySelector(".viewer"), structure);
  if (viewer) shown.set(details, viewer);
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function open(details) {
  const card = (await cardsData())[Number(details.dataset.index)];
  for (const button of details.querySelectorAll("[data-file]"))
    button.onclick = () => download(button.dataset.file, card.files[button.dataset.file]);
  const buttons = [...details.querySelectorAll("[data-view]")];
  for (const button of buttons)
    button.onclick = () => {
      buttons.forEach(other => other.setAttribute("aria-pressed", other === button));
      view(details, card.views[button.dataset.view]);
    };
  await draw(details.querySelector(".plot"), patternTraces(card), "2θ (°), Cu Kα", "intensity");
  const [first] = Object.values(card.views);
  if (first) await view(details, first);
  details.dataset.drawn = "yes";
}

function close(details) {
  // a browser has few drawing contexts, so cards that are closed release theirs
  shown.get(details)?.remove();
  shown.delete(details);
  if (window.Plotly) Plotly.purge(details.querySelector(".plot"));
  delete details.dataset.drawn;
}

for (const details of document.querySelectorAll("details.card"))
  details.addEventListener("toggle", () => (details.open ? open(details) : close(details)));

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target?.matches("details.card")) return;
  target.open = true;
  target.scrollIntoView();
  target.querySelector("summary").focus({ preventScroll: true });
}

// also for a card that was opened by the same link before
for (const link of document.querySelectorAll('#candidates a[href^="#card-"]'))
  link.addEventListener("click", event => {
    event.preventDefault();
    history.replaceState(null, "", link.hash);
    openTarget();
  });

// ---- table ----------------------------------------------------------------------------------

async function makeTable() {
  const { ITable } = await tables();
  const table = new ITable("#candidates", {
    pageLength: 25,
    lengthMenu: [10, 25, 50, { label: "all", value: -1 }],
    order: [[0, "asc"]],
    columnDefs: [{ targets: "export", visible: false }],
    layout: {
      topStart: { buttons: [{ extend: "csv", text: "Export CSV", filename: "candidates",
        exportOptions: { orthogonal: "sort" } }] },
      topEnd: "search", bottomStart: ["info", "pageLength"], bottomEnd: "paging",
    },
  }).dt;
  for (const select of document.querySelectorAll("#filters select"))
    select.addEventListener("change", () =>
      table.column(`${select.dataset.column}:name`).search(select.value, { exact: Boolean(select.value) }).draw());
  const elements = document.getElementById("with-elements");
  elements.addEventListener("input", () => {
    const wanted = elements.value.match(/[A-Z][a-z]?/g) ?? [];
    table.search.fixed("elements", (text, row) => wanted.every(symbol => elementsOf(row[1]["@data-order"]).includes(symbol))).draw();
  });
}

// ---- begin ----------------------------------------------------------------------------------

document.querySelectorAll("#axes select").forEach((select, at) => {
  select.value = page.properties.axes[at].name;
  select.addEventListener("change", drawProperties);
});
document.getElementById("axes").hidden = page.properties.axes.length < 3;
addEventListener("hashchange", openTarget);

async function begin() {
  await makeTable();
  openTarget();
  await drawProperties();
  if (page.latent) {
    offerElements();
    document.getElementById("colouring").addEventListener("change", drawLatent);
    await drawLatent();
  }
  document.documentElement.dataset.ready = "yes"; // for tests
}
begin();
