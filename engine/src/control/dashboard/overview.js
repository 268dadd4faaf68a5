// The first page: what flows, how fast, where it waits; workers, sources and checkpoints.

import { get, post } from "./api.js";
import { announce, el, empty, problem, say, set, sheet, table } from "./dom.js";
import { bytes, count, moment, rate, seconds, share, time } from "./format.js";
import { chart } from "./charts.js";
import { drawing, stalled } from "./graph.js";
import { follow, names, state } from "./status.js";

/** How old finished epochs may be, in seconds, for input to be called current. */
const CURRENT = 2;

export function mount(element) {
  const tiles = tileList(["Records in", "Records out", "Latency p50", "Latency p99", "Epochs behind", "Back pressure", "Dead letters", "Workers"]);
  const throughput = chart("Records a second", [["in", rate], ["out", rate]], (data) => `In ${rate(last(data[1]))}, out ${rate(last(data[2]))} records a second.`);
  const latency = chart("Latency in milliseconds", [["p50 ms", millis], ["p99 ms", millis]], (data) => `Half within ${millis(last(data[1]))}, 99 % within ${millis(last(data[2]))} milliseconds.`);
  const workers = el("div", null, empty("Loading."));
  const sources = el("div", null, empty("Loading."));
  const checkpoints = el("div", null, empty("Loading."));
  const graph = el("div", null, empty("Loading."));
  const outcome = el("div", { "aria-live": "polite" });
  set(element,
    el("div", { class: "heading" }, el("h1", null, "Overview"), el("p", { id: "about", class: "note grow" }, "")),
    tiles.element,
    sheet("Dataflow", graph),
    el("div", { class: "columns" }, sheet("Throughput, records a second", throughput.figure), sheet("Latency, milliseconds", latency.figure)),
    el("div", { class: "columns" }, sheet("Workers", workers), sheet("Sources", sources, outcome)),
    sheet("Checkpoints", checkpoints));

  let drawn = null;
  let known = null;
  let made = NaN;
  let before = null;
  const pipelines = new Map();
  const learn = () => get("/api/v1/pipelines").then((list) => {
    list.forEach(({ source, state: how }) => pipelines.set(source, how));
    if (state.now) showSources();
  }, () => {});
  const act = async (source, what) => {
    try {
      await post(`/api/v1/pipelines/${encodeURIComponent(source)}/${what}`);
      announce(`${source}: ${what === "pause" ? "paused" : "resumed"}`);
      set(outcome);
    } catch (error) {
      set(outcome, problem(error));
    }
    learn();
  };
  const rows = new Map();
  const showSources = () => {
    const own = names("source");
    if (rows.size !== own.length || own.some((name) => !rows.has(name))) {
      rows.clear();
      own.forEach((name) => rows.set(name, sourceRow(name, act)));
      set(sources, table("Sources", ["Source", "State", "Read a second", "Read", "Refused", ""], [...rows.values()].map((row) => row.element), [2, 3, 4]));
    }
    rows.forEach((row, name) => row.show(pipelines.get(name)));
  };

  const stop = follow((now) => {
    const about = element.querySelector("#about");
    if (now.program) say(about, `${now.program.name} ${now.program.version} · ${now.program.processes ?? "several"} × ${now.program.workers_per_process} workers`);
    if (drawn !== now.graph) {
      drawn = now.graph;
      known = drawing(now.graph);
      set(graph, known.element);
      learn();
    }
    now.stalled = stalled(now, before);
    before = now.now;
    known.show(now);
    const age = behind(now);
    tiles.show([
      `${rate(now.input)}/s`, `${rate(now.output)}/s`, seconds(now.p50), seconds(now.p99),
      Number.isFinite(age) ? (age < CURRENT ? "current" : seconds(age)) : "-", now.stalled < 0.001 ? "none" : share(now.stalled),
      count(now.counter("@dead-letters.open")), String(now.now.workers.length),
    ]);
    throughput.draw([now.history.time, now.history.input, now.history.output]);
    latency.draw([now.history.time, now.history.p50, now.history.p99]);
    showWorkers(workers, now);
    showSources();
    const newest = now.counter("checkpoints.made");
    if (newest !== made || !checkpoints.dataset.shown) {
      made = newest;
      showCheckpoints(checkpoints, checkpoints.querySelector(".done"));
    }
  });
  return () => {
    stop();
    throughput.close();
    latency.close();
  };
}

const last = (list) => list[list.length - 1] ?? NaN;
const millis = (number) => (Number.isFinite(number) ? (number < 10 ? number.toFixed(2) : number.toFixed(0)) : "-");

