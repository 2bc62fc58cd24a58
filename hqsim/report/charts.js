// Charts as SVG: each takes plain data and the width it has, and returns a node.

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const onMap = (fraction, map) => {
  const position = Math.min(Math.max(fraction, 0), 1) * (map.length - 1);
  const left = Math.min(Math.floor(position), map.length - 2);
  const [a, b] = [channels(map[left]), channels(map[left + 1])];
  return `rgb(${a.map((value, at) => Math.round(value + (b[at] - value) * (position - left))).join(" ")})`;
};

const ticksOf = (low, high, wanted) => {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw * 0.999);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) ticks.push(at * step);
  return ticks;
};
const decadesOf = (low, high) => {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const every = Math.max(1, Math.ceil((last - first) / 6));
  const ticks = [];
  for (let power = first; power <= last; power += every) ticks.push(10 ** power);
  return ticks;
};
const powerText = (value) => {
  const power = Math.round(Math.log10(value));
  return Math.abs(power) < 3 ? text(value) : svg("tspan", {}, "10", svg("tspan", { dy: -4, "font-size": "8px" }, String(power).replace("-", "\u2212")));
};

// A plot's frame: places on both axes, grid lines, labels.
const frame = ({ width, height, x, y, x_label, y_label, logX = false, logY = false, wholeX = false, title, tickX = text, tickY = text }) => {
  const margin = { left: 58, right: 14, top: 12, bottom: 40 };
  const inner = { width: Math.max(60, width - margin.left - margin.right), height: height - margin.top - margin.bottom };
  const place = ([low, high], log, size) => {
    const [a, b] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
    return (value) => (((log ? Math.log10(value) : value) - a) / (b - a || 1)) * size;
  };
  const [atX, inY] = [place(x, logX, inner.width), place(y, logY, inner.height)];
  const atY = (value) => inner.height - inY(value);
  const area = svg("g", { transform: `translate(${margin.left} ${margin.top})` });
  for (const tick of logY ? decadesOf(...y) : ticksOf(...y, 5)) {
    area.append(
      svg("line", { class: "grid", x1: 0, x2: inner.width, y1: atY(tick), y2: atY(tick) }),
      svg("text", { x: -7, y: atY(tick) + 4, "text-anchor": "end" }, logY ? powerText(tick) : tickY(tick)),
    );
  }
  const ticksX = logX ? decadesOf(...x) : ticksOf(...x, Math.max(3, Math.min(8, inner.width / 70)));
  for (const tick of wholeX ? ticksX.filter(Number.isInteger) : ticksX) {
    area.append(
      svg("line", { class: "tick", x1: atX(tick), x2: atX(tick), y1: inner.height, y2: inner.height + 4 }),
      svg("text", { x: atX(tick), y: inner.height + 17, "text-anchor": "middle" }, logX ? powerText(tick) : tickX(tick)),
    );
  }
  area.append(
    svg("line", { class: "axis", x1: 0, x2: inner.width, y1: inner.height, y2: inner.height }),
    svg("text", { class: "name", x: inner.width / 2, y: inner.height + 34, "text-anchor": "middle" }, x_label),
    svg("text", { class: "name", transform: `translate(-46 ${inner.height / 2}) rotate(-90)`, "text-anchor": "middle" }, y_label),
  );
  const root = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width: "100%", style: `max-width:${width}px`, role: "img", "aria-label": title }, area);
  return { root, area, inner, atX, atY };
};

const legend = (entries) =>
  el("div", { class: "parts" }, entries.map(([name, colour]) =>
    el("span", { class: "chip" }, svg("svg", { width: 12, height: 12 }, svg("rect", { width: 12, height: 12, fill: colour })), name)));

// Lines over x; null, "inf" leave a gap. A chart of packed lines holds 16-bit places between low and high.
const unpack = (chart) =>
  (chart.packed || []).map(([name, code]) => {
    const bytes = atob(code);
    const values = chart.x.map((_, at) => bytes.charCodeAt(2 * at) + 256 * bytes.charCodeAt(2 * at + 1));
    return [name, values.map((place) => {
      if (!place) return null;
      const value = chart.low + ((place - 1) / 65534) * (chart.high - chart.low);
      return chart.log_y ? 10 ** value : value;
    })];
  });

