"""What is wrong with the rows of a log, said by table, row and column, and what is left out, by kind and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxroute.data import records, scale
from jaxroute.data.logs import comparisons, convert, costs
from jaxroute.data.logs.columns import Columns, marked
from jaxroute.data.logs.entries import OTHER
from jaxroute.system.wording import here, named

EXAMPLES = 10
BY_MODEL = ("cost", *costs.TOKENS)
LEAST, MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def find(
    log: Columns, prices: Mapping[str, Sequence[Any]] | None, quality_range: tuple[float, float]
) -> dict[tuple[str, str], np.ndarray]:
    """Bad rows [N] by what is wrong and the field that it is wrong in."""
    low, high = sorted(quality_range)
    quality, propensity = log.number("quality"), log.number("propensity")
    model, available = log.code("model"), log.column.get("available", np.zeros(len(log), np.int64))
    found = {("cannot be read", ""): marked(log.broken, len(log))}
    found |= {(f"{field} is {what}", field): rows for (field, what), rows in log.odd.items()}
    empty = np.array([text is None for text in log.column["prompt"]], bool) if "prompt" in log.column else None
    if empty is not None and "features" not in log.column:
        found["prompt is empty", "prompt"] = empty & ~_odd(log, "prompt")
    found["model is empty", "model"] = (model < 0) & ~_odd(log, *convert.NAMED)
    found[f"quality is outside [{low:g}, {high:g}]", "quality"] = (quality < low) | (quality > high)
    found["propensity is outside (0, 1]", "propensity"] = (propensity <= 0) | (propensity > 1)
    found[f"propensity is below {LEAST:.3g}, which counts as 0", "propensity"] = (propensity > 0) & (propensity < LEAST)
    human, rate = log.number("human_quality"), log.number("human_rate")
    found[f"human_quality is outside [{low:g}, {high:g}]", "human_quality"] = (human < low) | (human > high)
    found["human_rate is outside (0, 1]", "human_rate"] = (rate <= 0) | (rate > 1)
    latency, weight = log.number("latency"), log.number("weight")
    found["latency is negative or infinite", "latency"] = (latency < 0) | np.isinf(latency)
    found["weight is not a finite number above 0", "weight"] = (weight <= 0) | (weight > MOST)
    found[f"weight is below {LEAST:.3g}, which counts as 0", "weight"] = (weight > 0) & (weight < LEAST)
    found |= costs.problems(log, prices)
    found["cost is in another currency than most", "cost"] = costs.foreign(log)
    # Each pair of candidate set and model once; model -1 is none.
    names, sets = log.codes["model"], log.codes["available"]
    pairs, place = np.unique(available * (len(names) + 1) + model + 1, return_inverse=True)
    which, models = np.divmod(pairs, len(names) + 1)
    lacks = [m > 0 and len(sets[s]) > 0 and names[m - 1] not in sets[s] for s, m in zip(which, models, strict=True)]
    found["available lacks the chosen model", "available"] = np.array(lacks, bool)[place]
    whole = ~found["cannot be read", ""] & ~log.gone
    return {kind: rows if kind[1] == "" else rows & whole for kind, rows in found.items()}


def _hint(kind: str) -> str:
    """What to do about bad rows of a kind, beside correcting or dropping them; "" where nothing else helps."""
    scale, prices = named("quality_range"), f"a price table ({here('prices=', '--prices')})"
    hints = {
        "quality is not a number": f"; write 1 and 0, true and false, or numbers on the scale that {scale} names, and "
        "nothing where there is no rating; the winner of a comparison is model_a, model_b, tie, both_bad or the name "
        "of one of its models",
        "propensity is outside": "; a percentage of 20 is written 0.2, and one rounded to 0 is unknown: leave it empty",
        "propensity is not a number": "; write one number, the probability with which the answering model was chosen",
        "timestamp is not a time": "; write 2026-11-01T10:00:00Z, or seconds or milliseconds since 1970",
        "available lacks": "; write a list, or names with | between them",
        "features is not a list": "; write a list such as [0.1, -0.2]",
        "cost is not a number": "; write digits with a point, without a currency: 0.0012",
        "quality is outside": f", or give {scale} where it is on another scale",
        "human_quality is outside": f"; it is on the scale of quality, which {scale} names",
        "cost is in another": "; the column currency names several, or one beside the US dollars of a tool or of "
        "prices: convert the costs to one of them",
        "input_tokens is empty": "; or give what each answer cost, in a column cost (in comparisons cost_a and cost_b)",
        "cost is empty,": f", or give {prices} where tokens are counted",
        "cost is 0 though": f", or give {prices}, with 0 for models that are free",
        "cost is 0 and": "; have streams report their usage (stream_options: include_usage)",
        comparisons.UNLINKED: "; or give its comparisons as a log of their own",
        "model is not in the price table": f", or give {prices} that has the model",
    }
    return next((hint for start, hint in hints.items() if kind.startswith(start)), "")


def _odd(log: Columns, *fields: str) -> np.ndarray:
    return np.any([rows for (name, _), rows in log.odd.items() if name in fields] or [np.zeros(len(log), bool)], axis=0)


def lines(log: Columns, problems: Mapping[tuple[str, str], np.ndarray], tables: Sequence[records.Source]) -> list[str]:
    found, drop = [], here("drop_bad=True", "--drop-bad")
    for (kind, name), bad in problems.items():
        if bad.any():
            by = f" ({by_model(log, bad)})" if name in BY_MODEL or kind == comparisons.UNLINKED else ""
            found.append(f"{kind}: {int(bad.sum())} row(s){by}; correct or drop them ({drop}){_hint(kind)}")
            examples: dict[str, None] = {}  # the two rows of a comparison are one record
            for i in np.flatnonzero(bad)[: 2 * EXAMPLES].tolist():
                where = f"  {tables[log.source[i]]}, row {log.row[i]}"
                if name:
                    shown = log.shown(name, i)
                    examples[f"{where}, column {log.names[log.source[i]].get(name, name)!r}{shown}"] = None
                else:
                    examples[f"{where}: {log.broken[i]}"] = None
            found += list(examples)[:EXAMPLES]
    return found


def by_model(log: Columns, rows: np.ndarray) -> str:
    """How many rows of which models, the most first."""
    codes, count = np.unique(log.code("model")[rows], return_counts=True)
    parts = [
        (log.codes["model"][code] if code >= 0 else "no model", int(n)) for code, n in zip(codes, count, strict=True)
    ]
    return ", ".join(f"{name} {n}" for name, n in sorted(parts, key=lambda part: -part[1])[:EXAMPLES])


def out_of_scale(
    log: Columns, good: np.ndarray, weight: np.ndarray | None, tables: Sequence[records.Source]
) -> list[str]:
    """Of the rows that are kept: which of them stand for too many requests, and which features count for nothing.

    Args:
        good: [N], True for the n rows that are kept. weight: [n]; None: each stands for one request.
    """
    kept, model, found = np.flatnonzero(good), log.code("model"), []
    if weight is not None:
        share = weight / weight.max()
        for j in scale.heavy(weight)[:EXAMPLES].tolist():
            i = kept[j]
            found.append(
                f"weight is {weight[j]:.3g}, so this row stands for {share[j] / share.sum():.0%} of all requests: "
                f"{tables[log.source[i]]}, row {log.row[i]}, model {log.codes['model'][model[i]]}"
            )
    if "features" in log.column and len(kept):
        features = log.column["features"][good]
        beside = any(name.startswith(convert.CONTEXT) for name in log.column)
        if not scale.unfit(features) and (lost := scale.drowned(features, beside)):
            found.append(lost)
    return found


def left_out(log: Columns, problems: Mapping[tuple[str, str], np.ndarray]) -> dict[str, dict[str, int]]:
    """{kind: {model: rows}} of what is not in the table, the most frequent model first."""
    found: dict[str, dict[str, int]] = {}
    for (why, name, _), count in log.left.items():
        by = found.setdefault(why, {})
        by[name or "no model"] = by.get(name or "no model", 0) + count
    names, model = [*log.codes["model"], "no model"], log.code("model")
    counted = np.zeros(len(log), bool)  # a row with several problems is left out once
    for (kind, _), rows in problems.items():
        rows, counted = rows & ~counted, counted | rows
        for code, count in zip(*np.unique(model[rows], return_counts=True), strict=True):
            found.setdefault(kind, {})[names[code]] = int(count)
    return {why: dict(sorted(by.items(), key=lambda one: -one[1])) for why, by in found.items()}


def shown(by: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in list(by.items())[:EXAMPLES])


def endpoints(log: Columns, good: np.ndarray) -> dict[str, tuple[int, int]]:
    """{endpoint: (rows, requests left out)} of calls for text."""
    names, endpoint = log.codes["endpoint"], log.code("endpoint")
    rows = np.bincount(endpoint[good & (endpoint >= 0)], minlength=len(names))
    left = np.bincount(endpoint[~good & ~log.gone & (endpoint >= 0)], minlength=len(names))
    for (why, _, name), count in log.left.items():
        if name in names and why != OTHER:
            left[names.index(name)] += count
    return {name: (int(rows[k]), int(left[k])) for k, name in enumerate(names)}
