"""Off-policy estimators by hand: missing feedback, vmap and jit, gradients, groups."""

from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute import counterfactual, estimators
from jaxroute.estimators import by_weight, recency
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import InputError, Logs, Nuisances, Outcomes

EAGER = {
    "dm": estimators.direct_method,
    "ipw": estimators.ipw,
    "snipw": estimators.snipw,
    "dr": estimators.doubly_robust,
    "sndr": estimators.self_normalised_doubly_robust,
    "switch_dr": partial(estimators.switch_doubly_robust, threshold=3.0),
    "dros": partial(estimators.shrinkage_doubly_robust, shrinkage=2.0),
}
METHODS = {name: jax.jit(method) for name, method in EAGER.items()}
WEIGHTED = [name for name in METHODS if name != "dm"]


def simulated(seed=0, N=40, K=3, missing=0, groups=None):
    rng = np.random.default_rng(seed)
    propensity = rng.dirichlet(np.full(K, 3.0), N)
    action = np.array([rng.choice(K, p=row) for row in propensity])
    quality = rng.uniform(size=N)
    quality[rng.permutation(N)[:missing]] = np.nan
    logs = Logs(
        features=np.zeros((N, 1)),
        action=action,
        quality=quality,
        cost=rng.uniform(size=N),
        propensity=propensity[np.arange(N), action],
        available=np.ones((N, K), bool),
        group=None if groups is None else rng.integers(groups, size=N) * 11 - 5,
    )
    logs, propensity, target, predicted = jax.tree.map(
        lambda x: x.astype(np.float32) if x.dtype == float else x,
        (logs, propensity, rng.dirichlet(np.ones(K), N), rng.uniform(size=(2, N, K))),
    )
    return logs, target, Nuisances(propensity, Outcomes(predicted[0], predicted[1]))


def keep(logs, target, nuisances, index):
    def rows(tree):
        return jax.tree.map(lambda x: x[index], tree)

    return rows(logs), rows(target), rows(nuisances)


def test_missing_feedback_is_left_out_of_the_mean():
    logs, target, nuisances = simulated(missing=9)
    complete = keep(logs, target, nuisances, np.flatnonzero(~np.isnan(logs.quality)))
    for name in ("ipw", "snipw"):
        with_holes = METHODS[name](logs, target, 0.5, nuisances)
        without = METHODS[name](complete[0], complete[1], 0.5, complete[2])
        np.testing.assert_allclose(np.stack(with_holes), np.stack(without), rtol=1e-5)


@pytest.mark.parametrize("name", ["dr", "sndr", "switch_dr", "dros"])
def test_missing_feedback_is_left_out_of_the_correction(name):
    logs, target, nuisances = simulated(missing=9)
    got = METHODS[name](logs, target, 0.5, nuisances)
    # value: d over all rows, w e over the rows with feedback
    t, p, a = np.asarray(target), np.asarray(nuisances.propensity), np.asarray(logs.action)
    u = np.asarray(nuisances.outcomes.quality - 0.5 * nuisances.outcomes.cost)
    i, seen = np.arange(40), ~np.isnan(logs.quality)
    w = t[i, a] / p[i, a]
    e = (np.asarray(logs.quality) - 0.5 * np.asarray(logs.cost) - u[i, a])[seen]
    used = {"switch_dr": np.where(w <= 3, w, 0), "dros": 2 * w / (w**2 + 2)}.get(name, w)[seen]
    divisor = used.sum() if name == "sndr" else seen.sum()
    np.testing.assert_allclose(got.value, (t * u).sum(1).mean() + (used * e).sum() / divisor, rtol=1e-5)
    w = w[seen]
    np.testing.assert_allclose(got.effective_sample_size, w.sum() ** 2 / (w**2).sum(), rtol=1e-5)


def test_no_feedback_at_all_is_nan_not_zero():
    logs, target, nuisances = simulated(missing=40)
    for name in WEIGHTED:
        assert np.isnan(METHODS[name](logs, target, 0.5, nuisances).value)
    assert np.isfinite(estimators.direct_method(logs, target, 0.5, nuisances).value)


