"""The smaller studies: logs that equal the main job's, results that are kept, summaries against counts by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import side_problem
from levels_problem import small_log

from experiments.problem import build, table
from experiments.side import caution, common, comparisons, ensemble, features, outcomes, selection, worked_example
from jaxroute import nuisance
from jaxroute.estimators.evidence import BEST_SINGLE, LOGGER
from jaxroute.recipe import levels
from jaxroute.types import InputError, Outcomes


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return side_problem.smoke(tmp_path_factory.mktemp("data"))


def test_regret_is_a_loop_over_weights_and_prompts(smoke):
    rows = table.prepare(smoke).table.rows(np.arange(40))
    available = np.ones(rows.available.shape, bool)
    available[3, :4] = False
    rows = dataclasses.replace(rows, available=available)
    predicted = np.random.default_rng(0).random((2, *available.shape)).astype(np.float32)
    lost = []
    for weight in (0.0, 0.7):
        for i in range(40):
            seen = [k for k in range(available.shape[1]) if available[i, k]]
            utility = {k: rows.outcomes.quality[i, k] - weight * rows.outcomes.cost[i, k] for k in seen}
            chosen = max(seen, key=lambda k: predicted[0, i, k] - weight * predicted[1, i, k])
            lost.append(max(utility.values()) - utility[chosen])
    found = common.regret(Outcomes(*map(jnp.asarray, predicted)), rows, (0.0, 0.7))
    np.testing.assert_allclose(found, 100 * np.mean(lost), rtol=1e-5)


@pytest.mark.study
def test_logs_are_those_of_the_main_job(smoke):
    data = table.prepare(smoke)
    rows = data.rows[1]
    logs, key = common.simulated_log(smoke, 1, data.table.rows(rows.train), data.table.rows(rows.earlier))
    built = build.one(smoke, data, 1)
    for ours, theirs in zip(logs, built.train_log, strict=True):
        np.testing.assert_array_equal(np.float32(ours), np.float32(theirs))
    fitted, _ = nuisance.fit(key, logs, smoke.nuisance)
    np.testing.assert_allclose(fitted.outcomes.quality, built.nuisances.outcomes.quality, atol=1e-6)


SEEN = []


def measure(config, given, seed, rows):
    if seed == 1 and len(SEEN) < 2:
        SEEN.append("stopped")
        raise KeyboardInterrupt
    SEEN.append(seed)
    return pd.DataFrame({"seed": [seed], "rows": [len(rows.train)]})


def test_a_log_is_measured_once(smoke, tmp_path):
    data = table.prepare(smoke)
    with pytest.raises(KeyboardInterrupt):
        common.each_log(smoke, data, tmp_path, measure)
    found = common.each_log(smoke, data, tmp_path, measure)
    assert SEEN == [0, "stopped", 1]
    assert found["seed"].tolist() == [0, 1]
    pd.testing.assert_frame_equal(common.each_log(smoke, data, tmp_path, measure), found)
    renamed = dataclasses.replace(smoke, methods=("oracle",))
    common.each_log(renamed, data, tmp_path, measure)
    assert SEEN[3:] == []
    common.each_log(dataclasses.replace(smoke, logger="uniform"), data, tmp_path, measure)
    assert SEEN[3:] == [0, 1]


def test_a_study_says_how_it_ended(tmp_path, capsys):
    def run(measured):
        return common.command("any", "About it.", measured, lambda f: f[["a"]], ["--out", str(tmp_path)])

    def stopped(error):
        yield pd.DataFrame({"a": [1]})
        raise error

    assert run(lambda _: stopped(InputError("no such table"))) == 2
    assert capsys.readouterr().err == "error: no such table\n"
    assert run(lambda _: stopped(OSError(28, "No space left on device", "x.parquet"))) == 2
    assert "error: x.parquet: No space left on device; " in capsys.readouterr().err
    assert run(lambda _: stopped(KeyboardInterrupt())) == 130
    assert "continues from there" in capsys.readouterr().err
    assert not (tmp_path / "any").exists()
    assert run(lambda _: iter([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2, 3]})])) == 0
    assert capsys.readouterr().out == "| a |\n|---|\n| 1 |\n| 2 |\n| 3 |\n"
    assert pd.read_parquet(tmp_path / "any" / "any.parquet")["a"].tolist() == [1, 2, 3]


def test_the_summary_counts_what_was_picked_right():
    found = pd.DataFrame(
        {
            "logger": "weak router",
            "dataset": ["x"] * 4 + ["y", "synthetic"],
            "seed": [0, 0, 1, 1, 0, 0],
            "difference": [0.1, -0.2, 0.3, 0.0, 0.2, 9.0],
            "standard_error": [0.2, 0.15, 0.1, 0.1, 0.05, 1.0],
            "truth": [0.05, 0.02, 0.01, 0.5, -0.04, 9.0],
        }
    )
    table = selection.summary(found).set_index("dataset")
    assert table.loc["x", "pairs"] == 3  # a difference of exactly 0 picks nothing
    assert table.loc["x", "pairs: right"] == "67 (50 to 100)"  # seed 0: one of two, seed 1: one of one
    assert table.loc["x", "z > 1"] == 2
    assert table.loc["x", "z > 1: right"] == "50 (0 to 100)"
    assert table.loc["x", "z > 2: right"] == "100 (100 to 100)"
    assert table.loc["x", "lost"] == "0.67"
    assert table.loc["x", "by a coin"] == "1.33"
    assert table.loc["real tables", "pairs"] == 4
    assert table.loc["real tables", "lost"] == "1.50"
    assert selection.summary(found[found["dataset"] == "y"]).iloc[0]["pairs: right"] == "0 (0 to 0)"


@pytest.mark.study
def test_the_smoke_run_writes_every_pair(tmp_path, capsys):
    assert selection.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "selection" / "selection.parquet")
    routers = set(found["a"]) | set(found["b"])
    assert routers == {"plug_in_ridge", "plug_in_knn", "plug_in_stack", "recommended"}
    assert len(found) == 2 * 6
    assert found[["difference", "truth"]].abs().max(axis=None) < 1
    assert (found["standard_error"] >= 0).all()
    assert "| synthetic" in capsys.readouterr().out


@pytest.mark.study
def test_the_worked_example_writes_estimates_and_truth(tmp_path, capsys):
    assert worked_example.main(["--smoke", "--out", str(tmp_path)]) == 0
    frame = pd.read_parquet(tmp_path / "worked_example" / "values.parquet")
    assert len(frame) == 3
    assert frame["truth"].between(0, 1).all()
    assert (frame["truth"].diff().dropna() < 0).all()  # a higher cost weight is worth less
    refused = frame["verdict"] == "refuse"  # 200 rows: whatever is not refused has an interval
    held = frame[~refused]
    assert frame.loc[refused, ["low", "high", "hidden_low", "flips_at"]].isna().all(axis=None)
    assert (held["band_low"] < held["low"]).all()
    assert (held["low"] < held["value"]).all()
    gains = pd.read_parquet(tmp_path / "worked_example" / "gains.parquet")
    assert set(gains["against"]) == {LOGGER, BEST_SINGLE}
    assert "valued from a held-out log" in capsys.readouterr().out


def test_an_unknown_router_is_refused(tmp_path, capsys):
    assert worked_example.main(["--smoke", "--method", "nope", "--out", str(tmp_path)]) == 2
    assert "unknown method 'nope'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_former_levels_are_the_likeliest_of_the_grid():
    logs, nuisances = small_log()
    samples, about, _ = levels.samples_of(logs, nuisances)
    every = [levels.conditioned(samples, 0.5, levels.covariance(tau, s, about)) for tau, s in levels.GRID]
    expected = max(every, key=lambda found: float(found.likelihood)).mean
    np.testing.assert_allclose(caution.likeliest(logs, nuisances), expected, atol=1e-5)


@pytest.mark.study
def test_the_smoke_run_compares_what_losses_learn_from(tmp_path, capsys):
    assert outcomes.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "outcomes" / "outcomes.parquet")
    assert set(found["method"]) == set(outcomes.METHODS)
    assert found["regret"].between(0, 100).all()
    assert "| weak router 2 | synthetic | rm_softmax |" in capsys.readouterr().out


@pytest.mark.study
def test_the_smoke_run_compares_levels_on_one_log(tmp_path, capsys):
    assert caution.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "caution" / "caution.parquet")
    assert set(found["variant"]) == {caution.FIRST, caution.FORMER, *caution.BETWEEN, caution.RECIPE, caution.TRUE}
    assert found["regret"].between(0, 100).all()
    assert "| weak router 2 | synthetic" in capsys.readouterr().out


@pytest.mark.study
def test_the_smoke_run_compares_verdicts_and_ratings(tmp_path, capsys):
    assert comparisons.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "comparisons" / "comparisons.parquet")
    kinds = {comparisons.RATINGS, comparisons.UNIFORM, comparisons.ARENA, comparisons.RAW}
    assert set(found["log"]) == kinds
    assert found["regret"].between(0, 100).all()
    assert "| 500 | synthetic" in capsys.readouterr().out


def test_an_arena_sets_the_strong_against_the_strong_and_the_better_answer_wins(smoke):
    rows = table.prepare(smoke).table
    quality = np.asarray(rows.outcomes.quality)
    level = quality.mean(0)
    distance = {}
    for near in (0.05, np.inf):
        log = comparisons.compared(0, rows, near, held=False)
        pair, prompts = log.action.reshape(-1, 2), np.arange(0, len(rows), 2)
        shown = quality[prompts[:, None], pair]
        np.testing.assert_array_equal(log.quality.reshape(-1, 2)[:, 0], (1 + np.sign(shown[:, 0] - shown[:, 1])) / 2)
        assert (pair[:, 0] != pair[:, 1]).all()
        distance[near] = np.abs(level[pair[:, 0]] - level[pair[:, 1]]).mean()
    assert distance[0.05] < 0.7 * distance[np.inf]
    held = comparisons.compared(0, rows, 0.05)
    np.testing.assert_allclose(held.weight.mean(), 1)
    assert held.weight.std() > 0.1


def test_an_uncertain_log_leaves_the_votes_as_they_were():
    prior = np.array([0.6, 0.2, 0.2])
    gain = np.array([0.0, 0.03, 0.03])
    np.testing.assert_allclose(ensemble.weights(gain, np.full(3, 10.0), prior), prior, atol=1e-3)
    sure, unsure, less = ensemble.weights(gain, np.array([0.0, 0.001, 0.02]), prior)[[1, 2, 0]]
    assert sure > 0.7 > unsure > 0.2 * prior[2] > 0
    assert less < prior[0]


@pytest.mark.study
def test_the_smoke_run_votes_on_one_log(tmp_path, capsys):
    assert ensemble.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "ensemble" / "ensemble.parquet")
    wide = found.pivot(index="seed", columns="way", values="regret")
    members = list(ensemble.PRIOR)
    assert set(wide) == {*members, "vote by the prior", "vote weighed by the log", "picked", "guarded"}
    for way in ("picked", "guarded"):
        assert (np.abs(wide[members].sub(wide[way], axis=0)).min(axis=1) < 1e-4).all()
    assert (found.loc[found["way"] == "recipe", ["gain", "error"]] == 0).all(axis=None)
    assert "vote weighed by the log" in capsys.readouterr().out


def test_features_are_compared_with_the_tables_own_seed_by_seed():
    found = pd.DataFrame(
        [
            (way, dataset, encoder, seed, base + extra * (encoder == "hashed") + seed)
            for way, base in (("ceiling", 10.0), ("recipe", 20.0), ("plug_in", 30.0))
            for dataset, extra in (("x", 1.0), ("y", 2.0))
            for encoder in (features.OWN, "hashed")
            for seed in range(3)
        ],
        columns=["way", "dataset", "encoder", "seed", "regret"],
    )
    table = features.summary(found).set_index(["learned from", "dataset"])
    assert table.loc[("recipe, log", "x"), features.OWN] == "21.00"
    assert table.loc[("recipe, log", "x"), "hashed"] == "+1.00 ± 0.00"
    assert table.loc[("plug-in, full feedback", features.REAL), "hashed"] == "+1.50 ± 0.00"


def test_noise_as_features_has_a_worse_ceiling(smoke):
    data = table.prepare(smoke)
    own = features.measure(smoke, data.table, 0, data.rows[0], data.table.features)
    noise = np.random.default_rng(0).standard_normal(data.table.features.shape).astype(np.float32)
    blind = features.measure(smoke, data.table, 0, data.rows[0], noise)
    both = own.merge(blind, on=["way", "seed"]).set_index("way")
    assert list(both.index) == list(features.MEASURED)
    assert both.loc["ceiling", "regret_x"] < both.loc["ceiling", "regret_y"]


@pytest.mark.study
def test_the_smoke_run_of_features_writes_every_encoder(tmp_path, capsys):
    assert features.main(["--smoke", "--out", str(tmp_path), "--encoder", "hashed-2"]) == 0
    found = pd.read_parquet(tmp_path / "features" / "features.parquet")
    assert {features.OWN, "hashed", "hashed+minilm+marks", "hashed-2"} <= set(found["encoder"])
    assert (found.groupby("encoder").size() == 2 * len(features.MEASURED)).all()
    assert found["regret"].between(0, 100).all()
    assert "| recipe, log | synthetic" in capsys.readouterr().out