/** How old the newest finished epoch is, in seconds, if epochs are times. */
function behind(now) {
  const oldest = Math.min(...now.now.workers.map((worker) => worker.finished_before ?? Infinity));
  const age = Date.parse(now.now.time) / 1000 - oldest / 1e9;
  return oldest > 1e17 && Number.isFinite(age) ? Math.max(0, age) : NaN;
}

function tileList(titles) {
  const values = titles.map(() => el("dd", null, "-"));
  const element = el("dl", { class: "tiles" }, titles.map((title, at) => el("div", { class: "tile" }, el("dt", null, title), values[at])));
  return { element, show: (texts) => texts.forEach((text, at) => say(values[at], text)) };
}

function showWorkers(place, now) {
  const busy = (worker) => Object.values(now.now.busy ?? {}).reduce((sum, shares) => sum + (shares[worker] ?? 0), 0);
  const rows = now.now.workers.map(({ worker, state: how, steps, finished_before: epoch }) => {
    const part = Math.min(1, busy(worker));
    const bar = el("i", null);
    bar.style.width = `${(part * 100).toFixed(1)}%`;
    return el("tr", null, el("th", { scope: "row" }, String(worker)), el("td", null, how),
      el("td", null, el("div", { class: "meter", role: "img", "aria-label": `busy ${share(part)}` }, bar)),
      el("td", { class: "number" }, share(part)), el("td", { class: "number" }, share(1 - part)),
      el("td", { class: "number" }, epoch > 1e17 ? time(epoch / 1e6) : count(epoch ?? NaN)), el("td", { class: "number" }, count(steps)));
  });
  set(place, table("Workers", ["Worker", "State", "Busy", "Share", "Idle", "Finished up to", "Steps"], rows, [3, 4, 5, 6]));
}

function sourceRow(name, act) {
  const how = el("span", { class: "pill" }, "-");
  const [speed, read, refused] = ["", "", ""].map(() => el("td", { class: "number" }, "-"));
  const button = el("button", { type: "button" }, "Pause");
  button.addEventListener("click", () => act(name, button.dataset.what));
  const element = el("tr", null, el("th", { scope: "row" }, name), el("td", null, how), speed, read, refused, el("td", null, button));
  const show = (now) => {
    const paused = now === "paused";
    say(how, now ?? "-");
    how.className = paused ? "pill warn" : "pill good";
    say(button, paused ? "Resume" : "Pause");
    button.dataset.what = paused ? "resume" : "pause";
    button.setAttribute("aria-label", `${paused ? "Resume" : "Pause"} ${name}`);
    button.disabled = now !== "paused" && now !== "running";
    say(speed, rate(state.rate(`${name}.records`)));
    say(read, count(state.counter(`${name}.records`)));
    say(refused, count(state.counter(`${name}.dead_letters`)));
  };
  return { element, show };
}

async function showCheckpoints(place, said = null) {
  place.dataset.shown = "yes";
  const button = el("button", { type: "button" }, "Take one now");
  const outcome = el("div", { "aria-live": "polite" }, said);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { boundary } = await post("/api/v1/checkpoints");
      announce("The checkpoint is complete.");
      showCheckpoints(place, el("p", { class: "done" }, `The newest checkpoint has all before epoch ${boundary}.`));
    } catch (error) {
      set(outcome, problem(error));
      button.disabled = false;
    }
  });
  try {
    const list = await get("/api/v1/checkpoints");
    const pause = state.counter("checkpoints.longest_pause_us");
    const taken = state.counter("checkpoints.last_us");
    const rows = list.slice(0, 10).map((it) => el("tr", null, el("td", null, moment(it.time)), el("td", { class: "number" }, bytes(it.bytes)),
      el("td", { class: "number" }, count(it.files)), el("td", { class: "number" }, count(it.tables)), el("td", null, it.problem ?? "whole")));
    const note = el("p", { class: "note" }, `${list.length} kept`, Number.isFinite(pause) ? `, longest pause ${seconds(pause / 1e6)}` : "", Number.isFinite(taken) ? `, the last took ${seconds(taken / 1e6)}` : "");
    set(place, rows.length ? table("Checkpoints", ["Taken", "Size", "Files", "Tables", "State"], rows, [1, 2, 3]) : empty("None yet. Take one now, or wait for the interval of --checkpoint-interval."),
      el("div", { class: "row" }, button, note), outcome);
  } catch (error) {
    set(place, error.status === 409 || error.status === 404 ? empty("This program keeps nothing: start it with --data-dir DIR, and it survives a crash.") : problem(error));
  }
}
