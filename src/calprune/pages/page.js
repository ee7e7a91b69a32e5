// Draws a chart when it can be seen, chooses among charts, opens what a link leads to; filters, sorts, searches and copies.
"use strict";

const all = (query, within = document) => [...within.querySelectorAll(query)];
const status = (words) => { document.getElementById("status").textContent = words; };

function make(kind, more = {}, ...inner) {
  const { dataset = {}, ...rest } = more;
  const one = Object.assign(document.createElement(kind), rest);
  Object.assign(one.dataset, dataset);
  one.append(...inner);
  return one;
}

// -- charts

const PAPER = { ink: "#1b1f24", soft: "#5c6570", line: "#d5dae0", ground: "#ffffff", zone: "#dcebdf" }; // of copies
const wanted = document.getElementById("specs");
const specs = wanted ? JSON.parse(wanted.textContent) : {};
const views = new Map();

function config() {
  const text = { labelColor: "var(--ink)", titleColor: "var(--soft)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: 400 };
  return {
    background: null, font: "system-ui, sans-serif", view: { stroke: null },
    axis: { ...text, gridColor: "var(--line)", domainColor: "var(--line)", tickColor: "var(--line)", gridOpacity: 0.8 },
    text: { color: "var(--ink)" }, title: { color: "var(--ink)", subtitleColor: "var(--soft)" },
    legend: { labelColor: "var(--ink)" },
  };
}

let loading = null;
function library() {
  return loading ??= (async () => {
    const packed = Uint8Array.from(atob(document.getElementById("library").textContent), (c) => c.charCodeAt(0));
    const script = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    (0, eval)(await new Response(script).text());
  })();
}

// where a name would take more than a third of the width it stands above its row
const crowded = (spec, width) => Boolean(spec.layer) && 6.6 * (spec.usermeta?.labels ?? 0) >= width * 0.35;
function narrowed(spec, width) {
  if (!crowded(spec, width)) return spec;
  const narrow = structuredClone(spec), rows = narrow.layer.filter((one) => one.encoding.y);
  for (const one of rows) one.encoding.y.axis = null;
  const { y } = rows[0].encoding;
  narrow.layer.push({
    data: narrow.layer.find((one) => one.data?.name)?.data ?? narrow.data, transform: [{ aggregate: [], groupby: ["source"] }],
    mark: { type: "text", align: "left", dy: -15, limit: width, fontSize: 12 },
    encoding: { y: { ...y, axis: null }, x: { value: 0 }, text: { field: "source", type: "nominal" } },
  });
  narrow.height = Math.max(44 * spec.usermeta.rows, narrow.height + 20 * spec.usermeta.rows);
  return narrow;
}

const seen = (place) => place.clientWidth && !place.closest("details:not([open])");
async function draw() {
  for (const place of all("[data-spec]").filter(seen)) {
    if (views.has(place)) continue; // asked now, for another call may have begun it while this one waited
    views.set(place, null);
    await library();
    place.dataset.crowded = crowded(specs[place.dataset.spec], place.clientWidth);
    const within = place.appendChild(document.createElement("div"));
    within.setAttribute("aria-hidden", "true"); // the place itself says what is drawn; vega-embed would say it anew
    const { view } = await vegaEmbed(within, narrowed(specs[place.dataset.spec], place.clientWidth),
                                     { actions: false, renderer: "svg", config: config() });
    views.set(place, view);
    await new Promise((resolve) => setTimeout(resolve));
  }
}

// a telephone that is turned, a window that is made narrow: names move above their rows or back
const turned = new ResizeObserver((entries) => {
  if (matchMedia("print").matches) return; // on paper a chart has a width of its own
  const other = entries.map(({ target }) => target).filter((place) => views.get(place) && seen(place)
    && place.dataset.crowded !== String(crowded(specs[place.dataset.spec], place.clientWidth)));
  for (const place of other) {
    views.get(place).finalize();
    views.delete(place);
    place.replaceChildren();
  }
  if (other.length) draw();
});
for (const place of all("[data-spec]")) turned.observe(place);

// a picture for other programs: on white, with title and legend, of one width
async function picture(place) {
  await library();
  const drawn = JSON.stringify({ config: config(), spec: specs[place.dataset.spec] });
  const { config: colours, spec } = JSON.parse(drawn.replace(/var\(--(\w+)\)/g, (_, name) => PAPER[name]));
  const panel = place.closest(".panel"), figure = place.closest("figure");
  const legend = all(":scope > .legend li", panel).concat(all(".legend li", figure));
  if (legend.some((one) => one.querySelector("svg"))) {
    for (const one of spec.layer ?? []) {
      for (const name of ["color", "shape"]) if (one.encoding?.[name]?.legend === null) one.encoding[name].legend = { title: null, orient: "bottom" };
    }
  }
  const looks = { rule: "dashed", zone: "shaded" };
  const marks = legend.filter((one) => one.querySelector("i")).map((one) => `${looks[one.firstChild.className]}: ${one.textContent}`);
  spec.title = { text: figure.querySelector("figcaption").textContent, subtitle: marks, anchor: "start" };
  const { view } = await vegaEmbed(document.createElement("div"), { ...spec, width: 640 },
                                   { actions: false, renderer: "svg", config: { ...colours, background: PAPER.ground, padding: 12 } });
  const svg = await view.toSVG();
  view.finalize();
  return svg;
}

async function pixels(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = make("canvas", { width: 2 * image.width, height: 2 * image.height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// -- copying

async function copyText(value) {
  if (navigator.clipboard) {
    try { return await navigator.clipboard.writeText(value); } catch { /* not allowed to: the old way works there */ }
  }
  const area = document.body.appendChild(make("textarea", { value, className: "unseen" }));
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser let nothing be copied");
}

async function copyImage(made) {
  await navigator.clipboard.write([new ClipboardItem({ "image/png": made })]);
}

// text that a spreadsheet would take for a formula comes after an apostrophe
const safe = (cell) => (/^[=+\-@\t\r]/.test(cell) && Number.isNaN(Number(cell)) ? `'${cell}` : cell);
const asCsv = (rows) => rows.map((row) => row.map((cell) => {
  const text = safe(String(cell ?? ""));
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}).join(",")).join("\n") + "\n";
const asMarkdown = ([heads, ...rows]) => [heads, heads.map(() => "---"), ...rows].map((row) =>
  `| ${row.map((cell) => String(cell ?? "").replace(/\s+/g, " ").replace(/[\\|*_`<[#]/g, "\\$&")).join(" | ")} |`).join("\n") + "\n";

function shownRows(table, exact) {
  const cells = (row) => [...row.cells].flatMap((cell) => (exact ? (cell.dataset.tsv ?? cell.textContent).split("\t") : [cell.textContent]));
  return [table.tHead.rows[0], ...[...table.tBodies[0].rows].filter((row) => !row.hidden)].map(cells);
}

function chartRows(figure) {
  const place = figure.querySelector("[data-spec]");
  if (!place) return [["", "count"], ...all(".bars > div", figure).map((one) => [one.querySelector("small").textContent, one.querySelector("span").textContent || "0"])];
  const { points } = specs[place.dataset.spec].datasets;
  const heads = ["source", "series", "x", "value", "low", "high", "draws"].filter((name) => points.some((one) => one[name] !== ""));
  return [heads, ...points.map((one) => heads.map((name) => one[name]))];
}

function copier(what, forms) {
  const buttons = Object.entries(forms).map(([form, act]) => {
    const button = make("button", { type: "button", className: "copy", dataset: { form } }, form);
    button.setAttribute("aria-label", `Copy ${what} as ${form}`);
    button.addEventListener("click", async () => {
      try {
        await act();
        button.textContent = "Copied";
        status("Copied");
      } catch (error) {
        button.textContent = "Not copied";
        status(error.message);
      }
      setTimeout(() => { button.textContent = form; }, 1500);
    });
    return button;
  });
  return make("span", { className: "copies" }, Object.keys(forms)[0] === "Copy" ? "" : "Copy as ", ...buttons);
}

// -- tables: sorted by a head, searched, filtered by a column of few values

const SOME = 8; // rows from which on a table is searched
const CHOICES = 14; // values of a column that are chosen among

function sortable(table) {
  const body = table.tBodies[0], order = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = make("button", { type: "button", className: "sort" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" }[head.ariaSort] ?? "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next !== "none") head.setAttribute("aria-sort", next);
      const key = (row) => {
        const text = row.cells[at].dataset.tsv?.split("\t")[0] ?? row.cells[at].textContent;
        return text === "" ? null : head.classList.contains("number") && !Number.isNaN(Number(text)) ? Number(text) : text;
      };
      const by = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
      const sign = next === "descending" ? -1 : 1;
      const sorted = next === "none" ? order : [...order].sort((one, two) => {
        const [a, b] = [key(one), key(two)];
        return a === null || b === null ? (a === null) - (b === null) : sign * by(a, b);
      });
      body.append(...sorted);
      status(next === "none" ? "As it was" : `Sorted by ${button.textContent}, ${next}`);
    });
  });
}

function searchable(table, name) {
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells], count = make("span", { className: "soft" });
  const words = make("input", { type: "search", placeholder: "Search" });
  words.setAttribute("aria-label", `Search in ${name}`);
  const chosen = heads.flatMap((head, at) => {
    const values = [...new Set(rows.map((row) => row.cells[at].textContent))];
    if (head.classList.contains("number") || values.length < 2 || values.length > CHOICES || values.length === rows.length) return [];
    const select = make("select", {}, make("option", { value: "" }, `${head.textContent}: all`), ...values.map((value) => make("option", { value: `=${value}` }, value || "none")));
    select.setAttribute("aria-label", `${head.textContent} of ${name}`);
    return [{ at, select }];
  });
  const show = () => {
    const looked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !looked.every((word) => text.includes(word)) || chosen.some(({ at, select }) => select.value && select.value !== `=${row.cells[at].textContent}`);
    }
    const left = rows.filter((row) => !row.hidden).length;
    count.textContent = left === rows.length ? "" : `${left} of ${rows.length} rows`;
    status(count.textContent);
  };
  words.addEventListener("input", show);
  for (const { select } of chosen) select.addEventListener("change", show);
  return [words, ...chosen.map(({ select }) => select), count];
}

for (const place of all(".table")) {
  const table = place.querySelector("table"), name = table.caption.textContent || "the table";
  const tools = make("div", { className: "tools" });
  if (table.tBodies[0].rows.length > SOME) tools.append(...searchable(table, name));
  if (table.tBodies[0].rows.length > 2) sortable(table);
  tools.append(copier(name, { CSV: () => copyText(asCsv(shownRows(table, true))), Markdown: () => copyText(asMarkdown(shownRows(table, false))) }));
  place.querySelector(".scroll").before(tools);
}

for (const figure of all("figure")) {
  const name = figure.querySelector("figcaption").textContent, place = figure.querySelector("[data-spec]");
  const forms = { CSV: () => copyText(asCsv(chartRows(figure))), Markdown: () => copyText(asMarkdown(chartRows(figure))) };
  if (place) Object.assign(forms, { SVG: async () => copyText(await picture(place)), PNG: () => copyImage(picture(place).then(pixels)) });
  figure.append(make("div", { className: "tools" }, copier(`the chart ${name}`, forms)));
}

for (const text of all(".text")) text.querySelector("pre").before(make("div", { className: "tools" }, copier(text.querySelector("h3").textContent, { Copy: () => copyText(text.querySelector("pre").textContent) })));

// -- one of several charts

all("[data-choose]").forEach((charts, at) => {
  const figures = all("figure", charts), id = `choose-${at}`;
  const select = make("select", { id }, ...figures.map((one, i) => make("option", { value: i }, one.querySelector("figcaption").textContent)));
  const legend = all(":scope > .legend li:has(svg)", charts.closest(".panel"));
  const show = () => {
    figures.forEach((one, i) => { one.hidden = i !== Number(select.value); });
    const place = figures[select.value].querySelector("[data-spec]");
    const shown = new Set(specs[place?.dataset.spec]?.datasets.points.map((one) => one.series));
    for (const one of legend) one.hidden = shown.size > 0 && !shown.has(one.textContent);
  };
  select.addEventListener("change", () => { show(); draw(); });
  charts.before(make("p", { className: "choose" }, make("label", { htmlFor: id }, `${charts.dataset.choose} `), select));
  for (const one of figures) one.querySelector("figcaption").className = "unseen";
  show();
});

// -- what is wider than its place says so, and can be scrolled by keys

const fits = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target)));
function mark(place) {
  const over = place.scrollWidth > place.clientWidth + 1 || place.scrollHeight > place.clientHeight + 1;
  place.classList.toggle("wider", place.scrollWidth > place.clientWidth + 1);
  place.classList.toggle("onward", place.scrollLeft + place.clientWidth < place.scrollWidth - 1);
  if (over) place.tabIndex = 0; else place.removeAttribute("tabindex");
}
for (const place of all(".scroll")) {
  fits.observe(place);
  place.addEventListener("scroll", () => mark(place), { passive: true });
}

