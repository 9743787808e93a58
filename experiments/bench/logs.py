"""Seconds and peak memory of reading and checking a log of a million requests, and the encoders' texts per second.

    make bench-logs           (some five minutes and 2 GB of temporary disk; more with encoders that need torch)

The log has every field and one bad cell per thousand rows. It is written once as Parquet, CSV, JSON lines and as
OpenTelemetry's spans (OTLP, a hundred a line, with answers, which are not read). Each is read by a fresh process on two
cores, whose peak resident memory includes everything it loads, JAX included. Prints tables and writes
results/bench/logs.json. The limits are one minute and 2 GB, and for spans five times the seconds of JSON lines; beyond
them the exit status is 1. Spans have three times the bytes and six times the objects.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments import storage
from experiments.bench import encoding
from jaxroute.data import logs
from jaxroute.system import parsing, stopping

KINDS = ("parquet", "csv", "jsonl", "otlp.jsonl")
MODELS = tuple(f"model-{k}" for k in range(8))
SECONDS, GIGABYTES, SPANS = 60.0, 2.0, 5.0


def requests(count: int, seed: int = 0) -> pd.DataFrame:
    """A log of ``count`` requests; every thousandth has a bad quality."""
    rng = np.random.default_rng(seed)
    texts = encoding.prompts(min(count, 5000), seed)
    quality = np.where(rng.random(count) < 0.3, np.nan, rng.integers(0, 2, count).astype(float))
    quality[999::1000] = 7.0
    return pd.DataFrame(
        {
            "request_id": [f"req-{i:09d}" for i in range(count)],
            "prompt": [f"{texts[i % len(texts)]} {i}" for i in range(count)],
            "model": rng.choice(MODELS, count),
            "quality": quality,
            "cost": rng.lognormal(-6, 1, count),
            "propensity": rng.uniform(0.05, 1, count),
            "timestamp": [f"2025-01-{1 + i * 28 // count:02d}T{i % 24:02d}:00:00Z" for i in range(count)],
            "group": [f"user-{user}" for user in rng.integers(0, 1 + count // 10, count)],
            "available": "|".join(MODELS),
        }
    )


def write(frame: pd.DataFrame, file: Path) -> None:
    """The log as one file, of the kind that its name says."""
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    elif file.suffix == ".csv":
        frame.to_csv(file, index=False)
    elif file.name.endswith("otlp.jsonl"):
        with file.open("w") as lines:
            lines.writelines(spans(frame))
    else:
        frame.to_json(file, orient="records", lines=True)


def spans(frame: pd.DataFrame, answer: str = "An answer.", each: int = 100) -> Iterator[str]:
    """The log as OTLP lines of ``each`` spans; a bad quality is an evaluation that is out of range."""

    def value(cell: Any) -> dict[str, Any]:
        if isinstance(cell, str):
            return {"stringValue": cell}
        return {"doubleValue": cell} if isinstance(cell, float) else {"intValue": str(cell)}

    def message(role: str, text: str) -> str:
        return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])

    batch: list[dict[str, Any]] = []
    for i, row in enumerate(frame.to_dict("records")):
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": row["model"],
            "gen_ai.response.model": row["model"],
            "gen_ai.response.id": row["request_id"],
            "gen_ai.usage.input_tokens": 20,
            "gen_ai.usage.output_tokens": 10,
            "gen_ai.usage.cost": row["cost"],
            "gen_ai.conversation.id": row["group"],
            "gen_ai.input.messages": message("user", row["prompt"]),
            "gen_ai.output.messages": message("assistant", answer),
            "jaxroute.propensity": row["propensity"],
        } | ({} if np.isnan(row["quality"]) else {"jaxroute.quality": row["quality"]})
        span = {
            "traceId": f"{i:032x}",
            "spanId": f"{i + 1:016x}",
            "name": "chat",
            "startTimeUnixNano": str(pd.Timestamp(row["timestamp"]).value),
            "attributes": [{"key": name, "value": value(cell)} for name, cell in attributes.items()],
        }
        batch.append(span)
        if len(batch) == each or i == len(frame) - 1:
            yield json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": batch}]}]}) + "\n"
            batch = []


def read(file: Path) -> dict[str, Any]:
    """Load a log in this process: rows, seconds, and the process's peak resident memory."""
    begun = time.perf_counter()
    log = logs.load(file, drop_bad=True)
    seconds = time.perf_counter() - begun
    return {
        "rows": log.counts["rows"],
        "dropped": log.counts["dropped"],
        "seconds": round(seconds, 2),
        "gigabytes": round(peak() / 1e9, 2),
        "file_gigabytes": round(file.stat().st_size / 1e9, 2),
    }


def peak() -> int:
    """This process's peak resident memory in bytes.

    Linux's own mark where there is one: ru_maxrss would also count what the parent held when it forked.
    """
    status = Path("/proc/self/status")
    marks = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
    return int(marks[0].split()[1]) * 1024 if marks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(file: Path) -> dict[str, Any]:
    """The same in a fresh process on two cores."""
    command = [sys.executable, "-m", "experiments.bench.logs", "--read", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; the exit status is 1 where a limit is passed."""
    parser = parsing.Parser(prog="python -m experiments.bench.logs", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="use few rows, in seconds")
    parser.add_argument("--rows", type=int, help="rows of the log (default: 1,000,000)")
    parser.add_argument("--read", type=Path, help="only load this log in this process and print time and memory")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder to write results to")
    options = parser.parse_args(arguments)
    if options.read:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        print(json.dumps(read(options.read)))
        return 0
    count = options.rows or (2_000 if options.smoke else 1_000_000)
    table = Table("log", "rows", "dropped", "seconds", "peak GB", "file GB", title="reading and checking a log")
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        frame = requests(count)
        for kind in KINDS:
            file = Path(folder) / f"log.{kind}"
            write(frame, file)
            measured[kind] = measure(file)
            table.add_row(kind, *(str(value) for value in measured[kind].values()))
            file.unlink()
    Console().print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "logs.json"
    storage.write_text(file, json.dumps({**measured, "environment": storage.environment()}, indent=1))
    print(f"written: {file}")
    encoding.main(["--smoke"] * options.smoke + ["--out", str(options.out)])
    limits = dict.fromkeys(KINDS, SECONDS) | {"otlp.jsonl": SPANS * measured["jsonl"]["seconds"]}
    slow = [kind for kind, took in measured.items() if took["seconds"] > limits[kind] or took["gigabytes"] > GIGABYTES]
    if slow:
        print(f"over {SECONDS:g} seconds ({SPANS:g} times JSON lines for spans) or {GIGABYTES:g} GB: {', '.join(slow)}")
    return int(bool(slow))


if __name__ == "__main__":
    stopping.leave(main())
