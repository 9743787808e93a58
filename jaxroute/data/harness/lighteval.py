"""Details of lighteval: ``details_<task>_<date>.parquet`` under ``details/<model>/<date>``, with its results beside.

The prompt is the document's query, the same for every model; templates, few-shot examples and the instruction are
left out of it. A document has a row for each kind of request (generation, log-probabilities), which are one answer.
Metrics of a whole task, such as BLEU and perplexity, keep no score of a document. Neither costs nor counts that can be
billed are written. A call that failed is written as an empty answer, and scored: where the tokens of the answer are
not written either, which is so of every provider's interface, an empty answer counts as failed. So does an answer to
another prompt: lighteval finds answers of earlier runs by the document's number, whatever the document says now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxroute.data import messages
from jaxroute.data.harness import columns
from jaxroute.data.harness.answers import Answer, File, inner
from jaxroute.types import InputError

NAME = "lighteval"
FILE = re.compile(r"details_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+)\.parquet")
HOLDS = {"doc", "metric", "model_response"}
EARLIER = {"full_prompt", "metrics"}
EMPTY, FOREIGN = "empty answer", "answer to another prompt"


def sees(file: File) -> bool:
    """Whether a file holds the details of a task, of this or an earlier form."""
    if FILE.fullmatch(file.path.name) is None:
        return False
    there = set(columns.names(file))
    return there >= HOLDS or there >= EARLIER


def read(file: File) -> Iterator[Answer]:
    """The answers to a task's documents.

    Raises:
        InputError: the form of an earlier version, or rows of another shape; names file and row.
    """
    named = FILE.fullmatch(file.path.name)
    assert named is not None
    if not set(columns.names(file)) >= HOLDS:
        raise InputError(f"{file.path}: written by lighteval before 0.10; run it again with a later version")
    about = _results(file.path, named["date"])
    documents: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for at, row in file.table():
        doc, metric = row["doc"], row["metric"]
        if not isinstance(doc, dict) or not isinstance(metric, dict) or not isinstance(doc.get("query"), str):
            raise InputError(f"{at}: has no 'doc' with a query and 'metric'; run lighteval with --save-details again")
        scores = {name: value for name, value in metric.items() if not isinstance(value, list | dict | None)}
        task = str(doc.get("task_name") or named["task"])
        found = {"at": at, "task": task, "scores": scores, "failed": _failed(doc, row["model_response"])}
        told = documents.setdefault((str(doc.get("id")), doc["query"]), [])
        first = next((one for one in told if one["scores"].keys().isdisjoint(scores)), None)
        if first is None:
            told.append(found)
        else:
            first["scores"] |= scores
            first["failed"] = first["failed"] or found["failed"]
    model = inner(about, "config_general", "model_name") or _model(file.path, named["date"])
    for (name, query), answers in documents.items():
        for one in answers:
            lower = frozenset(_lower(inner(about, "config_tasks", one["task"], "metrics")))
            yield Answer(model=model, id=name, key=f"{name}.{query}", prompt=query, lower=lower, **one)


def _failed(doc: dict[str, Any], response: Any) -> str:
    """Why there is no answer: all of it is empty and no token of it is written, or its prompt lacks the query."""
    texts, asked = inner(response, "text"), inner(response, "input")
    if texts and not any(texts) and not inner(response, "output_tokens"):
        return EMPTY
    given = asked if isinstance(asked, str) else messages.text_of(asked, "all") if isinstance(asked, list) else None
    query = doc["query"].removeprefix(doc.get("instruction") or "")  # as lighteval writes a prompt
    return FOREIGN if given is not None and "".join(query.split()) not in "".join(given.split()) else ""


def _results(path: Path, date: str) -> Any:
    """What the results of the same run say; nothing where they are not in the same folder of outputs."""
    name = f"results_{date}.json"
    root = _root(path)
    near = [path.with_name(name), *([] if root is None else sorted((root / "results").rglob(name)))]
    found = next((file for file in near if file.is_file()), None)
    return {} if found is None else File(found).document


def _root(path: Path) -> Path | None:
    """The folder of outputs, in which are ``details`` and ``results``."""
    return next((folder.parent for folder in path.absolute().parents if folder.name == "details"), None)


def _model(path: Path, date: str) -> str | None:
    """The model by its folders, as lighteval makes them."""
    root, folder = _root(path), path.absolute().parent
    if root is None or folder.name != date:
        return None
    return folder.parent.relative_to(root / "details").as_posix()


def _lower(metrics: Any) -> Iterator[str]:
    """Metrics of which less is better."""
    for metric in metrics if isinstance(metrics, list) else []:
        names, higher = metric.get("metric_name"), metric.get("higher_is_better")
        for name in names if isinstance(names, list) else [names]:
            if (higher.get(name) if isinstance(higher, dict) else higher) is False:
                yield str(name)
