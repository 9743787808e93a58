"""Logs of Inspect AI: ``.eval``, a ZIP of a header and a JSON file a sample, and the same run as ``.json``.

Members are compressed with zstd, which Python's zipfile reads from 3.14 on only: Arrow decompresses them here. A
sample's ``model_usage`` counts graders too where they are the same model; what ``role_usage`` says of them is taken
off. Scores C, P, I and N and truth values mean what they mean to Inspect (see ``scores.MEANING``).
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxroute.data import files, messages
from jaxroute.data.harness.answers import Answer, File, Tokens, amount, inner, kind
from jaxroute.types import InputError

NAME = "Inspect AI"
ZSTD = 93
LIMIT = 2**30
COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total": "total_tokens",
    "cached": "input_tokens_cache_read",
    "written": "input_tokens_cache_write",
    "reasoning": "reasoning_tokens",
}


def sees(file: File) -> bool:
    """Whether a file is a log of Inspect AI."""
    whole = file.document
    return file.suffix == ".eval" or (isinstance(whole, dict) and {"eval", "status", "version"} <= whole.keys())


def read(file: File) -> Iterator[Answer]:
    """The answers of a run, an epoch each.

    Raises:
        InputError: a damaged file, or one of another shape; names file and member.
    """
    about, samples = _archive(file.path) if file.suffix == ".eval" else _document(file)
    model, task = inner(about, "model"), inner(about, "task")
    if not isinstance(model, str) or not isinstance(task, str):
        raise InputError(f"{file.path}: names neither a model nor a task; check that the file is complete")
    roles = inner(about, "model_roles") or {}
    graders = [role for role, said in roles.items() if inner(said, "model") == model]
    for at, sample in samples:
        usage = inner(sample, "model_usage", model) or {}
        graded = [inner(sample, "role_usage", role) or {} for role in graders]

        def count(name: str, usage: Any = usage, graded: Any = graded, at: str = at) -> float:
            return amount(usage.get(name), at, name) - sum(amount(part.get(name, 0), at, name) for part in graded)

        yield Answer(
            at=at,
            model=model,
            task=task,
            id=str(sample.get("id", "")),
            prompt=_prompt(sample),
            scores=_scores(sample.get("scores") or {}),
            cost=count("total_cost"),
            tokens=_whole(Tokens(**{field: count(name) for field, name in COUNTS.items()})),
            failed=(kind(inner(sample, "error", "message")) or "error") if sample.get("error") else "",
        )


def _prompt(sample: dict[str, Any]) -> str | None:
    """The sample's input as it stands in the data set, with its choices where it has some."""
    text = messages.text_of(sample.get("input"))
    stored = sample.get("attachments") or {}
    if text is not None and text.startswith("attachment://"):
        text = stored.get(text.removeprefix("attachment://"))
    choices = sample.get("choices")
    if text is None or not choices:
        return text
    return "\n".join([text, "", *(f"{chr(65 + i)}) {choice}" for i, choice in enumerate(choices))])


def _whole(counted: Tokens) -> Tokens:
    """Inspect's input leaves out what was read from a cache or written to one; that of ``prices.bill`` does not."""
    apart = [count for count in (counted.cached, counted.written) if not math.isnan(count)]
    return counted._replace(input_tokens=counted.input_tokens + sum(apart))


def _scores(said: dict[str, Any]) -> dict[str, Any]:
    """Values by scorer; those of a scorer of several values as ``scorer.value``."""
    scores: dict[str, Any] = {}
    for name, score in said.items():
        value = inner(score, "value")
        if isinstance(value, dict):
            scores |= {f"{name}.{part}": one for part, one in value.items()}
        else:
            scores[name] = math.nan if value is None else value
    return scores


def _document(file: File) -> tuple[Any, Iterator[tuple[str, dict[str, Any]]]]:
    samples = file.document.get("samples") or []
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        raise InputError(f"{file.path}: 'samples' is not a list of samples; write the log again")
    return file.document["eval"], ((f"{file.path}, sample {i}", sample) for i, sample in enumerate(samples))


def _archive(path: Path) -> tuple[Any, Iterator[tuple[str, dict[str, Any]]]]:
    """What was evaluated, and the samples. A run that was cut short has no header, but a start."""
    try:
        with files.archive(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except InputError:
        raise
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise files.damaged(path, error) from error
    about = next((name for name in ("header.json", "_journal/start.json") if name in members), None)
    if about is None:
        raise InputError(f"{path}: has no header.json, so it is not a log of Inspect AI; check the path")
    samples = [name for name in members if name.startswith("samples/") and name.endswith(".json")]
    return inner(_member(path, members[about]), "eval"), (
        (f"{path}/{name}", _member(path, members[name])) for name in samples
    )


def _member(path: Path, info: zipfile.ZipInfo) -> dict[str, Any]:
    """A member's JSON object."""
    import pyarrow as pa  # type: ignore[import-untyped]

    try:
        if info.file_size > LIMIT:
            raise ValueError(f"more than {LIMIT} bytes")
        if info.compress_type != ZSTD:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(info)
        else:
            with path.open("rb") as file:
                file.seek(info.header_offset)
                local = file.read(30)
                file.seek(int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little"), 1)
                packed = file.read(info.compress_size)
            content = pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read(info.file_size + 1)
            if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
                raise ValueError("another length or checksum than its directory says")
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}, no object")
    except Exception as error:  # of zipfile, zlib, Arrow and JSON
        raise files.damaged(f"{path}/{info.filename}", error) from error
    return found
