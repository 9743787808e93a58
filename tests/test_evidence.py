"""What a log says of a router: the numbers are the estimators' own, and the page shows them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from jaxroute import estimators, nuisance, policies, report
from jaxroute.data import simulate, synthetic
from jaxroute.estimators import by_weight, conclusion, evidence, sensitivity
from jaxroute.report import sections
from jaxroute.types import Examples, InputError, NuisanceSpec, Outcomes

WEIGHTS = (0.0, 0.5)
SPEC = NuisanceSpec(("mean", "ridge"), folds=3)


def a_case():
    """(logs, nuisances, router, one single model, truth, model names)."""
    table = synthetic.make(jax.random.key(0), num_prompts=800, num_models=4)
    logs = jax.tree.map(jnp.asarray, simulate.simulate(jax.random.key(1), table, simulate.uniform()))
    nuisances, _ = nuisance.fit(jax.random.key(2), logs, SPEC)
    truth = Outcomes(*(jnp.asarray(y) for y in table.outcomes))
    router = jnp.stack([policies.greedy(nuisances.outcomes.quality - w * nuisances.outcomes.cost) for w in WEIGHTS])
    single = jnp.broadcast_to(jax.nn.one_hot(1, 4), router.shape)
    return logs, nuisances, router, single, truth, table.models


def valued(logs, nuisances, router, single, truth, models):
    against = {"best single": single, "logging policy": by_weight.logging_policy(logs, nuisances, 2)}
    key = jax.random.key(3)
    return evidence.gather(key, logs, nuisances, router, WEIGHTS, against=against, truth=truth, models=models)


@pytest.fixture(scope="module")
def case():
    return a_case()


@pytest.fixture(scope="module")
def found(case):
    return valued(*case)


@pytest.mark.modes
def test_values_and_gains_are_those_of_the_estimators(case, found):
    logs, nuisances, router, single, truth, _ = case
    for i, weight in enumerate(WEIGHTS):
        mine = estimators.self_normalised_doubly_robust(logs, router[i], weight, nuisances, clip=0.05)
        row = found.values.iloc[i]
        np.testing.assert_allclose(row["value"], mine.value, atol=1e-6)
        np.testing.assert_allclose([row["low"], row["high"]], estimators.interval(mine), atol=1e-5)
        assert row["band_low"] < row["low"]
        assert row["hidden_low"] < row["value"] < row["hidden_high"]
        hidden = sensitivity.bounds(
            logs, router[i], weight, nuisances, strength=found.strength, clip=0.05, outcome_model=True
        )
        np.testing.assert_allclose([row["hidden_low"], row["hidden_high"]], hidden, atol=1e-5)
        logged = (logs.quality - weight * logs.cost).mean()
        np.testing.assert_allclose(row["advantage"], mine.value - logged, atol=1e-5)
        quality, cost = (np.asarray(y, np.float64) for y in truth)
        true = (np.asarray(router[i]) * (quality - weight * cost)).sum(1).mean()
        np.testing.assert_allclose(row["truth"], true, atol=1e-5)
        other = estimators.self_normalised_doubly_robust(logs, single[i], weight, nuisances, clip=0.05)
        gain = found.gains[found.gains["against"] == "best single"].iloc[i]
        np.testing.assert_allclose(gain["gain"], mine.value - other.value, atol=1e-5)
        assert gain["low"] < gain["gain"] < gain["high"]
        only = (quality - weight * cost)[:, 1].mean()
        np.testing.assert_allclose(gain["truth"], true - only, atol=1e-5)


def test_the_gain_on_the_logging_policy_agrees_with_the_advantage(found):
    gains = found.gains[found.gains["against"] == "logging policy"]["gain"].to_numpy()
    error = (found.values["high"] - found.values["value"]).to_numpy()
    assert (np.abs(gains - found.values["advantage"]) < error).all()


def test_an_unsupported_router_gets_a_guess_and_no_interval(case):
    logs, nuisances, router, single, _, _ = case
    certain = logs._replace(propensity=jnp.ones(800))
    sure = nuisances._replace(propensity=jax.nn.one_hot(logs.action, 4))
    found = evidence.gather(jax.random.key(3), certain, sure, router, WEIGHTS, against={"best single": single})
    assert found.values["verdict"].tolist() == ["refuse"] * 2
    assert found.values[["low", "high", "hidden_low", "flips_at"]].isna().all(axis=None)
    assert found.gains[["low", "high"]].isna().all(axis=None)
    guess = np.sum(np.asarray(router[0] - single[0]) * np.asarray(nuisances.outcomes.quality), 1).mean()
    np.testing.assert_allclose(found.gains["gain"].iloc[0], guess, atol=1e-5)


@pytest.mark.slow
def test_a_gain_on_an_unsupported_opponent_has_no_interval(case):
    """Nobody ever asked model 2: the router is supported, a comparison with model 2 is a guess."""
    logs, nuisances, *_ = case
    kept = np.flatnonzero(np.asarray(logs.action) != 2)
    some = jax.tree.map(lambda x: x[kept], logs)._replace(propensity=jnp.full(len(kept), 1 / 3))
    known = jax.tree.map(lambda x: x[kept], nuisances)
    known = known._replace(propensity=jnp.broadcast_to(jnp.array([1.0, 1.0, 0.0, 1.0]) / 3, (len(kept), 4)))
    asked, never, other = (jnp.broadcast_to(jax.nn.one_hot(k, 4), (2, len(kept), 4)) for k in (1, 2, 3))
    found = evidence.gather(jax.random.key(3), some, known, asked, WEIGHTS, against={"never": never, "other": other})
    assert found.values["low"].notna().all()
    by_name = found.gains.set_index("against")
    assert by_name.loc["never", ["low", "high"]].isna().all(axis=None)
    assert by_name.loc["other", ["low", "high"]].notna().all(axis=None)
    guess = np.asarray(known.outcomes.quality)[:, 1].mean() - np.asarray(known.outcomes.quality)[:, 2].mean()
    np.testing.assert_allclose(by_name.loc["never", "gain"].iloc[0], guess, atol=1e-5)


def beside_of(case, size=150):
    """(A shadow sample, the router's, the single model's policies on it)."""
    table = synthetic.make(jax.random.key(7), num_prompts=size, num_models=4)
    sample = Examples(*(jax.tree.map(jnp.asarray, y) for y in (table.features, table.outcomes, table.available)))
    quality, cost = sample.outcomes
    ours = jnp.stack([policies.greedy(jnp.roll(quality - w * cost, 1, 0)) for w in WEIGHTS])
    return sample, ours, jnp.broadcast_to(jax.nn.one_hot(1, 4), ours.shape)


def with_shadow(case, sample, on_shadow, router=None):
    logs, nuisances, ours, single, truth, _ = case
    against = {"best single": single, "logging policy": by_weight.logging_policy(logs, nuisances, 2)}
    return evidence.gather(
        jax.random.key(3),
        logs,
        nuisances,
        ours if router is None else router,
        WEIGHTS,
        against=against,
        truth=truth,
        shadow=sample,
        on_shadow=on_shadow,
    )


@pytest.mark.slow
def test_a_shadow_sample_joins_values_and_gains(case, found):
    sample, ours, single = beside_of(case)
    both = with_shadow(case, sample, {"router": ours, "best single": single})
    assert both.shadow == 150
    assert set(both.values) - set(found.values) == set(both.gains) - set(found.gains) == {"shadow_share"}
    for i, weight in enumerate(WEIGHTS):
        utility = np.asarray(sample.outcomes.quality - weight * sample.outcomes.cost, np.float64)
        answered = np.asarray(ours[i]).argmax(1)
        z = utility[np.arange(150), answered]
        log, row = found.values.iloc[i], both.values.iloc[i]
        share = 150 / (150 + log["effective_sample_size"])
        np.testing.assert_allclose(row["shadow_share"], share, rtol=1e-5)
        np.testing.assert_allclose(row["value"], (1 - share) * log["value"] + share * z.mean(), atol=1e-5)
        np.testing.assert_allclose(row["effective_sample_size"], log["effective_sample_size"] + 150, rtol=1e-4)
        error = (log["high"] - log["low"]) / 2 / estimators.half_width(log["effective_sample_size"])
        error = np.hypot((1 - share) * error, share * z.std(ddof=1) / 150**0.5)
        half = estimators.half_width(row["effective_sample_size"]) * error
        np.testing.assert_allclose([row["low"], row["high"]], [row["value"] - half, row["value"] + half], atol=1e-4)
        assert row["band_low"] < row["low"] < row["high"] < row["band_high"]
        assert row["hidden_high"] - row["hidden_low"] < log["hidden_high"] - log["hidden_low"]
        assert row["hidden_low"] < row["value"] < row["hidden_high"]
        assert (row["verdict"], row["flips_at"]) == (log["verdict"], log["flips_at"])
        np.testing.assert_allclose(row["value"] - row["advantage"], log["value"] - log["advantage"], atol=1e-5)
        assert row["label"] == "self-normalised doubly robust, with a shadow sample"
        before, after = (e.gains[e.gains["against"] == "best single"].iloc[i] for e in (found, both))
        d, part = z - utility[:, 1], after["shadow_share"]
        np.testing.assert_allclose(after["gain"], (1 - part) * before["gain"] + part * d.mean(), atol=1e-5)
        size = 150 * (1 - part) / part
        error = (before["high"] - before["gain"]) / estimators.half_width(size)
        error = np.hypot((1 - part) * error, part * d.std(ddof=1) / 150**0.5)
        np.testing.assert_allclose(after["high"] - after["gain"], estimators.half_width(size + 150) * error, rtol=1e-2)
    unknown = both.gains[both.gains["against"] == "logging policy"]
    assert (unknown["shadow_share"] == 0).all()
    pd.testing.assert_frame_equal(
        unknown[found.gains.columns], found.gains[found.gains["against"] == "logging policy"], check_exact=True
    )


@pytest.mark.slow
def test_a_shadow_sample_stands_alone_where_the_log_says_nothing(case):
    logs, nuisances, router, single, truth, names = case
    certain = logs._replace(propensity=jnp.ones(800))
    sure = nuisances._replace(propensity=jax.nn.one_hot(logs.action, 4))
    sample, ours, one = beside_of(case)
    found = with_shadow((certain, sure, router, single, truth, names), sample, {"router": ours, "best single": one})
    alone = estimators.estimate(estimators.shadow_rows(sample, ours[1], WEIGHTS[1]))
    row = found.values.iloc[1]
    np.testing.assert_allclose([row["low"], row["high"]], estimators.interval(alone), atol=1e-5)
    np.testing.assert_allclose(row["value"], alone.value, atol=1e-6)
    assert (row["label"], row["verdict"], row["shadow_share"]) == ("shadow sample alone", "caution", 1)
    assert "150 shadow prompts alone" in row["reasons"][0]
    assert found.values[["hidden_low", "advantage", "flips_at"]].isna().all(axis=None)
    assert found.values[["band_low", "band_high"]].notna().all(axis=None)
    by_name = found.gains.set_index("against")
    pair = [estimators.shadow_rows(sample, p[1], WEIGHTS[1]) for p in (ours, one)]
    gain = estimators.difference(*pair)
    np.testing.assert_allclose(
        by_name.loc["best single", ["low", "high"]].iloc[1], estimators.interval(gain), atol=1e-5
    )
    assert by_name.loc["logging policy", ["low", "high"]].isna().all(axis=None)
    near = one.at[:, :4].set(jax.nn.one_hot(0, 4))  # parts from it on four prompts: too few to tell
    gains = by_weight.gains(certain, sure, router, single, WEIGHTS, shadow=sample, on_shadow=(near, one))
    assert gains["low"].isna().all()
    assert (gains["shadow_share"] == 0).all()
    same = by_weight.gains(certain, sure, single, single, WEIGHTS, shadow=sample, on_shadow=(one, one))
    assert (same[["gain", "low", "high"]] == 0).all(axis=None)


@pytest.mark.parametrize("lost", [60, 121])
def test_prompts_that_lack_an_answer_are_left_out_and_too_few_are_not_used(case, found, lost):
    """The router would have to take its second choice there: another policy."""
    sample, ours, single = beside_of(case)
    holes = sample._replace(available=sample.available.at[:lost, 3].set(False))
    some = with_shadow(case, holes, {"router": ours, "best single": single})
    assert some.shadow == 150 - lost
    z = np.asarray(sample.outcomes.quality)[np.arange(150), np.asarray(ours[0]).argmax(1)][lost:]
    log, row = found.values.iloc[0], some.values.iloc[0]
    share = 90 / (90 + log["effective_sample_size"]) if lost == 60 else 0
    np.testing.assert_allclose(row["shadow_share"], share, rtol=1e-5)
    np.testing.assert_allclose(row["value"], (1 - share) * log["value"] + share * z.mean(), atol=1e-5)
    if lost == 121:
        np.testing.assert_allclose(some.values["low"], found.values["low"], atol=1e-5)
        assert "29 prompts of the shadow sample count here: not used below 30" in row["reasons"]


def test_a_shadow_that_does_not_fit_is_refused(case):
    sample, ours, single = beside_of(case)
    with pytest.raises(InputError, match="best single: the policy on the shadow sample has shape"):
        with_shadow(case, sample, {"router": ours, "best single": single[:, :-1]})
    with pytest.raises(InputError, match="add the policy of router on the shadow sample's prompts"):
        with_shadow(case, sample, {"best single": single})
    fewer = Examples(sample.features, jax.tree.map(lambda y: y[:, :3], sample.outcomes), sample.available[:, :3])
    with pytest.raises(InputError, match="the shadow sample has 3 models and the log 4"):
        with_shadow(case, fewer, {"router": ours[..., :3]})


def test_the_page_says_what_rests_on_the_shadow(case, found, tmp_path):
    sample, ours, single = beside_of(case)
    both = with_shadow(case, sample, {"router": ours, "best single": single})
    html = report.write_html(tmp_path, None, {}, report.draw_evidence(both), evidence=both).read_text()
    said = ("Evidence from a log and its shadow sample", "150 prompts that every model answered", "shadow&#39;s share")
    for text in said:
        assert text in html
    assert f"{both.values['shadow_share'][0]:.0%}" in html
    assert (
        "shadow" not in report.write_html(tmp_path, None, {}, report.draw_evidence(found), evidence=found).read_text()
    )


def test_policies_of_another_shape_are_refused(case):
    logs, nuisances, router, *_ = case
    with pytest.raises(InputError, match="router: the policy on the log has shape"):
        evidence.gather(jax.random.key(3), logs, nuisances, router[:1], WEIGHTS)


def test_the_page_holds_values_verdict_truth_and_all_figures(found, tmp_path):
    drawings = report.draw_evidence(found)
    html = report.write_html(tmp_path, None, {"title": "x"}, drawings, evidence=found).read_text()
    assert html.count("<figure") == 4
    assert "Evidence from a log:" in html
    for text in (*found.values["verdict"], f"{100 * found.values['value'][0]:.1f}", "flips at", "truth"):
        assert text in html
    assert all(model in html for model in found.models)
    assert not re.search(r'(src|href)="http', html)
    without = found._replace(values=found.values.drop(columns="truth"), gains=found.gains.drop(columns="truth"))
    plain = report.write_html(tmp_path, None, {}, (), evidence=without).read_text()
    assert "truth" not in plain


def test_the_page_says_which_rows_are_no_evidence(found, tmp_path):
    said = "Left out: 3 of 9 rows, which the router learned from."
    html = report.write_html(tmp_path, None, {"left_out": [said]}, (), evidence=found).read_text()
    assert said in html.partition("</header>")[0]


def test_the_page_begins_with_the_conclusion_and_has_no_empty_section(found, tmp_path):
    html = report.write_html(tmp_path, None, {"title": "x"}, (), evidence=found).read_text()
    said = re.search(r'class="headline">(.+?)</p>', html)[1]
    assert said == escape(" ".join(conclusion.of_evidence(found, 1.0)))
    assert html.index("Reasons for the verdict") < html.index("<caption>Money and traffic")
    assert not re.search(r"<dl>\s*</dl>|<pre>\s*(\{\})?</pre>|<h[23]>[^<]*</h[23]>\s*</section>", html)


@pytest.mark.modes
def test_the_frontier_holds_the_single_models_and_the_values(found):
    """Quality minus cost weight times cost is the value; a single model's point is that of the estimator."""
    router = found.frontier[found.frontier["kind"] == "router"]
    value = (router["quality"] - router["cost_weight"] * router["cost"]).to_numpy()
    np.testing.assert_allclose(value, found.values["value"], atol=1e-5)
    singles = found.frontier[found.frontier["kind"] == "single model"]
    assert tuple(singles["policy"]) == found.models
    np.testing.assert_allclose(found.shares.sum(1), 1.0, rtol=1e-5)
    drawn = report.draw_evidence(found)[0].figure
    names = {text.get_text() for text in drawn.axes[0].texts}
    assert names == set(singles.dropna(subset=["quality"])["policy"])


def test_no_legend_is_wider_than_its_figure(found):
    for drawing in report.draw_evidence(found._replace(router="a router with a name that is far too long for a line")):
        for legend in drawing.figure.legends:
            box = legend.get_window_extent(drawing.figure.canvas.get_renderer())
            assert box.x0 >= 0, drawing.name
            assert box.x1 <= drawing.figure.bbox.width, drawing.name


def test_a_cost_weight_in_single_and_in_double_precision_is_priced_once():
    rows = sections.units([0.0, 0.1, float(np.float32(0.1)), 2.0], 0.5)
    assert rows == [("0", "0", "any price"), ("0.1", "0.2", "50"), ("2", "4", "2.5")]
