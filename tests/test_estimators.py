"""Off-policy estimators against golden values, a loop in NumPy and simulated truth; the support report."""

from contextlib import nullcontext
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute import counterfactual, estimators
from jaxroute.numerics import nan_is_unknown
from jaxroute.types import Estimate, InputError, Logs, Nuisances, Outcomes

TOLERANCE = {np.float64: {"rtol": 1e-9, "atol": 1e-11}, np.float32: {"rtol": 1e-5, "atol": 2e-6}}

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


@partial(jax.jit, static_argnames="known")
def golden_estimates(logs, target, nuisances, known, cost_weight, case):
    """Every estimate of one golden case; ``known``: propensities from the log, not from the nuisances."""
    source = None if known else nuisances
    call = {"clip": case["eps"]}
    clipped = {**call, "weight_clip": case["weight_clip"]}
    return {
        "dm": estimators.direct_method(logs, target, cost_weight, nuisances, **call),
        "ipw": estimators.ipw(logs, target, cost_weight, source, **call),
        "clipped_ipw": estimators.ipw(logs, target, cost_weight, source, **clipped),
        "snipw": estimators.snipw(logs, target, cost_weight, source, **call),
        "dr": estimators.doubly_robust(logs, target, cost_weight, nuisances, **call),
        "clipped_dr": estimators.doubly_robust(logs, target, cost_weight, nuisances, **clipped),
        "sndr": estimators.self_normalised_doubly_robust(logs, target, cost_weight, nuisances, **call),
        "switch_dr": estimators.switch_doubly_robust(
            logs, target, cost_weight, nuisances, threshold=case["tau"], **call
        ),
        "dros": estimators.shrinkage_doubly_robust(logs, target, cost_weight, nuisances, shrinkage=case["lam"], **call),
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_golden(golden, dtype):
    def close(got, expected):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, np.nan if expected is None else expected, **TOLERANCE[dtype])

    # Formulas in float64, every case; in float32 known, unknown and masked rows, and a single one.
    cases = [c for c in golden["ope"] if dtype == np.float64 or len(c["inputs"]["action"]) in (1, 12, 15, 20)]
    assert len(cases) == {np.float64: 9, np.float32: 4}[dtype]
    with jax.enable_x64(dtype == np.float64):
        for case in cases:
            inputs, expected = case["inputs"], case["expected"]
            known = "propensity" in inputs
            action = np.array(inputs["action"])
            N, K = len(action), inputs["n_models"]
            if known:
                propensity = np.repeat(np.array(inputs["propensity"], dtype)[:, None], K, 1)
            else:
                propensity = np.array(inputs["propensities"], dtype)
            quality, cost = np.array(inputs["quality"], dtype), np.array(inputs["cost"], dtype)
            available = np.ones((N, K), bool) if inputs["available"] is None else np.array(inputs["available"])
            own = propensity[np.arange(N), action] if known else np.full(N, np.nan, dtype)
            logs = Logs(np.zeros((N, 1), dtype), action, quality, cost, own, available)
            # What a model would have done where it is not available is nobody's business.
            predicted = (np.where(available, np.array(inputs[x], dtype), np.nan) for x in ("q_hat", "c_hat"))
            nuisances = Nuisances(propensity, Outcomes(*predicted))
            numbers = {x: inputs[x] for x in ("eps", "weight_clip", "tau", "lam")}
            numbers = {name: dtype(x) for name, x in numbers.items()}
            # cost alone is minus utility at weight 1 with quality 0
            reward = {
                "quality": (logs, nuisances, 0.0, 1),
                "utility": (logs, nuisances, inputs["cost_weight"], 1),
                "cost": (
                    logs._replace(quality=0 * quality),
                    nuisances._replace(outcomes=nuisances.outcomes._replace(quality=0 * nuisances.outcomes[0])),
                    1.0,
                    -1,
                ),
            }
            for name, (log, nuisance, weight, sign) in reward.items():
                target = np.array(inputs["pi"], dtype)
                got = golden_estimates(log, target, nuisance, known, dtype(weight), numbers)
                for method, estimate in got.items():
                    want = expected[name][method]
                    close(sign * estimate.value, want["value"])
                    close(estimate.standard_error, want["se"])
                    ess = None if method == "dm" else expected["ess"]
                    close(estimate.effective_sample_size, ess)


