"""A checked log: its rows, their folds and splits, and the record that learners take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jaxroute import settings
from jaxroute.data import context as contexts
from jaxroute.data import encoders, messages, scale, splits, values
from jaxroute.data.logs.entries import COMPARED
from jaxroute.system.wording import mapped, named
from jaxroute.types import InputError, Logs, NuisanceSpec

CLUSTERS = 10
FEW = 20
FEWEST_RATED = 30
"""Rows that people rated below which a judge's scores are not corrected by them."""
LEAST_SHARE = 0.05
"""Smallest estimated probability that a person was asked, over the share of the rows."""
ONE_BY_ONE = "rows are folded one by one, and intervals take every row as a draw of its own"


@dataclass(frozen=True, repr=False)
class LogTable:
    """Checked log rows [N] on the host, in the order of the tables; NaN where a number is unknown.

    timestamp: seconds since 1970. group: a number each, rows without one stand alone. weight: how many requests a row
    stands for. prompt, features, timestamp, group, weight and request_id are None where the log has no such column
    (weight also where all rows stand for one request). counts: rows, rows without quality, problems by
    kind, records that were no answered request. problems: the lines that say where, of the rows left out;
    outliers: sentences on costs that were lowered (`costs.outliers`), on rows that stand for too many requests, and on
    features that count for nothing (`data.scale`). left_out:
    {kind: {model: rows}} of requests that are not in the table. endpoints: {endpoint: (rows, requests left out)} where
    the tool says which; chat: which part of a chat the prompts are; chats: whether some are of chats. usage: mean
    tokens and cost of every model, of rows that have both (``costs.usage``). context: further columns [N] of objects,
    by name (``data.context``).
    human_quality: a person's rating where quality is a judge's; human_rate: the probability with which it was asked
    for; latency: seconds from the request to the end of the answer; None where the log has no such column. currency:
    "USD" where all costs are known to be in US dollars, else "". read_as: quality_range ("worst,best"), failures and
    score (the evaluation that is the quality, "" where it has no name), as they were read.
    """

    prompt: np.ndarray | None
    models: tuple[str, ...]
    action: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    propensity: np.ndarray
    available: np.ndarray
    timestamp: np.ndarray | None
    group: np.ndarray | None
    counts: dict[str, int]
    weight: np.ndarray | None = None
    features: np.ndarray | None = None
    request_id: np.ndarray | None = None
    problems: tuple[str, ...] = ()
    outliers: tuple[str, ...] = ()
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    endpoints: dict[str, tuple[int, int]] = field(default_factory=dict)
    chat: str = messages.CHAT
    usage: dict[str, dict[str, float]] = field(default_factory=dict)
    context: dict[str, np.ndarray] = field(default_factory=dict)
    human_quality: np.ndarray | None = None
    human_rate: np.ndarray | None = None
    latency: np.ndarray | None = None
    currency: str = ""
    chats: bool = False
    read_as: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.action)

    def __repr__(self) -> str:
        rows = np.bincount(self.action, minlength=len(self.models))
        return f"LogTable({len(self)} rows: {', '.join(f'{m} {n}' for m, n in zip(self.models, rows, strict=True))})"

    def rows(self, index: np.ndarray) -> LogTable:
        """The same log, restricted to (or reordered by) the rows in ``index``; counts stay those of the whole."""
        arrays = {
            name: value[index]
            for name in ("prompt", "action", "quality", "cost", "propensity", "available", "timestamp", "group",
                         "weight", "human_quality", "human_rate", "latency", "features", "request_id")
            if (value := getattr(self, name)) is not None
        }  # fmt: skip
        return replace(self, **arrays, context={name: column[index] for name, column in self.context.items()})


