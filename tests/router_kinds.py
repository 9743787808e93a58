"""A small random router of every kind, made without any training."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute.engine import networks
from jaxroute.policies import budgets
from jaxroute.projection import Projection
from jaxroute.serving import distil, kinds
from jaxroute.serving.posterior import Posterior
from jaxroute.serving.router import Router

K, D, d, L, M, J = 4, 5, 4, 3, 2, 3  # models, features, components, cost weights, members, ends
HIDDEN, SCALE = (6,), 0.01
MODELS = ("a", "b", "c", "d")
PRICES = (0.001, 0.004, 0.01, 0.02)
WEIGHTS = np.float32([0.0, 50.0, 200.0])
FEATURES = np.random.default_rng(1).standard_normal((40, D)).astype(np.float32)


def filled(like, rng):
    """Random arrays of the shapes of ``like``."""
    return jax.tree.map(lambda x: jnp.asarray(0.7 * rng.standard_normal(x.shape), jnp.float32), like)


def network(outputs, inputs, *lead):
    params = jax.eval_shape(lambda: networks.router(outputs, HIDDEN).init(jax.random.key(0), inputs))
    return jax.tree.map(lambda x: np.zeros((*lead, *x.shape)), params)


def kind(name, features=D, seed=0):
    rng = np.random.default_rng(seed)
    axes = Projection(np.zeros(features), np.zeros((features, d)), np.zeros(d))
    student = distil.Student(axes, np.zeros((d, 2 * K)), np.zeros(2 * K), network(2 * K, d), np.zeros(K))
    student = filled(student, rng)._replace(level=jnp.asarray(PRICES))
    student = student._replace(bias=jnp.asarray(np.asarray(student.bias) + np.float32([0.0] * K + [2.0] * K)))
    axes = filled(axes, rng)
    if name == "plug_in":
        return kinds.PlugIn(student, HIDDEN)
    if name == "per_weight":
        temperature, width = jnp.asarray([1.0, 0.5, 2.0]), jnp.asarray([6, 3, 5])
        return kinds.PerWeight(axes, jnp.asarray(WEIGHTS), filled(network(K, d, L, M), rng), HIDDEN, temperature, width)
    if name == "interval":
        ends, residual = filled(network(K, d, J, M), rng), filled(network(K, d + 3, M), rng)
        return kinds.Interval(axes, jnp.asarray(WEIGHTS), ends, residual, HIDDEN, SCALE)
    params = jax.tree.map(lambda x: jnp.asarray(0.1 * np.asarray(x)), filled(network(K + 1, d, M), rng))
    return kinds.Affine(student, HIDDEN, axes, params, HIDDEN, 0.125)


def last_layer(size=d + 1):
    """A posterior that is more certain of dearer models."""
    rng = np.random.default_rng(4)
    factor = np.tril(0.05 * rng.standard_normal((2, K, size, size))) / np.arange(1, K + 1)[:, None, None]
    factor[1] *= np.asarray(PRICES)[:, None, None]
    weights, misfit = 0.2 * rng.standard_normal((2, K, size)), np.stack([np.full(K, 0.05), 0.05 * np.asarray(PRICES)])
    return Posterior(*(np.float32(part) for part in (weights, factor, misfit, 4 * misfit)))


def router(name, features=D, models=MODELS, **changes):
    """With a curve of random policies on 50 prompts."""
    rng = np.random.default_rng(3)
    outcomes = rng.random((50, K)), np.ones((50, 1)) * PRICES
    curve = budgets.curve_of_policies(WEIGHTS, rng.dirichlet(np.ones(K), (L, 50)), outcomes)
    settings = {"last_layer": last_layer()} | changes
    return Router(models, kinds.in_32_bits(kind(name, features)), SCALE, curve, **settings)
