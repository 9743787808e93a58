"""Logs of contextual bandits: Vowpal Wabbit's dsjson, and feedback dictionaries of the Open Bandit Pipeline.

Both know a reward and no price, so costs are taken as 0 unless a column is named for them, and that is counted.

Vowpal Wabbit writes ``_label_cost``, which is minus the reward, ``_labelIndex``, which counts actions from 0 (and
``_label_Action``, which counts them from 1 and is not used), and the probability of the choice. The prompt is the
text of the shared features; where they hold more than text, numbers follow as ``namespace.name=value``. An action is
called by its one text, if its features hold one, else by all of them. Rows with ``_skipLearn`` are no choices.

Reference:
    https://github.com/VowpalWabbit/vowpal_wabbit/wiki/JSON and https://github.com/st-tech/zr-obp
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from jaxroute.data.logs.entries import FOREIGN, Asked, Entry, Format, Row, own

SKIPPED = "events that were not to be learnt from (_skipLearn)"
FREE = "costs taken as 0, as such a log has none"


def dsjson(record: Row, asked: Asked) -> Iterator[Entry]:
    """An event of Vowpal Wabbit.

    Example:
        >>> event = {"_label_cost": -0.75, "_label_probability": 0.5, "_labelIndex": 1, "EventId": "e",
        ...     "c": {"_text": "hi", "_multi": [{"m": {"model": "a"}}, {"m": {"model": "b"}}]}}
        >>> [entry] = dsjson(event, Asked({}))
        >>> entry.fields["model"], entry.fields["quality"], entry.fields["available"]
        ('b', 0.75, ['a', 'b'])
    """
    context, chosen, loss = record.get("c"), record.get("_labelIndex"), record.get("_label_cost")
    if not isinstance(context, dict) or not isinstance(chosen, int) or not isinstance(loss, int | float):
        yield Entry({}, FOREIGN)
        return
    if record.get("_skipLearn") is True:
        yield Entry({}, SKIPPED)
        return
    actions = context.get("_multi")
    names = [_called(action, number) for number, action in enumerate(actions)] if isinstance(actions, list) else []
    fields = {
        "prompt": _text(context),
        "model": names[chosen] if 0 <= chosen < len(names) else f"action {chosen}",
        "quality": -loss,
        "cost": 0.0,
        "propensity": record.get("_label_probability"),
        "available": names or None,
        "timestamp": record.get("Timestamp"),
        "request_id": record.get("EventId"),
    }
    yield Entry(fields | own(record, asked, context))


def feedback(record: Row, asked: Asked) -> Iterator[Entry]:
    """A round of a feedback dictionary: context, action, reward, pscore, position (where there are several).

    Example:
        >>> row = {"context": [0.5, 1.0], "action": 1, "reward": 1, "pscore": 0.25, "n_actions": 2}
        >>> [entry] = feedback(row, Asked({}))
        >>> entry.fields["model"], entry.fields["propensity"], entry.fields["available"]
        ('action 1', 0.25, ['action 0', 'action 1'])
    """
    action, count = record.get("action"), record.get("n_actions")
    features = np.asarray(record.get("context"), float).reshape(-1)
    if record.get("position") is not None:
        features = np.append(features, record["position"])
    fields = {
        "features": features,
        "model": None if action is None else f"action {action}",
        "quality": record.get("reward"),
        "cost": 0.0,
        "propensity": record.get("pscore"),
        "available": None if count is None else [f"action {k}" for k in range(int(count))],
    }
    yield Entry(fields | own(record, asked))


def _parts(features: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of everything in a context or an action; keys of an underscore are settings but for _text."""
    if isinstance(features, Mapping):
        for key, value in features.items():
            if key == "_text" or not str(key).startswith("_"):
                yield from _parts(value, name if key == "_text" else f"{name}.{key}".lstrip("."))
    elif isinstance(features, list):
        for number, value in enumerate(features):
            yield from _parts(value, f"{name}.{number}")
    elif features is not None:
        yield name, features


def _text(context: Mapping[str, Any]) -> str:
    parts = list(_parts(context))
    texts = [value for _, value in parts if isinstance(value, str)]
    return " ".join([*texts, *(f"{name}={value}" for name, value in parts if not isinstance(value, str))])


def _called(action: Any, number: int) -> str:
    parts = list(_parts(action))
    texts = [value for _, value in parts if isinstance(value, str)]
    if len(texts) == 1:
        return texts[0]
    if len(parts) == 1 and not texts and parts[0][1] in (1, True):  # as a feature that is there: {"small": 1}
        return parts[0][0].rpartition(".")[2]
    return json.dumps(action, sort_keys=True) if parts else f"action {number}"


def _is_dsjson(names: Collection[str]) -> bool:
    return "_label_cost" in names or {"_labelIndex", "c"} <= set(names)


def _is_feedback(names: Collection[str]) -> bool:
    return {"context", "action", "reward"} <= set(names)


HELD = ("_label_cost", "_label_probability", "_labelIndex", "_skipLearn", "c", "Timestamp", "EventId")
DSJSON = Format(
    "vowpal-wabbit",
    "events of Vowpal Wabbit (dsjson)",
    _is_dsjson,
    lambda name: name in HELD,
    dsjson,
    notes={"qualities that are minus _label_cost": "quality", FREE: "cost"},
    bills=False,
)
FEEDBACK = Format(
    "open-bandit",
    "a feedback dictionary of the Open Bandit Pipeline",
    _is_feedback,
    lambda name: name in ("context", "action", "reward", "pscore", "position", "n_actions"),
    feedback,
    notes={FREE: "cost"},
    bills=False,
)
