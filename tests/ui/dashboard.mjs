// The dashboard in a real browser, against the real program: every page in dark, light and narrow, an alert added that
// fires, a dead letter mended, a kill in between, tokens, and values that look like markup.
//
//   node tests/ui/dashboard.mjs PROGRAM     with playwright-core and axe-core where NODE_PATH says
//
// Ends with a line as cargo's: `test result: N passed; N failed; 0 ignored`. Screenshots are left where
// ANABRANCH_SCREENSHOTS says.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const require = createRequire(path.join(process.env.NODE_PATH ?? process.cwd(), "at.js"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const program = path.resolve(process.argv[2]);
const shots = process.env.ANABRANCH_SCREENSHOTS;
const MARKUP = "<img src=x onerror=alert(1)>";
const WAIT = 20_000;

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "anabranch-ui-"));
const free = () => new Promise((resolve) => {
  const server = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

/** The program, and a connection on which it is sent prices. */
class Running {
  static async start(http, feed, more = []) {
    const flags = ["--http", `127.0.0.1:${http}`, "--prices", `tcp-listen://127.0.0.1:${feed}`, "--updates", "http:", "--notify", "null:", "--average", "running", ...more];
    const child = spawn(program, flags, { stdio: ["ignore", "ignore", fs.openSync(path.join(folder, "log"), "a")] });
    const it = new Running();
    Object.assign(it, { child, http, feed, price: 0 });
    await until(async () => (await fetch(`http://127.0.0.1:${http}/api/v1/ready`)).ok);
    return it;
  }
  send(line) {
    const frame = Buffer.from(line);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.length);
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.feed, "127.0.0.1", () => socket.end(Buffer.concat([length, frame]), resolve));
      socket.on("error", reject);
    });
  }
  pay(price, product = "BTC-USD") {
    return this.send(JSON.stringify({ type: "x", product_id: product, price: String(price) }));
  }
  async kill() {
    const gone = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await gone;
  }
}

