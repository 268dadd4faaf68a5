// Dead letters: what failed, in groups; record and error side by side, to edit, try again or ignore.

import { get, post } from "./api.js";
import { announce, el, empty, problem, set, sheet, table } from "./dom.js";
import { count, line, moment } from "./format.js";
import { follow } from "./status.js";

const PAGE = 50;

export async function mount(element, [group]) {
  const place = el("div", null, empty("Loading."));
  const groups = el("div", null, empty("Loading."));
  const detail = el("div", null);
  const outcome = el("div", { "aria-live": "polite" });
  set(element, el("h1", null, "Dead letters"), sheet("Groups", groups), outcome, sheet(group ? "Letters of the group" : "Newest letters", place), detail);
  const page = { from: 0 };
  let open = NaN;
  const act = async (what, body, said) => {
    try {
      const answer = await ask(what, body);
      const refused = Object.entries(answer?.refused ?? {}).map(([why, times]) => `${count(times)} left out: ${why}`);
      const text = `${said}: ${count(answer?.done ?? 1)}. ${refused.join(". ")}`;
      set(outcome, el("p", { class: "done" }, text));
      announce(text);
      set(detail);
    } catch (error) {
      set(outcome, problem(error));
    }
    await show();
  };
  const show = async () => {
    try {
      const [known, letters] = await Promise.all([get("/api/v1/dead-letters/groups"), get(`/api/v1/dead-letters?limit=${PAGE}&from=${page.from}${group ? `&group=${encodeURIComponent(group)}` : ""}`)]);
      set(groups, groupTable(known, group, act));
      set(place, letterTable(letters, page, show, (letter) => {
        set(detail, side(letter, act));
        detail.querySelector("h2").focus();
      }));
    } catch (error) {
      const keepsNothing = error.status === 409;
      set(groups, keepsNothing ? empty("Dead letters are counted, and not kept: start the program with --data-dir DIR to see, edit and retry them here.") : problem(error));
      set(place, empty("Nothing to show."));
    }
  };
  await show();
  // Looked at again when the number of open ones changes, which is pushed.
  return follow((state) => {
    const now = state.counter("@dead-letters.open");
    if (Number.isFinite(open) && now !== open) show();
    open = now;
  });
}

/** A letter is tried again once a checkpoint knows of it: if none does yet, one is taken. */
async function ask(what, body) {
  const path = `/api/v1/dead-letters/${what}`;
  try {
    return await post(path, body);
  } catch (error) {
    if (what !== "retry" || !/next checkpoint/.test(error.message)) throw error;
    await post("/api/v1/checkpoints");
    return post(path, body);
  }
}

function button(text, act, kind = "") {
  const element = el("button", { type: "button", class: kind }, text);
  element.addEventListener("click", async () => {
    element.disabled = true;
    await act();
    element.disabled = false;
  });
  return element;
}

/** A button that asks once more before it does something that cannot be undone. */
function sure(text, question, act) {
  const element = el("button", { type: "button" }, text);
  let asked = false;
  element.addEventListener("click", () => {
    if (asked) return act();
    asked = true;
    element.textContent = question;
    element.classList.add("strong");
    return undefined;
  });
  element.addEventListener("blur", () => {
    asked = false;
    element.textContent = text;
    element.classList.remove("strong");
  });
  return element;
}

function groupTable(known, chosen, act) {
  if (!known.length) return empty("None: every record was understood and computed. What fails is kept here, with the reason.");
  const rows = known.map((it) => el("tr", { class: it.group === chosen ? "open" : null },
    el("th", { scope: "row", class: "code" }, el("a", { href: `#/dead-letters/${encodeURIComponent(it.group)}`, "aria-current": it.group === chosen ? "true" : null }, it.group)),
    el("td", { class: "number" }, count(it.count)), el("td", null, it.pipeline), el("td", null, it.computation ?? "-"), el("td", null, it.kind), el("td", { class: "code" }, it.place ?? "-"),
    el("td", null, el("div", { class: "row" }, button("Retry all", () => act("retry", { group: it.group }, "To be tried again")), sure("Ignore all", "Ignore all of them?", () => act("ignore", { group: it.group }, "Ignored"))))));
  return [table("Groups", ["Group", "Letters", "Pipeline", "Computation", "Kind", "Place", ""], rows, [1]),
    chosen ? el("p", { class: "note" }, el("a", { href: "#/dead-letters" }, "Show those of all groups")) : null];
}

const reason = (letter) => letter.failed ?? letter.letter?.reason ?? letter.letter?.failure?.chain?.join(": ") ?? letter.letter?.failure?.error ?? "";

function letterTable({ total, letters }, page, show, choose) {
  if (!letters.length) return empty("No dead letter.");
  const rows = letters.map((it) => {
    const open = el("button", { type: "button", class: "link" }, it.id);
    open.addEventListener("click", () => choose(it));
    return el("tr", null, el("th", { scope: "row" }, open), el("td", null, moment(it.letter?.time)), el("td", null, el("span", { class: `pill ${it.status === "open" ? "bad" : "warn"}` }, it.status)),
      el("td", { class: "number" }, count(it.tries)), el("td", null, line(reason(it), 200)));
  });
  const turn = (text, by, off) => {
    const element = button(text, async () => {
      page.from = Math.max(0, page.from + by);
      await show();
    });
    element.disabled = off;
    return element;
  };
  return [table("Letters", ["Letter", "When", "State", "Tries", "Why"], rows, [3]), el("div", { class: "row" },
    turn("Previous", -PAGE, page.from === 0), turn("Next", PAGE, page.from + PAGE >= total), el("p", { class: "note" }, `${count(total)} letters`))];
}

/** The record, as text that can be changed, beside what was wrong with it. */
function side(letter, act) {
  const text = letter.edited?.text ?? letter.edited ?? recordOf(letter);
  const record = el("textarea", { spellcheck: "false", "aria-label": "The record" });
  record.value = typeof text === "string" ? text : JSON.stringify(text, null, 2);
  const ids = [letter.id];
  const save = async () => {
    await act("edit", { id: letter.id, record: record.value }, "Changed");
  };
  const title = el("h2", { tabindex: "-1" }, letter.id);
  return el("section", { class: "sheet", "aria-label": "A dead letter" }, el("div", { class: "heading" }, title), el("div", { class: "side" },
    el("div", null, el("h3", null, "Record"), record, el("div", { class: "row" }, button("Save and retry", async () => {
      await save();
      await act("retry", { ids }, "To be tried again");
    }, "strong"), button("Retry as it is", () => act("retry", { ids }, "To be tried again")), sure("Ignore", "Ignore it?", () => act("ignore", { ids }, "Ignored")))),
    el("div", null, el("h3", null, "Why it failed"), el("p", { class: "problem" }, reason(letter) || "No reason was given."), el("h3", null, "All that is known"), el("pre", null, JSON.stringify(letter, null, 2)))));
}

function recordOf(letter) {
  const record = letter.letter?.record ?? letter.letter?.frame ?? letter.letter;
  return record?.text ?? record?.json ?? record ?? "";
}
