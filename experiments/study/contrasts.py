"""The study's planned contrasts: one method in one cell minus another, paired by seed, per table. Host side.

Frames of rows come from `study.report.labelled`, as in `study.significance`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments import methods
from experiments.study.cells import FIRST, NEW_DRAWS
from experiments.study.design import SYNTHETIC, in_order
from jaxroute.report.results import LEARNED, PLUG_IN, RECOMMENDED
from jaxroute.report.summary import student_interval

GRID, BETWEEN = "mean_regret", "regret_between"
REAL = "real tables"
BEST_LEARNED, BEST_PLUG_IN = "best learned router", "best plug-in"
"""Stand for the method of that kind that is best in its cell on the other seeds: see ``picked``."""
ROBUST = ("dr", "switch", "shrinkage", "pessimistic", "calibrated")
"""Estimators of doubly robust utilities, or of a variant of them."""
STAYS = ("rm_affine",)
"""Starts as the stacked plug-in and leaves it on evidence alone: in most runs it is the stack."""


class Side(NamedTuple):
    """A method, or the best of a kind, in a cell; the centre if no other is named."""

    method: str
    factor: str = "centre"
    level: str = ""

    @property
    def cell(self) -> str:
        return f"{self.factor} {self.level}".strip()


class Contrast(NamedTuple):
    """left - right, on the grid of cost weights or between its points."""

    left: Side
    right: Side
    metric: str = GRID

    @property
    def name(self) -> str:
        (left, right), between = (self.left, self.right), ", between" if self.metric == BETWEEN else ""
        if left.cell == right.cell:
            return f"{left.method} - {right.method}: {left.cell}{between}"
        if left.method == right.method:
            return f"{left.method}: {left.cell} - {right.cell}{between}"
        return f"{left.method}: {left.cell} - {right.method}: {right.cell}{between}"


def within(left: str, right: str, factor: str = "centre", level: str = "", metric: str = GRID) -> Contrast:
    """Two methods of one cell."""
    return Contrast(Side(left, factor, level), Side(right, factor, level), metric)


CENTRE = ("centre", "")
LINEAR = ("capacity", "linear")
LOGGERS = (CENTRE, *(("logger", x) for x in ("weak router 6", "uniform", "cost-biased 2", "task-dependent 2")))
WIDTHS = (LINEAR, ("capacity", "8 units"), CENTRE)
SHUFFLED = ("control", "shuffled answers")
NEW_DRAWN = tuple(("new draws", level) for level in NEW_DRAWS)
END_TO_END = "rm_softmax_entropic"
ELSEWHERE = (
    *(("log size", size) for size in ("500", "all")),
    *(("logger, 500 rows", level) for _, level in LOGGERS[1:]),
    *(("models", count) for count in ("2", "4", "8")),
    ("encoder", "hashed"),
    ("split", "tasks held out"),
)
CONTRASTS = (
    *(within(RECOMMENDED, "plug_in_stack", *cell) for cell in (*LOGGERS, *NEW_DRAWN, *ELSEWHERE)),
    within(RECOMMENDED, "best_single"),
    Contrast(Side(RECOMMENDED, *FIRST), Side(RECOMMENDED)),
    Contrast(Side("plug_in_stack", *FIRST), Side("plug_in_stack")),
    within(RECOMMENDED, "plug_in_stack", *FIRST),
    Contrast(Side("plug_in_stack", *FIRST), Side(RECOMMENDED)),
    *(Contrast(Side(RECOMMENDED, "shadow", size), Side(RECOMMENDED)) for size in ("50", "100", "250", "500")),
    Contrast(Side("plug_in_stack", "shadow", "250"), Side("plug_in_stack")),
    within(RECOMMENDED, "plug_in_stack", "shadow", "250"),
    Contrast(Side(RECOMMENDED, "encoder", "hashed"), Side(RECOMMENDED)),
    Contrast(Side(RECOMMENDED, "propensity", "estimated"), Side(RECOMMENDED)),
    *(
        Contrast(Side(method, *cell), Side(method))
        for method in ("rm_classification", "rm_softmax", END_TO_END)
        for cell in (("clip", "0.02"), ("clip", "0.3"), ("propensity", "estimated"))
    ),
    Contrast(Side(RECOMMENDED, "logger", "cost-biased 2"), Side(RECOMMENDED, "logger", "weak router 6")),
    *(within(method, "best_single_full", *SHUFFLED) for method in (RECOMMENDED, "plug_in_stack")),
    *(within(f"{END_TO_END}{end}", "plug_in_student", *cell) for end in ("_dm", "") for cell in WIDTHS),
    *(
        Contrast(Side(method, *LINEAR), Side("plug_in_ridge"))
        for method in (f"{END_TO_END}_dm", END_TO_END, "rm_softmax", "rm_classification")
    ),
    *(
        within(method, END_TO_END, metric=metric)
        for method in ("rm_interval", "rm_affine")
        for metric in (GRID, BETWEEN)
    ),
)
"""What the findings rest on, but for the best of each cell (``end_to_end``)."""
WEIGHTED = ("plug_in_stack", RECOMMENDED, END_TO_END, "rm_interval", "rm_affine", "rm_conditional")


@functools.cache
def robust(method: str) -> bool:
    """Whether a router was learnt end to end from doubly robust utilities.

    >>> [robust(m) for m in ("rm_softmax", "rm_softmax_entropic_dm", "rm_softmax_full", "plug_in_student_dr")]
    [True, False, False, False]
    """
    about = methods.get(method)
    return about.kind == LEARNED and about.estimator in ROBUST and method not in STAYS


@functools.cache
def _plug_in(method: str) -> bool:
    """Whether a method predicts first, the recipe apart."""
    return methods.get(method).kind == PLUG_IN and method != RECOMMENDED


def trained(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the methods that are ``robust``."""
    return rows[rows["method"].isin([method for method in rows["method"].unique() if robust(method)])]


