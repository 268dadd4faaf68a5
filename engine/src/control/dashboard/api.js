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

/** Events of a stream of them, as `[name, data]`. */
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
      if (data) yield [of("event")[0] ?? "message", JSON.parse(data)];
    }
  }
}

/**
 * Watches `path`: calls `tell(name, data)` for each event, `state("live" | "waiting", error)` as it goes, and goes on by
 * itself when the program is there again. Gives what stops it. What is refused for good is told as `state("refused", error)`.
 */
export function watch(path, tell, state = () => {}) {
  const stop = new AbortController();
  const run = async () => {
    for (let failed = 0; !stop.signal.aborted; failed += 1) {
      try {
        const answer = await ask(path, { signal: stop.signal });
        state("live");
        for await (const [name, data] of events(answer.body)) {
          failed = 0;
          tell(name, data);
        }
        state("waiting");
      } catch (error) {
        if (stop.signal.aborted) return;
        const forGood = error instanceof Refused && [400, 401, 403, 404, 405].includes(error.status);
        state(forGood ? "refused" : "waiting", error);
        if (forGood) return;
      }
      await new Promise((resolve) => setTimeout(resolve, WAITS[Math.min(failed, WAITS.length - 1)]));
    }
  };
  run();
  return () => stop.abort();
}
