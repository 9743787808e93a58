"""Tidy results, which every report reads: their columns, the kinds of methods, and the rows of one metric."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

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
    present = np.unique(of_metric(results, metric)["cost_weight"].dropna())
    fixed = tuple(w for w in TABLE_WEIGHTS if w in present)
    if len(fixed) > 1 or len(present) <= 1:
        return fixed or tuple(map(float, present))
    return tuple(float(w) for w in present[np.unique(np.linspace(0, len(present) - 1, 7).astype(int))])


def of_metric(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """method, cost_weight, seed and value of one metric, after the checks that averaging needs.

    Raises:
        InputError: a column or the metric is missing, or a (method, cost weight, seed) occurs more than once.

    Example:
        >>> len(of_metric(example(), "regret"))
        24
    """
    check_columns(results)
    rows = results[results["metric"] == metric]
    if rows.empty:
        known = ", ".join(sorted(map(str, results["metric"].unique())))
        raise InputError(f"results: no rows of metric {metric!r}; the metrics present are: {known or 'none'}")
    rows = rows.assign(cost_weight=rows["cost_weight"].map(rounded).astype(float))
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


def rounded(weight: float) -> float:
    """A cost weight such that 0.1 written by float32 code and 0.1 written by float64 code are one.

    Example:
        >>> rounded(float(np.float32(0.1)))
        0.1
    """
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
