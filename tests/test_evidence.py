"""What a log says of a router: the numbers are the estimators' own, and the page shows them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import estimators, evidence, nuisance, policies, report
from jaxroute.data import logging, synthetic
from jaxroute.types import InputError, NuisanceSpec, Outcomes

WEIGHTS = (0.0, 0.5)
SPEC = NuisanceSpec(("mean", "ridge"), folds=3)


def a_case():
    """(logs, nuisances, router, one single model, truth, model names)."""
    table = synthetic.make(jax.random.key(0), num_prompts=800, num_models=4)
    logs = jax.tree.map(jnp.asarray, logging.simulate(jax.random.key(1), table, logging.uniform()))
    nuisances, _ = nuisance.fit(jax.random.key(2), logs, SPEC)
    truth = Outcomes(*(jnp.asarray(y) for y in table.outcomes))
    router = jnp.stack([policies.greedy(nuisances.outcomes.quality - w * nuisances.outcomes.cost) for w in WEIGHTS])
    single = jnp.broadcast_to(jax.nn.one_hot(1, 4), router.shape)
    return logs, nuisances, router, single, truth, table.models


def valued(logs, nuisances, router, single, truth, models):
    against = {"one": single, "logger": evidence.logging_policy(logs, nuisances, 2)}
    key = jax.random.key(3)
    return evidence.gather(key, logs, nuisances, router, WEIGHTS, against=against, truth=truth, models=models)


@pytest.fixture(scope="module")
def case():
    return a_case()


@pytest.fixture(scope="module")
def found(case):
    return valued(*case)


def test_values_and_gains_are_those_of_the_estimators(case, found):
    logs, nuisances, router, single, truth, _ = case
    for i, weight in enumerate(WEIGHTS):
        mine = estimators.self_normalised_doubly_robust(logs, router[i], weight, nuisances, clip=0.05)
        row = found.values.iloc[i]
        np.testing.assert_allclose(row["value"], mine.value, atol=1e-6)
        np.testing.assert_allclose([row["low"], row["high"]], estimators.interval(mine), atol=1e-5)
        assert row["band_low"] < row["low"]
        assert row["hidden_low"] < row["value"] < row["hidden_high"]
        quality, cost = (np.asarray(y, np.float64) for y in truth)
        true = (np.asarray(router[i]) * (quality - weight * cost)).sum(1).mean()
        np.testing.assert_allclose(row["truth"], true, atol=1e-5)
        other = estimators.self_normalised_doubly_robust(logs, single[i], weight, nuisances, clip=0.05)
        gain = found.gains[found.gains["against"] == "one"].iloc[i]
        np.testing.assert_allclose(gain["gain"], mine.value - other.value, atol=1e-5)
        assert gain["low"] < gain["gain"] < gain["high"]
        only = (quality - weight * cost)[:, 1].mean()
        np.testing.assert_allclose(gain["truth"], true - only, atol=1e-5)


def test_the_gain_on_the_logging_policy_agrees_with_the_advantage(found):
    gains = found.gains[found.gains["against"] == "logger"]["gain"].to_numpy()
    error = (found.values["high"] - found.values["value"]).to_numpy()
    assert (np.abs(gains - found.values["advantage"]) < error).all()


def test_an_unsupported_router_gets_a_guess_and_no_interval(case):
    logs, nuisances, router, single, _, _ = case
    certain = logs._replace(propensity=jnp.ones(800))
    sure = nuisances._replace(propensity=jax.nn.one_hot(logs.action, 4))
    found = evidence.gather(jax.random.key(3), certain, sure, router, WEIGHTS, against={"one": single})
    assert found.values["verdict"].tolist() == ["refuse"] * 2
    assert found.values[["low", "high", "hidden_low", "flips_at"]].isna().all(axis=None)
    assert found.gains[["low", "high"]].isna().all(axis=None)
    guess = np.sum(np.asarray(router[0] - single[0]) * np.asarray(nuisances.outcomes.quality), 1).mean()
    np.testing.assert_allclose(found.gains["gain"].iloc[0], guess, atol=1e-5)


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


def test_policies_of_another_shape_are_refused(case):
    logs, nuisances, router, *_ = case
    with pytest.raises(InputError, match="router: a policy of shape"):
        evidence.gather(jax.random.key(3), logs, nuisances, router[:1], WEIGHTS)


def test_the_page_holds_values_verdict_truth_and_both_figures(found, tmp_path):
    drawings = report.draw_evidence(found)
    html = report.write_html(tmp_path, None, {"title": "x"}, drawings, evidence=found).read_text()
    assert html.count("<figure") == 2
    assert "From a log alone" in html
    for text in (*found.values["verdict"], f"{100 * found.values['value'][0]:.1f}", "flips at", "truth"):
        assert text in html
    assert all(model in html for model in found.models)
    assert not re.search(r'(src|href)="http', html)
    without = found._replace(values=found.values.drop(columns="truth"), gains=found.gains.drop(columns="truth"))
    plain = report.write_html(tmp_path, None, {}, (), evidence=without).read_text()
    assert "truth" not in plain
