"""The best single model as an opponent: against NumPy, and what it is worth in simulated logs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, estimators, policies
from jaxroute.nuisance import crossfit
from jaxroute.serving import opponents
from jaxroute.types import Examples, Logs, Nuisances, Outcomes

ROWS, MODELS, DRAWS = 400, 10, 300


def drawn(key):
    """A uniform log of models that are all as good, and an outcome model that is wrong by the same for all."""
    action = jax.random.randint(key, (ROWS,), 0, MODELS)
    quality = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (ROWS,)).astype(float)
    every = jnp.full((ROWS, MODELS), 1 / MODELS)
    logs = Logs(jnp.zeros((ROWS, 1)), action, quality, jnp.ones(ROWS), every[:, 0], jnp.ones((ROWS, MODELS), bool))
    return logs, Nuisances(every, Outcomes(jnp.full((ROWS, MODELS), 0.4), jnp.ones((ROWS, MODELS))))


def test_a_router_that_is_as_good_is_not_called_worse():
    """All models are worth 0.5. Chosen on the rows that value it, the best one looks better by some points."""
    router = jax.nn.one_hot(jnp.zeros(ROWS, int), MODELS)
    found = {"out of fold": [], "same rows": []}
    for key in jax.random.split(jax.random.key(0), DRAWS):
        logs, nuisances = drawn(key)
        learn = counterfactual.examples(logs, nuisances)
        singles = {
            "out of fold": opponents.best_single(learn, [0.0], learn.available)[0],
            "same rows": policies.best_single(learn.outcomes, jnp.zeros(1), available=learn.available)[0],
        }
        for name, single in singles.items():
            ours, theirs = (estimators.rows(logs, p, 0.0, nuisances, self_normalised=True) for p in (router, single))
            found[name].append(estimators.difference(ours, theirs))
    gain, error, size = ({name: np.array([getattr(e, part) for e in of]) for name, of in found.items()}
                         for part in ("value", "standard_error", "effective_sample_size"))  # fmt: skip
    high = {name: gain[name] + estimators.half_width(size[name]) * error[name] for name in found}
    low = {name: gain[name] - estimators.half_width(size[name]) * error[name] for name in found}
    assert abs(gain["out of fold"].mean()) < 3 * gain["out of fold"].std() / DRAWS**0.5
    assert gain["same rows"].mean() < -0.08
    covered = {name: ((low[name] < 0) & (high[name] > 0)).mean() for name in found}
    worse = {name: (high[name] < 0).mean() for name in found}
    assert worse["out of fold"] < 0.06
    assert worse["same rows"] > 0.1
    assert covered["out of fold"] > 0.89


@pytest.mark.parametrize("weighted", [False, True])
def test_against_numpy(weighted):
    rng = np.random.default_rng(0)
    quality, cost = rng.random((60, 4)), rng.random((60, 4))
    available, group = rng.random((60, 4)) < 0.8, rng.integers(15, size=50)
    available[:, 3] = True
    times = rng.choice([1.0, 4.0], 60) if weighted else None
    learn = Examples(jnp.zeros((60, 1)), Outcomes(jnp.asarray(quality), jnp.asarray(cost)), jnp.asarray(available))
    found = opponents.best_single(learn, [0.0, 0.7], learn.available, times=times, group=group)
    own = np.concatenate([60 + np.unique(group, return_inverse=True)[1], np.arange(50, 60)])
    fold = crossfit.assign_folds(jax.random.key(0), 60, opponents.FOLDS, own)
    counts = np.ones(60) if times is None else times
    for level, weight in enumerate((0.0, 0.7)):
        for row in range(60):
            others = fold != fold[row]
            assert not others[own == own[row]].any()  # the rows of its group neither
            there = available & others[:, None]
            utility = np.where(there, quality - weight * cost, 0)
            mean = (counts @ utility) / (counts @ there)
            best = np.where(available[row], mean, -np.inf).argmax()
            np.testing.assert_array_equal(found[level, row], np.eye(4)[best])


def test_one_group_is_its_own_judge():
    logs, nuisances = drawn(jax.random.key(3))
    learn = counterfactual.examples(logs, nuisances)
    together = opponents.best_single(learn, [0.0], learn.available, group=np.zeros(ROWS, int))
    np.testing.assert_array_equal(together[0], policies.best_single(learn.outcomes, 0.0, available=learn.available))
