// Tables: what there is, rows in order of keys, a key searched, and one row watched as it changes.

import { get, watch } from "./api.js";
import { announce, el, empty, mark, problem, say, set, sheet, table } from "./dom.js";
import { count, line, pretty } from "./format.js";
import { follow, state } from "./status.js";

const PAGE = 50;
const path = (...parts) => parts.map(encodeURIComponent).join("/");
const keyText = (key) => (typeof key === "string" ? key : JSON.stringify(key));
/** A key as it is asked for: JSON, so that no text is taken for something else. */
const asked = (key) => JSON.stringify(key);

export async function mount(element, [name, key]) {
  if (name === undefined) return list(element);
  return key === undefined ? rows(element, name) : row(element, name, JSON.parse(key));
}

async function list(element) {
  const tables = await get("/api/v1/tables");
  const sizes = new Map(tables.map(({ name }) => [name, [el("td", { class: "number" }, "-"), el("td", { class: "number" }, "-")]]));
  const body = tables.map(({ name, key, sub_key: sub, value }) => el("tr", null,
    el("th", { scope: "row" }, el("a", { href: `#/tables/${path(name)}` }, name)), el("td", { class: "code" }, key),
    el("td", { class: "code" }, sub ? `${sub} → ${value}` : value), sizes.get(name)));
  set(element, el("h1", null, "Tables"), el("section", { class: "sheet" }, body.length
    ? table("Tables", ["Table", "Key", "Row", "Rows", "Largest share of a worker"], body, [3, 4])
    : empty("This application has no table: its computations remember nothing.")));
  return follow(() => {
    for (const [table, per] of Object.entries(state.now.tables ?? {})) {
      const total = per.reduce((a, b) => a + b, 0);
      const cells = sizes.get(table);
      if (!cells) continue;
      say(cells[0], count(total));
      say(cells[1], total ? `${Math.round((100 * Math.max(...per)) / total)} % of ${per.length}` : "-");
    }
  });
}

function back(...parts) {
  return el("p", { class: "note" }, el("a", { href: "#/tables" }, "Tables"), parts);
}

async function rows(element, name) {
  const after = [];
  let stop = () => {};
  const body = el("tbody", null);
  const found = el("p", { class: "note", "aria-live": "polite" });
  const wrong = el("div", null);
  const previous = el("button", { type: "button" }, "Previous");
  const next = el("button", { type: "button" }, "Next");
  const input = el("input", { name: "key", autocomplete: "off", spellcheck: "false", placeholder: "BTC-USD, 7 or [\"a\",1]" });
  const search = el("form", { class: "row", role: "search" }, el("label", null, "Key", input), el("button", { class: "strong" }, "Show the row"));
  search.addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = input.value.trim();
    if (typed) location.hash = `#/tables/${path(name, typedKey(typed))}`;
  });
  const shown = new Map();
  const cells = ({ key, value }) => {
    const cell = el("td", { class: "code" }, line(value));
    const link = el("a", { href: `#/tables/${path(name, asked(key))}` }, keyText(key));
    return { line: el("tr", null, el("th", { scope: "row", class: "code" }, link), cell), cell, key };
  };
  const show = (data, whole) => {
    const known = whole ? new Map() : shown;
    if (whole) shown.clear();
    for (const gone of data.gone ?? []) {
      shown.get(asked(gone))?.line.remove();
      shown.delete(asked(gone));
    }
    for (const one of data.rows) {
      const id = asked(one.key);
      const there = known.get(id);
      if (there) {
        if (say(there.cell, line(one.value))) mark(there.cell);
      } else {
        shown.set(id, cells(one));
      }
    }
    const ordered = [...shown.values()];
    if (whole || body.children.length !== ordered.length) set(body, ordered.map((it) => it.line));
    say(found, `${count(data.total)} rows${data.more || after.length ? `, ${shown.size} of them here` : ""}`);
    previous.disabled = after.length === 0;
    next.disabled = !data.more;
    set(wrong, shown.size ? null : empty("No row yet: a row is there once a computation has written it."));
  };
  const open = () => {
    stop();
    stop = watch({ table: { name, limit: PAGE, after: after[after.length - 1] } }, (event, data) => show(data, event === "snapshot"),
      (how, error) => how === "refused" && set(wrong, problem(error)));
  };
  next.addEventListener("click", () => {
    const keys = [...shown.keys()];
    if (keys.length) {
      after.push(keys[keys.length - 1]);
      open();
    }
  });
  previous.addEventListener("click", () => {
    after.pop();
    open();
  });
  const hot = el("div", null, empty("Loading."));
  set(element, el("div", { class: "heading" }, el("h1", null, name), back()), el("section", { class: "sheet" }, el("div", { class: "heading" }, search)),
    el("section", { class: "sheet", "aria-label": "Rows" }, el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Rows" },
      el("table", null, el("caption", { class: "unseen" }, `Rows of ${name}`), el("thead", null, el("tr", null, el("th", { scope: "col" }, "Key"), el("th", { scope: "col" }, "Row, or how many entries it has"))), body)),
    wrong, el("div", { class: "row" }, previous, next, found)), sheet("Most used keys", hot));
  open();
  hottest(hot, name);
  return () => stop();
}

