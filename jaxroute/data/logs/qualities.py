"""Which evaluation is the quality of a log's rows, and what feedback says of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxroute.data.logs import convert, feedback
from jaxroute.data.logs.columns import Columns
from jaxroute.system.wording import here, mapped
from jaxroute.types import InputError


def rate(log: Columns, source: Any, score: str | None, shared: set[str], drop_bad: bool = False) -> str:
    """Qualities: the log's own column, else an evaluation by name; then what feedback says of them; its name."""
    rows = _merged(log)
    gone = log.gone[rows]
    ids = {kind: np.where(gone, np.array(None, object), log.column[name]) for kind, name in
           (("request", "request_id"), ("call", "spare_id"), ("span", "spare_id")) if name in log.column}  # fmt: skip
    if "trace" in log.column:
        ids["trace"] = np.where(gone, 0, log.column["trace"])
    if source is not None and not ids:
        how = mapped({"request_id": "NAME"})
        raise InputError(f"feedback is joined by request_id, which the log does not have; map the column, {how}")
    given, dropped = ([], 0) if source is None else feedback.read(source, drop_bad=drop_bad)
    if dropped:
        log.counts[feedback.UNREAD] = dropped
    said = [*log.judged, *given]
    names = {name for name, rows in log.scores.items() if rows} | {one.name for one in log.judged}
    chosen = _chosen({*names, *(one.name for one in given)}, score, "quality" in log.column)
    quality = log.number("quality").copy()
    for row, value in log.scores.get(chosen, {}).items() if chosen is not None else ():
        if np.isnan(quality[row]):
            quality[row] = convert.number_or_nan(value)
    if said:
        kept = [one for one in said if one.name == chosen or (chosen is None and one.name == "")]
        joined = feedback.join(kept, ids, quality, shared, rows)
        rated = dict.fromkeys(tuple(one.ids.values()) for one in given if one in kept)
        if rated and joined.counts.get(feedback.UNKNOWN, 0) >= len(rated):
            first = next(iter(next(iter(rated))))
            raise InputError(
                f"feedback: none of its {len(rated)} request(s) is in the log (the first is {first!r}); ratings are "
                "joined by the log's request_id, a response's id, or a span's id"
            )
        quality = joined.quality
        log.counts.update(joined.counts)
    if said or chosen is not None or "quality" in log.column:
        log.column["quality"] = quality
    return chosen or ""


def _merged(log: Columns) -> np.ndarray:
    """The row [N] that says the request of each row: another one where it was merged into that."""
    rows = np.arange(len(log))
    rows[list(log.into)] = list(log.into.values())
    while (rows[rows] != rows).any():
        rows = rows[rows]
    return rows


def _chosen(names: set[str], score: str | None, has_quality: bool) -> str | None:
    """Which evaluation is the quality; None for none."""
    if score is not None:
        if score not in names:
            raise InputError(f"no evaluation is called {score!r}; the log has: {_listed(names) or 'none'}")
        return score
    if has_quality and names - {""}:
        return "" if "" in names else None
    if len(names) > 1:
        how = here("score=NAME", "--score NAME")
        raise InputError(f"the log has several evaluations; choose the quality with {how}: {_listed(names)}")
    return next(iter(names), None)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(name or "one without a name" for name in names))
