"""TensorRT-RTX in a process of its own: builds an engine from an ONNX file, or looks at one. Needs no GPU.

Run as a script with one argument, a job as JSON; answers in lines of JSON on stdout, the compiler's log goes to stderr.
It imports nothing of this project, so that it starts fast and works whatever the project's package is called.

The wheel `onnxruntime-ep-nv-tensorrt-rtx-cu13` holds the compiler as C++ libraries without a Python interface, and its
own ONNX Runtime provider refuses to start where no NVIDIA driver is installed. The libraries do not: they are called
here the way C++ does, by the position of a method in its class. Positions are those of the headers of TensorRT 11.1
(`NvInferImpl.h`, Apache-2.0), which this version of TensorRT-RTX shares; others are refused.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"
INSTALL = f'{sys.executable} -m pip install "onnxruntime-ep-nv-tensorrt-rtx-cu13>=0.5,<0.6"'
# Positions below were checked against 1.7; the version is major * 10000 + minor * 100 + patch.
KNOWN = range(10700, 10800)
LAYOUT_BYTES = 64
MALFORMED = 0x20
POINTER = ctypes.c_void_p
SEVERITIES = ("internal error", "error", "warning", "info", "verbose")

CREATE_CONFIG, CREATE_NETWORK, CREATE_PROFILE, BUILD = 5, 6, 7, 11
ADD_PROFILE, SET_MONITOR, SET_TARGET_COUNT, SET_TARGET = 23, 45, 55, 57
SET_DIMENSIONS = 2
DATA, SIZE = 2, 3
DESERIALIZE, VALIDITY = 3, 24
PARSE_FILE, ERROR_COUNT, ERROR, ERROR_TEXT, ERROR_NODE, ERROR_OPERATOR = 1, 3, 4, 1, 6, 7


class Failed(Exception):
    """What the compiler would not do, in one line."""


class Dims(ctypes.Structure):
    """A shape of up to eight sides."""

    _fields_ = (("count", ctypes.c_int32), ("sides", ctypes.c_int64 * 8))


def method(this: int, position: int, result: Any, *types: Any) -> Any:
    """A virtual method of a C++ object, to be called without the object."""
    table = ctypes.cast(ctypes.cast(this, ctypes.POINTER(POINTER))[0], ctypes.POINTER(POINTER))
    function = ctypes.CFUNCTYPE(result, POINTER, *types)(table[position])
    return lambda *values: function(this, *values)


def api(this: int, position: int, result: Any, *types: Any) -> Any:
    """The same of a TensorRT object, which keeps its methods in the object that its second word points to."""
    return method(ctypes.cast(this, ctypes.POINTER(POINTER))[1], position, result, *types)


class Interface:
    """A C++ object made of Python functions: an interface that TensorRT calls back.

    Its first four methods are those of every such interface: the language, what it is, and twice the destructor.
    """

    def __init__(self, name: bytes, *methods: Any) -> None:
        self.name = ctypes.c_char_p(name)
        said = ctypes.cast(self.name, POINTER).value
        language = ctypes.CFUNCTYPE(ctypes.c_int32, POINTER)(lambda this: 0)
        info = ctypes.CFUNCTYPE(POINTER, POINTER)(lambda this: said)
        gone = ctypes.CFUNCTYPE(None, POINTER)(lambda this: None)
        self.kept = (language, info, gone, gone, *methods)
        self.table = (POINTER * len(self.kept))(*(ctypes.cast(item, POINTER) for item in self.kept))
        self.object = (POINTER * 1)(ctypes.addressof(self.table))
        self.address = ctypes.addressof(self.object)


def say(**values: Any) -> None:
    """One line for the process that started this one."""
    print(json.dumps(values), flush=True)


def _log(this: int, severity: int, text: bytes) -> None:
    if severity < 4:
        print(f"[{SEVERITIES[severity]}] {text.decode(errors='replace')}", file=sys.stderr, flush=True)


def _phase_start(this: int, name: bytes, parent: bytes | None, steps: int) -> None:
    say(phase=name.decode(), parent=parent.decode() if parent else None, steps=steps)


def _step(this: int, name: bytes, step: int) -> bool:
    say(phase=name.decode(), step=step)
    return True


def _phase_end(this: int, name: bytes) -> None:
    say(phase=name.decode(), end=True)


class Library:
    """The two libraries of the wheel.

    Raises:
        Failed: they are absent, cannot be loaded, or are of a version that was not checked.
    """

    def __init__(self) -> None:
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise Failed(f"TensorRT-RTX is not installed: {INSTALL}")
        folder = Path(found.origin).parent
        self.compiler, self.parser = (self._load(folder, name) for name in ("tensorrt_rtx", "tensorrt_onnxparser_rtx"))
        self.compiler.getInferLibVersion.restype = ctypes.c_int32
        self.version: int = self.compiler.getInferLibVersion()
        if self.version not in KNOWN:
            raise Failed(f"TensorRT-RTX 1.7 is supported, found {self.name}: {INSTALL}")
        for function, types in (
            (self.compiler.createInferBuilder_INTERNAL, [POINTER, ctypes.c_int32]),
            (self.compiler.createInferRuntime_INTERNAL, [POINTER, ctypes.c_int32]),
            (self.parser.createNvOnnxParser_INTERNAL, [POINTER, POINTER, ctypes.c_int]),
        ):
            function.restype, function.argtypes = POINTER, types
        log = ctypes.CFUNCTYPE(None, POINTER, ctypes.c_int32, ctypes.c_char_p)(_log)
        self.logger = Interface(b"ILogger", log)
        self.monitor = Interface(
            b"IProgressMonitor",
            ctypes.CFUNCTYPE(None, POINTER, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int32)(_phase_start),
            ctypes.CFUNCTYPE(ctypes.c_bool, POINTER, ctypes.c_char_p, ctypes.c_int32)(_step),
            ctypes.CFUNCTYPE(None, POINTER, ctypes.c_char_p)(_phase_end),
        )

    @staticmethod
    def _load(folder: Path, name: str) -> Any:
        files = sorted(folder.glob(f"lib{name}.so.*.*"))
        if not files:
            raise Failed(f"TensorRT-RTX engines are built on Linux, found no lib{name}.so in {folder}: build there")
        try:
            return ctypes.CDLL(str(files[-1]), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise Failed(f"cannot load {files[-1].name}: {error}; {INSTALL} --force-reinstall") from error

    @property
    def name(self) -> str:
        """The version as people write it."""
        return f"{self.version // 10000}.{self.version // 100 % 100}.{self.version % 100}"

    def build(self, onnx: str, profiles: Sequence[dict[str, Any]], targets: Sequence[int]) -> bytes:
        """The engine of an ONNX file; without targets for every architecture that RTX cards of the time have."""
        builder = self._made(self.compiler.createInferBuilder_INTERNAL(self.logger.address, self.version), "start")
        network = self._made(api(builder, CREATE_NETWORK, POINTER, ctypes.c_uint32)(0), "make a network")
        config = self._made(api(builder, CREATE_CONFIG, POINTER)(), "make a configuration")
        self._parse(network, onnx)
        for ranges in profiles:
            profile = self._made(api(builder, CREATE_PROFILE, POINTER)(), "make a profile")
            for name, shapes in ranges.items():
                self._limit(profile, name, shapes)
            if api(config, ADD_PROFILE, ctypes.c_int32, POINTER)(profile) < 0:
                raise Failed("the compiler refused a profile; the log says why")
        if targets and not api(config, SET_TARGET_COUNT, ctypes.c_bool, ctypes.c_int32)(len(targets)):
            raise Failed(f"the compiler refused {len(targets)} target architectures")
        for place, target in enumerate(targets):
            if not api(config, SET_TARGET, ctypes.c_bool, ctypes.c_int32, ctypes.c_int32)(target, place):
                raise Failed(f"the compiler refused the target architecture sm{target}")
        api(config, SET_MONITOR, None, POINTER)(self.monitor.address)
        plan = api(builder, BUILD, POINTER, POINTER, POINTER)(network, config)
        plan = self._made(plan, "build the engine")
        return ctypes.string_at(api(plan, DATA, POINTER)(), api(plan, SIZE, ctypes.c_size_t)())

    def _parse(self, network: int, onnx: str) -> None:
        create = self.parser.createNvOnnxParser_INTERNAL
        parser = self._made(create(network, self.logger.address, self.version), "make a parser")
        if method(parser, PARSE_FILE, ctypes.c_bool, ctypes.c_char_p, ctypes.c_int)(onnx.encode(), 2):
            return
        words = []
        for place in range(method(parser, ERROR_COUNT, ctypes.c_int)()):
            error = method(parser, ERROR, POINTER, ctypes.c_int)(place)
            node, operator, text = (
                (method(error, position, ctypes.c_char_p)() or b"").decode(errors="replace")
                for position in (ERROR_NODE, ERROR_OPERATOR, ERROR_TEXT)
            )
            words.append(f"{node} ({operator}): {text}" if node else text)
        raise Failed(f"{onnx} was not understood: {'; '.join(words) or 'the log says why'}")

    @staticmethod
    def _limit(profile: int, name: str, shapes: Sequence[Sequence[int]]) -> None:
        """Least, usual and largest shape of one input."""
        for selector, shape in enumerate(shapes):
            dims = Dims(len(shape), (ctypes.c_int64 * 8)(*shape))
            put = api(profile, SET_DIMENSIONS, ctypes.c_bool, ctypes.c_char_p, ctypes.c_int32, POINTER)
            if not put(name.encode(), selector, ctypes.addressof(dims)):
                raise Failed(f"the compiler refused the shape {list(shape)} of {name}; the log says why")

    def inspect(self, engine: str) -> dict[str, Any]:
        """What the runtime says of an engine: whether it knows the form, and, with a GPU, whether it loads."""
        data = Path(engine).read_bytes()
        held = ctypes.create_string_buffer(data, len(data))
        runtime = self._made(self.compiler.createInferRuntime_INTERNAL(self.logger.address, self.version), "start")
        found = ctypes.c_uint64(0)
        validity = api(runtime, VALIDITY, ctypes.c_int32, POINTER, ctypes.c_int64, POINTER)
        validity(ctypes.addressof(held), min(LAYOUT_BYTES, len(data)), ctypes.addressof(found))
        made = api(runtime, DESERIALIZE, POINTER, POINTER, ctypes.c_size_t)(ctypes.addressof(held), len(data))
        return {"well_formed": not found.value & MALFORMED, "loaded": bool(made)}

    @staticmethod
    def _made(this: int | None, what: str) -> int:
        if not this:
            raise Failed(f"the compiler could not {what}; the log says why")
        return this


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job: version, build or inspect."""
    library = Library()
    if job["do"] == "build":
        made = library.build(job["onnx"], job["profiles"], job["targets"])
        Path(job["out"]).write_bytes(made)
        return {"version": library.name, "bytes": len(made)}
    if job["do"] == "inspect":
        return {"version": library.name, **library.inspect(job["engine"])}
    return {"version": library.name}


if __name__ == "__main__":
    try:
        say(result=run(json.loads(sys.argv[1])))
    except Failed as error:
        say(error=str(error))
        sys.exit(1)
