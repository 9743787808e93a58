"""The functions of ``import jaxroute as jr`` that read logs and tables and judge routers, on random routers."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
import router_kinds

import jaxroute as jr
from jaxroute.data import simulate, synthetic, tables
from jaxroute.serving import kinds
from jaxroute.types import InputError, Outcomes

WEIGHTS = (0.0, 0.5)


@pytest.fixture(scope="module")
def table():
    """800 prompts that the routers' four models answered, two answers lost; costs of the routers' size."""
    made = synthetic.make(jax.random.key(0), num_prompts=800, num_models=4, num_features=router_kinds.D)
    made.outcomes.cost[:] *= router_kinds.SCALE / made.outcomes.cost.mean()
    made.available[[3, 8], [1, 2]] = False
    for y in made.outcomes:
        y[~made.available] = np.nan
    return jr.types.Table(**{**vars(made), "models": router_kinds.MODELS})


@pytest.fixture(scope="module")
def rows(table):
    """A log of the table's prompts, as a data frame with features and known propensities."""
    logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
    return pd.DataFrame(
        {
            "features": np.asarray(logs.features).tolist(),
            "model": np.array(table.models)[np.asarray(logs.action)],
            "quality": np.asarray(logs.quality),
            "cost": np.asarray(logs.cost),
            "propensity": np.asarray(logs.propensity),
        }
    )


@pytest.fixture(scope="module", params=kinds.KINDS)
def router(request):
    return router_kinds.router(request.param)


@pytest.mark.slow
def test_a_log_judges_every_kind_of_router(router, rows):
    found = jr.evaluate(router, rows, normalised_cost_weights=WEIGHTS)
    frame = found.to_frame()
    assert frame["normalised_cost_weight"].tolist() == list(WEIGHTS)
    np.testing.assert_allclose(frame["cost_weight"], np.array(WEIGHTS) / router.cost_scale, rtol=1e-6)
    gains = [f"gain_on_{name}{end}" for name in ("logging_policy", "best_single") for end in ("", "_low", "_high")]
    assert {*gains, "value", "low", "high", "flips_at", "verdict", "label", "reasons"} <= set(frame)
    assert "shadow_share" not in frame
    supported = frame["low"].notna()
    assert (frame["verdict"].ne("refuse") == supported).all()
    assert ((frame["low"] < frame["value"]) & (frame["value"] < frame["high"]))[supported].all()
    assert found.evidence.values["value"].tolist() == frame["value"].tolist()


def test_a_table_gives_value_and_regret_without_estimation(router, table):
    frame = jr.evaluate(router, table, normalised_cost_weights=WEIGHTS).to_frame()
    quality, cost = table.outcomes
    for row in frame.to_dict("records"):
        weight = row["cost_weight"]
        scores = np.where(table.available, router.route(table.features, cost_weight=weight).scores, -np.inf)
        rows, chosen = np.arange(len(table)), scores.argmax(1)
        utility = quality - weight * cost
        np.testing.assert_allclose(row["value"], utility[rows, chosen].mean(), rtol=1e-4)
        regret = (np.nanmax(utility, 1) - utility[rows, chosen]).mean()
        np.testing.assert_allclose(row["regret"], regret, rtol=1e-4)
        np.testing.assert_allclose(row["quality"], quality[rows, chosen].mean(), rtol=1e-5)
        np.testing.assert_allclose(row["cost"], cost[rows, chosen].mean(), rtol=1e-5)
        means = np.nanmean(utility, 0)
        assert row["best_single"] == table.models[means.argmax()]
        alone = np.where(table.available, means, -np.inf).argmax(1)  # the next best where the best has no answer
        np.testing.assert_allclose(row["best_single_value"], utility[rows, alone].mean(), rtol=1e-4)


def test_a_comparison_changes_its_sign_with_the_order(rows):
    first, second = (router_kinds.router(name) for name in ("plug_in", "per_weight"))
    there = jr.compare(first, second, rows, normalised_cost_weights=WEIGHTS).to_frame()
    back = jr.compare(second, first, rows, normalised_cost_weights=WEIGHTS).to_frame()
    np.testing.assert_allclose(there["difference"], -back["difference"], atol=1e-6)
    np.testing.assert_allclose(there["low"], -back["high"], atol=1e-6)
    assert there["verdict"].isin(["better", "worse", "undecided", "not supported"]).all()
    same = jr.compare(first, first, rows, normalised_cost_weights=WEIGHTS).to_frame()
    assert (same["difference"] == 0).all()


@pytest.mark.slow
def test_paths_frames_and_what_was_read_are_the_same_log(rows, table, tmp_path):
    router = router_kinds.router("plug_in")
    router.save(tmp_path / "router")
    rows.to_parquet(tmp_path / "log.parquet")
    tables.save(table, tmp_path / "table")
    logs = [rows, tmp_path / "log.parquet", str(tmp_path / "log.parquet"), jr.read_log(rows), rows.to_dict("records")]
    frames = [jr.evaluate(tmp_path / "router", log, normalised_cost_weights=[1.0]).to_frame() for log in logs]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])
    of_folder = jr.evaluate(router, jr.read_table(tmp_path / "table")).to_frame()
    pd.testing.assert_frame_equal(of_folder, jr.evaluate(router, table).to_frame())
    shadow = jr.evaluate(router, rows, shadow=tmp_path / "table", normalised_cost_weights=[1.0]).to_frame()
    assert 0 < shadow["shadow_share"].iloc[0] <= 1
    assert shadow["high"].iloc[0] - shadow["low"].iloc[0] < frames[0]["high"].iloc[0] - frames[0]["low"].iloc[0]


