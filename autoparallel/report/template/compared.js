"use strict";
(function () {
  const figure = JSON.parse(document.getElementById("figures").textContent).fronts;
  const results = JSON.parse(document.getElementById("data").textContent).results;
  const names = Object.keys(results[0]);
  const body = document.querySelector(".compared tbody");
  const rows = [...body.rows];
  const headings = [...document.querySelectorAll(".compared thead th")];
  const words = document.getElementById("words");
  const choices = [...document.querySelectorAll("select[data-column]")];
  const plot = document.getElementById("fronts");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function visible(index) {
    const cells = rows[index].textContent.toLowerCase();
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    return asked.every((word) => cells.includes(word)) &&
      choices.every((choice) => !choice.value || String(results[index][choice.dataset.column]) === choice.value);
  }

  function shown() {
    return rows.filter((row) => !row.hidden).map((row) => Number(row.dataset.row));
  }

  function filter() {
    rows.forEach((row, index) => { row.hidden = !visible(index); });
    const left = shown();
    document.getElementById("shown").textContent = left.length + " of " + rows.length + " shown";
    if (plot.data) Plotly.restyle(plot, { visible: rows.map((row) => !row.hidden) });
  }

  // Empty cells come last in both directions.
  function sort(column) {
    const heading = headings[column];
    const falling = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const numeric = heading.classList.contains("num");
    const key = (row) => row.cells[column].dataset.key;
    const order = (a, b) => numeric ? Number(a) - Number(b) : a.localeCompare(b);
    const sorted = [...body.rows].sort((a, b) => {
      if (!key(a) || !key(b)) return key(a) ? -1 : key(b) ? 1 : 0;
      return (falling ? -1 : 1) * order(key(a), key(b));
    });
    body.append(...sorted);
  }

  function save(name, type, content) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  function cell(value) {
    const text = value === null ? "" : String(value);
    return /[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }

  function csv() {
    const ordered = [...body.rows].filter((row) => !row.hidden).map((row) => results[Number(row.dataset.row)]);
    return [names, ...ordered.map((result) => names.map((name) => result[name]))]
      .map((line) => line.map(cell).join(",")).join("\n") + "\n";
  }

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function paint() {
    const update = { "font.color": colour("--ink"), "hoverlabel.bgcolor": colour("--card"), "hoverlabel.font.color": colour("--ink") };
    for (const axis of ["xaxis", "yaxis"]) update[axis + ".gridcolor"] = colour("--grid");
    return Plotly.relayout(plot, update);
  }

  words.addEventListener("input", filter);
  choices.forEach((choice) => choice.addEventListener("change", filter));
  headings.forEach((heading, column) => heading.firstChild.addEventListener("click", () => sort(column)));
  document.getElementById("csv").addEventListener("click", () => save("results.csv", "text/csv", csv()));
  document.getElementById("json").addEventListener("click", () =>
    save("results.json", "application/json", JSON.stringify(shown().map((index) => results[index]), null, 2)));
  Plotly.newPlot(plot, figure.data, figure.layout, { responsive: true, displaylogo: false, displayModeBar: false })
    .then(paint).then(() => { filter(); document.documentElement.dataset.ready = "yes"; });
  dark.addEventListener("change", paint);
})();
