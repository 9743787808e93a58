"""Tables of methods against cost weights as texts: what the console, Markdown files and the page show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from jaxroute.report.comparison import compare
from jaxroute.report.results import KINDS, LOWER_IS_BETTER, kinds, table_weights
from jaxroute.report.summary import best_of, ranked, summarise

GROUP_TITLES = dict(zip(KINDS, ("Learned routers", "Plug-in routers", "No routing", "Ceilings"), strict=True))
Line = TypeVar("Line", bound=Sequence[Any])


class Cell(NamedTuple):
    """The text of a cell and the number that it is sorted by.

    Example:
        >>> sorted([Cell("9.0", 9.0), Cell("10.0", 10.0)], key=lambda cell: cell.value)[-1].text
        '10.0'
    """

    text: str
    value: float


class MethodTable(NamedTuple):
    """header: one title per column of cells; lines: (method, cells), grouped by kind, best first; kinds: of methods.

    best: the method that has the best mean and is no ceiling; None where no mean is known.

    Example:
        >>> from jaxroute.report.results import example
        >>> method_table(example(), "regret").header
        ('0', '1', 'mean')
    """

    header: tuple[str, ...]
    lines: list[tuple[str, list[Cell]]]
    note: str
    kinds: dict[str, str]
    best: str | None


def grouped(lines: Iterable[Line], of: Mapping[str, str]) -> Iterator[tuple[str, list[Line]]]:
    """(title, lines) of every kind that has any; a line begins with its method, whose kind ``of`` says.

    Example:
        >>> list(grouped([("mine", 1), ("oracle", 2)], {"mine": "learned", "oracle": "ceiling"}))
        [('Learned routers', [('mine', 1)]), ('Ceilings', [('oracle', 2)])]
    """
    members: dict[str, list[Line]] = {kind: [] for kind in GROUP_TITLES}
    for line in lines:
        members[of[line[0]]].append(line)
    return ((GROUP_TITLES[kind], found) for kind, found in members.items() if found)


def quantity(metric: str, unit: str = "USD") -> tuple[float, str]:
    """(factor, name of the unit) in which a metric is shown: points, percent, cost of 1,000 prompts.

    Example:
        >>> quantity("cost", "EUR"), quantity("regret")
        ((1000.0, 'EUR per 1,000 prompts'), (100.0, 'points (quality x 100)'))
    """
    if metric == "cost":
        return 1000.0, f"{unit} per 1,000 prompts"
    if metric == "rci" or metric.startswith("share:"):
        return 100.0, "percent of prompts"
    return (1.0, "ratio of costs") if metric == "qnc" else (100.0, "points (quality x 100)")


def method_table(
    results: pd.DataFrame,
    metric: str,
    *,
    grid: Sequence[float] | None = None,
    decimals: int = 2,
    unit: str = "USD",
) -> MethodTable:
    """One metric: methods by cost weight, with the mean over the weights, as text and numbers.

    Example:
        >>> from jaxroute.report.results import example
        >>> table = method_table(example(), "regret")
        >>> method, cells = table.lines[0]
        >>> table.best, method, [cell.text for cell in cells]
        ('mine', 'mine', ['9.00±2.48', '11.00±2.48', '10.00±2.48'])
    """
    grid = table_weights(results, metric) if grid is None else grid
    summary = summarise(results, metric, grid=grid)
    weights = [*grid, np.nan]
    lines, of = [], kinds(results)
    for method in ranked(summary, metric, of):
        rows = summary[summary["method"] == method]
        by_weight = {f"{row['cost_weight']:.6g}": row for _, row in rows.iterrows()}
        found = [by_weight.get(f"{w:.6g}") for w in weights]
        lines.append((method, [interval_cell(row, metric, decimals) for row in found]))
    direction = "lower" if metric in LOWER_IS_BETTER else "higher"
    note = (
        f"{quantity(metric, unit)[1]}; {direction} is better. The mean is over the cost weights shown. "
        f"{seeds_note(summary)}"
    )
    return MethodTable(
        (*(f"{w:g}" for w in grid), "mean"), lines, note[0].upper() + note[1:], of, best_of(summary, metric, of)
    )


def interval_cell(row: pd.Series | None, metric: str, decimals: int = 2) -> Cell:
    """mean±half width; only the mean if there is no interval, a dash if the mean is undefined.

    Example:
        >>> interval_cell(pd.Series({"mean": 0.1, "high": 0.125}), "regret").text, interval_cell(None, "regret").text
        ('10.00±2.50', '-')
    """
    if row is None or np.isnan(row["mean"]):
        return Cell("-", np.nan)
    factor = quantity(metric)[0]
    mean, high = factor * float(row["mean"]), factor * float(row["high"])
    # Costs of methods differ by orders of magnitude, so they get significant digits instead of decimals.
    style, half_style = (".3g", ".2g") if metric == "cost" else (f".{decimals}f",) * 2
    half = "" if np.isnan(high) else f"±{high - mean:{half_style}}"
    return Cell(f"{mean:{style}}{half}", mean)


def seeds_note(summary: pd.DataFrame) -> str:
    """A sentence that says how many seeds the intervals are over.

    Example:
        >>> seeds_note(pd.DataFrame({"seeds": [3, 5]})), seeds_note(pd.DataFrame({"seeds": [1]}))
        ('± is half the width of the 95% Student-t interval over 3 to 5 seeds.', 'One seed: no interval can be given.')
    """
    low, high = summary["seeds"].min(), summary["seeds"].max()
    if high == 1:
        return "One seed: no interval can be given."
    count = f"{high}" if low == high else f"{low} to {high}"
    return f"± is half the width of the 95% Student-t interval over {count} seeds."


COMPARISON_HEADER = ("router", "against", "difference", "95% interval", "verdict", "better at", "worse at")
COMPARISON_NOTE = (
    "Differences are router minus opponent in points, paired by seed and averaged over the cost weights shown. "
    'Better and worse mean that the interval excludes 0; "better at" and "worse at" name the cost weights where it '
    "does. The intervals are not corrected for the number of comparisons."
)


def comparison_lines(
    results: pd.DataFrame, metric: str, *, grid: Sequence[float] | None = None
) -> Iterator[tuple[str, ...]]:
    """Rows of ``compare`` as text, in the order of COMPARISON_HEADER, with losses as well as wins.

    Example:
        >>> from jaxroute.report.results import example
        >>> next(comparison_lines(example(), "regret"))
        ('mine', 'plug_in_ridge', '-3.00', '[-3.00, -3.00]', 'better', 'all', '-')
    """
    grid = table_weights(results, metric) if grid is None else grid
    for _, row in compare(results, metric, grid=grid).iterrows():
        difference, low, high = (100 * row[c] for c in ("difference", "low", "high"))
        yield (
            row["router"],
            row["against"],
            "-" if np.isnan(difference) else f"{difference:+.2f}",
            "none" if np.isnan(low) else f"[{low:+.2f}, {high:+.2f}]",
            row["verdict"],
            *(_weights_text(row[c], len(grid)) for c in ("better_at", "worse_at")),
        )


def _weights_text(weights: Sequence[float], total: int) -> str:
    return "all" if len(weights) == total else " ".join(f"{w:g}" for w in weights) or "-"