const lineChart = (chart, width, palette, height = 230) => {
  const lines = chart.lines || unpack(chart);
  const known = lines.flatMap(([, values]) => values.filter(finite));
  if (!known.length) return el("p", { class: "lead" }, `${chart.title}: every value is exact or was not measured.`);
  let [low, high] = [Math.min(...known), Math.max(...known)];
  if (!chart.log_y && low > 0 && low < 0.5 * high) low = 0;
  if (low === high) [low, high] = chart.log_y ? [low / 3, high * 3] : [low - 1, high + 1];
  if (chart.log_y) [low, high] = [low / 1.5, high * 1.5];
  const x = [Math.min(...chart.x), Math.max(...chart.x)];
  if (x[0] === x[1]) x[1] += 1;
  const label = chart.labels;
  const plot = frame({
    width, height, x, y: [low, high], x_label: chart.x_label, y_label: chart.y_label, logY: chart.log_y, wholeX: chart.x.every(Number.isInteger), title: chart.title,
    tickX: (tick) => (label ? (label[chart.x.indexOf(tick)] ?? "") : text(tick)),
  });
  const colour = (at) => palette[at % palette.length];
  lines.forEach(([, values], at) => {
    let path = "";
    let open = false;
    values.forEach((value, index) => {
      if (finite(value)) path += `${open ? "L" : "M"}${plot.atX(chart.x[index]).toFixed(1)} ${plot.atY(value).toFixed(1)}`;
      open = finite(value);
    });
    plot.area.append(svg("path", { class: "line", d: path, stroke: colour(at) }));
    if (chart.x.length <= 30) {
      values.forEach((value, index) => finite(value) &&
        plot.area.append(svg("circle", { cx: plot.atX(chart.x[index]), cy: plot.atY(value), r: 2.2, fill: colour(at) })));
    }
  });
  const cursor = svg("line", { class: "cursor", y1: 0, y2: plot.inner.height, visibility: "hidden" });
  const cover = svg("rect", { width: plot.inner.width, height: plot.inner.height, fill: "transparent" });
  cover.tip = (event) => {
    const box = cover.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * plot.inner.width;
    let nearest = 0;
    chart.x.forEach((value, index) => {
      if (Math.abs(plot.atX(value) - at) < Math.abs(plot.atX(chart.x[nearest]) - at)) nearest = index;
    });
    const place = plot.atX(chart.x[nearest]);
    fill(cursor, { x1: place, x2: place, visibility: "visible" }, []);
    const head = `${chart.x_label} ${label ? label[nearest] : text(chart.x[nearest])}`;
    return [head, ...lines.map(([name, values]) => `${name}: ${text(values[nearest])}`)].join("\n");
  };
  cover.addEventListener("pointerleave", () => cursor.setAttribute("visibility", "hidden"));
  plot.area.append(cursor, cover);
  return el("figure", { class: "chart" }, el("figcaption", {}, chart.title), plot.root,
    legend(lines.map(([name], at) => [name, colour(at)])));
};

