"""What cannot be trained is refused before anything is compiled, by the name of the argument; the unknown is not."""

from dataclasses import replace

import engine_problem as small
import jax
import numpy as np
import pytest
from engine_problem import CONDITIONAL, EXAMPLES, LOG, POINTS, TASKS, K, N, S, assert_same_bits, program

from jaxroute import engine
from jaxroute.engine import disk
from jaxroute.learn.objectives import OBJECTIVES
from jaxroute.types import InputError


def train(points=POINTS, learn=EXAMPLES, validate=EXAMPLES, name="router", **spec):
    network, task, *_ = TASKS[name]
    made = replace(program(1, network=network, task=task, **spec), objective=OBJECTIVES["rm_softmax"])
    return engine.train(made, points, learn, validate)


def put(x, at, value):
    x = np.array(x)
    x[at] = value
    return x


def where(record, path, at, value):
    """The record with one number of one of its arrays replaced."""
    name, _, rest = path.partition(".")
    part = getattr(record, name)
    return record._replace(**{name: where(part, rest, at, value) if rest else put(part, at, value)})


SPECS = {
    "chunk": ({"chunk": 0}, "chunk=0: it must be a whole number, at least 1"),
    "negative chunk": ({"chunk": -6}, "chunk=-6"),
    "batch": ({"batch_size": 0}, "batch_size=0: it must be a whole number, at least 1"),
    "steps": ({"steps": 0}, "steps=0"),
    "part of a step": ({"steps": 24.5}, r"steps=24\.5: it must be a whole number"),
    "width": ({"hidden": (8, 0)}, r"hidden=\(8, 0\)"),
    "dropout": ({"dropout": 1.0}, r"dropout=1\.0"),
    "no dropout": ({"dropout": float("nan")}, "dropout=nan"),
}


@pytest.mark.parametrize("name", SPECS)
def test_what_is_static_is_refused_when_the_program_is_made(name):
    settings, message = SPECS[name]
    with pytest.raises(InputError, match=message):
        program(1, **settings)


POINT = {
    "learning_rate": (np.nan, 0.0, -0.125, np.inf),
    "weight_decay": (np.nan, -0.125),
    "temperature": (np.nan, 0.0, -1.0),
    "label_temperature": (np.nan, 0.0),
    "cost_weight": (np.nan, -0.125, np.inf),
    "entropy": (np.nan, -0.125),
    "clip": (np.nan, -0.125, 1.0),
    "width": (0,),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in POINT.items() for value in values])
def test_a_number_of_one_point_that_cannot_be_is_refused(name, value):
    with pytest.raises(InputError, match=rf"points\.{name} is {value}; it must be "):
        train(where(POINTS, name, (1, 2), value))


