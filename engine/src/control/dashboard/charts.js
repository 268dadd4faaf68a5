// Charts over time: a thin cover of uPlot with the page's colours. Points are bounded by who gives them, and drawn at
// most once a frame.

import { el } from "./dom.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * A chart of `lines`: `[label, format]` each. `draw([times, ...values])` shows them; `close()` ends it.
 * The figure has a text for those who do not see it: `describe(values)`.
 */
export function chart(title, lines, describe = () => "") {
  const place = el("div", { class: "chart" });
  const caption = el("figcaption", { class: "unseen" });
  const figure = el("figure", { "aria-label": title }, place, caption);
  let plot = null;
  let data = [[], ...lines.map(() => [])];
  let due = 0;

  const make = () => {
    plot?.destroy();
    const axis = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    plot = new uPlot({
      width: Math.max(place.clientWidth, 200),
      height: 170,
      legend: { live: true },
      cursor: { drag: { x: false, y: false } },
      axes: [
        { ...axis, values: (_, at) => at.map((t) => new Date(t * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })), space: 90 },
        { ...axis, size: 70, values: (_, at) => at.map((v) => lines[0][1](v)) },
      ],
      scales: { y: { range: (_, low, high) => range(lines, low, high) } },
      series: [
        { value: (_, t) => (t ? new Date(t * 1000).toLocaleTimeString() : "-") },
        ...lines.map(([label, format, more], at) => ({
          label,
          stroke: css(`--series-${(at % 4) + 1}`),
          width: 2,
          dash: at % 2 ? [6, 3] : undefined,
          points: { show: false },
          spanGaps: true,
          value: (_, v) => (v === null || v === undefined ? "-" : format(v)),
          ...more,
        })),
      ],
    }, data, place);
  };

  const show = () => {
    due = 0;
    if (!place.isConnected) return;
    if (!plot) make();
    plot.setData(data);
    if (plot.cursor.idx === null || plot.cursor.idx === undefined) plot.setLegend({ idx: Math.max(0, data[0].length - 1) });
    const text = describe(data);
    if (caption.textContent !== text) caption.textContent = text;
  };
  const draw = (values) => {
    data = values;
    due ||= requestAnimationFrame(show);
  };
  const size = new ResizeObserver(() => plot?.setSize({ width: Math.max(place.clientWidth, 200), height: 170 }));
  size.observe(place);
  const again = () => plot && make();
  addEventListener("theme", again);
  const close = () => {
    cancelAnimationFrame(due);
    size.disconnect();
    removeEventListener("theme", again);
    plot?.destroy();
  };
  return { figure, draw, close };
}

/** From zero, unless all lines say that they are not to be. */
function range(lines, low, high) {
  if (low === null || high === null || low === undefined) return [0, 1];
  const floats = lines.some(([, , more]) => more?.floats);
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  return floats ? [low - room, high + room] : [0, high + room];
}
