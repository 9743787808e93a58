"""The study's report: tables, figures, the summary, and the pages of this repository that hold them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_rows import SEEDS, cell, interval, made_up

from experiments.study import contrasts as study_contrasts
from experiments.study import figures as study_figures
from experiments.study import report as study_report
from experiments.study import summary as study_summary
from experiments.study import tables as study_tables
from jaxroute.types import InputError


def test_tables_have_intervals_and_say_what_a_log_is_worth():
    rng = np.random.default_rng(6)
    ours, theirs = 20 + rng.standard_normal((2, SEEDS))
    methods = {"recommended": ours, "plug_in_stack": theirs, "best_single": 30, "plug_in_stack_full": 10}
    rows = pd.concat(
        [
            cell("bbh", "centre", "", methods),
            cell("bbh", "centre", "", {"recommended": 321.4}, metric=study_figures.OVERLAP),
            cell("bbh", "capacity", "linear", {"recommended": ours, "rm_softmax": 25}),
        ]
    )
    found = study_tables.cell_table(rows).set_index("factor")
    line, low_high = found.loc["centre"], interval(ours - theirs)
    half = interval(ours)[1] - ours.mean()
    assert line["recommended"] == f"{ours.mean():.2f} ± {half:.2f}"
    assert line["recommended - stack"] == study_tables.interval((ours - theirs).mean(), *low_high)
    assert line[["best single", "ceiling", "which is best", "effective rows"]].tolist() == [
        "30.00",
        "10.00",
        "plug_in_stack",
        "321",
    ]
    other = found.loc["capacity"]
    assert set(other[["stack", "recommended - stack", "best single", "ceiling", "effective rows"]]) == {"-"}
    frame = pd.DataFrame({"dataset": ["routellm", "bbh", "bbh"], "method": ["b", "b", "a"]})
    assert study_tables.by_table(frame, ["method"], ["1", "2", "3"]).splitlines() == [
        "| method | bbh | routellm |",
        "|---|---|---|",
        "| b | 2 | 1 |",
        "| a | 3 | - |",
    ]


def test_report_and_figures(tmp_path):
    text = study_report.write(tmp_path, made_up(), [("bbh", "logger", "uniform", "not run yet")])
    assert "bbh, logger uniform: not run yet" in text
    assert "routellm" in text
    assert (tmp_path / "report.html").read_text().count("data:image/svg+xml") == 2  # log size, cost weights
    drawn = study_figures.draw(study_report.labelled(made_up()))
    assert [d.name for d in drawn] == ["study-log-size", "study-cost-weights"]
    assert "bbh 500" in drawn[0].alt


def test_overlap_is_drawn_in_rows_of_a_uniform_log():
    results = made_up()
    logger = results[results["hyperparameters"].str.contains("centre")]
    about = json.dumps({"factor": "logger", "level": "uniform"})
    results = pd.concat([results, logger.assign(hyperparameters=about)])
    worth = results[results["metric"] == "mean_regret"].assign(metric=study_figures.OVERLAP)
    worth["value"] = np.where(worth["hyperparameters"] == about, 2000.0, 300.0)
    drawn = study_figures.draw(study_report.labelled(pd.concat([results, worth])))
    (figure,) = [d.figure for d in drawn if d.name == "study-overlap"]
    line = {line.get_label(): line for line in figure.axes[0].get_lines()}["recommended"]
    np.testing.assert_array_equal(line.get_xdata(), [300, 2000])
    assert 20 < np.mean(line.get_ydata()) < 40


def test_figures_order_log_sizes_and_take_rare_loggers_from_their_own_home():
    common = {"recommended": 20.0, "plug_in_stack": 21.0}
    rows = pd.concat(
        [
            cell("bbh", "centre", "", {**common, "rm_softmax": 30.0}),
            cell("bbh", "log size", "all", {**common, "rm_softmax": 28.0}),
            cell("bbh", "log size", "5000", common),
            cell("bbh", "log size", "500", {"recommended": 25.0, "plug_in_stack": 26.0}),
            cell("bbh", "logger, 500 rows", "uniform", common),
        ]
    )
    drawn = {d.name: d.figure.axes[0] for d in study_figures.draw(rows)}
    assert set(drawn) == {"study-log-size", "study-logger-500-rows"}
    texts = {name: [t.get_text() for t in axes.get_xticklabels()] for name, axes in drawn.items()}
    assert texts["study-log-size"] == ["500", "2000", "5000", "all"]
    assert texts["study-logger-500-rows"] == ["weak router\n2", "uniform"]
    lines = {c.get_label(): c.lines[0] for c in drawn["study-logger-500-rows"].containers}
    np.testing.assert_array_equal(lines["recommended"].get_ydata(), [25, 20])
    lines = {c.get_label(): c.lines[0] for c in drawn["study-log-size"].containers}
    np.testing.assert_array_equal(lines["rm_softmax"].get_ydata(), [30, 28])  # not run with 5000 rows, yet one line


@pytest.mark.slow
def test_the_pages_say_what_the_study_found():
    """`make study PUBLISH=1` wrote them: no number by hand, none of another run."""
    root = Path(__file__).parents[1]
    rows = study_report.labelled(pd.read_parquet(root / "experiments" / "results" / "study.parquet"))
    page, _, _ = (root / "experiments" / "results" / "study.md").read_text().partition("\n## Cells not run")
    assert study_report.text(rows)[0].rstrip() == page.rstrip()
    for page, text in (("experiments/README.md", study_summary.section), ("README.md", study_summary.headlines)):
        path = root / page
        assert study_summary.placed(path.read_text(), text(rows), path) == path.read_text()


def test_the_summary_in_numbers():
    rows = study_report.labelled(made_up())
    lead = study_contrasts.within("recommended", "best_single_full")
    wide = rows[(rows["metric"] == "mean_regret") & (rows["factor"] == "centre")]
    wide = wide.pivot_table(index=["dataset", "seed"], columns="method", values="value")
    gap = (wide["recommended"] - wide["best_single_full"]).groupby("seed").mean().to_numpy()  # bbh -2, routellm 0
    half = stats.t.ppf(0.975, SEEDS - 1) * gap.std(ddof=1) / np.sqrt(SEEDS)
    shown = study_summary.table(rows, [("ahead", lead)], "what").splitlines()[-1]
    assert shown == f"| ahead | {-gap.mean():.2f} better ({-gap.mean() - half:.2f} to {-gap.mean() + half:.2f}) | - |"
    assert study_summary.learned(rows)[1] == ""  # no router was trained end to end there
    assert "worse in 2 and better in" in study_summary.lost(rows)  # stack: and single_full, 1 - 1 = 0, is level
    assert study_summary.Found(-1.0, -2.0, 0.1).verdict == study_summary.LEVEL


@pytest.mark.parametrize("page", ["", "{0}", "{1} {0}", "{0} {1} {0} {1}"])
def test_a_page_without_its_two_marks_is_refused(page):
    text = page.format(study_summary.BEGIN, study_summary.END)
    with pytest.raises(InputError, match=r"README\.md: there must be one"):
        study_summary.placed(text, "new", Path("README.md"))
