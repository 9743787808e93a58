"""learn.fit: folds and selection against NumPy, no row in its own decision, and routers that are worth having."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxroute
from jaxroute import counterfactual, engine, learn, losses, metrics, nuisance, numerics, policies, sweep
from jaxroute.engine import networks, program
from jaxroute.learn import estimates, folds, members, objectives
from jaxroute.recipe import caution, levels
from jaxroute.types import Examples, Hyperparams, InputError, Logs, Nuisances, Outcomes, Spec

N, K, F = 120, 3, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4)).astype(np.float32)
ACTION = RNG.integers(0, K, N).astype(np.int32)
MEAN = (1 / (1 + np.exp(-3 * X[:, :K]))).astype(np.float32)
QUALITY = (RNG.random((N, K)) < MEAN).astype(np.float32)
COST = np.array([0.001, 0.002, 0.004], np.float32) * np.ones((N, 1), np.float32)
ROWS = np.arange(N)
LOGS = Logs(X, ACTION, QUALITY[ROWS, ACTION], COST[ROWS, ACTION], np.full(N, 1 / K, np.float32), np.ones((N, K), bool))
NUISANCES = Nuisances(np.full((N, K), 1 / K, np.float32), Outcomes(np.full((N, K), 0.5, np.float32), COST))
WEIGHTS = [0.0, 50.0]
TINY = {"training": Spec((), steps=40, chunk=10, dropout=0.0), "num_folds": F, "cost_scale": 0.01}


def fit(logs=LOGS, **changes):
    given = {"nuisances": NUISANCES, "cost_weights": WEIGHTS, "seeds": (0, 1), **TINY, **changes}
    return learn.fit(jax.random.key(3), logs, **given)


@pytest.fixture(scope="module")
def fitted():
    return fit()


@pytest.mark.parametrize("group", [None, np.repeat(np.arange(40), 3), np.r_[np.zeros(50, int), np.arange(1, 71)]])
def test_folds_are_what_they_say(group):
    """Row by row: held out by its own fold's group, validated by the fold before, learnt from by all the others."""
    found = folds.assign(jax.random.key(3), N, 5, group)
    for row in range(N):
        own = found.fold[row]
        for f in range(5):
            part = "held_out" if own == f else "validate" if own == (f + 1) % 5 else "learn"
            for name in ("held_out", "validate", "learn"):
                assert (row in getattr(found, name)[f]) == (name == part)
    for part in (found.held_out, found.validate, found.learn):
        for f in range(5):
            real = part[f][part[f] < N]
            assert len(np.unique(real)) == len(real)
    if group is None:
        assert np.ptp(np.bincount(found.fold)) <= 1
    else:
        assert all(len(np.unique(found.fold[group == g])) == 1 for g in group)


def test_rows_come_back_to_their_places():
    found = folds.assign(jax.random.key(3), 11, 3)
    taken = folds.take((X[:11], np.ones(11, bool)), found.held_out)
    np.testing.assert_array_equal(folds.put_back(taken[0], found.held_out, 11), X[:11])
    assert int(taken[1].sum()) == 11  # a row that is not there is not available


@pytest.mark.parametrize("arguments", [(2, None), (5, np.repeat([0, 1, 2], 4))])
def test_too_few_folds_or_groups_are_refused(arguments):
    with pytest.raises(InputError, match="folds"):
        folds.assign(jax.random.key(3), 12, *arguments)


