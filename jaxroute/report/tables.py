"""Tables of methods against cost weights, for the console and for Markdown files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from jaxroute.report.comparison import compare, headline
from jaxroute.report.results import KINDS, LOWER_IS_BETTER, kinds, table_weights
from jaxroute.report.summary import best_of, ranked, summarise
from jaxroute.system.printing import cell
from jaxroute.system.printing import console as standard_console

GROUP_TITLES = dict(zip(KINDS, ("Learned routers", "Plug-in routers", "No routing", "Ceilings"), strict=True))
CONSOLE_WIDTH = 100
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
    results: pd.DataFrame, metric: str, *, grid: Sequence[float] | None = None, decimals: int = 2
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
            "-" if np.isnan(difference) else f"{difference:+.{decimals}f}",
            "none" if np.isnan(low) else f"[{low:+.{decimals}f}, {high:+.{decimals}f}]",
            row["verdict"],
            *(_weights_text(row[c], len(grid)) for c in ("better_at", "worse_at")),
        )


def _weights_text(weights: Sequence[float], total: int) -> str:
    return "all" if len(weights) == total else " ".join(f"{w:g}" for w in weights) or "-"


def markdown_table(
    results: pd.DataFrame, metric: str = "regret", *, grid: Sequence[float] | None = None, unit: str = "USD"
) -> str:
    """The method table and the paired differences as Markdown, for README files.

    Example:
        >>> from jaxroute.report.results import example
        >>> print(*markdown_table(example()).splitlines()[:4], sep="\\n")
        | regret at cost weight | 0 | 1 | mean |
        | --- | ---: | ---: | ---: |
        | **Learned routers** |  |  |  |
        | `mine` | 9.00±2.48 | 11.00±2.48 | 10.00±2.48 |
    """
    table = method_table(results, metric, grid=grid, unit=unit)
    lines: list[Sequence[str]] = []
    for title, members in grouped(table.lines, table.kinds):
        lines.append([f"**{title}**", *[""] * len(table.header)])
        lines += [[markdown_name(method), *(cell.text for cell in row)] for method, row in members]
    name = metric.replace("_", " ")
    parts = [markdown_rows([f"{name} at cost weight", *table.header], lines), table.note]
    differences = list(comparison_lines(results, metric, grid=grid))
    if differences:
        lines = [[*map(markdown_name, line[:2]), *line[2:]] for line in differences]
        parts += [headline(results, metric, grid=grid), markdown_rows(COMPARISON_HEADER, lines)]
        parts += [COMPARISON_NOTE]
    return "\n\n".join(parts) + "\n"


def markdown_rows(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of texts, the first column to the left and the others to the right.

    Example:
        >>> print(markdown_rows(["method", "regret"], [["mine", "9.00"]]))
        | method | regret |
        | --- | ---: |
        | mine | 9.00 |
    """
    numeric = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, numeric, *lines])


def markdown_name(name: str) -> str:
    """A name as code, with nothing in it that a table would act on.

    Example:
        >>> print(markdown_name("a|b"))
        `a\\|b`
    """
    # Inside a code span only the bar and the backtick have a meaning in Markdown tables.
    return f"`{name.replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def print_tables(
    results: pd.DataFrame,
    metric: str = "regret",
    *,
    grid: Sequence[float] | None = None,
    unit: str = "USD",
    console: Console | None = None,
) -> None:
    """Print the method table, the headline and the paired differences; 100 columns when piped, no colour then.

    Example:
        >>> from jaxroute.report.results import example
        >>> from rich.console import Console
        >>> print_tables(example(), console=Console(width=100, color_system=None))
         regret at cost weight ...
    """
    if console is None:
        console = standard_console(CONSOLE_WIDTH)
    for decimals in (2, 1):
        table = method_table(results, metric, grid=grid, decimals=decimals, unit=unit)
        body = _console_methods(table, metric)
        if Measurement.get(console, console.options.update(max_width=1000), body).maximum <= console.width:
            break
    console.print(body)
    console.print(cell(table.note, style="dim"))
    console.print("", cell(headline(results, metric, grid=grid)), "", sep="\n")
    differences = list(comparison_lines(results, metric, grid=grid))
    if differences:
        console.print(_console_differences(differences))
        console.print(cell(COMPARISON_NOTE, style="dim"))


def _console_methods(table: MethodTable, metric: str) -> Table:
    body = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    body.add_column(f"{metric.replace('_', ' ')} at cost weight", overflow="fold")  # numbers never are
    for title in table.header:
        body.add_column(title, justify="right", no_wrap=True)
    for title, members in grouped(table.lines, table.kinds):
        body.add_row(cell(title, style="italic"))
        for method, row in members:
            style = "bold" if method == table.best else ""
            body.add_row(cell(f" {method}", style=style), *(cell(c.text, style=style) for c in row))
        body.add_section()
    return body


def _console_differences(lines: Sequence[Sequence[str]]) -> Table:
    colours = {"better": "green", "worse": "red", "undecided": "", "no interval": "dim"}
    body = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    header = [title for title in COMPARISON_HEADER if title != "against"]
    for title in header:
        numeric = title in ("difference", "95% interval")
        wraps = title in ("router", "better at", "worse at")
        body.add_column(title, justify="right" if numeric else "left", no_wrap=not wraps, overflow="fold")
    body.columns[0].min_width = min(
        32, max(len(part) for line in lines for part in (f" {line[0]}", f"Against {line[1]}"))
    )
    for opponent in dict.fromkeys(line[1] for line in lines):
        body.add_row(cell(f"Against {opponent}", style="italic"))
        for router, against, *rest in lines:
            if against == opponent:
                body.add_row(cell(f" {router}"), *(cell(part, style=colours.get(part, "")) for part in rest))
        body.add_section()
    return body
