"""Models that a log never shows: routed to by a prior, marked, and never valued by that log."""

import dataclasses
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import router_kinds as made

import jaxroute as jr
from jaxroute.data import priors as reading
from jaxroute.estimators.accounts import accounts
from jaxroute.recipe import Prior, levels, means, priors
from jaxroute.serving import new_models, portable
from jaxroute.types import InputError

SEEN = {"model": ["a", "b"], "quality": [0.5, 0.7], "sd": [0.1, 0.1]}


def with_new(**new):
    return {name: [*column, new.get(name, np.nan)] for name, column in (SEEN | {"cost": [np.nan, np.nan]}).items()}


def test_a_prior_names_a_new_model_with_its_cost():
    known = reading.load(with_new(model="new", quality=0.9, sd=0.2, cost=0.01), ["a", "b"])
    assert known.new == (reading.NewModel("new", 0.9, 0.2, 0.01),)
    assert known.prior.quality.tolist() == [0.5, 0.7]
    priced = reading.load(with_new(model="new", quality=0.9, sd=0.2), ["a", "b"], {"new": 0.03}.get)
    assert priced.new[0].cost == 0.03


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"model": "new"}, "row 2 (new): the log never shows this model, so its cost is unknown"),
        ({"model": "new", "cost": -1.0}, "column 'cost', row 2 (new): -1.0 is not a number above 0"),
        ({"model": "openai/a"}, "row 2 (openai/a): a model of the log under another name"),
    ],
)
def test_a_new_model_without_a_cost_of_its_own_is_refused(row, message):
    with pytest.raises(InputError, match=re.escape(message)):
        reading.load(with_new(quality=0.9, sd=0.2, **row), ["a", "b"])


def test_an_unseen_level_is_that_of_a_model_whose_answers_are_all_noise():
    """Shift and scale of a prior: NumPy's, by a model more whose mean has a variance of 1e6."""
    rng = np.random.default_rng(0)
    quality, mean = rng.uniform(0.3, 0.7, 8), rng.uniform(0.3, 0.7, 8)
    noise = jnp.diag(jnp.full(8, 1e-3))
    gap = jnp.asarray(quality - quality.mean(), jnp.float32)
    prior = levels.covariance(0.05, 0.1, jnp.zeros((8, 2))) + jnp.outer(gap, gap)
    found = jax.jit(levels.conditioned)([means.Sample(jnp.asarray(mean, jnp.float32), noise)], 0.5 + gap, prior)
    wider = np.append(gap, 0.2)
    cov = np.diag(np.full(9, 0.05**2)) + 1.0 + np.outer(wider, wider)
    error = np.append(mean - 0.5 - gap, 0.0)
    pulled = cov @ np.linalg.solve(cov + np.diag([1e-3] * 8 + [1e6]), error)
    shift = 0.5 + levels.PRIOR_DEVIATION**2 * jnp.sum(found.pull)
    assert float(shift + (1 + gap @ found.pull) * 0.2) == pytest.approx(0.5 + 0.2 + pulled[8], abs=1e-3)


def test_a_new_model_has_the_shift_and_the_scale_of_the_others():
    truth = np.linspace(0.35, 0.7, 8)
    seen = means.Sample(jnp.asarray(truth, jnp.float32), jnp.diag(jnp.full(8, 1e-4)))
    prior = Prior(truth / 2 + 0.4, np.full(8, 0.05))  # elsewhere all are better, and differ by half as much
    found = priors.posterior([seen], jnp.zeros((8, 2)), prior)
    assert float(found.expected(jnp.array(0.1))) == pytest.approx(truth.mean() + 0.2, abs=0.03)


