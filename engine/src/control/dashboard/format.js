// Numbers, times and values as people read them.

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 1,234 or 1.23 M. */
export function count(number) {
  if (!Number.isFinite(number)) return "-";
  if (number >= 1e9) return `${(number / 1e9).toFixed(2)} G`;
  if (number >= 1e6) return `${(number / 1e6).toFixed(2)} M`;
  return plain.format(number);
}

/** Records a second. */
export function rate(number) {
  if (!Number.isFinite(number)) return "-";
  return number > 0 && number < 10 ? number.toFixed(1) : count(number);
}

/** Seconds, in the unit that fits. */
export function seconds(number) {
  if (!Number.isFinite(number)) return "-";
  if (number < 0.001) return `${Math.round(number * 1e6)} µs`;
  if (number < 1) return `${(number * 1e3).toFixed(number < 0.01 ? 2 : 1)} ms`;
  if (number < 120) return `${number.toFixed(number < 10 ? 2 : 0)} s`;
  if (number < 7200) return `${Math.round(number / 60)} min`;
  return `${Math.round(number / 3600)} h`;
}

/** Bytes, in the unit that fits. */
export function bytes(number) {
  if (!Number.isFinite(number)) return "-";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (number >= 1024 && at < units.length - 1) {
    number /= 1024;
    at += 1;
  }
  return `${number.toFixed(at && number < 10 ? 1 : 0)} ${units[at]}`;
}

/** A share as per cent. */
export function share(number) {
  if (!Number.isFinite(number)) return "-";
  const percent = number * 100;
  return `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
}

/** The time of day of a text or of milliseconds. */
export function time(when) {
  const date = new Date(when);
  return Number.isNaN(date.getTime()) ? String(when) : date.toLocaleTimeString();
}

/** Day and time. */
export function moment(when) {
  const date = new Date(when);
  return Number.isNaN(date.getTime()) ? String(when) : date.toLocaleString();
}

/** A value as one line. */
export function line(value, most = 400) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

/** A value over several lines. */
export function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
