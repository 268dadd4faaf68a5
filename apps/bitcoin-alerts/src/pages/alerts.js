// The page of alerts: the feed of those that fired and why, a product's price with its average and the next levels, its
// open alerts with how far each is from firing, and a form to add, change and remove them. Shown by the dashboard.

/** How many products' alerts are followed at once. */
const FOLLOWED = 6;
/** How many fired alerts are shown. */
const FEED = 25;
const POINTS = 600;
const UNITS = { average: "price", price: "price", change: "percent", zscore: "z" };

export async function mount(element, { api, dom, format, charts, status }, [chosen]) {
  const { el, set, say, sheet, table, empty, problem, announce, mark } = dom;
  const tables = (await api.get("/api/v1/tables")).map((it) => it.name);
  const markets = tables.includes("markets") ? "markets" : "prices";
  const first = await api.get(`/api/v1/tables/${markets}?limit=1000`);
  const products = first.rows.map((row) => row.key);
  const product = chosen ?? products[0] ?? "BTC-USD";
  const stops = [];

  const market = { price: NaN, average: NaN, above: null, below: null };
  const figures = ["Price", "Average", "Next above", "Next below", "Open alerts"].map((title) => [title, el("dd", null, "-")]);
  const tiles = el("dl", { class: "tiles" }, figures.map(([title, value]) => el("div", { class: "tile" }, el("dt", null, title), value)));
  const lines = [["price", money, { floats: true }], ["average", money], ["next above", money], ["next below", money]];
  const chart = charts.chart(`Price of ${product}`, lines, (data) => `Price ${money(last(data[1]))}, average ${money(last(data[2]))}.`);
  const points = [[], [], [], [], []];
  stops.push(chart.close);

  const open = openAlerts();
  const feed = firedFeed();
  const form = editor();
  const choice = el("select", { "aria-label": "Product" }, [...new Set([...products, product])].map((name) => el("option", { value: name, selected: name === product }, name)));
  choice.addEventListener("change", () => {
    location.hash = `#/alerts/${encodeURIComponent(choice.value)}`;
  });
  set(element, el("div", { class: "heading" }, el("h1", null, "Alerts"), choice), tiles,
    sheet(`${product}: price, average and next levels`, chart.figure),
    form.element, sheet("Open alerts", open.element), sheet("Fired", feed.element));

  stops.push(api.watch({ table: { name: markets, key: key(product) } }, (_, data) => {
    if (data === null) return;
    const { value } = data;
    market.price = Number(value.price ?? NaN);
    market.average = average(value.average);
    market.above = value.nearest?.above ?? null;
    market.below = value.nearest?.below ?? null;
    const texts = [money(market.price), money(market.average), market.above ?? "-", market.below ?? "-", format.count(open.count())];
    figures.forEach(([, cell], at) => say(cell, texts[at]));
    const point = [Date.now() / 1000, market.price, market.average, level(market.above), level(market.below)];
    points.forEach((list, at) => {
      list.push(Number.isFinite(point[at]) ? point[at] : null);
      if (list.length > POINTS) list.shift();
    });
    chart.draw(points);
    open.distances();
  }));
  stops.push(api.watch({ table: { name: "alerts", key: key(product) } }, (name, data) => open.show(data, name === "snapshot")));
  const shown = [...new Set([product, ...products])].slice(0, FOLLOWED);
  for (const name of shown) {
    stops.push(api.watch({ table: { name: "fired-alerts", key: key(name) } }, (event, data) => feed.show(name, data, event === "snapshot")));
  }
  return () => stops.forEach((stop) => stop());

  /** The open alerts of the product. */
  function openAlerts() {
    const body = el("tbody", null);
    const note = el("p", { class: "note", "aria-live": "polite" });
    const place = el("div", null, empty("Loading."));
    const known = new Map();
    const describe = ({ key: at, value: terms }) => {
      const of = typeof at.of === "string" ? at.of : Object.keys(at.of)[0];
      const measure = of === "score" ? "zscore" : of;
      const direction = terms?.direction ?? (at.waits === "at-most" ? "below" : "above");
      const goal = terms?.level ?? at.level;
      const named = at.name.id;
      const user = named?.user_id ?? at.name.user;
      const id = named?.id ?? `${user}:${direction}:${at.level}`;
      return { id, user, measure, direction, goal, at, terms };
    };
    const waits = { "at-least": "waits", "at-most": "waits", over: "to be armed again", under: "waits", value: "waits for a value", cooling: "cooling down" };
    const add = (entry) => {
      const it = describe(entry);
      const far = el("td", { class: "number" }, "-");
      const repeat = it.terms?.repeat ?? "Once";
      const how = typeof repeat === "string" ? repeat.toLowerCase() : "rearm";
      const armed = it.at.waits === "under" && it.direction === "above" ? "to be armed again" : waits[it.at.waits];
      const edit = el("button", { type: "button", "aria-label": `Edit ${it.id}` }, "Edit");
      edit.addEventListener("click", () => form.edit(it));
      const remove = el("button", { type: "button", "aria-label": `Remove ${it.id}` }, "Remove");
      remove.addEventListener("click", () => form.send({ op: "remove", product, id: it.id }, `${it.id} is removed`));
      const labels = (it.terms?.labels ?? []).map((label) => [" ", el("span", { class: "pill" }, label)]);
      const line = el("tr", null, el("th", { scope: "row", class: "code" }, it.id, labels), el("td", { class: "number" }, String(it.user)), el("td", null, it.measure === "average" ? "average" : it.measure),
        el("td", null, `${it.direction} ${it.goal}${UNITS[it.measure] === "percent" ? " %" : ""}`), el("td", null, `${how}, ${armed}`), far, el("td", null, el("div", { class: "row" }, edit, remove)));
      return { it, line, far };
    };
    const distances = () => {
      for (const { it, far } of known.values()) {
        const now = it.measure === "average" ? market.average : it.measure === "price" ? market.price : NaN;
        const distance = Math.abs(Number(it.at.level) - now);
        say(far, Number.isFinite(distance) ? money(distance) : "-");
      }
    };
    const show = (data, whole) => {
      if (whole) known.clear();
      if (data === null) known.clear();
      for (const gone of data?.gone ?? []) known.delete(JSON.stringify(gone));
      for (const entry of data?.entries ?? []) known.set(JSON.stringify(entry.key), add(entry));
      set(body, [...known.values()].map(({ line }) => line));
      set(place, known.size
        ? el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Open alerts" }, el("table", null, el("caption", { class: "unseen" }, `Open alerts of ${product}`),
          el("thead", null, el("tr", null, ["Alert", "User", "Of", "Fires", "How often", "Away", "Actions"].map((text) => el("th", { scope: "col" }, text)))), body))
        : empty("No alert is open for this product. Add one: it is in force from the next price."));
      say(note, data ? `${format.count(data.total)} open${data.more ? `, the first ${known.size} are here` : ""}` : "");
      distances();
    };
    return { element: [place, note], show, distances, count: () => known.size };
  }

  /** What fired, the newest first, with why. */
  function firedFeed() {
    const place = el("div", null, empty("Nothing has fired yet."));
    const known = new Map();
    let quiet = true;
    const row = ([name, number, it]) => {
      const value = it.measure === "Average" ? it.average : it.value;
      const measured = typeof it.measure === "string" ? it.measure.toLowerCase() : Object.keys(it.measure)[0].toLowerCase();
      return el("tr", null, el("td", { class: "short", title: format.moment(it.time) }, format.time(it.time)), el("td", { class: "short" }, name), el("th", { scope: "row", class: "code" }, it.id, (it.labels ?? []).map((label) => [" ", el("span", { class: "pill" }, label)])),
        el("td", { class: "number" }, String(it.user_id)), el("td", null, `${measured} ${it.direction} ${it.level}`), el("td", { class: "number" }, value),
        el("td", null, `record ${it.record}: price ${it.price}, average ${it.average}`));
    };
    const show = (name, data, whole) => {
      const own = whole ? new Map() : known.get(name) ?? new Map();
      for (const gone of data?.gone ?? []) own.delete(gone);
      for (const { key: number, value } of data?.entries ?? []) own.set(number, value);
      known.set(name, own);
      const all = [...known].flatMap(([of, list]) => [...list].map(([number, it]) => [of, number, it]));
      all.sort((a, b) => Date.parse(b[2].time) - Date.parse(a[2].time) || b[1] - a[1]);
      const newest = all.slice(0, FEED);
      if (!newest.length) return;
      const rows = newest.map(row);
      set(place, table("Fired alerts", ["When", "Product", "Alert", "User", "Fired", "Value", "Why"], rows, [3, 5]));
      if (!whole && data?.entries?.length) {
        mark(rows[0]);
        announce(`${newest[0][2].id} of ${newest[0][0]} fired.`);
      }
      quiet = false;
    };
    return { element: place, show, quiet: () => quiet };
  }

  /** The form, and how updates are sent. */
  function editor() {
    const outcome = el("div", { "aria-live": "polite" });
    const input = (name, label, more = {}) => {
      const field = el("input", { name, autocomplete: "off", ...more });
      return [field, el("label", null, label, field)];
    };
    const select = (name, label, options) => {
      const field = el("select", { name }, options.map(([value, text]) => el("option", { value }, text)));
      return [field, el("label", null, label, field)];
    };
    const [user, userLabel] = input("user_id", "User", { inputmode: "numeric", required: true, value: "1" });
    const [of, ofLabel] = select("of", "Of the", [["average", "average"], ["price", "price"], ["change", "change in %"], ["zscore", "z-score"]]);
    const [over, overLabel] = input("over", "Over", { value: "10m", size: "6" });
    const [direction, directionLabel] = select("direction", "Fires", [["above", "above"], ["below", "below"], ["crossing", "crossing"]]);
    const [goal, goalLabel] = input("level", "Level", { required: true, inputmode: "decimal" });
    const [repeat, repeatLabel] = select("repeat", "How often", [["once", "once"], ["every", "at every price"], ["rearm", "whenever reached anew"]]);
    const [hysteresis, hysteresisLabel] = input("hysteresis", "Hysteresis", { inputmode: "decimal", size: "6" });
    const [cooldown, cooldownLabel] = input("cooldown", "Cooldown", { placeholder: "5m", size: "6" });
    const [labels, labelsLabel] = input("labels", "Labels", { placeholder: "mine, urgent" });
    const submit = el("button", { class: "strong" }, "Add the alert");
    const cancel = el("button", { type: "button", hidden: true }, "Do not change it");
    const title = el("h2", null, "Add an alert");
    let editing = null;
    const fit = () => {
      overLabel.hidden = !["change", "zscore"].includes(of.value);
      hysteresisLabel.hidden = repeat.value !== "rearm";
      cooldownLabel.hidden = repeat.value === "once";
    };
    [of, repeat].forEach((field) => field.addEventListener("change", fit));
    fit();
    const reset = () => {
      editing = null;
      title.textContent = "Add an alert";
      submit.textContent = "Add the alert";
      cancel.hidden = true;
      of.disabled = over.disabled = false;
      fit();
    };
    cancel.addEventListener("click", reset);
    const send = async (update, said) => {
      try {
        await api.post("/api/v1/alerts", update);
        set(outcome, el("p", { class: "done" }, `${said}. It is in force from the next price.`));
        announce(said);
        return true;
      } catch (error) {
        const closed = error.status === 404 || error.status === 405;
        set(outcome, closed ? problem(new Error("This program takes alerts from elsewhere: start it with `--updates http:` to add them here.")) : problem(error));
        return false;
      }
    };
    const element = el("form", { class: "sheet", "aria-label": "Add or change an alert", novalidate: true }, el("div", { class: "heading" }, title),
      el("div", { class: "row" }, userLabel, ofLabel, overLabel, directionLabel, goalLabel, repeatLabel, hysteresisLabel, cooldownLabel, labelsLabel),
      el("div", { class: "row" }, submit, cancel), outcome);
    element.querySelectorAll(".row").forEach((row) => row.style.setProperty("margin-bottom", ".75rem"));
    element.addEventListener("submit", async (event) => {
      event.preventDefault();
      const update = { op: editing ? "edit" : "add", product, user_id: user.value.trim(), direction: direction.value, repeat: repeat.value };
      update[UNITS[of.value]] = goal.value.trim();
      const isNumber = (field) => field.value.trim() !== "" && Number.isFinite(Number(field.value));
      if (!isNumber(goal) || !isNumber(user)) {
        set(outcome, problem(new Error("An alert needs a level and a user, as numbers.")));
        (isNumber(goal) ? user : goal).focus();
        return;
      }
      if (editing) update.id = editing.id;
      else if (of.value !== "average") update.of = of.value;
      if (!editing && !overLabel.hidden) update.over = over.value.trim();
      if (repeat.value === "rearm" && hysteresis.value.trim()) update.hysteresis = hysteresis.value.trim();
      update.cooldown = repeat.value === "once" ? "0s" : cooldown.value.trim() || "0s";
      const named = labels.value.split(",").map((label) => label.trim()).filter(Boolean);
      if (named.length || editing) update.labels = named;
      if (await send(update, editing ? `${editing.id} is changed` : "The alert is added")) reset();
    });
    const edit = (it) => {
      editing = it;
      title.textContent = `Change ${it.id}`;
      submit.textContent = "Change it";
      cancel.hidden = false;
      const how = it.terms?.repeat ?? "Once";
      [user.value, of.value, direction.value, goal.value] = [String(it.user), it.measure, it.direction, String(it.goal)];
      repeat.value = typeof how === "string" ? how.toLowerCase() : "rearm";
      hysteresis.value = how.Rearm?.hysteresis ?? "";
      cooldown.value = it.terms?.cooldown?.secs ? `${it.terms.cooldown.secs}s` : "";
      labels.value = (it.terms?.labels ?? []).join(", ");
      of.disabled = over.disabled = true;
      fit();
      goal.focus();
      goal.select();
    };
    return { element, edit, send };
  }

  function money(number) {
    return Number.isFinite(number) ? new Intl.NumberFormat("en", { maximumFractionDigits: number < 10 ? 6 : 2 }).format(number) : "-";
  }
}

const key = (text) => JSON.stringify(text);
const last = (list) => list[list.length - 1] ?? NaN;
const level = (text) => (text === null ? NaN : Number(text));

/** The exact average, as far as a picture needs it: a total of units over a count. */
function average({ total, count } = {}) {
  if (!count) return NaN;
  const [high, low] = total.Wide ?? [];
  const units = total.Narrow === undefined ? (Number(high) * 2 ** 128 + Number(low)) / 1e28 : Number(total.Narrow) / 1e12;
  return units / Number(count);
}
