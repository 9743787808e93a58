"""The numbers of a report: means over seeds, differences paired by seed, and which method beats which.

Intervals are 95% Student-t over seeds. A seed redraws the split, the simulated log and the initialisation,
and every method sees the same draws, so differences are taken within a seed before they are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from jaxroute.types import InputError

COLUMNS = (
    "dataset",
    "logger",
    "log_size",
    "method",
    "estimator",
    "cost_weight",
    "seed",
    "hyperparameters",
    "split",
    "metric",
    "value",
    "standard_error",
)
"""The schema of tidy results. cost_weight is normalised, and NaN for metrics of a whole curve.

What groups methods (tables, figures, comparisons) reads one column more, ``kind``: see `kinds`.
"""

CELL = ("dataset", "logger", "log_size", "split")
TABLE_WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
RECOMMENDED = "recommended"
LEARNED, PLUG_IN, NO_ROUTING, CEILING = KINDS = ("learned", "plug-in", "no routing", "ceiling")
LOWER_IS_BETTER = ("regret", "conditional_regret", "mean_regret", "cost", "rci", "qnc")


def kinds(results: pd.DataFrame) -> dict[str, str]:
    """Group of every method, one of KINDS: what the results' column ``kind`` says.

    Raises:
        InputError: the column is missing, says something else, or says two things of one method.

    >>> kinds(pd.DataFrame({"method": ["mine", "oracle", "mine"], "kind": ["learned", "ceiling", "learned"]}))
    {'mine': 'learned', 'oracle': 'ceiling'}
    """
    if "kind" not in results:
        raise InputError(f"results: no column kind: add one that says which of {', '.join(KINDS)} a method is")
    said = results[["method", "kind"]].drop_duplicates()
    wrong = said[said["method"].duplicated(keep=False) | ~said["kind"].isin(KINDS)]
    if len(wrong):
        method, kind = wrong.iloc[0]
        raise InputError(f"results: method {method!r} has kind {kind!r}: give each method one of {', '.join(KINDS)}")
    return dict(zip(said["method"], said["kind"], strict=True))


def student_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean and 95% Student-t interval of independent values.

    mean -+ t_{S-1, 0.975} * sd / sqrt(S), sd with S - 1 in its denominator

    Args:
        values: [S], one per seed, any unit.

    Returns:
        (mean, low, high); the bounds are NaN for a single value, or if a value is not finite.

    Example:
        >>> print([round(x, 3) for x in student_interval([1.0, 2.0, 3.0])])
        [2.0, -0.484, 4.484]
    """
    sample = np.asarray(values, float)
    mean = float(sample.mean()) if sample.size else np.nan
    if sample.size < 2 or not np.isfinite(sample).all():
        return mean, np.nan, np.nan
    half = float(stdtrit(sample.size - 1, 0.975) * sample.std(ddof=1) / np.sqrt(sample.size))
    return mean, mean - half, mean + half