def empty(logs, target, nuisances):
    return jax.tree.map(lambda x: x[:0], (logs, target, nuisances))


NEEDS_ROWS = {
    **{name: lambda *of, f=f: f(of[0], of[1], 0.5, of[2]) for name, f in EAGER.items()},
    "inside jit": lambda *of: METHODS["ipw"](of[0], of[1], 0.5, of[2]),
    "rows": lambda *of: estimators.rows(of[0], of[1], 0.5, of[2]),
    "at_weights": lambda *of: estimators.at_weights(of[0], of[1][None], jnp.zeros(1), of[2], 0.05),
    "support": lambda *of: estimators.support(*of),
    "support of propensities": lambda *of: estimators.support(*of[:2]),
    "evaluate": lambda *of: estimators.evaluate(of[0], of[1], 0.5, of[2]),
    "bootstrap": lambda *of: estimators.bootstrap(jax.random.key(0), estimators.ipw, of[0], of[1], 0.5),
    "bounds": lambda *of: estimators.bounds(of[0], of[1], 0.5, of[2], strength=2.0),
    "bounds_interval": lambda *of: estimators.bounds_interval(jax.random.key(0), *of[:2], 0.5, of[2], strength=2.0),
    "tipping_point": lambda *of: estimators.tipping_point(of[0], of[1], 0.5, of[2]),
    "marginalised_ipw": lambda *of: estimators.marginalised_ipw(of[0], of[1], 0.5, of[2], family=np.zeros(3, int)),
    "spending": lambda *of: estimators.spending(of[0], of[2], of[1][None], of[1][None]),
    "frontier": lambda *of: estimators.frontier(of[0], of[2], of[1][None]),
    "gains": lambda *of: by_weight.gains(of[0], of[2], of[1][None], of[1][None], [0.5]),
    "recency": lambda *of: recency.apply(of[0], np.zeros(0), 2.0),
    "recency by itself": lambda *of: recency.choose(of[0], of[2], np.zeros(0)),
}


@pytest.mark.parametrize("name", NEEDS_ROWS)
def test_a_log_without_rows_supports_no_estimate(name):
    with pytest.raises(InputError, match="logs has no rows; an estimate needs at least one"):
        NEEDS_ROWS[name](*empty(*simulated()))


def test_a_judge_is_compared_with_people():
    with pytest.raises(InputError, match=r"logs\.human_quality is None"):
        estimators.biases(simulated()[0])


def test_zero_fill_would_be_seen():
    logs, target, nuisances = simulated(missing=20)
    filled = logs._replace(quality=np.nan_to_num(logs.quality))
    right, wrong = (estimators.snipw(x, target, 0.0, nuisances).value for x in (logs, filled))
    assert right > 1.5 * wrong


def test_a_hole_under_the_targets_mass_or_a_missing_cost_is_loud():
    logs, target, nuisances = simulated()
    quality = nuisances.outcomes.quality.copy()
    quality[0, 1] = np.nan
    spoilt = nuisances._replace(outcomes=nuisances.outcomes._replace(quality=quality))
    for name in ("dm", "dr", "sndr", "switch_dr", "dros"):
        assert np.isnan(METHODS[name](logs, target, 0.5, spoilt).value)
    off = target.copy()
    off[0], logs.action[0] = (0, 0, 1), 2
    for name in ("dm", "dr", "sndr", "switch_dr", "dros"):
        assert np.isfinite(METHODS[name](logs, off, 0.5, spoilt).value)
    logs.cost[3] = np.nan
    for name in WEIGHTED:
        assert np.isnan(METHODS[name](logs, target, 0.5, nuisances).value)


