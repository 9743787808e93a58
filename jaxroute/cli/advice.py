"""The sentences of ``jaxroute doctor``: the verdict, what would change it, and what the log suggests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxroute.data.logs.entries import EARLIER, ELSE, OTHER

if TYPE_CHECKING:
    from jaxroute.data.logs import LogTable

Model = Mapping[str, Any]
SHADOW, SHOWN = 250, 10
PRIOR = 0.06
"""Quality units. Other tasks' levels predict a model's to 0.03 to 0.13: beyond this error a prior says as much as the
log."""

MEANS = {
    "ok": "A router can be learnt from this log, and judged on one like it.",
    "caution": "A router can be learnt from this log, but not every policy can be judged on it.",
    "refuse": "This log cannot say which model should answer which prompt.",
}


def conclusion(verdict: str, models: Sequence[Mapping[str, Any]]) -> str:
    """The verdict in a sentence, and which models lack judged answers.

    Example:
        >>> print(conclusion("refuse", [{"model": "a", "judged": 12, "rows_needed": 90}]))
        This log cannot say which model should answer which prompt. Judged answers are too few for a (12; log 90 more).
    """
    few = [f"{m['model']} ({m['judged']}; log {m['rows_needed']} more)" for m in models if m["rows_needed"]]
    return MEANS[verdict] + (f" Judged answers are too few for {several(few)}." if few else "")


def enough(count: int, rated: int) -> str:
    """How much has to be drawn at random among so many models, for their answers to be evidence in as long a log.

    >>> print(enough(3, 20_000))
    3% of the requests to a random model (1% to each of the 3)
    >>> print(enough(2, 300))
    20% of the requests to a random model (10% to each of the 2)
    """
    from jaxroute.estimators import evaluation_clip
    from jaxroute.estimators.trusted import TRUSTED_ROWS

    each = min(2 * evaluation_clip(count), 2 * TRUSTED_ROWS / max(rated, 1))
    return f"{100 * count * each:.2g}% of the requests to a random model ({100 * each:.2g}% to each of the {count})"


def several(names: Sequence[str]) -> str:
    """Names with commas, at most ten of them.

    >>> several(["a", "b"]), several([f"m{i}" for i in range(12)])
    ('a, b', 'm0, m1, m2, m3, m4, m5, m6, m7, m8, m9 and 2 more')
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def at_most(lines: Sequence[str], of: str) -> list[str]:
    """The first ten of lines that say the same of several models, and how many there are besides.

    >>> at_most(["a: log more"] * 12, "models to log more of")[-1]
    '2 more models to log more of; the table lists every model.'
    """
    more = [f"{len(lines) - SHOWN} more {of}; the table lists every model."] if len(lines) > SHOWN else []
    return [*lines[:SHOWN], *more]


def first(
    source: str, reasons: Any, models: list[dict[str, Any]], verdict: str, known: list[str], alone: bool
) -> list[str]:
    """What would change the verdict, and the next step.

    Args:
        source: of the propensities. reasons: of the verdict on a uniform policy. models: a record each.
        known: models with enough answers in the shadow sample. alone: there is no shadow sample.
    """
    lines, rated = [], sum(int(m.get("judged", 0)) for m in models)
    if source == "deterministic":
        lines.append(
            "The model of every request was certain, so the log says nothing about the other models. Send "
            f"{enough(len(models), rated)}, and log the probability of every choice, or have all models answer a "
            "sample (jaxroute shadow LOG --ask all). With more requests, less is enough. If the models were drawn "
            "after all and 1 stands for what was drawn, as some bandits write it, leave the column out, and the "
            "probabilities are estimated."
        )
    elif source != "known":
        lines.append(
            "Log the probability of every choice (propensity); here it had to be estimated for some or all rows."
        )
    lines += at_most(list(reasons), "reasons of this kind")
    collect = [
        f"{m['model']}: collect {m['rows_needed']} more answers with feedback before routing to it, or leave it out."
        for m in models
        if m["rows_needed"]
    ]
    lines += at_most(collect, "models of which to collect answers")
    unclear = [m for m in models if m["verdict"] == "refuse" and not m["rows_needed"]]
    lines += at_most(
        [f"{m['model']} has enough answers and cannot be judged: {'; '.join(m['reasons'])}." for m in unclear],
        "models that cannot be judged",
    )
    if alone and any(m["rows_needed"] for m in models):
        lines.append(
            f"As an alternative to a longer log, have {SHADOW} prompts answered by every model "
            f"({SHADOW * len(models)} answers) and pass them as --shadow. They describe rarely chosen models better "
            "than the log does. jaxroute shadow LOG --ask all estimates what they cost."
        )
    if verdict != "refuse":
        usable = [m["model"] for m in models if m["verdict"] != "refuse" or m["model"] in known]
        option = "" if alone else " --shadow FOLDER"
        lines.append(
            f"A router can be fitted among {several(usable)}. Next step: jaxroute fit LOG{option} --out ROUTER"
        )
    return lines


