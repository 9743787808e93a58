"""What of a checked log is probably not meant, though every row of it can be read: sentences for the doctor.

None of it is changed, because each can be meant: a log may be about one prompt, and a model may have two prices.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from jaxroute.data import values
from jaxroute.data.logs.table import LogTable
from jaxroute.system.wording import here, named

SAME = 0.3
"""Share of the rows from which one prompt is named, or prompts of one shape."""
PRINTED = re.compile(r"\[?\{'\w+': ")
"""How a list of messages, or a request, starts as Python prints it; whole ones are read, see ``records.parsed``."""
COPIED = 0.02
"""Share of the rows from which copies are named."""
GAP = 5.0
"""Factor between neighbouring costs of a model, none in between, from which they look like two units."""
EITHER_SIDE = 0.05
"""Share of a model's rows that must be on either side of such a gap; fewer may be long prompts."""
FEWEST = 40
"""Rows of a log, or costs of a model, of which something is said."""
SLOW = 200.0
"""Median latency, in seconds, from which latencies look like milliseconds."""
OLDEST = 946684800.0
"""The year 2000, in seconds since 1970: before it nobody asked a language model."""


def said(log: LogTable) -> list[str]:
    """Sentences, each with a count and what to do.

    Example:
        >>> from jaxroute.data.logs import load
        >>> rows = [{"prompt": "ping" if i % 2 else f"p{i}", "model": "ab"[i % 3 > 0], "quality": i % 2, "cost": i + 1}
        ...     for i in range(60)]
        >>> print(*said(load(rows)))
        30 of 60 rows have the same prompt, 'ping': what is learnt and said is about it as much. If these are no
        requests of people (health checks, tests), leave them out.
    """
    if len(log) < FEWEST:
        return []
    found = [
        *_one_prompt(log),
        *_printed(log),
        *_copies(log),
        *_two_units(log),
        *_names(log),
        *_times(log),
        *_latencies(log),
    ]
    return found + _one_quality(log)


def _one_prompt(log: LogTable) -> list[str]:
    if log.prompt is None:
        return []
    ((text, count),) = Counter(log.prompt.tolist()).most_common(1)
    if count < SAME * len(log):
        return []
    return [
        f"{count} of {len(log)} rows have the same prompt, {values.short(text)}: what is learnt and said is about it "
        "as much. If these are no requests of people (health checks, tests), leave them out."
    ]


def _printed(log: LogTable) -> list[str]:
    """Prompts that are parts of chats as Python prints them, of which the user's last message cannot be told."""
    count = 0 if log.prompt is None else sum(PRINTED.match(text) is not None for text in log.prompt)
    if not count or count < SAME * len(log):
        return []
    return [
        f"{count} of {len(log)} prompts look like messages as Python prints them, and count as texts, roles and all. "
        "If they are chats, write the log as JSON lines or Parquet, so that the user's last message is the prompt."
    ]


def _copies(log: LogTable) -> list[str]:
    """Rows that say what another one says in every column, where the log has no ids by which copies are known."""
    if log.request_id is not None and all(one is not None for one in log.request_id):
        return []
    told = log.prompt.tolist() if log.prompt is not None else [row.tobytes() for row in log.features]  # type: ignore[union-attr]
    numbers = [log.action, log.quality, log.cost, log.propensity]
    numbers += [column for column in (log.timestamp, log.latency) if column is not None]
    keys = [row.tobytes() for row in np.stack([np.asarray(column, float) for column in numbers], 1)]
    copies = len(log) - len(set(zip(told, keys, strict=True)))
    if copies < COPIED * len(log):
        return []
    return [
        f"{copies} of {len(log)} rows say what another row says in every column, and count as requests of their own. "
        "If they are copies (retries, files that overlap), give every request its request_id, by which copies are left "
        "out."
    ]


