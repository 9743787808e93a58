"""The study's statistics: the recipe against its baselines, Holm's correction, the control. Host side.

Every frame of rows is one from `study.report.labelled`: tidy, with columns factor and level, regrets in points.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from experiments import methods
from experiments.study.cells import FIRST
from jaxroute.report.results import CEILING, NO_ROUTING, RECOMMENDED
from jaxroute.report.summary import student_interval

NEW = "new draws"
"""Factor of the cells whose seeds had no part in any choice: see ``confirmation``."""
UNTOUCHED = (6, 7, 8, 9)
"""Seeds of the centre at which no choice of the recipe looked."""
MODELS = "outcome model"
"""Factor of the cells in which the recipe is made of other outcome models than its own: see ``other_models``."""
ASIDE = ("control", "capacity", "clip", MODELS, NEW)
"""Factors in whose cells the recipe is not compared: see ``differences``."""
OPPONENTS = ("plug_in_stack", "plug_in_gp", "plug_in_hierarchical", "best_single", "rm_classification")
"""The baselines that are ever close, and the best router trained end to end on the synthetic problem."""
MARGINS = (0.25, 0.5, 1.0)
CELL = ["dataset", "factor", "level"]


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean regrets of the cells in which the recipe is compared: those that are not ASIDE."""
    return rows[(rows["metric"] == "mean_regret") & ~rows["factor"].isin(ASIDE)]


def paired(mean: pd.DataFrame) -> pd.DataFrame:
    """The recipe against every baseline of its cell: paired over seeds, Holm-corrected over all of these together.

        t = mean_s(d_s) / (sd(d) / sqrt(S)),  d_s = mean regret of the recipe - of the baseline, seed s

    Ceilings see what no log holds: they are no baselines.

    Args:
        mean: rows of metric mean_regret.

    Returns:
        One row per (dataset, factor, level, method): seeds, difference, low, high (95% Student-t, points; below 0
        the recipe is better), p (two-sided) and holm (p after Holm's correction).

    Reference: Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    wide = mean.pivot_table(index=[*CELL, "seed"], columns="method", values="value")
    found = []
    baselines = [m for m in wide.columns if m != RECOMMENDED and methods.get(m).kind != CEILING]
    for place, cell in wide.groupby(level=CELL, sort=False):
        theirs = cell[baselines].to_numpy()
        ours = np.broadcast_to(cell[[RECOMMENDED]].to_numpy(), theirs.shape)
        for method, a, b in zip(baselines, ours.T, theirs.T, strict=True):
            if not np.isnan(b).all():
                gap = (a - b)[~np.isnan(a - b)]
                found.append((*place, method, len(gap), *student_interval(gap), two_sided(gap)))
    frame = pd.DataFrame(found, columns=[*CELL, "method", "seeds", "difference", "low", "high", "p"])
    return frame.assign(holm=holm(frame["p"].to_numpy(float)))


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """``paired`` over every cell in which the recipe is compared.

    Not in those ASIDE: the shuffled control is a test of its own, routers that were made small or whose utilities
    were clipped otherwise leave the recipe the centre's, made of another outcome model it is not the recipe, and new
    draws confirm what was chosen without them.
    """
    return paired(compared(rows))


def other_models(rows: pd.DataFrame) -> pd.DataFrame:
    """``paired`` where the recipe is made of another outcome model, but for the FIRST recipe's: a family of its own."""
    mean = rows[rows["metric"] == "mean_regret"]
    return paired(mean[(mean["factor"] == MODELS) & (mean["level"] != FIRST[1])])


