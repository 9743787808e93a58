"""The small problem that the engine's tests train on: two groups of 96 prompts, three models, four features."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute import engine, sweep
from jaxroute.engine import networks
from jaxroute.learn import conditional
from jaxroute.learn.examples import LOGGED, LoggedExamples
from jaxroute.types import ConditionalExamples, Examples, Logs, Nuisances, Outcomes, Spec

S, N, K, D = 2, 96, 3, 4
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(S, N, D)).astype(np.float32)
QUALITY = (1 / (1 + np.exp(-2 * FEATURES @ RNG.normal(size=(D, K))))).astype(np.float32)
COST = np.broadcast_to(np.float32([0.1, 0.3, 1.0]), (S, N, K))
AVAILABLE = np.ones((S, N, K), bool)
EXAMPLES = Examples(FEATURES, Outcomes(QUALITY, COST), AVAILABLE)
NETWORK = networks.router(K, (8,))
SPEC = Spec(hidden=(8,), batch_size=32, steps=24, chunk=6)
WEIGHTS = (0.0, 0.1, 0.3, 1.0)
POINTS = sweep.grouped_grid(S, cost_weight=WEIGHTS, learning_rate=0.02)

ACTION = RNG.integers(0, K, (S, N))
SHARE = np.where(np.arange(K) == 0, np.float32(0.9), np.float32(0.05)) * np.ones((S, N, 1), np.float32)
GUESS = Outcomes(np.full((S, N, K), 0.5, np.float32), COST)


def of_action(x):
    return np.take_along_axis(x, ACTION[..., None], -1)[..., 0]


LOG = LoggedExamples(
    FEATURES,
    Logs(FEATURES, ACTION, of_action(QUALITY), of_action(COST), of_action(SHARE), AVAILABLE),
    Nuisances(SHARE, GUESS),
    AVAILABLE,
)
ENDS = np.broadcast_to(np.float32([0.0, 0.5, 1.0]), (S, 3))
CONDITIONAL = ConditionalExamples(*EXAMPLES, GUESS, ENDS)
TASKS = {  # network, task, what it learns from, what it is validated on
    "router": (NETWORK, engine.ROUTER, EXAMPLES, EXAMPLES),
    "logged": (NETWORK, LOGGED, LOG, EXAMPLES),
    "every weight": (conditional.affine(K, (8,)), conditional.EVERY_WEIGHT, CONDITIONAL, CONDITIONAL),
}


class KilledError(Exception):
    pass


def kill_at(at):
    """A callback that ends a training after so many steps."""

    def kill(done, *_):
        if done == at:
            raise KilledError

    return kill


def regret(scores, utility, where, h):
    probability = jax.nn.softmax(scores / h.temperature)
    return jnp.sum(probability * (utility.max(-1, keepdims=True) - utility), -1)


@partial(jax.jit, static_argnums=(0, 1))
def start(network, features, key=KEY):
    """A network's first parameters, by one program."""
    return network.init(key, features)


def scrambled(network, features, seed=1, size=1.0):
    """Noise for a network's parameters, so that outputs depend on everything: its read-outs begin at zero."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: network.init(KEY, features))
    return jax.tree.map(lambda x: jnp.asarray(size * rng.standard_normal(x.shape), x.dtype), shapes)


def program(devices=4, *, data=None, block=None, network=NETWORK, task=engine.ROUTER, **spec):
    mesh = sweep.mesh(jax.devices()[:devices], data=data)
    return engine.Program(network, regret, replace(SPEC, **spec), mesh, task, block)


def assert_same_bits(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


def assert_close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=rtol, atol=atol), a, b)
