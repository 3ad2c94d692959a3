"use strict";
// Which page is open, and when it asks the server again.

const LEAST_PAUSE = 2000, LONGEST_PAUSE = 10000;
// The page asks so seldom that answering takes the server at most a hundredth of its time.
const PAUSE_PER_ANSWER = 100;

class ConnectionsPage {
  constructor(parameters) {
    this.offset = Math.max(0, parseInt(parameters.get("offset"), 10) || 0);
  }

  build() {
    this.count = element("span", {class: "count", role: "status"});
    this.previous = element("button", {type: "button", click: () => this.turn(-100)}, "Previous");
    this.next = element("button", {type: "button", click: () => this.turn(100)}, "Next");
    this.table = element("div");
    return [element("h1", {}, "Connections"), element("div", {class: "tools"},
      element("span", {class: "pager"}, this.count, this.previous, this.next)), this.table];
  }

  turn(by) {
    this.offset = Math.max(0, this.offset + by);
    refreshSoon();
  }

  async refresh() {
    const found = await ask("connections", {offset: this.offset, limit: 100});
    const last = this.offset + found.connections.length;
    setText(this.count, found.connections.length ? number(this.offset + 1) + "\u2013" + number(last) + " of " + number(found.total) : number(found.total) + " in all");
    this.previous.disabled = this.offset === 0;
    this.next.disabled = last >= found.total;
    this.table.replaceChildren(found.connections.length ? simpleTable("Connections",
      ["Client", "Protocol", "Since", "Waits for", "Holds open", "Received", "Sent"],
      found.connections.map(one => [one.peer + (one.client_id ? " (" + one.client_id + ")" : ""), one.protocol, duration(one.age_ms),
        one.waits_for === null ? "\u2013" : queueLink(one.waits_for),
        one.holds.length ? one.holds.flatMap((held, at) => [at ? ", " : "", queueLink(held.name), " \u00d7 " + number(held.open_reads)]) : "\u2013",
        bytes(one.received_bytes), bytes(one.sent_bytes)])) : element("p", {class: "hint"}, "No client is connected."));
  }
}

class ServerPage {
  build() {
    this.status = element("div");
    this.jobs = element("div", {class: "jobs"});
    this.nothing = element("p", {class: "hint"}, "None since the start.");
    this.counters = element("div");
    this.config = element("div");
    return [element("h1", {}, "Server"), this.status, element("h2", {}, "Jobs"), this.nothing, this.jobs,
      element("h2", {}, "Since the start"), this.counters, this.config];
  }

  async refresh(overview) {
    const {announced, in_force: inForce} = overview.status;
    const sets = overview.server_sets;
    const key = announced + inForce + JSON.stringify(sets);
    if (this.status.dataset.key !== key) {
      this.status.dataset.key = key;
      this.status.replaceChildren(element("p", {}, "Status ", element("b", {}, announced),
        announced === inForce ? "" : " is announced; " + inForce + " is still in force"),
      sets === null ? "" : element("p", {class: "sets troubles"}, "Server sets in ZooKeeper: ",
        setsTrouble(sets) ? element("span", {class: "badge bad"}, sets.state) : sets.state),
      element("p", {class: "buttons"}, TOKEN ? [...["Up", "WriteAvoid", "ReadOnly", "Quiescent"].filter(name => name !== announced).map(name =>
        element("button", {type: "button", click: () => this.change(name)}, "Set " + name + "\u2026")),
      element("button", {type: "button", click: () => this.reload()}, "Reload configuration\u2026")] : []));
    }
    showJobs(this.jobs, overview.jobs);
    this.nothing.hidden = overview.jobs.length > 0;
    const counters = {...overview.counters, fsync_errors: overview.fsync_errors, uptime: overview.uptime_ms};
    const shownAs = name => name === "uptime" ? duration(counters[name]) : name.startsWith("bytes_") ? bytes(counters[name]) : number(counters[name]);
    this.counters.replaceChildren(simpleTable("Counters", ["Counter", "Value"], Object.keys(counters).map(name => [name, shownAs(name)]),
      Object.keys(counters).map(name => /errors/.test(name) && counters[name] ? "bad" : "")));
    const config = await ask("config");
    const text = JSON.stringify(config);
    if (this.config.dataset.key === text) return;
    this.config.dataset.key = text;
    this.config.replaceChildren(element("h2", {}, "Configuration"), element("p", {class: "hint"}, config.path + "; what differs from the defaults stands first"),
      ...Object.entries(config.sections).map(([section, settings]) => element("details", {open: settings.some(one => one.differs)},
        element("summary", {}, "[" + section + "] ", element("span", {class: "hint"}, plural(settings.filter(one => one.differs).length, "setting") + " of its own")),
        settingsTable(settings))));
  }

