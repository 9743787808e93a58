"""Test vectors computed anew by every runtime that is installed, and what differs."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxroute._lazy import install
from jaxroute.serving import folder, portable
from jaxroute.serving import vectors as made
from jaxroute.serving.exports.writing import META
from jaxroute.types import InputError

TIED = 1e-6
"""Decisions may differ where the two best scores are within this share of the row's largest in size, or of 1."""
SCORES, FEATURES = 1e-4, 1e-5
"""What numbers may differ by: scores and predictions in parts of the largest of their row, features as they are."""
_FILES = {"onnx": ("router.onnx",), "js": ("router.mjs", "weights.safetensors")}
_MODULES = {"onnx": ("onnxruntime",), "jax": ("jax",), "stablehlo": ("iree.compiler", "iree.runtime")}
_EXTRAS = {"onnx": "onnx", "stablehlo": "iree"}
Answer = Callable[[np.ndarray, float], dict[str, np.ndarray]]
"""(features, cost weight) -> scores, and quality and cost where it predicts them, [10, K] each."""


class Check(NamedTuple):
    """What a runtime said. ran: whether it could be asked. differences: one line each. worst: of scores, relative.

    why: it could not be asked, and what to do; "" where it was.
    """

    runtime: str
    ran: bool
    decisions: int = 0
    differences: tuple[str, ...] = ()
    worst: float = 0.0
    why: str = ""


def verify(path: Path) -> list[Check]:
    """Check the folder of a router (in NumPy and, if it is installed, in JAX) or of an export (in its runtime).

    Raises:
        InputError: neither of the two, a damaged folder, a file that is missing in it, or a router of an older format,
            which has no vectors.
    """
    if (path / META).is_file():
        return _of_export(path)
    own = portable.load(path)
    if not (path / folder.VECTORS).is_file():
        raise InputError(f"{path}: is of an older format without test vectors; load and save it again to add them")
    vectors = _vectors(path, own.models)
    checks = [compare("numpy", vectors, list(own.models), _asked(own), own.features)]
    if why := _lacking("jax"):
        return [*checks, Check("jax", False, why=why)]
    from jaxroute.serving import kinds
    from jaxroute.serving.router import Router

    router = Router.load(path)

    def in_jax(features: np.ndarray, weight: float) -> dict[str, np.ndarray]:
        import jax
        import jax.numpy as jnp

        with jax.default_matmul_precision("highest"):
            scores = router.kind.scores(jnp.asarray(features), jnp.full(len(features), weight, jnp.float32))
        return {"scores": np.where(router.available, np.asarray(scores), -np.inf)}

    return [*checks, compare(f"jax {kinds.name_of(router.kind)}", vectors, list(router.models), in_jax)]


def compare(
    runtime: str,
    vectors: dict[str, Any],
    models: list[str],
    answer: Answer,
    encode: Callable[[list[str]], np.ndarray] | None = None,
) -> Check:
    """What an implementation's answers differ in from the vectors.

    Args:
        runtime: its name. vectors: content of ``vectors.json``. models: names. answer: see ``Answer``. encode: texts to
            features, where it has the encoder.
    """
    features = np.asarray(vectors["features"], np.float32)
    said: list[str] = []
    worst, count = 0.0, 0
    if encode is not None and vectors["prompts"] is not None:
        found = encode(vectors["prompts"])
        for row in _rows((np.abs(found - features) > FEATURES).any(1)):
            said.append(f"prompt {row}: its features differ by up to {np.abs(found - features)[row].max():.3g}")
        features = found
    asked = list(zip(vectors["cost_weights"], vectors["scores"], vectors["decisions"], strict=True))
    for one in vectors["budgets"]:
        asked += [(w, None, names) for w, names in zip(one["cost_weights"], one["decisions"], strict=True)]
    for weight, expected, names in asked:
        answers = answer(features, weight)
        scores = answers["scores"]
        pairs = [("scores", expected), ("quality", vectors["quality"]), ("cost", vectors["cost"])]
        for name, numbers in pairs:
            if numbers is not None and name in answers:
                away = _away(answers[name], numbers)
                worst = max(worst, float(away.max()))
                for row in _rows(away > SCORES):
                    said.append(f"row {row}, cost weight {weight:g}: {name} differ by {away[row]:.3g} of the largest")
        for row, name in enumerate(names):
            count += 1
            best, k = float(scores[row].max()), models.index(name)
            size = float(np.abs(scores[row][np.isfinite(scores[row])]).max(initial=1.0))
            if not best - scores[row, k] <= TIED * size:
                said.append(f"row {row}, cost weight {weight:g}: {models[int(scores[row].argmax())]} instead of {name}")
    return Check(runtime, True, count, tuple(dict.fromkeys(said)), worst)


def _rows(which: Any) -> list[int]:
    found: list[int] = np.flatnonzero(which).tolist()
    return found


def _away(found: np.ndarray, expected: list[Any]) -> np.ndarray:
    """[10]: how far rows are apart, in parts of the largest of each; infinite where one is finite and the other not."""
    wanted = np.array([[-np.inf if x is None else x for x in row] for row in expected], np.float32)
    removed = np.isneginf(wanted)
    if found.shape != wanted.shape or not (np.isfinite(found) == ~removed).all():
        return np.full(len(wanted), np.inf)
    left, right = (np.where(removed, 0, x) for x in (found, wanted))
    return np.asarray(np.abs(left - right).max(1) / np.maximum(np.abs(right).max(1), 1e-30))


def _asked(router: portable.Portable) -> Answer:
    def answer(features: np.ndarray, weight: float) -> dict[str, np.ndarray]:
        quality, cost = router.predict(features)
        named = {"scores": router.scores(features, weight), "quality": quality, "cost": cost}
        return {name: part for name, part in named.items() if not np.isnan(part).any()}

    return answer


def _of_export(path: Path) -> list[Check]:
    meta = _read(path / META)
    vectors = _vectors(path, meta.get("models") or ())
    runs: dict[str, tuple[str, Callable[..., list[Check]]]] = {
        "onnx": ("onnxruntime", _onnx), "jax": ("jax", _jax), "stablehlo": ("iree", _iree), "js": ("node", _node),
    }  # fmt: skip
    if meta.get("format") not in runs:
        raise InputError(f"{path / META}: the format {meta.get('format')!r} is unknown; update jaxroute to check it")
    form = meta["format"]
    runtime, run = runs[form]
    if lost := [name for name in _FILES.get(form) or meta.get("programs") or () if not (path / name).is_file()]:
        raise InputError(f"{path}: {lost[0]} is missing; export the router again")
    why = _lacking(form)
    return [Check(runtime, False, why=why)] if why else run(path, meta, vectors)


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


def _lacking(form: str) -> str:
    """Why the runtime of a format cannot be asked, and what to do; "" if it can."""
    if form == "js":
        return "" if shutil.which("node") else "Node.js is not installed; install it, so that node is on the PATH"
    for module in _MODULES[form]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
            if not absent:
                return f"{module} is installed and cannot be imported ({error}); install it again"
            return f"{module} is not installed" + (f"; {install(_EXTRAS[form])}" if form in _EXTRAS else "")
    return ""


def _vectors(path: Path, models: Sequence[str]) -> dict[str, Any]:
    found = _read(path / folder.VECTORS)
    with folder.whole(path / folder.VECTORS):
        made.check(found, models)
    return found


def _read(file: Path) -> dict[str, Any]:
    with folder.whole(file.parent):
        found: dict[str, Any] = json.loads(file.read_bytes())
    return found
