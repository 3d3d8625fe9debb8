"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("data").textContent);
  const narrow = window.matchMedia("(max-width: 560px)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // Colours of the page's theme, as a plotly layout update.
  function paint(element) {
    const update = {
      "font.color": colour("--ink"), "hoverlabel.bgcolor": colour("--card"),
      "hoverlabel.bordercolor": colour("--line"), "hoverlabel.font.color": colour("--ink"),
    };
    for (const axis of ["xaxis", "yaxis"]) {
      update[axis + ".gridcolor"] = colour("--grid");
      update[axis + ".tickfont.color"] = colour("--soft");
      update[axis + ".title.font.color"] = colour("--soft");
    }
    const changes = element.dataset.figure.startsWith("timeline") ? { "marker.line.color": colour("--card") } : {};
    return Plotly.update(element, changes, update);
  }

  function draw(element) {
    const figure = figures[element.dataset.figure];
    if (narrow.matches) {
      figure.layout.font.size = 11;
      Object.assign(figure.layout.legend, { entrywidth: 0.45, entrywidthmode: "fraction", x: 0 });
    }
    return Plotly.newPlot(element, figure.data, figure.layout, { responsive: true, displayModeBar: false })
      .then(() => paint(element));
  }

  const elements = [...document.querySelectorAll("[data-figure]")];
  Promise.all(elements.map(draw)).then(() => {
    document.documentElement.dataset.ready = "yes";
  });
  dark.addEventListener("change", () => {
    elements.forEach(paint);
  });
})();
