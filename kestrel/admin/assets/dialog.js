"use strict";
// Asking the server, acting, and asking the operator first.

const TOKEN = document.querySelector('meta[name="kestrel-token"]').content;

// -> what /api/... answers. Throws an Error that says why there is none.
async function ask(what, parameters) {
  const query = new URLSearchParams(parameters || {}).toString();
  let answer;
  try {
    answer = await fetch("/api/" + what + (query ? "?" + query : ""), {cache: "no-store"});
  } catch {
    throw new Error("the server does not answer");
  }
  return understood(answer);
}

async function understood(answer) {
  const text = await answer.text();
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error("the answer is " + answer.status + ": " + text.slice(0, 200));
  }
  if (!answer.ok) {
    const error = new Error(found.error);
    error.status = answer.status;
    throw error;
  }
  return found;
}

async function post(fields) {
  let answer;
  try {
    answer = await fetch("/api/action", {method: "POST", headers: {"Content-Type": "application/json"},
      body: JSON.stringify({...fields, token: TOKEN})});
  } catch {
    throw new Error("the server does not answer");
  }
  return understood(answer);
}

let told;

// A line for everybody, read out too; it goes by itself unless something is wrong.
function tell(text, bad) {
  const line = document.getElementById("alert");
  line.replaceChildren(text, element("button", {type: "button", class: "plain", "aria-label": "Close", click: () => { line.hidden = true; }},
    "\u00d7"));
  line.className = bad ? "bad" : "good";
  line.hidden = false;
  clearTimeout(told);
  if (!bad) told = setTimeout(() => { line.hidden = true; }, 10000);
}

// A question that names what will be lost. field: {label, value} asks for a text too. -> null, or the text ("" without one)
function confirmed(title, lines, button, field) {
  return new Promise(resolve => {
    const input = field ? element("input", {id: "answer", type: "text", required: true, maxlength: 236, autocomplete: "off",
      spellcheck: "false", value: field.value || ""}) : null;
    const dialog = element("dialog", {"aria-labelledby": "question", "aria-describedby": "losses"},
      element("form", {method: "dialog", submit: event => {
        event.preventDefault();
        dialog.close("yes");
      }},
        element("h2", {id: "question"}, title),
        element("div", {id: "losses"}, lines.map(line => element("p", {}, line))),
        field ? element("p", {}, element("label", {for: "answer"}, field.label), input) : null,
        element("p", {class: "buttons"},
          element("button", {type: "button", class: "cancel", autofocus: !field, click: () => dialog.close("")}, "Cancel"),
          element("button", {type: "submit", class: "danger"}, button))));
    const before = document.activeElement;
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before) before.focus();
      resolve(dialog.returnValue === "yes" ? (input ? input.value : "") : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    if (input) input.focus();
  });
}

const DONE = {flush: "Flushed", delete: "Deleted", expire: "Expired items of", move: "Moved", requeue: "Requeued dead letters of"};

// Do it and say what came of it. -> was it done?
async function act(fields) {
  try {
    const found = await post(fields);
    if (found.error) throw new Error(found.error);
    if (found.job === undefined) {
      tell(fields.action === "reload" ? "The configuration was read again." : "Status " + fields.status + " was asked for.");
      return true;
    }
    const failed = found.results.filter(result => result.error);
    const name = fields.names ? fields.names.map(shown).join(", ") : "job " + found.job;
    if (failed.length) tell(shown(failed[0].name) + ": " + failed[0].error + " (" + plural(found.done, "item") + " done)", true);
    else if (found.running) tell(DONE[found.action] + " " + name + ": goes on in the background, " + plural(found.done, "item") + " so far.");
    else tell(DONE[found.action] + " " + name + ": " + plural(found.done, "item") + ".");
    return !failed.length;
  } catch (error) {
    tell("Not done: " + error.message, true);
    return false;
  } finally {
    refreshSoon();
  }
}
