"use strict";
// The page of one queue: what is wrong with it, an hour of charts, who reads, its settings, a look at its first items,
// and what can be done to it.

class QueuePage {
  constructor(name) {
    this.name = name;
    this.keys = {};
  }

  build() {
    this.title = element("h1", {}, "Queue ", element("span", {class: "name"}, shown(this.name)));
    this.parts = {};
    for (const part of ["wrong", "tiles", "buttons", "charts", "reads", "waiting", "settings", "gone"])
      this.parts[part] = element(part === "tiles" ? "dl" : "div", {class: part});
    this.peeked = element("div", {"aria-live": "polite"});
    this.peek = element("section", {},
      element("h2", {}, "First items"),
      element("p", {class: "hint"}, "A look that removes and counts nothing. Data that is no printable text is shown as hex. "),
      element("p", {}, element("button", {type: "button", id: "look", click: () => this.look()}, "Look at the first 10")),
      this.peeked);
    return [this.title, this.parts.gone, this.parts.wrong, this.parts.buttons, this.parts.tiles, this.parts.charts,
      this.peek, this.parts.reads, this.parts.waiting, this.parts.settings];
  }

  // Make a part anew if what it shows has changed.
  show(part, value, make) {
    const key = JSON.stringify(value);
    if (this.keys[part] === key) return;
    this.keys[part] = key;
    this.parts[part].replaceChildren(...make(value).filter(child => child !== null));
  }

  async refresh() {
    let row;
    try {
      row = await ask("queue", {name: this.name});
    } catch (error) {
      if (error.status !== 404) throw error;
      this.keys = {};
      for (const part of Object.values(this.parts)) part.replaceChildren();
      this.peek.hidden = true;
      this.parts.gone.append(element("p", {class: "wrongline warn"}, "There is no queue of this name (any more). A put creates it."));
      return;
    }
    this.peek.hidden = false;
    this.parts.gone.replaceChildren();
    this.row = row;
    this.show("wrong", [row.trouble, row.hidden_by_alias, row.parent, row.child_names], () => this.wrong());
    this.show("buttons", [row.dead_letter_queue], () => this.buttons());
    this.show("tiles", this.figures(), figures => figures.map(([label, big, small]) => element("div", {class: "tile"},
      element("dt", {}, label), element("dd", {class: "big"}, big), element("dd", {class: "small"}, small))));
    this.show("charts", row.charts, charts => this.charts(charts));
    this.show("reads", row.reads, () => this.reads());
    this.show("waiting", row.waiting, () => this.waiting());
    this.show("settings", row.settings, settings => [element("h2", {}, "Settings in force"), settingsTable(settings)]);
  }

  wrong() {
    const {row} = this;
    const family = row.parent !== null ? element("p", {}, "A fanout child of ", queueLink(row.parent), ".") :
      row.child_names.length ? element("p", {}, "What is put here is copied to ",
        row.child_names.flatMap((name, at) => [at ? ", " : "", queueLink(name)]),
        row.children > row.child_names.length ? " and " + number(row.children - row.child_names.length) + " more" : "", ".") : null;
    return [...row.trouble.map(word => element("p", {class: "wrongline " + TROUBLES[word][0]}, badge(word), " " + TROUBLES[word][1])),
      row.hidden_by_alias ? element("p", {class: "wrongline warn"}, "An alias of the same name hides it from clients.") : null, family];
  }

  figures() {
    const {row} = this;
    const limit = (value, show, none) => value >= none ? "" : " of at most " + show(value);
    return [
      ["Items", number(row.items), bytes(row.bytes) + limit(row.max_items, value => plural(value, "item"), 2147483647)],
      ["In memory", number(row.mem_items), bytes(row.mem_bytes)],
      ["In/s", rate(row.put_rate), number(row.counters.put_items) + " put"],
      ["Out/s", rate(row.get_rate), number(row.counters.get_items_hit) + " fetched"],
      ["Oldest", row.items ? duration(row.age_ms) : "\u2013", number(row.expired) + " expired"],
      ["Open reads", number(row.open_reads), row.open_reads ? "for " + duration(row.oldest_open_ms) + " or more" : number(row.counters.canceled_transactions) + " put back"],
      ["Waiters", number(row.waiters), "clients"],
      ["Dead letters", number(row.dead_letters), row.dead_letter_queue === null ? "no queue for them" :
        row.dead_letters_waiting === null ? "none wait" : number(row.dead_letters_waiting) + " wait"],
      ["Journal", row.journaled ? bytes(row.journal_size) : "\u2013", row.journaled ? number(row.counters.journal_rewrites) + " rewrites" : "memory only"]];
  }

  charts(charts) {
    if (charts === null) return [element("p", {class: "hint"}, "No charts: time_series is off in [admin].")];
    const end = charts.end_s;
    return [element("h2", {}, "Last hour"), element("div", {class: "grid"},
      chart("Items", [["", charts.items]], number, end),
      chart("Age of the first item", [["", charts.age_ms]], value => duration(Math.round(value)), end),
      chart("Items a minute", [["put", charts.put], ["fetched", charts.fetched]], number, end),
      chart("Open reads", [["", charts.open_reads]], number, end),
      chart("Bytes", [["", charts.bytes]], bytes, end),
      chart("Lost a minute", [["expired", charts.expired], ["dead letters", charts.dead_letters]], number, end))];
  }

