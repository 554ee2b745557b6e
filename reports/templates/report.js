"use strict";
// Draws each figure whose JSON stands in the page when it comes into view, in the page's colours, and again when the
// colour scheme changes; builds a data table when it is opened; draws and opens everything before the page is printed.
(function () {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const desk = window.matchMedia("(min-width: 1000px)");
  const PAPER = { whole: 690, half: 335 }; // CSS pixels of a page's column, A4 and Letter alike
  const charts = [];
  let printing = false;
  const narrow = () => !printing && window.innerWidth < 600;

  function colour(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }

  const half = (chart) => printing && chart.node.closest(".grid") !== null;
  const room = (chart) => (printing ? (half(chart) ? PAPER.half : PAPER.whole) : chart.node.clientWidth) || 600;

  // A title that is wider than its figure goes on in another line
  function wrapped(text, letters) {
    const lines = [""];
    for (const word of text.split(" ")) {
      if (lines.at(-1) && lines.at(-1).length + word.length >= letters) lines.push("");
      lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
    }
    return lines;
  }

  function titled(out, width) {
    const title = wrapped(out.title.text, Math.floor(width / (out.title.font.size * 0.56)));
    const subtitle = wrapped(out.title.subtitle.text, Math.floor(width / (out.title.subtitle.font.size * 0.56)));
    const above = (out.annotations || []).some((note) => note.yref === "paper" && note.y >= 1) ? 18 : 0;
    const more = (title.length - 1) * out.title.font.size * 1.3 + (subtitle.length - 1) * 16 + above;
    out.title.text = title.join("<br>");
    out.title.subtitle.text = subtitle.join("<br>");
    if (more === 0) return;
    out.margin = { ...out.margin, t: out.margin.t + more };
    out.height = (out.height || 360) + more;
    out.title = { ...out.title, yref: "container", y: 1 - 14 / out.height, yanchor: "top" };
  }

  function themed(chart) {
    const out = structuredClone(chart.figure.layout);
    const ink = printing ? "#000000" : colour("--ink");
    const soft = printing ? "#444444" : colour("--soft");
    const rule = printing ? "#bbbbbb" : colour("--rule");
    const axis = { gridcolor: printing ? "#dddddd" : colour("--grid"), zerolinecolor: rule, linecolor: rule };
    out.font = { ...out.font, color: ink };
    out.title.subtitle.font = { ...out.title.subtitle.font, color: soft };
    out.hoverlabel = { bgcolor: colour("--panel"), bordercolor: rule, font: { color: ink } };
    out.modebar = { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink };
    for (const key of ["xaxis", "yaxis"]) {
      out[key] = { ...axis, showgrid: true, ...out[key] };
    }
    const entries = chart.figure.data.filter((trace) => trace.showlegend !== false).length;
    if (narrow()) {
      out.height = (out.height || 360) + 18 * entries;
      out.font.size = 11;
      out.margin = { ...out.margin, l: 44, r: 8 };
      out.title = { ...out.title, xref: "container", font: { ...out.title.font, size: 14 } };
      out.title.subtitle.font.size = 11;
      out.xaxis.nticks = 4;
      if (out.xaxis.type === "category") out.legend.y -= 44 / (out.height - 110); // names are written upright
    }
    if (printing) {
      out.width = room(chart);
      if (half(chart)) {
        out.height = (out.height || 360) + 14 * entries;
        out.font.size = 9;
        out.legend.font = { size: 9 };
        out.title = { ...out.title, xref: "container", font: { ...out.title.font, size: 12 } };
        out.title.subtitle.font.size = 9;
        out.xaxis.nticks = 4;
      }
    }
    titled(out, room(chart) - 24);
    return out;
  }

  // The palette on dark paper: what is too dark there keeps its place and is raised (`palette.py` has the same pairs)
  const DARK = {
    "#0072B2": "#3D9BE0",
    "#C4699A": "#CC79A7",
    "#B87A00": "#E69F00",
    "#2E93CF": "#7CC8F2",
    "#8C564B": "#B98377",
  };
  function traces(chart) {
    const raised = dark.matches && !printing ? DARK : {};
    const data = JSON.parse(JSON.stringify(chart.figure.data, (_, value) => (Object.hasOwn(raised, value) ? raised[value] : value)));
    for (const trace of narrow() || half(chart) ? data : []) {
      if (trace.type === "heatmap") trace.textfont = { size: 8 }; // twelve months share the width
      if (trace.name) trace.name = trace.name.replace(" (", "<br>(").replace(": ", ":<br>");
    }
    return data;
  }

  function draw(chart) {
    chart.seen = true;
    return Plotly.react(chart.node, traces(chart), themed(chart), {
      responsive: true,
      displaylogo: false,
      displayModeBar: narrow() || printing ? false : "hover",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    }).then(() => {
      chart.node.dataset.drawn = "";
      root.setAttribute("data-drawn", String(document.querySelectorAll(".chart[data-drawn]").length));
    });
  }

  for (const script of document.querySelectorAll("script[data-chart]")) {
    const node = document.getElementById(script.dataset.chart);
    const chart = { node, figure: JSON.parse(script.textContent), seen: false };
    node.style.minHeight = `${chart.figure.layout.height || 360}px`; // its room is kept, so that nothing jumps
    charts.push(chart);
  }
  root.setAttribute("data-drawn", "0");
  const watch = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((entry) => entry.isIntersecting)) {
        watch.unobserve(entry.target);
        draw(charts.find((chart) => chart.node === entry.target));
      }
    },
    { rootMargin: "400px 0px" },
  );
  dark.addEventListener("change", () => charts.filter((chart) => chart.seen).forEach(draw));

  // Data tables
  function cell(name, text, kind) {
    const node = document.createElement(name);
    node.textContent = text;
    if (kind) node.className = kind;
    if (name === "th") node.scope = "col";
    return node;
  }

  function row(cells) {
    const node = document.createElement("tr");
    node.append(...cells);
    return node;
  }

  function dataTable(spec, caption) {
    const box = document.createElement("div");
    box.className = "scroll";
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", caption);
    const table = document.createElement("table");
    table.createTHead().append(row(spec.columns.map((text, index) => cell("th", text, spec.kinds[index]))));
    const body = table.createTBody();
    spec.rows.forEach((cells, number) => {
      const line = row(cells.map((text, index) => cell("td", text, spec.kinds[index])));
      if (spec.failed[number]) line.className = "failed";
      body.append(line);
    });
    box.append(table);
    const cue = document.createElement("p");
    cue.className = "cue";
    cue.textContent = "More columns to the right: scroll the table sideways.";
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = spec.note;
    return spec.note ? [box, cue, note] : [box, cue];
  }

  // in a frame of its own: the cue changes the height of what is observed
  const mark = (box) => box.classList.toggle("sideways", box.scrollWidth > box.clientWidth + 1);
  const widths = new ResizeObserver((entries) => {
    requestAnimationFrame(() => entries.forEach((entry) => mark(entry.target)));
  });
  document.querySelectorAll(".scroll").forEach((box) => widths.observe(box));

  for (const script of document.querySelectorAll("script[data-table]")) {
    const details = script.previousElementSibling;
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      details.append(...dataTable(JSON.parse(script.textContent), script.dataset.table));
      widths.observe(details.querySelector(".scroll"));
    });
  }

  // Contents: beside the page where there is room, folded above it where there is none
  const contents = document.getElementById("contents");
  const fold = () => { contents.open = desk.matches; };
  fold();
  desk.addEventListener("change", fold);
  const links = [...contents.querySelectorAll("a")];
  contents.addEventListener("click", (event) => {
    if (event.target.closest("a") && !desk.matches) contents.open = false;
  });
  const shown = new Set();
  const place = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) shown.add(entry.target.id);
      else shown.delete(entry.target.id);
    }
    const first = links.find((link) => shown.has(link.hash.slice(1)));
    for (const link of links) {
      if (link === first) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    }
  });
  for (const section of document.querySelectorAll("main > section")) place.observe(section);

  // A link into a folded panel opens it
  function unfold() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.querySelector(":scope > details.fold");
    if (folded) folded.open = true;
  }
  window.addEventListener("hashchange", unfold);
  unfold();

  // What is in view at once is drawn at once, the rest when it comes into view
  for (const chart of charts) {
    const inView = chart.node.checkVisibility() && chart.node.getBoundingClientRect().top < window.innerHeight;
    if (inView) draw(chart);
    else watch.observe(chart.node);
  }

  // Hashes are shown by their first digits and copied whole
  async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", () =>
      copy(button.dataset.copy).then(
        () => { button.textContent = "copied"; },
        () => { button.textContent = "not allowed here"; },
      ));
  }

  // Print: everything is drawn at the paper's width and opened; the numbers behind a figure stay in the page
  let opened = [];
  window.addEventListener("beforeprint", () => {
    printing = true;
    opened = [...document.querySelectorAll("details:not(.data):not(.toc):not([open])")];
    for (const details of opened) details.open = true;
    charts.forEach(draw);
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    for (const details of opened) details.open = false;
    for (const chart of charts) draw(chart);
  });
})();
