"use strict";
// How things are shown, and the elements they are shown in. Names and data are foreign text: they only ever become
// the text of an element (textContent), never its HTML.

const COUNT = new Intl.NumberFormat("en");

function number(value) {
  if (value === null || value === undefined) return "\u2013";
  if (Math.abs(value) < 1e7) return COUNT.format(value);
  for (const [unit, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6]])
    if (Math.abs(value) >= size) return (value / size).toPrecision(3) + "\u2009" + unit;
  return String(value);
}

function rate(value) {
  if (value === null || value === undefined) return "\u2013";
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : number(Math.round(value));
}

// Units are binary, as in kestrel.conf.
function bytes(value) {
  if (value === null || value === undefined) return "\u2013";
  for (const [unit, size] of [["TB", 2 ** 40], ["GB", 2 ** 30], ["MB", 2 ** 20], ["KB", 1024]])
    if (value >= size) {
      const many = value / size;
      return (many < 10 ? many.toFixed(1) : COUNT.format(Math.round(many))) + "\u2009" + unit;
    }
  return value + "\u2009B";
}

function duration(ms) {
  if (ms === null || ms === undefined) return "\u2013";
  if (ms < 0) return "-" + duration(-ms);
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return ms + "\u2009ms";
  if (seconds < 60) return seconds + "\u2009s";
  if (seconds < 3600) return Math.floor(seconds / 60) + "\u2009m " + seconds % 60 + "\u2009s";
  if (seconds < 86400) return Math.floor(seconds / 3600) + "\u2009h " + Math.floor(seconds % 3600 / 60) + "\u2009m";
  return Math.floor(seconds / 86400) + "\u2009d " + Math.floor(seconds % 86400 / 3600) + "\u2009h";
}

function plural(count, one, many) {
  return number(count) + "\u00a0" + (count === 1 ? one : many || one + "s");
}

// The bytes of a name: what cannot be seen is written as an escape.
function shown(name) {
  return name.replace(/[\u0000-\u0020\u007f-\u00a0\u00ad\\]/g,
    char => char === "\\" ? "\\\\" : "\\x" + char.charCodeAt(0).toString(16).padStart(2, "0"));
}

// An element with attributes and children, each an element or text. An attribute that is a function listens.
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined));
  return made;
}

function queueLink(name) {
  return element("a", {href: "#/queue/" + encodeURIComponent(name), class: "name"}, shown(name));
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// What each word of trouble means, and how it looks.
const TROUBLES = {
  "disk": ["bad", "Its journal cannot be written: puts are refused. Look at the disk and the log."],
  "full": ["bad", "It has reached max_items or max_size: puts are refused."],
  "stuck reads": ["bad", "Reads have been open for more than 10 minutes: their client has probably forgotten them."],
  "dead letters": ["bad", "Items that nobody could process wait here."],
  "no reader": ["warn", "Items wait, and nobody has come for them in the last minute."],
  "growing": ["warn", "More is put than taken."],
  "old": ["warn", "The first item has waited for more than 10 minutes."],
};

function badge(word, text) {
  const [look, why] = TROUBLES[word] || ["warn", ""];
  return element("span", {class: "badge " + look, title: why}, text || word);
}
