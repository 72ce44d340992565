// Every example workflow, opened from the page's template browser and run there; screenshots stay in SCREENSHOTS.
//
// COMFYUI_PATH names a checkout, COMFYUI_PYTHON its Python, CHROMIUM a browser (default /usr/bin/chromium).
// ONLY=name runs one workflow. The host runs on the CPU with a base folder of its own, so nothing of the user's is touched.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const host = process.env.COMFYUI_PATH;
const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const shots = path.resolve(process.env.SCREENSHOTS ?? path.join(root, "runs", "page"));
const names = fs
  .readdirSync(path.join(root, "example_workflows"))
  .filter((name) => name.endsWith(".json"))
  .map((name) => path.basename(name, ".json"))
  .filter((name) => !process.env.ONLY || name === process.env.ONLY);
const START_MS = 180_000;
const RUN_MS = 120_000;
const reason = !host
  ? "no ComfyUI: set COMFYUI_PATH to a checkout and COMFYUI_PYTHON to its Python"
  : !fs.existsSync(browserPath)
    ? `no browser at ${browserPath}: install chromium or set CHROMIUM`
    : false;

let server, browser, page, url, base;
const log = [];

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function until(check, what, limit) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await check().catch(() => undefined);
    if (found) return found;
    assert.ok(Date.now() < end, `waited ${limit / 1000} s for ${what}; the host said:\n${log.slice(-15).join("")}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

before(async () => {
  if (reason) return;
  fs.mkdirSync(shots, { recursive: true });
  base = fs.mkdtempSync(path.join(os.tmpdir(), "pixwizard-page-"));
  for (const name of ["custom_nodes", "models", "input", "output", "temp", "user"]) fs.mkdirSync(path.join(base, name));
  fs.symlinkSync(root, path.join(base, "custom_nodes", "ComfyUI-PixWizard"));
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const options = ["main.py", "--cpu", "--listen", "127.0.0.1", "--port", String(port), "--base-directory", base];
  options.push("--disable-auto-launch", "--disable-api-nodes", "--preview-method", "latent2rgb");
  server = spawn(process.env.COMFYUI_PYTHON ?? "python3", options, { cwd: host });
  for (const stream of [server.stdout, server.stderr]) stream.on("data", (data) => log.push(String(data)));
  await until(async () => (await fetch(`${url}/system_stats`)).ok, "the host to start", START_MS);
  // Without this the first start covers the canvas with its tutorial.
  const settings = { "Comfy.TutorialCompleted": true, "Comfy.Workflow.ShowMissingModelsWarning": false };
  await fetch(`${url}/api/settings`, { method: "POST", body: JSON.stringify(settings) });
  browser = await chromium.launch({
    executablePath: browserPath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  page = await browser.newPage({ viewport: { width: 1800, height: 1000 } });
  await page.goto(url);
  const ready = () => page.evaluate(() => Boolean(window.app?.graph && window.app.extensionManager));
  await until(ready, "the page", START_MS);
  await page.waitForTimeout(3000);
});

after(async () => {
  await browser?.close();
  if (server && server.exitCode === null) {
    const gone = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGTERM");
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 10_000).unref())]);
    server.kill("SIGKILL");
  }
  if (base) fs.rmSync(base, { recursive: true, force: true });
});

async function browseTemplates() {
  await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.BrowseTemplates"));
  await page.getByText("ComfyUI-PixWizard", { exact: true }).first().click({ timeout: 20_000 });
  await page.waitForTimeout(1500);
}

function card(name) {
  return page.getByText(name, { exact: true }).first();
}

function fitView() {
  return page.evaluate(() => window.app.extensionManager.command.execute("Comfy.Canvas.FitView"));
}

test("the extension loads without a complaint", { skip: reason }, async () => {
  const text = log.join("");
  assert.match(text, /ComfyUI-PixWizard/);
  assert.doesNotMatch(text, /IMPORT FAILED|Cannot import/);
  const nodes = await (await fetch(`${url}/object_info`)).json();
  const ours = Object.keys(nodes).filter((name) => name.startsWith("PixWizard"));
  const stored = JSON.parse(fs.readFileSync(path.join(root, "tests/host/schema.json"), "utf8"));
  assert.deepEqual(ours.sort(), Object.keys(stored).sort());
});

test("the template browser lists every workflow with its picture", { skip: reason || Boolean(process.env.ONLY) }, async () => {
  const templates = await (await fetch(`${url}/api/workflow_templates`)).json();
  assert.deepEqual(templates["ComfyUI-PixWizard"].sort(), [...names].sort());
  for (const name of names) {
    const picture = await fetch(`${url}/api/workflow_templates/ComfyUI-PixWizard/${encodeURIComponent(name)}.jpg`);
    assert.ok(picture.ok, name);
  }
  await browseTemplates();
  await page.screenshot({ path: path.join(shots, "templates.png") });
  for (const name of names) await card(name).scrollIntoViewIfNeeded({ timeout: 20_000 });
  await page.keyboard.press("Escape");
  await page.waitForTimeout(500);
});

test("help pages and translations are served", { skip: reason || Boolean(process.env.ONLY) }, async () => {
  const help = await fetch(`${url}/extensions/ComfyUI-PixWizard/docs/PixWizardSampler.md`);
  assert.match(await help.text(), /^# PixWizard Sampler/);
  const chinese = await fetch(`${url}/extensions/ComfyUI-PixWizard/docs/PixWizardSampler/zh.md`);
  assert.match(await chinese.text(), /^# PixWizard \p{Script=Han}/u);
  const words = await (await fetch(`${url}/i18n`)).json();
  assert.match(words.zh.nodeDefs.PixWizardSampler.description, /\p{Script=Han}/u);
});

for (const name of names) {
  test(`${name} opens and runs`, { skip: reason }, async () => {
    const problems = [];
    const complain = (error) => problems.push(String(error));
    page.on("pageerror", complain);
    const graph = await (await fetch(`${url}/api/workflow_templates/ComfyUI-PixWizard/${encodeURIComponent(name)}.json`)).json();
    await browseTemplates();
    await card(name).scrollIntoViewIfNeeded({ timeout: 20_000 });
    await card(name).click();
    const count = graph.nodes.length;
    await until(() => page.evaluate((n) => window.app.graph._nodes.length === n, count), `${name} to open`, 30_000);
    await page.waitForTimeout(1500);
    // Nodes outside of the view are not drawn and would not fetch their pictures.
    await fitView();
    const missing = await page.evaluate(() => window.app.graph._nodes.filter((node) => node.has_errors).map((n) => n.type));
    assert.deepEqual(missing, []);
    const before = Object.keys(await (await fetch(`${url}/history`)).json());
    await page.evaluate(() => window.app.queuePrompt(0, 1));
    const entry = await until(
      async () => {
        const history = await (await fetch(`${url}/history`)).json();
        const fresh = Object.keys(history).find((key) => !before.includes(key));
        return fresh && history[fresh].status.completed !== undefined ? history[fresh] : undefined;
      },
      `${name} to finish`,
      RUN_MS,
    );
    assert.equal(entry.status.status_str, "success", JSON.stringify(entry.status.messages));
    const shows = (node) => node.type === "PreviewImage" || /^PixWizardDecode/.test(node.type);
    const previews = graph.nodes.filter(shows).map((node) => String(node.id));
    for (const id of previews) assert.ok(entry.outputs[id]?.images?.length, `node ${id} shows nothing`);
    // Pictures reach their nodes after the result.
    await until(
      () => page.evaluate((ids) => ids.every((id) => window.app.graph.getNodeById(Number(id))?.imgs?.length), previews),
      "the previews",
      30_000,
    );
    await fitView();
    await page.waitForTimeout(2000);
    await page.screenshot({ path: path.join(shots, `${name}.png`) });
    page.off("pageerror", complain);
    assert.deepEqual(problems, []);
  });
}
