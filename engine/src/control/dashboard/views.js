// Views: what the application derives from its tables, as it changes.

import { get, watch } from "./api.js";
import { el, empty, mark, problem, say, set, table } from "./dom.js";
import { count, line } from "./format.js";

const PAGE = 100;

export async function mount(element, [name]) {
  if (name === undefined) return list(element);
  const from = { row: 0 };
  const body = el("tbody", null);
  const found = el("p", { class: "note", "aria-live": "polite" });
  const wrong = el("div", null);
  const previous = el("button", { type: "button" }, "Previous");
  const next = el("button", { type: "button" }, "Next");
  let stop = () => {};
  const shown = new Map();
  const show = (data, whole) => {
    if (whole) shown.clear();
    for (const gone of data.gone ?? []) shown.delete(JSON.stringify(gone));
    for (const { row, times } of data.rows) {
      const id = JSON.stringify(row);
      const there = shown.get(id) ?? { row, cell: el("td", { class: "number" }), fresh: !whole };
      say(there.cell, count(times));
      shown.set(id, there);
    }
    const lines = [...shown.values()].map((it) => {
      it.line ??= el("tr", null, el("td", { class: "code" }, line(it.row)), it.cell);
      if (it.fresh) mark(it.line);
      it.fresh = false;
      return it.line;
    });
    set(body, lines);
    say(found, `${count(data.total)} rows`);
    previous.disabled = from.row === 0;
    next.disabled = from.row + PAGE >= data.total;
    set(wrong, lines.length ? null : empty("The view has no row now."));
  };
  const open = () => {
    stop();
    stop = watch({ view: { name, limit: PAGE, from: from.row } }, (event, data) => show(data, event === "snapshot"),
      (how, error) => how === "refused" && set(wrong, problem(error)));
  };
  next.addEventListener("click", () => {
    from.row += PAGE;
    open();
  });
  previous.addEventListener("click", () => {
    from.row = Math.max(0, from.row - PAGE);
    open();
  });
  set(element, el("div", { class: "heading" }, el("h1", null, name), el("p", { class: "note" }, el("a", { href: "#/views" }, "Views"))),
    el("section", { class: "sheet", "aria-label": "Rows" }, el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Rows" },
      el("table", null, el("caption", { class: "unseen" }, `Rows of ${name}`), el("thead", null, el("tr", null, el("th", { scope: "col" }, "Row"), el("th", { scope: "col", class: "number" }, "Times"))), body)),
    wrong, el("div", { class: "row" }, previous, next, found)));
  open();
  return () => stop();
}

async function list(element) {
  const views = await get("/api/v1/views");
  const names = views.map((view) => view.name ?? view);
  set(element, el("h1", null, "Views"), el("section", { class: "sheet" }, names.length
    ? table("Views", ["View"], names.map((name) => el("tr", null, el("td", null, el("a", { href: `#/views/${encodeURIComponent(name)}` }, name)))))
    : empty("This application has no view. One is declared with app.view(name, tables, ...): it is kept up with every record, and shown here.")));
}
