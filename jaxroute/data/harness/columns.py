"""Answers in columns, one a row: CSV, Parquet, JSON lines, with the names of Ragas, OpenRouter, LiteLLM and others.

A column is known by its name (``FIELDS``), nested ones by their path (``usage.cost``); of AlpacaEval's comparisons,
the second answer is the model's. Every other column of numbers, truth values, or words such as pass and fail is a
score; one called quality or score is the main one, whatever it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxroute.data import records, values
from jaxroute.data.harness.answers import Answer, File, amount, counted, kind
from jaxroute.data.harness.inputs import PROMPTS, asked, model_of, prompt_of
from jaxroute.data.harness.scores import MEANING, MISSING
from jaxroute.types import InputError

NAME = "columns"
FIELDS: dict[str, tuple[str, ...]] = {
    "prompt": PROMPTS,
    "model": ("model", "model_name", "model_group", "model_permaslug", "model_id", "generator_2"),
    "task": ("task", "category", "dataset", "eval_name", "subject"),
    "id": ("query_id", "sample_id", "prompt_id", "custom_id", "id", "request_id", "generation_id"),
    "cost": ("cost", "total_cost", "cost_total", "response_cost", "spend", "cost_usd", "usage.cost"),
    "input_tokens": ("input_tokens", "prompt_tokens", "tokens_prompt", "usage.prompt_tokens", "usage.input_tokens"),
    "output_tokens": (
        *("output_tokens", "completion_tokens", "tokens_completion"),
        *("usage.completion_tokens", "usage.output_tokens"),
    ),
    "total": ("total_tokens", "usage.total_tokens"),
    "cached": (
        *("cached_tokens", "tokens_cached", "cache_read_input_tokens", "usage.prompt_tokens_details.cached_tokens"),
        *("usage.input_tokens_details.cached_tokens", "usage.cache_read_input_tokens"),
    ),
    "written": ("cache_write_tokens", "cache_creation_input_tokens", "usage.cache_creation_input_tokens"),
    "reasoning": (
        *("reasoning_tokens", "tokens_reasoning", "usage.completion_tokens_details.reasoning_tokens"),
        "usage.output_tokens_details.reasoning_tokens",
    ),
    "failed": ("error", "exception", "error_code"),
    "currency": ("currency", "cost_currency", "total_cost_currency"),
}
COUNTS = ("input_tokens", "output_tokens", "total", "cached", "written", "reasoning")
OPENROUTER = {"tokens_prompt": "prompt_tokens", "tokens_completion": "completion_tokens",
              "tokens_cached": "cached_tokens", "tokens_reasoning": "reasoning_tokens"}  # fmt: skip
TRULENS = ("app_name", "app_version", "record_id")
"""The columns by which TruLens' records are known, whose models are the versions of an app."""
MAIN = ("quality", "score")
TEXTS = ("output", "response", "answer", "completion", "prediction", "expected", "expected_output", "reference",
         "ground_truth", "target")  # fmt: skip
"""Columns of what was answered or expected, which are no scores where these are numbers."""
MEASURES = (
    *("latency", "latency_ms", "latency_s", "duration", "duration_ms", "duration_s", "elapsed", "execution_time"),
    *("response_time", "response_time_ms", "generation_time", "generation_time_ms", "time_to_first_token", "ttft"),
    *("timestamp", "time", "created", "created_at", "temperature", "top_p", "max_tokens", "seed"),
    *("epoch", "trial", "repetition", "attempt", "index", "row", "", "Unnamed: 0", "__index_level_0__"),
)
"""Columns of how and when an answer was made, and the index that pandas writes, which are no scores."""
WORDS = tuple(word for word in MEANING if len(word) > 1)
"""Words by which a column is known to hold scores; a letter may as well be the answer to a question."""
SCORES = "scores"
"""The column of scores by name."""
DIRECTION = " direction"
"""After the name of a score: whether more of it is better, as TruLens has it."""
SUFFIXES = (".csv", ".parquet", ".jsonl", ".ndjson", ".json")


def sees(file: File) -> bool:
    """Whether a file has a column of prompts beside others."""
    if file.suffix not in SUFFIXES:
        return False
    there = names(file)
    return len(there) > 1 and any(name in there for name in FIELDS["prompt"])