@pytest.mark.modes
def test_scores_values_and_decisions_against_numpy(fitted):
    """Linear routers, written out: member (f, s) scores fold f, its value is the doubly robust one on fold f + 1."""
    x = (X - np.asarray(fitted.axes.mean)) @ np.asarray(fitted.axes.basis)
    robust = np.full((N, K), 0.5), COST.astype(float).copy()
    robust[0][ROWS, ACTION] += K * (LOGS.quality - 0.5)
    robust[1][ROWS, ACTION] += K * (LOGS.cost - COST[ROWS, ACTION])
    np.testing.assert_allclose(fitted.outcomes.quality, robust[0], atol=1e-5)
    weight, bias = (np.asarray(fitted.params["params"]["scores"][name]) for name in ("kernel", "bias"))
    assert weight.shape == (2, F * 2, 4, K)
    for at, w in enumerate(WEIGHTS):
        utility = robust[0] - w * robust[1]
        for f in range(F):
            policy = np.zeros((N, K))
            for s in range(2):
                z = x @ weight[at, 2 * f + s] + bias[at, 2 * f + s]
                policy += np.exp(z) / np.exp(z).sum(1, keepdims=True) / 2
                rows = fitted.fold == (f + 1) % F
                value = utility[rows, z.argmax(1)[rows]].mean()
                np.testing.assert_allclose(fitted.value[at, 2 * f + s], value, atol=1e-5)
            rows = fitted.fold == f
            np.testing.assert_allclose(np.exp(fitted.log_probabilities[at][rows]), policy[rows], atol=1e-5)
            np.testing.assert_array_equal(fitted.decisions[at][rows].argmax(1), policy[rows].argmax(1))


def test_no_row_has_a_part_in_its_own_decision(fitted):
    """Answers of fold 1 replaced by nonsense: its own decisions keep their bits, the others do not."""
    own = fitted.fold == 1
    poisoned = LOGS._replace(
        quality=np.where(own, 1 - LOGS.quality, LOGS.quality), cost=np.where(own, 50 * LOGS.cost, LOGS.cost)
    )
    other = fit(poisoned)
    np.testing.assert_array_equal(other.fold, fitted.fold)
    np.testing.assert_array_equal(other.log_probabilities[:, own], fitted.log_probabilities[:, own])
    assert np.abs(other.log_probabilities[:, ~own] - fitted.log_probabilities[:, ~own]).max() > 0.01


