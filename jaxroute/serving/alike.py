"""Whether a log that judges a router was read as the router's own log was: the same part of chats, qualities and costs.

A router keeps how its log was read (``summary["chat"]`` and ``summary["read_as"]``). Other texts than it decides by are
refused (``check``). Another scale, say, is no error, because two logs may differ in it, but values then say something
else, so it is said (``said``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxroute.data import messages
from jaxroute.data.logs.entries import COMPARED, FAILED
from jaxroute.system.wording import here
from jaxroute.types import InputError

if TYPE_CHECKING:
    from jaxroute.data import logs as people
    from jaxroute.serving.asking import Asked

FEWEST, ROWS = 10, 2000
"""Rows of a model with a cost above 0 that its costs are compared on, and rows that are looked at."""
ZERO = f"{FAILED}, taken as quality 0"
FACTOR = 20.0
"""Costs of all models that are so many times what the router expects are in another unit: no price moves so far."""


def said(
    log: people.LogTable, seen: people.LogTable, features: Sequence[np.ndarray], routers: Sequence[Asked]
) -> list[str]:
    """What a person has to know of how the log was read.

    Args:
        log: that judges. seen: ``looked_at`` of its rows. features: [n, D] of these, as each router takes them.
        routers: that are judged on it; cost weights are in the unit of the first one's costs.

    Returns:
        Sentences, none where it was read as the routers' own logs were.
    """
    who = "the router" if len(routers) == 1 else "one of the routers"
    found = [line for router in routers for line in _quality(router, log, who)]
    return [*dict.fromkeys(found), *_units(seen, features, routers)]


def looked_at(log: people.LogTable) -> np.ndarray:
    """Rows of a log, evenly picked, that its costs are looked at on."""
    return np.unique(np.linspace(0, max(len(log) - 1, 0), min(len(log), ROWS)).round().astype(int))


def check(log: people.LogTable, routers: Sequence[Asked]) -> None:
    """Refuse a log whose prompts are other texts than those that a router decides by.

    The router's fingerprint would not know the rows that it learned from either: they would judge it.

    Args:
        log: that is to judge routers, or to be decided by them.

    Raises:
        InputError: it was read with another rule for chats than a router's, and a prompt differs by that.
    """
    if log.prompt is None or log.features is not None:
        return
    rules = [str(r.summary.get("chat", messages.CHAT)) for r in routers if r.encoder is not None]
    other = [rule for rule in dict.fromkeys(rules) if _differs(log, rule)]
    if not other:
        return
    if len(set(rules)) > 1:
        raise InputError(
            f"the routers decide by different parts of a chat ({', '.join(dict.fromkeys(rules))}), and a log is read "
            "with one rule for all: judge each by itself, or fit them with one rule"
        )
    (own,) = other
    raise InputError(
        f"this log was read with the rule {log.chat} for chats, and the router decides by {own}: it would see other "
        f"texts than it decides by, and rows that it learned from would count as new; give "
        f"{here(f'chat={own!r} where the log is read', f'--chat {own}')}"
    )


def _differs(log: people.LogTable, own: str) -> bool:
    """Whether prompts would be others by a router's own rule."""
    (turns, limit), (of_router, most) = messages.rule(log.chat), messages.rule(own)
    if turns != of_router and log.chats:
        return True
    longest = max(map(len, log.prompt.tolist()), default=0)  # type: ignore[union-attr]
    shown, kept = limit or longest + 1, most or longest + 1  # without a limit, no text is longer
    return longest > kept if kept < shown else shown < kept and longest >= shown


def _quality(router: Asked, log: people.LogTable, who: str) -> list[str]:
    own, now = router.summary.get("read_as") or {}, log.read_as
    if not own or not now:  # of an earlier release, or made by hand
        return []
    lines, scale, score, way = [], own.get("quality_range"), own.get("score"), own.get("failures")
    if scale and scale != now["quality_range"]:
        lines.append(
            f"Qualities of this log are read on the scale {now['quality_range']} (worst, best), and {who} learned from "
            f"a log that was read on {scale}. If both are written alike, give "
            f"{here(f'quality_range=({scale})', f'--quality-range {scale}')}."
        )
    if score and now["score"] and score != now["score"]:
        lines.append(f"The quality of this log is its evaluation {now['score']}, and {who} learned from {score}.")
    elif (score == COMPARED) != (now["score"] == COMPARED):
        wins, ratings = "comparisons of two answers", "ratings of one"
        this, learned = (wins, ratings) if now["score"] == COMPARED else (ratings, wins)
        lines.append(f"The qualities of this log are of {this}, and {who} learned from {learned}.")
    failed = log.counts.get(ZERO, 0) + sum(log.left_out.get(FAILED, {}).values())
    what = {"drop": "left out", "zero": "answers of quality 0"}
    if failed and way in what and way != now["failures"]:
        lines.append(
            f"{failed:,} failed requests of this log are {what[now['failures']]}; where {who} learned, such requests "
            f"were {what[way]}. To judge it alike, give {here(f'failures={way!r}', f'--failures {way}')}."
        )
    return lines


def _units(log: people.LogTable, features: Sequence[np.ndarray], routers: Sequence[Asked]) -> list[str]:
    """Which routers expect far other costs than the log's, of all models alike: a weight is in one unit for all."""
    far = {i: times for i, one in enumerate(routers) if (times := _times(one, log, features[i]))}
    if not far:
        return []
    alone, all_of_them = len(routers) == 1, len(far) == len(routers)
    number = next(iter(far))
    whose = "the router expects" if alone else f"router {number + 1} of {len(routers)} expects"
    each = ", ".join(f"{name} {factor:.3g}" for name, factor in far[number].items())
    todo = "give them in the router's unit" if alone else "give the log and all routers costs in one unit"
    return [
        f"Costs of this log are far from those that {'all routers expect' if all_of_them and not alone else whose}, of "
        f"every model alike ({each} times). If they are in another unit, such as cents beside dollars, only the values "
        f"at cost weight 0 have a meaning: {todo}."
    ]


def _times(router: Asked, log: people.LogTable, features: np.ndarray) -> dict[str, float]:
    """By model how many times what the router expects the log's costs are; {} where one of them is not far off."""
    if not router.costs_known or not len(log):
        return {}
    expected, action, cost = _expected(router, features), np.asarray(log.action), np.asarray(log.cost, float)
    times = {}
    for k, name in enumerate(log.models):
        own = (action == k) & (cost > 0)
        if name in router.models and own.sum() >= FEWEST:
            at = float(expected[own, router.models.index(name)].sum())
            times[name] = float(cost[own].sum()) / at if at > 0 else float("nan")
    factors = np.array(list(times.values()))
    far = len(factors) > 1 and ((factors >= FACTOR).all() or (factors <= 1 / FACTOR).all())
    return times if far else {}


def _expected(router: Asked, features: np.ndarray) -> np.ndarray:
    """Costs [N, K]; of a kind that predicts none those of its last layer, and NaN where it has none."""
    cost = router.predict(features)[1]
    if router.last_layer is None or not np.isnan(cost).all():
        return cost
    from jaxroute.serving import posterior

    weights = router.last_layer.weights[1]
    return posterior.basis(router.components(features), weights.shape[1]) @ weights.T