def confirmation(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``paired`` on draws that had no part in any choice: the cells of NEW, and the centre's seeds UNTOUCHED.

    A family of comparisons each.
    """
    mean = rows[rows["metric"] == "mean_regret"]
    untouched = (mean["factor"] == "centre") & mean["seed"].isin(UNTOUCHED)
    return paired(mean[mean["factor"] == NEW]), paired(mean[untouched])


def two_sided(gap: np.ndarray) -> float:
    """p of a paired t test that the mean is 0; 1 where nothing varies about 0, NaN for one seed."""
    if len(gap) < 2:
        return float("nan")
    error = gap.std(ddof=1) / np.sqrt(len(gap))
    if error == 0:
        return 1.0 if gap.mean() == 0 else 0.0
    return float(2 * stdtr(len(gap) - 1, -abs(gap.mean()) / error))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down p values.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    raised = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    return np.minimum(raised, 1.0)[np.argsort(order)]


def counts(tests: pd.DataFrame, column: str) -> tuple[int, int]:
    """How many comparisons the recipe loses and wins at 5%, by the p values of ``column``."""
    sure = tests[column] < 0.05
    return int((sure & (tests["difference"] > 0)).sum()), int((sure & (tests["difference"] < 0)).sum())


def first_step(comparisons: int, seeds: int) -> float:
    """The smallest t that is significant at 5% in the first step of Holm's correction, seeds - 1 degrees of freedom.

    >>> round(first_step(1, 10), 3), round(first_step(100, 10), 3)
    (2.262, 5.291)
    """
    return float(stdtrit(seeds - 1, 1 - 0.025 / comparisons))


def against(tests: pd.DataFrame) -> pd.DataFrame:
    """The recipe against each of OPPONENTS alone: a family of one opponent's cells, and what the data rule out.

    Returns:
        One row per opponent: cells; better, worse (intervals that exclude 0, uncorrected); ``better, Holm`` and
        ``worse, Holm`` over the opponent's own cells; cells whose upper bound lies under each of MARGINS (points:
        a loss of that size is ruled out there); and the largest mean loss with its cell.
    """
    found = []
    for opponent in OPPONENTS:
        mine = tests[tests["method"] == opponent]
        if mine.empty:
            continue
        worse, better = mine["difference"] > 0, mine["difference"] < 0
        alone, corrected = mine["p"] < 0.05, holm(mine["p"].to_numpy()) < 0.05
        line: dict[str, object] = {"against": opponent, "cells": len(mine)}
        line |= {"better": int((alone & better).sum()), "worse": int((alone & worse).sum())}
        line |= {"better, Holm": int((corrected & better).sum()), "worse, Holm": int((corrected & worse).sum())}
        line |= {f"loss above {margin:g} ruled out": int((mine["high"] < margin).sum()) for margin in MARGINS}
        most = mine.sort_values("difference").iloc[-1]
        where = f"{most['dataset']}, {most['factor']} {most['level']}".rstrip()
        line["largest mean loss"] = f"{most['difference']:+.2f} [{most['low']:+.2f}, {most['high']:+.2f}] ({where})"
        found.append(line)
    return pd.DataFrame(found)


def families(tests: pd.DataFrame) -> pd.DataFrame:
    """Holm's correction within every table: comparisons, the first step's t, and how many are worse and better."""
    found = []
    for dataset, part in tests.groupby("dataset", sort=False):
        sure = holm(part["p"].to_numpy()) < 0.05
        worse, better = (int((sure & side).sum()) for side in (part["difference"] > 0, part["difference"] < 0))
        found.append((dataset, len(part), first_step(len(part), part["seeds"].max()), worse, better))
    return pd.DataFrame(found, columns=["dataset", "comparisons", "smallest t", "worse", "better"])


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """The recipe against every baseline per table: mean over the cells that have both, then paired over seeds."""
    wide = compared(rows).pivot_table(index=[*CELL, "seed"], columns="method", values="value")
    found = []
    for dataset, cell in wide.groupby(level="dataset", sort=False):
        for method in cell.columns.drop(RECOMMENDED):
            if methods.get(method).kind == CEILING or cell[method].isna().all():
                continue
            gap = (cell[RECOMMENDED] - cell[method]).dropna()
            per_seed = gap.groupby(level="seed").mean()
            found.append((dataset, method, gap.groupby(level=["factor", "level"]).ngroups, *student_interval(per_seed)))
    return pd.DataFrame(found, columns=["dataset", "method", "cells", "difference", "low", "high"])


def control(rows: pd.DataFrame, against: str = "best_single_full") -> pd.DataFrame:
    """Every method against a best single model where answers were shuffled over prompts: nothing can be routed.

    ``against`` best_single_full is the best model of the full table; nothing may beat it, beyond chance. best_single
    is the log's choice, which may be the wrong model: who beats it knows the models' levels better, not the prompts.
    """
    mean = rows[(rows["metric"] == "mean_regret") & (rows["factor"] == "control")]
    found = []
    for dataset, cell in mean.groupby("dataset", sort=False):
        wide = cell.pivot(index="seed", columns="method", values="value")
        for method in wide.columns:
            if methods.get(method).kind not in (CEILING, NO_ROUTING):
                gap = (wide[method] - wide[against]).to_numpy()
                found.append((dataset, method, *student_interval(gap), two_sided(gap)))
    frame = pd.DataFrame(found, columns=["dataset", "method", "difference", "low", "high", "p"])
    return frame.assign(holm=holm(frame["p"].to_numpy(float)))


def equal_spend(rows: pd.DataFrame) -> pd.DataFrame:
    """What a shadow's answers buy against as many more log rows, per table: mean regrets and the paired difference.

    gain: regret with more log rows minus regret with the shadow, for the recipe; above 0 the shadow is worth more.
    """
    mean = rows[(rows["metric"] == "mean_regret") & (rows["method"] == RECOMMENDED)]
    mean = mean.set_index(["dataset", "seed"])
    found = []
    for dataset in mean.loc[mean["factor"] == "equal spend"].index.unique("dataset"):
        mine = mean.loc[dataset]
        level = mine.loc[mine["factor"] == "equal spend", "level"].iloc[0]
        size = level.removeprefix("shadow ").split()[0]
        parts = [("centre", ""), ("shadow", size), ("equal spend", level)]
        alone, shadow, more = (mine.loc[(mine["factor"] == f) & (mine["level"] == x), "value"] for f, x in parts)
        if len(shadow):
            gain = student_interval((more - shadow).dropna().to_numpy())
            found.append((dataset, size, alone.mean(), shadow.mean(), more.mean(), *gain))
    return pd.DataFrame(found, columns=["dataset", "shadow", "log", "log + shadow", "more log", "gain", "low", "high"])
