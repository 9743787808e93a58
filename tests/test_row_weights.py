"""Rows that stand for several requests each (`Logs.weight`): honoured wherever rows are averaged.

Repeating a row is what its weight means, so weights of whole numbers and a log with repeated rows must agree; a log
that keeps a quarter of one model's rows must say the same as the whole one, and without its weights must not.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, estimators, nuisance, policies, recipe
from jaxroute.data import simulate, synthetic, units
from jaxroute.data.logs import as_logs, load
from jaxroute.estimators import pessimism, sensitivity, support
from jaxroute.learn import fitting, folds, methods
from jaxroute.numerics import as_arrays, nan_is_unknown, relative
from jaxroute.policies import budgets
from jaxroute.recipe import levels, means
from jaxroute.types import InputError, Logs, Nuisances, NuisanceSpec, Outcomes, Spec

K = 3
TIMES = np.array([1, 2, 3] * 20)


@pytest.fixture(scope="module")
def small() -> tuple[Logs, Nuisances]:
    """60 rows with invented nuisances, a tenth without feedback."""
    draw = np.random.default_rng(0)
    rows = len(TIMES)
    quality = draw.uniform(0, 1, rows).astype(np.float32)
    quality[::10] = np.nan
    propensity = draw.dirichlet(np.full(K, 3.0), rows).astype(np.float32)
    action = draw.integers(0, K, rows)
    logs = Logs(
        jnp.asarray(draw.normal(size=(rows, 4)), jnp.float32),
        jnp.asarray(action),
        as_arrays(quality),
        jnp.asarray(draw.uniform(0.5, 2, rows), jnp.float32),
        jnp.asarray(propensity[np.arange(rows), action]),
        jnp.ones((rows, K), bool),
        None,
        jnp.asarray(TIMES, jnp.float32),
    )
    predicted = Outcomes(*(jnp.asarray(draw.uniform(0, 1, (rows, K)), jnp.float32) for _ in range(2)))
    return logs, Nuisances(jnp.asarray(propensity), predicted)


@nan_is_unknown()
def repeated(tree):  # type: ignore[no-untyped-def]
    return jax.tree.map(lambda x: jnp.repeat(x, TIMES, 0), tree)


def twice(small):  # type: ignore[no-untyped-def]
    """The weighted log, and the one in which rows are repeated; a row's copies are one group."""
    logs, nuisances = small
    whole = repeated(logs._replace(weight=None))._replace(group=jnp.repeat(jnp.arange(len(TIMES)), TIMES))
    return (logs, nuisances), (whole, repeated(nuisances))


ESTIMATORS = {
    "direct method": estimators.direct_method,
    "ipw": estimators.ipw,
    "snipw": estimators.snipw,
    "doubly robust": estimators.doubly_robust,
    "self-normalised": estimators.self_normalised_doubly_robust,
    "switch": lambda *a, **k: estimators.switch_doubly_robust(*a, threshold=4.0, **k),
    "shrinkage": lambda *a, **k: estimators.shrinkage_doubly_robust(*a, shrinkage=4.0, **k),
}


@pytest.mark.modes
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimate_and_its_error_are_those_of_repeated_rows(small, name) -> None:
    weighted, whole = twice(small)
    target = jax.nn.softmax(3 * weighted[1].outcomes.quality)
    one = ESTIMATORS[name](weighted[0], target, 0.3, weighted[1])
    two = ESTIMATORS[name](whole[0], repeated(target), 0.3, whole[1])
    np.testing.assert_allclose(one.value, two.value, rtol=1e-5)
    np.testing.assert_allclose(one[1:], two[1:], rtol=1e-5)  # error and effective size: a copy is no evidence
    plain = ESTIMATORS[name](weighted[0]._replace(weight=None), target, 0.3, weighted[1])
    assert abs(float(plain.value - one.value)) > 1e-3