# -- by hand -----------------------------------------------------------------------------------------


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
    certain = (logs, np.full_like(target, 0.25), 0.5, nuisances._replace(propensity=np.full_like(target, 0.125)))
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
    np.testing.assert_allclose(one_group[:, [0, 2]], plain[:, [0, 2]], rtol=1e-6)
    assert np.isnan(one_group[:, 1]).all()

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
    np.testing.assert_allclose(again[:, :2], once[:, :2], rtol=1e-5)


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


# -- simulated truth ---------------------------------------------------------------------------------

# With 200 rows the normal interval of the self-normalised estimators covers 93.5%, with 600 some 94.5%.
N, K, DRAWS = 600, 3, 2000
COST_WEIGHT = 0.5


def world(x):
    """Conditional mean quality and cost, and logging propensity, of three models on features x [N]."""
    slope, level = jnp.array([[0.4, -0.3, 0.1]]), jnp.array([[0.3, 0.6, 0.5]])
    quality = level + slope * x[:, None]
    cost = jnp.array([[0.1, 0.4, 0.2]]) * (1 + x[:, None])
    propensity = jax.nn.softmax(jnp.array([[1.0, -1.0, 0.0]]) * (2 * x[:, None] - 1), -1)
    return quality, cost, 0.1 + 0.7 * propensity


def policy(x):
    return jax.nn.softmax(jnp.array([[-1.0, 2.0, 0.0]]) * x[:, None], -1)


def draw(key, wrong_propensity, wrong_outcomes, answered):
    """One log with some feedback lost, its target policy, and nuisances of which either may be wrong."""
    keys = jax.random.split(key, 5)
    x = jax.random.uniform(keys[0], (N,))
    mean, cost, propensity = world(x)
    action = jax.random.categorical(keys[1], jnp.log(propensity))
    taken = action[:, None]
    chance = jnp.take_along_axis(mean, taken, 1)[:, 0]
    quality = (jax.random.uniform(keys[2], (N,)) < chance).astype(float)
    quality = jnp.where(jax.random.uniform(keys[4], (N,)) < answered, quality, jnp.nan)
    noise = 0.1 * jax.random.uniform(keys[3], (N,))
    logs = Logs(
        x[:, None],
        action,
        quality,
        jnp.take_along_axis(cost, taken, 1)[:, 0] + noise - 0.05,
        jnp.take_along_axis(propensity, taken, 1)[:, 0],
        jnp.ones((N, K), bool),
    )
    propensity = jnp.where(wrong_propensity, 1 / K, propensity)
    right, wrong = Outcomes(mean, cost), Outcomes(1 - mean, cost[:, ::-1])
    predicted = jax.tree.map(partial(jnp.where, wrong_outcomes), wrong, right)
    return logs, policy(x), Nuisances(propensity, predicted)


@jax.jit
def estimates_of_logs(keys, *settings):
    def one(key):
        logs, target, nuisances = draw(key, *settings)
        names = ("dm", "ipw", "snipw", "dr", "sndr")
        return {name: EAGER[name](logs, target, COST_WEIGHT, nuisances) for name in names}

    return jax.vmap(one)(keys)


@cache
def replicates(wrong_propensity, wrong_outcomes, answered=1.0) -> dict[str, Estimate]:
    """Estimates of every method on the same 2000 logs."""
    every = estimates_of_logs(jax.random.split(jax.random.key(0), DRAWS), wrong_propensity, wrong_outcomes, answered)
    return jax.tree.map(lambda x: np.asarray(x, np.float64), every)


