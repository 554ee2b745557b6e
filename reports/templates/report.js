"use strict";
// Draws every figure whose JSON stands in the page, in the page's colours, and again when the colour scheme changes.
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const charts = [];

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function themed(layout, width, traces) {
    const out = structuredClone(layout);
    const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--rule"), linecolor: colour("--rule") };
    out.font = { ...out.font, color: colour("--ink") };
    out.title.subtitle.font = { ...out.title.subtitle.font, color: colour("--soft") };
    out.hoverlabel = { bgcolor: colour("--panel"), bordercolor: colour("--rule"), font: { color: colour("--ink") } };
    out.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--ink") };
    for (const key of ["xaxis", "yaxis"]) {
      out[key] = { ...axis, showgrid: true, ...out[key] };
    }
    if (width < 600) {
      const entries = traces.filter((trace) => trace.showlegend !== false).length;
      out.height = (out.height || 360) + 14 * entries;
      out.font.size = 11;
      out.margin = { ...out.margin, l: 44, r: 8 };
      out.xaxis.nticks = 4;
    }
    return out;
  }

  function draw(chart) {
    const layout = themed(chart.figure.layout, chart.node.clientWidth, chart.figure.data);
    return Plotly.react(chart.node, structuredClone(chart.figure.data), layout, {
      responsive: true,
      displaylogo: false,
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