def _two_units(log: LogTable) -> list[str]:
    """Models whose costs fall into two parts, far from each other: cents beside dollars, say."""
    split = []
    for k, name in enumerate(log.models):
        paid = np.sort(log.cost[(log.action == k) & (log.cost > 0)])
        if len(paid) < FEWEST:
            continue
        factor = paid[1:] / paid[:-1]
        least = int(np.ceil(EITHER_SIDE * len(paid)))
        factor[: least - 1], factor[len(paid) - least :] = 1, 1
        i = int(np.argmax(factor))
        if factor[i] >= GAP:
            times = np.median(paid[i + 1 :]) / np.median(paid[: i + 1])
            split.append(f"{name} ({len(paid) - i - 1} of {len(paid)}, {times:.2g} times the others)")
    if not split:
        return []
    return [
        f"Costs fall into two parts with none in between: {', '.join(split)}. If one of them is in another unit, such "
        "as cents beside dollars, correct it: costs are averaged as they are."
    ]


def _names(log: LogTable) -> list[str]:
    by: dict[str, list[str]] = {}
    for name in log.models:
        by.setdefault("".join(name.casefold().split()), []).append(repr(name))
    alike = [" and ".join(names) for names in by.values() if len(names) > 1]
    if not alike:
        return []
    return [
        f"Names of models differ in case or spaces alone: {'; '.join(alike)}. Each counts as a model of its own; if "
        "they are one, write one name."
    ]


def _times(log: LogTable) -> list[str]:
    if log.timestamp is None:
        return []
    early = int((log.timestamp < OLDEST).sum())
    if not 0 < early < np.isfinite(log.timestamp).sum():
        return []
    return [
        f"{early} of {len(log)} rows have a time before the year 2000, which comes first in every split by time. If it "
        "is unknown, leave the cell empty."
    ]


def _latencies(log: LogTable) -> list[str]:
    """Latencies of which most would be minutes: tools often write milliseconds."""
    known = np.zeros(0) if log.latency is None else log.latency[np.isfinite(log.latency)]
    if len(known) < FEWEST or (middle := float(np.median(known))) < SLOW:
        return []
    return [
        f"Half of the latencies are {middle:,.0f} seconds or more. If they are milliseconds, divide them by 1,000: "
        f"they are shown, and compared with {named('max_latency')}, as seconds."
    ]


def _one_quality(log: LogTable) -> list[str]:
    rated = log.quality[np.isfinite(log.quality)]
    if len(rated) < FEWEST or np.ptp(rated) > 0:
        return []
    return [
        f"Every quality is {rated[0]:g}, so models differ in cost alone. If the column says that a request was "
        "answered, and not how well, map another one."
    ]


def unrated(log: LogTable, beside: np.ndarray | None, candidates: Sequence[str] | None) -> list[str]:
    """What a router knows of the models that answered and were never rated, a sentence each.

    Args:
        log: N rows. beside: [K] rated answers of a shadow sample; None: there is none. candidates: the models that may
            be chosen; None: all.

    Example:
        >>> from jaxroute.data.logs import load
        >>> cells = ("a", 1), ("b", None), ("b", None)
        >>> rows = [{"prompt": "p", "model": m, "quality": q, "cost": 2} for m, q in cells]
        >>> print(*unrated(load(rows), None, None))
        None of the 2 answers of b has a rating, so the router expects the other models' mean quality of it, unless a
        prior says it: rate some of its answers, or leave it out with router.without('b').
    """
    rated, said = np.isfinite(np.asarray(log.quality, float)), []
    for k, name in enumerate(log.models):
        own = np.asarray(log.action) == k
        known = rated[own].any() or (beside is not None and beside[k] > 0)
        if not own.any() or known or (candidates is not None and name not in candidates):
            continue
        said.append(
            f"None of the {own.sum():,} answers of {name} has a rating, so the router expects the other models' mean "
            "quality of it, unless a prior says it: rate some of its answers, or leave it out with "
            + here(f"router.without({name!r})", f"jaxroute route --without {name}")
            + "."
        )
    return said