def picked(cell: pd.DataFrame, name: str) -> tuple[str, pd.Series] | None:
    """The method that ``name`` means in a cell [seeds, methods], and its values by seed; None where it is not there.

    The best of a kind is for every seed the one with the lowest mean over the other seeds, so that no pick is
    flattered by the number it is compared on; it goes by the name that is picked most often. The recipe is no plug-in
    here.
    """
    kinds = {BEST_LEARNED: robust, BEST_PLUG_IN: _plug_in}
    if name not in kinds:
        return (name, cell[name]) if name in cell else None
    names = np.array([method for method in cell if kinds[name](method)], object)
    values = cell[names].to_numpy()
    whole = ~np.isnan(values).any(axis=1)
    values = values[whole]
    if not values.size:
        return None
    choice = (values.sum(axis=0) - values).argmin(axis=1)  # for one seed alone: the first
    known, often = np.unique(names[choice], return_counts=True)
    return str(known[often.argmax()]), pd.Series(values[np.arange(len(values)), choice], cell.index[whole])


def end_to_end(rows: pd.DataFrame, left: str = BEST_LEARNED, right: str = BEST_PLUG_IN) -> list[Contrast]:
    """``left`` against ``right`` in every cell that has a router trained end to end, the centre first."""
    cells = trained(rows)[["factor", "level"]].drop_duplicates().itertuples(index=False)
    ordered = sorted(((str(cell.factor), str(cell.level)) for cell in cells), key=lambda cell: cell != CENTRE)
    return [within(left, right, *cell) for cell in ordered]


def contrasts(rows: pd.DataFrame, listed: Iterable[Contrast]) -> pd.DataFrame:
    """Every listed contrast on every table that has both sides, and on the real tables together.

        d_s = left - right of seed s; metric regret_between: mean over its cost weights first

    Returns:
        One row per contrast and dataset: contrast, dataset, left, right (methods, as ``picked``), tables (1),
        difference, low, high (points, 95% Student-t over seeds). Dataset "real tables" is the mean over the real
        tables there (``tables`` of them), seed by seed; left and right are empty there.
    """
    values = rows[rows["metric"].isin([GRID, BETWEEN])].pivot_table(
        index=["metric", "dataset", "factor", "level", "seed"], columns="method", values="value"
    )
    places = values.groupby(level=["metric", "dataset", "factor", "level"]).indices

    @functools.cache
    def cell(*place: str) -> pd.DataFrame:
        """[seeds, methods that were run there]; empty where there is no such cell."""
        return values.iloc[places.get(place, [])].droplevel([0, 1, 2, 3]).dropna(axis=1, how="all")

    found, tables = [], in_order(values.index.unique("dataset"))
    for contrast in listed:
        real = {}
        for table in tables:
            sides = [
                picked(cell(contrast.metric, table, factor, level), method)
                for method, factor, level in (contrast.left, contrast.right)
            ]
            both = [side for side in sides if side is not None]
            if len(both) < 2:
                continue
            (left, a), (right, b) = both
            if (gap := (a - b).dropna()).empty:
                continue
            found.append((contrast.name, table, left, right, 1, *student_interval(gap)))
            if table != SYNTHETIC:
                real[table] = gap
        if real:
            together = pd.DataFrame(real).dropna().mean(axis=1)
            found.append((contrast.name, REAL, "", "", len(real), *student_interval(together)))
    columns = ["contrast", "dataset", "left", "right", "tables", "difference", "low", "high"]
    return pd.DataFrame(found, columns=columns)


def across_weights(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean regrets at the centre on the grid of cost weights and between its points, of the methods WEIGHTED.

    Returns:
        One row per dataset and method: grid, between (points, means over weights and seeds) and, with ``_low`` and
        ``_high``, grid_less and between_less: the paired difference to END_TO_END, NaN for itself.
    """
    here = rows[(rows["factor"] == "centre") & rows["method"].isin(WEIGHTED) & rows["metric"].isin([GRID, BETWEEN])]
    short = {GRID: "grid", BETWEEN: "between"}
    mean = here.assign(metric=here["metric"].map(short)).pivot_table(
        index=["dataset", "method"], columns="metric", values="value"
    )
    mean = mean.reindex(columns=list(short.values()))
    for metric, name in short.items():
        listed = [within(method, END_TO_END, metric=metric) for method in WEIGHTED if method != END_TO_END]
        found = contrasts(here, listed)
        found = found[found["dataset"] != REAL].set_index(["dataset", "left"])
        less = {"difference": f"{name}_less", "low": f"{name}_low", "high": f"{name}_high"}
        mean = mean.join(found[list(less)].rename(columns=less).rename_axis(["dataset", "method"]))
    tables = in_order(mean.index.get_level_values("dataset"))
    order = [(t, m) for t in tables for m in WEIGHTED if (t, m) in mean.index]
    return mean.loc[order].reset_index()
