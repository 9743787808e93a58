"""The study's tables as Markdown. Host side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments import methods
from experiments.study import contrasts as study_contrasts
from experiments.study import figures as study_figures
from experiments.study import significance as study_tests
from experiments.study.design import in_order
from jaxroute.report.results import CEILING, RECOMMENDED
from jaxroute.report.summary import student_interval


def markdown(frame: pd.DataFrame, *, index: bool = False) -> str:
    """A Markdown table."""
    if index:
        frame = frame.reset_index()
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + "---|" * len(frame.columns)]
    lines += ["| " + " | ".join(_text(x) for x in row) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines)


def _text(x: object) -> str:
    return f"{x:.3g}" if isinstance(x, float) else str(x)


def interval(difference: float, low: float, high: float) -> str:
    """A difference as text.

    >>> interval(-0.5, -1.0, 0.0)
    '-0.50 [-1.00, +0.00]'
    """
    return "-" if np.isnan(difference) else f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"


def by_table(frame: pd.DataFrame, index: list[str], text: Sequence[str]) -> str:
    """``text``, one per row of the frame, as a Markdown table: lines by ``index``, a column per dataset."""
    wide = frame.assign(text=text).set_index([*index, "dataset"])["text"].unstack("dataset").fillna("-")
    columns = [*in_order(t for t in wide.columns if t != study_contrasts.REAL), study_contrasts.REAL]
    return markdown(wide.loc[frame.set_index(index).index.unique(), [t for t in columns if t in wide]], index=True)


def intervals(frame: pd.DataFrame) -> list[str]:
    """``interval`` of every row."""
    return [interval(*x) for x in frame[["difference", "low", "high"]].to_numpy()]


def plus_minus(values: pd.Series) -> str:
    """Mean and half of its 95% interval over seeds.

    >>> plus_minus(pd.Series([1.0, 2.0, 3.0]))
    '2.00 ± 2.48'
    """
    centre, _, high = student_interval(values)
    return "-" if np.isnan(centre) else f"{centre:.2f} ± {high - centre:.2f}"


def centre_table(rows: pd.DataFrame) -> str:
    """Mean regret at the centre, methods against tables, with 95% intervals over seeds; the lowest mean first."""
    mean = rows[(rows["metric"] == "mean_regret") & (rows["factor"] == "centre")]
    text = mean.groupby(["method", "dataset"])["value"].apply(plus_minus).unstack("dataset")
    order = mean.groupby("method")["value"].mean().sort_values().index
    return markdown(text.loc[order][in_order(text.columns)].fillna("-"), index=True)


def cell_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: the recipe beside the stack, best single, the best baseline of the cell and the ceiling.

    Intervals (95%, over seeds) of the recipe, the stack and their paired difference; effective rows of the log, as of
    a uniform one.
    """
    worth = rows[rows["metric"] == study_figures.OVERLAP].groupby(study_tests.CELL)["value"].mean()
    found = []
    for place, cell in rows[rows["metric"] == "mean_regret"].groupby(study_tests.CELL, sort=False):
        wide = cell.pivot(index="seed", columns="method", values="value")
        names = [method for method in wide if methods.get(str(method)).kind != CEILING and method != RECOMMENDED]
        best = wide[names].mean().idxmin()
        recipe, stack = (wide.get(method, pd.Series(dtype=float)) for method in (RECOMMENDED, "plug_in_stack"))
        about = {
            **dict(zip(study_tests.CELL, place, strict=True)),
            "recommended": plus_minus(recipe),
            "stack": plus_minus(stack),
            "recommended - stack": interval(*student_interval((recipe - stack).dropna())),
        }
        shown = {"best single": "best_single", "best baseline": best, "ceiling": "plug_in_stack_full"}
        about |= {name: f"{wide[method].mean():.2f}" if method in wide else "-" for name, method in shown.items()}
        found.append({**about, "which is best": best, "effective rows": f"{worth.get(place, np.nan):.0f}"})
    return pd.DataFrame(found).replace("nan", "-")
