"use strict";
// The page of all queues: totals, what is wrong, and the table, which the server sorts, filters and cuts into pages.

const COLUMNS = [
  // [sort, heading, cell class, what it shows, description]
  ["name", "Queue", "queue", null, "name of the queue"],
  [null, "Last hour", "hour", null, "items in the last hour"],
  ["items", "Items", "n", row => number(row.items), "waiting items"],
  ["bytes", "Bytes", "n", row => bytes(row.bytes), "bytes of waiting items"],
  ["put_rate", "In/s", "n", row => rate(row.put_rate), "items put a second"],
  ["get_rate", "Out/s", "n", row => rate(row.get_rate), "items taken a second"],
  ["age", "Oldest", "n", row => row.items ? duration(row.age_ms) : "\u2013", "age of the first item"],
  ["waiters", "Waiters", "n", row => number(row.waiters), "clients that wait for an item"],
  ["open_reads", "Open", "n", row => number(row.open_reads), "reads that are neither confirmed nor put back"],
  ["dead_letters", "Dead", "n", row => number(row.dead_letters), "items that were put back too often, since the start"],
  ["journal_size", "Journal", "n", row => bytes(row.journal_size), "bytes of its journal files"],
];
// Figures that are worth a colour, by the word of trouble that speaks of them.
const MARKS = {items: ["full", "dead letters"], put_rate: ["growing"], get_rate: ["no reader"], age: ["old"],
  open_reads: ["stuck reads"], journal_size: ["disk"]};
const PAGE = 50;

class TablePage {
  constructor(parameters) {
    this.sort = COLUMNS.some(([sort]) => sort && sort === parameters.get("sort")) ? parameters.get("sort") : "trouble";
    this.order = ["asc", "desc"].includes(parameters.get("order")) ? parameters.get("order") :
      this.sort === "name" ? "asc" : "desc";
    this.filter = parameters.get("filter") || "";
    this.offset = Math.max(0, parseInt(parameters.get("offset"), 10) || 0);
    this.rows = new Map();      // key -> {tr, cells, ...}
    this.open = new Set();      // parents whose children are shown
    this.before = null;         // the counters of the last look, for the rates
  }

  build() {
    this.tiles = element("dl", {class: "tiles"});
    this.jobs = element("div", {class: "jobs"});
    this.troubles = element("p", {class: "troubles"});
    this.find = element("input", {type: "search", id: "find", placeholder: "part of a name", autocomplete: "off",
      spellcheck: "false", value: this.filter, input: () => {
        clearTimeout(this.typing);
        this.typing = setTimeout(() => { this.filter = this.find.value; this.turn(0); }, 200);
      }});
    this.body = element("tbody");
    this.heads = COLUMNS.map(([sort, heading, look, , description]) => element("th", {scope: "col", class: look},
      sort ? element("button", {type: "button", class: "sort", title: "Sort by " + description, click: () => this.by(sort)},
        heading) : heading));
    this.count = element("span", {class: "count", role: "status"});
    this.previous = element("button", {type: "button", click: () => this.turn(this.offset - PAGE)}, "Previous");
    this.next = element("button", {type: "button", click: () => this.turn(this.offset + PAGE)}, "Next");
    this.aliases = element("section", {hidden: true});
    this.worst = element("button", {type: "button", title: "Queues in trouble first", click: () => this.by("trouble")}, "Worst first");
    return [element("h1", {class: "reader"}, "Queues"), this.tiles, this.troubles, this.jobs,
      element("div", {class: "tools"}, element("label", {for: "find"}, "Filter"), this.find, this.worst,
        element("span", {class: "pager"}, this.count, this.previous, this.next)),
      element("div", {class: "scroll"}, element("table", {class: "queues"},
        element("caption", {class: "reader"}, "Queues"),
        element("thead", {}, element("tr", {}, this.heads)), this.body)),
      this.aliases];
  }

  by(sort) {
    this.order = this.sort === sort && sort !== "trouble" ? (this.order === "desc" ? "asc" : "desc") : sort === "name" ? "asc" : "desc";
    this.sort = sort;
    this.turn(0);
  }

  turn(offset) {
    this.offset = Math.max(0, offset);
    const parameters = new URLSearchParams();
    if (this.sort !== "trouble") { parameters.set("sort", this.sort); parameters.set("order", this.order); }
    if (this.filter) parameters.set("filter", this.filter);
    if (this.offset) parameters.set("offset", this.offset);
    const query = parameters.toString();
    history.replaceState(null, "", "#/" + (query ? "?" + query : ""));
    refreshSoon();
  }

