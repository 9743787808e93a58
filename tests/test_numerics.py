"""Masked reductions against NumPy on what is left of each row; nothing behind the mask may be seen."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxroute.numerics import (
    expectation,
    map_blocks,
    masked_argmax,
    masked_log_softmax,
    masked_logsumexp,
    masked_max,
    masked_softmax,
    masked_sum,
    nan_is_unknown,
    safe_divide,
)


def log_softmax(x):
    return x - np.log(np.exp(x - x.max()).sum()) - x.max()


REDUCTIONS = {  # function, the same in NumPy on the entries that are left
    "max": (masked_max, np.max),
    "logsumexp": (masked_logsumexp, lambda x: np.log(np.exp(x).sum())),
    "sum": (masked_sum, np.sum),
}
MAPS = {
    "softmax": (masked_softmax, lambda x: np.exp(log_softmax(x))),
    "log_softmax": (masked_log_softmax, log_softmax),
}
DIFFERENTIABLE = {name: function for name, (function, _) in (REDUCTIONS | MAPS).items()}


def rows(seed=0, dtype=np.float32):
    """Random rows and masks; row 0 has everything, row 1 one entry, the last row nothing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 4)).astype(dtype)
    where = rng.uniform(size=(6, 4)) < 0.5
    where[:, 2] = True
    where[0], where[1], where[-1] = True, [False, False, True, False], False
    return x, where


@pytest.mark.modes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_match_numpy(name, dtype):
    function, reference = REDUCTIONS[name]
    x, where = rows(dtype=dtype)
    with jax.enable_x64(dtype == np.float64):
        actual = function(jnp.asarray(x), jnp.asarray(where))
    expected = [reference(row[kept].astype(float)) if kept.any() else 0 for row, kept in zip(x, where, strict=True)]
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.modes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MAPS)
def test_maps_match_numpy_and_are_zero_behind_the_mask(name, dtype):
    function, reference = MAPS[name]
    x, where = rows(dtype=dtype)
    with jax.enable_x64(dtype == np.float64):
        actual = function(jnp.asarray(x), jnp.asarray(where))
    expected = np.zeros_like(x)
    for i in range(5):
        expected[i, where[i]] = reference(x[i, where[i]].astype(float))
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-12 if dtype == np.float64 else 1e-5, atol=1e-7)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_nothing_behind_the_mask_reaches_a_value_or_a_gradient(name):
    x, where = rows(1)
    weight = jnp.asarray(rows(2)[0])

    @jax.jit
    def value_and_gradient(x):
        def weighted(x):
            y = DIFFERENTIABLE[name](x, jnp.asarray(where))
            return jnp.sum(y * (weight if y.ndim == 2 else weight[:, 0]))

        return jax.value_and_grad(weighted)(x)

    value, gradient = value_and_gradient(jnp.asarray(np.where(where, x, 0)))
    assert np.all(np.asarray(gradient)[~where] == 0)
    assert np.abs(gradient).max() > 0.1
    for poison in (np.nan, np.inf, -np.inf, 1e38):
        poisoned = value_and_gradient(jnp.asarray(np.where(where, x, np.float32(poison))))
        np.testing.assert_array_equal(poisoned[0], value)
        np.testing.assert_array_equal(poisoned[1], gradient)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_match_finite_differences(name):
    with jax.enable_x64(True):
        x, where = rows(3, np.float64)
        check_grads(lambda x: DIFFERENTIABLE[name](x, jnp.asarray(where)), (jnp.asarray(x),), 1, modes=["rev"])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_no_mask_jit_and_vmap_agree_with_the_full_mask(name):
    function = DIFFERENTIABLE[name]
    x, where = (jnp.asarray(a) for a in rows(4))
    close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    close(function(x), function(x, jnp.ones_like(where)))
    close(jax.jit(function)(x, where), function(x, where))
    close(jax.vmap(function)(x, where), function(x, where))
    stacked = function(x.reshape(2, 3, 4), where.reshape(2, 3, 4))
    close(stacked.reshape(6, *stacked.shape[2:]), function(x, where))