SHORT = jax.tree.map(lambda x: x[:, :0], EXAMPLES)
ONE_GROUP, THREE_GROUPS = (
    EXAMPLES._replace(available=small.AVAILABLE[:1]),
    jax.tree.map(lambda x: x[[0, 1, 1]], EXAMPLES),
)
ROWS = {
    "points of one axis": ({"points": jax.tree.map(lambda x: x[0], POINTS)}, r"points\.seed has shape \(4,\)"),
    "no points": ({"points": jax.tree.map(lambda x: x[:, :0], POINTS)}, r"points\.seed has shape \(2, 0\)"),
    "points that differ": ({"points": POINTS._replace(clip=POINTS.clip[:1])}, r"points\.clip has shape \(1, 4\)"),
    "seeds": ({"points": POINTS._replace(seed=POINTS.clip)}, r"points\.seed has entries of type float32"),
    "no rows": ({"learn": SHORT}, "learn has no rows or no models"),
    "no validation": ({"validate": SHORT}, "validate has no rows or no models"),
    "groups": ({"learn": THREE_GROUPS}, r"learn\.features has shape \(3, 96, 4\); it must begin with .*= \(2, 96\)"),
    "groups validated on": ({"validate": THREE_GROUPS}, r"validate\.features has shape \(3, 96, 4\)"),
    "groups of a field": ({"learn": ONE_GROUP}, r"and learn\.available \(1, 96, 3\)"),
    "rows of a field": (
        {"learn": EXAMPLES._replace(available=small.AVAILABLE[:, :9])}, r"and learn\.available \(2, 9, 3\)"
    ),
    "models of a field": (
        {"learn": EXAMPLES._replace(available=small.AVAILABLE[..., :2])},
        r"learn\.outcomes\.quality has shape \(2, 96, 3\), and learn\.available \(2, 96, 2\)",
    ),
    "no group axis": ({"learn": jax.tree.map(lambda x: x[0], EXAMPLES)}, "learn: features have shape"),
    "other features": (
        {"validate": EXAMPLES._replace(features=small.FEATURES[..., :3])}, r"validate\.features has 3 .*features 4"
    ),
    "ends": (
        {"name": "every weight", "learn": CONDITIONAL._replace(ends=small.ENDS[:1]), "validate": CONDITIONAL},
        r"learn\.ends has shape \(1, 3\); it must begin with \[groups\] = \(2,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_shapes_that_do_not_fit_are_refused(name):
    settings, message = ROWS[name]
    with pytest.raises(InputError, match=message):
        train(**settings)


NUMBERS = {
    "learn.features": ("router", EXAMPLES, "learn", "features"),
    "learn.outcomes.quality": ("router", EXAMPLES, "learn", "outcomes.quality"),
    "learn.outcomes.cost": ("router", EXAMPLES, "learn", "outcomes.cost"),
    "validate.features": ("router", EXAMPLES, "validate", "features"),
    "validate.outcomes.quality": ("router", EXAMPLES, "validate", "outcomes.quality"),
    "validate.outcomes.cost": ("router", EXAMPLES, "validate", "outcomes.cost"),
    "learn.nuisances.outcomes.quality": ("logged", LOG, "learn", "nuisances.outcomes.quality"),
    "learn.initial.cost": ("every weight", CONDITIONAL, "learn", "initial.cost"),
}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("said", NUMBERS)
def test_one_number_that_is_none_is_refused_and_placed(said, value):
    name, record, argument, path = NUMBERS[said]
    rows = {"learn": TASKS[name][2], "validate": TASKS[name][3], argument: where(record, path, (1, 5, 2), value)}
    with pytest.raises(InputError) as error:
        train(**rows, name=name)
    assert str(error.value).startswith(f"{said} is {value} in group 1, row 5; it must be a finite number")


def test_of_a_log_the_chosen_propensity_and_model_are_needed():
    chosen = int(LOG.logs.action[1, 5])
    for path, at, value, message in (
        ("nuisances.propensity", (1, 5, chosen), np.nan, r"learn\.nuisances\.propensity is nan in group 1, row 5"),
        ("logs.action", (1, 5), K, r"learn\.logs\.action, row 5: 3 is not the index of one of 3 models"),
        ("logs.cost", (1, 5), np.inf, r"learn\.logs\.cost is infinite"),
    ):
        with pytest.raises(InputError, match=message):
            train(learn=where(LOG, path, at, value), name="logged")
    with pytest.raises(InputError, match=r"learn\.ends is nan in group 1; it must be a finite number"):
        train(learn=where(CONDITIONAL, "ends", (1, 2), np.nan), validate=CONDITIONAL, name="every weight")


def test_what_no_available_model_answered_may_be_unknown():
    """NaN where a model is not available gives the bits that 0 gives; a row without any model may be learnt from."""
    available = put(small.AVAILABLE, (slice(None), slice(0, 40), 1), False)
    nothing = put(available, (0, 3), False)

    def masked(available, value):
        quality, cost = (np.where(available, y, np.float32(value)) for y in EXAMPLES.outcomes)
        return EXAMPLES._replace(outcomes=EXAMPLES.outcomes._replace(quality=quality, cost=cost), available=available)

    states = [train(learn=masked(nothing, value), validate=masked(available, value)) for value in (np.nan, 0.0)]
    assert np.isfinite(np.asarray(states[0].best_value)).all()
    assert_same_bits(*states)
    with pytest.raises(InputError, match=r"validate\.outcomes\.quality is nan in group 0, row 3"):
        train(validate=masked(nothing, np.nan))  # the mean value of every point would be NaN
    assert np.isfinite(np.asarray(train(validate=masked(nothing, 0.0)).best_value)).all()


def test_what_a_log_did_not_observe_may_be_unknown():
    rows = where(where(LOG, "logs.quality", (1, 5), np.nan), "logs.cost", (0, 7), np.nan)
    rows = rows._replace(logs=rows.logs._replace(propensity=np.full((S, N), np.nan, np.float32)))
    state = train(learn=rows, name="logged")
    assert np.isfinite(np.asarray(state.best_value)).all()
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(state.params))


def test_rows_on_disk_need_a_block(tmp_path):
    first = jax.tree.map(lambda x: x[0], EXAMPLES)
    disk.write(tmp_path / "rows", [first], N)
    points, validate = jax.tree.map(lambda x: x[:1], (POINTS, EXAMPLES))
    for sizes in ({"block": 0, "run": 8}, {"block": -8, "run": 8}):
        with pytest.raises(
            InputError, match=f"block={sizes['block']}: it must be a multiple of run=8, both at least 1"
        ):
            train(points, disk.open_rows(tmp_path / "rows", **sizes), validate)
    with pytest.raises(InputError, match=r"validate has no rows or no models"):
        train(points, disk.open_rows(tmp_path / "rows", block=48, run=8), jax.tree.map(lambda x: x[:, :0], validate))