def as_logs(log: LogTable, encoder: str = "hashed") -> Logs:
    """The record that estimators and learners take.

    Args:
        log: N rows.
        encoder: of the prompts, where the log has no features; see ``encoders.encode``.

    Returns:
        Logs; the features of context columns follow those of the text. Rows without quality count for propensities, not
        for outcomes. With fewer than ten groups, or where one group holds all rows of a model, every row is a group of
        its own: neither folds nor clustered intervals can be made of such groups.

    Raises:
        InputError: costs that 32 bits cannot hold.

    Example:
        >>> from jaxroute.data.logs import load
        >>> rows = [{"prompt": "hi", "model": "small", "quality": 1, "cost": 0.1},
        ...     {"prompt": "ho", "model": "large", "cost": 0.2}]
        >>> as_logs(load(rows)).features.shape
        (2, 256)
    """
    if why := scale.unpriceable(log.cost):
        raise InputError(why)
    features = log.features
    if features is None:
        assert log.prompt is not None  # a log has one of them
        features = encoders.encode(log.prompt, encoder)
    if log.context:
        beside = contexts.encode(contexts.fit(log.context), log.context, len(log))
        features = np.concatenate([features, beside], 1)
    apart = log.group is None or bool(folding(log, NuisanceSpec().folds))
    group = np.arange(len(log)) if apart else log.group
    logs = Logs(features, log.action, log.quality, log.cost, log.propensity, log.available, group, log.weight)  # type: ignore[arg-type]
    return _with_ratings(logs, log) if corrected(log) else logs


def rated(log: LogTable) -> int:
    """How many rows people rated beside the judge."""
    return 0 if log.human_quality is None else int(np.isfinite(log.human_quality).sum())


def corrected(log: LogTable) -> bool:
    """Whether people rated enough rows beside the judge for its scores to be corrected by them."""
    return rated(log) >= FEWEST_RATED


def rating(log: LogTable) -> str:
    """What is said of a log of comparisons, or of one in which people rated a part of the answers; else "".

    Example:
        >>> from jaxroute.data.logs import load
        >>> row = {"prompt": "hi", "quality": 1, "cost": 1}
        >>> rows = [row | {"model": "ab"[i % 2], "human_quality": 1 if i < 40 else None} for i in range(90)]
        >>> print(rating(load(rows)))
        People rated 40 of the 90 rows beside the judge: values and gains are the judge's, corrected by these ratings;
        those without an interval, which are extrapolated, are the judge's alone.
    """
    if log.read_as.get("score") == COMPARED:
        return (
            "Qualities are chances to win against an answer that is drawn from this log; a tie is half a win, and so "
            "is an answer of the same model. In another log the opponents are others, and so are the qualities."
        )
    if not (count := rated(log)):
        return ""
    said = f"People rated {count:,} of the {len(log):,} rows beside the judge"
    if not corrected(log):
        return f"{said}: too few (of {FEWEST_RATED}) to correct its scores by, so values are the judge's."
    return (
        f"{said}: values and gains are the judge's, corrected by these ratings; those without an interval, which are "
        "extrapolated, are the judge's alone."
    )


def check_shadow(log: LogTable, shadow: Any) -> None:
    """Refuse a shadow sample (None: none) beside a log whose qualities are something else than its ratings.

    Raises:
        InputError: the log is of comparisons, or people's ratings correct its values.
    """
    if shadow is not None and log.read_as.get("score") == COMPARED:
        raise InputError(
            f"{named('shadow')}: the answers of a shadow sample are rated, and those of this log are compared; a win "
            "is no rating, so give one of the two"
        )
    from jaxroute.estimators.prediction_powered import check_scale

    check_scale(corrected(log), shadow)


def _with_ratings(logs: Logs, log: LogTable) -> Logs:
    """With people's ratings, and the probability of each: as logged, else estimated from prompt and model."""
    import jax

    from jaxroute import nuisance

    asked = logs._replace(quality=log.human_quality)  # type: ignore[arg-type]
    least = LEAST_SHARE * rated(log) / len(log)
    if 2 * NuisanceSpec().folds <= len(log):
        rate = np.asarray(nuisance.fit_response(jax.random.key(0), asked, least=least))
    else:
        rate = np.full(len(log), rated(log) / len(log))
    if log.human_rate is not None:
        rate = np.where(np.isnan(log.human_rate), rate, log.human_rate)
    return logs._replace(human_quality=log.human_quality, human_rate=rate)  # type: ignore[arg-type]