@pytest.fixture
def wider(monkeypatch):
    """A router of four models and one more, which the prior thinks best, as ``add`` makes it."""
    rows = [{"normalised_cost_weight": w, "cost_weight": w / made.SCALE, "value": 0.5} for w in (0.0, 2e4)]
    by_model = [{"model": name, "expected": 0.5, "level": 0.4} for name in made.MODELS]
    prior = {"shift": 0.4, "scale": 0.5, "by_model": by_model}
    router = made.router("plug_in", summary={"prior": prior, "by_cost_weight": rows, "rows_by_model": {"a": 9}})
    monkeypatch.setattr(new_models, "unsupported", lambda found, _: found)
    new = [reading.NewModel("new", 200.0, 0.1, 0.05)]
    return router, new, new_models.add(router, new, made.FEATURES, SimpleNamespace(singles=()))


def test_a_new_model_is_as_hard_and_as_long_as_the_others_on_average(wider):
    router, _, found = wider
    (quality, cost), (before, paid) = found.predict(made.FEATURES), router.predict(made.FEATURES)
    np.testing.assert_allclose(quality[:, :4], before, atol=1e-6)
    np.testing.assert_allclose(cost[:, :4], paid, rtol=1e-5)
    level, relative = 0.4 + 0.5 * (200.0 - 0.5), paid / np.float32(made.PRICES)
    np.testing.assert_allclose(quality[:, 4], level + before.mean(1) - 0.4, rtol=1e-5)
    whole = (relative > 1.01 * portable.FLOOR).all(1)
    assert whole.any()
    np.testing.assert_allclose(cost[whole, 4], 0.05 * relative[whole].mean(1), rtol=1e-4)
    mean, deviation = found.posterior(made.FEATURES, 0.0)
    assert mean.shape == deviation.shape == (40, 5)
    assert (deviation[:, 4] > 0).all()


def test_what_a_new_model_is_worth_is_unknown_and_counted(wider, tmp_path):
    _, new, found = wider
    best, dear = found.summary["by_cost_weight"]
    assert (best["value"], best["verdict"], best["shares"]["new"]) == (None, "refuse", 1.0)
    assert best["reasons"] == ["new is chosen for 100.0% of the prompts, and the data never show it"]
    assert dear["value"] == 0.5
    assert "the data never show new (chosen for 100%)" in found.summary["conclusion"][0]
    found.save(tmp_path / "router")
    loaded = portable.load(tmp_path / "router")
    assert loaded.never_logged == ("new",)
    with pytest.raises(
        InputError, match=r"measured without new; leave it out \(without\('new'\)\), give a cost weight, or fit"
    ):
        loaded.route(made.FEATURES, budget=0.01)
    assert loaded.without("new").route(made.FEATURES, budget=0.01).models
    with pytest.raises(InputError, match="max_latency: the log never shows new"):
        new_models.check_limits(new, 3.0)


@pytest.fixture(scope="module")
def fitted():
    """A log of two models, a later one, a later one of three, and the router of a prior that knows the third."""
    rng = np.random.default_rng(0)

    def log(models, count):
        chosen, x = rng.integers(0, len(models), count), rng.standard_normal((count, 4))
        rows = {"features": x.tolist(), "model": [models[k] for k in chosen], "propensity": 1 / len(models)}
        quality = rng.random(count) < 0.4 + 0.1 * chosen
        return pd.DataFrame({**rows, "quality": quality.astype(float), "cost": 0.001 * (1 + chosen)})

    small = {"outcome_models": ["mean"], "hidden": (8,), "steps": 20}
    first, prior = log(["a", "b"], 200), with_new(model="new", quality=1.0, sd=0.1, cost=0.02)
    router = jr.fit(first, prior=prior, **small)
    return router, jr.fit(first, prior=SEEN, **small), log(["a", "b"], 300), log(["a", "b", "new"], 300)


@pytest.mark.slow
def test_a_log_without_the_new_model_gives_no_value_where_it_is_chosen(fitted):
    router, without, later, shown = fitted
    assert router.models == ("a", "b", "new")
    assert router.route(np.zeros((1, 4), np.float32), cost_weight=0).models == ["new"]
    found = jr.evaluate(router, later)
    frame = found.to_frame()
    lost = [one["new"] > 0 for one in frame["shares"]]
    assert lost[0]
    assert not lost[-1]
    assert frame["value"].isna().tolist() == frame["gain_on_best_single"].isna().tolist() == lost
    assert frame["verdict"][0] == "refuse"
    assert "the data never show new (chosen for" in found.conclusion()[0]
    assert accounts(found.evidence)["cost_per_1000"].isna().tolist() == lost
    gap = jr.compare(router, without, later).to_frame()
    assert gap["difference"].isna().tolist() == lost
    with pytest.raises(InputError, match="the data never show new"):
        jr.rank([router, without], later)
    assert jr.evaluate(router, shown).to_frame()["value"].notna().all()
    assert jr.evaluate(router.without("new"), later).to_frame()["value"].notna().all()


