"""Every runtime that an export is for, asked for the answers to the test vectors."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute._lazy import install
from jaxroute.serving.exports.comparing import Check, compare
from jaxroute.types import InputError

MODULES = {"onnx": ("onnxruntime",), "jax": ("jax",), "stablehlo": ("iree.compiler", "iree.runtime")}
EXTRAS = {"onnx": "onnx", "stablehlo": "iree"}


def _onnx(path: Path, meta: dict[str, Any], vectors: dict[str, Any]) -> list[Check]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path / "router.onnx"), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]

    def answer(features: np.ndarray, weight: float) -> dict[str, np.ndarray]:
        given = {"features": features, "cost_weight": np.asarray(weight, np.float32)}
        return dict(zip(names, session.run(None, given), strict=True))

    return [compare(f"onnxruntime {onnxruntime.__version__}", vectors, meta["models"], answer)]


def _jax(path: Path, meta: dict[str, Any], vectors: dict[str, Any]) -> list[Check]:
    import jax

    from jaxroute.serving import export

    def of(name: str, size: int | str) -> Check:
        program = export.call((path / name).read_bytes())

        def answer(features: np.ndarray, weight: float) -> dict[str, np.ndarray]:
            return {"scores": _in_batches(lambda x: np.asarray(program(x, np.float32(weight))), features, size)}  # type: ignore[arg-type]

        return compare(f"jax {jax.__version__}, {name}", vectors, meta["models"], answer)

    return [of(name, one["N"]) for name, one in meta["programs"].items()]


def _iree(path: Path, meta: dict[str, Any], vectors: dict[str, Any]) -> list[Check]:
    names = [one["name"] for one in meta["outputs"]]
    version = importlib.metadata.version("iree-base-compiler")

    def of(name: str, size: int | str) -> Check:
        main = iree_program(path / name, meta["entry"])

        def answer(features: np.ndarray, weight: float) -> dict[str, np.ndarray]:
            run = lambda x: np.stack(main(x, np.asarray(weight, np.float32)), 1)  # noqa: E731
            stacked = _in_batches(run, features, size)
            return {one: stacked[:, i] for i, one in enumerate(names)}

        return compare(f"iree {version}, {name}", vectors, meta["models"], answer)

    return [of(name, one["N"]) for name, one in meta["programs"].items()]


def iree_program(file: Path, entry: str) -> Callable[..., list[np.ndarray]]:
    """A StableHLO file compiled for this machine's processor: arrays to the list of its outputs."""
    from iree import compiler, runtime

    code = compiler.compile_str(
        file.read_bytes(),
        target_backends=["llvm-cpu"],
        input_type="stablehlo",
        extra_args=["--iree-llvmcpu-target-cpu=host"],
    )
    context = runtime.SystemContext(config=runtime.Config("local-sync"))
    module = runtime.VmModule.copy_buffer(context.instance, code)
    context.add_vm_module(module)
    main = context.modules[module.name][entry]

    def run(*arguments: np.ndarray) -> list[np.ndarray]:
        found = main(*arguments)
        return [part.to_host() for part in (found if isinstance(found, tuple | list) else [found])]

    return run


NODE = """
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const [folder] = process.argv.slice(1);
const { load } = await import(pathToFileURL(folder + "/router.mjs").href);
const bytes = readFileSync(folder + "/weights.safetensors");
const router = load(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const { asked, prompts } = JSON.parse(readFileSync(0, "utf-8"));
const kept = (answer) => ({ ...answer, scores: answer.scores.map((score) => (Number.isFinite(score) ? score : null)) });
console.log(JSON.stringify({
  features: prompts && prompts.map((prompt) => Array.from(router.features(prompt))),
  answers: asked.map(([rows, weight]) => rows.map((row) => kept(router.route(row, weight)))),
}));
"""


def _node(path: Path, meta: dict[str, Any], vectors: dict[str, Any]) -> list[Check]:
    def run(**given: Any) -> Any:
        command = ["node", "--input-type=module", "-e", NODE, str(path.resolve())]
        done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "Error" in line] or ["without a word"]
            raise InputError(f"{path}: node failed: {said[0].strip()}")
        return json.loads(done.stdout)

    def encode(prompts: list[str]) -> np.ndarray:
        return np.asarray(run(prompts=prompts, asked=[])["features"], np.float32)

    def answer(features: np.ndarray, weight: float) -> dict[str, np.ndarray]:
        (rows,) = run(prompts=None, asked=[[features.tolist(), weight]])["answers"]
        named = {name: [row[name] for row in rows] for name in ("scores", "quality", "cost")}
        named["scores"] = [[-np.inf if x is None else x for x in row] for row in named["scores"]]
        return {name: np.asarray(part, np.float32) for name, part in named.items() if part[0] is not None}

    return [compare("node", vectors, meta["models"], answer, encode)]


def _in_batches(run: Callable[[np.ndarray], np.ndarray], features: np.ndarray, size: int | str) -> np.ndarray:
    """Rows in batches of a program's own size; the last batch is filled up with its last row."""
    if size == "any":
        return run(features)
    count = int(size)
    padded = np.pad(features, ((0, -len(features) % count), (0, 0)), mode="edge")
    return np.concatenate([run(padded[at : at + count]) for at in range(0, len(padded), count)])[: len(features)]


def lacking(form: str) -> str:
    """Why the runtime of a format cannot be asked, and what to do; "" if it can."""
    if form == "js":
        return "" if shutil.which("node") else "Node.js is not installed; install it, so that node is on the PATH"
    for module in MODULES[form]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
            if not absent:
                return f"{module} is installed and cannot be imported ({error}); install it again"
            return f"{module} is not installed" + (f"; {install(EXTRAS[form])}" if form in EXTRAS else "")
    return ""


RUNTIMES: dict[str, tuple[str, Callable[..., list[Check]]]] = {
    "onnx": ("onnxruntime", _onnx), "jax": ("jax", _jax), "stablehlo": ("iree", _iree), "js": ("node", _node),
}  # fmt: skip
"""By the format of an export: the name of its runtime, and the function that asks it for the vectors' answers."""
