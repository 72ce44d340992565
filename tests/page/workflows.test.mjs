// Every example workflow, opened from the page's template browser and run there, and every blueprint, taken from the
// search for nodes; screenshots stay in SCREENSHOTS.
//
// COMFYUI_PATH names a checkout, COMFYUI_PYTHON its Python, CHROMIUM a browser (default /usr/bin/chromium).
// ONLY=pattern runs the workflows and blueprints whose names match. The host runs on the CPU with a base folder of its
// own, so nothing of the user's is touched.

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
const stored = (folder) =>
  fs
    .readdirSync(path.join(root, folder))
    .filter((name) => name.endsWith(".json"))
    .map((name) => path.basename(name, ".json"))
    .filter((name) => new RegExp(process.env.ONLY ?? "").test(name));
const names = stored("example_workflows");
const blueprints = stored("subgraphs");
// Its files are gigabytes.
const RELEASED = "The released weights";
const WARNING = "Comfy.Workflow.ShowMissingModelsWarning";
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

async function loaded() {
  const ready = () => page.evaluate(() => Boolean(window.app?.graph && window.app.extensionManager));
  await until(ready, "the page", START_MS);
  await page.waitForTimeout(3000);
}

// What a reader brings: a folder of pictures, a LoRA, whose weights here are of no layer, and a task, which here is zero.
function bring() {
  const pictures = path.join(base, "input", "pictures");
  const loras = path.join(base, "models", "loras");
  const tasks = path.join(base, "models", "pixwizard_tasks");
  for (const folder of [pictures, loras, tasks]) fs.mkdirSync(folder, { recursive: true });
  for (const name of ["coffee.jpg", "rocket.jpg"])
    fs.copyFileSync(path.join(root, "nodes", "photographs", name), path.join(pictures, name));
  writeZeros(path.join(loras, "pixwizard_lora.safetensors"), { none: [1] });
  const learned = { tasks: '["my-task"]', learned: '{"instruction": "Make a duotone of this picture.", "points": 5}' };
  // The widths of the bundled model.
  writeZeros(path.join(tasks, "my-task.safetensors"), { vectors: [1, 256], tokens: [1, 192] }, learned);
}

// A safetensors file of float32 zeros.
function writeZeros(file, shapes, metadata = {}) {
  let end = 0;
  const header = { __metadata__: metadata };
  for (const [name, shape] of Object.entries(shapes)) {
    const size = 4 * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + size] };
    end += size;
  }
  const words = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(words.length));
  fs.writeFileSync(file, Buffer.concat([length, words, Buffer.alloc(end)]));
}