@pytest.fixture(scope="module")
def truth():
    grid = np.linspace(0, 1, 20_001, dtype=np.float32)  # features are uniform: an integral by the trapezoid rule
    (quality, cost, _), target = jax.jit(lambda x: (world(x), policy(x)))(grid)
    return float(np.trapezoid(np.sum(np.asarray(target) * (quality - COST_WEIGHT * cost), -1), grid))


def bias_in_errors(estimates, truth):
    return (estimates.value.mean() - truth) / (estimates.value.std(ddof=1) / np.sqrt(DRAWS))


@pytest.mark.parametrize(("wrong_propensity", "wrong_outcomes", "victim"), [(True, False, "ipw"), (False, True, "dm")])
def test_doubly_robust_survives_either_nuisance_wrong(truth, wrong_propensity, wrong_outcomes, victim):
    estimates = replicates(wrong_propensity, wrong_outcomes)
    assert abs(bias_in_errors(estimates["dr"], truth)) < 4
    # and the wrong nuisance is wrong enough to matter
    assert abs(bias_in_errors(estimates[victim], truth)) > 10


def test_nothing_survives_both_nuisances_wrong(truth):
    assert abs(bias_in_errors(replicates(True, True)["dr"], truth)) > 10


@pytest.mark.parametrize("name", ["ipw", "snipw", "dr", "sndr"])
@pytest.mark.parametrize("answered", [1.0, 0.6])
def test_coverage_of_the_normal_interval(truth, name, answered):
    estimates = replicates(False, True, answered)[name]
    covered = (np.abs(estimates.value - truth) <= 1.96 * estimates.standard_error).mean()
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / DRAWS)
    np.testing.assert_allclose(estimates.standard_error.mean(), estimates.value.std(ddof=1), rtol=0.06)


# -- support -----------------------------------------------------------------------------------------


def uniform_log(N=4000, K=4, seed=0, propensity=None):
    rng = np.random.default_rng(seed)
    table = np.full((N, K), 1 / K, np.float32) if propensity is None else np.tile(propensity, (N, 1))
    action = np.array([rng.choice(K, p=row / row.sum()) for row in np.float64(table)])
    quality = rng.uniform(size=N).astype(np.float32)
    logs = Logs(
        np.zeros((N, 1), np.float32),
        action,
        quality,
        quality,
        table[np.arange(N), action],
        np.ones((N, K), bool),
    )
    half = np.full((N, K), 0.5, np.float32)
    return logs, Nuisances(table.astype(np.float32), Outcomes(half, half))


def always(k, N=4000, K=4):
    return np.tile(np.eye(K, dtype=np.float32)[k], (N, 1))


def test_support_ok_for_a_greedy_target_under_uniform_logging():
    logs, nuisances = uniform_log()
    report = estimators.support(logs, always(2), nuisances)
    assert report.verdict == "ok"
    count = (logs.action == 2).sum()
    np.testing.assert_allclose(report.numbers["effective_sample_size"], count)
    np.testing.assert_allclose(report.numbers["effective_sample_size_share"], count / 4000)
    np.testing.assert_allclose(report.numbers["largest_weight_share"], 1 / count, rtol=1e-5)
    assert report.numbers["unsupported_mass"] == 0
    assert report.numbers["uniform_greedy_share"] == 0.25
    assert len(report.models) == 4
    np.testing.assert_allclose(report.models[2]["share"], count / 4000)
    np.testing.assert_allclose(report.models[2]["mean_propensity"], 0.25)
    # nobody is predicted better or worse than 0.5; one choice in four is each model's
    np.testing.assert_allclose(report.numbers["cost_ratio"], 0.5 / logs.cost.mean(), rtol=1e-5)
    assert report.numbers["propensity_calibration_error"] < 0.03


