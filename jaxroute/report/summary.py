"""The numbers of a report: means over seeds with intervals, differences paired by seed, and the order of methods.

Intervals are 95% Student-t over seeds. A seed redraws the split, the simulated log and the initialisation,
and every method sees the same draws, so differences are taken within a seed before they are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from jaxroute.report.results import CEILING, KINDS, LOWER_IS_BETTER, PLUG_IN, RECOMMENDED, of_metric, rounded
from jaxroute.types import InputError


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
        >>> from jaxroute.report.results import COLUMNS
        >>> frame = pd.DataFrame({c: "" for c in COLUMNS}, index=range(4)).assign(
        ...     method=["a", "a", "b", "b"], seed=[0, 1, 0, 1], cost_weight=0.5, metric="regret",
        ...     value=[1.0, 5.0, 2.0, 6.0])
        >>> print(summarise(frame, "regret", against="b")[["method", "mean", "difference", "pairs"]])
          method  mean  difference  pairs
        0      a   3.0        -1.0      2
        1      b   4.0         0.0      2
    """
    rows = of_metric(results, metric)
    if grid is not None:
        weights = [rounded(w) for w in grid]
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
        >>> from jaxroute.report.results import example, kinds
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
        >>> from jaxroute.report.results import example, kinds
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
        >>> from jaxroute.report.results import LEARNED
        >>> best_plug_in(["mine", "recommended", "knn"], {"mine": LEARNED, "recommended": PLUG_IN, "knn": PLUG_IN})
        'knn'
    """
    return next((m for m in order if of[m] == PLUG_IN and m != RECOMMENDED), None)


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