def test_what_cannot_be_judged_is_one_line(rows):
    router = router_kinds.router("plug_in")
    with pytest.raises(InputError, match="features"):
        jr.evaluate(router, rows.assign(features=[[0.0, 1.0]] * len(rows)))
    with pytest.raises(InputError, match="is not a router"):
        jr.evaluate("nowhere", rows)
    with pytest.raises(InputError, match="features"):
        jr.evaluate(router, rows.drop(columns="features").assign(prompt="hi"))


def test_what_a_notebook_shows(rows, table):
    """A short repr, the conclusion and the table in HTML, and axes that hold the frame's own numbers in points."""
    import matplotlib as mpl

    mpl.use("Agg")
    router, other = (router_kinds.router(name) for name in ("plug_in", "per_weight"))
    found = [
        (jr.evaluate(router, rows, normalised_cost_weights=WEIGHTS), "value"),
        (jr.evaluate(router, table, normalised_cost_weights=WEIGHTS), "value"),
        (jr.compare(router, other, rows, normalised_cost_weights=WEIGHTS), "difference"),
    ]
    for record, column in found:
        assert len(repr(record)) < 400
        assert "\n" not in repr(record)
        shown, frame = record._repr_html_(), record.to_frame()
        assert shown.count("<tr") == len(WEIGHTS) + 1
        assert all(sentence[:40] in shown for sentence in record.conclusion())
        axes = record.plot()
        drawn = axes.get_lines()[0].get_xydata()
        np.testing.assert_allclose(drawn, np.stack([frame.normalised_cost_weight, 100 * frame[column]], 1))
        assert record.plot(axes) is axes
    assert repr(jr.read_log(rows)).startswith("LogTable(800 rows: a ")
    assert repr(table) == "Table(800 prompts, 3198 answers of a, b, c, d)"


def test_what_1000_requests_cost_and_which_models_get_them(rows):
    """Of the router at every cost weight: value = quality - weight cost, and the shares are those of its decisions."""
    router = router_kinds.router("plug_in")
    found = jr.evaluate(router, rows, normalised_cost_weights=WEIGHTS)
    for row in found.to_frame().to_dict("records"):
        chosen = router.route(rows, cost_weight=row["cost_weight"]).models
        assert row["shares"] == pytest.approx({name: chosen.count(name) / len(rows) for name in router.models})
        if np.isfinite(row["low"]):
            cost = row["cost_per_1000"] / 1000
            assert row["value"] == pytest.approx(row["quality"] - row["cost_weight"] * cost, abs=1e-5)
            assert row["saved_on_best_single_low"] <= row["saved_on_best_single"] <= row["saved_on_best_single_high"]
    singles = found.evidence.frontier.query("kind == 'single model'").set_index("policy")
    own = rows.groupby("model")[["quality", "cost"]].mean()
    np.testing.assert_allclose(singles["quality"], own["quality"], atol=0.1)
    np.testing.assert_allclose(singles["cost"], own["cost"], rtol=0.2)


def test_a_data_frame_is_routed_and_keeps_its_rows(rows):
    router = router_kinds.router("plug_in")
    some = rows.iloc[[7, 2, 9]].set_axis(["x", "y", "z"])
    decision = router.route(some, cost_weight=10.0)
    expected = router.route(np.array(some["features"].tolist(), np.float32), cost_weight=10.0)
    frame = decision.to_frame()
    assert frame.index.tolist() == ["x", "y", "z"]
    assert frame["model"].tolist() == expected.models
    np.testing.assert_array_equal(frame["predicted_cost"], expected.cost[np.arange(3), expected.index])
    assert repr(decision).startswith("Decision(3 prompts: ")
    with pytest.raises(InputError, match="column 'features'"):
        router.route(some.drop(columns="features"), cost_weight=10.0)


def test_the_best_single_model_is_valued_on_the_prompts_of_the_router():
    """A model that answered the easy half alone is not compared with a router on both halves."""
    easy = np.arange(80) < 40
    quality = np.stack([np.where(easy, 0.5, 0.25), np.where(easy, 0.75, np.nan)], 1)
    table = dataclasses.replace(
        synthetic.make(jax.random.key(0), num_prompts=80, num_models=3),
        models=("both", "easy alone"),
        outcomes=Outcomes(quality, np.where(np.isnan(quality), np.nan, 1.0)),
        available=~np.isnan(quality),
        expected=None,
    )
    small = {"encoder": None, "outcome_models": ["mean"], "hidden": (8,), "steps": 20, "fingerprint": False}
    found = jr.evaluate(jr.fit(table, "plug_in_mean", **small), table, normalised_cost_weights=[0.0]).to_frame().iloc[0]
    assert found["best_single"] == "easy alone"
    np.testing.assert_allclose(found["best_single_value"], 0.5)  # 0.75 where it answered, 0.25 where the other does
    assert found["best_single_value"] <= found["value"] + found["regret"] + 1e-6  # no policy beats the best answers