def test_support_takes_the_hardest_target_and_names_models():
    logs, nuisances = uniform_log(propensity=np.array([0.9, 0.09, 0.009, 0.001]))
    targets = np.stack([always(0), always(3)])
    report = estimators.support(logs, targets, nuisances, models=["a", "b", "c", "d"])
    assert report.verdict == "refuse"
    assert [row["unsupported_mass"] for row in report.targets] == [0.0, 1.0]
    assert report.targets[0]["effective_sample_size"] > 3000
    assert report.numbers["effective_sample_size"] == report.targets[1]["effective_sample_size"] < 50
    assert any("model d" in reason for reason in report.reasons)
    assert estimators.support(logs, targets[0], nuisances).verdict == "ok"


@pytest.mark.parametrize(("mass", "verdict"), [(0.005, "ok"), (0.03, "caution"), (0.06, "refuse")])
def test_support_judges_unsupported_mass(mass, verdict):
    logs, nuisances = uniform_log(propensity=np.array([0.5, 0.47, 0.02, 0.01]))
    target = np.tile(np.array([1 - mass, 0, 0, mass], np.float32), (4000, 1))
    report = estimators.support(logs, target, nuisances)
    np.testing.assert_allclose(report.numbers["unsupported_mass"], mass, rtol=1e-5)
    assert report.verdict == verdict
    assert all(isinstance(reason, str) and reason for reason in report.reasons)


@pytest.mark.parametrize(("rows", "verdict"), [(1200, "ok"), (400, "caution"), (120, "refuse")])
def test_support_judges_effective_rows_not_their_share(rows, verdict):
    logs, nuisances = uniform_log(N=rows)
    assert estimators.support(logs, always(1, N=rows), nuisances).verdict == verdict


@pytest.mark.modes
def test_support_counts_feedback_and_availability():
    logs, nuisances = uniform_log()
    silent = logs._replace(quality=np.where(logs.action == 1, np.nan, logs.quality))
    report = estimators.support(silent, always(1), nuisances)
    assert report.numbers["unsupported_mass"] == 1.0
    assert report.numbers["effective_sample_size"] == 0.0
    assert report.verdict == "refuse"
    assert report.models[1]["rows"] > 900
    assert report.models[1]["rows_with_feedback"] == 0
    closed = logs._replace(available=np.tile([True, True, False, True], (4000, 1)))
    others = np.asarray(logs.action) != 2
    closed, fitted = jax.tree.map(lambda x: x[others], (closed, nuisances))
    assert estimators.support(closed, always(2)[others], fitted).numbers["unsupported_mass"] == 1.0


def test_support_sees_one_dominating_row():
    logs, nuisances = uniform_log()
    row = int(np.flatnonzero(logs.action == 0)[0])
    table = nuisances.propensity.copy()
    table[row, 0] = 0.0002
    logs = logs._replace(propensity=table[np.arange(4000), logs.action])
    report = estimators.support(logs, always(0), nuisances._replace(propensity=table), clip=0.0002)
    assert report.numbers["largest_weight_share"] > 0.5
    assert any("one row carries" in reason for reason in report.reasons)


@pytest.mark.parametrize("fitted", [True, False])
def test_support_sees_a_deterministic_log_through_a_fitted_model(fitted):
    logs, nuisances = uniform_log()
    logs = logs._replace(propensity=np.ones(4000, np.float32))
    report = estimators.support(logs, always(0), nuisances if fitted else None)
    assert report.verdict == "refuse"
    assert report.numbers["unsupported_mass"] > 0.7  # only where model 0 was chosen anyway
    if not fitted:
        assert any("outcome model's guess" in reason for reason in report.reasons)
    own = np.eye(4, dtype=np.float32)[logs.action]
    assert estimators.support(logs, own).verdict == "ok"  # the log's own policy is what it does identify


def test_support_needs_a_propensity():
    logs, _ = uniform_log(N=50)
    with pytest.raises(InputError, match="propensity"):
        estimators.support(logs._replace(propensity=np.full(50, np.nan, np.float32)), always(0, N=50))
