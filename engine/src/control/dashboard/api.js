// How the page asks the program: once, or by watching. A token is asked for when one is needed, kept for this tab
// alone, and sent in a header, never in an address.

const KEY = "anabranch-token";
const WAITS = [500, 1000, 2000, 4000, 8000];

/** What the program refused, with its reason. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let asking = null;

/** Asks for a token, once for all who wait. */
function token(wrong) {
  asking ??= new Promise((resolve) => {
    const dialog = document.createElement("dialog");
    const form = document.createElement("form");
    form.method = "dialog";
    const title = document.createElement("h2");
    title.textContent = "A token is needed";
    const text = document.createElement("p");
    text.textContent = wrong
      ? "That token is not known, or does not allow this. Enter one of the file of --http-tokens."
      : "This program answers to those who have a token: one of the file of --http-tokens.";
    const label = document.createElement("label");
    label.textContent = "Token";
    const input = document.createElement("input");
    input.type = "password";
    input.autocomplete = "off";
    input.required = true;
    label.append(input);
    const button = document.createElement("button");
    button.className = "strong";
    button.textContent = "Use it";
    form.append(title, text, label, button);
    dialog.append(form);
    document.body.append(dialog);
    dialog.addEventListener("close", () => {
      if (input.value) sessionStorage.setItem(KEY, input.value);
      dialog.remove();
      asking = null;
      resolve(Boolean(input.value));
    });
    dialog.showModal();
  });
  return asking;
}

function headers(more) {
  const known = sessionStorage.getItem(KEY);
  return known ? { ...more, Authorization: `Bearer ${known}` } : { ...more };
}

async function ask(path, options = {}) {
  for (;;) {
    const sent = sessionStorage.getItem(KEY);
    const answer = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
    if (answer.ok) return answer;
    const needs = answer.status === 401 || (answer.status === 403 && sent);
    if (needs && (await token(Boolean(sent)))) continue;
    throw new Refused(answer.status, await reason(answer));
  }
}

async function reason(answer) {
  const text = await answer.text().catch(() => "");
  try {
    const problem = JSON.parse(text);
    return problem.detail ?? problem.title ?? text;
  } catch {
    return text || `the program answered ${answer.status}`;
  }
}

/** What is there, as JSON. */
export async function get(path) {
  return (await ask(path)).json();
}

/** Has something done. */
export async function post(path, body) {
  const options = { method: "POST" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const answer = await ask(path, options);
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/** Events of a stream of them, as `[id, name, data]`. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    waiting += value;
    let end;
    while ((end = waiting.indexOf("\n\n")) >= 0) {
      const lines = waiting.slice(0, end).split("\n");
      waiting = waiting.slice(end + 2);
      const of = (name) => lines.filter((l) => l.startsWith(`${name}:`)).map((l) => l.slice(name.length + 1).trimStart());
      const data = of("data").join("\n");
      if (data) yield [Number(of("id")[0] ?? 0), of("event")[0] ?? "message", JSON.parse(data)];
    }
  }
}

// A browser has few connections to a program, for all its tabs together. So all that a tab watches comes by one, which is
// opened anew when something else is watched, and closed while nobody looks at the tab.
const watched = new Set();
let opened = null;
let due = 0;

function reopen() {
  due ||= setTimeout(() => {
    due = 0;
    opened?.abort();
    opened = null;
    if (watched.size && !document.hidden) run((opened = new AbortController()));
  }, 20);
}

async function run(stop) {
  const those = [...watched];
  const tell = (how, error) => those.forEach((it) => watched.has(it) && it.state(how, error));
  const path = `/api/v1/changes?of=${encodeURIComponent(JSON.stringify(those.map((it) => it.what)))}`;
  for (let failed = 0; !stop.signal.aborted; failed += 1) {
    try {
      const answer = await ask(path, { signal: stop.signal });
      tell("live");
      for await (const [id, name, data] of events(answer.body)) {
        failed = 0;
        const it = those[id];
        if (!watched.has(it)) continue;
        if (name === "refused") it.state("refused", new Refused(data.status, data.detail ?? data.title));
        else it.tell(name, data);
      }
      tell("waiting");
    } catch (error) {
      if (stop.signal.aborted) return;
      const forGood = error instanceof Refused && [400, 401, 403, 404, 405].includes(error.status);
      tell(forGood ? "refused" : "waiting", error);
      if (forGood) return;
    }
    await new Promise((resolve) => setTimeout(resolve, WAITS[Math.min(failed, WAITS.length - 1)]));
  }
}

document.addEventListener("visibilitychange", reopen);

/**
 * Watches `what`: `{ status: {} }`, `{ table: { name, key, limit, after } }` or `{ view: { name, from, limit } }`. Calls `tell(name,
 * data)` with a `snapshot` and then each `change`, and `state("live" | "waiting" | "refused", error)` as it goes; goes on by
 * itself when the program is there again. Gives what ends it.
 */
export function watch(what, tell, state = () => {}) {
  const it = { what, tell, state };
  watched.add(it);
  reopen();
  return () => {
    watched.delete(it);
    reopen();
  };
}
