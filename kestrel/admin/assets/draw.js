"use strict";
// Sparklines and charts of 60 minutes, as SVG.

const SVG = "http://www.w3.org/2000/svg";

function shape(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function path(values, top, width, height, closed) {
  const step = width / Math.max(1, values.length - 1);
  const points = values.map((value, at) => (at * step).toFixed(1) + " " + (height - height * value / top).toFixed(1));
  return "M" + points.join("L") + (closed ? "L" + width + " " + height + "L0 " + height + "Z" : "");
}

// A small one without axes; what it says is in its label.
function sparkline(values) {
  if (values === null) return document.createTextNode("\u2013");
  const width = 110, height = 26;
  const drawn = shape("svg", {viewBox: "0 -1 " + width + " " + (height + 2), class: "spark", role: "img",
    preserveAspectRatio: "none"});
  if (values.length) {
    const top = Math.max(1, ...values);
    drawn.setAttribute("aria-label", "items of the last hour: from " + number(values[0]) + " to " +
      number(values[values.length - 1]) + ", at most " + number(Math.max(...values)));
    drawn.append(shape("path", {d: path(values, top, width, height, true), class: "area"}),
      shape("path", {d: path(values, top, width, height, false), class: "line"}));
  } else drawn.setAttribute("aria-label", "no minute has passed yet");
  return drawn;
}

// A chart with a scale. lines: list of [label, values]; show: how a value is written; end: epoch second of the last.
function chart(title, lines, show, end) {
  const width = 590, height = 120;
  const top = niceTop(Math.max(1, ...lines.flatMap(([, values]) => values)));
  const drawn = shape("svg", {viewBox: "0 -4 " + width + " " + (height + 8), class: "chart", preserveAspectRatio: "none",
    "aria-hidden": "true"});
  for (const part of [0, 0.5, 1])
    drawn.append(shape("path", {d: "M0 " + height * part + "L" + width + " " + height * part, class: "grid"}));
  lines.forEach(([, values], at) => {
    if (lines.length === 1)
      drawn.append(shape("path", {d: path(values, top, width, height, true), class: "area"}));
    drawn.append(shape("path", {d: path(values, top, width, height, false), class: "line line" + at}));
  });
  const cursor = shape("path", {class: "cursor", d: ""});
  drawn.append(cursor);
  const clock = second => new Date(second * 1000).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});
  const now = lines.map(([label, values]) => (label ? label + " " : "") + show(values[values.length - 1])).join(", ");
  const reading = element("p", {class: "reading"}, now);
  const figure = element("figure", {class: "card", role: "group", "aria-label": title + ", last hour: now " + now + ", at most " +
      show(Math.max(...lines.flatMap(([, values]) => values)))},
    element("figcaption", {}, title, lines.length > 1 ? lines.map(([label], at) =>
      element("span", {class: "legend line" + at}, label)) : null),
    reading,
    element("div", {class: "plot"},
      element("span", {class: "scale"}, show(top)), top < 2 ? null : element("span", {class: "scale middle"}, show(top / 2)), drawn),
    element("div", {class: "times"}, element("span", {}, clock(end - 59 * 60)), element("span", {}, clock(end - 30 * 60)),
      element("span", {}, clock(end))));
  drawn.addEventListener("pointermove", event => {
    const box = drawn.getBoundingClientRect();
    const at = Math.min(59, Math.max(0, Math.round((event.clientX - box.left) / box.width * 59)));
    cursor.setAttribute("d", "M" + at * 10 + " 0L" + at * 10 + " " + height);
    setText(reading, clock(end - (59 - at) * 60) + ": " +
      lines.map(([label, values]) => (label ? label + " " : "") + show(values[at])).join(", "));
  });
  drawn.addEventListener("pointerleave", () => { cursor.setAttribute("d", ""); setText(reading, now); });
  return figure;
}

function niceTop(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(step => step * size).find(top => top >= value);
}