@pytest.mark.slow
def test_what_is_said_of_the_logs_models_does_not_change(fitted):
    router, without, *_ = fitted
    for name in priors.OF_ALL:
        assert router.summary["prior"][name] == pytest.approx(without.summary["prior"][name])
    rows = zip(router.summary["by_cost_weight"], without.summary["by_cost_weight"], strict=True)
    assert all(mine["value"] in (None, theirs["value"]) for mine, theirs in rows)


def test_a_model_that_is_gone_from_a_later_log_is_said_with_how_often_it_would_be_chosen():
    """The router is then judged on what is left, and would answer otherwise in service."""
    router = made.router("plug_in")
    rng = np.random.default_rng(0)
    rows = [
        {
            "features": rng.standard_normal(5).tolist(),
            "model": "abc"[i % 3],
            "quality": i % 2,
            "cost": 0.001 * (i % 3 + 1),
        }
        for i in range(120)
    ]
    chosen = router.route(np.array([row["features"] for row in rows], np.float32), cost_weight=0.0).models
    share = chosen.count("d") / len(rows)
    assert 0 < share < 1
    says = f"The data never show d, which WHO would choose for {share:.0%} of the prompts at"
    weights = {"normalised_cost_weights": [0.0]}

    def absent(found):
        return [line for line in found.left_out if "The data never show" in line]

    one = [absent(jr.evaluate(router, rows, **weights))]
    two = [absent(jr.compare(router, router, rows, **weights)), absent(jr.rank([router, router], rows, **weights))]
    for said, whose in ((one, ["the router"]), (two, ["router 1 of 2", "router 2 of 2"])):
        for lines in said:
            assert all(line.startswith(says.replace("WHO", who)) for who, line in zip(whose, lines, strict=True))
    left = router.without("d")
    assert not absent(jr.evaluate(left, rows, **weights))
    table = pd.DataFrame({"sample_id": range(40), "prompt": [f"p{i}" for i in range(40)], "eval_name": "t"})
    for name, cost in zip("abc", made.PRICES, strict=False):
        table = table.assign(**{name: 0.5, f"{name}|total_cost": cost})
    answers = dataclasses.replace(jr.read_table(table), features=np.array([row["features"] for row in rows[:40]], "f"))
    (line,) = absent(jr.evaluate(router, answers, **weights))
    assert line.startswith(
        f"The data never show d, which the router would choose for {chosen[:40].count('d') / 40:.0%}"
    )


def test_models_of_the_data_that_a_router_does_not_know_are_said():
    """They answered, and may be the best single model, but the router never chooses them."""
    router = made.router("plug_in")
    features = np.random.default_rng(0).standard_normal((120, 5)).tolist()
    rows = [
        {"features": x, "model": ["a", "b", "c", "d", "e", "f"][i % 6], "quality": i % 2, "cost": 0.001}
        for i, x in enumerate(features)
    ]
    says = "does not know e, f of the data and never chooses them; to let it, fit it again to such data."
    weights = {"normalised_cost_weights": [0.0]}
    assert f"The router {says}" in jr.evaluate(router, rows, **weights).left_out
    for found in (jr.compare(router, router, rows, **weights), jr.rank([router, router], rows, **weights)):
        assert {f"Router 1 of 2 {says}", f"Router 2 of 2 {says}"} <= set(found.left_out)
    known = [row | {"model": "abc"[i % 3]} for i, row in enumerate(rows)]
    assert not any("does not know" in line for line in jr.evaluate(router, known, **weights).left_out)
