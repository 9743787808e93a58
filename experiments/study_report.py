"""What the study found: tests of the recommended recipe in every cell, tables, figures, a page. Host side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtr

from experiments import storage, study_figures
from experiments.study_cells import FIRST
from jaxroute import report
from jaxroute.report.summary import RECOMMENDED, student_interval

HALF_POINT = 0.25
ASIDE = ("control", "capacity", "clip")
"""Factors in whose cells the recipe is not compared: see ``differences``."""
TABLE_ORDER = ("synthetic", "routerbench", "bbh", "mmlu-pro", "routellm", "paretobandit")
Missing = Sequence[tuple[str, str, str, str]]


def labelled(results: pd.DataFrame) -> pd.DataFrame:
    """The results with columns factor and level, regrets in points."""
    about = {text: json.loads(text) for text in results["hyperparameters"].unique()}
    return results.assign(
        factor=results["hyperparameters"].map(lambda t: about[t]["factor"]),
        level=results["hyperparameters"].map(lambda t: about[t]["level"]),
        value=results["value"].astype(float) * np.where(results["metric"] == study_figures.OVERLAP, 1.0, 100.0),
    )


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean regrets of the cells in which the recipe is compared: neither ASIDE nor with the FIRST recipe's stack."""
    first = (rows["factor"] == FIRST[0]) & (rows["level"] == FIRST[1])
    return rows[(rows["metric"] == "mean_regret") & ~rows["factor"].isin(ASIDE) & ~first]


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """The recipe against every baseline in every cell: paired over seeds, Holm-corrected over all of them.

        t = mean_s(d_s) / (sd(d) / sqrt(S)),  d_s = mean regret of the recipe - of the baseline, seed s

    Ceilings see what no log holds, and the shuffled control is a test of its own: neither is a baseline here. Nor are
    routers that were made small, or whose utilities were clipped otherwise: the recipe is the centre's there.

    Returns:
        One row per (dataset, factor, level, method): seeds, difference, low, high (95% Student-t, points; below 0
        the recipe is better), p (two-sided) and holm (p after Holm's correction).

    Reference: Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    mean = compared(rows)
    wide = mean.pivot_table(index=["dataset", "factor", "level", "seed"], columns="method", values="value")
    found = []
    for (dataset, factor, level), cell in wide.groupby(level=["dataset", "factor", "level"], sort=False):
        for method in cell.columns.drop(RECOMMENDED):
            if report.kind(method) == "ceiling" or cell[method].isna().all():
                continue
            gap = (cell[RECOMMENDED] - cell[method]).dropna().to_numpy()
            difference, low, high = student_interval(gap)
            found.append((dataset, factor, level, method, len(gap), difference, low, high, two_sided(gap)))
    columns = ["dataset", "factor", "level", "method", "seeds", "difference", "low", "high", "p"]
    frame = pd.DataFrame(found, columns=columns)
    return frame.assign(holm=holm(frame["p"].to_numpy()))


def two_sided(gap: np.ndarray) -> float:
    """p of a paired t test that the mean is 0; 1 where nothing varies about 0, NaN for one seed."""
    if len(gap) < 2:
        return float("nan")
    error = gap.std(ddof=1) / np.sqrt(len(gap))
    if error == 0:
        return 1.0 if gap.mean() == 0 else 0.0
    return float(2 * stdtr(len(gap) - 1, -abs(gap.mean()) / error))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down p values.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    raised = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    return np.minimum(raised, 1.0)[np.argsort(order)]


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """The recipe against every baseline per table: mean over the cells that have both, then paired over seeds."""
    mean = compared(rows)
    wide = mean.pivot_table(index=["dataset", "factor", "level", "seed"], columns="method", values="value")
    found = []
    for dataset, cell in wide.groupby(level="dataset", sort=False):
        for method in cell.columns.drop(RECOMMENDED):
            if report.kind(method) == "ceiling" or cell[method].isna().all():
                continue
            gap = (cell[RECOMMENDED] - cell[method]).dropna()
            per_seed = gap.groupby(level="seed").mean()
            found.append((dataset, method, gap.groupby(level=["factor", "level"]).ngroups, *student_interval(per_seed)))
    return pd.DataFrame(found, columns=["dataset", "method", "cells", "difference", "low", "high"])


def gap_closed(rows: pd.DataFrame) -> pd.DataFrame:
    """Per cell: how much of the way from a stacked plug-in to its full-feedback ceiling the recipe goes.

        (start - recommended) / (start - ceiling)   of mean regrets over seeds

    At the centre and with a shadow beside it, both ends are the first recipe's: the stack before the Gaussian
    process, without a shadow. Elsewhere they are the cell's own stack and its ceiling; a table whose first recipe
    was not run has those of the centre instead.
    """
    mean = rows[rows["metric"] == "mean_regret"]
    names = ["plug_in_stack", RECOMMENDED, "plug_in_stack_full"]
    if not set(names) <= set(mean["method"]):
        return pd.DataFrame()
    wide = mean[mean["method"].isin(names)].pivot_table(
        index=["dataset", "factor", "level"], columns="method", values="value"
    )
    wide = wide.dropna()[names].reset_index()
    found = wide.rename(columns={"plug_in_stack": "start", "plug_in_stack_full": "ceiling"})
    for factor, level, moved in (("centre", "", ("shadow",)), (*FIRST, ("centre", "shadow"))):
        other = found[(found["factor"] == factor) & (found["level"] == level)].set_index("dataset")
        here = found["factor"].isin(moved) & found["dataset"].isin(other.index)
        for end in ("start", "ceiling"):
            found[end] = found[end].where(~here, found["dataset"].map(other[end]))
    gap = found["start"] - found["ceiling"]
    return found.assign(stack=wide["plug_in_stack"], gap=gap, closed=(found["start"] - found[RECOMMENDED]) / gap)


def share_closed(closed: pd.DataFrame, factor: str, level: str) -> tuple[float, int]:
    """Share of the gap closed over the real tables together, and how many they are."""
    real = closed[(closed["factor"] == factor) & (closed["level"] == level) & (closed["dataset"] != "synthetic")]
    if real.empty:
        return float("nan"), 0
    return float((real["start"] - real[RECOMMENDED]).sum() / real["gap"].sum()), len(real)


def control(rows: pd.DataFrame) -> pd.DataFrame:
    """Methods that beat best single where answers were shuffled over prompts: nothing may, beyond chance."""
    mean = rows[(rows["metric"] == "mean_regret") & (rows["factor"] == "control")]
    found = []
    for dataset, cell in mean.groupby("dataset", sort=False):
        wide = cell.pivot(index="seed", columns="method", values="value")
        for method in wide.columns:
            if report.kind(method) != "ceiling" and method not in ("best_single", "random"):
                # The best single model of the full table: that from the log may itself be the wrong one.
                gap = (wide[method] - wide["best_single_full"]).to_numpy()
                found.append((dataset, method, *student_interval(gap), two_sided(gap)))
    return pd.DataFrame(found, columns=["dataset", "method", "difference", "low", "high", "p"])


def equal_spend(rows: pd.DataFrame) -> pd.DataFrame:
    """What a shadow's answers buy against as many more log rows, per table: mean regrets and the paired difference.

    gain: regret with more log rows minus regret with the shadow, for the recipe; above 0 the shadow is worth more.
    """
    mean = rows[(rows["metric"] == "mean_regret") & (rows["method"] == RECOMMENDED)]
    mean = mean.set_index(["dataset", "seed"])
    found = []
    for dataset in mean.loc[mean["factor"] == "equal spend"].index.unique("dataset"):
        mine = mean.loc[dataset]
        level = mine.loc[mine["factor"] == "equal spend", "level"].iloc[0]
        size = level.removeprefix("shadow ").split()[0]
        parts = [("centre", ""), ("shadow", size), ("equal spend", level)]
        alone, shadow, more = (mine.loc[(mine["factor"] == f) & (mine["level"] == x), "value"] for f, x in parts)
        if len(shadow):
            gain = student_interval((more - shadow).dropna().to_numpy())
            found.append((dataset, size, alone.mean(), shadow.mean(), more.mean(), *gain))
    return pd.DataFrame(found, columns=["dataset", "shadow", "log", "log + shadow", "more log", "gain", "low", "high"])


def centre_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean regret at the centre, methods against tables, as text with 95% intervals over seeds."""
    mean = rows[(rows["metric"] == "mean_regret") & (rows["factor"] == "centre")]
    cells = mean.groupby(["method", "dataset"])["value"].apply(lambda v: student_interval(v.to_numpy()))
    text = cells.map(lambda x: f"{x[0]:.2f} ± {x[2] - x[0]:.2f}").unstack("dataset")
    order = mean.groupby("method")["value"].mean().sort_values().index
    tables = [name for name in TABLE_ORDER if name in text.columns]
    return text.loc[order, tables].fillna("-")