@pytest.mark.slow
def test_bounds_levels_and_means_are_those_of_repeated_rows(small) -> None:
    (logs, nuisances), (whole, again) = twice(small)
    target = jax.nn.softmax(3 * nuisances.outcomes.quality)
    for outcome_model in (False, True):
        one = sensitivity.bounds(logs, target, 0.3, nuisances, strength=2.0, outcome_model=outcome_model)
        two = sensitivity.bounds(whole, repeated(target), 0.3, again, strength=2.0, outcome_model=outcome_model)
        np.testing.assert_allclose(one, two, rtol=1e-4)
        tips = (sensitivity.tipping_point(*x, outcome_model=outcome_model)
                for x in ((logs, target, 0.3, nuisances), (whole, repeated(target), 0.3, again)))  # fmt: skip
        np.testing.assert_allclose(*tips, rtol=1e-3)
    assert levels.fit(logs, nuisances).mean.shape == (K,)
    np.testing.assert_allclose(means.of_log(logs, nuisances).mean, means.of_log(whole, again).mean, rtol=1e-5)
    robust, both = (counterfactual.doubly_robust(*x, clip=0.1) for x in ((logs, nuisances), (whole, again)))
    assert units.cost_scale(robust, weight=TIMES)[1] == units.cost_scale(both)[1]
    np.testing.assert_allclose(units.cost_scale(robust, weight=TIMES)[0], units.cost_scale(both)[0], rtol=1e-5)
    np.testing.assert_array_equal(
        policies.best_single(robust, 0.3, weight=relative(logs.weight))[0], policies.best_single(both, 0.3)[0]
    )
    a, b = budgets.curve(nuisances.outcomes, robust, weight=TIMES), budgets.curve(again.outcomes, both)
    np.testing.assert_allclose(a.quality, b.quality, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.cost, b.cost, rtol=1e-5, atol=1e-6)
    decided = np.eye(K)[np.argmax(np.asarray(nuisances.outcomes.quality), 1)][None]
    a = budgets.curve_of_policies([0.0], decided, robust, weight=TIMES)
    b = budgets.curve_of_policies([0.0], np.repeat(decided, TIMES, 1), both)
    np.testing.assert_allclose(a.quality, b.quality, rtol=1e-5)
    whole_counts = pessimism.noise(whole, again) ** 2, pessimism.noise(logs, nuisances) ** 2
    np.testing.assert_allclose(*whole_counts, rtol=0.2)  # a prior of some rows stands beside


def test_a_row_lies_as_often_on_its_side_of_the_value_as_it_stands_for(small) -> None:
    logs = small[0]._replace(quality=small[0].cost / 2)
    found = estimators.rows(logs, jax.nn.one_hot(jnp.zeros(len(TIMES), int), K), 0.2, outcome_model=False)
    reward = np.asarray(logs.quality - 0.2 * logs.cost)
    z = np.where(logs.action == 0, reward / np.asarray(logs.propensity), 0.0)
    value = np.average(z, weights=TIMES)
    np.testing.assert_allclose(found.influence, value + TIMES / TIMES.mean() * (z - value), rtol=1e-4, atol=1e-5)