async function until(check) {
  const end = Date.now() + WAIT;
  for (;;) {
    try {
      if (await check()) return;
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    assert(Date.now() < end, `waited for ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const tests = [];
const test = (name, run) => tests.push([name, run]);
const complaints = [];
let browser;

async function open(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT);
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("dialog", (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(url);
  return page;
}

/** Nothing was written to the console, but what `allowed` says. */
function quiet(allowed = /^$/) {
  const found = complaints.splice(0).filter((text) => !allowed.test(text));
  assert.deepEqual(found, []);
}

const has = (page, text) => page.getByText(text).first().waitFor();
const value = (page, title) => page.locator(".tile", { has: page.getByText(title, { exact: true }) }).locator("dd");

let running;
const at = (hash) => `http://127.0.0.1:${running.http}/#/${hash}`;

test("the overview shows what flows", async () => {
  const page = await open(at("overview"));
  await page.locator(".graph .node").first().waitFor();
  assert.equal(await page.locator(".graph .source").count(), 2);
  await until(async () => {
    await running.pay(100);
    return /[1-9]/.test(await value(page, "Records in").textContent());
  });
  await page.locator(".graph .node").first().focus();
  await page.keyboard.press("Enter");
  await has(page, /prices/);
  await page.getByRole("button", { name: "Pause prices" }).click();
  await page.getByRole("button", { name: "Resume prices" }).click();
  await page.getByRole("button", { name: "Pause prices" }).waitFor();
  await page.getByRole("button", { name: "Take one now" }).click();
  await has(page, /The newest checkpoint has all before epoch/);
  await has(page, /whole/);
  quiet();
  await page.context().close();
});

test("an alert that is added fires, and says why", async () => {
  const page = await open(at("alerts/BTC-USD"));
  await page.getByLabel("User", { exact: true }).fill("7");
  await page.getByLabel("Of the").selectOption("price");
  await page.getByLabel("Level", { exact: true }).fill("150");
  await page.getByLabel("Labels", { exact: true }).fill(MARKUP);
  await page.getByRole("button", { name: "Add the alert" }).click();
  await has(page, /The alert is added/);
  const row = page.getByRole("row", { name: /7:price:above:150/ });
  await row.first().waitFor();
  await running.pay(151);
  await has(page, /price 151, average/);
  await has(page, MARKUP);
  await has(page, /No alert is open for this product/);
  assert.equal(await page.locator("img").count(), 0);
  quiet();
  await page.context().close();
});

test("an alert is changed and removed", async () => {
  const page = await open(at("alerts/BTC-USD"));
  await page.getByLabel("Level", { exact: true }).fill("1000");
  await page.getByRole("combobox", { name: /How often/ }).selectOption("rearm");
  await page.getByLabel("Hysteresis", { exact: true }).fill("5");
  await page.getByRole("button", { name: "Add the alert" }).click();
  await page.getByRole("button", { name: "Edit 1:above:1000" }).click();
  await page.getByLabel("Level", { exact: true }).fill("900");
  await page.getByRole("button", { name: "Change it", exact: true }).click();
  await has(page, /above 900/);
  await page.getByRole("button", { name: "Remove 1:above:1000" }).click();
  await has(page, /No alert is open for this product/);
  await page.getByLabel("Level", { exact: true }).fill("nonsense");
  await page.getByRole("button", { name: "Add the alert" }).click();
  await has(page, /needs a level and a user, as numbers/);
  quiet();
  await page.context().close();
});

test("a dead letter is mended", async () => {
  await running.send(JSON.stringify({ type: "x", product_id: "ETH-USD", price: MARKUP }));
  const body = JSON.stringify({ user_id: 1, price: "nonsense" });
  const taken = await fetch(`http://127.0.0.1:${running.http}/api/v1/alerts`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  assert.equal(taken.status, 200);
  const page = await open(at("dead-letters"));
  const letters = page.locator("button.link");
  await until(async () => (await letters.count()) === 2);
  const found = page.getByRole("row").filter({ hasText: "onerror" }).locator("button.link");
  await found.first().click();
  assert.equal(await page.locator("img").count(), 0);
  const record = page.getByLabel("The record");
  await record.fill(JSON.stringify({ type: "x", product_id: "ETH-USD", price: "20" }));
  await page.getByRole("button", { name: "Save and retry" }).click();
  await has(page, /To be tried again: 1/);
  await until(async () => (await (await fetch(`http://127.0.0.1:${running.http}/api/v1/tables/prices/ETH-USD`)).ok));
  await until(async () => (await letters.count()) === 1);
  await letters.first().click();
  const ignore = page.getByRole("region", { name: "A dead letter" }).getByRole("button", { name: "Ignore" });
  await ignore.click();
  await page.getByRole("button", { name: "Ignore it?" }).click();
  await has(page, /None: every record was understood/);
  // No checkpoint knew of the letter, so one was taken.
  quiet(/status of 400/);
  await page.context().close();
});

test("a row is watched, also through a kill", async () => {
  const page = await open(at("tables"));
  await page.getByRole("link", { name: "prices", exact: true }).click();
  await page.getByLabel("Key", { exact: true }).fill("BTC-USD");
  await page.getByRole("button", { name: "Show the row" }).click();
  await running.pay(333);
  await has(page, /"333"/);
  quiet();
  await running.kill();
  await has(page, /The program does not answer/);
  running = await Running.start(running.http, running.feed, running.more());
  await page.locator("#banner").waitFor({ state: "hidden" });
  // It is there again though nothing has come since.
  await page.reload();
  await has(page, /"333"/);
  await running.pay(444);
  await has(page, /"444"/);
  quiet(/Failed to load resource|ERR_/);
  await page.context().close();
});

test("several tabs are told of what happens, and can act", async () => {
  const page = await open(at("alerts/BTC-USD"));
  const tabs = [page];
  for (let more = 0; more < 4; more += 1) {
    tabs.push(await page.context().newPage());
    await tabs.at(-1).goto(at("alerts/BTC-USD"));
  }
  await running.pay(555);
  for (const tab of tabs) await tab.getByText("555", { exact: true }).first().waitFor();
  await page.getByLabel("Level", { exact: true }).fill("5555");
  await page.getByRole("button", { name: "Add the alert" }).click();
  await has(page, /The alert is added/);
  for (const tab of tabs) await tab.getByText("1:above:5555").first().waitFor();
  quiet();
  await page.context().close();
});

test("every page is accessible in dark, light and narrow", async () => {
  for (const [colorScheme, width] of [["light", 1280], ["dark", 1280], ["light", 375], ["dark", 375]]) {
    // The policy is tested by all other tests; here the checker is brought into the page.
    const page = await open(at("overview"), { colorScheme, viewport: { width, height: 800 }, bypassCSP: true });
    for (const name of ["overview", "alerts/BTC-USD", "tables", "tables/prices", "tables/alerts/%22BTC-USD%22", "views", "windows", "dead-letters"]) {
      await page.goto(at(name));
      await page.locator("h1").waitFor();
      await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 300)));
      if (shots) await page.screenshot({ path: path.join(shots, `${name.replaceAll(/[^a-zA-Z-]+/g, "_")}-${colorScheme}-${width}.png`), fullPage: true });
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, `${name} is wider than ${width}`);
      await page.evaluate(axe);
      const found = await page.evaluate(async () => (await globalThis.axe.run()).violations.map((it) => `${it.id}: ${it.nodes[0].html}`));
      assert.deepEqual(found, [], `${name}, ${colorScheme}, ${width}`);
    }
    await page.context().close();
  }
  quiet();
});

test("a token is asked for, and kept for the tab", async () => {
  const [http, feed] = [await free(), await free()];
  const tokens = path.join(folder, "tokens");
  fs.writeFileSync(tokens, "admin 0123456789abcdef-admin\n", { mode: 0o600 });
  const guarded = await Running.start(http, feed, ["--http-tokens", tokens]);
  try {
    const page = await open(`http://127.0.0.1:${http}/`);
    for (const [token, accepted] of [["0123456789abcdef-wrong", false], ["0123456789abcdef-admin", true]]) {
      await page.getByLabel("Token", { exact: true }).fill(token);
      await page.getByRole("button", { name: "Use it" }).click();
      if (!accepted) await has(page, /That token is not known/);
    }
    await page.locator(".graph .node").first().waitFor();
    assert.ok(!(await page.content()).includes("0123456789abcdef"));
    quiet(/401|409/);
    await page.context().close();
  } finally {
    await guarded.kill();
  }
});

Running.prototype.more = () => ["--data-dir", path.join(folder, "data"), "-w", "2"];
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
let [passed, failed] = [0, 0];
try {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
  running = await Running.start(await free(), await free(), Running.prototype.more());
  for (const [name, run] of tests) {
    try {
      await run();
      passed += 1;
      console.log(`test ${name} ... ok`);
    } catch (error) {
      failed += 1;
      complaints.length = 0;
      console.log(`test ${name} ... FAILED\n${error.stack}`);
    }
  }
} catch (error) {
  failed += 1;
  console.log(`FAILED\n${error.stack}\n${fs.readFileSync(path.join(folder, "log"), "utf8").slice(-2000)}`);
} finally {
  await running?.kill();
  await browser?.close();
  fs.rmSync(folder, { recursive: true, force: true });
}
console.log(`test result: ${passed} passed; ${failed} failed; 0 ignored`);
process.exit(failed ? 1 : 0);
