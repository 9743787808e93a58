import jax
import jax.numpy as jnp
import numpy as np
from engine_problem import scrambled, start

from jaxroute.engine import networks
from jaxroute.types import Outcomes

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)


def apply(network, params, *width):
    return jax.jit(network.apply)(params, X, *width)


def test_router_starts_as_the_uniform_policy():
    network = networks.router(3, (8, 8))
    np.testing.assert_array_equal(apply(network, start(network, 4)), 0.0)


def test_masked_width_is_the_narrow_network():
    wide, narrow = networks.router(3, (8,)), networks.router(3, (3,))
    params = jax.tree.map(np.asarray, scrambled(wide, 4))
    inner = params["params"]
    cut = {
        "params": {
            "trunk": {
                "hidden_0": {
                    "kernel": inner["trunk"]["hidden_0"]["kernel"][:, :3],
                    "bias": inner["trunk"]["hidden_0"]["bias"][:3],
                }
            },
            # Variance-preserving scale of the mask: sqrt(H / width).
            "scores": {
                "kernel": inner["scores"]["kernel"][:3] * np.sqrt(8 / 3),
                "bias": inner["scores"]["bias"],
            },
        }
    }
    np.testing.assert_allclose(apply(wide, params, 3), apply(narrow, cut), rtol=2e-6, atol=2e-6)
    gradient = jax.jit(jax.grad(lambda p: wide.apply(p, X, 3).sum()))(params)["params"]
    np.testing.assert_array_equal(gradient["trunk"]["hidden_0"]["kernel"][:, 3:], 0.0)


def test_width_is_traced():
    network = networks.router(3, (8,))
    params = scrambled(network, 4)
    outputs = jax.jit(jax.vmap(lambda w: network.apply(params, X, w)))(jnp.array([2, 8, 2**30]))
    np.testing.assert_allclose(outputs[1], outputs[2], rtol=1e-6)
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3


def test_no_hidden_layer_is_linear():
    network = networks.router(3, ())
    params = scrambled(network, 4)
    kernel, bias = params["params"]["scores"]["kernel"], params["params"]["scores"]["bias"]
    expected = np.asarray(X) @ np.asarray(kernel) + np.asarray(bias)
    np.testing.assert_allclose(apply(network, params), expected, rtol=1e-5, atol=1e-5)


def test_outcome_model_starts_at_the_given_levels():
    network = networks.outcome(2, (8,))
    params = jax.jit(lambda: network.init(jax.random.key(0), 4, jnp.array([0.0, 2.0])))()
    out = apply(network, params)
    assert isinstance(out, Outcomes)
    np.testing.assert_allclose(1 / (1 + np.exp(-out.quality[0])), [0.5, 1 / (1 + np.exp(-2.0))], rtol=1e-6)
    np.testing.assert_array_equal(out.cost, 1.0)
