"""What the study found: the page's words, its tables and its figures. Statistics: `study.significance`. Host side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import methods, storage
from experiments.study import contrasts as study_contrasts
from experiments.study import figures as study_figures
from experiments.study import gap as study_gap
from experiments.study import significance as study_tests
from experiments.study import summary as study_summary
from experiments.study.tables import by_table, cell_table, centre_table, interval, intervals, markdown
from jaxroute import report
from jaxroute.report.results import RECOMMENDED

HALF_POINT = 0.25
PUBLISHED, UNFINISHED = "study.parquet", "study-unfinished.parquet"
"""In experiments/results: the results of the last whole study, and those of one that is not finished yet."""
Missing = Sequence[tuple[str, str, str, str]]
Paragraphs = list[str]
"""Of a section, headline first. One that ends in a colon introduces the table that follows."""


def labelled(results: pd.DataFrame) -> pd.DataFrame:
    """The results with columns factor and level in place of ``hyperparameters``, regrets in points."""
    cell = {text: json.loads(text) for text in results["hyperparameters"].unique()}
    return results.drop(columns="hyperparameters").assign(
        factor=results["hyperparameters"].map({text: about["factor"] for text, about in cell.items()}),
        level=results["hyperparameters"].map({text: about["level"] for text, about in cell.items()}),
        value=results["value"].astype(float) * np.where(results["metric"] == study_figures.OVERLAP, 1.0, 100.0),
    )


def ever_lose(rows: pd.DataFrame) -> Paragraphs:
    tests = study_tests.differences(rows)
    cells, seeds = tests[study_tests.CELL].drop_duplicates(), int(tests["seeds"].max())
    (worse, better), (worse_alone, better_alone) = study_tests.counts(tests, "holm"), study_tests.counts(tests, "p")
    lines = [
        "## Does the recommended recipe ever lose?",
        f"{len(tests)} comparisons of the recipe with a baseline in {len(cells)} cells, {seeds} seeds each. After "
        f"Holm's correction it is significantly worse in {worse} and better in {better}; uncorrected, worse in "
        f"{worse_alone} and better in {better_alone}. A seed is a draw of split, log and initialisation on one table: "
        "intervals are conditional on the table.",
        f"With so many comparisons and {seeds - 1} degrees of freedom the first step of Holm's correction asks for "
        f"|t| >= {study_tests.first_step(len(tests), seeds):.1f} (one comparison alone: "
        f"{study_tests.first_step(1, seeds):.1f}): a loss that varies more over seeds passes unseen, so this is no "
        "proof that the recipe never loses. Within every table by itself the correction asks for less "
        "(smallest t: of its first step):",
        markdown(study_tests.families(tests)),
        "That count is padded with opponents that are easily beaten. Against each of those that come close, by itself: "
        "cells in which the recipe is better or worse (interval excludes 0; and after Holm's correction over that "
        "opponent's cells), and cells in which the interval rules out that it loses more than so many points:",
        markdown(study_tests.against(tests)),
        f"Not compared: cells of the factors {', '.join(study_tests.ASIDE)}. The control is a test of its own; where "
        "routers are made small or their utilities are clipped otherwise, the recipe is the centre's and would be "
        "counted again; made of another outcome model it is not the recipe; and new draws confirm what was chosen "
        "without them: families of their own.",
        *_lost(tests, "Where it lost (5%, uncorrected), points:"),
    ]
    other = study_tests.other_models(rows)
    if len(other):
        worse, better = study_tests.counts(other, "holm")
        lines += [
            f"Made of other outcome models ({', '.join(other['level'].unique())}), which is not the recipe: "
            f"{len(other)} comparisons with what else learns from the same outcome model. After Holm's correction it "
            f"is significantly worse in {worse} and better in {better}.",
            *_lost(other, "Where it lost so (5%, uncorrected), points:"),
        ]
    return lines


def _lost(tests: pd.DataFrame, words: str) -> Paragraphs:
    lost = tests[(tests["difference"] > 0) & (tests["p"] < 0.05)].sort_values("difference", ascending=False)
    return [words, markdown(lost.head(20).drop(columns=["seeds"]))] if len(lost) else []


def confirmed(rows: pd.DataFrame) -> Paragraphs:
    """Nothing where the new draws were not run."""
    new, untouched = study_tests.confirmation(rows)
    if new.empty:
        return []
    lines = [
        "## Confirmation on draws that had no part in any choice",
        "The tables are those on which the recipe was made; these draws of split, log and initialisation are "
        "not. Recipe minus baseline, points, 95% interval over seeds; * significant after Holm's correction over the "
        "comparisons of one paragraph.",
    ]
    seeds = ", ".join(map(str, study_tests.UNTOUCHED))
    for tests, what, index in (
        (new, "Seeds that were first drawn after everything was chosen", ["level", "method"]),
        (
            untouched,
            f"Seeds {seeds} of the centre, at which no choice of levels or share looked (that a Gaussian process helps "
            "was seen on seeds 0 to 9 of three tables)",
            ["method"],
        ),
    ):
        if len(tests):
            (worse, better), (worse_alone, better_alone) = (
                study_tests.counts(tests, "holm"),
                study_tests.counts(tests, "p"),
            )
            lines += [
                f"{what}: {len(tests)} comparisons, {int(tests['seeds'].max())} seeds each; after Holm's correction "
                f"worse in {worse} and better in {better}, uncorrected worse in {worse_alone} and better in "
                f"{better_alone}.",
                by_table(
                    tests,
                    index,
                    [t + "*" * bool(p < 0.05) for t, p in zip(intervals(tests), tests["holm"], strict=True)],
                ),
            ]
    return lines


def pooled(rows: pd.DataFrame) -> Paragraphs:
    per_table = study_tests.pooled(rows).sort_values("method", kind="stable")
    cells = per_table.groupby("method")["cells"].max()
    once = [f"Compared in one cell alone: {', '.join(cells.index[cells == 1])}."] if (cells == 1).any() else []
    return [
        "## Pooled over the cells of a table",
        f"Recipe minus baseline, points, mean over cells, 95% interval over seeds. The aim: below 0 everywhere, and "
        f"the upper bound below {HALF_POINT}. Reached against "
        f"{int((per_table['high'] < HALF_POINT).sum())} of {len(per_table)} (bound), "
        f"{int((per_table['difference'] < 0).sum())} (mean).",
        by_table(per_table, ["method"], intervals(per_table)),
        *once,
    ]


def paired_contrasts(rows: pd.DataFrame) -> Paragraphs:
    best, ahead = (
        study_contrasts.contrasts(rows, study_contrasts.end_to_end(rows, *sides))
        for sides in ((), (RECOMMENDED, study_contrasts.BEST_LEARNED))
    )
    parts = [study_contrasts.contrasts(rows, study_contrasts.CONTRASTS), best, ahead]
    if all(part.empty for part in parts):
        return []
    found = pd.concat([part for part in parts if len(part)], ignore_index=True)
    together = found["dataset"] == study_contrasts.REAL
    text = [t + f" ({n})" * r for t, n, r in zip(intervals(found), found["tables"], together, strict=True)]
    lines = [
        "## Paired contrasts",
        "Left minus right, paired by seed, points, 95% interval over seeds; below 0 the left is better. Real tables "
        "together: mean over those that have the cell (how many), seed by seed. No correction for their number:",
        by_table(found, ["contrast"], text),
    ]
    named = best[best["dataset"] != study_contrasts.REAL]
    if len(named):
        cells = named["contrast"].str.split(": ").str[1]
        lines += [
            f"The {study_contrasts.BEST_LEARNED} (end to end, from doubly robust utilities or a "
            f"variant of them: switched, shrunken, lower bounds) and the "
            f"{study_contrasts.BEST_PLUG_IN} (the recipe apart) are picked for every seed by the mean over the other "
            "seeds of the cell; rm_affine, which starts as the stack and mostly stays it, is neither. Most often:",
            by_table(
                named.assign(cell=cells),
                ["cell"],
                [f"{a} - {b}" for a, b in zip(named["left"], named["right"], strict=True)],
            ),
        ]
    return lines


def end_to_end(rows: pd.DataFrame) -> Paragraphs:
    sentence, cells = study_summary.learned(rows)
    return ["## End to end against plug-in, every cell", sentence, cells] if cells else []


def gap_closed(rows: pd.DataFrame) -> Paragraphs:
    closed = study_gap.gap_closed(rows)
    if closed.empty:
        return []
    lines, ends = ["## How much of the gap to full feedback is closed"], study_gap.ends(rows)
    shadows = [("shadow", size, f"With {size} shadow prompts") for size in ("50", "100", "250", "500")]
    for factor, level, what in [("centre", "", "From the log alone"), *shadows]:
        whole = study_gap.share_closed(ends, factor, level)
        if whole.tables:
            stack = study_gap.share_closed(ends, factor, level, end="stack")
            rest = study_gap.share_closed(ends, factor, level, start="stack")
            lines += [
                f"{what}, over {whole.tables} real tables: the recipe closes {whole} of the gap between the "
                "first recipe (the log's stacked plug-in before the Gaussian process, where that was run) and the same "
                f"with full feedback; today's stacked plug-in alone closes {stack}. Of what that leaves the "
                f"recipe closes {rest}. 95% intervals by a bootstrap over seeds."
            ]
    return [*lines, markdown(closed.round(2))]


def equal_spend(rows: pd.DataFrame) -> Paragraphs:
    spent = study_tests.equal_spend(rows)
    if spent.empty:
        return []
    return [
        "## A shadow sample, or as many answers more in the log",
        "Mean regret of the recipe in points: with the centre's log, with it and a shadow of so many prompts, "
        "and with as many more log rows as the shadow has answers (answers, not dollars: the shadow's are spread "
        "evenly over the models). gain: of the shadow over the rows, 95% interval over seeds. Only tables with "
        "enough rows.",
        markdown(spent.round(2)),
    ]


def control(rows: pd.DataFrame) -> Paragraphs:
    null = {name: study_tests.control(rows, name) for name in ("best_single_full", "best_single")}
    methods = len(null["best_single_full"])
    if not methods:
        return []
    better = {name: [study_tests.counts(tests, p)[1] for p in ("holm", "p")] for name, tests in null.items()}
    full, log = better["best_single_full"], better["best_single"]
    return [
        "## Control: answers shuffled over prompts",
        f"{full[0]} of {methods} methods beat the best single model of the full table there (Holm-corrected 5%; "
        f"uncorrected {full[1]}); none may. {log[0]} beat the model that the log would choose (uncorrected {log[1]}): "
        "no prompt tells anything there, so that is estimating the models' levels better, not routing.",
        markdown(
            pd.DataFrame(better, index=pd.Index(["Holm 5%", "uncorrected 5%"], name=f"better, of {methods}")),
            index=True,
        ),
    ]


def weights(rows: pd.DataFrame) -> Paragraphs:
    found = study_contrasts.across_weights(rows)
    if found.empty:
        return []
    shown = found[["dataset", "method"]].copy()
    for name, what in (("grid", "on the grid"), ("between", "between")):
        shown[what] = found[name].map("{:.2f}".format)
        columns = [f"{name}_less", f"{name}_low", f"{name}_high"]
        shown[f"{what}, less {study_contrasts.END_TO_END}"] = [interval(*x) for x in found[columns].to_numpy()]
    return [
        "## On and between the grid's cost weights",
        "Mean regret at the centre over the six cost weights that routers are trained at, and over five between them, "
        "points, and the paired difference with its 95% interval over seeds. A router that is trained per cost weight "
        "takes the nearest one between; the two means are of different weights, so compare methods, not columns:",
        markdown(shown),
    ]


def text(rows: pd.DataFrame, missing: Missing = ()) -> tuple[str, list[str]]:
    """study.md of `labelled` rows, and the sentences of it that the page shows."""
    sections = (ever_lose, confirmed, pooled, paired_contrasts, end_to_end, gap_closed, equal_spend, control, weights)
    found = [line for section in sections for line in section(rows)]
    parts = ["# The study", *found, "## The centre: mean regret, points, ± 95%", centre_table(rows)]
    parts += ["## Every cell: mean regret, points, ± 95%, intervals over seeds", markdown(cell_table(rows))]
    if missing:
        parts += ["## Cells not run", "\n".join(f"- {t}, {f} {level}: {why}" for t, f, level, why in missing)]
    notes = [line for line in found if not line.startswith(("#", "|")) and not line.endswith(":")]
    notes += [f"not run: {t}, {f} {level}: {why}" for t, f, level, why in missing]
    return "\n\n".join(parts) + "\n", notes


def write(folder: Path, results: pd.DataFrame, missing: Missing) -> str:
    """study.md, figures and report.html; returns the text of study.md."""
    rows = labelled(results)
    page, notes = text(rows, missing)
    drawings = study_figures.draw(rows)
    report.write_figures(folder, drawings)
    storage.write_text(folder / "study.md", page)
    centre = methods.with_kinds(results[(rows["factor"] == "centre").to_numpy()])
    report.write_html(folder, centre, {"title": "the study", "notes": notes}, drawings)
    return page


def publish(checkout: Path, folder: Path, results: pd.DataFrame, *, whole: bool) -> str:
    """What `write` wrote into the folder, the results and the study's words, into the pages of a checkout.

    A study that is not whole changes no page: its results are kept as UNFINISHED, from which a later one goes on.

    Returns:
        What was written, in words.
    """
    published = checkout / "experiments" / "results"
    if not whole:
        storage.write_frame(published / UNFINISHED, results)
        return f"kept in {published / UNFINISHED}; the pages are written when every cell is finished"
    study_summary.write(checkout, labelled(results))
    storage.write_frame(published / PUBLISHED, results)
    storage.write_text(published / "study.md", (folder / "study.md").read_text("utf-8"))
    for figure in sorted((folder / "figures").glob("*.svg")):
        storage.write_text(checkout / "docs" / figure.name, figure.read_text("utf-8"))
    (published / UNFINISHED).unlink(missing_ok=True)
    return f"written into the pages of {checkout}"