  async refresh(overview) {
    const asked = {sort: this.sort, order: this.order, filter: this.filter, offset: this.offset, limit: PAGE, fold: 1};
    const found = await ask("queues", asked);
    const families = new Map();
    if (!this.filter)
      for (const row of found.queues)
        if (row.children && this.open.has(row.name))
          families.set(row.name, (await ask("queues", {parent: row.name, limit: 100})).queues);
    if (this.filter !== asked.filter || this.offset !== asked.offset || this.sort !== asked.sort) return;
    if (!found.queues.length && found.matched && this.offset) {
      this.turn(Math.floor((found.matched - 1) / PAGE) * PAGE);
      return;
    }
    this.showTotals(overview);
    this.showTable(found, families);
    this.showAliases(overview);
  }

  showTotals(overview) {
    const {totals, counters, now_ms: now} = overview;
    const counted = {at: now, put: counters.total_items, got: counters.get_hits};
    const seconds = this.before ? (now - this.before.at) / 1000 : 0;
    const speed = key => seconds > 0.5 && counted[key] >= this.before[key] ? (counted[key] - this.before[key]) / seconds : null;
    if (!this.before || seconds > 0.5) {
      this.speeds = [speed("put"), speed("got")];
      this.before = counted;
    }
    const tiles = [
      ["Items", number(totals.items), bytes(totals.bytes)],
      ["In", rate(this.speeds[0]), "puts a second"], ["Out", rate(this.speeds[1]), "gets a second"],
      ["Oldest item", totals.items ? duration(totals.age_ms) : "\u2013", plural(totals.queues, "queue")],
      ["Open reads", number(totals.open_reads), plural(totals.waiters, "waiter")],
      ["Connections", number(overview.connections), "clients"],
      ["Journals", bytes(totals.journal_size), bytes(overview.process.jvm_heap_used) + " memory"]];
    if (this.tiles.childElementCount !== tiles.length)
      this.tiles.replaceChildren(...tiles.map(([label]) => element("div", {class: "tile"}, element("dt", {}, label),
        element("dd", {class: "big"}), element("dd", {class: "small"}))));
    tiles.forEach(([, big, small], at) => {
      const [, first, second] = this.tiles.children[at].children;
      setText(first, big);
      setText(second, small);
    });
    const wrong = Object.keys(TROUBLES).filter(word => totals.trouble[word]);
    const key = JSON.stringify(totals.trouble) + totals.queues;
    if (this.troubles.dataset.key !== key) {
      this.troubles.dataset.key = key;
      this.troubles.replaceChildren(...wrong.length ? wrong.map(word => badge(word, word + ": " + plural(totals.trouble[word], "queue"))) :
        [element("span", {class: "badge good"}, totals.queues ? "\u2713 no queue is in trouble" : "There are no queues yet. The first put creates one.")]);
    }
    showJobs(this.jobs, overview.jobs.filter(job => job.running));
  }