def test_rows_of_a_group_are_decided_by_routers_that_saw_none_of_them():
    group = np.arange(N) // 4
    fitted = fit(LOGS._replace(group=group))
    assert all(np.ptp(fitted.fold[group == g]) == 0 for g in range(N // 4))


def test_a_seed_alone_and_among_others_is_the_same_member(fitted):
    alone = fit(seeds=(1,))
    kernel = lambda f: np.asarray(f.params["params"]["scores"]["kernel"])
    np.testing.assert_allclose(kernel(alone), kernel(fitted)[:, 1::2], atol=1e-6)


def test_one_program_serves_every_number():
    """Other cost weights, hyperparameters and seeds compile nothing anew: a program is (loss, shape)."""
    spec = TINY["training"]
    static = engine.Program(networks.router(K, ()), objectives.OBJECTIVES["rm_softmax"], spec, sweep.mesh())
    fit()
    chunk = program.compiled_chunk(static)
    before = chunk._cache_size()
    fit(cost_weights=[5.0, 80.0], seeds=(4, 9), hyperparams=Hyperparams(temperature=0.5, learning_rate=0.1))
    assert before >= 1
    assert chunk._cache_size() == before


def test_missing_models_are_never_chosen_nor_learnt_from():
    available = np.ones((N, K), bool)
    available[::2, 1] = ACTION[::2] == 1
    outcomes = jax.tree.map(lambda y: np.where(available, y, np.nan).astype(np.float32), NUISANCES.outcomes)
    holes = fit(LOGS._replace(available=available), nuisances=NUISANCES._replace(outcomes=outcomes))
    assert not np.asarray(holes.decisions)[:, ~available].any()
    assert np.isfinite(holes.value).all()


@pytest.mark.modes
def test_a_shadow_joins_as_rows_with_every_answer(fitted):
    part = slice(0, 30)
    quality = QUALITY[part].copy()
    quality[3, 1] = np.nan
    shadow = Examples(X[part], Outcomes(quality, COST[part]), np.ones((30, K), bool))
    found = fit(shadow=shadow)
    assert found.decisions.shape == (2, N, K)
    assert found.shadow_decisions.shape == (2, 30, K)
    assert found.fold.shape == (N + 30,)
    np.testing.assert_array_equal(found.outcomes.quality[N:], np.where(np.isnan(quality), 0, quality))
    assert not found.shadow_decisions[:, 3, 1].any()
    assert np.abs(found.value - fitted.value).max() > 1e-4


@pytest.mark.modes
@pytest.mark.slow
@pytest.mark.parametrize("name", objectives.LOSSES)
def test_every_named_loss_learns(name):
    """At the first cost weight, quality alone, what was decided unseen is better than any single model."""
    found = fit(loss=name, seeds=(0,))
    decided = np.asarray(found.decisions)
    assert ((decided == 0) | (decided == 1)).all()
    assert (decided.sum(-1) == 1).all()
    assert (decided[0] * QUALITY).sum(-1).mean() > QUALITY.mean(0).max()


@pytest.mark.parametrize("name", sorted(estimates.ESTIMATORS))
def test_estimators_by_name_are_the_functions(name):
    given = {"clip": 0.4, "threshold": 5.0, "shrinkage": 10.0}
    expected = {
        "dr": lambda: counterfactual.doubly_robust(LOGS, NUISANCES, clip=0.4),
        "dm": lambda: counterfactual.direct(LOGS, NUISANCES),
        "ipw": lambda: counterfactual.inverse_propensity(LOGS, NUISANCES, clip=0.4),
        "switch": lambda: counterfactual.switch_doubly_robust(LOGS, NUISANCES, clip=0.4, threshold=given["threshold"]),
        "shrinkage": lambda: counterfactual.shrinkage_doubly_robust(LOGS, NUISANCES, clip=0.4, shrinkage=10.0),
        "pessimistic": lambda: _pessimistic(0.4),
        "calibrated": _calibrated,
    }[name]()
    found = estimates.outcomes(name, LOGS, NUISANCES, Hyperparams(clip=0.4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def _calibrated():
    """Every column moved to its level, which `test_recipe` checks; cost as predicted."""
    quality, cost = NUISANCES.outcomes
    count = np.bincount(ACTION, minlength=K).astype(np.float32)
    level = np.asarray(caution.settled(levels.fit(LOGS, NUISANCES), np.mean(quality, 0), count))
    return Outcomes(np.asarray(quality) - np.mean(quality, 0) + level, cost)


def _pessimistic(clip):
    """One standard error below, written out."""
    robust = counterfactual.doubly_robust(LOGS, NUISANCES, clip=clip)
    count = np.bincount(ACTION, minlength=K)
    squares = np.bincount(ACTION, (LOGS.quality - 0.5) ** 2, minlength=K)
    sigma = np.sqrt((squares + 10 * 0.25) / (count + 10))
    return robust._replace(quality=np.asarray(robust.quality) - sigma / np.sqrt(1 + 100 / K))


@pytest.mark.modes
def test_ones_own_estimator_and_loss():
    def halved(logs, nuisances, *, clip):
        robust = counterfactual.doubly_robust(logs, nuisances, clip=clip)
        return robust._replace(quality=robust.quality / 2)

    def value(scores, utility, *, where=None, temperature=1.0):
        policy = policies.softmax(scores, temperature=temperature, available=where)
        return -numerics.masked_sum(policy * utility, where)

    found = fit(loss=value, estimator=halved)
    # The softmax regret is the negative value up to a constant: the same gradients, the same routers.
    again = fit(loss="rm_softmax", estimator=halved)
    np.testing.assert_allclose(found.log_probabilities, again.log_probabilities, atol=1e-3)
    with pytest.raises(InputError, match="estimator <lambda>: quality is not finite, row 0, model 0"):
        fit(estimator=lambda logs, nuisances: Outcomes(NUISANCES.outcomes.quality * np.nan, COST))
    with pytest.raises(InputError, match=r"estimator <lambda>: quality of shape \(120,\)"):
        fit(estimator=lambda logs, nuisances: Outcomes(logs.quality, logs.cost))


@pytest.mark.slow
def test_the_temperature_of_the_mean_is_the_loss_own():
    point = Hyperparams(temperature=0.5)
    assert fit(loss=losses.softmax_regret, hyperparams=point).temperature == 0.5
    assert fit(loss=losses.spo_plus, hyperparams=point).temperature == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "rm_sofmax"}, "unknown loss 'rm_sofmax': choose from rm_classification"),
        ({"loss": 3}, "unknown loss 3"),
        ({"loss": lambda s, u, *, where=None: s}, r"gives shape \(6, 3\)"),
        ({"estimator": "drx"}, "estimator is 'drx'; it must be one of dr, dm"),
        ({"cost_weights": [1.0, 0.5]}, "ascend"),
        ({"cost_weights": []}, "a list of one number or more"),
        ({"cost_weights": [0.0, np.nan]}, "finite"),
        ({"cost_weights": [-1.0]}, "ascend from 0"),
        ({"seeds": ()}, "seeds is empty"),
        (
            {"hyperparams": Hyperparams(temperature=jnp.ones(3))},
            r"hyperparams\.temperature is .*; it must be one",
        ),
        ({"nuisances": jax.tree.map(lambda x: x[:5], NUISANCES)}, r"nuisances of shape \(5, 3\)"),
        ({"num_folds": 2}, "folds=2"),
    ],
)
def test_bad_arguments_are_one_line_before_any_training(changes, words, monkeypatch):
    def never(*_, **__):
        raise AssertionError("training began")

    monkeypatch.setattr(engine, "train", never, raising=False)
    with pytest.raises(InputError, match=words) as caught:
        fit(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quality": 5 * LOGS.quality}, r"logs\.quality, row \d+: 5; it must be in \[0, 1\]"),
        ({"cost": -LOGS.cost}, r"logs\.cost, row 0: -0\.001; it must be a finite number of at least 0"),
        ({"cost": LOGS.cost * np.nan}, r"logs\.cost, row 0: nan; it must be a finite number"),
        ({"cost": LOGS.cost[1:]}, r"logs\.cost has shape \(119,\), and logs\.action \(120,\)"),
        ({"action": np.full(N, K)}, r"logs\.action, row 0: 3 is not the index of one of 3 models"),
        ({"propensity": np.full(N, 2.0)}, r"logs\.propensity, row 0: 2; it must be at most 1"),
    ],
)
def test_arrays_that_are_no_log_are_refused_before_anything_is_fitted(changes, words, monkeypatch):
    monkeypatch.setattr(nuisance, "fit", lambda *_, **__: pytest.fail("nuisances were fitted"))
    with pytest.raises(InputError, match=words):
        jaxroute.fit(LOGS._replace(**changes), "plug_in_mean", models=["a", "b", "c"], outcome_models=["mean"])


