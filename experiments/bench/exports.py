"""How long a decision takes in every runtime that a router can be exported to, its size and its start.

    python -m experiments.bench.exports ROUTER        (half a minute)

Each is asked for one row of the router's test vectors, 300 times on one thread, in a process of its own. Start: from
the runtime's import to the first decision, compilation included. Runtimes that are not installed are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxroute.serving.exports import writing
from jaxroute.system import parsing

RUNTIMES = {"numpy": None, "onnxruntime": "onnx", "iree": "stablehlo", "jax": "jax", "node": "js"}
"""The format that each runs; None: the router's folder itself."""
NODE = """
import { readFileSync } from "node:fs";
const [folder, row, text] = [process.argv[1], JSON.parse(process.argv[2]), process.argv[3]];
const begun = performance.now(), { load } = await import(folder + "/router.mjs");
const bytes = readFileSync(folder + "/weights.safetensors");
const router = load(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
router.route(row, 1);
const start = performance.now() - begun;
const median = (ask) => {
  const one = () => { const t = performance.now(); ask(); return performance.now() - t; };
  const times = Array.from({ length: 300 }, one);
  return times.sort((a, b) => a - b)[150];
};
console.log(start / 1e3, median(() => router.route(row, 1)), text ? median(() => router.route(text, 1)) : NaN);
"""


def decision(runtime: str, router: Path, folder: Path, row: np.ndarray) -> Callable[[], object]:
    """A decision about one row; what it imports is imported here."""
    weight = np.asarray(1.0, np.float32)
    if runtime == "numpy":
        from jaxroute import serving

        own = serving.load(router)
        return lambda: own.route(row, cost_weight=1.0)
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(folder / "router.onnx"), options)
        return lambda: session.run(["scores"], {"features": row, "cost_weight": weight})[0].argmax(1)
    if runtime == "jax":
        from jaxroute.serving import export

        program = export.call((folder / "router-1.jax").read_bytes())
        return lambda: np.asarray(program(row, weight)).argmax(1)  # type: ignore[arg-type]
    from jaxroute.serving.exports import runtimes

    main = runtimes.iree_program(folder / "router-1.mlirbc", "main")
    return lambda: main(row, weight)[0].argmax(1)


def measured(runtime: str, router: Path, folder: Path) -> None:
    """Prints start in seconds, and milliseconds of a decision about features and about a text (or nan)."""
    vectors = json.loads((router / "vectors.json").read_bytes())
    row, text = np.asarray(vectors["features"][:1], np.float32), (vectors["prompts"] or [None] * 4)[3]
    begun = time.perf_counter()
    ask = decision(runtime, router, folder, row)
    ask()
    start = time.perf_counter() - begun
    asked = [ask]
    if runtime == "numpy" and text is not None:
        from jaxroute import serving

        own = serving.load(router)
        asked.append(lambda: own.route([text], cost_weight=1.0))
    print(start, *(1e3 * np.median([timed(one) for _ in range(300)]) for one in asked), *["nan"][: 2 - len(asked)])


def timed(ask: Callable[[], object]) -> float:
    begun = time.perf_counter()
    ask()
    return time.perf_counter() - begun


def main() -> None:
    parser = parsing.Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("router", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return measured(given.one[0], given.router, Path(given.one[1]))
    vectors = json.loads((given.router / "vectors.json").read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        for runtime, form in RUNTIMES.items():
            folder = given.router if form is None else Path(scratch) / form
            try:
                if form is not None:
                    writing.write(given.router, folder, form)
                command = [
                    sys.executable,
                    "-m",
                    "experiments.bench.exports",
                    str(given.router),
                    "--one",
                    runtime,
                    str(folder),
                ]
                if runtime == "node":
                    text = (vectors["prompts"] or [""] * 4)[3]
                    words = [str(folder), json.dumps(vectors["features"][0]), text]
                    command = ["node", "--input-type=module", "-e", NODE, *words]
                found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            except (ValueError, OSError, subprocess.CalledProcessError) as error:
                print(f"{runtime}: left out ({str(error).splitlines()[0][:80]})")
                continue
            start, features, text_ms = map(float, found)
            programs = [
                file for file in folder.iterdir() if file.suffix in (".onnx", ".jax", ".mlirbc", ".safetensors")
            ]
            size = min(file.stat().st_size for file in programs) / 1e6
            print(f"{runtime}: {size:.2f} MB, start {start:.2f} s, features {features:.3f} ms, text {text_ms:.3f} ms")
    return None


if __name__ == "__main__":
    main()
