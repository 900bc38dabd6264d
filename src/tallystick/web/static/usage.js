// The chart of what was spent and earned. The tables of the page have the same figures.
"use strict";

(() => {
  const COLOURS = ["#2f7ebc", "#d9822b", "#3d9970", "#a463c2", "#c2506a", "#7f8c3f", "#8a94a0"];

  const place = document.getElementById("chart");
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function draw() {
    const figures = JSON.parse(document.getElementById("figures").textContent);
    const hover = `%{customdata} ${figures.unit}`;
    const bars = figures.spent.map((part, index) => ({
      type: "bar",
      name: part.name,
      x: figures.days,
      y: part.values,
      customdata: part.values,
      hovertemplate: hover,
      marker: { color: COLOURS[index % COLOURS.length] },
    }));
    const line = {
      type: "scatter",
      mode: "lines+markers",
      name: "earned",
      x: figures.days,
      y: figures.earned,
      customdata: figures.earned,
      hovertemplate: hover,
      line: { color: colour("--good"), width: 2 },
    };
    const axis = { fixedrange: true, gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line") };
    const layout = {
      autosize: true,
      barmode: "relative",
      hovermode: "x unified",
      showlegend: true,
      legend: { orientation: "h", y: -0.18 },
      margin: { l: 48, r: 8, t: 8, b: 32 },
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
      font: { color: colour("--ink"), family: "system-ui, sans-serif" },
      hoverlabel: { bgcolor: colour("--paper"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
      xaxis: { ...axis, type: "date", tickformat: "%b %-d" },
      yaxis: { ...axis, rangemode: "tozero", separatethousands: true },
    };
    Plotly.react(place, [...bars, line], layout, { displayModeBar: false, responsive: true });
  }

  if (place) {
    place.hidden = false; // before it is drawn, since what is hidden has no width
    draw();
    dark.addEventListener("change", draw);
  }
})();
