"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const panel = document.getElementById("panel");
  const narrow = window.matchMedia("(max-width: 560px)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // Colours of the page's theme, as a plotly layout update.
  function theme(layout) {
    const update = { "font.color": colour("--ink") };
    for (const axis of ["xaxis", "yaxis"]) {
      if (layout[axis]) {
        update[axis + ".gridcolor"] = colour("--grid");
        update[axis + ".tickfont.color"] = colour("--soft");
        update[axis + ".title.font.color"] = colour("--soft");
      }
    }
    update["hoverlabel.bgcolor"] = colour("--card");
    update["hoverlabel.bordercolor"] = colour("--line");
    update["hoverlabel.font.color"] = colour("--ink");
    return update;
  }

  // Smaller letters, a legend in columns, one coordinate a line.
  function fitPhone(name, figure) {
    figure.layout.font.size = 11;
    Object.assign(figure.layout.legend, { entrywidth: 0.45, entrywidthmode: "fraction", x: 0 });
    if (name === "memory") {
      // Its words are too long for two columns.
      figure.layout.legend.entrywidth = 0.9;
      figure.layout.height += 60;
    }
    if (name === "rank-map") {
      const trace = figure.data[0];
      trace.textfont.size = 8;
      trace.text = trace.text.map((row) => row.map((label) => label && label.replaceAll(" ", "<br>")));
    }
  }

  function paint(element) {
    const changes = element.dataset.figure.startsWith("timeline") ? { "marker.line.color": colour("--card") } : {};
    return Plotly.update(element, changes, theme(element.layout));
  }

  function draw(element) {
    const figure = data.figures[element.dataset.figure];
    const zooms = element.dataset.figure === "pareto" && !narrow.matches;
    if (zooms) figure.layout.dragmode = "zoom";
    if (narrow.matches) fitPhone(element.dataset.figure, figure);
    const settings = {
      responsive: true, displaylogo: false, displayModeBar: zooms ? "hover" : false, scrollZoom: false,
      modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    };
    return Plotly.newPlot(element, figure.data, figure.layout, settings)
      .then(() => paint(element));
  }

  function add(parent, tag, text, className) {
    const child = document.createElement(tag);
    if (text) child.textContent = text;
    if (className) child.className = className;
    parent.appendChild(child);
    return child;
  }

  function choose(number) {
    const plan = data.plans[number];
    if (!plan) return;
    panel.replaceChildren();
    panel.dataset.card = number;
    add(panel, "h3", plan.title);
    const words = { best: "best", front: "on the front", feasible: "feasible, dominated", infeasible: "infeasible" };
    const looks = { best: "good", front: "good", feasible: "plain", infeasible: "bad" };
    add(panel, "span", words[plan.group], "badge " + looks[plan.group]);
    if (plan.fails.length) {
      const list = add(panel, "ul");
      for (const fail of plan.fails) add(list, "li", fail);
    }
    const rows = add(panel, "dl");
    for (const [label, value] of plan.rows) {
      const row = add(rows, "div");
      add(row, "dt", label);
      add(row, "dd", value);
    }
    for (const row of document.querySelectorAll("tr[data-card]")) {
      row.classList.toggle("chosen", row.dataset.card === String(number));
    }
  }

  const best = data.plans.findIndex((plan) => plan.group === "best");
  choose(best < 0 ? 0 : best);
  for (const row of document.querySelectorAll("tr[data-card]")) {
    row.addEventListener("click", () => choose(Number(row.dataset.card)));
  }

  const figures = [...document.querySelectorAll("[data-figure]")];
  Promise.all(figures.map(draw)).then(() => {
    document.getElementById("figure-pareto").on("plotly_click", (event) => {
      const point = event.points.find((candidate) => candidate.customdata !== undefined);
      if (point) choose(point.customdata);
    });
    document.documentElement.dataset.ready = "yes";
  });
  dark.addEventListener("change", () => {
    figures.forEach(paint);
  });
})();
