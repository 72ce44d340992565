"""`pixwizard run` over folders: killed, interrupted, broken, changed and resumed; threads; Ray."""

import importlib.util
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixwizard.cli import batch
from pixwizard.cli.batch import run_here
from pixwizard.cli.batch_ray import Worker
from pixwizard.cli.jobs import Job, RunSettings
from pixwizard.cli.main import main
from pixwizard.cli.run import Run
from pixwizard.comfyui_pixwizard.answer import Result
from pixwizard.comfyui_pixwizard.files.digests import model_fingerprint
from pixwizard.comfyui_pixwizard.pictures.images import metadata_of
from pixwizard.comfyui_pixwizard.tasks import get_task

COUNT = 50
FAST = ("--task", "denoise", "--steps", "2", "--size", "64")


def noise(path: Path, seed: int = 0, size: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)).save(path)
    return path


def noises(folder: Path, count: int, size: int = 64) -> Path:
    for number in range(count):
        noise(folder / f"{number:02}.png", number, size)
    return folder


def arguments(source: Path, out: Path, model: Path, *more: object) -> list[str]:
    options = () if "-i" in more else ("-i", "Remove the noise", *FAST)
    return ["run", str(source), "-o", str(out), "--model", str(model), *options, *map(str, more)]


def start(*given: Any) -> subprocess.Popen[str]:
    """The real program, in a process of its own."""
    command = [sys.executable, "-m", "pixwizard.cli", *arguments(*given)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    # A test run in the background of a shell ignores Ctrl-C and would hand that down.
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, preexec_fn=heed, **pipes)


