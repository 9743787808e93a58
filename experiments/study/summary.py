"""The study in short, for experiments/README.md and README.md: every number and every verdict comes from the results.

Frames of rows come from `study.report.labelled`, as in `study.significance`. Host side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from experiments import methods, storage
from experiments.study import gap as study_gap
from experiments.study import significance as study_tests
from experiments.study.comparisons import ELSE, LOGS, RECIPE, SMALL, Line
from experiments.study.contrasts import (
    BEST_LEARNED,
    BEST_PLUG_IN,
    CENTRE,
    REAL,
    Contrast,
    contrasts,
    end_to_end,
    trained,
    within,
)
from experiments.study.design import SYNTHETIC
from experiments.study.tables import markdown
from jaxroute.report.results import RECOMMENDED
from jaxroute.types import InputError

LEVEL = "level"
SEVERAL = 5
"""Routers trained end to end, at least, in the cells that the summary shows."""
BEGIN, END = "<!-- make study PUBLISH=1 writes from here -->", "<!-- to here -->"
HEADLINES = ("the centre", "log of weak router 6", "log of cost-biased 2", "500 rows")
"""Of the comparisons WHERE, those on the first page."""
SHADOWS = ("", "50", "100", "250", "500")


class Found(NamedTuple):
    """A difference in points, 95% interval over seeds; below 0 the left is better. tables: how many real ones."""

    difference: float
    low: float
    high: float
    tables: int = 1

    @property
    def verdict(self) -> str:
        """Whether the left is "better" or "worse", where the interval excludes 0; else LEVEL."""
        return "better" if self.high < 0 else "worse" if self.low > 0 else LEVEL


def said(found: Found) -> str:
    """A difference in words: the sign says who is ahead.

    >>> said(Found(-0.52, -0.96, -0.08)), said(Found(0.31, 0.07, 0.55)), said(Found(0.05, -0.3, 0.4))
    ('0.52 better (0.08 to 0.96)', '0.31 worse (0.07 to 0.55)', 'level (0.05 worse, -0.30 to 0.40)')
    """
    worse = found.difference > 0
    size, low, high = found[:3] if worse else (-found.difference, -found.high, -found.low)
    word = "worse" if worse else "better"
    if found.verdict == LEVEL:
        return f"{LEVEL} ({size:.2f} {word}, {low:.2f} to {high:.2f})"
    return f"{size:.2f} {word} ({low:.2f} to {high:.2f})"


def find(rows: pd.DataFrame, listed: Iterable[Contrast]) -> dict[tuple[str, str], Found]:
    """Every contrast by its name and dataset, the real tables together among these."""
    frame = contrasts(rows, listed)
    values = frame[["difference", "low", "high", "tables"]].itertuples(index=False)
    return {
        place: Found(*value)
        for place, value in zip(zip(frame["contrast"], frame["dataset"], strict=True), values, strict=True)
    }


def table(rows: pd.DataFrame, lines: Sequence[Line], first: str) -> str:
    """A line each: over the real tables together (how many, where not all) and on the synthetic problem."""
    found = find(rows, [contrast for _, contrast in lines])
    most = rows.loc[rows["dataset"] != SYNTHETIC, "dataset"].nunique()
    shown = []
    for words, contrast in lines:
        real, made = (found.get((contrast.name, dataset)) for dataset in (REAL, SYNTHETIC))
        if real or made:
            few = f", {real.tables} tables" if real and real.tables < most else ""
            shown.append((words + few, said(real) if real else "-", said(made) if made else "-"))
    return markdown(pd.DataFrame(shown, columns=[first, REAL, SYNTHETIC])) if shown else ""


def learned(rows: pd.DataFrame, *, least: int = 1) -> tuple[str, str]:
    """(sentence, table) on the best router trained end to end against the best plug-in, cell by cell.

    Args:
        least: the table leaves out cells in which fewer such routers were trained; the sentence counts all.
    """
    pairs = [(BEST_LEARNED, BEST_PLUG_IN), (RECOMMENDED, BEST_LEARNED)]
    listed = [end_to_end(rows, *pair) for pair in pairs]
    found = find(rows, [contrast for part in listed for contrast in part])
    routers = trained(rows).groupby(["factor", "level"])["method"].nunique()

    def standing(several: bool) -> str:
        """On both kinds of tables: in how many cells with several such routers, or with few, the best is ahead."""
        parts = []
        for where, dataset in (("the real tables", REAL), ("the synthetic problem", SYNTHETIC)):
            there = {a: found[a.name, dataset].verdict for a in listed[0] if (a.name, dataset) in found}
            mine = [v for a, v in there.items() if (routers[a.left.factor, a.left.level] >= SEVERAL) == several]
            if mine:
                ahead, behind = mine.count("better"), mine.count("worse")
                parts.append(f"on {where} ahead in {ahead} of {len(mine)}, behind in {behind}")
        return "; ".join(parts)

    cells = []
    for ahead, recipe in zip(*listed, strict=True):
        real, less = found.get((ahead.name, REAL)), found.get((recipe.name, REAL))
        if real and less:
            cell = (ahead.left.factor, ahead.left.level)
            cells.append((ahead.left.cell, int(routers[cell]), said(real), said(less)))
    tested = (
        (f"In the cells with {SEVERAL} or more such routers it is", True),
        ("In the others, where the strongest may be missing, it is", False),
    )
    parts = [f"{said_of} {counts}." for said_of, several in tested if (counts := standing(several))]
    sentence = (
        "The best router trained end to end, against the best plug-in of the same cell (95% intervals, not corrected). "
        + " ".join(parts)
    )
    columns = ["cell", "routers trained", "best end to end against best plug-in", "recipe against best end to end"]
    shown = [cell for cell in cells if cell[1] >= least]
    return sentence, markdown(pd.DataFrame(shown, columns=columns)) if shown else ""


def lost(rows: pd.DataFrame) -> str:
    """How often the recipe is worse and better than a baseline, where it is compared and on new draws."""
    parts, compared = [], study_tests.differences(rows)
    cells = len(compared[study_tests.CELL].drop_duplicates()) if len(compared) else 0
    for tests, where in (
        (compared, f"in the {cells} cells that compare it"),
        (study_tests.confirmation(rows)[0], "on draws that no choice had used"),
    ):
        if len(tests):
            (worse, better), (alone, _) = study_tests.counts(tests, "holm"), study_tests.counts(tests, "p")
            parts.append(
                f"{where}, it is significantly worse in {worse} and better in {better} of {len(tests):,} comparisons "
                f"with a baseline after Holm's correction, and worse in {alone} uncorrected"
            )
    sentence = "; ".join(parts)
    return f"{sentence[:1].upper()}{sentence[1:]}." if parts else ""


def closed(rows: pd.DataFrame) -> str:
    """How much of the gap to full feedback is closed from the log, and with shadow prompts beside it."""
    shown, ends = [], study_gap.ends(rows)
    for size in SHADOWS:
        place = ("shadow", size) if size else CENTRE
        shares = [study_gap.share_closed(ends, *place, **more) for more in ({}, {"end": "stack"}, {"start": "stack"})]
        if shares[0].tables:
            shown.append((f"{size} shadow prompts" if size else "the log alone", *map(str, shares)))
    columns = ["", "recipe, of the gap from the first recipe", "today's stacked plug-in", "recipe, of what that leaves"]
    return markdown(pd.DataFrame(shown, columns=columns)) if shown else ""


def section(rows: pd.DataFrame) -> str:
    """The study's section of experiments/README.md."""
    sentence, cells = learned(rows, least=SEVERAL)
    seeds = int(rows.groupby(study_tests.CELL)["seed"].nunique().max())
    best = " ".join(f"{name}: {said(f)}." for name, f in _singles(rows))
    parts = [
        f"Regret in points, 95% intervals over {seeds} seeds. *Better* means less regret; "
        f"*{LEVEL}* means that the interval contains 0. {REAL.capitalize()}: their mean, seed by seed.",
        f"**1. End to end against predicting first.** {sentence} The best is the best on the other seeds. Cells with "
        f"{SEVERAL} or more:",
        cells,
        _picture("logger", "Mean regret by logging policy, a panel per table"),
        "**2. What end-to-end training learns from.** The first named against the second:",
        table(rows, SMALL, "routers trained end to end"),
        _full(rows),
        _picture("outcome-model", "Mean regret by outcome model, a panel per table"),
        f"**3. Does the recipe lose?** {lost(rows)} This does not prove that it never loses: with so many comparisons "
        "the correction asks for a large difference. The recipe against its own stacked plug-in:",
        table(rows, RECIPE, "where"),
        f"At the centre, against the best single model of the log: {best}",
        "**4. The gap to full feedback.** It starts at the first recipe, the stacked plug-in before the Gaussian "
        "process:",
        closed(rows),
        _picture("shadow", "Mean regret by prompts that every model answered, a panel per table"),
        "**5. Which logs are worth most.** The first named against the second:",
        table(rows, LOGS, "logs"),
        _pictures(
            log_size="log size", logger_500_rows="500 rows", overlap="overlap", propensity="propensities", clip="clip"
        ),
        "**6. Cost weights, encoders, controls.** The first named against the second:",
        table(rows, ELSE, "compared"),
        _pictures(
            cost_weights="cost weights", encoder="encoder", models="models", split="new tasks", capacity="capacity"
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def headlines(rows: pd.DataFrame) -> str:
    """The study's findings on the first page, losses first."""
    found = find(rows, [contrast for _, contrast in RECIPE])
    over = {name: found[contrast.name, REAL] for name, contrast in RECIPE if (contrast.name, REAL) in found}
    against = "; ".join(f"{name}: {said(over[name])}" for name in HEADLINES if name in over)
    ends = study_gap.ends(rows)
    alone, shadow = (study_gap.share_closed(ends, *place) for place in (CENTRE, ("shadow", "250")))
    stack = study_gap.share_closed(ends, *CENTRE, end="stack")
    lines = [
        f"**Learning the decision end to end, against predicting first and choosing afterwards.** {learned(rows)[0]}",
        f"**The recommended recipe.** {lost(rows)} Against its simplest form, the stacked plug-in, in points of regret "
        f"over the real tables: {against}.",
        f"**A shadow sample of 250 prompts that every model answered closes {shadow} of the gap between the "
        f"first recipe and full feedback.** The log alone closes {alone} with the recipe and {stack} "
        "with the stacked plug-in.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _singles(rows: pd.DataFrame) -> list[tuple[str, Found]]:
    contrast = within(RECOMMENDED, "best_single")
    found = find(rows, [contrast])
    return [(dataset, f) for (name, dataset), f in found.items() if name == contrast.name]


def _full(rows: pd.DataFrame) -> str:
    """The ceilings at the centre in order of their mean regret over the real tables."""
    mean = rows[(rows["metric"] == "mean_regret") & (rows["factor"] == "centre") & (rows["dataset"] != SYNTHETIC)]
    full = mean[mean["method"].isin([name for name in mean["method"].unique() if methods.get(name).full])]
    order = full.groupby("method")["value"].mean().sort_values()
    named = ", ".join(f"`{name}` {value:.2f}" for name, value in order.items())
    return f"With every model's answer to learn from, mean regret over the real tables: {named}." if named else ""


def _picture(name: str, text: str) -> str:
    return f"![{text}](../docs/study-{name}.svg)"


def _pictures(**named: str) -> str:
    links = [f"[{text}](../docs/study-{name.replace('_', '-')}.svg)" for name, text in named.items()]
    return f"Figures: {', '.join(links)}."


def placed(page: str, text: str, path: Path) -> str:
    """The page with ``text`` between BEGIN and END.

    Raises:
        InputError: the page has not both marks, once and in this order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in before + after:
        raise InputError(f"{path}: there must be one {BEGIN} and one {END} after it")
    return f"{before}{begin}\n{text}\n{end}{after}"


def write(root: Path, rows: pd.DataFrame) -> None:
    """Write the section and the headlines into a checkout's pages."""
    pages = {root / "experiments" / "README.md": section(rows), root / "README.md": headlines(rows)}
    ready = {path: placed(path.read_text("utf-8"), text, path) for path, text in pages.items()}
    for path, text in ready.items():
        storage.write_text(path, text)
