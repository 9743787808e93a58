"""Losses and their gradients against golden values, in both precisions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute.losses import greedy_regret, regret_cross_entropy, softmax_regret

TOLERANCE = {np.float64: {"rtol": 1e-9, "atol": 1e-11}, np.float32: {"rtol": 1e-5, "atol": 2e-6}}


@jax.jit
def golden_losses(scores, utility, where, temperature, eta, label_temperature):
    """Every golden loss per row, with its gradient in the scores; one compile per shape and dtype."""
    losses = {
        "softmax_regret": partial(softmax_regret, temperature=temperature),
        "entropic_regret": partial(softmax_regret, temperature=temperature, entropy=eta),
        "hard_ce": regret_cross_entropy,
        "gap_range_ce": partial(regret_cross_entropy, weighting="gap"),
        "gap_margin_ce": partial(regret_cross_entropy, weighting="margin"),
        "soft_label_ce": partial(regret_cross_entropy, label_temperature=label_temperature),
        "hard_regret": greedy_regret,
    }

    def value_and_gradient(loss):
        value, pullback = jax.vjp(lambda z: loss(z, utility, where=where), scores)
        return value, pullback(jnp.ones_like(value))[0]

    return {name: value_and_gradient(loss) for name, loss in losses.items()}


def arrays(inputs, dtype, shape=(12, 6)):
    """Scores, utilities and mask of a case, padded with masked NaN to one shape: one compile."""
    rows, models = np.shape(inputs["scores"])
    scores, utility = np.full((2, *shape), np.nan, dtype)
    where = np.zeros(shape, bool)
    scores[:rows, :models], utility[:rows, :models] = inputs["scores"], inputs["utility"]
    where[:rows, :models] = True if inputs["available"] is None else inputs["available"]
    return jnp.asarray(scores), jnp.asarray(utility), jnp.asarray(where)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_golden_values_and_gradients(golden, dtype):
    close = partial(np.testing.assert_allclose, **TOLERANCE[dtype])
    for case in golden["losses"]:
        inputs = case["inputs"]
        with jax.enable_x64(dtype == np.float64):
            knobs = (inputs[knob] for knob in ("temperature", "eta", "label_temperature"))
            actual = jax.tree.map(np.asarray, golden_losses(*arrays(inputs, dtype), *knobs))
        rows, models = np.shape(inputs["scores"])
        for name, (value, gradient) in actual.items():
            message, want = f"{case['id']} {name}", case["expected"][name]
            assert value.dtype == dtype
            assert np.all(value[rows:] == 0)
            assert np.all(gradient[rows:] == 0)
            value, gradient = value[:rows], gradient[:rows, :models]
            close(value, want["per_row"], err_msg=message)
            close(np.mean(value), want["mean"], err_msg=message)
            close(gradient, want.get("grad_per_row", np.zeros_like(gradient)), err_msg=message)
            if "gap" in want:
                close(np.sum(value), (want["weighted_mean"] or 0) * np.sum(want["gap"]), err_msg=message)


def test_golden_bounds(golden):
    """regret <= gap / ln 2 * CE  and  regret / K_available <= softmax regret, per row and on average."""
    for case in golden["bounds"]:
        inputs, expected = case["inputs"], case["expected"]
        with jax.enable_x64(True):
            scores, utility, where = arrays(inputs, np.float64)
            regret = greedy_regret(scores, utility, where=where)
            weighted = regret_cross_entropy(scores, utility, weighting="gap", where=where)
            surrogate = softmax_regret(scores, utility, temperature=inputs["temperature"], where=where)
        rows = len(inputs["scores"])
        regret, weighted, surrogate = (np.asarray(x)[:rows] for x in (regret, weighted, surrogate))
        bound = weighted / np.log(2)
        column = {key: np.array([row[key] for row in expected["rows"]]) for key in expected["rows"][0]}
        np.testing.assert_allclose(regret, column["regret"], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(bound, column["ce_bound"], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(surrogate, column["softmax_regret"], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(regret.mean(), expected["mean_regret"], rtol=1e-9)
        np.testing.assert_allclose(bound.mean(), expected["mean_ce_bound"], rtol=1e-9)
        assert np.all(regret <= bound + 1e-12)
        assert np.all(regret / column["n_available"] <= surrogate + 1e-12)
