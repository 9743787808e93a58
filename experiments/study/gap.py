"""How much of the way from a plug-in to full feedback the recipe goes: ends, shares, a bootstrap over seeds. Host side.

Frames of rows come from `study.report.labelled`, as in `study.significance`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.study.cells import FIRST
from experiments.study.design import SYNTHETIC
from experiments.study.significance import CELL
from jaxroute.report.results import RECOMMENDED

DRAWS = 2000


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Per cell and seed the mean regrets of a stacked plug-in (start), of the recipe and of full feedback (ceiling).

    At the centre and with a shadow beside it, both ends are the first recipe's: the stack before the Gaussian
    process, without a shadow. Elsewhere they are the cell's own stack and its ceiling; a table whose first recipe
    was not run has those of the centre instead. stack: the cell's own, always.
    """
    mean = rows[rows["metric"] == "mean_regret"]
    names = ["plug_in_stack", RECOMMENDED, "plug_in_stack_full"]
    if not set(names) <= set(mean["method"]):
        return pd.DataFrame(columns=[*CELL, "seed", "start", RECOMMENDED, "ceiling", "stack"])
    wide = mean[mean["method"].isin(names)].pivot_table(index=[*CELL, "seed"], columns="method", values="value")
    wide = wide[names].dropna().assign(stack=lambda w: w["plug_in_stack"]).reset_index()
    found = wide.rename(columns={"plug_in_stack": "start", "plug_in_stack_full": "ceiling"})
    of = pd.MultiIndex.from_frame(found[["dataset", "seed"]])
    for factor, level, moved in (("centre", "", ("shadow",)), (*FIRST, ("centre", "shadow"))):
        other = found[(found["factor"] == factor) & (found["level"] == level)].set_index(["dataset", "seed"])
        here = found["factor"].isin(moved).to_numpy() & of.isin(other.index)
        found.loc[here, ["start", "ceiling"]] = other.loc[of[here], ["start", "ceiling"]].to_numpy()
    return found


def gap_closed(rows: pd.DataFrame) -> pd.DataFrame:
    """Per cell: how much of the way from a stacked plug-in to its full-feedback ceiling the recipe goes.

    (start - recommended) / (start - ceiling)   of mean regrets over seeds, see ``ends``
    """
    found = ends(rows).groupby(CELL).mean().drop(columns="seed").reset_index()
    gap = found["start"] - found["ceiling"]
    return found.assign(gap=gap, closed=(found["start"] - found[RECOMMENDED]) / gap)


class Share(NamedTuple):
    """A share of the gap closed over the real tables together, its 95% interval, and how many tables there are.

    >>> str(Share(0.5, 0.25, 0.75, 5))
    '50% (25% to 75%)'
    """

    share: float
    low: float
    high: float
    tables: int

    def __str__(self) -> str:
        return f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%})"


def share_closed(
    found: pd.DataFrame, factor: str, level: str, *, start: str = "start", end: str = RECOMMENDED
) -> Share:
    """Share of the gap closed over the real tables together, with a paired bootstrap over seeds.

        share = sum_s sum_t (start - end) / sum_s sum_t (start - ceiling)

    over tables t and the seeds s that all of them have; ``start`` and ``end`` are columns of ``found``, which `ends`
    made. A draw resamples seeds, for all tables and all of these alike; the interval is from the 2.5% to the 97.5%
    quantile of DRAWS draws, which is a little short with ten seeds.
    """
    real = found[(found["factor"] == factor) & (found["level"] == level) & (found["dataset"] != SYNTHETIC)]
    if real.empty:
        return Share(np.nan, np.nan, np.nan, 0)
    real = real.assign(closed=real[start] - real[end], gap=real[start] - real["ceiling"])
    wide = real.pivot(index="seed", columns="dataset", values=["closed", "gap"]).dropna()
    closed, gap = (wide[name].to_numpy(float).sum(1) for name in ("closed", "gap"))
    return Share(*bootstrapped(closed, gap), real["dataset"].nunique())


def bootstrapped(closed: np.ndarray, gap: np.ndarray) -> tuple[float, float, float]:
    """sum closed / sum gap of seeds [S], and its 95% interval by a paired bootstrap over them.

    >>> bootstrapped(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    (0.5, 0.5, 0.5)
    """
    drawn = np.random.default_rng(0).integers(len(gap), size=(DRAWS, len(gap)))
    low, high = np.quantile(closed[drawn].sum(1) / gap[drawn].sum(1), [0.025, 0.975])
    return float(closed.sum() / gap.sum()), float(low), float(high)
