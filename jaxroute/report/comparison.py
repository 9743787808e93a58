"""Which router beats which: every learned router against the best plug-in and the best single model, in words too.

Differences are paired by seed; see `summary`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxroute.report.results import CEILING, LEARNED, LOWER_IS_BETTER, RECOMMENDED, kinds, table_weights
from jaxroute.report.summary import best_of, best_plug_in, ranked, summarise


def compare(results: pd.DataFrame, metric: str = "regret", *, grid: Sequence[float] | None = None) -> pd.DataFrame:
    """Every learned router, and the recommended recipe, against the best plug-in and the best single model.

    Differences are paired by seed. The best plug-in excludes the recommended recipe and is picked by the same numbers
    that it is compared on, which favours it. Learned routers are also compared with the recipe.

    Returns:
        One row per router and opponent: router, role, against, pairs, difference, low, high (router minus
        opponent, mean over the grid), verdict ("better", "worse", "undecided", "no interval") and the cost
        weights at which the interval excludes zero (better_at, worse_at).

    Example:
        >>> from jaxroute.report.results import example
        >>> compare(example())[["router", "against", "difference", "verdict"]].round(3)
          router        against  difference verdict
        0   mine  plug_in_ridge       -0.03  better
        1   mine    best_single       -0.11  better
    """
    grid = table_weights(results, metric) if grid is None else grid
    of = kinds(results)
    order = ranked(summarise(results, metric, grid=grid), metric, of)
    opponents = {
        "best plug-in": best_plug_in(order, of),
        "best single model": "best_single" if "best_single" in order else None,
        "recommended recipe": RECOMMENDED if RECOMMENDED in order else None,
    }
    records = []
    for role, against in opponents.items():
        if against is None:
            continue
        summary = summarise(results, metric, against=against, grid=grid)
        verdicts = [
            _verdict(low, high, metric)
            for low, high in zip(summary["difference_low"], summary["difference_high"], strict=True)
        ]
        summary = summary.assign(verdict=verdicts)
        for router in (m for m in order if (of[m] == LEARNED or m == RECOMMENDED) and m != against):
            rows = summary[summary["method"] == router]
            whole, single = rows[rows["cost_weight"].isna()].iloc[0], rows.dropna(subset="cost_weight")
            record: dict[str, Any] = {"router": router, "role": role, "against": against}
            record |= {c: whole[c] for c in ("pairs", "difference", "verdict")}
            record |= {c: whole[f"difference_{c}"] for c in ("low", "high")}
            for verdict in ("better", "worse"):
                record[f"{verdict}_at"] = tuple(single["cost_weight"][single["verdict"] == verdict])
            records.append(record)
    names = ["router", "role", "against", "pairs", "difference", "low", "high", "verdict"]
    return pd.DataFrame(records, columns=[*names, "better_at", "worse_at"])


def headline(results: pd.DataFrame, metric: str = "regret", *, grid: Sequence[float] | None = None) -> str:
    """Which learned router does best, and whether it beats the best plug-in and the best single model.

    Example:
        >>> from jaxroute.report.results import example
        >>> print(headline(example()))
        mine has a mean regret of 10.00 ± 2.48 points. It beats the best plug-in (plug_in_ridge) by 3.00 points (95%
        interval 3.00 to 3.00). It beats the best single model by 11.00 points (95% interval 11.00 to 11.00).
    """
    grid = table_weights(results, metric) if grid is None else grid
    summary = summarise(results, metric, grid=grid)
    of = kinds(results)
    learned = [m for m in ranked(summary, metric, of) if of[m] == LEARNED]
    name = metric.replace("_", " ")
    if not learned:
        return f"These results contain no learned router; the tables give the mean {name} of the other methods."
    best, winner = learned[0], best_of(summary, metric, of)
    whole = summary[(summary["method"] == best) & summary["cost_weight"].isna()].iloc[0]
    half = "" if np.isnan(whole["low"]) else f" ± {100 * (whole['high'] - whole['mean']):.2f}"
    extreme = "lowest" if metric in LOWER_IS_BETTER else "highest"
    several = f"Of {len(learned)} learned routers, {best} has the {extreme} mean {name}:"
    first = ""
    if winner is not None and winner != best:
        won = summary[(summary["method"] == winner) & summary["cost_weight"].isna()].iloc[0]
        over = "" if np.isnan(won["low"]) else f" ± {100 * (won['high'] - won['mean']):.2f}"
        points = f"{100 * won['mean']:.2f}{over} points"
        aside = ", ceilings aside" if CEILING in of.values() else ""
        first = f"{winner} ({of[winner]}) has the {extreme} mean {name} in the table{aside}: {points}. "
    sentences = [
        f"{first}{several if learned[1:] else f'{best} has a mean {name} of'} {100 * whole['mean']:.2f}{half} points."
    ]
    table = compare(results, metric, grid=grid)
    rows = {row["role"]: row for _, row in table[table["router"] == best].iterrows()}
    for role in ("best plug-in", "best single model"):
        sentences.append(_sentence(role, rows.get(role), metric))
    if "recommended recipe" in rows:
        sentences.append(_sentence("recommended recipe", rows["recommended recipe"], metric))
    return " ".join(sentences)


def _sentence(role: str, row: pd.Series | None, metric: str) -> str:
    if row is None:
        return f"No {role.removeprefix('best ')} was run for comparison."
    opponent = f"the {role}" + ("" if row["against"] in ("best_single", RECOMMENDED) else f" ({row['against']})")
    sign = -100.0 if metric in LOWER_IS_BETTER else 100.0
    gain = sign * row["difference"]
    low, high = sorted((sign * row["low"], sign * row["high"]))
    if row["verdict"] == "better":
        return f"It beats {opponent} by {gain:.2f} points (95% interval {low:.2f} to {high:.2f})."
    if row["verdict"] == "worse":
        return f"It loses to {opponent} by {-gain:.2f} points (95% interval {-high:.2f} to {-low:.2f})."
    lead = f"{abs(gain):.2f} points {'behind' if gain < 0 else 'ahead'}"
    if row["verdict"] == "undecided":
        interval = f"95% interval of the gain {low:.2f} to {high:.2f}"
        return f"It neither beats nor loses to {opponent}: {lead} ({interval})."
    if row["pairs"] == 0 or np.isnan(gain):
        return f"It cannot be compared with {opponent}: no seed has both at every cost weight."
    return f"Compared with {opponent} it is {lead} on one seed; without an interval this supports no claim."


def _verdict(low: float, high: float, metric: str) -> str:
    if np.isnan(low) or np.isnan(high):
        return "no interval"
    if low <= 0 <= high:
        return "undecided"
    return "better" if (high < 0) == (metric in LOWER_IS_BETTER) else "worse"
