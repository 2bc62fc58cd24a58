// A heatmap of layers by steps: names, one path per colour, the worst of each row; cells answer to the pointer.

const ROW = 14;
const BAND = 40;
const LEVELS = 64;
const NAME = 44;

// The ends of names tell layers apart: what is too long loses its middle.
const shortName = (name) => {
  const head = Math.floor((NAME - 1) / 3);
  return name.length > NAME ? `${name.slice(0, head)}\u2026${name.slice(head + 1 - NAME)}` : name;
};

const heatmap = (grid, gradient, choose) => {
  const [columns, count] = [grid.labels.length, grid.rows.length];
  const at = (row, column) => grid.values[row * columns + column];
  const fraction = (value) => {
    const place = Math.min(Math.max((value - grid.low) / (grid.high - grid.low), 0), 1);
    return grid.dark_is_low ? place : 1 - place;
  };
  const unit = grid.unit ? ` ${grid.unit}` : "";
  const layerOf = (row) => (grid.layers || grid.rows)[row];
  const words = (value) => (value === null ? "not measured" : value === "inf" ? "exact" : text(value) + unit);
  const worstOf = (row) => {
    const known = Array.from({ length: columns }, (_, column) => at(row, column)).filter((value) => value !== null);
    const numbers = known.filter(finite);
    if (!numbers.length) return known.length ? "exact" : "\u2013";
    return text(Number((grid.dark_is_low ? Math.min(...numbers) : Math.max(...numbers)).toPrecision(3)));
  };
  const band = (from) => {
    const rows = Array.from({ length: Math.min(BAND, count - from) }, (_, index) => from + index);
    const paths = new Map();
    rows.forEach((row, y) => {
      for (let x = 0; x < columns; x += 1) {
        const value = at(row, x);
        const key = value === null ? "missing" : finite(value) ? Math.round(fraction(value) * (LEVELS - 1)) : "exact";
        paths.set(key, `${paths.get(key) || ""}M${x} ${y}h1v1h-1z`);
      }
    });
    const cells = svg("svg", { class: "cells", viewBox: `0 0 ${columns} ${rows.length}`, preserveAspectRatio: "none", width: "100%", height: ROW * rows.length, role: "img", "aria-label": `${grid.title} by layer and ${grid.axis}` });
    for (const [key, d] of paths) {
      cells.append(typeof key === "string" ? svg("path", { class: key, d }) : svg("path", { fill: onMap(key / (LEVELS - 1), gradient), d }));
    }
    const cellOf = (event) => {
      const box = cells.getBoundingClientRect();
      const row = Math.floor((event.clientY - box.top) / box.height * rows.length);
      const column = Math.floor((event.clientX - box.left) / box.width * columns);
      return [rows[Math.min(Math.max(row, 0), rows.length - 1)], Math.min(Math.max(column, 0), columns - 1)];
    };
    cells.tip = (event) => {
      const [row, column] = cellOf(event);
      const where = grid.axis === "timestep" ? `step ${grid.steps[column]}, t = ${grid.labels[column]}` : `step ${grid.labels[column]}`;
      return `${grid.rows[row]}\n${where}: ${words(at(row, column))}`;
    };
    cells.addEventListener("click", (event) => choose(layerOf(cellOf(event)[0])));
    return el("div", { class: "band" },
      el("div", { class: "names" }, rows.map((row) =>
        el("button", { type: "button", class: "layer", title: grid.rows[row], onclick: () => choose(layerOf(row)) }, shortName(grid.rows[row])))),
      cells,
      el("div", { class: "names end" }, rows.map((row) => el("span", {}, worstOf(row)))));
  };
  const stride = Math.ceil(columns / 20);
  const labels = svg("svg", { width: "100%", height: 18, "aria-hidden": "true" }, grid.labels.map((label, index) =>
    index % stride ? null : svg("text", { x: `${((index + 0.5) * 100) / columns}%`, y: 12, "text-anchor": "middle" }, label)));
  const bands = [];
  for (let from = 0; from < count; from += BAND) bands.push(band(from));
  const longest = Math.min(NAME, Math.max(...grid.rows.map((name) => name.length)));
  return el("div", {}, scaleOf(grid, gradient),
    el("div", { class: `heatmap${count > 64 ? " long" : ""}`, style: `--label:${longest}` },
      el("div", { class: "band axis" }, el("span", { class: "corner" }, "layer"), labels, el("span", { class: "corner end" }, "worst")),
      bands,
      el("div", { class: "band axis-title" }, el("span", {}, grid.axis === "timestep" ? "timestep t of each denoising step" : "denoising step"))));
};

const scaleOf = (grid, gradient) => {
  const map = grid.dark_is_low ? gradient : [...gradient].reverse();
  const bar = svg("svg", { width: 350, height: 34, role: "img", "aria-label": `Colour scale of ${grid.title}` });
  for (let index = 0; index < LEVELS; index += 1) {
    bar.append(svg("rect", { x: 20 + (280 * index) / LEVELS, width: 280 / LEVELS + 0.5, height: 12, fill: onMap(index / (LEVELS - 1), map) }));
  }
  for (const [fraction, label] of grid.ticks) {
    bar.append(svg("text", { x: 20 + 280 * fraction, y: 28, "text-anchor": "middle" }, label));
  }
  bar.append(svg("text", { x: 308, y: 11 }, grid.unit));
  const chip = (kind, words) => el("span", { class: "chip" },
    svg("svg", { width: 16, height: 12 }, svg("rect", { class: kind, x: 1, y: 1, width: 14, height: 10 })), words);
  return el("div", { class: "legend" }, bar,
    grid.values.includes("inf") ? chip("exact", "exact, no code differs") : null,
    grid.values.includes(null) ? chip("missing", "not measured") : null,
    el("span", { class: "chip" }, "dark is bad"));
};
