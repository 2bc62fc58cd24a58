"use strict";
(() => {
  const section = document.getElementById("layers");
  const tables = section ? [...section.querySelectorAll("table.data")] : [];
  const rows = tables.map((table) => [...table.tBodies[0].rows]);
  const executed = rows.length ? rows[0].map((_, index) => index) : [];

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.v === undefined) return cell.textContent;
    return cell.dataset.v === "" ? null : Number(cell.dataset.v);
  };

  const compare = (a, b) =>
    typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a < b ? -1 : a > b ? 1 : 0;

  const order = (position, column, direction) => {
    if (direction === "none") return executed;
    const keys = rows[position].map((row) => keyOf(row, column));
    const sign = direction === "ascending" ? 1 : -1;
    const present = executed.filter((index) => keys[index] !== null);
    const missing = executed.filter((index) => keys[index] === null);
    return present.sort((a, b) => sign * compare(keys[a], keys[b]) || a - b).concat(missing);
  };

  const arrange = (sequence) => {
    tables.forEach((table, position) => table.tBodies[0].append(...sequence.map((index) => rows[position][index])));
  };

  const sortBy = (position, heading) => {
    const first = heading.dataset.first;
    const second = first === "ascending" ? "descending" : "ascending";
    const now = heading.getAttribute("aria-sort") || "none";
    const next = now === "none" ? first : now === first ? second : "none";
    for (const other of section.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    if (next !== "none") heading.setAttribute("aria-sort", next);
    arrange(order(position, heading.cellIndex, next));
  };

  // A <button> would keep Chromium from repeating the table's head on every printed page.
  tables.forEach((table, position) => {
    for (const heading of table.tHead.rows[0].cells) {
      const control = document.createElement("span");
      control.setAttribute("role", "button");
      control.tabIndex = 0;
      control.append(...heading.childNodes);
      heading.append(control);
      heading.addEventListener("click", () => sortBy(position, heading));
      control.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        sortBy(position, heading);
      });
    }
  });

  const words = executed.map((index) =>
    rows
      .flatMap((list) => [...list[index].cells])
      .filter((cell) => cell.dataset.v === undefined)
      .map((cell) => cell.textContent.toLowerCase())
      .join("\n"),
  );

  const filter = document.getElementById("filter");
  const count = document.getElementById("count");
  const apply = () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const index of executed) {
      const match = wanted.every((word) => words[index].includes(word));
      for (const list of rows) list[index].hidden = !match;
      shown += match;
    }
    count.textContent = wanted.length ? `${shown} of ${executed.length} layers` : `${executed.length} layers`;
  };
  if (filter) {
    filter.addEventListener("input", apply);
    filter.closest(".tools").hidden = false;
  }

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

  document.documentElement.dataset.script = "ready";
})();
