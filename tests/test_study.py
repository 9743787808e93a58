"""The study: its cells, who runs which, what is kept of them; two small cells from end to end."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_rows import made_up

from experiments import configs, storage
from experiments.study import __main__ as study
from experiments.study import cells as study_cells
from experiments.study import design as study_design
from experiments.study import figures as study_figures
from experiments.study import report as study_report
from experiments.study import summary as study_summary
from jaxroute import report


def test_every_cell_is_a_config_that_can_be_run():
    for full in (False, True):
        cells = study_cells.cells(Path("data"), full=full)
        for cell in cells:
            configs.check(cell.config, cell.factor)
            assert "recommended" in cell.config.methods
            assert json.loads(study_cells.describe(cell))["level"] == cell.level
        names = [(c.table, c.factor, c.level) for c in cells]
        assert len(set(names)) == len(names)
        assert len({repr(c.config) for c in cells}) == len(cells)  # no cell is another one by a second name
        assert {c.table for c in cells if c.factor == "centre"} == {t.name for t in study_design.TABLES}
        assert all(c.config.seeds == 10 for c in cells)


def test_cells_of_other_loggers_borrow_the_centres_ceilings_and_nothing_else():
    results = made_up()
    alone = results[results["hyperparameters"].str.contains("log size") & ~results["method"].str.endswith("_full")]
    about = json.dumps({"factor": "logger", "level": "uniform"})
    worth = results[results["metric"] == "mean_regret"].assign(metric="effective_sample_size", value=300.0)
    results = pd.concat([results, worth])
    alone = alone.assign(hyperparameters=about, logger="uniform", log_size=1999)
    found = study_cells.with_ceilings(pd.concat([results, alone]))
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
    again = study_cells.with_ceilings(found)
    assert len(again) == len(found)  # what a cell has of its own stays


def test_missing_tables_are_listed_and_nothing_is_run(tmp_path, capsys):
    cells = [c for c in study_cells.cells(tmp_path) if c.table == "bbh"]
    done = study.work(cells, tmp_path)
    assert done.results.empty
    assert len(done.missing) == len(cells)
    assert "open_llm_lb_v2_carrot" in done.missing[0][1]
    nothing = ["--known", str(tmp_path), "--report-only"]
    assert study.main(["--data", str(tmp_path), "--out", str(tmp_path), *nothing]) == 2
    assert "no cell is finished" in capsys.readouterr().err
    assert study.core_minutes(cells, tmp_path) == 0


def test_a_cell_that_another_process_is_at_is_left_to_it(tmp_path, monkeypatch, capsys):
    cells = study_cells.cells(tmp_path, smoke=True)
    ran = []
    monkeypatch.setattr(study.run, "run", lambda config, *_, **__: ran.append(config) or pytest.fail("ran"))
    with storage.only_run(study._claim(cells[0], tmp_path)):
        done = study.work(cells[:1], tmp_path)
    assert ran == []
    assert "at work here" in done.missing[0][1]
    assert capsys.readouterr().out == ""
    with pytest.raises(pytest.fail.Exception):
        study.work(cells[:1], tmp_path)


def test_workers_go_table_by_table_each_from_another():
    cells = study_cells.cells(Path("data"))
    first, second = (study.by_table(cells, worker, 2) for worker in range(2))
    assert sorted(map(repr, first)) == sorted(map(repr, second)) == sorted(map(repr, cells))
    assert first[0].table != second[0].table
    changes = [a.table != b.table for a, b in itertools.pairwise(first)]
    assert sum(changes) == len(study_design.TABLES) - 1
    assert [c for c in first if c.table == "bbh"] == [c for c in cells if c.table == "bbh"]


def test_an_unfinished_study_changes_no_page_and_is_gone_on_from(tmp_path):
    results = tmp_path / "experiments" / "results"
    results.mkdir(parents=True)
    said = study_report.publish(tmp_path, tmp_path, made_up(), whole=False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [study_report.UNFINISHED]
    assert "when every cell is finished" in said
    cells = study.known(results)
    assert set(cells) == set(made_up()["hyperparameters"])
    pd.testing.assert_frame_equal(pd.concat(cells.values()).sort_index(), made_up())


@pytest.mark.study
def test_two_small_cells_from_end_to_end(tmp_path, capsys, monkeypatch):
    checkout = tmp_path / "checkout"
    for page in ("README.md", "experiments/README.md"):
        (checkout / page).parent.mkdir(parents=True, exist_ok=True)
        (checkout / page).write_text(f"before\n{study_summary.BEGIN}\nold\n{study_summary.END}\nafter\n")
    (checkout / "docs").mkdir()
    (checkout / "experiments" / "results").mkdir()
    assert study.main(["--smoke", "--out", str(tmp_path), "--publish", str(checkout)]) == 0
    assert "2 of 2 cells finished" in capsys.readouterr().out
    assert (checkout / "docs" / "study-logger.svg").exists()
    page = (checkout / "experiments" / "README.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith(f"{study_summary.END}\nafter\n")
    assert "old" not in page
    cells = study_cells.cells(tmp_path, smoke=True)
    assert study.core_minutes(cells, tmp_path) > 0
    results = pd.read_parquet(checkout / "experiments" / "results" / "study.parquet")
    assert list(results.columns) == list(report.COLUMNS)
    assert set(results["logger"]) == {"weak_router", "uniform"}
    assert (
        results.loc[(results["logger"] == "uniform") & (results["metric"] == study_figures.OVERLAP), "value"] == 300
    ).all()
    ceilings = results[results["method"].isin(study_design.CEILINGS) & (results["metric"] == "mean_regret")]
    assert len(ceilings) == 2 * 2 * len(study_design.CEILINGS)
    by_logger = ceilings.pivot(index=["method", "seed"], columns="logger", values="value")
    np.testing.assert_array_equal(by_logger["uniform"], by_logger["weak_router"])  # so `with_ceilings` may copy them

    def never(*_, **__):
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(study.run, "run", never)
    assert study.main(["--smoke", "--out", str(tmp_path)]) == 0
    elsewhere = tmp_path / "elsewhere"
    published = checkout / "experiments" / "results"
    assert study.main(["--smoke", "--out", str(elsewhere), "--known", str(published)]) == 0
    again = pd.read_parquet(elsewhere / "study-report-smoke" / "study.parquet")
    pd.testing.assert_frame_equal(again, results)
    cells = study_cells.cells(tmp_path, smoke=True)
    other = cells[0]._replace(config=dataclasses.replace(cells[0].config, seeds=1))
    assert study.finished(cells[0], tmp_path) is not None
    assert study.finished(other, tmp_path) is None
