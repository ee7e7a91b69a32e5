/* The map of docs/literature.md: window.PAPERS (papers.js) as an SVG that can be dragged, zoomed and walked by keys. */
(() => {
  const box = document.getElementById("paper-map");
  if (!box || !window.PAPERS) return;
  const { nodes, edges, kinds } = window.PAPERS;
  const tall = box.clientWidth < 640;  // a telephone
  const WIDTH = tall ? 600 : 1000, HEIGHT = tall ? 900 : 620, APART = tall ? 88 : 100, SVG = "http://www.w3.org/2000/svg";
  const GROUPS = {
    data: ["choice of data", "self-written text", "selection", "likeness"],
    mask: ["score", "mask refinement"],
    weights: ["weight update", "reconstruction", "quantisation"],
    allocation: ["allocation"],
  };
  const SAID = { data: "which text", mask: "which weights stay", weights: "what they become", allocation: "how much of each layer" };
  const groupOf = (kind) => Object.keys(GROUPS).find((name) => GROUPS[name].includes(kind));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const make = (name, attributes = {}, parent = null) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (parent) parent.append(made);
    return made;
  };
  const tag = (name, text = "", className = "") => Object.assign(document.createElement(name), { textContent: text, className });

  // ---- places: papers of a kind near one another, those that are joined not far, none on another; the same every time
  const radius = (node) => 9 + 2.2 * Math.sqrt(node.claims.length);
  const corner = tall
    ? { data: [0.3, 0.18], mask: [0.7, 0.42], weights: [0.4, 0.8], allocation: [0.8, 0.66] }
    : { data: [0.2, 0.4], mask: [0.66, 0.2], weights: [0.6, 0.8], allocation: [0.92, 0.55] };
  nodes.forEach((node, i) => {
    const among = kinds.indexOf(node.kind), [x, y] = corner[groupOf(node.kind)];
    node.home = [WIDTH * x + 70 * Math.cos(among * 2.4), HEIGHT * y + 70 * Math.sin(among * 2.4)];
    node.x = node.home[0] + 60 * Math.cos(i * 2.399);
    node.y = node.home[1] + 60 * Math.sin(i * 2.399);
    node.r = radius(node);
  });
  for (let step = 0; step < 500; step += 1) {
    const cooled = 1 - step / 500;
    for (const a of nodes) {
      for (const b of nodes) {
        if (a === b) continue;
        const dx = (a.x - b.x) / 1.5, dy = a.y - b.y, apart = Math.hypot(dx, dy) || 1;  // labels are wide
        if (apart < APART) {
          a.x += cooled * 0.12 * (APART - apart) * dx / apart * 1.5;
          a.y += cooled * 0.12 * (APART - apart) * dy / apart;
        }
      }
      a.x += cooled * 0.03 * (a.home[0] - a.x);
      a.y += cooled * 0.03 * (a.home[1] - a.y);
    }
    for (const { from, to } of edges) {
      const a = byId.get(from), b = byId.get(to), dx = b.x - a.x, dy = b.y - a.y, apart = Math.hypot(dx, dy) || 1;
      const pull = cooled * 0.004 * (apart - 150);
      a.x += pull * dx / apart; a.y += pull * dy / apart;
      b.x -= pull * dx / apart; b.y -= pull * dy / apart;
    }
    for (const a of nodes) {
      a.x = Math.min(WIDTH - 70, Math.max(60, a.x));
      a.y = Math.min(HEIGHT - 45, Math.max(35, a.y));
    }
  }

  // ---- drawing
  box.textContent = "";
  const frame = tag("div", "", "paper-frame");
  const svg = make("svg", { role: "group", "aria-label": "Papers and what they build on", style: `aspect-ratio: ${WIDTH} / ${HEIGHT}` });
  const details = tag("div", "", "paper-details");
  details.setAttribute("aria-live", "polite");
  const hint = tag("div", "", "paper-hint");
  hint.hidden = true;
  frame.append(svg, hint);
  const tools = tag("div", "", "paper-tools");
  for (const [text, label, scale] of [["+", "Zoom in", 0.8], ["−", "Zoom out", 1.25], ["All", "Show all", 0]]) {
    const button = tag("button", text);
    button.type = "button";
    button.setAttribute("aria-label", label);
    button.addEventListener("click", () => (scale ? zoom(scale) : all()));
    tools.append(button);
  }
  frame.append(tools);
  const legend = tag("p", "", "paper-legend");
  for (const name of Object.keys(GROUPS)) {
    const entry = tag("span");
    entry.append(tag("i", "", `dot ${name}`), SAID[name]);
    legend.append(entry);
  }
  for (const [name, text] of [["held", "held"], ["undecided", "undecided"], ["not", "not held"]]) {
    const entry = tag("span");
    entry.append(tag("i", "", `ring ${name}`), `ring: ${text}`);
    legend.append(entry);
  }
  box.append(frame, legend, details);

  const arrows = make("defs", {}, svg);
  const marker = make("marker", { id: "paper-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, arrows);
  make("path", { d: "M0 0L8 4L0 8z" }, marker);
  const lines = make("g", {}, svg), dots = make("g", {}, svg);
  const drawnEdges = edges.map((edge) => ({ ...edge, line: make("line", { class: "paper-edge", "marker-end": "url(#paper-arrow)" }, lines) }));
  const COUNTS = [["held", (v) => v.startsWith("held")], ["not", (v) => v.startsWith("not held")], ["undecided", (v) => v === "undecided"]];
  for (const node of nodes) {
    const g = make("g", { class: `paper-node ${groupOf(node.kind)}`, tabindex: 0, role: "button", "aria-label": `${node.title}. ${node.by}` }, dots);
    make("circle", { r: node.r, class: "body" }, g);
    const known = node.claims.filter((claim) => claim.verdict !== "not measured");
    let done = 0;
    for (const [name, is] of COUNTS) {
      const share = known.filter((claim) => is(claim.verdict)).length / (known.length || 1);
      if (!share) continue;
      const round = 2 * Math.PI * (node.r + 4);
      make("circle", { r: node.r + 4, class: `ring ${name}`, "stroke-dasharray": `${share * round} ${round}`, "stroke-dashoffset": -done * round, transform: "rotate(-90)" }, g);
      done += share;
    }
    make("text", { y: node.r + 19, "text-anchor": "middle" }, g).textContent = node.short;
    node.g = g;
  }
  const place = () => {
    for (const node of nodes) node.g.setAttribute("transform", `translate(${node.x} ${node.y})`);
    for (const { from, to, line } of drawnEdges) {
      const a = byId.get(from), b = byId.get(to), dx = b.x - a.x, dy = b.y - a.y, apart = Math.hypot(dx, dy) || 1;
      const set = { x1: a.x + dx / apart * (a.r + 6), y1: a.y + dy / apart * (a.r + 6), x2: b.x - dx / apart * (b.r + 7), y2: b.y - dy / apart * (b.r + 7) };
      for (const [key, value] of Object.entries(set)) line.setAttribute(key, value);
    }
  };
  place();

  // ---- the view
  let view = { x: 0, y: 0, w: WIDTH, h: HEIGHT };
  const show = () => svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
  const all = () => { view = { x: 0, y: 0, w: WIDTH, h: HEIGHT }; show(); };
  const zoom = (by, at = null) => {
    const w = Math.min(2 * WIDTH, Math.max(WIDTH / 6, view.w * by)), h = w * HEIGHT / WIDTH;
    const [cx, cy] = at || [view.x + view.w / 2, view.y + view.h / 2];
    view = { x: cx - (cx - view.x) * w / view.w, y: cy - (cy - view.y) * h / view.h, w, h };
    show();
  };
  all();
  const spot = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [point.x, point.y];
  };
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement?.closest?.("#paper-map") !== box) return;  // the page scrolls
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.88 : 1.14, spot(event));
  }, { passive: false });

  // ---- dragging
  let held = null;
  svg.addEventListener("pointerdown", (event) => {
    const node = nodes.find((one) => one.g.contains(event.target));
    held = { node, from: spot(event), moved: false, at: [event.clientX, event.clientY] };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!held) return;
    if (Math.hypot(event.clientX - held.at[0], event.clientY - held.at[1]) > 4) held.moved = true;
    if (!held.moved) return;
    const [x, y] = spot(event);
    if (held.node) { held.node.x = x; held.node.y = y; place(); }
    else { view.x -= x - held.from[0]; view.y -= y - held.from[1]; show(); }
  });
  svg.addEventListener("pointerup", () => {
    if (held && !held.moved) { if (held.node) { held.node.g.focus({ preventScroll: true }); open(held.node); } else close(); }
    held = null;
  });

  // ---- one paper: what it builds on, what builds on it, what is similar
  const builds = (node) => edges.filter((edge) => edge.from === node.id).map((edge) => [byId.get(edge.to), edge.why]);
  const builders = (node) => edges.filter((edge) => edge.to === node.id).map((edge) => [byId.get(edge.from), edge.why]);
  const alike = (node) => nodes.filter((one) => one.kind === node.kind && one !== node).map((one) => [one, ""]);
  const mark = (node) => {
    const near = node ? new Set([node, ...[...builds(node), ...builders(node), ...alike(node)].map(([one]) => one)]) : null;
    for (const one of nodes) {
      one.g.classList.toggle("far", Boolean(near) && !near.has(one));
      one.g.classList.toggle("chosen", one === node);
    }
    for (const edge of drawnEdges) {
      edge.line.classList.toggle("out", Boolean(node) && edge.from === node.id);
      edge.line.classList.toggle("in", Boolean(node) && edge.to === node.id);
      edge.line.classList.toggle("far", Boolean(node) && edge.from !== node.id && edge.to !== node.id);
    }
  };
  let opened = null;
  const close = () => { opened = null; details.textContent = ""; details.append(tag("p", "Choose a paper.", "paper-empty")); mark(null); };
  const listOf = (title, papers) => {
    if (!papers.length) return;
    details.append(tag("h4", title));
    const list = tag("ul");
    for (const [paper, why] of papers) {
      const row = tag("li"), button = tag("button", paper.short);
      button.type = "button";
      button.title = paper.title;
      button.addEventListener("click", () => { open(paper); paper.g.focus({ preventScroll: true }); });
      row.append(button, why ? ` ${why}` : "");
      list.append(row);
    }
    details.append(list);
  };
  const open = (node) => {
    opened = node;
    hint.hidden = true;
    mark(node);
    details.textContent = "";
    const title = tag("h3");
    if (node.link) title.append(Object.assign(tag("a", node.title), { href: node.link })); else title.textContent = node.title;
    details.append(title, tag("p", node.by));
    if (node.here.length) details.append(tag("p", `In calprune: ${node.here.join("; ")}.`));
    details.append(tag("h4", node.claims.length ? "Claims judged here" : "No claim of it was judged here"));
    const list = tag("ul", "", "paper-claims");
    for (const claim of node.claims) {
      const row = tag("li");
      row.append(tag("b", claim.verdict, claim.verdict.split(/[ ,]/)[0]), ` ${claim.says}`, claim.measured ? `: ${claim.measured}` : "", " ");
      if (claim.page) row.append(Object.assign(tag("a", "page"), { href: claim.page }));
      list.append(row);
    }
    details.append(list);
    listOf("Builds on", builds(node));
    listOf("Is built on by", builders(node));
    listOf(`Similar: ${node.kind}`, alike(node));
  };
  close();

  // ---- hover and keys
  for (const node of nodes) {
    const tell = () => {
      hint.textContent = node.title;
      hint.hidden = false;
      const at = node.g.getBoundingClientRect(), home = frame.getBoundingClientRect();
      hint.style.left = `${Math.max(4, Math.min(home.width - hint.offsetWidth - 4, at.x - home.x + at.width / 2 - hint.offsetWidth / 2))}px`;
      hint.style.top = `${Math.max(4, at.y - home.y - hint.offsetHeight - 6)}px`;
      if (!opened) mark(node);
    };
    const quiet = () => { hint.hidden = true; if (!opened) mark(null); };
    node.g.addEventListener("pointerenter", tell);
    node.g.addEventListener("pointerleave", quiet);
    node.g.addEventListener("focus", tell);
    node.g.addEventListener("blur", quiet);
  }
  const SIDES = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  svg.addEventListener("keydown", (event) => {
    const node = nodes.find((one) => one.g === document.activeElement);
    if (SIDES[event.key] && node) {
      const [sx, sy] = SIDES[event.key];
      const far = (one) => { const dx = one.x - node.x, dy = one.y - node.y, along = dx * sx + dy * sy; return along > 4 ? along + 2.5 * Math.abs(dx * sy - dy * sx) : Infinity; };
      const next = nodes.reduce((best, one) => (far(one) < far(best) ? one : best), node);
      if (next !== node) next.g.focus({ preventScroll: true });
    } else if ((event.key === "Enter" || event.key === " ") && node) open(node);
    else if (event.key === "Escape") close();
    else if (event.key === "+" || event.key === "=") zoom(0.8);
    else if (event.key === "-") zoom(1.25);
    else if (event.key === "0") all();
    else return;
    event.preventDefault();
  });
})();