def test_argmax_of_scores_that_the_same_program_computes():
    """Compiled with few optimisations, as `make test` does, a fused score is computed twice and rounded two ways."""
    rng = np.random.default_rng(0)
    quality, cost = rng.normal(size=(96, 4)).astype(np.float32), rng.random((96, 4), np.float32)
    weights = np.float32([0.1, 0.2, 0.45, 0.7, 1.35])
    where = np.ones((96, 4), bool)

    @jax.jit
    @jax.vmap
    def choose(q, c, where):
        return jax.vmap(lambda w: masked_argmax(q - w * c, where))(weights)

    expected = [np.argmax(quality - w * cost, -1) for w in weights]
    np.testing.assert_array_equal(choose(quality[None], cost[None], where[None])[0], expected)


def test_argmax_ties_masks_and_infinities():
    x = jnp.array(
        [
            [1.0, 3.0, 3.0, 2.0],  # lowest index of a tie
            [1.0, 3.0, 3.0, 2.0],  # the tie's first is masked
            [jnp.nan, 0.0, jnp.inf, -1.0],  # nothing behind the mask counts
            [0.0, 0.0, -jnp.inf, 0.0],  # an available -inf beats every masked entry
            [5.0, 6.0, 7.0, 8.0],  # nothing left
        ]
    )
    where = np.ones((5, 4), bool)
    where[1, 1] = False
    where[2, [0, 2]] = False
    where[3, [0, 1, 3]] = False
    where[4] = False
    np.testing.assert_array_equal(masked_argmax(x, jnp.asarray(where)), [1, 2, 1, 2, 0])
    np.testing.assert_array_equal(jax.jit(masked_argmax)(x, jnp.asarray(where)), [1, 2, 1, 2, 0])
    np.testing.assert_array_equal(jax.vmap(masked_argmax)(x, jnp.asarray(where)), [1, 2, 1, 2, 0])
    assert masked_argmax(x[0]) == 1


def test_extreme_scores_stay_finite():
    x, where = jnp.array([1000.0, -1000.0, 0.0]), jnp.array([True, True, False])
    np.testing.assert_array_equal(masked_softmax(x, where), [1, 0, 0])
    np.testing.assert_array_equal(masked_log_softmax(x, where), [0, -2000, 0])
    assert masked_logsumexp(x, where) == 1000
    gradient = jax.grad(lambda x: masked_softmax(x, where) @ masked_log_softmax(x, where))(x)
    assert np.all(np.isfinite(gradient))


@nan_is_unknown()
def test_an_expectation_passes_over_what_has_weight_0_and_over_nothing_else():
    weights = jnp.array([[0.0, 0.0, 0.5], [0.5, 0.0, 0.5], [0.0, 0.25, 0.5]])
    found = expectation(weights, jnp.broadcast_to(jnp.array([jnp.nan, jnp.inf, 3.0]), (3, 3)))
    np.testing.assert_array_equal(found, [1.5, np.nan, np.inf])


def test_safe_divide_values_and_gradients():
    top, bottom = jnp.array([1.0, 2.0, 0.0]), jnp.array([0.0, 4.0, 0.0])
    np.testing.assert_array_equal(safe_divide(top, bottom), [np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(safe_divide(top, bottom, default=7.0), [7, 0.5, 7])
    gradients = jax.grad(lambda a, b: safe_divide(a, b, default=0.0).sum(), (0, 1))(top, bottom)
    np.testing.assert_array_equal(gradients[0], [0, 0.25, 0])  # 1/b
    np.testing.assert_array_equal(gradients[1], [0, -0.125, 0])  # -a/b^2


@pytest.mark.parametrize("block", [1, 3, 7, 10])
def test_map_blocks_is_vmap_whether_or_not_the_block_divides(block):
    rng = np.random.default_rng(5)
    records = {"x": jnp.asarray(rng.normal(size=(7, 2)), jnp.float32), "n": jnp.arange(7)}

    def function(record):
        return {"y": jnp.sin(record["x"]).sum() * record["n"], "n": record["n"] + 1}

    expected = jax.vmap(function)(records)
    actual = map_blocks(function, records, block)
    np.testing.assert_allclose(actual["y"], expected["y"], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(actual["n"], np.arange(1, 8))
