// Elements made from text. Nothing here, or anywhere else, reads markup from a value: what is not an element is text.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") {
      for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    } else if (name in element && typeof value !== "string") {
      element[name] = value;
    } else if (value !== undefined && value !== null) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return element;
}

/** An element of HTML. */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") {
      for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    } else if (value !== undefined && value !== null) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Puts `children` in place of what is in `element`. */
export function set(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined));
}

/** Sets the text of `element`, and marks it for a moment if that is new. */
export function say(element, text) {
  if (element.textContent === text) return false;
  element.textContent = text;
  return true;
}

/** Marks `element` as changed, for a moment. */
export function mark(element) {
  element.classList.remove("changed");
  void element.offsetWidth;
  element.classList.add("changed");
}

/** A table with these headings; `numbers` are the columns of numbers. */
export function table(caption, headings, rows, numbers = []) {
  const head = headings.map((text, at) => el("th", { scope: "col", class: numbers.includes(at) ? "number" : null }, text || el("span", { class: "unseen" }, "Actions")));
  return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    el("table", null, el("caption", { class: "unseen" }, caption), el("thead", null, el("tr", null, head)), el("tbody", null, rows)));
}

/** A part of the page under a heading. */
export function sheet(title, ...children) {
  const heading = el("h2", null, title);
  return el("section", { class: "sheet", "aria-label": title }, el("div", { class: "heading" }, heading), children);
}

/** What is said where there is nothing yet. */
export function empty(text) {
  return el("p", { class: "empty" }, text);
}

/** Tells those who do not look. */
export function announce(text) {
  say(document.getElementById("announce"), text);
}

/** What went wrong, and what to do. */
export function problem(error) {
  return el("p", { class: "problem", role: "alert" }, error.message ?? String(error));
}
