"""A log that is described once: which column is which field, proposed from names and values, and kept as TOML.

    # jaxroute.toml, beside the log
    quality_range = "1,5"
    prices = "default"
    feedback = "ratings.jsonl"
    context = ["tier", "language"]
    [columns]
    prompt = "question"
    quality = "metadata.rating"

A column is proposed for a field if its name is one that people use for it, and its values can be that field's.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from jaxroute.data import records, values
from jaxroute.data.logs import feedback, formats
from jaxroute.types import InputError

NAME = "jaxroute.toml"
LOOKED_AT, DEPTH = 200, 3
SETTINGS = ("quality_range", "prices", "feedback", "score", "chat", "context")
SCALES = ((0.0, 1.0), (1.0, 5.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (-1.0, 1.0), (0.0, 100.0))
CALLED: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "query", "user_message", "instruction", "messages", "input", "text", "request"),
    "model": ("model", "model_name", "model_id", "llm", "engine", "deployment", "chosen_model", "route"),
    "quality": ("quality", "rating", "score", "reward", "stars", "grade", "feedback", "user_rating", "thumbs", "label"),
    "cost": ("cost", "cost_usd", "total_cost", "usd", "spend", "price", "response_cost", "dollars"),
    "input_tokens": ("input_tokens", "prompt_tokens", "tokens_in", "n_input_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens", "tokens_out", "n_output_tokens"),
    "propensity": ("propensity", "probability", "prob", "pscore", "choice_probability", "action_prob"),
    "timestamp": ("timestamp", "time", "created_at", "created", "date", "datetime", "ts", "start_time"),
    "group": ("group", "conversation_id", "session_id", "thread_id", "conversation", "session", "user_id", "user"),
    "request_id": ("request_id", "id", "call_id", "uuid", "trace_id", "request"),
    "weight": ("weight", "sample_weight"),
    "human_quality": ("human_quality", "human_label", "human_rating", "human_score", "annotation", "expert_rating"),
    "latency": ("latency", "latency_s", "duration", "response_time", "seconds"),
    "human_rate": ("human_rate", "label_rate"),
    "available": ("available", "candidates", "candidate_models"),
    "features": ("features", "embedding", "embeddings"),
}
"""Names that people use, the likeliest first; the last part of a path counts, in any case."""


@dataclass(frozen=True)
class Description:
    """How a log is read. columns: {field: name}. settings: of ``SETTINGS``. source: the file that says so."""

    columns: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None


@dataclass(frozen=True)
class Proposal:
    """What a log looks like: its format's title, proposed columns with an example each, its other columns, settings."""

    title: str
    columns: Mapping[str, str]
    examples: Mapping[str, Any]
    others: Sequence[str]
    settings: Mapping[str, str]


def propose(source: Any) -> Proposal:
    """Look at the first rows of a log.

    Example:
        >>> row = {"question": "Why?", "llm": "small", "usd": 0.1}
        >>> found = propose([row | {"meta": {"stars": 1 + i % 5}} for i in range(9)])
        >>> print(found.columns, found.settings)
        {'prompt': 'question', 'model': 'llm', 'quality': 'meta.stars', 'cost': 'usd'} {'quality_range': '1,5'}
    """
    rows, names = _sample(source)
    form = formats.format_of(names)
    seen = {name: cells for name, cells in _columns(rows).items() if cells}
    columns: dict[str, str] = {}
    if form.entries is None:
        for name, called in CALLED.items():
            taken = set(columns.values())
            fitting = [c for c in _ranked(seen, called) if c not in taken and _fits(name, seen[c])]
            if fitting:
                columns[name] = fitting[0]
        if "prompt" in columns and "features" in columns and columns["features"] == columns["prompt"]:
            del columns["features"]
    settings = {}
    if "quality" in columns and (scale := _scale(seen[columns["quality"]])):
        settings["quality_range"] = scale
    if form.entries is None and "cost" not in columns and {"input_tokens", "output_tokens"} <= columns.keys():
        settings["prices"] = "default"
    examples = {name: next(iter(cells)) for name, cells in seen.items()}
    return Proposal(form.title, columns, examples, [c for c in seen if c not in columns.values()], settings)


def find(log: str) -> Path | None:
    """The description of a log: beside it, or in it if it is a folder, else in the working directory."""
    places = [Path.cwd()]
    if "://" not in log:
        path = Path(log).expanduser()
        places.insert(0, path if path.is_dir() else path.parent)
    return next((place / NAME for place in places if (place / NAME).is_file()), None)


