// Windows: the open panes of each key with their bounds, as the tables hold them that windows keep for themselves.

import { get, watch } from "./api.js";
import { el, empty, problem, say, set, table } from "./dom.js";
import { count, line, moment } from "./format.js";

const KEYS = 50;
const path = (...parts) => parts.map(encodeURIComponent).join("/");

export async function mount(element, [name, key]) {
  const tables = (await get("/api/v1/tables")).filter(({ sub_key: sub }) => sub === "Window" || sub === "Slot");
  if (name === undefined) {
    set(element, el("h1", null, "Windows"), el("section", { class: "sheet" }, tables.length
      ? table("Windows", ["Windows of", "Key"], tables.map((it) => el("tr", null, el("th", { scope: "row" }, el("a", { href: `#/windows/${path(it.name)}` }, computation(it.name))), el("td", { class: "code" }, it.key))))
      : empty("This application has no windows with panes. Averages of the last so many, or of the last minutes, are kept in tables: see there.")));
    return undefined;
  }
  return key === undefined ? keys(element, name) : panes(element, name, JSON.parse(key));
}

const computation = (table) => table.replace(/\.[^.]*$/, "");

function heading(title, ...parts) {
  return el("div", { class: "heading" }, el("h1", null, title), el("p", { class: "note" }, el("a", { href: "#/windows" }, "Windows"), parts));
}

function keys(element, name) {
  const place = el("div", null, empty("Loading."));
  const shown = new Map();
  const show = (data, whole) => {
    if (whole) shown.clear();
    for (const gone of data.gone ?? []) shown.delete(JSON.stringify(gone));
    for (const row of data.rows) shown.set(JSON.stringify(row.key), row);
    const rows = [...shown.entries()].map(([id, { key, value }]) => el("tr", null,
      el("th", { scope: "row", class: "code" }, el("a", { href: `#/windows/${path(name, id)}` }, line(key))), el("td", { class: "number" }, count(value))));
    set(place, rows.length ? table("Keys", ["Key", "Open windows"], rows, [1]) : empty("No window is open."),
      el("p", { class: "note" }, `${count(data.total)} keys have open windows`));
  };
  set(element, heading(computation(name)), el("section", { class: "sheet" }, place));
  return watch({ table: { name, limit: KEYS } }, (event, data) => show(data, event === "snapshot"),
    (how, error) => how === "refused" && set(place, problem(error)));
}

/** Nanoseconds since 1970 as a time. */
const bound = (nanos) => (Math.abs(nanos) > 1e15 ? moment(nanos / 1e6) : String(nanos));

function panes(element, name, key) {
  const place = el("div", null, empty("Loading."));
  const note = el("p", { class: "note", "aria-live": "polite" });
  const shown = new Map();
  const show = (data, whole) => {
    if (data === null) return set(place, empty("No window is open for this key now."));
    if (whole) shown.clear();
    for (const gone of data.gone ?? []) shown.delete(JSON.stringify(gone));
    for (const entry of data.entries ?? []) shown.set(JSON.stringify(entry.key), entry);
    const rows = [...shown.values()].map(({ key: window, value }) => {
      const pane = Array.isArray(value) ? value[0] : value;
      const { start, end } = window.window ?? window;
      const state = pane?.ended === undefined ? "-" : pane.ended ? "ended, open for late records" : "open";
      return el("tr", null, el("td", null, start === undefined ? line(window) : bound(start)), el("td", null, end === undefined ? "" : bound(end)),
        el("td", { class: "number" }, pane?.held?.count === undefined ? "-" : count(pane.held.count)), el("td", { class: "number" }, pane?.firings === undefined ? "-" : count(pane.firings)),
        el("td", null, state), el("td", { class: "code" }, line(pane?.held?.state ?? pane, 160)));
    });
    set(place, rows.length ? table("Open windows", ["From", "To", "Records", "Times told", "State", "Holds"], rows, [2, 3]) : empty("No window is open."));
    say(note, `${count(data.total ?? shown.size)} open windows`);
    return undefined;
  };
  set(element, heading(line(key), " / ", el("a", { href: `#/windows/${path(name)}` }, computation(name))), el("section", { class: "sheet" }, place, note));
  return watch({ table: { name, key: JSON.stringify(key) } }, (event, data) => show(data, event === "snapshot"),
    (how, error) => how === "refused" && set(place, problem(error)));
}
