// How the program does: one subscription for all pages, what it comes to a second, and the last five minutes.

import { get, watch } from "./api.js";

const POINTS = 300;

/** The newest status, rates since the one before, and what does not change. */
export const state = {
  now: null,
  program: null,
  graph: null,
  pages: [],
  live: false,
  history: { time: [], input: [], output: [], p50: [], p99: [] },
  /** How much a counter grows in a second, over all workers. */
  rate: () => NaN,
  counter: () => NaN,
};

const followers = new Set();
let since = 0;

/** Calls `follow` with each status, and at once if there is one. Gives what ends that. */
export function follow(act) {
  followers.add(act);
  if (state.now) act(state);
  return () => followers.delete(act);
}

function totals(status) {
  const sums = new Map(Object.entries(status.counters ?? {}));
  for (const worker of status.workers ?? []) {
    for (const [name, value] of Object.entries(worker.counters ?? {})) {
      if (!(name in (status.counters ?? {}))) sums.set(name, (sums.get(name) ?? 0) + value);
    }
  }
  return sums;
}

/** The names of nodes of a kind. */
export function names(kind) {
  return (state.graph?.nodes ?? []).filter((node) => node.kind === kind).map((node) => node.name);
}

function take(status) {
  const before = state.now;
  const [sums, old] = [totals(status), state.sums ?? new Map()];
  const passed = before ? (Date.parse(status.time) - Date.parse(before.time)) / 1000 : NaN;
  state.now = status;
  state.sums = sums;
  state.counter = (name) => sums.get(name) ?? NaN;
  state.rate = (name) => {
    const grown = (sums.get(name) ?? NaN) - (old.get(name) ?? NaN);
    return grown >= 0 && passed > 0 ? grown / passed : NaN;
  };
  const sum = (of) => of.map((name) => state.rate(`${name}.records`)).filter(Number.isFinite).reduce((a, b) => a + b, 0);
  state.input = before ? sum(names("source")) : NaN;
  state.output = before ? sum(names("sink")) : NaN;
  const latencies = Object.values(status.latencies ?? {}).filter((it) => it && it.count > 0);
  const most = (which) => (latencies.length ? Math.max(...latencies.map((it) => it[which])) : NaN);
  Object.assign(state, { p50: most("p50"), p99: most("p99") });
  if (before) {
    const { history } = state;
    const point = { time: Date.parse(status.time) / 1000, input: state.input, output: state.output, p50: state.p50 * 1000, p99: state.p99 * 1000 };
    for (const [name, list] of Object.entries(history)) {
      list.push(Number.isFinite(point[name]) ? point[name] : null);
      if (list.length > POINTS) list.shift();
    }
  }
  for (const act of followers) act(state);
}

async function learn() {
  const of = Date.now();
  since = of;
  const [program, graph] = await Promise.all([get("/api/v1/program"), get("/api/v1/graph")]);
  const pages = await get("/api/v1/pages").catch(() => []);
  if (since === of) Object.assign(state, { program, graph, pages });
}

/** Begins to watch; `changed(how, error)` is told whether the program is there. */
export function begin(changed) {
  // At the beginning, and after a restart, the program may be another one.
  let lost = true;
  watch({ status: {} }, (name, status) => {
    if (!lost) return take(status);
    lost = false;
    state.now = null;
    return learn().then(() => {
      take(status);
      changed("live");
    }, (error) => {
      lost = true;
      changed("waiting", error);
    });
  }, (how, error) => {
    state.live = how === "live";
    if (how === "live") return;
    lost = true;
    changed(how, error);
  });
}
