"""Tables as Markdown, for README files."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from jaxroute.report.comparison import headline
from jaxroute.report.tables import COMPARISON_HEADER, COMPARISON_NOTE, comparison_lines, grouped, method_table


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