def is_table(log: LogTable) -> bool:
    """Whether a log is a full table in long form: the same prompts, each answered once by (nearly) every model.

    Example:
        >>> from jaxroute.data.logs import load
        >>> rows = [{"prompt": f"p{i}", "model": m, "quality": 1, "cost": 1} for i in range(20) for m in "abc"]
        >>> is_table(load(rows)), is_table(load(rows[::2]))
        (True, False)
    """
    if log.prompt is None or np.isfinite(log.propensity).any() or log.read_as.get("score") == COMPARED:
        return False
    prompts = len(set(log.prompt.tolist()))
    pairs = len(set(zip(log.prompt.tolist(), log.action.tolist(), strict=True)))
    return prompts >= FEW and pairs >= 0.99 * len(log) and pairs >= 0.8 * prompts * len(log.models)


def folding(log: LogTable, folds: int) -> str:
    """What is said where the groups of a log cannot make folds; "" where they can, or where there are none.

    Example:
        >>> from jaxroute.data.logs import load
        >>> rows = [{"prompt": str(i), "model": "ab"[i % 2], "quality": 1, "cost": 1, "group": "u"} for i in range(9)]
        >>> folding(load(rows), 5)
        '1 group is fewer than 10: rows are folded one by one, and intervals take every row as a draw of its own'
    """
    if log.group is None:
        return ""
    count = len(np.unique(log.group))
    if count < CLUSTERS:
        return f"{count} group{'s are' if count != 1 else ' is'} fewer than {CLUSTERS}: {ONE_BY_ONE}"
    from jaxroute.nuisance import folding

    why = folding.unfoldable(log.group, log.action, folds, log.models)
    return f"{why}: {ONE_BY_ONE}" if why else ""


def split(seed: int, log: LogTable, fractions: Sequence[float] = splits.FRACTIONS) -> splits.Parts:
    """Train, validation and test rows of a log, at random: whole groups, near-duplicate prompts together.

    Args:
        seed: same seed, same split.
        log: N rows.
        fractions: shares of the three parts.

    Returns:
        As ``splits.split``.

    Example:
        >>> from jaxroute.data.logs import load
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
        >>> rows = [f"{i} apples,m{i % 2},1,0.1,user{i // 2}" for i in range(40)]
        >>> _ = file.write_text("prompt,model,quality,cost,group\\n" + "\\n".join(rows))
        >>> log = load(file)
        >>> train, _, test = split(0, log)
        >>> set(log.group[train]) & set(log.group[test])
        set()
    """
    return splits.split(seed, log, fractions)


def hold_out(seed: int, log: LogTable, *, share: float | None = None, moment: Any = None) -> tuple[LogTable, LogTable]:
    """The rows to fit a router to, and those to judge it on: whole groups, near-duplicate prompts together.

    Args:
        seed: of the draw. log: N rows.
        share: of the rows to hold out, drawn at random. moment: hold out what came from then on, a date or a time such
            as "2026-11-01"; rows that share a group or a prompt with a later one are in neither. One of the two.

    Raises:
        InputError: a share that is none, a seed below 0 to draw it with, no timestamps, or a part without rows.
    """
    if (share is None) == (moment is None):
        raise InputError(f"{named('holdout')} and {named('split_time')}: give one of the two")
    if share is not None:
        settings.share("holdout", share)
        settings.whole("seed", seed)
        try:
            fitted, _, held = splits.split(seed, log, (1 - share, 0.0, share))
        except InputError as error:
            raise InputError(f"{named('holdout')} {share:g} leaves a part without rows: {error}") from None
        return log.rows(np.sort(fitted)), log.rows(np.sort(held))
    if log.timestamp is None or np.isnan(log.timestamp).any():
        how = f"map the column, {mapped({'timestamp': 'NAME'})}, or hold out a share at random"
        raise InputError(f"{named('split_time')} needs a timestamp in every row; {how}")
    before, after = splits.split_moment(log, log.timestamp, values.moment_of("split_time", moment))
    return log.rows(before), log.rows(after)


def split_time(log: LogTable, fractions: Sequence[float] = splits.FRACTIONS) -> splits.Parts:
    """The earliest rows to train on, later ones to validate, the latest to test; see ``splits.split_time``.

    Raises:
        InputError: the log has no timestamps, or rows without one.
    """
    if log.timestamp is None or np.isnan(log.timestamp).any():
        raise InputError("split_time needs a timestamp in every row; map the column, or split at random")
    return splits.split_time(log, log.timestamp, fractions)
