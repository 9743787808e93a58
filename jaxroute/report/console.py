"""Tables for the console."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from jaxroute.report.comparison import headline
from jaxroute.report.tables import (
    COMPARISON_HEADER,
    COMPARISON_NOTE,
    MethodTable,
    comparison_lines,
    grouped,
    method_table,
)
from jaxroute.system.printing import cell
from jaxroute.system.printing import console as standard_console

CONSOLE_WIDTH = 100


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
