"""Emulated TF32 and bfloat16 products against rounding by hand, and the layers that obey."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import precision
from jaxroute.engine import networks

RNG = np.random.default_rng(0)
X, W, G = (RNG.normal(size=shape).astype(np.float32) for shape in ((6, 5), (5, 3), (6, 3)))


def rounded(x, bits):
    """Nearest float32 with ``bits`` bits of mantissa: in units of the last bit that stays."""
    _, exponent = np.frexp(x.astype(np.float64))
    unit = np.ldexp(1.0, exponent - 1 - bits)
    return np.rint(x / unit) * unit


@pytest.mark.parametrize("bits", [7, 10])
def test_product_and_gradients_are_of_rounded_operands(bits):
    y, pull = jax.vjp(lambda x, w: precision.product(x, w, bits), jnp.asarray(X), jnp.asarray(W))
    x, w, g = (rounded(a, bits) for a in (X, W, G))
    np.testing.assert_allclose(y, x @ w, rtol=1e-6, atol=1e-6)
    to_x, to_w = pull(jnp.asarray(G))
    np.testing.assert_allclose(to_x, g @ w.T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(to_w, x.T @ g, rtol=1e-6, atol=1e-6)
    assert np.abs(np.asarray(y) - X @ W).max() > 1e-4  # the rounding is there


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="emulation is for a CPU")
def test_dense_layers_obey_the_precision_asked_for_only_where_emulated():
    network = networks.router(3, ())
    params = network.init(jax.random.key(0), 5)
    params["params"]["scores"]["kernel"] = jnp.asarray(W)

    def scores(name):
        with jax.default_matmul_precision(name):
            return np.asarray(network.apply(params, jnp.asarray(X)))

    exact = scores("float32")
    np.testing.assert_array_equal(scores("bfloat16"), exact)
    with precision.emulated():
        np.testing.assert_array_equal(scores("float32"), exact)
        np.testing.assert_array_equal(scores("highest"), exact)
        np.testing.assert_allclose(scores("bfloat16"), rounded(X, 7) @ rounded(W, 7), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(scores("tensorfloat32"), rounded(X, 10) @ rounded(W, 10), rtol=1e-6, atol=1e-6)


@pytest.mark.study
def test_smoke(tmp_path, capsys):
    assert precision.main(["--smoke", "--out", str(tmp_path)]) == 0
    assert "| rm_softmax | bfloat16 |" in capsys.readouterr().out
    found = json.loads((tmp_path / "bench" / "precision.json").read_text())
    rows = {(row["method"], row["precision"]): row for row in found["rows"]}
    assert len(rows) == 3 * len(precision.METHODS)
    for method in precision.METHODS:
        assert rows[method, "float32"]["difference"] == rows[method, "float32"]["decided otherwise, %"] == 0
    assert 0 < max(row["decided otherwise, %"] for row in found["rows"]) < 2