  showTable(found, families) {
    const last = Math.min(found.offset + found.queues.length, found.matched);
    setText(this.count, found.matched ? number(found.offset + 1) + "\u2013" + number(last) + " of " + number(found.matched) +
      (this.filter ? " that match" : "") : this.filter ? "no name matches" : "no queues");
    this.previous.disabled = found.offset === 0;
    this.next.disabled = last >= found.matched;
    COLUMNS.forEach(([sort], at) => {
      const head = this.heads[at];
      if (sort && sort === this.sort) head.setAttribute("aria-sort", this.order === "asc" ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    this.worst.setAttribute("aria-pressed", String(this.sort === "trouble"));
    const wanted = [];
    for (const row of found.queues) {
      wanted.push(this.line("+" + row.name, row, false));
      for (const member of families.get(row.name) || []) wanted.push(this.line("-" + member.name, member, true));
    }
    const kept = new Set(wanted);
    for (const [key, line] of this.rows)
      if (!kept.has(line)) { line.tr.remove(); this.rows.delete(key); }
    let place = this.body.firstElementChild;
    for (const line of wanted) {
      if (line.tr === place) place = place.nextElementSibling;
      else this.body.insertBefore(line.tr, place);
    }
  }

  line(key, row, inner) {
    let line = this.rows.get(key);
    if (!line) {
      line = this.made(row, inner);
      this.rows.set(key, line);
    }
    const words = row.trouble.join(",");
    if (line.words !== words) {
      line.words = words;
      line.badges.replaceChildren(...row.trouble.map(word => badge(word)));
      line.tr.className = (inner ? "inner " : "") + (row.trouble.length ? TROUBLES[row.trouble[0]][0] : "");
    }
    if (line.toggle) {
      line.toggle.hidden = !row.children;
      line.toggle.setAttribute("aria-expanded", String(this.open.has(row.name)));
      setText(line.many, (this.open.has(row.name) ? "\u25be " : "\u25b8 ") + plural(row.children, "child", "children"));
    }
    COLUMNS.forEach(([sort, , , show], at) => {
      if (!show) return;
      setText(line.cells[at], show(row));
      const marked = MARKS[sort] && row.trouble.find(word => MARKS[sort].includes(word));
      line.cells[at].classList.toggle("bad", Boolean(marked && TROUBLES[marked][0] === "bad"));
      line.cells[at].classList.toggle("warn", Boolean(marked && TROUBLES[marked][0] === "warn"));
      line.cells[at].classList.toggle("none", !marked && ["0", "\u2013", "0\u2009B"].includes(line.cells[at].textContent));
    });
    const hour = JSON.stringify(row.hour);
    if (line.hour !== hour) {
      line.hour = hour;
      line.cells[1].replaceChildren(sparkline(row.hour));
    }
    return line;
  }

  made(row, inner) {
    const line = {badges: element("span", {class: "badges"}), many: element("span")};
    if (!inner)
      line.toggle = element("button", {type: "button", class: "plain fold", "aria-label": "Children of " + shown(row.name), click: () => {
        if (!this.open.delete(row.name)) this.open.add(row.name);
        refreshSoon();
      }}, line.many);
    line.cells = COLUMNS.map(([, heading, look, show]) => element(look === "queue" ? "th" : "td",
      {class: look, "data-label": heading, scope: look === "queue" ? "row" : null},
      look === "queue" ? [queueLink(row.name), " ", line.toggle, line.badges] : []));
    line.tr = element("tr", {}, line.cells);
    return line;
  }

  showAliases(overview) {
    const key = JSON.stringify(overview.aliases);
    if (this.aliases.dataset.key === key) return;
    this.aliases.dataset.key = key;
    this.aliases.hidden = !overview.aliases.length;
    this.aliases.replaceChildren(element("h2", {}, "Aliases"), simpleTable("Aliases", ["Alias", "Puts go to", "Items put", "Bytes put"],
      overview.aliases.map(alias => [shown(alias.name), alias.destinations.flatMap((name, at) => [at ? ", " : "", queueLink(name)]),
        number(alias.put_items), bytes(alias.put_bytes)])));
  }
}

// A table that is made anew each time. rows: lists of cells.
function simpleTable(caption, headings, rows, looks) {
  return element("div", {class: "scroll"}, element("table", {class: "simple"}, element("caption", {class: "reader"}, caption),
    element("thead", {}, element("tr", {}, headings.map(heading => element("th", {scope: "col"}, heading)))),
    element("tbody", {}, rows.map((row, at) => element("tr", {class: looks ? looks[at] : null},
      row.map((cell, column) => element("td", {"data-label": headings[column]}, cell)))))));
}

function showJobs(place, jobs) {
  const key = JSON.stringify(jobs);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  place.replaceChildren(...jobs.map(job => element("p", {class: "job"},
    element("span", {}, job.action + " of " + job.names.slice(0, 3).map(shown).join(", ") + (job.names.length > 3 ? " \u2026" : "") +
      (job.to === null ? "" : " to " + shown(job.to)) + ": " + number(job.done) + " of " + plural(job.total, "item") +
      (job.running ? "" : " in " + duration(job.took_ms)) +
      job.results.filter(result => result.error).slice(0, 3).map(result => "; " + shown(result.name) + ": " + result.error).join("")),
    job.running ? element("progress", {max: Math.max(1, job.total), value: job.done, "aria-label": "progress"}) : null,
    job.running && TOKEN ? element("button", {type: "button", click: () => act({action: "stop", job: job.job})}, "Stop") : null)));
}
