"""The page on which a person picks among twenty answers, and the small server of this machine that keeps the choices.

The page is one document without anything from elsewhere; it asks for one question after the other, so that a closed
page or a stopped server loses nothing: every click is kept at once.
"""

from __future__ import annotations

import json
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..training.alignment.grid_folder import MOST, SETTINGS, Choice, GridFolder
from .demo_page import STYLE

MOST_BYTES = 10_000  # of a choice that is sent
LOCAL = ("127.0.0.1", "localhost")

MORE_STYLE = """
.bar { display:flex; gap:12px; align-items:center; flex-wrap:wrap; margin:0 0 16px; }
.grid { display:grid; grid-template-columns:repeat(auto-fill, minmax(150px, 1fr)); gap:10px; }
button { font:inherit; color:inherit; background:var(--card); border:1px solid var(--line); border-radius:8px;
  padding:6px 14px; cursor:pointer; }
button.answer { padding:4px; border-width:3px; } button.answer img { width:100%; display:block; border-radius:4px; }
button.answer[aria-pressed=true] { border-color:#1570ef; } button:focus-visible { outline:2px solid #1570ef; }
#source { max-width:256px; border-radius:6px; } #note { color:#d92d20; }
"""
SCRIPT = """
let questions = [], at = 0;
const $ = (id) => document.getElementById(id);
async function keep(seen) {
  const one = questions[at];
  one.seen = seen;
  const sent = { name: one.name, picked: one.picked, seen };
  const answer = await fetch("choice", { method: "POST", body: JSON.stringify(sent),
    headers: { "content-type": "application/json" } });
  if (!answer.ok) throw new Error((await answer.json()).error);
}
function told(error) { $("note").textContent = "Not kept: " + error.message; }
function shown() {
  const one = questions[at], done = questions.filter((q) => q.seen).length;
  $("count").textContent = `Question ${at + 1} of ${questions.length}, ${done} done`;
  $("say").textContent = `\\u201c${one.sentence}\\u201d`;
  $("task").textContent = one.task;
  $("source").src = `picture/${one.name}/source`;
  $("back").disabled = at === 0;
  $("next").textContent = one.picked.length ? "Keep and go on" : "None is good";
  document.querySelectorAll("button.answer").forEach((button, number) => {
    const url = `picture/${one.name}/${number}`, image = button.firstChild;
    if (!image.src.endsWith(url)) image.src = url;
    button.setAttribute("aria-pressed", one.picked.includes(number));
  });
}
async function pick(number) {
  const one = questions[at];
  $("note").textContent = "";
  if (one.picked.includes(number)) one.picked = one.picked.filter((other) => other !== number);
  else if (one.picked.length < MOST) one.picked = [...one.picked, number].sort((a, b) => a - b);
  else { $("note").textContent = `At most ${MOST} are picked: click one that is picked to drop it.`; return; }
  shown();
  await keep(one.seen).catch(told);
}
async function go() {
  $("note").textContent = "";
  try { await keep(true); } catch (error) { told(error); return; }
  const left = questions.findIndex((one) => !one.seen);
  if (left < 0) { $("work").hidden = true; $("done").hidden = false; return; }
  at = at + 1 < questions.length && !questions[at + 1].seen ? at + 1 : left;
  shown();
}
async function begin() {
  questions = await (await fetch("questions")).json();
  for (let number = 0; number < COUNT; number++) {
    const button = document.createElement("button");
    button.className = "answer";
    button.setAttribute("aria-label", `answer ${number + 1}`);
    button.appendChild(new Image()).alt = "";
    button.onclick = () => pick(number);
    $("grid").appendChild(button);
  }
  $("next").onclick = go;
  $("back").onclick = () => { at -= 1; shown(); };
  document.onkeydown = (event) => { if (event.key === "ArrowRight") go(); };
  at = questions.findIndex((one) => !one.seen);
  if (at < 0) { $("work").hidden = true; $("done").hidden = false; at = 0; } else shown();
}
begin().catch(told);
"""
BODY = f"""
<h1>Which answers are good?</h1><p id="count"></p><p id="note" role="alert"></p>
<div id="work"><div class="card"><span class="tag" id="task"></span><div class="say" id="say"></div>
<img id="source" alt="the picture that is asked about"></div>
<div class="bar"><button id="back">Back</button><button id="next"></button>
<span class="tag">none to {MOST} are picked; right arrow goes on</span></div><div class="grid" id="grid"></div></div>
<div id="done" hidden><h2>All questions are done</h2><p>The choices are kept; this page can be closed.</p></div>
"""


def page() -> str:
    """The document."""
    script = SCRIPT.replace("MOST", str(MOST)).replace("COUNT", str(len(SETTINGS)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>PixWizard: align</title>'
        f"<style>{STYLE}{MORE_STYLE}</style></head>\n<body><main>{BODY}</main><script>{script}</script></body></html>\n"
    )


def server(grid: GridFolder, port: int) -> ThreadingHTTPServer:
    """A server of the page for this machine alone; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """

    class Handler(_Handler):
        pass

    Handler.grid = grid
    return ThreadingHTTPServer((LOCAL[0], port), Handler)


class _Handler(BaseHTTPRequestHandler):
    grid: GridFolder

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if not self._local():
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"")
        elif parts == [""]:
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", page().encode())
        elif parts == ["questions"]:
            self._json(HTTPStatus.OK, self._questions())
        elif len(parts) == 3 and parts[0] == "picture" and (file := self._picture(*parts[1:])) is not None:
            self._send(HTTPStatus.OK, "image/png", file.read_bytes())
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"")

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        kind = self.headers.get("content-type", "")
        # Another site's page could send a form here, but not JSON.
        if not self._local() or self.path != "/choice" or kind != "application/json":
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"")
            return
        if not length.isdigit() or int(length) > MOST_BYTES:
            self._json(HTTPStatus.BAD_REQUEST, {"error": f"a choice has at most {MOST_BYTES} bytes"})
            return
        try:
            told = json.loads(self.rfile.read(int(length)))
            picked = told["picked"]
            if not isinstance(picked, list) or not all(type(one) is int for one in picked):
                raise ValueError("picked is a list of numbers")
            self.grid.choose(str(told["name"]), Choice(tuple(picked), told["seen"] is True))
        except (ValueError, KeyError, TypeError) as error:
            self._json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        self._json(HTTPStatus.OK, {})

    def _local(self) -> bool:
        """Whether the page was asked for by this machine's name: no other name may be made to point here."""
        return self.headers.get("host", "").rpartition(":")[0] in LOCAL

    def _questions(self) -> list[dict[str, Any]]:
        choices = self.grid.choices()
        rows = ((one, choices.get(one.name, Choice())) for one in self.grid.asked)
        return [
            {"name": one.name, "sentence": one.sentence, "task": one.task, "picked": kept.picked, "seen": kept.seen}
            for one, kept in rows
        ]

    def _picture(self, name: str, which: str) -> Path | None:
        asked = next((one for one in self.grid.asked if one.name == name), None)
        if asked is None:
            return None
        if which == "source":
            return self.grid.source(asked)
        return self.grid.answer(asked, int(which)) if which.isdigit() and int(which) < len(SETTINGS) else None

    def _json(self, status: HTTPStatus, value: object) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.send_header("cache-control", "no-store")
        # A page that goes on before its pictures are there closes the line: nobody is left to be told.
        with suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what matters is in the choices' file."""