def test_unknown_propensity_raises_and_is_nan_in_jit():
    logs, target, nuisances = simulated()
    unknown = logs._replace(propensity=np.where(np.arange(40) == 7, np.float32(np.nan), logs.propensity))
    with pytest.raises(InputError, match="row 7"):
        estimators.ipw(unknown, target, 0.5)
    assert np.isnan(METHODS["ipw"](unknown, target, 0.5).value)
    # the nuisances' propensity is the one that counts
    assert np.isfinite(estimators.ipw(unknown, target, 0.5, nuisances).value)
    halved = nuisances._replace(propensity=nuisances.propensity / 2)
    ratio = estimators.ipw(logs, target, 0.5, halved).value / estimators.ipw(logs, target, 0.5).value
    np.testing.assert_allclose(ratio, 2.0, rtol=1e-5)


def test_an_outcome_model_is_needed_where_it_is():
    logs, target, _ = simulated()
    for name in ("dm", "dr", "sndr", "switch_dr", "dros"):
        with pytest.raises(ValueError, match="needs nuisances"):
            METHODS[name](logs, target, 0.5)


@pytest.mark.modes
def test_doubly_robust_is_the_mean_of_its_pseudo_outcomes():
    logs, target, nuisances = simulated()
    pseudo = counterfactual.doubly_robust(logs, nuisances, clip=0.2)
    expected = np.sum(target * (np.asarray(pseudo.quality) - 0.5 * np.asarray(pseudo.cost)), -1).mean()
    got = estimators.doubly_robust(logs, target, 0.5, nuisances, clip=0.2).value
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_limits_of_switch_shrinkage_and_caps():
    logs, target, nuisances = simulated()
    call = (logs, target, 0.5, nuisances)
    direct, robust = estimators.direct_method(*call)[:2], estimators.doubly_robust(*call)[:2]
    same = partial(np.testing.assert_allclose, rtol=1e-5)
    same(estimators.shrinkage_doubly_robust(*call, shrinkage=0.0)[:2], direct)
    same(estimators.shrinkage_doubly_robust(*call, shrinkage=jnp.inf)[:2], robust)
    same(estimators.switch_doubly_robust(*call, threshold=-1.0)[:2], direct)
    same(estimators.switch_doubly_robust(*call, threshold=jnp.inf)[:2], robust)
    same(estimators.doubly_robust(*call, weight_clip=0.0)[:2], direct)
    assert estimators.ipw(*call, weight_clip=0.0).value == 0
    # the threshold acts on target / propensity and keeps equality
    certain = (logs, target, 0.5, nuisances._replace(propensity=target / 2))
    same(estimators.switch_doubly_robust(*certain, threshold=2.0).value, estimators.doubly_robust(*certain).value)
    below = estimators.switch_doubly_robust(*certain, threshold=1.999)
    same(below.value, estimators.direct_method(*certain).value)
    assert below.effective_sample_size == 40


@jax.jit
def every(logs, target, cost_weight, nuisances):
    """Value, standard error and effective sample size of all methods [7, 3], in one program."""
    return jnp.stack([jnp.stack(method(logs, target, cost_weight, nuisances)) for method in EAGER.values()])


def test_vmap_over_cost_weights_and_targets_equals_the_loop():
    logs, target, nuisances = simulated(groups=6, missing=3)
    weights = np.float32([0.0, 0.5, 4.0])
    targets = np.stack([target, np.eye(3, dtype=np.float32)[np.argmax(target, -1)], target[::-1]])
    grid = np.asarray(jax.jit(jax.vmap(every, (None, 0, 0, None)))(logs, targets, weights, nuisances))
    for j in range(3):
        np.testing.assert_allclose(grid[j], every(logs, targets[j], weights[j], nuisances), rtol=2e-5)


@pytest.mark.modes
@pytest.mark.parametrize("name", METHODS)
def test_jit_equals_eager(name):
    logs, target, nuisances = simulated()
    with jax.disable_jit():
        eager = EAGER[name](logs, target, 0.5, nuisances)
    with nan_is_unknown() if name == "dm" else nullcontext():  # it has no effective sample size
        jitted = METHODS[name](logs, target, 0.5, nuisances)
    np.testing.assert_allclose(np.stack(eager), np.stack(jitted), rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_gradients(name):
    logs, target, nuisances = simulated(N=8, missing=2)
    with jax.enable_x64(True):
        logs, target, nuisances = jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x), np.float64 if x.dtype == np.float32 else None),
            (logs, target, nuisances),
        )
        method = METHODS[name]
        check_grads(jax.jit(lambda t, w: method(logs, t, w, nuisances).value), (target, 0.5), order=1, modes=["rev"])


