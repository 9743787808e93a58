"""Numbers at the doors of the public functions: integers give what floats give, and what is no number is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, estimators, losses, metrics, numerics, policies
from jaxroute.estimators.pessimism import noise, pessimistic
from jaxroute.types import Examples, InputError, Logs, Nuisances, Outcomes

INF, NAN = np.inf, np.nan

# Whole numbers up to 200, so that sums and differences leave the range of 8 bits; every row has another best model.
SCORES = np.array([[200, 10, 3], [1, 0, 100], [7, 250, 9], [5, 4, 3]])
UTILITY = np.array([[1, 170, 200], [150, 2, 0], [90, 1, 3], [2, 2, 2]])
WHERE = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], bool)
OUTCOMES = Outcomes(SCORES % 2, UTILITY)
POLICY = np.eye(3, dtype=int)[[0, 2, 1, 0]]


def log(**changes):
    rows = {"features": np.zeros((4, 1)), "action": np.array([0, 2, 1, 0]), "quality": np.array([1, 0, 1, 1])}
    rows |= {"cost": np.array([200, 3, 0, 7]), "propensity": np.array([1, 1, 1, 1]), "available": WHERE}
    return Logs(**rows | changes)


def nuisances(kind=np.asarray):
    return Nuisances(kind(np.ones((4, 3), int)), Outcomes(kind(1 - OUTCOMES.quality), kind(np.flip(UTILITY, 1))))


LOSSES = {
    "softmax_regret": partial(losses.softmax_regret, temperature=50.0, entropy=0.5),
    "regret_cross_entropy": partial(losses.regret_cross_entropy, weighting="gap"),
    "soft_labels": partial(losses.regret_cross_entropy, label_temperature=40.0),
    "greedy_regret": losses.greedy_regret,
    "squared_utility_error": losses.squared_utility_error,
    "spo_plus": losses.spo_plus,
    "cost_sensitive_hinge": losses.cost_sensitive_hinge,
}
# A function of `to`, which turns the whole numbers above into some type.
FUNCTIONS = {
    **{name: (lambda to, f=f: f(to(SCORES), to(UTILITY))) for name, f in LOSSES.items()},
    **{f"{name}, mask": (lambda to, f=f: f(to(SCORES), to(UTILITY), where=WHERE)) for name, f in LOSSES.items()},
    "greedy": lambda to: policies.greedy(to(SCORES)),
    "softmax": lambda to: policies.softmax(to(SCORES), temperature=50, available=WHERE),
    "epsilon_greedy": lambda to: policies.epsilon_greedy(to(SCORES), epsilon=0.5),
    "best_single": lambda to: policies.best_single(Outcomes(*map(to, OUTCOMES)), 1, available=WHERE),
    "ensemble": lambda to: policies.ensemble(to(SCORES)[None], temperature=50.0),
    "envelope": lambda to: policies.envelope(to(SCORES), to(UTILITY), WHERE)[0],
    "utility": lambda to: counterfactual.utility(Outcomes(*map(to, OUTCOMES)), 2),
    "value": lambda to: metrics.value(to(POLICY), Outcomes(*map(to, OUTCOMES)), 2),
    "regret": lambda to: metrics.regret(to(POLICY), Outcomes(*map(to, OUTCOMES)), 2, available=WHERE),
    "quality_cost_points": lambda to: metrics.quality_cost_points(to(POLICY)[None], Outcomes(*map(to, OUTCOMES))),
    "routing_collapse": lambda to: metrics.routing_collapse(np.array([0, 2, 1, 0]), Outcomes(*map(to, OUTCOMES))),
    "aiq": lambda to: metrics.aiq(to(UTILITY[:, :2]), max_cost=150.5),
    "pessimistic": lambda to: pessimistic(Outcomes(*map(to, OUTCOMES)), to(SCORES), strength=2).quality,
    "noise": lambda to: noise(converted(log(), to), nuisances(to)),
    "masked_max": lambda to: numerics.masked_max(to(SCORES), WHERE),
    "masked_argmax": lambda to: numerics.masked_argmax(to(SCORES), WHERE),
    "masked_softmax": lambda to: numerics.masked_softmax(to(SCORES), WHERE),
    "masked_log_softmax": lambda to: numerics.masked_log_softmax(to(SCORES), WHERE),
    "masked_sum": lambda to: numerics.masked_sum(to(SCORES), WHERE),
    **{
        name: (lambda to, f=f: f(converted(log(), to), nuisances(to)).quality)
        for name, f in {
            "direct": counterfactual.direct,
            "inverse_propensity": counterfactual.inverse_propensity,
            "doubly_robust": counterfactual.doubly_robust,
        }.items()
    },
    **{
        f"estimators.{f.__name__}": (lambda to, f=f: f(converted(log(), to), to(POLICY), 2, nuisances(to)).value)
        for f in (estimators.direct_method, estimators.snipw, estimators.self_normalised_doubly_robust)
    },
    "bounds": lambda to: estimators.bounds(converted(log(), to), to(POLICY), 2, strength=2).upper,
    "shadow_rows": lambda to: (
        estimators.shadow_rows(Examples(np.zeros((4, 1)), Outcomes(*map(to, OUTCOMES)), WHERE), to(POLICY), 2).influence
    ),
}


def converted(logs, to):
    return logs._replace(quality=to(logs.quality), cost=to(logs.cost), propensity=to(logs.propensity))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_and_booleans_are_the_numbers_they_stand_for(name):
    expected = FUNCTIONS[name](lambda x: x.astype(np.float32))
    for dtype in (np.uint8, np.int64):
        np.testing.assert_array_equal(FUNCTIONS[name](lambda x, t=dtype: x.astype(t)), expected, strict=True)
    np.testing.assert_array_equal(FUNCTIONS[name](lambda x: jnp.asarray(x, jnp.uint8)), expected, strict=True)
    bits = FUNCTIONS[name](lambda x: x.astype(bool))
    np.testing.assert_array_equal(bits, FUNCTIONS[name](lambda x: x.astype(bool).astype(np.float32)), strict=True)


def test_spo_plus_of_bytes_by_hand():
    # max(400 - 1, 20 - 170) - 2 * 10 + 170: in 8 bits every term would wrap around.
    assert losses.spo_plus(np.array([200, 10], np.uint8), np.array([1, 170], np.uint8)) == 549


@pytest.mark.parametrize("where", [None, np.ones(3, bool)])
@pytest.mark.parametrize("entropy", [0.0, 0.25])
def test_a_score_of_minus_infinity_is_a_probability_of_0(where, entropy):
    scores, utility = jnp.array([-INF, 0.0, np.log(3.0)]), jnp.array([1.0, 0.5, 0.0])
    loss = partial(losses.softmax_regret, utility=utility, entropy=entropy, where=where)
    # policy (0, 1/4, 3/4), regrets (0, 1/2, 1), and 0 log 0 = 0
    expected = 0.25 * 0.5 + 0.75 + entropy * (0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(loss(scores), expected, rtol=1e-6)
    assert np.isfinite(jax.grad(loss)(scores)).all()
    assert np.isfinite(losses.regret_cross_entropy(scores, utility[::-1], where=where))
    assert losses.regret_cross_entropy(scores, utility, where=where) == INF  # the best model has no probability
    assert np.isnan(loss(jnp.full(3, -INF)))  # no model has any: that is no policy


PREDICTED = Outcomes(np.ones((4, 3)), np.ones((4, 3)))
BAD = {
    "zero models": (lambda: policies.greedy(np.zeros((4, 0))), r"scores has shape \(4, 0\); .* at least one model"),
    "zero models in a loss": (lambda: losses.spo_plus(np.zeros(0), np.zeros(0)), "at least one model"),
    "a number for scores": (lambda: losses.greedy_regret(1.0, 1.0), r"scores has shape \(\)"),
    "words": (lambda: policies.softmax(np.array(["a", "b"])), "scores has entries of type <U1; it must hold numbers"),
    "complex numbers": (lambda: policies.softmax(np.ones(2) * 1j), "scores has entries of type complex128"),
    "a mask of other numbers": (lambda: policies.greedy(np.ones(2), available=np.array([1.0, NAN])), "available must"),
    "temperature 0": (lambda: policies.softmax(np.ones(2), temperature=0.0), "temperature is 0.0; it must be above 0"),
    "negative entropy": (lambda: losses.softmax_regret(np.ones(2), np.ones(2), entropy=-1.0), "entropy is -1.0"),
    "epsilon 2": (lambda: policies.epsilon_greedy(np.ones(2), epsilon=2), "epsilon is 2; it must be between 0 and 1"),
    "action -1": (
        lambda: counterfactual.direct(log(action=np.array([0, 2, -1, 0])), nuisances()),
        r"logs\.action, row 2: -1 is not the index of one of 3 models",
    ),
    "action K": (
        lambda: estimators.ipw(log(action=np.array([0, 3, 1, 0])), POLICY, 0.0),
        r"logs\.action, row 1: 3 is not the index",
    ),
    "action as float": (lambda: counterfactual.direct(log(action=np.zeros(4)), nuisances()), "hold indices of models"),
    "choice K": (lambda: metrics.routing_shares(np.array([0, 3]), 3), "choice, row 1: 3 is not the index"),
    "choice -1": (lambda: metrics.routing_collapse(np.array([0, 0, 0, -1]), PREDICTED), "choice, row 3: -1"),
    "not available": (
        lambda: estimators.doubly_robust(log(action=np.array([0, 1, 1, 0])), POLICY, 0.0, nuisances()),
        r"logs\.available, row 1: model 1 was chosen, but is not marked available",
    ),
    "clip 1": (lambda: counterfactual.doubly_robust(log(), nuisances(), clip=1.0), "clip is 1.0; it must"),
    "clip -1": (lambda: estimators.support(log(), POLICY, clip=-1), "clip is -1"),
    "clip NaN": (lambda: estimators.snipw(log(), POLICY, 0.0, clip=NAN), "clip is nan"),
    "cost weight -1": (lambda: counterfactual.utility(PREDICTED, -1), "cost_weight is -1; it must be"),
    "one cost weight NaN": (lambda: policies.best_single(PREDICTED, np.array([0.0, NAN])), "cost_weight is nan"),
    "cost weight inf": (lambda: metrics.value(POLICY, PREDICTED, INF), "cost_weight is inf"),
    "cost weight NaN of an estimator": (lambda: estimators.ipw(log(), POLICY, NAN), "cost_weight is nan"),
    "cost weight -1 of an evaluation": (lambda: estimators.evaluate(log(), POLICY, [-1.0], nuisances()), "is -1.0"),
    "cost weight None": (lambda: estimators.evaluate(log(), POLICY, None, nuisances()), "cost_weight is None; it must"),
    "a word for a cost weight": (lambda: metrics.value(POLICY, PREDICTED, "a"), "cost_weight is 'a'; it must be a num"),
    "scores as a target": (lambda: estimators.ipw(log(), SCORES, 0.0), r"target, entry \(0, 0\): 200 is not a prob"),
    "scores as probabilities": (lambda: metrics.value(-POLICY, PREDICTED, 0.0), r"probabilities, entry \(0, 0\): -1"),
    "half a policy": (
        lambda: metrics.regret(np.diag([1.0, 0.5, 1.0])[[0, 2, 1, 0]], PREDICTED, 0.0),
        "probabilities, entry 2: probabilities that sum to 0.5, where they must sum to 1",
    ),
    "a target of NaN": (
        lambda: estimators.evaluate(log(), POLICY * NAN, 0.0, nuisances()),
        r"target, entry \(0, 0\): nan is not a probability",
    ),
    "one weight for all rows": (
        lambda: estimators.ipw(log(weight=np.ones(1)), POLICY, 0.0),
        r"logs\.weight has shape \(1,\), and logs\.action \(4,\)",
    ),
    "groups of other rows": (
        lambda: estimators.ipw(log(group=np.zeros(3, int)), POLICY, 0.0),
        r"logs\.group has shape \(3,\), and logs\.action \(4,\)",
    ),
    "no person's rating": (
        lambda: estimators.ipw(log(human_quality=np.full(4, NAN)), POLICY, 0.0),
        r"logs\.human_quality holds no rating",
    ),
    "a rating at rate 0": (
        lambda: estimators.ipw(log(human_quality=np.ones(4), human_rate=np.array([1, 1, 0, 1])), POLICY, 0.0),
        r"logs\.human_rate, entry 2: 0 for a rated row",
    ),
    "shapes of a loss": (
        lambda: losses.spo_plus(np.ones((2, 3)), np.ones((2, 2))),
        r"^spo_plus: shapes that neither fit nor broadcast: scores \(2, 3\), utility \(2, 2\)$",
    ),
    "shapes inside jit": (
        lambda: jax.jit(losses.greedy_regret)(np.ones((2, 3)), np.ones((2, 3)), where=np.ones((2, 2), bool)),
        r"scores \(2, 3\), utility \(2, 3\), where \(2, 2\)",
    ),
    "cost weight NaN of pieces": (lambda: policies.select(policies.envelope(np.ones(2), np.ones(2)), NAN), "is nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_meant_is_our_own_error(name):
    call, message = BAD[name]
    with pytest.raises(InputError, match=message):
        call()
