"""Routers of every cost weight as methods of the main job, on a tiny table with holes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import problem, settings
from experiments.methods import conditional as conditional_methods
from experiments.methods import registry as baselines
from experiments.methods.arena import Arena
from jaxroute import sweep
from jaxroute.data import synthetic, units
from jaxroute.types import InputError, NuisanceSpec, Spec

CONFIG = settings.Config(
    name="tiny",
    seeds=2,
    cost_weights=(0.0, 0.3, 1.0, 2.0),
    intervals=3,
    learning_rate=0.03,
    weight_decay=0.0,
    logger="uniform",
    nuisance=NuisanceSpec(("ridge",), folds=2, penalties=(10.0,), dimensions=8),
    training=Spec(hidden=(8,), batch_size=64, steps=20, chunk=10),
    dimensions=8,
)


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    table = synthetic.make(jax.random.key(3), num_prompts=240)
    holes = np.random.default_rng(0).random(table.available.shape) < 0.1
    holes[:, 0] = False
    outcomes = type(table.outcomes)(*(np.where(holes, np.nan, y) for y in table.outcomes))
    table = dataclasses.replace(table, outcomes=outcomes, available=~holes, expected=None)
    table = problem.normalise(table, units.cost_scale(table)[0])
    rows = problem.split_rows(CONFIG, table)
    problems = problem.stack([problem.build(CONFIG, table, rows[seed], seed) for seed in range(CONFIG.seeds)])
    folder = tmp_path_factory.mktemp("checkpoints")
    return Arena(CONFIG, problems, table.models, sweep.mesh(jax.devices()[:1]), folder, lambda _: None)


@pytest.fixture(scope="module")
def decisions(arena):
    return {name: np.asarray(baselines.method(name)(arena)) for name in conditional_methods.NAMES}


@pytest.mark.slow
def test_every_method_chooses_one_available_model(arena, decisions):
    available = np.asarray(arena.problems.test.available)
    for name, chosen in decisions.items():
        assert baselines.is_trained(name)
        assert chosen.shape == (2, len(CONFIG.weights), *available.shape[1:]), name
        np.testing.assert_array_equal(chosen.sum(-1), 1.0, err_msg=name)
        assert not (chosen.astype(bool) & ~available[:, None]).any(), name


@pytest.mark.slow
def test_interval_and_its_ablations_are_the_end_routers_at_the_ends(decisions):
    """0 and the largest cost weight are ends of every seed: no residual, no interpolation there."""
    for end in (0, -1):
        for kind in conditional_methods.ABLATIONS:
            np.testing.assert_array_equal(
                decisions["rm_interval"][:, end], decisions[f"rm_interval_{kind}"][:, end], err_msg=kind
            )
    assert (decisions["rm_interval_nearest"][:, 1:3] != decisions["rm_interval_no_residual"][:, 1:3]).any()


@pytest.mark.parametrize("end", ["", "_full"])
def test_an_affine_router_that_does_not_move_is_the_plug_in(arena, end):
    still = arena._replace(config=dataclasses.replace(CONFIG, learning_rate=0.0), checkpoints=None)
    np.testing.assert_array_equal(
        baselines.method(f"rm_affine{end}")(still), baselines.method(f"plug_in_stack{end}")(arena)
    )


@pytest.mark.slow
def test_affine_chooses_cheaper_predictions_as_the_cost_weight_grows(arena, decisions):
    cost = np.asarray(arena.problems.stack.test.cost)[:, None]
    chosen = (decisions["rm_affine"] * cost).sum(-1)
    assert (np.diff(chosen, axis=1) <= 0).all()


def test_interval_ends_span_the_cost_weights_of_every_seed(arena):
    ends = np.asarray(conditional_methods.interval_ends(arena, full=False))
    assert ends.shape == (2, 4)
    np.testing.assert_allclose(ends[:, [0, -1]], [[0, 2], [0, 2]])
    assert (np.diff(ends) > 0).all()
    assert (ends[0] != ends[1]).any()


@pytest.mark.slow
def test_members_are_different_routers_and_their_mean_decides(arena):
    config = dataclasses.replace(CONFIG, members=3, cost_weights=(0.3,))
    points, count = conditional_methods._points(arena._replace(config=config), jnp.zeros((2, 4)))
    assert count == 12
    np.testing.assert_array_equal(points.seed[:, ::4], [[0, 2, 4], [1, 3, 5]])
    together = baselines.method("rm_conditional")(arena._replace(config=config, checkpoints=None))
    assert together.shape[1] == 1
    np.testing.assert_array_equal(together.sum(-1), 1.0)


def test_a_router_without_the_evidence_is_its_start(arena):
    asked = arena._replace(config=dataclasses.replace(CONFIG, evidence=1e6))
    for router, start in (("rm_affine", "plug_in_stack"), ("rm_interval", "rm_interval_no_residual")):
        np.testing.assert_array_equal(baselines.method(router)(asked), baselines.method(start)(arena))


@pytest.mark.parametrize(("field", "value"), [("intervals", 0), ("members", 0), ("evidence", -1.0)])
def test_settings_that_cannot_be_meant_are_refused(field, value):
    with pytest.raises(InputError, match=f"{field}={value}"):
        settings.check(dataclasses.replace(CONFIG, **{field: value}), "tiny.py")
