"use strict";
// Small helpers: elements made of text (never of markup), one tooltip, numbers as text.

const SVG = "http://www.w3.org/2000/svg";
const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "tip") node.tip = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
};
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const finite = (value) => typeof value === "number" && Number.isFinite(value);

const text = (value) => {
  if (value === null || value === undefined) return "\u2013";
  if (value === "inf") return "exact";
  if (!finite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2).replace("-", "\u2212");
  return String(Number(value.toPrecision(4))).replace("-", "\u2212");
};
const engineering = (value, unit) => {
  const steps = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "\u00b5"], [1e-9, "n"]];
  const [scale, prefix] = steps.find(([scale]) => Math.abs(value) >= scale * 0.9995) || steps[steps.length - 1];
  return `${Number((value / scale).toPrecision(3))} ${prefix}${unit}`;
};

const tooltip = el("div", { id: "tip", role: "status", hidden: "" });
document.body.append(tooltip);
const showTip = (event) => {
  let node = event.target;
  while (node && node !== document && node.tip === undefined) node = node.parentNode;
  const words = node && node.tip !== undefined ? (typeof node.tip === "function" ? node.tip(event) : node.tip) : "";
  tooltip.hidden = !words;
  if (!words) return;
  tooltip.textContent = words;
  const left = Math.min(event.clientX + 14, innerWidth - tooltip.offsetWidth - 8);
  const below = event.clientY + 16 + tooltip.offsetHeight < innerHeight;
  tooltip.style.left = `${Math.max(4, left)}px`;
  tooltip.style.top = `${below ? event.clientY + 16 : event.clientY - tooltip.offsetHeight - 10}px`;
};
document.addEventListener("pointermove", showTip);
document.addEventListener("pointerdown", showTip);
document.addEventListener("scroll", () => { tooltip.hidden = true; }, { passive: true, capture: true });
