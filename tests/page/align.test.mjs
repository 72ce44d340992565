// The page of `pixwizard align grid`, clicked through: choices are kept at every click, and the page goes on after them.
//
// PIXWIZARD_PYTHON names a Python that has this package (default .venv/bin/python), CHROMIUM a browser (default /usr/bin/chromium).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const python = process.env.PIXWIZARD_PYTHON ?? path.join(root, ".venv", "bin", "python");
const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const reason = !fs.existsSync(python)
  ? `no Python at ${python}: run make install or set PIXWIZARD_PYTHON`
  : !fs.existsSync(browserPath)
    ? `no browser at ${browserPath}: install chromium or set CHROMIUM`
    : false;

// Three questions of even pictures, and the server alone: answers of a model are tested elsewhere.
const SERVE = `
import sys
from pathlib import Path
from PIL import Image
from pixwizard.cli.align_page import server
from pixwizard.training.alignment.grid_folder import SETTINGS, Asked, GridFolder
folder, asked = Path(sys.argv[1]), [Asked(f"{n:04d}", f"Make it {n}.", "edit_recolor") for n in range(3)]
for one in asked:
    (folder / one.name).mkdir(parents=True, exist_ok=True)
    for name in ["source", *(f"{n:02d}" for n in range(len(SETTINGS)))]:
        Image.new("RGB", (32, 32), (int(name) * 12 if name.isdigit() else 255, 90, 90)).save(folder / one.name / f"{name}.png")
with server(GridFolder.create(folder, "nano", asked), 0) as made:
    print(f"http://127.0.0.1:{made.server_port}/", flush=True)
    made.serve_forever()
`;

let served, browser, page, url, folder;
const kept = () => JSON.parse(fs.readFileSync(path.join(folder, "choices.json"), "utf8"));

before(async () => {
  if (reason) return;
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "pixwizard-align-"));
  served = spawn(python, ["-c", SERVE, folder], { stdio: ["ignore", "pipe", "inherit"] });
  url = await new Promise((resolve, reject) => {
    served.stdout.once("data", (data) => resolve(String(data).trim()));
    served.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
  page = await browser.newPage();
});

after(async () => {
  await browser?.close();
  served?.kill();
  if (folder) fs.rmSync(folder, { recursive: true });
});

test("answers are picked by clicks, kept at once, and found again", { skip: reason }, async () => {
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  await page.goto(url);
  const answers = page.locator("button.answer");
  await page.getByText("Question 1 of 3, 0 done").waitFor();
  assert.equal(await answers.count(), 20);
  await page.waitForFunction(() => [...document.images].every((image) => image.complete && image.naturalWidth > 0));
  const sent = () => page.waitForResponse((response) => response.url().endsWith("/choice") && response.ok());
  for (const number of [3, 7]) await Promise.all([sent(), answers.nth(number).click()]);
  assert.deepEqual(kept(), { "0000": { picked: [3, 7], seen: false } });
  // A third is refused, and nothing is sent.
  await answers.nth(9).click();
  assert.match(await page.locator("#note").innerText(), /At most 2/);
  await Promise.all([sent(), answers.nth(3).click()]);
  assert.deepEqual(kept()["0000"].picked, [7]);
  await Promise.all([sent(), page.getByText("Keep and go on").click()]);
  await page.getByText("Question 2 of 3, 1 done").waitFor();
  await Promise.all([sent(), page.getByText("None is good").click()]);
  await page.getByText("Question 3 of 3, 2 done").waitFor();
  assert.deepEqual(kept()["0001"], { picked: [], seen: true });
  // Read again, the page goes on with what is left; going back shows what was picked.
  await page.reload();
  await page.getByText("Question 3 of 3, 2 done").waitFor();
  for (let step = 0; step < 2; step++) await page.getByText("Back").click();
  assert.equal(await answers.nth(7).getAttribute("aria-pressed"), "true");
  for (let step = 0; step < 3; step++) {
    if (await page.locator("#done").isVisible()) break;
    await Promise.all([sent(), page.locator("#next").click()]);
  }
  await page.getByText("All questions are done").waitFor();
  assert.deepEqual(Object.values(kept()).map((one) => one.seen), [true, true, true]);
  assert.deepEqual(errors, []);
});