def answers(out: Path) -> dict[str, tuple[int, int]]:
    """Name, file number and time of every answer: another file under the name differs."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(out.glob("*.png"))}


def stopped_at(count: int, process: subprocess.Popen[str], out: Path, how: signal.Signals) -> tuple[int, str]:
    """Stop a run when so many answers are there; its exit code and its complaints."""
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end and len(list(out.glob("*.png"))) < count:
        time.sleep(0.001)
    process.send_signal(how)
    error = process.communicate(timeout=60)[1]
    return process.returncode, error


def check_whole(out: Path, names: set[str]) -> None:
    """Exactly these answers, all of them readable, and nothing else in the folder."""
    assert {path.name for path in out.iterdir()} == names
    for path in out.iterdir():
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            image.load()
            assert image.size == (64, 64)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_interrupted_and_killed_a_run_goes_on_where_it_was(tiny_folder: Path, tmp_path: Path) -> None:
    source, out = noises(tmp_path / "in", COUNT), tmp_path / "out"
    names = {path.name for path in source.iterdir()}

    code, error = stopped_at(3, start(source, out, tiny_folder), out, signal.SIGINT)
    assert code == 130 and error.rstrip().endswith("interrupted; files already written are complete"), error
    interrupted = answers(out)
    check_whole(out, set(interrupted))

    code, error = stopped_at(len(interrupted) + 9, start(source, out, tiny_folder), out, signal.SIGKILL)
    assert code == -signal.SIGKILL, error
    killed = answers(out)
    assert len(interrupted) < len(killed) < COUNT, "stopped between the first answer and the last"
    assert killed.items() >= interrupted.items()
    # Whether the kill leaves one of these is a matter of microseconds; what is no draft of ours stays.
    (out / ".07.png.0123abcd.tmp").write_bytes(b"half")
    (tmp_path / ".other.png.0123abcd.tmp").write_bytes(b"whose?")

    finished = start(source, out, tiny_folder)
    told, error = finished.communicate(timeout=120)
    assert finished.returncode == 0, error
    check_whole(out, names)
    assert answers(out).items() >= killed.items()
    assert told.count("wrote") == COUNT - len(killed) and told.count("kept") == 1, "more than ten are only counted"
    assert f"kept {len(killed)} of {COUNT} answers, made before with these settings" in told
    assert (tmp_path / ".other.png.0123abcd.tmp").exists()


def test_a_broken_picture_is_told_and_the_rest_is_done(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = noises(tmp_path / "in", 3), tmp_path / "out"
    (source / "01.png").write_bytes((source / "01.png").read_bytes()[:2000])
    (source / "broken.jpg").write_bytes(b"no picture")
    (out / "02.png").mkdir(parents=True)  # no place for an answer
    for times in range(2):
        assert main(arguments(source, out, tiny_folder)) == 1
        told = capsys.readouterr()
        for name in ("01.png cannot be read as a picture", "broken.jpg cannot be read as a picture", "02.png: "):
            assert name in told.err
        assert "3 of 4 pictures failed; the others are in" in told.err and "Traceback" not in told.err
        assert ("wrote" in told.out, "kept" in told.out) == ((times == 0), (times == 1))
        assert {path.name for path in out.iterdir()} == {"00.png", "02.png"}


def changed(before: dict[str, tuple[int, int]], out: Path) -> set[str]:
    return {name for name, state in answers(out).items() if before.get(name) != state}


def test_only_what_changed_is_made_again(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = noises(tmp_path / "in", 3, size=80), tmp_path / "out"
    names, found = {"00.png", "01.png", "02.png"}, {}

    def again(expected: set[str], *more: object, model: Path = tiny_folder) -> None:
        before = answers(out)
        assert main(arguments(source, out, model, *more)) == 0
        assert changed(before, out) == expected, more
        told = capsys.readouterr().out
        assert told.count("wrote") == len(expected)
        assert all(f"kept {out / name}, made before with these settings" in told for name in names - expected)

    again(names)
    again(set())
    again(names, "--seed", 1)
    assert {metadata_of(out / name)["seed"] for name in names} == {"1"}
    again(set(), "--seed", 1, "--image-guidance", metadata_of(out / "00.png")["image_guidance"])  # the default, said
    again(names, "--seed", 1, "--size", "80x64")
    again(names, "--keep-model-size")
    again(names)
    for option in (("--shift", 3), ("--threshold", 0.05), ("--windows",)):
        again(names, *option)
        again(set(), *option)
        again(names)
    noise(source / "01.png", seed=99, size=80)
    again({"01.png"})
    again(names, "--again")
    (out / "02.png").write_bytes((out / "02.png").read_bytes()[:3000])
    again({"02.png"})

    found = metadata_of(out / "00.png")
    assert len(found["source_sha256"]) == 64 and found["model"] == str(tiny_folder)
    monkeypatch.chdir(tiny_folder.parent)
    again(set(), model=Path(tiny_folder.name))  # by another path
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    again(set(), model=other)
    described = json.loads((other / "pipeline.json").read_text())
    (other / "pipeline.json").write_text(json.dumps(described | {"provenance": {"steps": 2}}))
    again(names, model=other)


def test_an_answer_without_its_label_is_made_again(tiny_folder: Path, tmp_path: Path) -> None:
    source, out = noises(tmp_path / "in", 2), tmp_path / "out"
    words = ("-i", "Estimate the depth.", "--steps", 2, "--size", 64)

    def again(*more: object) -> set[str]:
        before = answers(out)
        assert main(arguments(source, out, tiny_folder, *words, *more)) == 0
        return changed(before, out)

    both = {"00.png", "01.png"}
    pictures = both | {"00_depth.png", "01_depth.png"}
    assert again() == both
    assert again("--decode") == pictures and again("--decode") == set()
    assert again() == set(), "a label too many does no harm"
    (out / "00_depth.npy").unlink()
    assert again("--decode") == {"00.png", "00_depth.png"}
    # Labels of other settings beside an answer of these do not count.
    assert again("--seed", 1) == both and again("--seed", 1, "--decode") == pictures


def test_a_fingerprint_tells_models_apart(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "transformer").mkdir(parents=True)
    (folder / "pipeline.json").write_text("{}")
    weights = folder / "transformer" / "model.safetensors"
    content = np.random.default_rng(0).bytes(2**20)
    weights.write_bytes(content)
    first = model_fingerprint(folder)
    (folder / "README.md").write_text("no part of the model")
    assert model_fingerprint(shutil.copytree(folder, tmp_path / "b")) == first
    for other in (content[:-1], bytes(1) + content[1:], content[:-1] + bytes(1), bytes(2**20)):
        weights.write_bytes(other)
        assert model_fingerprint(folder) != first
    weights.write_bytes(content)
    assert model_fingerprint(folder) == first


class FakePipeline:
    """Keeps what is asked of it; takes a while, so that the threads are ahead of it."""

    class_names = ("nothing",)

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.seen: list[Image.Image] = []

    def __call__(self, picture: Image.Image, *, size: tuple[int, int], progress: Any, **_: object) -> Result:
        self.threads.add(threading.current_thread().name)
        self.seen.append(picture)
        time.sleep(0.01)
        progress(1, 1)
        return Result(picture, None, {"load": 5.0, "denoise": 0.01}, {"seed": 0})


SETTINGS = RunSettings(
    call={"instruction": "x", "seed": 0}, size=64, keep_size=True, label=None, model="m", folder="m",
    fingerprint="f", max_size=256,
)  # fmt: skip


def test_threads_read_ahead_and_write_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = noises(tmp_path / "in", 30, size=80)
    jobs = [Job(path, tmp_path / "out" / path.name) for path in sorted(source.iterdir())]
    pipeline, steps, ahead = FakePipeline(), [], []
    readers: set[str] = set()
    writers: set[str] = set()

    def prepare(job: Job, settings: RunSettings, real: Any = batch.prepare) -> Any:
        readers.add(threading.current_thread().name)
        ahead.append(int(job.output.stem) - len(pipeline.seen))
        return real(job, settings)

    def write(*given: Any, real: Any = batch.write) -> Any:
        writers.add(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr(batch, "prepare", prepare)
    monkeypatch.setattr(batch, "write", write)
    outcomes = list(run_here(jobs, SETTINGS, pipeline, lambda job: lambda done, of: steps.append(job)))  # type: ignore[arg-type]
    assert [outcome.job for outcome in outcomes] == jobs == steps
    assert all(outcome.error is None and outcome.size == (80, 80) for outcome in outcomes)
    assert {picture.size for picture in pipeline.seen} == {(64, 64)}
    assert pipeline.threads == {threading.current_thread().name}
    assert all("pixwizard-read" in name for name in readers) and all("pixwizard-write" in name for name in writers)
    assert 1 < max(ahead) <= batch.AHEAD
    assert len(list((tmp_path / "out").glob("*.png"))) == len(jobs)


def test_what_is_made_is_written_when_a_run_ends_early(tmp_path: Path) -> None:
    source = noises(tmp_path / "in", 30)
    jobs = [Job(path, tmp_path / "out" / path.name) for path in sorted(source.iterdir())]
    pipeline = FakePipeline()

    def begin(job: Job) -> Any:
        if job is jobs[10]:
            raise KeyboardInterrupt
        return lambda done, of: None

    with pytest.raises(KeyboardInterrupt):
        list(run_here(jobs, SETTINGS, pipeline, begin))  # type: ignore[arg-type]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {job.output.name for job in jobs[:10]}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pixwizard-")]


def same(one: Path, other: Path) -> bool:
    with Image.open(one) as here, Image.open(other) as there:
        return here.tobytes() == there.tobytes() and here.info == there.info


def test_a_worker_of_ray_does_what_a_run_does(tiny_folder: Path, tmp_path: Path) -> None:
    source, out = noises(tmp_path / "in", 2), tmp_path / "out"
    (source / "broken.png").write_bytes(b"no picture")
    assert main(arguments(source, out, tiny_folder)) == 1
    asked = Run(("Remove the noise",), out, (source,), ("denoise",), steps=2, size="64", model=str(tiny_folder))
    settings = asked._settings([get_task("denoise")], 64)
    worker = Worker(pickle.loads(pickle.dumps(settings)))

    def told(worker: Worker, name: str) -> dict[str, Any]:
        row = {"number": 7, "source": str(source / name), "output": str(tmp_path / "there" / name)}
        return json.loads(worker(row)["outcome"])

    for name in ("00.png", "01.png"):
        found = told(worker, name)
        assert found["number"] == 7 and found["size"] == [64, 64]
        assert found["labels"] == found["notes"] == found["chain"] == []
        assert same(out / name, tmp_path / "there" / name)
    assert "broken.png cannot be read as a picture" in told(worker, "broken.png")["error"]
    other = Worker(replace(settings, fingerprint="another"))
    assert "all workers need the model that is here" in told(other, "00.png")["unusable"]


def test_without_ray_one_line_says_how_to_get_it(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("ray is installed")
    assert main(arguments(noises(tmp_path / "in", 2), tmp_path / "out", tiny_folder, "--ray", "local")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("pixwizard: error: --ray needs Ray Data")
    assert error.rstrip().endswith('pip install "ray[data]>=2.40"') and not (tmp_path / "out").exists()


def test_a_cluster_that_does_not_answer_is_one_line(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray.data")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert main(arguments(noises(tmp_path / "in", 2), tmp_path / "out", tiny_folder, "--ray", address)) == 2
    error = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert error.startswith(
        f"pixwizard: error: --ray takes local or the address of a running cluster, found '{address}'"
    )


def test_ray_gives_the_same_answers(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray.data")
    source = noises(tmp_path / "in", 4)
    (source / "broken.png").write_bytes(b"no picture")
    for out, more in ((tmp_path / "here", ()), (tmp_path / "ray", ("--ray", "local"))):
        process = start(source, out, tiny_folder, *more)
        told, error = process.communicate(timeout=180)
        assert process.returncode == 1 and "Traceback" not in error, error
        assert "broken.png cannot be read as a picture" in error and "1 of 5 pictures failed" in error
        assert told.count("wrote") == 4
    check_whole(tmp_path / "ray", {f"{number:02}.png" for number in range(4)})
    assert all(same(path, tmp_path / "ray" / path.name) for path in (tmp_path / "here").iterdir())
