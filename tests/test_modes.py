"""JAX's own modes, where a test has to set one itself; `make test-modes` runs what is marked under all the others.

JAX_ENABLE_X64, JAX_DEBUG_KEY_REUSE, JAX_DEBUG_NANS      of a whole process
jax_numpy_rank_promotion=raise                           of every test (conftest)
jax_transfer_guard=disallow                              inside training loops, here
jax_numpy_dtype_promotion=strict                         in the losses, here
"""

from functools import partial

import engine_problem as small
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_losses import LOSSES, rows

from jaxroute import engine
from jaxroute.engine import disk
from jaxroute.learn.objectives import OBJECTIVES
from jaxroute.serving import distil
from jaxroute.types import Hyperparams, Outcomes

pytestmark = pytest.mark.modes


def from_disk(folder):
    """The first group's rows, in two visits an epoch."""
    first = jax.tree.map(lambda x: x[0], small.EXAMPLES)
    disk.write(folder, [first], small.N)
    return disk.open_rows(folder, block=48, run=8), jax.tree.map(lambda x: x[:1], (small.POINTS, small.EXAMPLES))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["in memory", "halving", "on disk"])
def test_training_moves_nothing_between_host_and_device_unasked(how, tmp_path):
    program, points, learn, validate = small.program(), small.POINTS, small.EXAMPLES, small.EXAMPLES
    if how == "on disk":
        learn, (points, validate) = from_disk(tmp_path / "rows")
    with jax.transfer_guard("disallow"):
        if how == "halving":
            done = engine.search(program, points, learn, validate, rungs=(12,)).state
        else:
            done = engine.train(program, points, learn, validate)
    assert np.isfinite(np.asarray(done.best_value)).all()


@pytest.mark.slow
def test_distillation_moves_nothing_between_host_and_device_unasked():
    x = jax.random.normal(jax.random.key(0), (40, 3))
    teacher, key = jax.block_until_ready((Outcomes(x[:, :2], jnp.exp(x[:, 1:])), jax.random.key(1)))
    with jax.transfer_guard("disallow"):
        student = distil.fit(key, x, teacher, cost_scale=2.0, hidden=(4,), dimensions=2, steps=5, batch_size=8)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(student))


@pytest.mark.parametrize("kind", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_promote_no_type_silently(name, kind):
    """Value and gradient, with and without a mask, in the type of the scores."""
    scores, utility, where = rows()

    def both(mask, scores, utility):
        value, back = jax.vjp(lambda z: LOSSES[name](z, utility, where=mask), scores)
        return value, back(jnp.ones_like(value))[0]

    with jax.numpy_dtype_promotion("strict"):
        for mask in (None, where):
            found = jax.eval_shape(partial(both, mask), *(jnp.asarray(x, kind) for x in (scores, utility)))
            assert [x.dtype for x in found] == [kind, kind]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_promote_no_type_silently_in_training(name):
    """With the hyperparameters of a point, which are traced numbers of 32 bits."""
    scores, utility, where = (jnp.asarray(x) for x in rows())
    point = jax.tree.map(jnp.asarray, Hyperparams(temperature=0.5, entropy=0.1))
    with jax.numpy_dtype_promotion("strict"):
        value = jax.eval_shape(lambda z, h: OBJECTIVES[name](z, utility, where, h), scores, point)
    assert value.dtype == jnp.float32