  async change(name) {
    const means = {Up: ["Clients may read and write."], WriteAvoid: ["Clients are told to write elsewhere; they may still."],
      ReadOnly: ["Puts, flushes and deletes will be refused."], Quiescent: ["Puts and gets will be refused: nothing moves any more."]};
    if (await confirmed("Set status " + name + "?", [...means[name], "No item is lost."], "Set " + name) !== null)
      act({action: "status", status: name.toLowerCase()});
  }

  async reload() {
    if (await confirmed("Reload the configuration?", ["Queues get the settings of the file as it is now: lower limits refuse puts, a shorter max_age lets items expire that wait already."],
      "Reload") !== null)
      act({action: "reload"});
  }
}

class UnknownPage {
  build() {
    return [element("h1", {}, "There is no such page"), element("p", {}, element("a", {href: "#/"}, "All queues"))];
  }

  async refresh() {}
}

// Clients that look for servers in ZooKeeper may not find this one, or find it when they should not.
const setsTrouble = sets => sets !== null && (!sets.reachable || sets.refusal !== null);

let page, timer, running = false, again = false, failures = 0;

function pageOf(hash) {
  const [path, query] = (hash.slice(1) || "/").split(/\?(.*)/s);
  const parameters = new URLSearchParams(query || "");
  if (path === "/") return new TablePage(parameters);
  if (path === "/connections") return new ConnectionsPage(parameters);
  if (path === "/server") return new ServerPage();
  if (path.startsWith("/queue/")) {
    try {
      return new QueuePage(decodeURIComponent(path.slice(7)));
    } catch {
      return new UnknownPage();
    }
  }
  return new UnknownPage();
}

function openPage() {
  page = pageOf(location.hash);
  document.getElementById("main").replaceChildren(...page.build());
  document.title = page.name === undefined ? "kestrel" : shown(page.name) + " \u2013 kestrel";
  const here = "#" + (location.hash.slice(1) || "/").split("?")[0];
  for (const link of document.querySelectorAll("nav a"))
    if (link.getAttribute("href") === here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  refreshSoon();
}

function refreshSoon() {
  if (running) { again = true; return; }
  clearTimeout(timer);
  refresh();
}

async function refresh() {
  running = true;
  again = false;
  const began = performance.now(), asking = page;
  try {
    const overview = await ask("overview");
    if (asking === page) await asking.refresh(overview);
    failures = 0;
    showState(overview, null);
  } catch (error) {
    failures += 1;
    showState(null, error);
  }
  running = false;
  const took = performance.now() - began;
  document.documentElement.dataset.refreshed = String(Number(document.documentElement.dataset.refreshed || 0) + 1);
  const pause = failures ? LEAST_PAUSE : Math.min(LONGEST_PAUSE, Math.max(LEAST_PAUSE, took * PAUSE_PER_ANSWER));
  if (again) refreshSoon();
  else if (!document.hidden) timer = setTimeout(refresh, pause);
}

function showState(overview, error) {
  const state = document.getElementById("state");
  if (error) {
    state.className = "badge bad";
    setText(state, error.message);
    document.body.classList.add("stale");
    return;
  }
  document.body.classList.remove("stale");
  const {announced, in_force: inForce} = overview.status;
  const trouble = overview.not_ready || (setsTrouble(overview.server_sets) ? overview.server_sets.state : "");
  state.className = "badge " + (overview.not_ready ? "bad" : announced === "Up" && !trouble ? "good" : "warn");
  setText(state, announced === inForce ? announced : announced + " announced, " + inForce + " in force");
  state.title = trouble;
  setText(document.getElementById("footnote"), "kestrel " + overview.version + ", up for " + duration(overview.uptime_ms) + ". " +
    (overview.read_only ? "The admin port is read-only: nothing can be changed here." : TOKEN ? "" :
      "Nothing can be changed here: open the page by the address of the server, or add its name to allowed_hosts in [admin]."));
}

addEventListener("hashchange", openPage);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refreshSoon(); });
openPage();