def read(path: Path) -> Description:
    """A description from its file.

    Raises:
        InputError: it is not TOML, or says something that is not known.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as TOML ({error}); mend it, or write it anew: jaxroute init"
        ) from None
    columns = found.pop("columns", {})
    if unknown := sorted(found.keys() - set(SETTINGS)):
        raise InputError(f"{path}: {unknown[0]!r} is not known; it may hold [columns] and {', '.join(SETTINGS)}")
    for name, value in {**(columns if isinstance(columns, dict) else {"columns": columns}), **found}.items():
        if name == "context" and isinstance(value, list) and all(isinstance(one, str) for one in value):
            continue
        if not isinstance(value, str):
            raise InputError(f"{path}: {name} is {value!r}; write a text in quotes")
    if found.get("feedback"):
        found["feedback"] = str(path.parent / found["feedback"])
    if found.get("prices", "default") != "default":
        found["prices"] = str(path.parent / found["prices"])
    return Description(columns, found, path)


def text(description: Description) -> str:
    """The description as TOML.

    Example:
        >>> print(text(Description({"prompt": "question"}, {"quality_range": "1,5"})), end="")
        # How jaxroute reads the log beside this file. Options of a command come before what is written here.
        quality_range = "1,5"
        <BLANKLINE>
        [columns]
        prompt = "question"
    """
    head = "# How jaxroute reads the log beside this file. Options of a command come before what is written here."
    lines = [head, *(f"{name} = {json.dumps(value)}" for name, value in description.settings.items())]
    lines += ["", "[columns]", *(f"{name} = {json.dumps(value)}" for name, value in description.columns.items())]
    return "\n".join(lines) + "\n"


def _sample(source: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The first rows as records, and all names."""
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for chunk in records.read(feedback.first_log(records.sources(source))):
        names |= dict.fromkeys(chunk.names)
        if isinstance(chunk.data, dict):
            cells = zip(*chunk.data.values(), strict=True)
            rows += [dict(zip(chunk.data, row, strict=True)) for row in islice(cells, LOOKED_AT)]
        else:
            rows += chunk.data[:LOOKED_AT]
        if len(rows) >= LOOKED_AT:
            break
    return rows[:LOOKED_AT], list(names)


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Values by name, those inside of nested values by path; empty cells left out."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in _flat(row):
            found.setdefault(name, []).append(value)
    return found


def _flat(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if path and value not in (None, ""):
        yield path, value
    inner = records.parsed(value)
    if isinstance(inner, dict) and depth < DEPTH:
        for name, part in inner.items():
            yield from _flat(part, f"{path}.{name}" if path else str(name), depth + 1)


def _ranked(seen: Mapping[str, Any], called: Sequence[str]) -> list[str]:
    """Columns by one of these names: as it stands before inside another, in the names' order."""

    def plain(name: str) -> str:
        return name.rpartition(".")[2].lower().replace("-", "_").replace(" ", "_")

    matching = [name for name in seen if plain(name) in called]
    return sorted(matching, key=lambda name: (called.index(plain(name)), name.count(".")))


def _fits(name: str, cells: Sequence[Any]) -> bool:
    """Whether values can be those of a field."""
    if name in ("prompt", "model"):
        kind = (str, list) if name == "prompt" else (str,)
        return all(isinstance(cell, kind) for cell in cells)
    if name in ("group", "request_id"):
        scalar = all(isinstance(cell, str | int) and not isinstance(cell, bool) for cell in cells)
        return scalar and (name == "group" or len(set(cells)) == len(cells))
    reader: dict[str, Callable[[Any], Any]] = {"timestamp": values.moment, "available": values.candidates}
    if name == "features":
        return all(values.vector(cell) is not None for cell in cells)
    return not values.each(reader.get(name, values.number), list(cells), None)[1]


def _scale(cells: Sequence[Any]) -> str:
    """The narrowest usual scale that holds all qualities, as --quality-range takes it; "" for 0 to 1 or none."""
    numbers = [float(values.number(cell)) for cell in cells]
    holding = [scale for scale in SCALES if scale[0] <= min(numbers) and max(numbers) <= scale[1]]
    return "" if not holding or holding[0] == (0.0, 1.0) else "{:g},{:g}".format(*holding[0])