  reads() {
    const {row} = this;
    return [element("h2", {}, "Open reads"), row.reads.length ? simpleTable("Open reads", ["Client", "Open for", "Item's age", "Size", "Put back", "xid"],
      row.reads.map(read => [read.peer === null ? "nobody: its client has gone, or it is being moved" : read.protocol + " " + read.peer,
        read.open_ms ? "at least " + duration(read.open_ms) : "not long", duration(read.age_ms), bytes(read.size),
        read.deliveries ? plural(read.deliveries, "time") : "\u2013", String(read.xid)]),
      row.reads.map(read => read.open_ms >= 600000 ? "bad" : "")) : element("p", {class: "hint"}, "None."),
      row.open_reads > row.reads.length ? element("p", {}, "and " + number(row.open_reads - row.reads.length) + " more") : null];
  }

  waiting() {
    const {row} = this;
    return [element("h2", {}, "Waiting clients"), row.waiting.length ? element("ul", {class: "inline"},
      row.waiting.map(peer => element("li", {}, peer))) : element("p", {class: "hint"}, "None."),
      row.waiters > row.waiting.length ? element("p", {}, "and " + number(row.waiters - row.waiting.length) + " more") : null];
  }

  async look() {
    try {
      const found = await ask("peek", {name: this.name, count: 10});
      this.peeked.replaceChildren(found.first.length ? element("ol", {class: "items"}, found.first.map(item => element("li", {},
        element("p", {class: "hint"}, bytes(item.size) + ", put " + duration(item.age_ms) + " ago" +
          (item.flags ? ", flags " + item.flags : "") + (item.deliveries ? ", put back " + plural(item.deliveries, "time") : "") +
          (item.expires_ms === null ? "" : ", expires in " + duration(item.expires_ms)) + (item.text === null ? ", hex" : "") +
          (item.shown < item.size ? ", the first " + bytes(item.shown) : "")),
        element("pre", {tabindex: 0}, item.text === null ? item.hex.replace(/(..)/g, "$1 ").trim() : item.text)))) :
        element("p", {class: "hint"}, "No items wait."));
    } catch (error) {
      tell("No look: " + error.message, true);
    }
  }

  // -- actions ---------------------------------------------------------------------------------------------------

  buttons() {
    if (!TOKEN) return [];
    const button = (label, does, look) => element("button", {type: "button", class: look, click: () => does.call(this)}, label);
    return [button("Flush\u2026", this.flush), button("Expire\u2026", this.expire), button("Move\u2026", this.move),
      this.row.dead_letter_queue === null ? null : button("Requeue dead letters\u2026", this.requeue),
      button("Delete\u2026", this.remove, "danger")];
  }

  // The figures of this moment: what is lost is what is there when the question is asked.
  async now() {
    try {
      this.row = await ask("queue", {name: this.name});
      return this.row;
    } catch (error) {
      tell(error.message, true);
      return null;
    }
  }

  waitingItems(row) {
    return plural(row.items, "item") + " (" + bytes(row.bytes) + ")";
  }

  async flush() {
    const row = await this.now();
    if (row && await confirmed("Flush " + shown(this.name) + "?", [this.waitingItems(row) + " that wait will be lost for good.",
      plural(row.open_reads, "open read") + " will stay."], "Flush") !== null)
      act({action: "flush", names: [this.name]});
  }

  async remove() {
    const row = await this.now();
    if (row && await confirmed("Delete " + shown(this.name) + "?", [
      this.waitingItems(row) + ", " + plural(row.open_reads, "open read") + " and " + bytes(row.journal_size) + " of journal will be lost for good.",
      plural(row.waiters, "waiting client") + " will get no item." +
      (row.children ? " Its " + plural(row.children, "child", "children") + " will stay." : "")], "Delete") !== null &&
      await act({action: "delete", names: [this.name]}))
      location.hash = "#/";
  }

  async expire() {
    const row = await this.now();
    if (!row) return;
    const to = row.settings.find(setting => setting.key === "expire_to_queue");
    const moved = to && to.value !== "none";
    if (await confirmed("Expire items of " + shown(this.name) + "?", ["Items at its head whose time is over will " + (moved ? "be moved to " +
      to.value : "be lost for good") + "; the others stay. " + this.waitingItems(row) + " wait."], "Expire") !== null)
      act({action: "expire", names: [this.name]});
  }

  async move() {
    const row = await this.now();
    if (!row) return;
    const to = await confirmed("Move the items of " + shown(this.name) + "?", [this.waitingItems(row) +
      " that wait will leave it and go to the tail of another queue, which is created if need be. Open reads stay."], "Move", {label: "To queue"});
    if (to !== null) act({action: "move", names: [this.name], to});
  }

  async requeue() {
    const row = await this.now();
    if (row && await confirmed("Requeue dead letters of " + shown(this.name) + "?", [plural(row.dead_letters_waiting || 0, "item") + " of " +
      shown(row.dead_letter_queue) + " will leave it and go to the tail of " + shown(this.name) + ".",
      "They count as new there: how often they were put back is forgotten."], "Requeue") !== null)
      act({action: "requeue", names: [this.name]});
  }
}

function settingsTable(settings) {
  const rows = [...settings].sort((one, other) => other.differs - one.differs);
  return simpleTable("Settings", ["Setting", "In force", "Default"], rows.map(setting => [setting.key, setting.value, setting.default]),
    rows.map(setting => setting.differs ? "differs" : ""));
}
