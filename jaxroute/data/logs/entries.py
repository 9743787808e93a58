"""What one record of a tool says, as an entry: the fields of a request, or why it is none.

A tool's format turns records into entries; ``cells`` gathers them as columns, ``joining`` makes one row of the
entries of one request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jaxroute.data import messages
from jaxroute.data.records import at, parsed

NUMBERS = ("quality", "cost", "input_tokens", "output_tokens", "total_tokens", "cached_tokens", "cache_write_tokens",
           "reasoning_tokens", "propensity", "weight", "human_quality", "human_rate",
           "latency")  # fmt: skip
FIELDS = ("prompt", "model", *NUMBERS, "timestamp", "group", "request_id", "available", "features")
OWN = frozenset(FIELDS) - {"model", "timestamp", "request_id", "weight", "latency"}
"""Our own names, which count at the top level of every tool's records; the other five mean something there."""
COMPARED = "wins over the log's other models"
"""What the qualities of a log of comparisons are called (`comparisons`)."""
CARRIED = {f"jaxroute.{field}": field for field in (*OWN, "model", "weight", "latency")}
"""Attributes by which a span can carry what its tool has no name for."""

FAILED = "failed requests"
EARLIER = "requests before --since"
CACHED = "answers from a cache"
OTHER = "other calls than for text"
ELSE = "spans of other things"
TOOLS = "turns of tools only"
LOST = "prompts that were not recorded"
CUT = "prompts that were cut"
FOREIGN = "records of another kind"
HIDDEN = re.compile(r"\s*(?:(?:__REDACTED__|\[REDACTED\]|<REDACTED>|redacted-by-litellm|<elided>)\s*)+")
"""What OpenInference, Strands, Claude Code, LiteLLM and Google's ADK write instead of a text that they hide."""

Row = dict[str, Any]


class Judgement(NamedTuple):
    """A quality that is recorded apart from its request.

    ids: {"request", "span" or "trace": identifier}. name: of the evaluation, "" without one. time: None without one.
    """

    ids: Mapping[str, str]
    name: str
    value: Any
    time: Any = None


class Entry(NamedTuple):
    """What a record says of a request.

    fields: by ``FIELDS``, and those that only joining needs: asked and answered (models), deployment, spare_id,
    paid (the model whose price it has), endpoint, chain, trace and turn (hashes), told (which convention), called (a
    hash of the span's name), failed, fallback, stream, lost, sampled, scores. left: why it is no answered request; ""
    where it is one.
    key, parent: of the span it is and the span around it; 0 without one. said: messages that belong to the span
    ``key``. judged: an evaluation.
    """

    fields: Row
    left: str = ""
    key: int = 0
    parent: int = 0
    said: list[Row] | None = None
    judged: Judgement | None = None


class Asked(NamedTuple):
    """What a caller wants of the records: {field: name in them}, and which part of a chat."""

    columns: Mapping[str, str]
    chat: str = messages.CHAT


class Format(NamedTuple):
    """One kind of log.

    name: by which a caller asks for it. title: for messages. detect: whether a table's columns, or a record's keys,
    are of the kind. reads: whether a column of a table is looked at. entries: of a record. hint: what to do where
    prompts are missing. notes: {what is said of every row, as a count: the field it is about, unless the caller maps
    that}. bills: whether its records have costs, which are in US dollars. versions: whether names that differ in their
    date are different models.
    """

    name: str
    title: str
    detect: Callable[[Collection[str]], bool]
    reads: Callable[[str], bool]
    entries: Callable[[Row, Asked], Iterator[Entry]] | None
    hint: str = ""
    notes: Mapping[str, str] = {}
    bills: bool = True
    versions: bool = False


class Convention(NamedTuple):
    """How the spans of one instrumentation say what a request was; each function is of a span's attributes.

    told: whether a span is of the kind. left: why it is no call for text, "" where it is one. names: field and rank
    by attribute, see ``ranked``. more: further fields, from values that hold several. chat: the messages,
    from every place where they may be.
    """

    told: Callable[[Row], bool]
    left: Callable[[Row], str]
    names: Mapping[str, tuple[str, int]]
    more: Callable[[Row], Row]
    chat: Callable[[Row], Iterable[Any]]


def first(record: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first of several values that is there and not empty."""
    for name in names:
        value = record.get(name)
        if value is not None and value != "":
            return value
    return None


def keyed(trace: str, span: Any, around: Any) -> tuple[int, int]:
    """Keys of a span and of the one around it, by their identifiers in a trace; 0 where one is missing."""
    return hash((trace, str(span))) if span else 0, hash((trace, str(around))) if around else 0


def opened(value: Any) -> Row:
    """A record, or the one that a text of JSON holds; {} where there is none."""
    value = parsed(value)
    return value if isinstance(value, dict) else {}


def ranked(names: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, int]]:
    """{attribute: (field, rank)} of attributes by field, the first that is there counting."""
    return {name: (field, rank) for field, several in names.items() for rank, name in enumerate(several)}


def named(attributes: Row, names: Mapping[str, tuple[str, int]]) -> Row:
    """Fields by attributes, each of its best ranked name that is there and not empty.

    Example:
        >>> named({"b": 2, "a": 1, "c": None}, ranked({"x": ("a", "b"), "y": ("c",)}))
        {'x': 1}
    """
    found: Row = {}
    ranks: dict[str, int] = {}
    for name, value in attributes.items():
        if name in names and value is not None and value != "":
            field, rank = names[name]
            if field not in found or rank < ranks[field]:
                found[field], ranks[field] = value, rank
    return found


def own(record: Row, asked: Asked, *holders: Row) -> Row:
    """Fields by our own names at a record's top level, and those that the caller maps: there, or in ``holders``.

    Example:
        >>> own({"quality": 1, "metadata": {"user": "a"}}, Asked({"group": "metadata.user"}))
        {'quality': 1, 'group': 'a'}
    """
    found = {}
    if not OWN.isdisjoint(record):
        found = {field: record[field] for field in OWN if record.get(field) is not None}
    for field, name in asked.columns.items():
        value = None
        for holder in (*holders, record):
            value = at(holder, name)
            if value is not None:
                break
        found[field] = value
    return found


def carried(attributes: Row, before: str = "") -> Row:
    """Fields by ``CARRIED``, of attributes or metadata that a caller's program gave; ``before`` their names.

    Example:
        >>> carried({"jaxroute.propensity": 0.25, "tier": "gold"})
        {'propensity': 0.25}
    """
    return {field: attributes[before + name] for name, field in CARRIED.items() if before + name in attributes}


def read_prompt(fields: Row, chats: Iterable[Any], asked: Asked) -> None:
    """Fill in the text of a chat, the first of several places that has one, or why there is none.

    A prompt that is there already, by our own name or the caller's, stays.
    """
    text = fields.get("prompt")
    if text is None or isinstance(text, list):
        why = LOST
        for chat in chats if text is None else [text]:
            if chat is not None and (text := text_of(chat, asked.chat)) is not None:
                break
            if chat and messages.only_tools(chat):
                why = TOOLS
        fields["prompt"] = text
        if text is None:
            fields["lost"] = why
            return
    if isinstance(text, str) and "litellm_truncated" in text:
        fields["lost"] = CUT


def text_of(chat: Any, rule: str) -> str | None:
    """The part of a chat that is the prompt; None where there is none, or a tool was told to hide it."""
    text = messages.text_of(chat, rule)
    return None if text is not None and HIDDEN.fullmatch(text) else text