// -- folding, links and print

const folds = all(".folded > details");
const more = document.getElementById("more");
if (more) {
  const button = make("button", { type: "button", className: "unfold" }, "Unfold all");
  button.addEventListener("click", () => {
    const open = folds.some((one) => !one.open);
    for (const one of folds) one.open = open;
  });
  document.addEventListener("toggle", () => { button.textContent = folds.every((one) => one.open) ? "Fold all" : "Unfold all"; }, true);
  more.append(button);
}
document.addEventListener("toggle", draw, true);

function reveal() {
  const place = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!place) return;
  const fold = place.closest("details") ?? place.querySelector(":scope > details");
  if (fold) fold.open = true;
  place.scrollIntoView();
}
window.addEventListener("hashchange", reveal);
document.addEventListener("click", ({ target }) => { if (target.closest?.("a.term")) setTimeout(reveal); });

const SHEET = 670; // pixels of a chart on A4
function widths(of) {
  for (const [place, view] of views) if (view) view.width(of(place)).run();
}
window.addEventListener("beforeprint", () => widths((place) => place.closest(".charts.wide") ? SHEET : SHEET / 2 - 12));
window.addEventListener("afterprint", () => widths((place) => place.clientWidth));

reveal();
draw().then(() => { document.documentElement.dataset.charts = "drawn"; });
