"use strict";
// The graphs of the last hour: /graph_data lists the figures, /graph_data/<key> has 60 rows of each.
const SHOWN = 500, COLOURS = ["#06c", "#0a0", "#c60", "#c00", "#909", "#099", "#990", "#000"];
const at = id => document.getElementById(id);
let keys = [];

function list() {
  const part = at("find").value.toLowerCase();
  const links = keys.filter(key => key.toLowerCase().includes(part)).slice(0, SHOWN).map(key => {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = "#" + encodeURIComponent(key);
    link.textContent = key;
    item.append(link);
    return item;
  });
  at("keys").replaceChildren(...links);
}

async function draw() {
  const key = decodeURIComponent(location.hash.slice(1));
  if (!key) return;
  const answer = await fetch("/graph_data/" + key.split("/").map(encodeURIComponent).join("/"));
  at("name").textContent = answer.ok ? key : key + ": " + await answer.text();
  if (!answer.ok) return;
  const rows = (await answer.json())[key];
  const top = Math.max(1, ...rows.flatMap(row => row.slice(1)));
  const lines = rows[0].slice(1).map((_, column) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", rows.map((row, x) => x + "," + (100 - 100 * row[column + 1] / top)).join(" "));
    line.setAttribute("stroke", COLOURS[column % COLOURS.length]);
    return line;
  });
  at("graph").replaceChildren(...lines);
  const time = row => new Date(1000 * row[0]).toLocaleTimeString();
  at("scale").textContent = "0 to " + top + ", " + time(rows[0]) + " to " + time(rows[59]);
}

at("find").addEventListener("input", list);
addEventListener("hashchange", draw);
fetch("/graph_data").then(answer => answer.json()).then(found => { keys = found.keys; list(); draw(); });
