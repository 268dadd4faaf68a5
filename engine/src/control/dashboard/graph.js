// The dataflow as a drawing: nodes in layers from sources to sinks, rates on edges, and what is busy or waits.

import { el, set, svg } from "./dom.js";
import { count, rate, seconds, share } from "./format.js";

const [WIDTH, HEIGHT, STEP, ACROSS, DOWN, EDGE] = [170, 72, 98, 56, 26, 14];
const FLOWS = new Set(["source", "step", "computation", "sink", "look-up", "lookup", "view", "dead-letters"]);
/** How small the drawing may become. */
const SMALLEST = 0.72;
/** From this share of its time on, a source that waits for room is said to. */
const WAITS = 0.05;

/** The drawing, and `show(state)` that tells it how the program does. */
export function drawing(graph) {
  const nodes = graph.nodes.filter((node) => FLOWS.has(node.kind)).map((node) => ({ ...node }));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const edges = graph.edges.filter(({ from, to }) => byId.has(from) && byId.has(to));
  const linked = new Set(edges.flatMap(({ from, to }) => [from, to]));
  const shown = nodes.filter((node) => linked.has(node.id));
  place(shown, edges);
  const size = { width: Math.max(...shown.map((n) => n.x + n.width), 0) + EDGE, height: Math.max(...shown.map((n) => n.y + n.height), 0) + EDGE };

  const details = el("div", { class: "note", "aria-live": "polite" }, "Choose a part of the graph for its details.");
  const root = svg("svg", { viewBox: `0 0 ${size.width} ${size.height}`, role: "group", "aria-label": "Dataflow from sources to sinks" });
  // As large as it was drawn, or smaller as long as it can be read.
  root.style.minWidth = `${Math.round(size.width * SMALLEST)}px`;
  root.style.maxWidth = `${size.width}px`;
  const lines = edges.map((edge) => {
    const [a, b] = [byId.get(edge.from), byId.get(edge.to)];
    const [x1, y1, x2, y2] = [a.x + a.width, a.y + a.height / 2, b.x, b.y + b.height / 2];
    const path = svg("path", { d: `M${x1},${y1} C${x1 + ACROSS / 2},${y1} ${x2 - ACROSS / 2},${y2} ${x2},${y2}` });
    const label = svg("text", { x: (x1 + x2) / 2, y: (y1 + y2) / 2 - 6, "text-anchor": "middle", class: "small" });
    root.append(path, label);
    return { path, label, to: b, from: a };
  });
  let chosen = null;
  let newest = null;
  const tell = () => {
    if (chosen) set(details, describe(chosen, newest));
  };
  const boxes = shown.map((node) => {
    const name = svg("text", { x: 12, y: 22, class: "strong" }, cut(node.name ?? node.operation, node.kind === "step" ? 12 : 21));
    const [first, second] = [svg("text", { x: 12, y: 42, class: "small" }), svg("text", { x: 12, y: 60, class: "small" })];
    const box = svg("g", { class: `node ${node.kind}`, transform: `translate(${node.x},${node.y})`, tabindex: "0", role: "button" },
      svg("rect", { width: node.width, height: node.height, rx: 8 }), name, node.kind === "step" ? null : [first, second]);
    const choose = () => {
      boxes.forEach((other) => other.box.classList.toggle("chosen", other.box === box));
      chosen = node;
      tell();
    };
    box.addEventListener("click", choose);
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        choose();
      }
    });
    root.append(box);
    return { node, box, first, second };
  });

  const show = (state) => {
    newest = state;
    for (const { path, label, from, to } of lines) {
      const flow = through(from, to, state, edges, byId);
      label.textContent = Number.isFinite(flow) ? `${rate(flow)}/s` : "";
      path.classList.toggle("flows", flow > 0);
    }
    for (const { node, box, first, second } of boxes) {
      if (node.kind === "step") continue;
      const [one, two, waits] = words(node, state);
      first.textContent = one;
      second.textContent = two;
      box.classList.toggle("waits", waits);
    }
    tell();
  };
  return { element: el("div", null, el("div", { class: "graph", tabindex: "0", role: "group", "aria-label": "Dataflow graph" }, root), details), show };
}

/** How many records a second go along an edge: what is counted at its end, or else before its beginning. */
function through(from, to, state, edges, byId) {
  const own = to.kind === "computation" || to.kind === "sink" ? state.rate(`${to.name}.records`) : NaN;
  const incoming = edges.filter((edge) => edge.to === to.id).length;
  if (Number.isFinite(own) && incoming === 1) return own;
  if (from.kind === "source") return state.rate(`${from.name}.records`);
  if (from.kind !== "step") return NaN;
  const before = edges.filter((edge) => edge.to === from.id);
  return before.length === 1 ? through(byId.get(before[0].from), from, state, edges, byId) : NaN;
}

