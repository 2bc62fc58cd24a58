// The page: draws the chosen run where it stands, and again when the window changes.

const data = JSON.parse(document.getElementById("data").textContent);
const runs = [...document.querySelectorAll(".run")];
const chooser = document.getElementById("run");
const mountOf = (root, name) => root.querySelector(`[data-chart="${name}"]`);
const drawn = new Set();

const drawRun = (index) => {
  const [run, root] = [data.runs[index], runs[index]];
  const width = Math.max(320, root.clientWidth);
  const drill = mountOf(root, "drill");
  const choose = (layer) => {
    if (!drill) return;
    drill.replaceChildren(drillDown(run, layer, data.colours, width));
    drill.scrollIntoView({ block: "start", behavior: "smooth" });
  };
  const draw = (name, make) => {
    const mount = mountOf(root, name);
    if (mount) mount.replaceChildren(...make().filter((node) => node));
  };
  draw("grids", () => {
    const hold = el("div", {});
    const show = (at) => hold.replaceChildren(heatmap(run.grids[at], data.gradient, choose));
    show(0);
    return [tabs(run.grids.map((grid) => grid.title), show), hold];
  });
  draw("shares", () => [barChart(run.shares, choose)]);
  draw("curves", () => run.curves.map((chart) => lineChart(chart, run.curves.length > 1 && width > 760 ? (width - 28) / 2 : width, data.colours)));
  const perMachine = (panels, paint) => () => {
    const hold = el("div", {});
    const show = (at) => hold.replaceChildren(paint(panels[at], width, data.parts));
    show(0);
    return [tabs(panels.map((panel) => panel.machine), show), hold];
  };
  draw("rooflines", perMachine(run.rooflines, rooflineChart));
  draw("timelines", perMachine(run.timelines, timelineChart));
  draw("layers", () => [rowTable(run.layers, { noun: "layer", filters: "name, operator, transform" }, choose)]);
  if (drill && run.layers.count && !drill.childElementCount) {
    const worst = [...run.shares].sort((a, b) => b[1] - a[1])[0];
    const first = worst ? worst[0] : run.layers.columns.find((column) => column.raw === "layer").text[0];
    drill.replaceChildren(drillDown(run, first, data.colours, width));
  }
  for (const link of root.querySelectorAll("button[data-layer]")) link.onclick = () => choose(link.dataset.layer);
  drawn.add(index);
};

const showRun = (index) => {
  runs.forEach((root, at) => { root.hidden = at !== index; });
  if (!drawn.has(index)) drawRun(index);
};
const drawTradeoffs = () => {
  const mount = document.getElementById("tradeoffs");
  if (!mount) return;
  const whole = mount.clientWidth;
  const width = data.tradeoffs.length > 1 && whole > 900 ? (whole - 28) / 2 : Math.min(whole, 900);
  mount.replaceChildren(...data.tradeoffs.map((chart) => tradeoffChart(chart, width, data.colours)));
};
const drawComparison = () => {
  const mount = mountOf(document, "comparison");
  if (!mount) return;
  const open = (name) => {
    if (chooser) chooser.value = name;
    showRun(current());
    document.getElementById("runs").scrollIntoView({ behavior: "smooth" });
  };
  mount.append(rowTable(data.comparison, { noun: "run", filters: "name, transform" }, open));
};
const current = () => (chooser ? chooser.selectedIndex : 0);

if (chooser) chooser.addEventListener("change", () => showRun(current()));
drawTradeoffs();
drawComparison();
showRun(current());

let waiting = 0;
let known = innerWidth;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    if (innerWidth === known) return;
    known = innerWidth;
    drawn.clear();
    drawTradeoffs();
    showRun(current());
  }, 200);
});
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
document.documentElement.dataset.script = "ready";
