"""``jaxroute methods``: what a router can be fitted with, what each method costs, and what the study found of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from jaxroute.cli import output

if TYPE_CHECKING:
    from jaxroute.learn.methods import Method

WIDTH = 118
COLUMNS = (
    "method",
    "what it is",
    "takes, besides the nuisances",
    "real tables",
    "synthetic",
    "what else the study found",
)
BEHIND, DATA = "points_over_recommended", ("real", "synthetic")
LEGEND = """\
plug-in: predict every model's quality and cost, then choose.
real tables, synthetic: points of regret (quality x 100) above recommended, with 95% intervals over ten seeds, on five
real tables and one synthetic problem (the log of a weak router, 2,000 rows): see experiments/README.md."""


def methods() -> output.Result:
    """List the methods of jaxroute fit: what each is, what it costs, and what the study found.

    Example:

      jaxroute methods --json
    """
    from jaxroute.learn.methods import METHODS

    rows = [record(method) for method in METHODS.values()]
    first = f"jaxroute fit --method takes one of {len(rows)} methods; the default is recommended."
    said = [first, *table().splitlines()]
    return output.Result({"methods": rows}, said, (), [_flat(row) for row in rows])


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """A record for a written table: each number in a column, an interval in two."""
    numbers = {
        f"points_over_recommended_{data}{end}": None if (found := record[BEHIND]) is None else found[data][i]
        for data in DATA
        for i, end in enumerate(("", "_low", "_high"))
    }
    return {name: value for name, value in record.items() if name != BEHIND} | numbers


def record(method: Method) -> dict[str, Any]:
    """A method for machines; points_over_recommended has [mean, low, high] where the study has them."""
    behind = None if method.behind is None else {name: list(part) for name, part in method.behind._asdict().items()}
    return {
        "name": method.name,
        "what": method.summary,
        "cost": method.cost,
        "found": method.finding,
        BEHIND: behind,
    }


def table(width: int = WIDTH) -> str:
    """The methods as a table of text, and what its numbers are."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Sheet

    from jaxroute.learn.methods import METHODS

    sheet = Sheet(box=box.SIMPLE, padding=(0, 1, 1, 0), show_edge=False)
    for name, ratio in zip(COLUMNS, (None, 5, 4, None, None, 6), strict=True):
        sheet.add_column(name, ratio=ratio, no_wrap=ratio is None)
    for method in METHODS.values():
        behind = ("", "") if method.behind is None else tuple(map(_interval, method.behind))
        sheet.add_row(method.name, method.summary, method.cost, *behind, method.note)
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(sheet)
    lines = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
    return "\n".join([*lines, LEGEND])


def _interval(found: tuple[float, float, float]) -> str:
    mean, _, high = found
    return f"{mean:+.2f} ± {high - mean:.2f}"