/** How busy the operator that a node is part of is: the busiest worker's share. */
export function busy(name, state) {
  const own = Object.entries(state.now?.busy ?? {}).find(([operator]) => operator.split(", ").includes(name));
  return own ? Math.max(...own[1]) : NaN;
}

/** The largest share of time that a worker's sources wait because what follows has no room. */
export function stalled(state, before) {
  const of = (status, worker) => status?.workers?.find((it) => it.worker === worker)?.counters?.["sources.stalled_ns"];
  const passed = (Date.parse(state.now?.time) - Date.parse(before?.time)) * 1e6;
  const shares = (state.now?.workers ?? []).map(({ worker }) => (of(state.now, worker) - of(before, worker)) / passed);
  return Math.max(0, ...shares.filter(Number.isFinite));
}

function words(node, state) {
  if (node.kind === "source") {
    const waits = state.stalled ?? 0;
    const read = `${rate(state.rate(`${node.name}.records`))}/s read`;
    return [read, waits >= WAITS ? `back pressure ${share(waits)}` : "no back pressure", waits >= WAITS];
  }
  if (node.kind === "sink") {
    const latency = state.now.latencies?.[node.name];
    const late = latency?.count ? `p50 ${seconds(latency.p50)} p99 ${seconds(latency.p99)}` : "no latency yet";
    return [`${rate(state.rate(`${node.name}.records`))}/s written`, late, false];
  }
  if (node.kind === "dead-letters") return [`${count(state.counter("@dead-letters.open"))} open`, "", false];
  const applied = state.rate(`${node.name}.records`);
  return [Number.isFinite(applied) ? `${rate(applied)}/s` : "", `busy ${share(busy(node.name, state))}`, false];
}

function describe(node, state) {
  const parts = [el("strong", null, node.name ?? node.operation), ` (${node.kind})`];
  if (node.connector) parts.push(`: ${node.connector}`);
  const tables = [...new Set([...(node.reads ?? []), ...(node.writes ?? [])])];
  if (tables.length) parts.push(". Tables: ", tables.map((name, at) => [at ? ", " : "", el("a", { href: `#/tables/${encodeURIComponent(name)}` }, name)]));
  const total = state?.counter(`${node.name}.records`);
  if (Number.isFinite(total)) parts.push(`. ${count(total)} records so far`);
  const watermark = state?.now?.counters?.[`${node.name}.watermark_ms`];
  if (watermark) parts.push(`. Event time has come to ${new Date(watermark).toLocaleString()}`);
  return parts;
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** Layers by the longest way from a source; within a layer by the middle of what comes before. */
function place(nodes, edges) {
  const before = new Map(nodes.map((node) => [node.id, edges.filter((edge) => edge.to === node.id).map((edge) => edge.from)]));
  const layer = new Map();
  const depth = (id, seen = new Set()) => {
    if (layer.has(id)) return layer.get(id);
    if (seen.has(id)) return 0;
    seen.add(id);
    const of = (before.get(id) ?? []).map((from) => depth(from, seen) + 1);
    layer.set(id, Math.max(0, ...of));
    return layer.get(id);
  };
  nodes.forEach((node) => depth(node.id));
  const layers = [];
  for (const node of nodes) (layers[layer.get(node.id)] ??= []).push(node);
  const middle = new Map();
  let x = EDGE;
  for (const column of layers.filter(Boolean)) {
    const wish = (node) => {
      const known = before.get(node.id).map((id) => middle.get(id)).filter((at) => at !== undefined);
      return known.length ? known.reduce((a, b) => a + b, 0) / known.length : Infinity;
    };
    column.sort((a, b) => wish(a) - wish(b) || a.id - b.id);
    let free = EDGE;
    for (const node of column) {
      node.width = node.kind === "step" ? STEP : WIDTH;
      node.height = node.kind === "step" ? 36 : HEIGHT;
      const wished = wish(node);
      const at = Number.isFinite(wished) ? wished - node.height / 2 : free;
      node.y = Math.max(free, at);
      node.x = x;
      free = node.y + node.height + DOWN;
      middle.set(node.id, node.y + node.height / 2);
    }
    x += Math.max(...column.map((node) => node.width)) + ACROSS;
  }
}