// Quality over cost, the front as a step line, labels moved apart.
const tradeoffChart = (chart, width, palette) => {
  const points = chart.points.filter((point) => finite(point.cost) && finite(point.quality));
  if (!points.length) return el("p", { class: "lead" }, `${chart.title}: nothing was measured.`);
  const costs = points.map((point) => point.cost);
  const ends = points.flatMap((point) => [point.quality, point.low, point.high].filter(finite));
  const pad = (Math.max(...ends) - Math.min(...ends)) * 0.08 || 1;
  const span = Math.max(...costs) - Math.min(...costs) || Math.max(...costs) || 1;
  const plot = frame({
    width, height: 340, x: [Math.min(...costs) - 0.08 * span, Math.max(...costs) + 0.3 * span],
    y: [Math.min(...ends) - pad, Math.max(...ends) + pad], x_label: chart.x_label, y_label: chart.y_label, title: chart.title,
  });
  const front = points.filter((point) => point.front).sort((a, b) => a.cost - b.cost);
  let path = "";
  front.forEach((point, at) => {
    path += at ? `H${plot.atX(point.cost)}V${plot.atY(point.quality)}` : `M${plot.atX(point.cost)} ${plot.atY(point.quality)}`;
  });
  plot.area.append(svg("path", { class: "front", d: front.length ? `${path}H${plot.inner.width}` : "" }));
  const groups = [...new Set(points.map((point) => point.group))];
  const taken = [];
  for (const point of [...points].sort((a, b) => b.quality - a.quality)) {
    const [x, y] = [plot.atX(point.cost), plot.atY(point.quality)];
    const colour = palette[groups.indexOf(point.group) % palette.length];
    const length = 6.2 * point.label.length;
    let at = y + 4;
    const clash = (other) => Math.abs(other.y - at) < 13 && x + 9 < other.x + other.length && other.x < x + 9 + length;
    if (point.named) {
      while (taken.some(clash)) at += 13;
      taken.push({ x: x + 9, y: at, length });
    }
    const bar = finite(point.low) && finite(point.high)
      ? svg("line", { x1: x, x2: x, y1: plot.atY(point.low), y2: plot.atY(point.high), stroke: colour }) : null;
    const words = `${point.label}\n${chart.x_label}: ${text(point.cost)}\n${chart.y_label}: ${text(point.quality)}`
      + (bar ? `, from ${text(point.low)} to ${text(point.high)} (95 %)` : "") + (point.front ? "\non the front" : "");
    plot.area.append(svg("g", { tip: words }, bar,
      svg("circle", { cx: x, cy: y, r: point.front ? 5.5 : 4, fill: colour, class: point.hollow ? "hollow" : null, stroke: colour }),
      point.named ? svg("text", { class: "label", x: x + 9, y: at }, point.label) : null));
  }
  const colours = groups.map((group, at) => [group, palette[at % palette.length]]);
  return el("figure", { class: "chart" }, el("figcaption", {}, chart.title), plot.root,
    groups.length < points.length ? legend(colours) : null,
    chart.hollow ? el("p", { class: "hint" }, `Hollow: ${chart.hollow}.`) : null);
};

const rooflineChart = (panel, width, palette) => {
  const peak = Math.max(...panel.ceilings.map(([, rate]) => rate));
  const ridges = panel.ceilings.map(([, rate]) => rate / panel.bytes_per_s);
  const furthest = 1000 * Math.max(...ridges);
  const shown = panel.points.map(([, , x]) => x).filter((x) => finite(x) && x < furthest);
  const x = [Math.min(...shown, ...ridges) / 4, 4 * Math.max(...shown, ...ridges)];
  const y = [Math.min(peak / 10, ...panel.points.map(([, , , rate]) => rate)) / 3, 3 * peak];
  const plot = frame({
    width, height: 340, x, y, logX: true, logY: true, title: `Roofline of ${panel.machine}`,
    x_label: "operations per byte of DRAM traffic", y_label: "operations per second",
  });
  plot.area.append(svg("path", { class: "roof", d: `M0 ${plot.atY(x[0] * panel.bytes_per_s)}L${plot.atX(Math.max(...ridges))} ${plot.atY(peak)}H${plot.inner.width}` }));
  panel.ceilings.forEach(([label, rate]) => plot.area.append(
    svg("line", { class: rate === peak ? "grid" : "roof dashed", x1: rate === peak ? 0 : plot.atX(rate / panel.bytes_per_s), x2: plot.inner.width, y1: plot.atY(rate), y2: plot.atY(rate) }),
    svg("text", { class: "label", x: plot.inner.width - 4, y: plot.atY(rate) - 4, "text-anchor": "end" }, `${label}: ${engineering(rate, "op/s")}`)));
  const kinds = [...new Set(panel.points.map(([, kind]) => kind))];
  const largest = Math.max(...panel.points.map(([, , , , share]) => share), 1e-9);
  for (const [layer, kind, intensity, rate, share] of [...panel.points].sort((a, b) => b[4] - a[4])) {
    const beyond = !finite(intensity) || intensity >= furthest;
    const colour = palette[kinds.indexOf(kind) % palette.length];
    const [px, py, r] = [beyond ? plot.inner.width - 8 : plot.atX(intensity), plot.atY(rate), 2.5 + 10 * Math.sqrt(share / largest)];
    const words = `${layer} (${kind})\n${engineering(rate, "op/s")}, ${beyond ? "(almost) no DRAM traffic" : `${text(intensity)} op per byte`}\n${text(100 * share)} % of the step's time`;
    const mark = beyond
      ? svg("path", { d: `M${px + r} ${py}L${px - r} ${py - r}V${py + r}Z`, fill: colour })
      : svg("circle", { cx: px, cy: py, r, fill: colour });
    plot.area.append(fill(mark, { class: "dot", tip: words }, []));
  }
  return el("figure", { class: "chart" }, el("figcaption", {}, panel.machine), plot.root,
    legend(kinds.map((kind, at) => [kind, palette[at % palette.length]])));
};