@pytest.mark.slow
def test_with_a_strong_signal_it_beats_the_best_single_model():
    """Each model is good where its own feature is high: by the known means, and by the log's cross-fitted value."""
    rng, rows = np.random.default_rng(5), np.arange(900)
    x = rng.normal(size=(1400, 4)).astype(np.float32)
    mean = 1 / (1 + np.exp(-3 * x[:, :K]))
    action = rng.integers(0, K, 900).astype(np.int32)
    quality = (rng.random(900) < mean[rows, action]).astype(np.float32)
    cost = COST[0][action]
    logs = Logs(x[:900], action, quality, cost, np.full(900, 1 / K, np.float32), np.ones((900, K), bool))
    half = np.full((900, K), 0.5, np.float32)
    given = Nuisances(np.full((900, K), 1 / K, np.float32), Outcomes(half, half * 0 + COST[0]))
    fitted = fit(logs, nuisances=given, cost_weights=[0.0, 20.0], training=Spec((16,), steps=100), seeds=(0,))
    new = jnp.asarray((x[900:] - np.asarray(fitted.axes.mean)) @ np.asarray(fitted.axes.basis))
    network = networks.router(K, fitted.hidden)
    for at, weight in enumerate(fitted.cost_weights):
        utility = mean[900:] - weight * COST[0]
        scores = jax.vmap(network.apply, (0, None))(jax.tree.map(lambda p: p[at], fitted.params), new)  # noqa: B023
        policy = members.log_mean_policy(jnp.moveaxis(scores, 0, 1), fitted.temperature)
        ours = utility[np.arange(500), np.asarray(policy).argmax(1)].mean()
        assert ours > utility.mean(0).max() + 0.2
        on_log = metrics.value(fitted.decisions[at], fitted.outcomes, weight)
        assert abs(float(on_log.mean()) - ours) < 4 * float(on_log.std()) / np.sqrt(900)