def cell_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: the recipe beside best single, the stack, the best baseline of the cell and the ceiling."""
    mean = rows[rows["metric"] == "mean_regret"].groupby(["dataset", "factor", "level", "method"], sort=False)["value"]
    wide = mean.mean().unstack("method")
    baselines = [m for m in wide.columns if report.kind(m) != "ceiling" and m != RECOMMENDED]
    best = wide[baselines].idxmin(axis=1)
    found = pd.DataFrame(
        {
            "recommended": wide[RECOMMENDED],
            "best single": wide.get("best_single"),
            "stack": wide.get("plug_in_stack"),
            "best baseline": wide[baselines].min(axis=1),
            "which": best,
            "ceiling": wide.get("plug_in_stack_full"),
        }
    )
    numbers = found.columns.drop("which")
    found[numbers] = found[numbers].map(lambda x: "-" if pd.isna(x) else f"{x:.2f}")
    return found.reset_index()


def markdown(frame: pd.DataFrame, *, index: bool = False) -> str:
    """A Markdown table."""
    if index:
        frame = frame.reset_index()
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + "---|" * len(frame.columns)]
    lines += ["| " + " | ".join(_text(x) for x in row) + " |" for row in frame.itertuples(index=False)]
    return "\n".join(lines)


def _text(x: object) -> str:
    return f"{x:.3g}" if isinstance(x, float) else str(x)


def verdict(rows: pd.DataFrame) -> str:
    """The aims, and what was reached: plain sentences and two tables."""
    tests, per_table, closed, null = differences(rows), pooled(rows), gap_closed(rows), control(rows)
    worse, better = tests[tests["difference"] > 0], tests[tests["difference"] < 0]
    cells = tests[["dataset", "factor", "level"]].drop_duplicates()
    lines = [
        "## Does the recommended recipe ever lose?",
        f"{len(tests)} comparisons of the recipe with a baseline in {len(cells)} cells, {tests['seeds'].max()} seeds "
        f"each. After Holm's correction it is significantly worse in {int((worse['holm'] < 0.05).sum())} and better in "
        f"{int((better['holm'] < 0.05).sum())}; uncorrected, worse in {int((worse['p'] < 0.05).sum())} and better in "
        f"{int((better['p'] < 0.05).sum())}. A seed is a draw of split, log and initialisation on one table: "
        "intervals are conditional on the table.",
    ]
    lost = worse[worse["p"] < 0.05].sort_values("difference", ascending=False)
    if len(lost):
        lines += ["Where it lost (5%, uncorrected), points:", markdown(lost.head(20).drop(columns=["seeds"]))]
    lines += [
        "## Pooled over the cells of a table",
        f"Recipe minus baseline, points, mean over cells, 95% interval over seeds. The aim: below 0 everywhere, and "
        f"the upper bound below {HALF_POINT}. Reached against "
        f"{int((per_table['high'] < HALF_POINT).sum())} of {len(per_table)} (bound), "
        f"{int((per_table['difference'] < 0).sum())} (mean).",
        markdown(
            per_table.assign(
                text=[f"{d:+.2f} [{low:+.2f}, {high:+.2f}]" for d, low, high in per_table.iloc[:, 3:].to_numpy()]
            )
            .pivot(index="method", columns="dataset", values="text")
            .fillna("-")
            .reindex(columns=[t for t in TABLE_ORDER if t in set(per_table["dataset"])]),
            index=True,
        ),
    ]
    if len(closed):
        lines += ["## How much of the gap to full feedback is closed"]
        for factor, level, what in (("centre", "", "From the log alone"), ("shadow", "250", "With 250 shadow prompts")):
            share, tables = share_closed(closed, factor, level)
            if tables:
                lines += [
                    f"{what}, over {tables} real tables: {share:.0%} of the gap between the first recipe (the log's "
                    "stacked plug-in before the Gaussian process, where that was run) and the same with full feedback."
                ]
        lines += [markdown(closed.round(2))]
    spent = equal_spend(rows)
    if len(spent):
        lines += [
            "## A shadow sample, or as many answers more in the log",
            "Mean regret of the recipe in points: with the centre's log, with it and a shadow of so many prompts, "
            "and with as many more log rows as the shadow has answers (answers, not dollars: the shadow's are spread "
            "evenly over the models). gain: of the shadow over the rows, 95% interval over seeds. Only tables with "
            "enough rows.",
            markdown(spent.round(2)),
        ]
    if len(null):
        beat = null[(null["difference"] < 0) & (holm(null["p"].to_numpy()) < 0.05)]
        lines += [
            "## Control: answers shuffled over prompts",
            f"{len(beat)} of {len(null)} methods beat the best single model there (Holm-corrected 5%); none may.",
        ]
    return "\n\n".join(lines)


def write(folder: Path, results: pd.DataFrame, missing: Missing) -> str:
    """study.md, figures and report.html; returns the text of study.md."""
    rows = labelled(results)
    parts = ["# The study", verdict(rows), "## The centre: mean regret, points, ± 95%"]
    parts += [
        markdown(centre_table(rows), index=True),
        "## Every cell: mean regret, points",
        markdown(cell_table(rows)),
    ]
    if missing:
        parts += ["## Cells not run", "\n".join(f"- {t}, {f} {level}: {why}" for t, f, level, why in missing)]
    text = "\n\n".join(parts) + "\n"
    drawings = study_figures.draw(rows)
    report.write_figures(folder, drawings)
    storage.write_text(folder / "study.md", text)
    centre = results[results["hyperparameters"].isin(rows.loc[rows["factor"] == "centre", "hyperparameters"].unique())]
    notes = [line for line in verdict(rows).split("\n\n") if not line.startswith(("#", "|"))]
    notes += [f"not run: {t}, {f} {level}: {why}" for t, f, level, why in missing]
    report.write_html(folder, centre, {"title": "the study", "notes": notes}, drawings)
    return text