def further(
    table: LogTable,
    models: Sequence[Model],
    since: Sequence[float],
    drivers: Sequence[Mapping[str, Any]],
    *,
    fitted: bool,
    alone: bool,
) -> list[str]:
    """What the times, the models' errors and the context columns suggest.

    Args:
        since: when models changed. drivers: of ``data.context``. fitted: whether a router can be. alone: without a
            shadow sample.
    """
    lines = []
    moment, share = last_fifth(table)
    if fitted and moment:
        lines.append(
            "The log has times, so a router can be judged on later requests than it learned from: jaxroute fit LOG "
            f"--split-time {moment} (the last {share:.0%} of the rows)"
        )
    if fitted and alone and (vague := _uncertain(models)):
        lines.append(
            f"The mean quality over all prompts is uncertain for {_listed(vague)}. What you know of these models "
            "beside the log (a leaderboard, an old evaluation, another task's results) would help most: "
            "jaxroute fit LOG --prior FILE"
        )
    if fitted:
        lines.append(
            "A model that the log never shows can be routed to as well, if --prior FILE names it with its expected "
            "quality and its cost; the router marks it, and this log cannot say what it is worth."
        )
    if fitted and since:
        lines.append(
            "Models changed inside the log, and what is learnt is an average of before and after. If enough rows are "
            f"left, learn from those since then: jaxroute fit LOG --since {written(max(since))}"
        )
    lines += [
        f"The column {one['name']} drove the choice of the model (Cramer's V {one['strength']:.2f}): it is a "
        "confounder that is in the log. With --context, as here, everything is adjusted for it; without it, what "
        f"{one['name']} does to quality is credited to the models."
        for one in drivers
        if one["drove"]
    ]
    return lines


def last_fifth(table: LogTable) -> tuple[str, float]:
    """When about the last fifth of a log's rows begins, as --split-time takes it, and the share of the rows since then.

    At the beginning of a day, if no more than 40% of the rows are since then; ("", 0) where some rows have no time.

    Example:
        >>> from jaxroute.data.logs import load
        >>> row = {"prompt": "hi", "quality": 1, "cost": 1}
        >>> rows = [row | {"model": "ab"[i % 2], "timestamp": f"2026-11-{i + 1:02}"} for i in range(20)]
        >>> last_fifth(load(rows))
        ('2026-11-17', 0.2)
    """
    if table.timestamp is None or not np.isfinite(table.timestamp).all():
        return "", 0.0
    begins = np.sort(table.timestamp)[int(0.8 * len(table))]
    if begins == table.timestamp.min():
        return "", 0.0
    day = datetime.fromtimestamp(float(begins), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    earlier = float((table.timestamp < day.timestamp()).mean())
    if earlier >= 0.6:
        return f"{day:%Y-%m-%d}", round(1 - earlier, 6)
    return written(float(begins)), round(float((table.timestamp >= begins).mean()), 6)


def written(moment: float) -> str:
    """A time, as options take it."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _uncertain(models: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of whose mean quality a prior would say as much as the log.

    Example:
        >>> a, b, c = ({"model": m, "quality_error": e} for m, e in (("a", 0.08), ("b", 0.02), ("c", None)))
        >>> _listed(_uncertain([a, b, c]))
        'c (no judged answer), a (± 0.08)'
    """
    return [m for m in models if m["quality_error"] is None or m["quality_error"] > PRIOR]


def _listed(models: Sequence[Mapping[str, Any]]) -> str:
    """The models with the standard errors of their mean quality, the largest first."""
    ranked = sorted(models, key=lambda m: -(m["quality_error"] or 1))
    errors = ("no judged answer" if m["quality_error"] is None else f"± {m['quality_error']:.2g}" for m in ranked)
    return several([f"{m['model']} ({error})" for m, error in zip(ranked, errors, strict=True)])


def missing(table: LogTable) -> list[str]:
    """Models and endpoints of which all or most requests were left out of the log.

    Args:
        table: the checked log.

    Returns:
        One line for each, with the reasons.
    """
    lines = []
    rows = dict(zip(table.models, np.bincount(table.action, minlength=len(table.models)).tolist(), strict=True))
    reasons: dict[str, dict[str, int]] = {}
    for why, by in table.left_out.items():
        for model, count in by.items():
            if why not in (OTHER, ELSE, EARLIER) and model != "no model":
                reasons.setdefault(model, {})[why] = count
    for model, by in reasons.items():
        kept, lost = rows.get(model, 0), sum(by.values())
        if lost >= kept:
            why = ", ".join(f"{reason} {count}" for reason, count in by.items())
            share = f"all {lost}" if kept == 0 else f"{lost} of {lost + kept}"
            lines.append(f"{model}: {share} requests are left out ({why}), so the results do not describe them")
    for endpoint, (kept, lost) in table.endpoints.items():
        if kept == 0 and lost:
            lines.append(f"endpoint {endpoint}: all {lost} requests are left out")
    return lines
