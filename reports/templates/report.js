"use strict";
// Draws every figure whose JSON stands in the page, in the page's colours, and again when the colour scheme changes.
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const charts = [];
  const narrow = () => window.innerWidth < 600;

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function themed(layout, data) {
    const out = structuredClone(layout);
    const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--rule"), linecolor: colour("--rule") };
    out.font = { ...out.font, color: colour("--ink") };
    out.title.subtitle.font = { ...out.title.subtitle.font, color: colour("--soft") };
    out.hoverlabel = { bgcolor: colour("--panel"), bordercolor: colour("--rule"), font: { color: colour("--ink") } };
    out.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--ink") };
    for (const key of ["xaxis", "yaxis"]) {
      out[key] = { ...axis, showgrid: true, ...out[key] };
    }
    if (narrow()) {
      const entries = data.filter((trace) => trace.showlegend !== false).length;
      out.height = (out.height || 360) + 18 * entries;
      out.font.size = 11;
      out.margin = { ...out.margin, l: 44, r: 8 };
      out.xaxis.nticks = 4;
    }
    return out;
  }

  // The palette's blue is too dark for dark paper; its place is kept, its lightness raised.
  function traces(figure) {
    const text = JSON.stringify(figure.data);
    const data = JSON.parse(dark.matches ? text.replaceAll("#0072B2", "#3D9BE0") : text);
    for (const trace of narrow() ? data : []) {
      if (trace.name) trace.name = trace.name.replace(" (", "<br>(").replace(": ", ":<br>");
    }
    return data;
  }

  function draw(chart) {
    const layout = themed(chart.figure.layout, chart.figure.data);
    return Plotly.react(chart.node, traces(chart.figure), layout, {
      responsive: true,
      displaylogo: false,
      displayModeBar: narrow() ? false : "hover",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    });
  }

  for (const script of document.querySelectorAll("script[data-chart]")) {
    charts.push({ node: document.getElementById(script.dataset.chart), figure: JSON.parse(script.textContent) });
  }
  const all = () => Promise.all(charts.map(draw));
  all().then(() => document.documentElement.setAttribute("data-drawn", String(charts.length)));
  dark.addEventListener("change", all);
})();
