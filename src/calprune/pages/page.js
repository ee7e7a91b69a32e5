// Draws the charts one after another, so that the page can be read meanwhile, and copies tables for spreadsheets.
"use strict";

const text = { labelColor: "var(--ink)", titleColor: "var(--soft)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: 400 };
const config = {
  background: null, font: "system-ui, sans-serif", view: { stroke: null }, autosize: { type: "fit", contains: "padding" },
  axis: { ...text, gridColor: "var(--line)", domainColor: "var(--line)", tickColor: "var(--line)", gridOpacity: 0.8 },
  text: { color: "var(--ink)" },
};

async function draw() {
  const specs = document.getElementById("specs");
  if (!specs) return;
  const drawings = JSON.parse(specs.textContent);
  for (const place of document.querySelectorAll("[data-spec]")) {
    const within = place.appendChild(document.createElement("div"));
    within.setAttribute("aria-hidden", "true"); // the place itself says what is drawn; vega-embed would say it anew
    await vegaEmbed(within, drawings[place.dataset.spec], { actions: false, renderer: "svg", config });
    await new Promise((resolve) => setTimeout(resolve));
  }
}

function asColumns(table) {
  return [...table.rows].map((row) => [...row.cells].map((cell) => cell.dataset.tsv ?? cell.textContent).join("\t")).join("\n");
}

async function copy(value) {
  if (navigator.clipboard) {
    try { return await navigator.clipboard.writeText(value); } catch { /* not allowed to: the old way works there */ }
  }
  const area = document.body.appendChild(Object.assign(document.createElement("textarea"), { value, className: "unseen" }));
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser let nothing be copied");
}

document.addEventListener("click", async ({ target }) => {
  const button = target.closest("button.copy");
  if (!button) return;
  const face = button.firstChild;
  try {
    await copy(asColumns(document.getElementById(button.dataset.table)));
    face.data = "Copied";
  } catch (error) {
    face.data = error.message;
  }
  document.getElementById("said").textContent = face.data;
  setTimeout(() => { face.data = "Copy"; }, 1500);
});

window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));

draw().then(() => { document.documentElement.dataset.charts = "drawn"; });
