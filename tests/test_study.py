"""The study: its cells, its tests against SciPy, what it reports; two small cells from end to end."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import settings, study, study_cells, study_figures, study_report
from jaxroute import report

SEEDS = 6


def made_up(seed=0):
    """Two tables, three cells; the recipe is better by one point on the first table, worse by one on the second."""
    rng = np.random.default_rng(seed)
    rows = []
    for table, lead in (("bbh", -1.0), ("routellm", 1.0)):
        for factor, level in (("centre", ""), ("log size", "500"), ("control", "shuffled answers")):
            about = json.dumps({"factor": factor, "level": level})
            base = 30 + rng.standard_normal(SEEDS)
            moved = {"recommended": lead, "plug_in_stack": 0.0, "best_single": 2.0, "plug_in_stack_full": -4.0}
            moved |= {"best_single_full": 1.0}
            for method, shift in moved.items():
                for s in range(SEEDS):
                    value = (base[s] + shift + 0.3 * rng.standard_normal()) / 100
                    common = (table, "weak_router", 2000, method, "full_table")
                    end = (s, about, "test")
                    rows.append((*common, np.nan, *end, "mean_regret", value, 0.0))
                    rows += [(*common, w, *end, "regret", value, 0.0) for w in (0.0, 1.0)]
                    rows.append((*common, 0.5, *end, "regret_between", value, 0.0))
    return pd.DataFrame(rows, columns=list(report.COLUMNS))


def test_every_cell_is_a_config_that_can_be_run():
    for full in (False, True):
        cells = study_cells.cells(Path("data"), full=full)
        for cell in cells:
            settings.check(cell.config, cell.factor)
            assert "recommended" in cell.config.methods
            assert json.loads(study_cells.describe(cell))["level"] == cell.level
        names = [(c.table, c.factor, c.level) for c in cells]
        assert len(set(names)) == len(names)
        assert len({repr(c.config) for c in cells}) == len(cells)  # no cell is another one by a second name
        assert {c.table for c in cells if c.factor == "centre"} == {t.name for t in study_cells.TABLES}
        assert all(c.config.seeds == 10 for c in cells)


def test_equal_spend_pairs_the_shadow_with_as_many_log_rows():
    rows = study_report.labelled(made_up())
    centre, moved = (rows[rows["factor"] == factor] for factor in ("centre", "log size"))
    shadow = moved.assign(factor="shadow", level="100", value=moved["value"] - 2.0)
    more = moved.assign(factor="equal spend", level="shadow 100 as log rows", value=moved["value"] - 0.5)
    found = study_report.equal_spend(pd.concat([centre, shadow, more])).set_index("dataset")
    assert list(found.index) == ["bbh", "routellm"]
    np.testing.assert_allclose(found["gain"], 1.5)
    np.testing.assert_allclose(found[["low", "high"]], 1.5)
    assert (found["shadow"] == "100").all()
    assert study_report.equal_spend(rows).empty


def test_cells_of_other_loggers_borrow_the_centres_ceilings_and_nothing_else():
    results = made_up()
    alone = results[results["hyperparameters"].str.contains("log size") & ~results["method"].str.endswith("_full")]
    about = json.dumps({"factor": "logger", "level": "uniform"})
    worth = results[results["metric"] == "mean_regret"].assign(metric="effective_sample_size", value=300.0)
    results = pd.concat([results, worth])
    alone = alone.assign(hyperparameters=about, logger="uniform", log_size=1999)
    found = study_cells.lent(pd.concat([results, alone]))
    got = found[(found["hyperparameters"] == about) & found["method"].str.endswith("_full")]
    centre = results[results["hyperparameters"].str.contains("centre") & results["method"].str.endswith("_full")]
    centre = centre[centre["metric"] != "effective_sample_size"]  # that is of the log, not of the ceilings
    assert set(got["logger"]) == {"uniform"}
    assert set(got["log_size"]) == {1999}
    changed = ["hyperparameters", "logger", "log_size"]
    pd.testing.assert_frame_equal(
        got.drop(columns=changed).reset_index(drop=True), centre.drop(columns=changed).reset_index(drop=True)
    )
    assert len(found) == len(results) + len(alone) + len(centre)
    again = study_cells.lent(found)
    assert len(again) == len(found)  # what a cell has of its own stays


def test_differences_match_scipy():
    rows = study_report.labelled(made_up())
    found = study_report.differences(rows).set_index(["dataset", "factor", "level", "method"])
    assert set(found.index.get_level_values("method")) == {"plug_in_stack", "best_single"}
    assert set(found.index.get_level_values("factor")) == {"centre", "log size"}
    mean = rows[rows["metric"] == "mean_regret"]
    for (table, factor, level, method), line in found.iterrows():
        cell = mean[(mean["dataset"] == table) & (mean["factor"] == factor) & (mean["level"] == level)]
        ours, theirs = (cell[cell["method"] == m]["value"].to_numpy() for m in ("recommended", method))
        test = stats.ttest_rel(ours, theirs)
        interval = test.confidence_interval()
        np.testing.assert_allclose(line["p"], test.pvalue, rtol=1e-6)
        np.testing.assert_allclose([line["low"], line["high"]], [interval.low, interval.high], rtol=1e-6)
    p = found["p"].to_numpy()
    order = np.argsort(p)
    expected, running = np.empty(len(p)), 0.0
    for i, place in enumerate(order):
        running = max(running, (len(p) - i) * p[place])
        expected[place] = min(running, 1)
    np.testing.assert_allclose(found["holm"], expected)
    assert (found.loc[("routellm", "centre", "", "plug_in_stack")][["difference", "low"]] > 0).all()


def test_p_of_equal_and_constant_differences():
    assert study_report.two_sided(np.zeros(4)) == 1.0
    assert study_report.two_sided(np.ones(4)) == 0.0
    assert np.isnan(study_report.two_sided(np.ones(1)))


def test_pooled_gap_and_control():
    rows = study_report.labelled(made_up())
    per_table = study_report.pooled(rows).set_index(["dataset", "method"])
    mean = rows[(rows["metric"] == "mean_regret") & (rows["factor"] != "control") & (rows["dataset"] == "bbh")]
    wide = mean.pivot_table(index="seed", columns="method", values="value")  # mean over the two cells
    gap = wide["recommended"] - wide["plug_in_stack"]
    line = per_table.loc[("bbh", "plug_in_stack")]
    np.testing.assert_allclose(line["difference"], gap.mean())
    np.testing.assert_allclose(line["high"], stats.t.interval(0.95, SEEDS - 1, gap.mean(), stats.sem(gap))[1])
    first = rows[rows["factor"] == "centre"].assign(factor="outcome model", level="former stack")
    pd.testing.assert_frame_equal(study_report.pooled(pd.concat([rows, first])), study_report.pooled(rows))
    closed = study_report.gap_closed(rows).set_index(["dataset", "factor"])["closed"]
    np.testing.assert_allclose(closed[("bbh", "centre")], 0.25, atol=0.1)
    assert study_report.share_closed(study_report.gap_closed(rows), "centre", "")[1] == 2
    # The first recipe's cell moves both ends of the centre's gap: 30 points further off, ceiling as far.
    about = json.dumps({"factor": "outcome model", "level": "former stack"})
    first = made_up().query("method != 'random'")
    first = first[first["hyperparameters"].str.contains("centre")].assign(hyperparameters=about)
    first["value"] += 0.3 * (first["method"] == "plug_in_stack")
    moved = study_report.gap_closed(study_report.labelled(pd.concat([made_up(), first])))
    line = moved.set_index(["dataset", "factor"]).loc[("bbh", "centre")]
    np.testing.assert_allclose(line["closed"], (30 + 1) / (30 + 4), atol=0.02)
    np.testing.assert_allclose(line["start"] - line["stack"], 30)
    null = study_report.control(rows).set_index(["dataset", "method"])
    # made up: the recipe beats best_single_full by two points on the first table, is level with it on the second
    assert null.loc[("bbh", "recommended"), "high"] < -1 < null.loc[("routellm", "recommended"), "low"]


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


def test_missing_tables_are_listed_and_nothing_is_run(tmp_path, capsys):
    cells = [c for c in study_cells.cells(tmp_path) if c.table == "bbh"]
    done = study.work(cells, tmp_path)
    assert done.results.empty
    assert len(done.missing) == len(cells)
    assert "open_llm_lb_v2_carrot" in done.missing[0][1]
    assert study.main(["--data", str(tmp_path), "--out", str(tmp_path), "--report-only"]) == 2
    assert "no cell is finished" in capsys.readouterr().err


@pytest.mark.slow
def test_two_small_cells_from_end_to_end(tmp_path, capsys, monkeypatch):
    assert study.main(["--smoke", "--out", str(tmp_path), "--publish", str(tmp_path / "study.parquet")]) == 0
    assert "2 of 2 cells finished" in capsys.readouterr().out
    results = pd.read_parquet(tmp_path / "study.parquet")
    assert list(results.columns) == list(report.COLUMNS)
    assert set(results["logger"]) == {"weak_router", "uniform"}
    assert (
        results.loc[(results["logger"] == "uniform") & (results["metric"] == study_figures.OVERLAP), "value"] == 300
    ).all()
    ceilings = results[results["method"].isin(study_cells.CEILINGS) & (results["metric"] == "mean_regret")]
    assert len(ceilings) == 2 * 2 * len(study_cells.CEILINGS)
    by_logger = ceilings.pivot(index=["method", "seed"], columns="logger", values="value")
    np.testing.assert_array_equal(by_logger["uniform"], by_logger["weak_router"])  # so `lent` may copy them

    def never(*_, **__):
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(study.run, "run", never)
    assert study.main(["--smoke", "--out", str(tmp_path)]) == 0
    cells = study_cells.cells(tmp_path, smoke=True)
    other = cells[0]._replace(config=dataclasses.replace(cells[0].config, seeds=1))
    assert study.finished(cells[0], tmp_path) is not None
    assert study.finished(other, tmp_path) is None
