"""Runs of OpenAI's Evals: the events that ``oaieval --record_path FILE.jsonl`` writes.

The first sampling of a sample is the answer; later ones are a grader's, or further turns. As these cannot be told
apart, what such an answer used is unknown. A score that stands for a grade that could not be read (``__invalid__``) is
none: it is written as 0 unless the eval says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxroute.data.harness.answers import UNKNOWN, Answer, File, counted, inner
from jaxroute.data.harness.inputs import asked
from jaxroute.types import InputError

NAME = "OpenAI Evals"
INVALID = "__invalid__"
Events = list[tuple[str, dict[str, Any]]]


def sees(file: File) -> bool:
    """Whether a file holds the events of a run."""
    return isinstance(inner(file.first, "spec", "completion_fns"), list)


def read(file: File) -> Iterator[Answer]:
    """The samples of a run.

    Raises:
        InputError: a sample whose prompt was not recorded; names file and row.
    """
    samples: dict[str, Events] = {}
    for at, event in file.lines():
        if event.get("sample_id"):
            samples.setdefault(str(event["sample_id"]), []).append((at, event))
    for name, events in samples.items():
        events.sort(key=lambda pair: pair[1]["event_id"])
        sampled = [(at, event["data"]) for at, event in events if event.get("type") == "sampling"]
        if not sampled:
            raise InputError(
                f"{events[0][0]}: sample {name!r} has no event of type sampling, so its prompt is unknown; "
                "record it with evals.record.record_sampling"
            )
        at, answer = sampled[0]
        yield Answer(
            at=at,
            model=str(answer.get("model") or inner(file.first, "spec", "completion_fns", 0)),
            **asked(answer.get("prompt"), at),
            task=str(inner(file.first, "spec", "base_eval") or "all"),
            id=name,
            scores=_scores(events),
            main="correct",
            failed=next((str(inner(event, "data", "type")) for _, event in events if event.get("type") == "error"), ""),
            tokens=counted(answer.get("usage"), at) if len(sampled) == 1 else UNKNOWN,
        )


def _scores(events: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """``correct`` of matches, and every metric that is a number or a truth value."""
    found: dict[str, Any] = {}
    for _, event in events:
        said = event.get("data") or {}
        if event.get("type") == "match":
            found["correct"] = said.get("correct")
        elif event.get("type") == "metrics":
            ungraded = said.get("choice") == INVALID
            found |= {
                name: None if ungraded else one for name, one in said.items() if isinstance(one, bool | int | float)
            }
    return found
