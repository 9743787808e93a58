"""What answers cost: the row's own cost, else its tokens by a price table; unknown is never 0.

A cost of 0 beside tokens that were used, or beside a usage of no tokens at all, is what tools write of models they
have no price for and of streams whose usage they did not see. It is unknown, unless the price table has 0 for the
model. In a table of our own columns, a 0 without token counts is meant. No prompt has no tokens: where the input is
counted so, nobody saw the usage, and the answer is not priced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxroute.data import prices as table
from jaxroute.data.logs.columns import Columns

TOKENS = ("input_tokens", "output_tokens")
APART = table.APART
USED = "cost is 0 though tokens were used, so unknown"
EMPTY = "cost is 0 and no tokens were counted, so unknown"
UNCOUNTED = "no tokens of the input were counted, so the cost is unknown"
LOWERED = "costs are beyond all measure, lowered to the largest other cost of their model"
FEWEST, ORDINARY = 8, 1e5
FILLED = "costs filled in from prices"
DOLLARS = "USD"
"""The unit of price tables, and of the costs that tools record."""
SIGNS = {"$": "usd", "us$": "usd", "€": "eur", "£": "gbp"}


def fill(log: Columns, prices: Mapping[str, Sequence[Any]] | None, reprice: bool, column: str) -> None:
    """Make zeros that mean nothing unknown, and price what is unknown (or all); in place.

    Also notes the rows whose cost is in US dollars: from prices, as a tool recorded it, or under a name of its
    ``column`` that says so.
    """
    cost = log.number("cost").copy()
    used, none = _zeros(log)
    cost[used | none] = np.nan
    log.column["zero"] = used.astype(np.int8) + 2 * none.astype(np.int8)
    named = "usd" in column.lower() or "dollar" in column.lower()
    dollars = _recorded(log) | named
    if prices is not None:
        wanted = np.ones(len(log), bool) if reprice else np.isnan(cost)
        wanted &= ~(log.flag("failed") & (cost == 0))  # what was not billed, whatever it had sent
        uncounted = wanted & ~none & _uncounted(log)
        log.column["zero"] += 3 * uncounted.astype(np.int8)
        priced = _priced(log, prices, wanted & ~none & ~uncounted & ~log.gone)
        cost, dollars = np.where(wanted, priced, cost), dollars | wanted
        if count := int((wanted & np.isfinite(priced)).sum()):
            log.counts[FILLED] += count
    log.column["cost"], log.column["dollars"] = cost, dollars


def currency(log: Columns, rows: np.ndarray) -> str:
    """The unit of the costs of ``rows`` [N], "" where the log does not say, or names another than US dollars."""
    names, place = _named(log)
    return DOLLARS if DOLLARS.casefold() in names and (place[rows] == names.index(DOLLARS.casefold())).all() else ""


def foreign(log: Columns) -> np.ndarray:
    """Rows [N] whose cost is in another currency than that of most rows, where a column names it; prices and the tools
    that record costs have US dollars."""
    names, place = _named(log)
    known = (place >= 0) & ~log.gone & ~np.isnan(log.number("cost"))
    return known & (place != np.argmax(np.bincount(place[known], minlength=len(names)))) if known.any() else known


def _named(log: Columns) -> tuple[list[str], np.ndarray]:
    """Currencies, and which of them [N] a row's cost is in; -1 where nobody says."""
    words = [name.strip().casefold() for name in log.codes.get("currency", ())]
    names = [SIGNS.get(word, word) for word in words]
    names = [name if name.isalpha() else "" for name in names]  # a number, or nothing, names no currency
    distinct = list(dict.fromkeys([*filter(None, names), DOLLARS.casefold()]))
    code = np.array([distinct.index(name) if name else -1 for name in names] + [-1], np.int64)
    dollars = distinct.index(DOLLARS.casefold())
    return distinct, np.where(log.column["dollars"], dollars, code[log.code("currency")])


def _recorded(log: Columns) -> np.ndarray:
    """Rows [N] that a tool wrote which records costs."""
    return np.array([form.entries is not None and form.bills for form in log.forms], bool)[log.source]


