"""Routers of every cost weight as methods of the main job, on a tiny table with holes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import configs, methods, settings
from experiments.methods import conditional, trained
from experiments.methods.experiment import Experiment
from experiments.problem import build, table
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

ABLATIONS = ("no_residual", "probabilities", "nearest")
LEARNERS = ("rm_interval", "rm_affine", "rm_conditional")
NAMES = (*LEARNERS, *(f"{name}_full" for name in LEARNERS), *(f"rm_interval_{kind}" for kind in ABLATIONS))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    made = synthetic.make(jax.random.key(3), num_prompts=240)
    holes = np.random.default_rng(0).random(made.available.shape) < 0.1
    holes[:, 0] = False
    outcomes = type(made.outcomes)(*(np.where(holes, np.nan, y) for y in made.outcomes))
    made = dataclasses.replace(made, outcomes=outcomes, available=~holes, expected=None)
    made = table.normalise(made, units.cost_scale(made)[0])
    problems = build.build(CONFIG, table.Data(made, table.split(CONFIG, made), 1.0, ""), full=("ridge",))
    folder = tmp_path_factory.mktemp("checkpoints")
    return Experiment(CONFIG, problems, made.models, sweep.mesh(jax.devices()[:1]), folder)


@pytest.fixture(scope="module")
def decisions(experiment):
    of = lambda name: experiment._replace(checkpoints=experiment.checkpoints / name)
    return {name: np.asarray(methods.get(name).run(of(name))) for name in NAMES}


@pytest.mark.study
def test_every_method_chooses_one_available_model(experiment, decisions):
    available = np.asarray(experiment.problems.test.available)
    for name, chosen in decisions.items():
        assert methods.get(name).trained
        assert chosen.shape == (2, len(CONFIG.weights), *available.shape[1:]), name
        np.testing.assert_array_equal(chosen.sum(-1), 1.0, err_msg=name)
        assert not (chosen.astype(bool) & ~available[:, None]).any(), name


@pytest.mark.study
def test_interval_and_its_ablations_are_the_end_routers_at_the_ends(decisions):
    """0 and the largest cost weight are ends of every seed: no residual, no interpolation there."""
    for end in (0, -1):
        for kind in ABLATIONS:
            np.testing.assert_array_equal(
                decisions["rm_interval"][:, end], decisions[f"rm_interval_{kind}"][:, end], err_msg=kind
            )
    assert (decisions["rm_interval_nearest"][:, 1:3] != decisions["rm_interval_no_residual"][:, 1:3]).any()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "_full"])
def test_an_affine_router_that_does_not_move_is_the_plug_in(experiment, end):
    still = experiment._replace(config=dataclasses.replace(CONFIG, learning_rate=1e-30), checkpoints=None)
    np.testing.assert_array_equal(
        methods.get(f"rm_affine{end}").run(still), methods.get(f"plug_in_stack{end}").run(experiment)
    )


@pytest.mark.study
def test_affine_chooses_cheaper_predictions_as_the_cost_weight_grows(experiment, decisions):
    cost = np.asarray(experiment.problems.stack.test.cost)[:, None]
    chosen = (decisions["rm_affine"] * cost).sum(-1)
    assert (np.diff(chosen, axis=1) <= 0).all()


@pytest.mark.slow
def test_interval_ends_span_the_cost_weights_of_every_seed(experiment):
    ends = np.asarray(conditional.interval_ends(experiment, full=False))
    assert ends.shape == (2, 4)
    np.testing.assert_allclose(ends[:, [0, -1]], [[0, 2], [0, 2]])
    assert (np.diff(ends) > 0).all()
    assert (ends[0] != ends[1]).any()


@pytest.mark.study
def test_members_are_different_routers_and_their_mean_decides(experiment):
    config = dataclasses.replace(CONFIG, members=3, cost_weights=(0.3,))
    points = trained.members_of(config, 3, jnp.zeros((2, 4)))
    assert points.seed.shape == (2, 12)
    np.testing.assert_array_equal(points.seed[:, ::4], [[0, 2, 4], [1, 3, 5]])
    together = methods.get("rm_conditional").run(experiment._replace(config=config, checkpoints=None))
    assert together.shape[1] == 1
    np.testing.assert_array_equal(together.sum(-1), 1.0)


@pytest.mark.study
def test_a_router_without_the_evidence_is_its_start(experiment):
    experiment = experiment._replace(checkpoints=None)
    asked = experiment._replace(config=dataclasses.replace(CONFIG, evidence=1e6))
    for router, start in (("rm_affine", "plug_in_stack"), ("rm_interval", "rm_interval_no_residual")):
        np.testing.assert_array_equal(methods.get(router).run(asked), methods.get(start).run(experiment))


@pytest.mark.parametrize(("field", "value"), [("intervals", 0), ("members", 0), ("evidence", -1.0)])
def test_settings_that_cannot_be_meant_are_refused(field, value):
    with pytest.raises(InputError, match=f"{field} is {value}; it must be"):
        configs.check(dataclasses.replace(CONFIG, **{field: value}), "tiny.py")
