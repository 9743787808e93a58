"""The exploration policies in NumPy are those in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import policies
from jaxroute.policies import exploration
from jaxroute.serving import exploring
from jaxroute.types import InputError

N, K = 200, 5
RNG = np.random.default_rng(0)
MEAN, SD = RNG.uniform(0, 1, (N, K)).astype(np.float32), RNG.uniform(0, 0.3, (N, K)).astype(np.float32)
COST = RNG.lognormal(-6, 1, (N, K)).astype(np.float32)
GREEDY = np.eye(K, dtype=np.float32)[MEAN.argmax(1)]
OTHER = np.eye(K, dtype=np.float32)[np.where(np.arange(N) % 3 == 0, MEAN.argmax(1), COST.argmin(1))]
SD[:20, 2] = 0


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_the_policies_are_those_of_jax(floor):
    mean, sd, greedy, other = map(jnp.asarray, (MEAN, SD, GREEDY, OTHER))
    explored = exploration.contenders(mean, sd, epsilon=0.3, floor=floor)
    limits = {"cost": COST, "utility": MEAN, "spend": 0.0005, "loss": 0.01}
    pairs = [
        (exploring.uniform(GREEDY, epsilon=0.2), policies.epsilon_greedy(mean, epsilon=0.2)),
        (exploring.softmax(MEAN, temperature=0.1), policies.softmax(mean, temperature=0.1)),
        (exploring.contenders(MEAN, SD, epsilon=0.3, floor=floor), explored),
        (exploring.for_evaluation(OTHER, SD, floor=floor), exploration.for_evaluation(other, sd, floor=floor)),
        (
            exploring.for_evaluation(OTHER, SD, floor=floor, baseline=GREEDY),
            exploration.for_evaluation(other, sd, floor=floor, baseline=greedy),
        ),
        (exploring.limited(np.asarray(explored), GREEDY, **limits), exploration.limited(explored, greedy, **limits)),
    ]
    for ours, reference in pairs:
        np.testing.assert_allclose(ours, reference, atol=2e-6)
        np.testing.assert_allclose(ours.sum(-1), 1, atol=1e-6)


def test_posterior_sampling_is_that_of_jax_up_to_its_stated_error():
    ours, error = exploring.thompson(np.random.default_rng(1), MEAN, SD, simulations=2000, floor=0.05)
    many, _ = exploration.thompson(
        jax.random.key(0), jnp.asarray(MEAN), jnp.asarray(SD), simulations=20_000, floor=0.05
    )
    z = (ours - np.asarray(many)) / error
    assert np.abs(z).max() < 5
    assert ours.min() >= 0.05 / K - 1e-12
    one, _ = exploring.thompson(np.random.default_rng(1), MEAN[0], SD[0])
    assert one.shape == (K,)
    with pytest.raises(InputError, match="at least 1"):
        exploring.thompson(np.random.default_rng(1), MEAN, SD, simulations=0)