def outliers(cost: np.ndarray, model: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Costs [N] in which none is beyond all measure, and which ones were lowered.

        beyond q3 max(100,000, (2 q3 / q1)^5), q1 and q3 the quartiles of the model's costs above 0, eight or more

    Such a cost is in another unit or an error of the tool, and alone would decide every mean: it is lowered to the
    largest other cost of its model. No request has 100,000 times the tokens of an ordinary one; costs that vary by a
    factor of ten between the quartiles would have to be 3,200,000 times the upper one.

    Example:
        >>> lowered, odd = outliers(np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 1e12]), np.zeros(8, int))
        >>> print(lowered.max(), np.flatnonzero(odd))
        2.0 [7]
    """
    lowered, odd = cost.copy(), np.zeros(len(cost), bool)
    for k in np.unique(model):
        paid = np.flatnonzero((model == k) & (cost > 0))
        if len(paid) < FEWEST:
            continue
        low, high = np.quantile(cost[paid], (0.25, 0.75))
        beyond = cost[paid] > high * max(ORDINARY, (2 * high / low) ** 5)
        odd[paid[beyond]] = True
        lowered[paid[beyond]] = cost[paid[~beyond]].max()
    return lowered, odd


def _priced(log: Columns, prices: Mapping[str, Sequence[Any]], rows: np.ndarray) -> np.ndarray:
    """The bill [N] of rows by their tokens, NaN for others and where a count or a price is missing."""
    tokens = [log.number(name) for name in TOKENS]
    apart = {key: log.number(name) for key, name in APART.items()}
    rows = np.flatnonzero(rows & np.all([np.isfinite(y) & (y >= 0) for y in tokens], axis=0))
    found = np.full(len(log), np.nan)
    price = price_of(log, prices)
    for which in set(price[rows].tolist()) - {-1}:
        own = rows[price[rows] == which]
        listed = prices[log.codes["price"][which]]
        found[own] = table.bill(listed, *(y[own] for y in tokens), **{key: y[own] for key, y in apart.items()})
    return found


def usage(
    log: Columns, rows: np.ndarray, models: Sequence[str], action: np.ndarray, cost: np.ndarray, weight: Any
) -> dict[str, dict[str, float]]:
    """Mean tokens and cost of every model, over its rows whose input, output and cost are known.

    The means are of tokens as they are billed (``prices.apart``), so that their bill is the mean of the rows' bills:
    input includes what was cached and written, output what is counted in the total alone. Failed requests that cost
    nothing were not billed, and count as no tokens.

    Args:
        log: of which ``rows`` are kept. models: K names. action, cost: [rows] of the kept ones, costs beyond all
            measure lowered. weight: [rows] of them; None: every row counts once.

    Returns:
        {model: rows, cost, input_tokens, output_tokens, and those billed apart}; models without such rows left out.
    """
    tokens = [log.number(name)[rows] for name in TOKENS]
    beside = {key: log.number(name)[rows] for key, name in APART.items()}
    of = table.apart(*tokens, **beside)
    known = np.all([np.isfinite(y) for y in (cost, *tokens)], axis=0)
    unbilled = log.flag("failed")[rows] & (cost == 0)
    found = {}
    for k, model in enumerate(models):
        own = known & (action == k)
        if not own.any():
            continue
        times = None if weight is None else weight[own]

        def mean(y: np.ndarray, own: np.ndarray = own, times: Any = times) -> float:
            return float(np.average(y[own], weights=times))

        fresh, cached, written, plain, thought = (mean(np.where(unbilled, 0.0, part)) for part in of)
        # Sums of the means and not means of the sums: rounded, these could be below the parts that they hold.
        found[model] = {
            "rows": int(own.sum()),
            "cost": mean(cost),
            "input_tokens": fresh + (cached + written),
            "output_tokens": plain + thought,
        }
        for key, part in (("cached", cached), ("written", written), ("reasoning", thought)):
            if np.isfinite(beside[key][own]).any():
                found[model][APART[key]] = part
    return found


def price_of(log: Columns, prices: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """The price [N] of every row, as a code of ``codes["price"]``; -1: none.

    It is that of the model's name, else of the deployment or the answer that the tool names beside it.
    """
    known = log.codes.setdefault("price", list(prices))
    place = {name: k for k, name in enumerate(known)}
    code = np.array([place.get(table.named(prices, name), -1) for name in log.codes["model"]] + [-1], np.int64)
    found = np.full(len(log), -1, np.int64)
    for column in ("model", "paid", "answered", "asked"):
        found = np.where(found < 0, code[log.code(column)], found)
    return found


def _zeros(log: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Rows [N] whose cost is 0 although tokens were used, and rows of tools whose usage is empty."""
    if "cost" not in log.column:
        return np.zeros(len(log), bool), np.zeros(len(log), bool)
    counts = np.stack([np.nan_to_num(log.number(name)) for name in (*TOKENS, "total_tokens")])
    zero = (log.column["cost"] == 0) & ~log.flag("failed")
    return zero & (counts > 0).any(0), zero & _recorded(log) & ~(counts > 0).any(0)


def _uncounted(log: Columns) -> np.ndarray:
    """Rows [N] of answers whose input is counted as 0, also in the total and from a cache: no prompt has no tokens."""
    cached = (log.number("cached_tokens") > 0) | (log.number("cache_write_tokens") > 0)
    more = log.number("total_tokens") > np.nan_to_num(log.number("output_tokens"))
    return (log.number("input_tokens") == 0) & ~cached & ~more & ~log.flag("failed")


def problems(log: Columns, prices: Mapping[str, Sequence[Any]] | None) -> dict[tuple[str, str], np.ndarray]:
    """Bad rows [N] by what is wrong with their cost, or with what it would be computed of."""
    cost, zero = log.number("cost"), log.column["zero"]
    odd = [rows for (name, what), rows in log.odd.items() if name == "cost"]
    wrong = ~(np.isfinite(cost) & (cost >= 0)) & ~np.any([*odd, np.zeros(len(log), bool)], axis=0)
    found = {(why, "cost"): wrong & (zero == code) for code, why in ((1, USED), (2, EMPTY), (3, UNCOUNTED))}
    wrong &= zero == 0
    if prices is not None:
        unpriced = (price_of(log, prices) < 0) & (log.code("model") >= 0)
        found["model is not in the price table", "model"] = (~(np.isfinite(cost) & (cost >= 0))) & unpriced
        for name in TOKENS:
            tokens = log.number(name)
            bad = ~(np.isfinite(tokens) & (tokens >= 0)) & ~log.odd[name, "not a number"]
            found[f"{name} is empty, infinite or negative", name] = wrong & ~unpriced & bad
        wrong &= np.zeros(len(log), bool) if "cost" not in log.column else ~unpriced & np.isfinite(cost)
    found["cost is empty, infinite or negative", "cost"] = wrong
    return found
