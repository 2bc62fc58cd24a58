// A table of layers or runs (one machine's view at a time, sorted and filtered) and what is behind one layer.

const rowTable = (table, { noun, filters }, choose) => {
  const { columns, views, count } = table;
  const state = { view: 0, column: null, direction: "none", wanted: [] };
  const names = columns.find((column) => column.raw === noun).text;
  const words = names.map((_, row) => columns.filter((column) => !column.numeric).map((column) => column.text[row].toLowerCase()).join("\n"));
  const keyOf = (column, row) => {
    if (!column.key) return column.text[row];
    return column.key[row] === "" ? null : Number(column.key[row]);
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a < b ? -1 : a > b ? 1 : 0);
  const order = () => {
    const rows = names.map((_, row) => row);
    if (state.direction === "none") return rows;
    const keys = rows.map((row) => keyOf(state.column, row));
    const sign = state.direction === "ascending" ? 1 : -1;
    const present = rows.filter((row) => keys[row] !== null);
    const missing = rows.filter((row) => keys[row] === null);
    return present.sort((a, b) => sign * compare(keys[a], keys[b]) || a - b).concat(missing);
  };
  const shown = el("output", {});
  const hold = el("div", { class: "scroll tall" });
  const cell = (column, row, first) => {
    const words = column.text[row];
    if (first) return el("th", { scope: "row" }, el("button", { class: "layer", type: "button", title: words, onclick: () => choose(words) }, words));
    const share = column.share && column.share[row] !== null ? `--share:${column.share[row]}%` : null;
    return el("td", { class: column.numeric ? "num" : null, style: share, title: words.length > 40 ? words : null }, words);
  };
  const sortBy = (column) => {
    const second = column.first === "ascending" ? "descending" : "ascending";
    const now = state.column === column ? state.direction : "none";
    state.direction = now === "none" ? column.first : now === column.first ? second : "none";
    state.column = column;
    draw();
  };
  const heading = (column) => {
    const control = el("span", { role: "button", tabindex: 0 }, column.label,
      column.unit ? el("span", { class: "unit" }, ` ${column.unit}`) : null);
    const sorted = state.column === column && state.direction !== "none" ? state.direction : null;
    return el("th", {
      scope: "col", class: column.numeric ? "num" : null, title: column.raw, "aria-sort": sorted,
      onclick: () => sortBy(column),
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        sortBy(column);
      },
    }, control);
  };
  const draw = () => {
    const inView = views[state.view].columns.map((index) => columns[index]);
    const rows = order().filter((row) => state.wanted.every((word) => words[row].includes(word)));
    hold.replaceChildren(el("table", { class: "data dense" },
      el("thead", {}, el("tr", {}, inView.map(heading))),
      el("tbody", {}, rows.map((row) => el("tr", { "data-row": row }, inView.map((column, at) => cell(column, row, at === 0)))))));
    shown.textContent = state.wanted.length ? `${rows.length} of ${count} ${noun}s` : `${count} ${noun}s`;
  };
  const filter = el("input", {
    type: "search", class: "filter", placeholder: filters, autocomplete: "off", spellcheck: "false",
    oninput: () => { state.wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean); draw(); },
  });
  draw();
  return el("div", {},
    el("p", { class: "tools" }, el("label", {}, "Filter ", filter), shown,
      el("span", { class: "hint" }, `Click a heading to sort, a ${noun} to see what is behind it.`)),
    tabs(views.map((view) => view.title), (index) => { state.view = index; draw(); }), hold);
};

const tabs = (titles, choose) => {
  if (titles.length < 2) return null;
  const buttons = titles.map((title, index) => el("button", {
    type: "button", "aria-pressed": String(index === 0),
    onclick: () => {
      buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
      choose(index);
    },
  }, title));
  return el("div", { class: "tabs" }, buttons);
};

const smallTable = (head, rows) => el("div", { class: "scroll" }, el("table", { class: "data" },
  el("thead", {}, el("tr", {}, head.map((word) => el("th", { scope: "col" }, word)))),
  el("tbody", {}, rows.map((row) => el("tr", {}, row.map((word, at) => el(at ? "td" : "th", at ? {} : { scope: "row" }, word)))))));

const drillDown = (run, layer, palette, width) => {
  const { columns } = run.layers;
  const names = columns.find((column) => column.raw === "layer").text;
  const row = names.indexOf(layer);
  const panel = el("div", { class: "drill" }, el("h3", {}, layer));
  if (row >= 0) {
    const own = columns.filter((column) => !column.machine && column.raw !== "layer" && column.text[row] !== "\u2013");
    panel.append(el("dl", { class: "facts" }, own.map((column) => el("div", {}, el("dt", {}, column.label),
      el("dd", {}, `${column.text[row]}${column.unit ? ` ${column.unit}` : ""}`)))));
    const machines = [...new Set(columns.map((column) => column.machine).filter(Boolean))];
    const labels = [...new Set(columns.filter((column) => column.machine).map((column) => column.label))];
    if (machines.length) {
      panel.append(el("h4", {}, "Cost in one step"), smallTable(["machine", ...labels], machines.map((machine) => [machine, ...labels.map((label) => {
        const column = columns.find((one) => one.machine === machine && one.label === label);
        return column ? `${column.text[row]} ${column.unit}` : "\u2013";
      })])));
    }
  }
  const charts = el("div", { class: "pair" });
  const half = width > 760 ? (width - 28) / 2 : width;
  for (const unit of [...new Set(run.grids.map((grid) => grid.unit))]) {
    const lines = run.grids.filter((grid) => grid.unit === unit).flatMap((grid) => grid.rows.flatMap((name, at) => {
      if ((grid.layers || grid.rows)[at] !== layer) return [];
      const size = grid.labels.length;
      const values = grid.values.slice(at * size, (at + 1) * size);
      const lead = name === layer ? "" : ` (${name.slice(layer.length).replace(/^[ ,]+/, "")})`;
      return values.some(finite) ? [[`${grid.title}${lead}`, values, grid]] : [];
    }));
    if (!lines.length) continue;
    const grid = lines[0][2];
    charts.append(lineChart({ title: `By ${grid.axis}${unit ? `, ${unit}` : ""}`, x: grid.labels.map((_, at) => at), labels: grid.labels, x_label: grid.axis, y_label: unit || "ratio", lines }, half, palette));
  }
  const detail = run.details[layer];
  if (detail) charts.append(...detail.charts.map((chart) => lineChart(chart, half, palette)));
  if (charts.childElementCount) panel.append(charts);
  if (detail && detail.rows.length) panel.append(el("h4", {}, "Outliers before and after each transform, over all steps"), smallTable(detail.head, detail.rows));
  return panel;
};