def cells(results: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(label, rows) for each combination of dataset, logger, log size and split; the label names what varies.

    Example:
        >>> two = pd.concat([example(), example().assign(dataset="another")])
        >>> [label for label, _ in cells(example())], [label for label, _ in cells(two)]
        ([''], ['dataset a table', 'dataset another'])
    """
    check_columns(results)
    varying = [c for c in CELL if results[c].nunique(dropna=False) > 1]
    if not varying:
        yield "", results
        return
    for key, rows in results.groupby(varying, dropna=False):
        yield ", ".join(f"{c.replace('_', ' ')} {k}" for c, k in zip(varying, key, strict=True)), rows


def table_weights(results: pd.DataFrame, metric: str) -> tuple[float, ...]:
    """Cost weights that a table shows: the fixed grid where present, otherwise up to seven of those present.

    Example:
        >>> table_weights(example(), "regret")
        (0.0, 1.0)
    """
    present = np.unique(_rows(results, metric)["cost_weight"].dropna())
    fixed = tuple(w for w in TABLE_WEIGHTS if w in present)
    if len(fixed) > 1 or len(present) <= 1:
        return fixed or tuple(map(float, present))
    return tuple(float(w) for w in present[np.unique(np.linspace(0, len(present) - 1, 7).astype(int))])


def summarise(
    results: pd.DataFrame, metric: str, *, against: str | None = None, grid: Sequence[float] | None = None
) -> pd.DataFrame:
    """For each method and cost weight: mean over seeds, its interval, and the paired difference to one method.

    difference = mean over common seeds s of (value[method, s] - value[against, s])

    Args:
        results: frame in the schema of COLUMNS, one cell (dataset, logger, log size, split).
        metric: the metric to summarise.
        against: method id; adds difference, difference_low, difference_high and pairs (common seeds).
        grid: normalised cost weights; keeps only these and adds one row per method with cost_weight NaN,
            the mean over the grid, averaged within a seed first (NaN where a weight is missing).

    Returns:
        One row per (method, cost_weight): seeds, mean, low, high. With one seed low and high are NaN.

    Raises:
        InputError: a column or metric is missing, or a (method, cost weight, seed) occurs more than once.

    Example:
        >>> frame = pd.DataFrame({c: "" for c in COLUMNS}, index=range(4)).assign(
        ...     method=["a", "a", "b", "b"], seed=[0, 1, 0, 1], cost_weight=0.5, metric="regret",
        ...     value=[1.0, 5.0, 2.0, 6.0])
        >>> print(summarise(frame, "regret", against="b")[["method", "mean", "difference", "pairs"]])
          method  mean  difference  pairs
        0      a   3.0        -1.0      2
        1      b   4.0         0.0      2
    """
    rows = _rows(results, metric)
    if grid is not None:
        weights = [_rounded(w) for w in grid]
        rows = rows[rows["cost_weight"].isin(weights)]
        wide = rows.pivot(index=["method", "seed"], columns="cost_weight", values="value")
        mean = wide.reindex(columns=weights).mean(axis=1, skipna=False).rename("value")
        rows = pd.concat([rows, mean.reset_index().assign(cost_weight=np.nan)])
    summary = _intervals(rows, "value").rename(columns={"value": "mean", "count": "seeds"})
    if against is None:
        return summary
    reference = rows[rows["method"] == against]
    if reference.empty:
        raise InputError(
            f"results: no rows of method {against!r} for metric {metric!r}; choose another method to compare with"
        )
    paired = rows.merge(reference, on=["cost_weight", "seed"], suffixes=("", "_against"))
    paired["difference"] = paired["value"] - paired["value_against"]
    names = {"count": "pairs", "low": "difference_low", "high": "difference_high"}
    differences = _intervals(paired, "difference").rename(columns=names)
    summary = summary.merge(differences, how="left", on=["method", "cost_weight"])
    return summary.assign(pairs=summary["pairs"].fillna(0).astype(int))


def ranked(summary: pd.DataFrame, metric: str, of: Mapping[str, str]) -> list[str]:
    """Methods of a summary that has grid means, ordered by kind (``of``: see `kinds`) and then from best to worst.

    Example:
        >>> summary = summarise(example(), "regret", grid=(0.0, 1.0))
        >>> ranked(summary, "regret", kinds(example()))
        ['mine', 'plug_in_ridge', 'best_single', 'oracle']
    """
    mean = summary[summary["cost_weight"].isna()].set_index("method")["mean"]
    sign = 1.0 if metric in LOWER_IS_BETTER else -1.0

    def key(method: str) -> tuple[int, float, str]:
        score = sign * mean.get(method, np.nan)
        return KINDS.index(of[method]), np.inf if np.isnan(score) else score, method

    return sorted(summary["method"].unique(), key=key)


def best_of(summary: pd.DataFrame, metric: str, of: Mapping[str, str]) -> str | None:
    """The method of the best mean over the grid that is no ceiling; None where no mean is known.

    Example:
        >>> best_of(summarise(example(), "regret", grid=(0.0, 1.0)), "regret", kinds(example()))
        'mine'
    """
    whole = summary[summary["cost_weight"].isna() & summary["method"].map(of).ne(CEILING)].set_index("method")["mean"]
    known = whole.dropna()
    if known.empty:
        return None
    return str(known.idxmin() if metric in LOWER_IS_BETTER else known.idxmax())


def best_plug_in(order: Sequence[str], of: Mapping[str, str]) -> str | None:
    """The first plug-in of ``order`` (see `ranked`) but the recommended recipe.

    Example:
        >>> best_plug_in(["mine", "recommended", "knn"], {"mine": LEARNED, "recommended": PLUG_IN, "knn": PLUG_IN})
        'knn'
    """
    return next((m for m in order if of[m] == PLUG_IN and m != RECOMMENDED), None)


def compare(results: pd.DataFrame, metric: str = "regret", *, grid: Sequence[float] | None = None) -> pd.DataFrame:
    """Every learned router, and the recommended recipe, against the best plug-in and the best single model.

    Differences are paired by seed. The best plug-in excludes the recommended recipe and is picked by the same numbers
    that it is compared on, which favours it. Learned routers are also compared with the recipe.

    Returns:
        One row per router and opponent: router, role, against, pairs, difference, low, high (router minus
        opponent, mean over the grid), verdict ("better", "worse", "undecided", "no interval") and the cost
        weights at which the interval excludes zero (better_at, worse_at).

    Example:
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


def _intervals(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """`student_interval` of every method at every cost weight, all at once."""
    groups = rows.groupby(["method", "cost_weight"], dropna=False)[column]
    found = groups.agg(["size", "mean", "std"])
    known = groups.agg("count") == found["size"]
    half = stdtrit(np.maximum(found["size"] - 1, 1), 0.975) * found["std"] / np.sqrt(found["size"])
    half = half.where(known & np.isfinite(found["mean"]) & (found["size"] > 1))
    table = pd.DataFrame(
        {
            "count": found["size"],
            column: found["mean"].where(known),
            "low": found["mean"] - half,
            "high": found["mean"] + half,
        }
    )
    return table.reset_index()


def _rows(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """method, cost_weight, seed and value of one metric, after the checks that averaging needs."""
    check_columns(results)
    rows = results[results["metric"] == metric]
    if rows.empty:
        known = ", ".join(sorted(map(str, results["metric"].unique())))
        raise InputError(f"results: no rows of metric {metric!r}; the metrics present are: {known or 'none'}")
    rows = rows.assign(cost_weight=rows["cost_weight"].map(_rounded).astype(float))
    key = ["method", "cost_weight", "seed"]
    clash = rows[rows.duplicated(key, keep=False)]
    if len(clash):
        (method, weight, seed), same = next(iter(clash.groupby(key, dropna=False)))
        varying = [c for c in (*CELL, "estimator", "hyperparameters") if same[c].nunique(dropna=False) > 1]
        raise InputError(
            f"results: metric {metric!r} has {len(same)} rows for method {method!r}, cost weight {weight:g}, "
            f"seed {seed}, which differ in {', '.join(varying) or 'nothing'}; keep one of them, or summarise each part "
            "of report.cells(results)"
        )
    return rows[[*key, "value"]]


def example() -> pd.DataFrame:
    """Results of four methods at two cost weights over three seeds, for examples.

    >>> example()["metric"].unique().tolist()
    ['regret', 'quality', 'cost', 'share:small', 'share:large']
    """
    rows = {  # at cost weight 0 and 1: regret, quality, cost, share of the small model
        "mine": ("learned", (0.09, 0.8, 0.005, 0.4), (0.11, 0.75, 0.003, 0.7)),
        "plug_in_ridge": ("plug-in", (0.11, 0.78, 0.0045, 0.5), (0.15, 0.72, 0.003, 0.7)),
        "best_single": ("no routing", (0.17, 0.76, 0.01, 0.0), (0.25, 0.7, 0.002, 1.0)),
        "oracle": ("ceiling", (0.0, 0.9, 0.004, 0.5), (0.0, 0.85, 0.002, 0.8)),
    }
    records = [
        {"method": method, "kind": kind, "cost_weight": weight, "seed": seed, "metric": metric, "value": value}
        for method, (kind, *at) in rows.items()
        for weight, (regret, quality, cost, small) in zip((0.0, 1.0), at, strict=True)
        for seed in range(3)
        for metric, value in {
            "regret": regret and regret + 0.01 * (seed - 1),
            "quality": quality - 0.01 * (seed - 1),
            "cost": cost,
            "share:small": small,
            "share:large": 1 - small,
        }.items()
    ]
    same = {"dataset": "a table", "logger": "uniform", "log_size": 2000, "estimator": "dr", "hyperparameters": "{}"}
    same |= {"split": "test", "standard_error": np.nan}
    return pd.DataFrame([same | record for record in records])


def _rounded(weight: float) -> float:
    # 0.1 written by float32 code and 0.1 written by float64 code are one cost weight.
    return float(f"{float(weight):.6g}")


def check_columns(results: pd.DataFrame) -> None:
    """Raise InputError if a column of the schema is missing.

    Example:
        >>> check_columns(example())
        >>> check_columns(example().drop(columns="split"))
        Traceback (most recent call last):
        jaxroute.types.InputError: results: column split is missing; the schema is dataset, logger, ...
    """
    missing = [c for c in COLUMNS if c not in results.columns]
    if missing:
        raise InputError(f"results: column {', '.join(missing)} is missing; the schema is {', '.join(COLUMNS)}")