def read(file: File) -> Iterator[Answer]:
    """The answers, a row each.

    Raises:
        InputError: rows that cannot be read, or a cost or count that is none; names file, row and column.
    """
    rows = list(file.table())
    called, scores = _columns([record for _, record in rows])
    for at, record in rows:
        cell = {field: records.at(record, name) for field, name in called.items()}
        inputs = records.parsed(prompt_of(record))
        try:
            texts = {field: values.label(cell.get(field)) for field in ("model", "task", "id", "currency")}
        except ValueError as error:
            raise InputError(f"{at}: model, task, id or currency is {error}; correct it") from error
        said, nested = records.parsed(record.get("usage")), called.get("input_tokens", "usage.").startswith("usage.")
        amounts = {field: amount(cell.get(field), at, called[field]) for field in ("cost", *COUNTS) if field in called}
        last = {field: called[field].rpartition(".")[2] for field in COUNTS if field in called}
        used = {OPENROUTER.get(name, name): amounts[field] for field, name in last.items() if amounts[field] >= 0}
        yield Answer(
            at=at,
            model=texts["model"] or model_of(inputs),
            **asked(inputs, at, cells=file.suffix == ".csv"),
            task=texts["task"] or "all",
            id=texts["id"] or "",
            scores={name: record.get(name) for name in scores} | _nested(record),
            main=next((name for name in MAIN if name in scores), ""),
            lower=frozenset(name for name in scores if str(record.get(name + DIRECTION)).lower() == "false"),
            cost=amounts.get("cost", math.nan),
            tokens=counted(said if nested and isinstance(said, Mapping) else used, at),
            failed=kind(records.parsed(cell.get("failed"))),
            currency=texts["currency"] or "",
        )


def scores(file: File) -> Iterator[tuple[str, Answer]]:
    """Where each row of a file of scores is, and its id, model and scores.

    Raises:
        InputError: no column of ids, or none of scores; names file and row.
    """
    rows = list(file.table())
    called, found = _columns([record for _, record in rows])
    if "id" not in called or not found:
        lacks = "ids" if "id" not in called else "scores"
        raise InputError(f"{file.path}: no column of {lacks}; it needs {', '.join(FIELDS['id'][:4])} and scores")
    for at, record in rows:
        name = values.label(records.at(record, called["id"]))
        if name is None:
            raise InputError(f"{at}: {called['id']} is empty; fill it or drop the row")
        model = values.label(records.at(record, called["model"])) if "model" in called else None
        yield at, Answer(at=at, model=model, prompt=None, id=name, scores={key: record.get(key) for key in found})


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """Field -> the name of its column or path, and the columns that are scores."""
    there = dict.fromkeys(name for record in rows for name in record)
    called = {field: name for field, names in FIELDS.items() if (name := records.first_of(names, there))}
    if "model" not in called and all(name in there for name in TRULENS):
        called["model"] = "app_version"
    known = {records.outermost(name, there) for name in called.values()}
    known |= {*TEXTS, *MEASURES, *(name for names in FIELDS.values() for name in names)}
    others = [name for name in there if name not in known and not name.endswith(DIRECTION)]
    return called, [name for name in others if name in MAIN or _are_scores([row.get(name) for row in rows])]


def _nested(record: Mapping[str, Any]) -> dict[str, Any]:
    """Scores by name in one column, as Braintrust has them; ``scorer.value`` of several ones, as Weave has them."""
    found: dict[str, Any] = {}
    given = records.parsed(record.get(SCORES))
    for name, value in given.items() if isinstance(given, Mapping) else ():
        found |= {f"{name}.{part}": one for part, one in value.items()} if isinstance(value, Mapping) else {name: value}
    return found


def names(file: File) -> Sequence[str]:
    """The columns of a file, or the keys of its first record."""
    if file.suffix == ".parquet":
        return next(records.read(file.path)).names
    return file.header or list(file.first)


def _are_scores(cells: Sequence[Any]) -> bool:
    """Whether a column is of numbers, truth values or known words, apart from what is missing."""
    there = [cell for cell in cells if cell is not None and not (isinstance(cell, float) and math.isnan(cell))]
    if not there or any(isinstance(cell, Mapping | list) for cell in there):
        return False
    numbers = [cell for cell in there if not (isinstance(cell, str) and cell.strip().lower() in (*WORDS, *MISSING))]
    blank = all(isinstance(cell, str) and cell.strip().lower() in MISSING for cell in there)
    return not blank and not values.each(values.number, numbers, math.nan)[1]
