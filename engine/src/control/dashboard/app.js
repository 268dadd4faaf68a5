// The frame: which page is open, who is told of a lost connection, and how it looks.

import { begin, state } from "./status.js";
import { announce, el, empty, problem, set } from "./dom.js";
import * as api from "./api.js";
import * as dom from "./dom.js";
import * as format from "./format.js";
import * as charts from "./charts.js";
import * as status from "./status.js";
import { mount as overview } from "./overview.js";
import { mount as tables } from "./tables.js";
import { mount as views } from "./views.js";
import { mount as windows } from "./windows.js";
import { mount as letters } from "./letters.js";

const OWN = [
  ["overview", "Overview", overview],
  ["tables", "Tables", tables],
  ["views", "Views", views],
  ["windows", "Windows", windows],
  ["dead-letters", "Dead letters", letters],
];

const content = document.getElementById("content");
const connection = document.getElementById("connection");
const banner = document.getElementById("banner");
let opened = null;
let close = () => {};
let lost = false;

/** Own pages, then those that the application brings: each a module with `mount(element, tools)`. */
function pages() {
  const tools = { api, dom, format, charts, status };
  const brought = state.pages.map(({ name, script }) => [
    name.toLowerCase().replaceAll(" ", "-"),
    name,
    async (element, rest) => (await import(script)).mount(element, tools, rest),
  ]);
  return [OWN[0], ...brought, ...OWN.slice(1)];
}

/** `#/tables/markets/BTC-USD`: the page, and what of it. */
function where() {
  const [page = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return [page || "overview", rest];
}

function navigate() {
  const [name] = where();
  set(document.getElementById("nav"), pages().map(([id, title]) =>
    el("a", { href: `#/${id}`, "aria-current": id === name ? "page" : null }, title)));
}

async function open() {
  const [name, rest] = where();
  const key = JSON.stringify([name, rest]);
  navigate();
  if (opened === key) return;
  const found = pages().find(([id]) => id === name);
  const isNew = opened !== null && JSON.parse(opened)[0] !== name;
  opened = key;
  close();
  close = () => {};
  set(content, empty(found ? "Loading." : "There is no such page."));
  if (!found) return;
  document.title = `${found[1]} · ${state.program?.name ?? "Anabranch"}`;
  if (isNew) content.focus({ preventScroll: true });
  const element = el("div", null);
  element.style.display = "contents";
  try {
    const done = await found[2](element, rest);
    if (opened !== key) return done?.();
    close = done ?? (() => {});
    set(content, element);
  } catch (error) {
    set(content, problem(error));
  }
}

function told(how, error) {
  const pill = { live: ["live", "pill good"], waiting: ["not connected", "pill warn"], refused: ["refused", "pill bad"] }[how];
  dom.say(connection, pill[0]);
  connection.className = pill[1];
  banner.hidden = how === "live";
  if (how === "live") {
    document.getElementById("program").textContent = state.program.name;
    if (lost) announce("The program is there again.");
    lost = false;
    navigate();
    if (opened === null || content.querySelector(".problem, .empty")) {
      opened = null;
      open();
    }
    return;
  }
  lost = true;
  banner.textContent = how === "refused"
    ? `The program refused: ${error?.message ?? ""}. Reload the page to try again.`
    : "The program does not answer: it may be stopped, or starting again. This page goes on by itself when it is there; what is shown is from before.";
}

function theme() {
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem("anabranch-theme");
  const show = () => {
    const now = chosen() ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = now;
    button.textContent = now === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${now === "dark" ? "light" : "dark"} colours`);
    dispatchEvent(new Event("theme"));
  };
  button.addEventListener("click", () => {
    localStorage.setItem("anabranch-theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    show();
  });
  dark.addEventListener("change", show);
  show();
}

theme();
navigate();
addEventListener("hashchange", open);
begin(told);
