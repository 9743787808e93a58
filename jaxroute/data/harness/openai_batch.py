"""Output of OpenAI's Batch API, joined to its input by ``custom_id``; it has no scores (``--scores`` gives them).

Output lines have no prompt: input files are looked for beside the output. Several may use the same ids; the one
whose model is the output's, or its undated name, counts. The model is the one that answered, a dated snapshot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from jaxroute.data import messages
from jaxroute.data.harness.answers import Answer, File, counted, inner
from jaxroute.types import InputError

NAME = "OpenAI Batch"
PROMPTS = ("messages", "input", "prompt")


def sees(file: File) -> bool:
    """Whether a file is a batch's output (or its file of errors)."""
    return {"custom_id", "response", "error"} <= file.first.keys()


def beside(file: File) -> bool:
    """Whether a file is a batch's input."""
    return {"custom_id", "body"} <= file.first.keys()


def read(file: File) -> Iterator[Answer]:
    """The answers of a batch.

    Raises:
        InputError: no input file beside it that has the ids, or prompts that cannot be told; names file and row.
    """
    lines = list(file.lines())
    models = {inner(line, "response", "body", "model") for _, line in lines} - {None}
    asked = _asked(file)
    for at, line in lines:
        body = inner(line, "response", "body")
        model = inner(body, "model") or (next(iter(models)) if len(models) == 1 else None)
        found = asked.get(str(line.get("custom_id")), {})
        mine = {text for name, text in found.items() if model is None or str(model).startswith(name)}
        prompts = mine or set(found.values())
        if len(prompts) != 1:
            many = "no input" if not prompts else "several inputs"
            raise InputError(
                f"{at}: {many} with custom_id {line.get('custom_id')!r} beside it; put the batch's own input file there"
            )
        yield Answer(
            at=at,
            model=model or next(iter(found)),
            prompt=prompts.pop(),
            id=str(line["custom_id"]),
            tokens=counted(inner(body, "usage"), at),
            failed=_failure(line),
        )


def _failure(line: dict[str, Any]) -> str:
    status, error = inner(line, "response", "status_code"), line.get("error")
    error = error or inner(line, "response", "body", "error")
    if error or line.get("response") is None or status != 200:
        return str(inner(error, "code") or (f"HTTP {status}" if status else "no response"))
    return ""


def _asked(file: File) -> dict[str, dict[str, str]]:
    """Prompts by custom_id and model asked for, from every input file in the output's folder."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted(file.path.parent.glob("*.jsonl")):
        inputs = File(path)
        if not beside(inputs):
            continue
        for at, line in inputs.lines():
            body = line.get("body")
            text = next((messages.text_of(body[name]) for name in PROMPTS if name in body), None) if body else None
            if text is None:
                raise InputError(f"{at}: no text in {', '.join(PROMPTS)} of the body")
            found[str(line["custom_id"])][str(inner(body, "model"))] = text
    return found