@pytest.mark.modes
@nan_is_unknown()  # the error of one group, the effective sample size of the direct method
def test_error_of_grouped_rows():
    logs, target, nuisances = simulated(groups=5)
    plain = np.asarray(every(logs._replace(group=None), target, 0.5, nuisances))
    alone = every(logs._replace(group=np.arange(40)[::-1] - 7), target, 0.5, nuisances)
    np.testing.assert_allclose(alone, plain, rtol=1e-5)
    one_group = np.asarray(every(logs._replace(group=np.zeros(40, int)), target, 0.5, nuisances))
    np.testing.assert_allclose(one_group[:, 0], plain[:, 0], rtol=1e-6)
    assert np.isnan(one_group[:, 1]).all()
    np.testing.assert_allclose(one_group[:, 2], np.where(np.isnan(plain[:, 2]), np.nan, 1.0), rtol=1e-6)

    z = np.asarray(estimators.rows(logs, target, 0.5, nuisances).influence)
    sums = np.array([(z - z.mean())[logs.group == label].sum() for label in np.unique(logs.group)])
    expected = np.sqrt(5 / 4 * (sums**2).sum()) / 40
    got = np.asarray(every(logs, target, 0.5, nuisances))[list(EAGER).index("dr"), 1]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_rows_copied_within_a_group_add_no_evidence():
    logs, target, nuisances = simulated()
    twice = np.repeat(np.arange(40), 2)
    logs_twice, target_twice, nuisances_twice = keep(logs, target, nuisances, twice)
    once = np.asarray(every(logs, target, 0.5, nuisances))
    again = np.asarray(every(logs_twice._replace(group=twice), target_twice, 0.5, nuisances_twice))
    np.testing.assert_allclose(again, once, rtol=1e-5)


def test_intervals_of_a_few_conversations_cover_the_truth():
    """Ten groups of unequal size whose rows err together: Student's t has the degrees of freedom of groups."""
    rng, repeats = np.random.default_rng(0), 600
    group = np.repeat(np.arange(10), [120, 90, 80, 60, 50, 40, 30, 15, 10, 5])
    shared = rng.standard_normal((repeats, 10))[:, group] * np.sqrt(0.2)
    z = jnp.asarray(0.5 + shared + np.sqrt(0.8) * rng.standard_normal((repeats, len(group))), jnp.float32)
    ones = jnp.ones(len(group))
    found = jax.vmap(lambda row: estimators.estimate(estimators.Rows(row, ones > 0, ones, jnp.asarray(group))))(z)
    half = estimators.half_width(found.effective_sample_size) * np.asarray(found.standard_error)
    covered = np.abs(np.asarray(found.value) - 0.5) <= half
    assert 0.90 < covered.mean() < 0.98
    too_narrow = np.abs(np.asarray(found.value) - 0.5) <= 1.96 * np.asarray(found.standard_error)
    assert too_narrow.mean() < 0.88


@pytest.mark.modes
def test_rows_give_paired_differences():
    logs, target, nuisances = simulated()
    other = target[::-1]
    a, b = (estimators.rows(logs, t, 0.5, nuisances) for t in (target, other))
    difference = estimators.estimate(a._replace(influence=a.influence - b.influence))
    values = [estimators.doubly_robust(logs, t, 0.5, nuisances) for t in (target, other)]
    np.testing.assert_allclose(difference.value, values[0].value - values[1].value, rtol=1e-4, atol=1e-6)
    # against itself the paired error is 0, not sqrt(2) times the single one
    nothing = estimators.estimate(a._replace(influence=a.influence - a.influence))
    assert nothing.value == nothing.standard_error == 0