def test_diagnostics_and_support_describe_requests_not_rows(small) -> None:
    (logs, nuisances), (whole, again) = twice(small)
    one, two = (nuisance.diagnose(*x) for x in ((logs, nuisances), (whole, again)))
    for name in ("feedback", "share", "predicted_share", "mass", "quality_brier", "quality_error", "cost_error"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-5, err_msg=name)
    target = jax.nn.one_hot(jnp.zeros(len(TIMES), int), K)
    a = support(logs, target, nuisances)
    b = support(whole, repeated(target), again)
    for k in range(K):
        for name in ("share", "available_share", "mean_propensity", "target_mass"):
            np.testing.assert_allclose(a.models[k][name], b.models[k][name], rtol=1e-5, err_msg=name)
    for name in ("effective_sample_size", "cost_ratio"):
        np.testing.assert_allclose(a.numbers[name], b.numbers[name], rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_nuisances_learn_a_row_as_often_as_it_stands_for(small) -> None:
    """Level of a fold: the weighted mean of the rest; and the propensity of a model that a sampled log hides."""
    draw = np.random.default_rng(1)
    rows = 2000
    action = draw.integers(0, 2, rows)
    kept = (action == 1) | (draw.uniform(size=rows) < 0.25)
    weight = np.where(action == 0, 4.0, 1.0)
    quality = np.where(draw.uniform(size=rows) < 0.5, 1.0, 0.0)  # and a bad half that is always kept
    kept |= quality == 0
    weight = np.where((quality == 0) & (action == 0), 1.0, weight)
    x = draw.normal(size=(rows, 3)).astype(np.float32)
    log = Logs(x, action, quality.astype(np.float32), np.ones(rows, np.float32), np.full(rows, np.nan, np.float32),
               np.ones((rows, 2), bool), None, weight.astype(np.float32))  # fmt: skip
    log = jax.tree.map(lambda y: jnp.asarray(y[kept]), log)
    spec = NuisanceSpec(("mean",), folds=3)
    found, _ = nuisance.fit(jax.random.key(0), log, spec)
    plain, _ = nuisance.fit(jax.random.key(0), log._replace(weight=None), spec)
    np.testing.assert_allclose(np.mean(found.outcomes.quality, 0), [0.5, 0.5], atol=0.04)
    np.testing.assert_allclose(np.mean(found.propensity, 0), [0.5, 0.5], atol=0.04)
    assert float(np.mean(plain.outcomes.quality, 0)[0]) < 0.3
    assert float(np.mean(plain.propensity, 0)[0]) < 0.45


def test_equal_weights_change_no_bit(small) -> None:
    logs, nuisances = small
    target = jax.nn.softmax(3 * nuisances.outcomes.quality)
    equal, none = logs._replace(weight=jnp.full(len(TIMES), 10.0)), logs._replace(weight=None)
    for estimator in ESTIMATORS.values():
        for a, b in zip(*(estimator(x, target, 0.3, nuisances) for x in (equal, none)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_equal_weights_change_no_bit_of_the_nuisances(small) -> None:
    logs, _ = small
    equal, none = logs._replace(weight=jnp.full(len(TIMES), 10.0)), logs._replace(weight=None)
    spec = NuisanceSpec(("mean", "ridge"), folds=3)
    a, b = (nuisance.fit(jax.random.key(0), x, spec)[0] for x in (equal, none))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_rows_are_learnt_from_as_often_as_they_stand_for() -> None:
    fold = np.arange(30) % 3
    found = folds.split(fold, 3, np.where(np.arange(30) < 6, 0.5, 1.5))
    for part in (found.learn, found.validate):
        seen = np.bincount(part.ravel(), minlength=31)[:30]
        assert (set(seen[:6] / seen[0]), set(seen[6:] / seen[0])) == ({1}, {3})
    assert set(np.bincount(found.held_out.ravel(), minlength=31)[:30]) == {1}
    rare = folds.split(fold, 3, np.where(np.arange(30) < 15, 1.0, 1000.0))  # memory stays bounded
    assert rare.validate.size <= folds.MOST_COPIES * 30 + 3


@pytest.fixture(scope="module")
def sampled() -> tuple[Logs, Logs, tuple[str, ...]]:
    """A log of 3,000 requests, and a quarter of the first model's rows beside all others."""
    table = synthetic.make(jax.random.key(0), num_prompts=3000, num_models=4)
    whole = simulate.simulate(jax.random.key(1), table, simulate.uniform())._replace(group=None)
    first = np.asarray(whole.action) == 0
    kept = ~first | (np.random.default_rng(0).uniform(size=3000) < 0.25)
    weight = jnp.asarray(np.where(first, 4.0, 1.0), jnp.float32)
    part = jax.tree.map(lambda y: jnp.asarray(y)[kept], whole._replace(weight=weight))
    return whole, part, table.models


@pytest.mark.slow
def test_a_sampled_log_says_what_the_whole_one_says(sampled) -> None:
    whole, part, _ = sampled
    own = jnp.full(whole.available.shape, 0.25)
    found = {
        name: estimators.snipw(log, own[: len(log.action)], 0.0)
        for name, log in (("whole", whole), ("sampled", part), ("ignored", part._replace(weight=None)))
    }
    gap = abs(float(found["sampled"].value - found["whole"].value))
    assert gap < 2 * float(found["sampled"].standard_error)
    assert float(found["sampled"].standard_error) > float(found["whole"].standard_error)
    assert abs(float(found["ignored"].value - found["whole"].value)) > gap


@pytest.mark.slow
@pytest.mark.parametrize("method", ["recommended", "rm_softmax", "plug_in_ridge"])
def test_routers_of_a_sampled_log(sampled, method) -> None:
    whole, part, models = sampled
    options = {"spec": NuisanceSpec(("mean", "ridge"), folds=3)}
    if methods.named(method).decides:
        options["training"] = Spec((8,), steps=60, chunk=20)
    values = {}
    for name, log in (("whole", whole), ("sampled", part)):
        router = fitting.fit(jax.random.key(3), log, models, method=method, **options)  # type: ignore[arg-type]
        values[name] = [at["value"] for at in router.summary["by_cost_weight"]], router
    np.testing.assert_allclose(values["whole"][0], values["sampled"][0], atol=0.04)
    assert values["sampled"][1].summary["requests"] == float(part.weight.sum())


def test_what_does_not_honour_weights_refuses_them(sampled) -> None:
    _, part, models = sampled
    with pytest.raises(InputError, match="knn_guarded counts every row once"):
        fitting.fit(jax.random.key(0), part, models, method="knn_guarded")
    refusing = [name for name, method in methods.METHODS.items() if not method.weighs]
    assert refusing == ["knn_guarded"]

    class Fixed:
        def fit(self, features, y) -> None:  # type: ignore[no-untyped-def]
            pass

        def predict(self, features):  # type: ignore[no-untyped-def]
            return np.zeros(len(features))

    with pytest.raises(InputError, match="Fixed: its fit takes no sample_weight"):
        nuisance.fit(jax.random.key(0), part, NuisanceSpec((Fixed(),), folds=3))
    with pytest.raises(InputError, match=r"logs.weight, row 0"):
        estimators.snipw(part._replace(weight=-part.weight), jnp.full(part.available.shape, 0.25), 0.0)


def test_weights_are_read_and_said() -> None:
    rows = [
        {"prompt": f"p{i}", "model": "ab"[i % 2], "quality": 1, "cost": 1, "weight": [4, None][i % 2]}
        for i in range(20)
    ]
    log = load(rows)
    assert log.weight.tolist() == [4.0, 1.0] * 10
    assert log.counts["requests, for which these rows stand"] == 50
    np.testing.assert_array_equal(as_logs(log).weight, log.weight)
    assert log.rows(np.arange(3)).weight.tolist() == [4, 1, 4]
    assert as_logs(load([{k: v for k, v in row.items() if k != "weight"} for row in rows])).weight is None
    rows[3]["weight"] = 0
    with pytest.raises(InputError, match="weight is not a finite number above 0: 1 row"):
        load(rows)


@pytest.mark.slow
def test_the_recipe_of_repeated_rows(small) -> None:
    """Levels and share from weights are those of the estimating equations with repeated rows."""
    (logs, _), _ = twice(small)
    nuisances, model = nuisance.fit(jax.random.key(0), logs, NuisanceSpec(("mean", "ridge"), folds=3))
    found = recipe.recommend(logs, nuisances, model)
    np.testing.assert_allclose(
        found.centre, np.average(nuisances.outcomes.quality, 0, np.asarray(logs.weight)), rtol=1e-5
    )
    assert 0 <= float(found.share) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("self_normalised", [False, True])
def test_intervals_from_sampled_logs_hold_the_truth_of_all_requests(self_normalised) -> None:
    """1,000 logs of 300 rows, with a quarter of one model's answers, and of bad answers nineteen in twenty."""
    rows, true = 300, jnp.array([0.8, 0.5])

    def one(key):  # type: ignore[no-untyped-def]
        keys = jax.random.split(key, 4)
        x = jax.random.uniform(keys[0], (3 * rows,))
        action = jax.random.bernoulli(keys[1], 0.3 + 0.4 * x).astype(int)
        propensity = jnp.where(action == 1, 0.3 + 0.4 * x, 0.7 - 0.4 * x)
        quality = jax.random.bernoulli(keys[2], true[action] + 0.3 * (x - 0.5)).astype(float)
        share = jnp.where(action == 0, 0.25, 1.0) * jnp.where(quality > 0, 1.0, 0.95)
        kept = jnp.argsort(~jax.random.bernoulli(keys[3], share), stable=True)[:rows]
        log = Logs(x[:, None], action, quality, 0 * x, propensity, jnp.ones((3 * rows, 2), bool), None, 1 / share)
        log = jax.tree.map(lambda y: y[kept], log)
        target = jax.nn.one_hot(jnp.zeros(rows, int), 2)
        return estimators.estimate(
            estimators.rows(log, target, 0.0, outcome_model=False, self_normalised=self_normalised)
        )

    found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 1000))
    half = estimators.half_width(found.effective_sample_size) * np.asarray(found.standard_error)
    covered = np.abs(np.asarray(found.value) - 0.8) < half
    assert abs(float(found.value.mean()) - 0.8) < 0.005
    assert 0.93 < covered.mean() < 0.97
