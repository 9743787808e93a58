"""Logs of a gateway as one Parquet file, some ten times smaller and quicker to read; the rows stay as they are.

    python -m jaxroute.gateway.compacting logs/ 2026-01.parquet

Files that were rotated can be removed afterwards; the file that is being written belongs to the gateway. Half lines
of killed processes are left out and counted, and so are files of ratings, which stay as they are.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxroute.data import records
from jaxroute.system import parsing, stopping
from jaxroute.types import InputError

TEXTS = ("request_id", "response_id", "prompt", "prompt_hash", "model", "chosen", "status", "by", "endpoint", "group",
         "router_version", "explore", "rollout", "candidate")  # fmt: skip
NUMBERS = (
    "quality",
    "cost",
    "propensity",
    "timestamp",
    "latency",
    "epsilon",
    "cost_weight",
    "weight",
    "rollout_contrast",
)
COUNTS = ("input_tokens", "output_tokens", "attempts", "n", "simulations")
FLAGS = ("exploration", "cache_hit", "stream")
LISTS = ("available", "failed", "needs")


def compact(source: str | os.PathLike[str], out: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Write the rows of a log as Parquet, all of them or nothing.

    Args:
        source: a file, or the folder of the log and of its rotated files. out: the Parquet file.

    Returns:
        (rows written, lines that could not be read, files of ratings).

    Raises:
        InputError: nothing to read, a field that no gateway of this release writes, a file that is there already, or
            a folder whose files changed meanwhile.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    out = Path(out)
    if out.exists():
        raise InputError(f"{out}: exists; name a new file")
    kinds = {**dict.fromkeys(TEXTS, pa.string()), **dict.fromkeys(NUMBERS, pa.float64()),
             **dict.fromkeys(COUNTS, pa.int64()), **dict.fromkeys(FLAGS, pa.bool_()),
             **dict.fromkeys(LISTS, pa.list_(pa.string())), "explore_width": pa.list_(pa.float64()),
             "features": pa.list_(pa.float32())}  # fmt: skip
    schema = pa.schema(list(kinds.items()))
    part, rows, broken, ratings = out.with_name(f".{out.name}.part"), 0, 0, 0
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            before = records.sources(source)
            for file in before:
                chunks = records.read(file)
                first = next(chunks, None)
                if first is not None and set(first.names) and set(first.names) <= set(records.RATING):
                    ratings += 1
                    continue
                for chunk in itertools.chain([] if first is None else [first], chunks):
                    broken += len(chunk.broken)
                    found: Any = chunk.data
                    if not chunk.row:
                        continue
                    if odd := sorted({key for row in found for key in row} - kinds.keys()):
                        raise InputError(f"{file}: field {odd[0]!r} is none of a gateway's; give its log alone")
                    writer.write_table(pa.Table.from_pylist(found, schema))
                    rows += len(chunk.row)
        if records.sources(source) != before:
            raise InputError(f"{source}: a file was rotated or compressed while it was read; run this again")
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return rows, broken, ratings


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = parsing.Parser(prog="python -m jaxroute.gateway.compacting", description="Logs of a gateway as Parquet.")
    parser.add_argument("source", help="file or folder of a gateway's log")
    parser.add_argument("out", help="Parquet file to write")
    asked = parser.parse_args(arguments)
    try:
        rows, broken, ratings = compact(asked.source, asked.out)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    said = [f"{asked.out}: {rows} rows"]
    said += [f"{broken} lines could not be read and were left out"] if broken else []
    said += [f"{ratings} files of ratings were left out: give them with --feedback, as before"] if ratings else []
    print("; ".join(said))


if __name__ == "__main__":
    with stopping.piped():
        main()
    stopping.leave(0)