/** JSON as it is typed, or else a text. */
function typedKey(typed) {
  try {
    return JSON.stringify(JSON.parse(typed));
  } catch {
    return JSON.stringify(typed);
  }
}

async function hottest(place, name) {
  try {
    const known = await get(`/api/v1/hot-keys/${path(name)}`);
    const body = Object.entries(known).flatMap(([computation, { sampled, keys }]) => keys.slice(0, 5).map(([key, times]) => el("tr", null,
      el("td", null, computation), el("td", { class: "code" }, el("a", { href: `#/tables/${path(name, asked(key))}` }, keyText(key))),
      el("td", { class: "number" }, `${Math.round((100 * times) / sampled)} %`))));
    set(place, body.length ? table("Most used keys", ["Computation", "Key", "Share of records"], body, [2]) : empty("None yet: they are known once records have come."));
  } catch (error) {
    set(place, problem(error));
  }
}

async function row(element, name, key) {
  const value = el("div", null, empty("Loading."));
  const when = el("p", { class: "note" });
  const entries = new Map();
  let body = null;
  const showEntries = (data, whole) => {
    if (whole || !body) {
      entries.clear();
      body = el("tbody", null);
      set(value, el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Entries" }, el("table", null, el("caption", { class: "unseen" }, "Entries"),
        el("thead", null, el("tr", null, el("th", { scope: "col" }, "Entry"), el("th", { scope: "col" }, "Value"))), body)));
    }
    for (const gone of data.gone ?? []) {
      entries.get(asked(gone))?.line.remove();
      entries.delete(asked(gone));
    }
    for (const entry of data.entries) {
      const there = entries.get(asked(entry.key));
      if (there) {
        if (say(there.cell, line(entry.value))) mark(there.cell);
      } else {
        const cell = el("td", { class: "code" }, line(entry.value));
        const made = { cell, line: el("tr", null, el("th", { scope: "row", class: "code" }, line(entry.key)), cell) };
        entries.set(asked(entry.key), made);
        body.append(made.line);
        if (!whole) mark(cell);
      }
    }
    if (data.more) say(when, `${count(data.total)} entries, the first ${entries.size} are here`);
    else say(when, `${count(data.total)} entries`);
  };
  let text = null;
  const show = (data, whole) => {
    if (data === null) {
      body = text = null;
      set(value, empty("There is no such row now. It is shown here as soon as there is."));
    } else if (data.entries) {
      showEntries(data, whole);
    } else {
      if (!text) {
        text = el("pre", null);
        set(value, text);
      }
      if (say(text, pretty(data.value)) && !whole) {
        mark(text);
        announce("The row has changed.");
      }
    }
  };
  set(element, el("div", { class: "heading" }, el("h1", null, keyText(key)), back(" / ", el("a", { href: `#/tables/${path(name)}` }, name))),
    el("section", { class: "sheet", "aria-label": "Row" }, el("div", { class: "heading" }, el("h2", null, "Now"), el("span", { class: "pill good" }, "watched")), value, when));
  return watch({ table: { name, key: asked(key) } }, (event, data) => show(data, event === "snapshot"),
    (how, error) => how === "refused" && set(value, problem(error)));
}
