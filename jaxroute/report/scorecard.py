"""One line per method with what routing papers report: regret, paired gains, curve metrics, collapse, shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from jaxroute.report.console import CONSOLE_WIDTH
from jaxroute.report.markdown import markdown_name, markdown_rows
from jaxroute.report.results import kinds, table_weights
from jaxroute.report.summary import best_plug_in, ranked, summarise
from jaxroute.report.tables import grouped, interval_cell
from jaxroute.system.printing import cell
from jaxroute.system.printing import console as standard_console

CURVE = ("nauc", "qnc", "peak")
MOST_USED = 2
CURVES = (
    "nAUC is the area under the quality-cost curve (1 at best). QNC is the cost at which the quality of the best "
    "single model is reached, divided by that model's cost; a dash means that a seed never reaches it. RCI is the "
    "percentage of prompts, at each cost weight, that are sent to a worse model, or to the most expensive one although "
    "another is as good."
)
NOTE = (
    "Mean regret, its differences to the best plug-in and to best_single (method minus opponent, paired by seed, with "
    "95% Student-t intervals over seeds that are not corrected for their number) and peak quality are in points. "
    f"{CURVES} Most used: the models that get most prompts at the smallest and at the largest cost weight."
)


def scorecard(results: pd.DataFrame, *, grid: Sequence[float] | None = None) -> tuple[list[str], list[list[str]], str]:
    """(header, lines, note) for the results of one cell; methods are ordered by kind, then from best to worst.

    Args:
        results: frame in the schema of COLUMNS and ``kind``: regret, rci, share:<model> and the whole-curve metrics.
        grid: cost weights; None takes those that tables show.

    Raises:
        InputError: there are no rows of regret.

    Example:
        >>> from jaxroute.report.results import example
        >>> header, lines, _ = scorecard(example())
        >>> header
        ['method', 'mean regret', 'to plug_in_ridge', 'to best_single', 'most used at 0', 'most used at 1']
        >>> lines[0]
        ['mine', '10.00±2.48', '-3.00 [-3.00, -3.00]', '-11.00 [-11.00, -11.00]', 'large 60%, small 40%',
         'small 70%, large 30%']
    """
    grid = table_weights(results, "regret") if grid is None else grid
    of = kinds(results)
    order = ranked(summarise(results, "regret", grid=grid), "regret", of)
    opponents = [m for m in (best_plug_in(order, of), "best_single") if m in order]
    metrics = set(results["metric"])
    means = _whole(summarise(results, "regret", grid=grid))
    regret = {m: summarise(results, "regret", against=m, grid=grid) for m in opponents}
    curve = {m: _whole(summarise(results, m)) for m in CURVE if m in metrics}
    collapse = summarise(results, "rci") if "rci" in metrics else None
    shares = _shares(results)
    ends = (grid[0], grid[-1]) if len(shares) else ()
    header = ["method", "mean regret", *(f"to {m}" for m in opponents), *(_title(m) for m in curve)]
    header += [f"RCI {w:g}" for w in grid] if collapse is not None else []
    header += [f"most used at {w:g}" for w in ends]
    lines = []
    for method in order:
        line = [method, interval_cell(means.get(method), "regret").text]
        line += ["-" if m == method else _difference(_whole(regret[m]).get(method)) for m in opponents]
        line += [interval_cell(curve[m].get(method), m).text for m in curve]
        if collapse is not None:
            mine = collapse[collapse["method"] == method].set_index("cost_weight")["mean"]
            line += [f"{100 * mine.get(w, np.nan):.0f}" for w in grid]
        line += [_most_used(shares, method, w) for w in ends]
        lines.append(line)
    return header, lines, f"{NOTE} {_seeds(results)}"


def scorecard_markdown(results: pd.DataFrame, *, grid: Sequence[float] | None = None) -> str:
    """The scorecard for README files.

    Example:
        >>> from jaxroute.report.results import example
        >>> print(scorecard_markdown(example()).splitlines()[2])
        | **Learned routers** |  |  |  |  |  |
    """
    (header, lines, note), of = scorecard(results, grid=grid), kinds(results)
    body: list[Sequence[str]] = []
    for title, members in grouped(lines, of):
        body.append([f"**{title}**", *[""] * (len(header) - 1)])
        body += [[markdown_name(line[0]), *line[1:]] for line in members]
    return f"{markdown_rows(header, body)}\n\n{note}\n"


def print_scorecard(results: pd.DataFrame, *, console: Console | None = None) -> None:
    """Print the curve metrics and RCI, as means over seeds: what fits into a line and no other table has.

    Example:
        >>> from jaxroute.report.results import example
        >>> from rich.console import Console
        >>> peaks = example()[example()["metric"] == "quality"].assign(metric="peak", cost_weight=float("nan"))
        >>> peaks = pd.concat([example(), peaks.drop_duplicates(["method", "seed"])])
        >>> print_scorecard(peaks, console=Console(width=100, color_system=None))
         method peak ...
    """
    if console is None:
        console = standard_console(CONSOLE_WIDTH)
    header, lines, _ = scorecard(results)
    kept = [
        i for i, title in enumerate(header) if title == "method" or title.startswith(("nAUC", "QNC", "peak", "RCI"))
    ]
    if len(kept) == 1:
        return
    body = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for i in kept:
        body.add_column(header[i], justify="left" if i == 0 else "right", no_wrap=i > 0, overflow="fold")
    for line in lines:
        body.add_row(*(cell(line[i].split("±")[0]) for i in kept))
    console.print(body)
    console.print(cell(f"Peak quality is in points. {CURVES} {_seeds(results)}", style="dim"))


def _seeds(results: pd.DataFrame) -> str:
    count = summarise(results, "regret")["seeds"].max()
    return f"{count} seed{'s' if count != 1 else ''}."


def _title(metric: str) -> str:
    return {"nauc": "nAUC", "qnc": "QNC"}.get(metric, metric)


def _whole(summary: pd.DataFrame) -> dict[str, pd.Series]:
    return {row["method"]: row for _, row in summary[summary["cost_weight"].isna()].iterrows()}


def _difference(row: pd.Series | None) -> str:
    if row is None or np.isnan(row["difference"]):
        return "-"
    text = f"{100 * row['difference']:+.2f}"
    low, high = 100 * row["difference_low"], 100 * row["difference_high"]
    return text if np.isnan(low) else f"{text} [{low:+.2f}, {high:+.2f}]"


def _shares(results: pd.DataFrame) -> pd.DataFrame:
    rows = results[results["metric"].str.startswith("share:")]
    rows = rows.assign(model=rows["metric"].str.removeprefix("share:"), cost_weight=rows["cost_weight"].round(6))
    return rows.groupby(["method", "cost_weight", "model"])["value"].mean().rename("share").reset_index()


def _most_used(shares: pd.DataFrame, method: str, weight: float) -> str:
    mine = shares[(shares["method"] == method) & np.isclose(shares["cost_weight"], weight)]
    top = mine.nlargest(MOST_USED, "share")
    return ", ".join(f"{m} {100 * s:.0f}%" for m, s in zip(top["model"], top["share"], strict=True) if s >= 0.005)
