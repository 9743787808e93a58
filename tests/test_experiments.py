"""The main job as people run it: one command, results on disk, and nothing made twice."""

import dataclasses
import json
import shutil
import threading
import time

import jax
import numpy as np
import pandas as pd
import pytest

from experiments import cells, methods, run, settings
from experiments.problem import build
from experiments.problem.table import load, prepare
from jaxroute import engine, nuisance, sweep
from jaxroute.data import synthetic, tables
from jaxroute.types import InputError, NuisanceSpec, Spec

pytestmark = pytest.mark.slow
TINY = settings.Config(
    name="tiny",
    num_prompts=400,
    seeds=2,
    cost_weights=(0.0, 1.0),
    methods=("random", "best_single", "oracle", "plug_in_ridge", "plug_in_ridge_full", "rm_softmax", "rm_softmax_full"),
    nuisance=NuisanceSpec(("ridge",), folds=2, penalties=(10.0,)),
    training=Spec(hidden=(8,), batch_size=64, steps=20, chunk=10),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    return out, run.run(TINY, out)


def test_results_are_tidy_and_complete(finished):
    _, folder = finished
    results = pd.read_parquet(folder / "results.parquet")
    assert set(results["method"]) == set(TINY.methods)
    regret = results[results["metric"] == "regret"]
    assert len(regret) == len(TINY.methods) * TINY.seeds * len(TINY.cost_weights)
    assert not regret.duplicated(["method", "seed", "cost_weight"]).any()
    oracle = regret[regret["method"] == "oracle"]["value"]
    np.testing.assert_allclose(oracle, 0.0, atol=1e-6)
    assert (regret["value"] > -1e-6).all()
    shares = (
        results[results["metric"].str.startswith("share:")].groupby(["method", "seed", "cost_weight"])["value"].sum()
    )
    np.testing.assert_allclose(shares, 1.0, atol=1e-5)
    # value + regret is the oracle's value, whatever the method
    wide = results[results["metric"].isin(["utility", "regret"])].pivot_table(
        index=["method", "seed", "cost_weight"], columns="metric", values="value"
    )
    total = (wide["utility"] + wide["regret"]).groupby(["seed", "cost_weight"])
    assert (total.max() - total.min()).max() < 1e-5


def test_everything_a_run_leaves_is_there(finished):
    _, folder = finished
    assert json.loads((folder / "config.json").read_text())["seeds"] == 2
    assert "jax" in json.loads((folder / "environment.json").read_text())["packages"]
    assert len(list((folder / "figures").glob("*.svg"))) == len(list((folder / "figures").glob("*.png"))) >= 2
    page = (folder / "report.html").read_text()
    assert "rm_softmax" in page
    tables = (folder / "tables.md").read_text()
    results = pd.read_parquet(folder / "results.parquet")
    mine = results[(results["method"] == "rm_softmax") & (results["metric"] == "mean_regret")]["value"]
    assert f"{100 * mine.mean():.2f}±" in next(x for x in tables.splitlines() if x.startswith("| `rm_softmax` |"))
    assert tables.startswith("# ")
    assert not list(folder.rglob("*.part"))
    assert not (folder / "checkpoints" / "rm_softmax").exists()


def test_a_config_takes_so_many_prompts_of_a_table_and_of_its_tasks(tmp_path):
    tables.save(synthetic.make(jax.random.key(0), num_prompts=300), tmp_path / "table")
    config = dataclasses.replace(TINY, data=str(tmp_path / "table"), at_most=20)
    whole = load(config)
    part = load(dataclasses.replace(config, tasks="topic_2"))
    assert (len(whole), len(part)) == (20, 20)
    assert set(part.task) == {"topic_2"}
    assert list(load(config).query_id) == list(whole.query_id)


def never(*_, **__):
    raise AssertionError("what was finished was made again")


def test_a_second_run_fits_and_trains_nothing_and_agrees(finished, capsys, monkeypatch):
    out, folder = finished
    before = pd.read_parquet(folder / "results.parquet")
    for module, name in ((nuisance, "fit"), (nuisance, "fit_outcomes"), (engine, "train")):
        monkeypatch.setattr(module, name, never, raising=False)
    (folder / run.FINISHED).unlink()  # as if the page were to be made again
    assert run.run(TINY, out) == folder
    assert f"{len(TINY.methods)} of {len(TINY.methods)} methods were finished" in capsys.readouterr().out
    pd.testing.assert_frame_equal(before, pd.read_parquet(folder / "results.parquet"))


def test_a_finished_run_shows_what_it_found_and_reads_no_table(finished, capsys, monkeypatch):
    out, folder = finished
    capsys.readouterr()
    for name in ("prepare", "_report"):
        monkeypatch.setattr(run, name, never)
    monkeypatch.setattr(run, "_mark", lambda _: (folder / run.FINISHED).read_text())  # of the functions as they are
    monkeypatch.setattr(run, "folder_of", lambda *_: folder)
    assert run.run(TINY, out) == folder
    printed = capsys.readouterr().out
    assert "rm_softmax" in printed
    assert f"report: {folder / 'report.html'}" in printed
    (folder / "report.html").rename(folder / "elsewhere")
    with pytest.raises(AssertionError, match="made again"):
        run.run(TINY, out)
    (folder / "elsewhere").rename(folder / "report.html")


def test_one_more_method_and_another_name_leave_the_rest_finished(finished, capsys, monkeypatch):
    out, folder = finished
    monkeypatch.setattr(nuisance, "fit", never)
    monkeypatch.setattr(nuisance, "fit_outcomes", never)
    more = dataclasses.replace(TINY, name="more", methods=(*TINY.methods, "knn_guarded"))
    other = run.run(more, out, held_out_log=False)
    assert f"{len(TINY.methods)} of {len(TINY.methods) + 1} methods were finished" in capsys.readouterr().out
    assert other.parent != folder.parent
    results = pd.read_parquet(other / "results.parquet")
    mine = results[results["method"] != "knn_guarded"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, pd.read_parquet(folder / "results.parquet"))


def test_two_methods_at_a_time_make_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    one, tables_of = sweep.mesh(jax.devices()[:1]), []
    monkeypatch.setattr(sweep, "mesh", lambda: one)
    for at_a_time in (1, 2):
        monkeypatch.setattr(run, "AT_A_TIME", at_a_time)
        folder = run.run(TINY, tmp_path / str(at_a_time), held_out_log=False)
        tables_of.append(pd.read_parquet(folder / "results.parquet"))
    pd.testing.assert_frame_equal(*tables_of)


@pytest.mark.parametrize(("learners", "asked"), [(("mean", "gp"), [2]), (("mean", "ridge"), [])])
def test_fits_on_the_log_and_on_the_table_run_together_where_no_two_solve_batches(tmp_path, learners, asked):
    """The same fits under the same keys, in whichever order they end."""
    config = dataclasses.replace(TINY, nuisance=NuisanceSpec(learners, folds=2))
    data, given, built, stopped = prepare(config), [], [], threading.Event()

    def last_first(work):
        given.append(len(work))
        return run.side_by_side(work[::-1], stopped)[::-1]

    made = []
    for folder, together in (("a", last_first), ("b", build.in_turn)):
        keep = cells.KeptFits(cells.Cells(tmp_path / folder), config, data)
        problems = build.build(config, data, full=learners, keep=keep, built=lambda: built.append(1), together=together)
        made.append((problems, keep.keys))
    assert given == asked
    assert len(built) == 2 * 2 * config.seeds
    assert made[0][1] == made[1][1]
    jax.tree.map(np.testing.assert_array_equal, made[0][0], made[1][0])


def test_work_side_by_side_stops_together(monkeypatch):
    """Results come in order; when one piece fails, what runs is told to stop and what waits is not begun."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    both = threading.Barrier(2)
    work = [lambda: both.wait(10) >= 0, lambda: both.wait(10) >= 0, lambda: "last"]
    assert run.side_by_side(work, threading.Event()) == [True, True, "last"]
    stopped, begun = threading.Event(), []

    def fails() -> None:
        raise InputError("no such table")

    def goes_on() -> None:
        begun.append("goes on")
        assert stopped.wait(10)
        time.sleep(0.1)  # the other thread may take the next piece before what waits is cancelled

    with pytest.raises(InputError, match="no such table"):
        run.side_by_side([fails, goes_on, goes_on, *[lambda: begun.append("late")] * 8], stopped)
    assert stopped.is_set()
    assert "late" not in begun


def test_a_full_disk_is_said(tmp_path, capsys, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device", "cells/random.parquet")

    monkeypatch.setattr(run, "run", full)
    assert run.main(["--smoke", "--out", str(tmp_path)]) == 2
    assert "error: cells/random.parquet: No space left on device" in capsys.readouterr().err


def test_a_killed_run_goes_on_to_the_same_numbers(finished, tmp_path, monkeypatch):
    """Killed in the second seed's fits, then in a method's training: what was finished before is not made again."""
    _, folder = finished
    fit, fitted = nuisance.fit, []

    def die(*_, **__):
        raise KeyboardInterrupt

    def counted(*given, **more):
        fitted.append("killed" if len(fitted) == 1 else "fitted")
        return die() if fitted[-1] == "killed" else fit(*given, **more)

    monkeypatch.setattr(nuisance, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        run.run(TINY, tmp_path, held_out_log=False)
    killed = methods.METHODS["rm_softmax_full"]
    monkeypatch.setitem(methods.METHODS, "rm_softmax_full", killed._replace(run=die))
    with pytest.raises(KeyboardInterrupt):
        run.run(TINY, tmp_path, held_out_log=False)
    monkeypatch.setitem(methods.METHODS, "rm_softmax_full", killed)
    resumed = run.run(TINY, tmp_path, held_out_log=False)
    assert fitted == ["fitted", "killed", "fitted"]
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "results.parquet"), pd.read_parquet(resumed / "results.parquet")
    )
    assert run.folder_of(dataclasses.replace(TINY, learning_clip=0.2), tmp_path) != resumed


def test_a_fresh_run_makes_everything_again(finished, tmp_path, capsys):
    out, folder = finished
    shutil.copytree(out, tmp_path / "copy")
    again = run.run(TINY, tmp_path / "copy", fresh=True, held_out_log=False)
    assert f"0 of {len(TINY.methods)} methods were finished" in capsys.readouterr().out
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "results.parquet"), pd.read_parquet(again / "results.parquet")
    )


@pytest.mark.study
def test_a_real_folder_with_holes_runs(tmp_path):
    table = synthetic.make(jax.random.key(3), num_prompts=300)
    holes = np.random.default_rng(0).random(table.available.shape) < 0.05
    holes[:, 0] = False
    outcomes = type(table.outcomes)(*(np.where(holes, np.nan, y) for y in table.outcomes))
    table = dataclasses.replace(table, outcomes=outcomes, available=~holes, expected=None)
    tables.save(table, tmp_path / "table")
    config = dataclasses.replace(TINY, data=str(tmp_path / "table"), name="holes")
    results = pd.read_parquet(run.run(config, tmp_path / "out", held_out_log=False) / "results.parquet")
    regret = results[results["metric"] == "regret"]["value"]
    assert np.isfinite(regret).all()
    assert (regret > -1e-6).all()


def test_regret_is_measured_between_grid_points_and_tables_stay_on_the_grid(finished):
    _, folder = finished
    results = pd.read_parquet(folder / "results.parquet")
    assert TINY.weights == (0.0, 0.5, 1.0)
    between = results[results["metric"] == "regret_between"]
    assert set(between["cost_weight"]) == {0.5}
    assert len(between) == len(TINY.methods) * TINY.seeds
    np.testing.assert_allclose(between[between["method"] == "oracle"]["value"], 0.0, atol=1e-6)
    for (_, _), rows in results.groupby(["method", "seed"]):
        on_grid = rows[rows["metric"] == "regret"]["value"].mean()
        np.testing.assert_allclose(rows[rows["metric"] == "mean_regret"]["value"], on_grid, atol=1e-6)
    # regret of fixed decisions is convex in the cost weight less linear: random's is below the chord's end points
    random = results[(results["method"] == "random") & results["metric"].isin(["regret", "regret_between"])]
    for _, rows in random.groupby("seed"):
        value = rows.set_index("cost_weight")["value"]
        assert value[0.5] <= (value[0.0] + value[1.0]) / 2 + 1e-6