// One step: the layers, and below them how long each keeps every engine busy, drawn from the layer's start.
const timelineChart = (timeline, width, palette) => {
  const lanes = ["layer", ...timeline.engines];
  const [left, lane, end] = [92, 24, Math.max(...timeline.spans.map((span) => span[3] + span[4]))];
  const scale = (width - left - 14) / end;
  const kinds = [...new Set(timeline.spans.map((span) => span[1]))];
  const height = lanes.length * lane + 36;
  const root = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width: "100%", role: "img", "aria-label": `One step on ${timeline.machine}` });
  lanes.forEach((name, at) => root.append(svg("text", { x: left - 8, y: at * lane + 15, "text-anchor": "end" }, name)));
  for (const [layer, kind, bound, start, length, ...busy] of timeline.spans) {
    const words = [`${layer} (${kind})`, `${engineering(length, "s")} from ${engineering(start, "s")}, bound by ${bound}`,
      ...timeline.engines.map((name, at) => `${name}: ${busy[at] ? engineering(busy[at], "s") : "idle"}`)].join("\n");
    [length, ...busy].forEach((time, at) => time > 0 && root.append(svg("rect", {
      class: "span", x: left + start * scale, y: at * lane + 2, width: Math.max(time * scale, 0.4), height: lane - 5,
      fill: palette[kinds.indexOf(kind) % palette.length], tip: words,
    })));
  }
  const base = lanes.length * lane + 2;
  root.append(svg("line", { class: "axis", x1: left, x2: width - 14, y1: base, y2: base }));
  for (const tick of ticksOf(0, end, 6)) {
    root.append(svg("text", { x: left + tick * scale, y: base + 15, "text-anchor": "middle" }, tick ? engineering(tick, "s") : "0"));
  }
  root.append(svg("text", { class: "name", x: left + (width - left) / 2, y: base + 30, "text-anchor": "middle" }, "time in the step"));
  return el("figure", { class: "chart" }, el("figcaption", {}, timeline.machine), root,
    legend(kinds.map((kind, at) => [kind, palette[at % palette.length]])));
};

const barChart = (shares, choose, count = 20) => {
  const sorted = shares.filter(([, share]) => finite(share)).sort((a, b) => b[1] - a[1]);
  const largest = Math.max(...sorted.map(([, share]) => share), 1e-9);
  const rows = sorted.slice(0, count).map(([layer, share]) => [
    el("button", { class: "layer", type: "button", title: layer, onclick: () => choose(layer) }, layer),
    svg("svg", { width: "100%", height: 16, role: "img", "aria-label": `${layer}: ${text(share)} %` },
      svg("rect", { class: "bar", width: `${(100 * share) / largest}%`, height: 14, tip: `${layer}: ${text(share)} % of the final error` })),
    el("span", { class: "total" }, `${share < 0.05 ? "< 0.1" : share.toFixed(1)} %`),
  ]);
  return el("div", { class: "bars" }, rows);
};