before(async () => {
  if (reason) return;
  fs.mkdirSync(shots, { recursive: true });
  base = fs.mkdtempSync(path.join(os.tmpdir(), "pixwizard-page-"));
  for (const name of ["custom_nodes", "models", "input", "output", "temp", "user"]) fs.mkdirSync(path.join(base, name));
  fs.symlinkSync(root, path.join(base, "custom_nodes", "ComfyUI-PixWizard"));
  bring();
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const options = ["main.py", "--cpu", "--listen", "127.0.0.1", "--port", String(port), "--base-directory", base];
  options.push("--disable-auto-launch", "--disable-api-nodes", "--preview-method", "latent2rgb");
  server = spawn(process.env.COMFYUI_PYTHON ?? "python3", options, { cwd: host });
  for (const stream of [server.stdout, server.stderr]) stream.on("data", (data) => log.push(String(data)));
  await until(async () => (await fetch(`${url}/system_stats`)).ok, "the host to start", START_MS);
  // Without this the first start covers the canvas with its tutorial.
  const settings = { "Comfy.TutorialCompleted": true, [WARNING]: false };
  await fetch(`${url}/api/settings`, { method: "POST", body: JSON.stringify(settings) });
  browser = await chromium.launch({
    executablePath: browserPath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  page = await browser.newPage({ viewport: { width: 1800, height: 1000 } });
  await page.goto(url);
  await loaded();
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

// In the template browser: a workflow that is open has its name on a tab, too.
function card(name) {
  return page.getByRole("dialog").getByText(name, { exact: true }).first();
}

// Cards that are far down are made when one scrolls there.
async function reveal(name) {
  await page.mouse.move(1000, 600);
  const found = async () => {
    if (await card(name).count()) return true;
    await page.mouse.wheel(0, 1500);
    return false;
  };
  await until(found, `the card of ${name}`, 20_000);
  await card(name).scrollIntoViewIfNeeded({ timeout: 20_000 });
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
  for (const name of names) await reveal(name);
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

// Runs what is on the canvas, at once or by an act on the page; answers its entry in the history.
async function run(what, act = () => page.evaluate(() => window.app.queuePrompt(0, 1))) {
  const before = Object.keys(await (await fetch(`${url}/history`)).json());
  await act();
  const entry = await until(
    async () => {
      const history = await (await fetch(`${url}/history`)).json();
      const fresh = Object.keys(history).find((key) => !before.includes(key));
      return fresh && history[fresh].status.completed !== undefined ? history[fresh] : undefined;
    },
    `${what} to finish`,
    RUN_MS,
  );
  assert.equal(entry.status.status_str, "success", JSON.stringify(entry.status.messages));
  return entry;
}

// Waits until nodes show what the run made, and takes the picture of the page.
async function shown(entry, ids, what) {
  for (const id of ids) assert.ok(entry.outputs[id]?.images?.length, `node ${id} shows nothing`);
  // Pictures reach their nodes after the result.
  await until(
    () => page.evaluate((ids) => ids.every((id) => window.app.graph.getNodeById(Number(id))?.imgs?.length), ids),
    "the previews",
    30_000,
  );
  await fitView();
  await page.waitForTimeout(2000);
  await page.screenshot({ path: path.join(shots, `${what}.png`) });
}

async function open(name) {
  const address = `${url}/api/workflow_templates/ComfyUI-PixWizard/${encodeURIComponent(name)}.json`;
  const graph = await (await fetch(address)).json();
  await browseTemplates();
  await reveal(name);
  await card(name).click();
  const count = graph.nodes.length;
  await until(() => page.evaluate((n) => window.app.graph._nodes.length === n, count), `${name} to open`, 30_000);
  await page.waitForTimeout(1500);
  return graph;
}

for (const name of names.filter((name) => name !== RELEASED)) {
  test(`${name} opens and runs`, { skip: reason }, async () => {
    const problems = [];
    const complain = (error) => problems.push(String(error));
    page.on("pageerror", complain);
    const graph = await open(name);
    // Nodes outside of the view are not drawn and would not fetch their pictures.
    await fitView();
    const missing = await page.evaluate(() => window.app.graph._nodes.filter((node) => node.has_errors).map((n) => n.type));
    assert.deepEqual(missing, []);
    const entry = await run(name);
    const shows = (node) => node.type === "PreviewImage" || /^PixWizardDecode/.test(node.type);
    await shown(entry, graph.nodes.filter(shows).map((node) => String(node.id)), name);
    page.off("pageerror", complain);
    assert.deepEqual(problems, []);
  });
}

for (const name of blueprints) {
  test(`${name} is found by the search for nodes and runs as one node`, { skip: reason }, async () => {
    await page.evaluate(() => window.app.graph.clear());
    await page.evaluate(() => window.app.extensionManager.command.execute("Workspace.SearchBox.Toggle"));
    await page.keyboard.type(name, { delay: 20 });
    await page.getByText(name, { exact: true }).first().waitFor({ timeout: 20_000 });
    await page.keyboard.press("Enter");
    await until(() => page.evaluate(() => window.app.graph._nodes.length === 1), `${name} to be added`, 30_000);
    const [title, preview] = await page.evaluate(() => {
      const [node] = window.app.graph._nodes;
      const [example, preview] = ["PixWizardExample", "PreviewImage"].map((type) => window.LiteGraph.createNode(type));
      example.pos = [node.pos[0] - 500, node.pos[1]];
      preview.pos = [node.pos[0] + 500, node.pos[1]];
      for (const added of [example, preview]) window.app.graph.add(added);
      for (const [slot, input] of [[0, "image"], [4, "mask"]])
        if (node.findInputSlot(input) >= 0) example.connect(slot, node, node.findInputSlot(input));
      node.connect(node.outputs.findIndex((output) => output.type === "IMAGE"), preview, 0);
      return [node.title, String(preview.id)];
    });
    assert.equal(title, name);
    await fitView();
    await shown(await run(name), [preview], name);
  });
}

test("the page names the files that are missing", { skip: reason || !names.includes(RELEASED) }, async () => {
  await page.evaluate((warning) => window.app.extensionManager.setting.set(warning, true), WARNING);
  const graph = await open(RELEASED);
  const files = graph.nodes.flatMap((node) => node.properties.models ?? []);
  assert.equal(files.length, 5);
  for (const { name, directory } of files)
    await page.getByText(`${directory} / ${name}`).first().waitFor({ timeout: 20_000 });
  await page.screenshot({ path: path.join(shots, `${RELEASED}.png`) });
  // The graph would be opened again by a page that is loaded again, and what is missing be named there too.
  await page.evaluate((warning) => window.app.extensionManager.setting.set(warning, false), WARNING);
  await until(async () => {
    await page.keyboard.press("Escape");
    return !(await page.locator(".p-dialog-mask").count());
  }, "the dialog to close", 20_000);
});

// Drops a file on an empty part of the canvas, or pastes it there.
async function give(how, content, name, type) {
  await page.evaluate(
    ([how, bytes, name, type]) => {
      const data = new DataTransfer();
      const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
      data.items.add(new File([content], name, { type }));
      if (how === "paste") {
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        return;
      }
      const canvas = document.querySelector("#graph-canvas");
      const box = canvas.getBoundingClientRect();
      const place = { clientX: box.x + box.width * 0.3, clientY: box.y + box.height * 0.92, bubbles: true, cancelable: true };
      for (const event of ["dragenter", "dragover", "drop"])
        canvas.dispatchEvent(new DragEvent(event, { ...place, dataTransfer: data }));
    },
    [how, Buffer.from(content).toString("base64"), name, type],
  );
}

async function picture({ filename, subfolder, type }) {
  const query = new URLSearchParams({ filename, subfolder, type });
  return Buffer.from(await (await fetch(`${url}/view?${query}`)).arrayBuffer());
}

test("a picture that is dropped on the page brings its graph back", { skip: reason || Boolean(process.env.ONLY) }, async () => {
  const name = "Select by words (mask)";
  const graph = await open(name);
  const { id } = graph.nodes.findLast((node) => node.type === "PreviewImage");
  const first = await picture((await run(name)).outputs[id].images[0]);
  await page.evaluate(() => window.app.graph.clear());
  await give("drop", first, "shared.png", "image/png");
  const count = graph.nodes.length;
  await until(() => page.evaluate((n) => window.app.graph._nodes.length === n, count), "the graph", 30_000);
  // Another seed in between, or the host would answer from its cache.
  const again = async (seed) => {
    await page.evaluate((seed) => {
      const sampler = window.app.graph._nodes.find((node) => node.type === "PixWizardSampler");
      sampler.widgets.find((widget) => widget.name === "seed").value = seed;
    }, seed);
    return picture((await run(name)).outputs[id].images[0]);
  };
  const seed = graph.nodes.find((node) => node.type === "PixWizardSampler").widgets_values[0];
  const pixels = (file) => file.subarray(file.indexOf("IDAT"));
  assert.notDeepEqual(pixels(await again(seed + 1)), pixels(first));
  assert.deepEqual(pixels(await again(seed)), pixels(first));
});

// README says how many clicks these are.
const CLICKS = { first: 4, own: 9 };

test("a newcomer's clicks, from the page to an answer and to one's own photograph", { skip: reason || Boolean(process.env.ONLY) }, async () => {
  let clicks = 0;
  const click = async (what) => {
    await what.click({ timeout: 20_000 });
    clicks += 1;
  };
  await page.reload();
  await loaded();
  await click(page.locator(".templates-tab-button"));
  await click(page.getByText("ComfyUI-PixWizard", { exact: true }).first());
  await page.waitForTimeout(1500);
  await reveal("Restore a picture");
  await click(card("Restore a picture"));
  await until(() => page.evaluate(() => window.app.graph._nodes.some((node) => node.type === "PixWizardSampler")), "it", 30_000);
  await page.waitForTimeout(1500);
  const press = () => click(page.getByTestId("queue-button").first());
  await run("the first answer", press);
  assert.equal(clicks, CLICKS.first);
  // A photograph is pasted on the canvas, as the host takes only pictures with graphs by dropping; its wires are drawn.
  await fitView();
  // It comes where the mouse is: below the graph, where nothing lies over it.
  await page.mouse.move(300, 620);
  await give("paste", fs.readFileSync(path.join(root, "nodes", "photographs", "rocket.jpg")), "mine.jpg", "image/jpeg");
  clicks += 1;
  await until(() => page.evaluate(() => window.app.graph._nodes.some((node) => node.type === "LoadImage" && node.imgs?.length)), "the photograph", 30_000);
  await fitView();
  await page.waitForTimeout(1500);
  // Where an output and an input lie on the screen.
  const points = await page.evaluate(() => {
    const { graph, canvas } = window.app;
    const load = graph._nodes.find((node) => node.type === "LoadImage");
    const example = graph._nodes.find((node) => node.type === "PixWizardExample");
    const rect = canvas.canvas.getBoundingClientRect();
    const screen = ([x, y]) => [
      rect.left + (x + canvas.ds.offset[0]) * canvas.ds.scale, rect.top + (y + canvas.ds.offset[1]) * canvas.ds.scale,
    ];
    const ends = (example.outputs[0].links ?? []).map((id) => {
      const link = graph.links.get?.(id) ?? graph.links[id];
      return screen(graph.getNodeById(link.target_id).getConnectionPos(true, link.target_slot));
    });
    return { from: screen(load.getConnectionPos(false, 0)), ends };
  });
  for (const end of points.ends) {
    await page.mouse.move(...points.from);
    await page.mouse.down();
    await page.mouse.move(...end, { steps: 12 });
    await page.mouse.up();
    clicks += 1;
  }
  const wired = await page.evaluate(() => {
    const load = window.app.graph._nodes.find((node) => node.type === "LoadImage");
    return load.outputs[0].links?.length ?? 0;
  });
  assert.equal(wired, points.ends.length, "each wire is drawn");
  await run("the answer to one's own", press);
  await page.waitForTimeout(2000);
  await page.screenshot({ path: path.join(shots, "newcomer.png") });
  assert.equal(clicks, CLICKS.own);
});

test("the page is Chinese where one reads Chinese", { skip: reason || Boolean(process.env.ONLY) }, async () => {
  await page.evaluate(() => window.app.extensionManager.setting.set("Comfy.Locale", "zh"));
  await page.reload();
  await loaded();
  const graph = await open("Edit the light");
  await fitView();
  const told = await page.evaluate(() =>
    window.app.graph._nodes.filter((node) => node.type.startsWith("PixWizard")).map((node) => ({
      title: window.LiteGraph.registered_node_types[node.type].title,
      inputs: (node.widgets ?? []).map((widget) => widget.label ?? widget.name),
    })),
  );
  const shown = await run("Edit the light");
  await page.waitForTimeout(2000);
  await page.screenshot({ path: path.join(shots, "chinese.png") });
  await page.evaluate(() => window.app.extensionManager.setting.set("Comfy.Locale", "en"));
  assert.ok(shown && told.length >= 5 && graph.nodes.length > told.length);
  for (const { title } of told) assert.match(title, /\p{Script=Han}/u);
  const words = told.flatMap(({ inputs }) => inputs);
  assert.ok(words.filter((word) => /\p{Script=Han}/u.test(word)).length > words.length / 2, words.join(", "));
});
