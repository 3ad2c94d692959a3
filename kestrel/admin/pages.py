"""The pages for people: the front page and the graphs of the last hour."""

FRONT = b'''<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>kestrel</title></head>
<body>
<h1>kestrel</h1>
<ul>
<li><a href="/stats.txt">statistics</a>, <a href="/stats.json">as JSON</a>, <a href="/stats.txt?period=60">of the last
minute</a>
<li><a href="/graph/">graphs of the last hour</a>
<li><a href="/metrics">metrics for Prometheus</a>
<li><a href="/ready">ready?</a>
<li><a href="/server_info.txt">this server</a>, <a href="/threads.txt">its greenlets</a>, <a href="/logging.txt">its
log levels</a>
</ul>
</body>
</html>
'''

GRAPH = b'''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><title>kestrel: the last hour</title>
<style>
body { font-family: sans-serif; margin: 1em }
ul { columns: 3; font-size: small; max-height: 40vh; overflow: auto }
svg { width: 100%; height: 40vh; border: 1px solid #999 }
polyline { fill: none; stroke-width: 1.5; vector-effect: non-scaling-stroke }
</style>
</head>
<body>
<p><a href="/">kestrel</a> <input id="find" placeholder="part of a name"></p>
<h2 id="name">Choose a figure</h2>
<svg id="graph" viewBox="0 0 59 100" preserveAspectRatio="none"></svg>
<p id="scale"></p>
<ul id="keys"></ul>
<script src="/static/graph.js"></script>
</body>
</html>
'''

STATIC = {'/static/graph.js': b'''"use strict";
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
'''}
