"""Whose checkpoints a folder holds: another training's are refused by name and left alone, the same one's go on."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import engine_problem as small
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_problem import EXAMPLES, NETWORK, POINTS, KilledError, N, S, assert_same_bits, kill_at, program, regret

from jaxroute import engine, sweep
from jaxroute.engine import checkpoint, disk, identity, networks
from jaxroute.learn.objectives import OBJECTIVES
from jaxroute.types import InputError

WAY_OUT = "; use another folder, or remove this one"


def train(folder=None, points=POINTS, learn=EXAMPLES, validate=EXAMPLES, objective=regret, **given):
    settings = {name: given.pop(name) for name in ("on_chunk", "kept") if name in given}
    made = replace(program(1, **given), objective=objective)
    return engine.train(made, points, learn, validate, folder=folder, **settings)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun") / "run"
    with pytest.raises(KilledError):
        train(folder, on_chunk=kill_at(18))
    return folder


@pytest.fixture
def folder(begun, tmp_path):
    return Path(shutil.copytree(begun, tmp_path / "run"))


def doubled(scores, utility, where, h):
    return regret(2 * scores, utility, where, h)


def louder(params, features, width):
    return 2 * NETWORK.apply(params, features, width)


def with_one_other(x):
    """A copy in which one number is another."""
    x = np.array(x)
    x[1, 7, 0] += 0.5
    return x


OTHER_QUALITY = EXAMPLES._replace(outcomes=EXAMPLES.outcomes._replace(quality=with_one_other(small.QUALITY)))
WIDER = EXAMPLES._replace(features=np.concatenate([small.FEATURES, small.FEATURES[..., :1]], -1))
OTHERS = {
    "learning rate": ({"points": POINTS._replace(learning_rate=2 * POINTS.learning_rate)}, "points (learning_rate)"),
    "cost weights": ({"points": POINTS._replace(cost_weight=POINTS.cost_weight + 1)}, "points (cost_weight)"),
    "two numbers": (
        {"points": POINTS._replace(seed=POINTS.seed + 1, width=0 * POINTS.seed + 4)},
        "points (seed, width)",
    ),
    "loss": ({"objective": doubled}, "loss"),
    "loss and batch": ({"objective": OBJECTIVES["rm_softmax"], "batch_size": 16}, "spec (batch_size), loss"),
    "network": ({"network": NETWORK._replace(apply=louder)}, "network"),
    "task": ({"task": replace(engine.ROUTER, start_counts=True)}, "task"),
    "chunk": ({"chunk": 4}, "spec (chunk)"),
    "rows learnt from": ({"learn": OTHER_QUALITY}, "rows (learn.outcomes.quality)"),
    "rows validated on": ({"validate": OTHER_QUALITY}, "rows (validate.outcomes.quality)"),
    "features": ({"learn": WIDER, "validate": WIDER}, "rows (learn.features, validate.features)"),
    "layers": ({"network": networks.router(small.K, (8, 8)), "hidden": (8, 8)}, "spec (hidden), network"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_training_is_refused_by_what_differs_and_nothing_is_lost(name, folder):
    settings, differs = OTHERS[name]
    before = contents(folder)
    with pytest.raises(InputError) as error:
        train(folder, **settings)
    assert str(error.value) == f"{folder}: was begun with other {differs}{WAY_OUT}"
    assert contents(folder) == before


def test_fewer_points_and_other_devices_of_rows_are_refused(folder):
    with pytest.raises(InputError, match=r"was begun with other points \(cost_weight, seed, "):
        train(folder, points=jax.tree.map(lambda x: x[:, :2], POINTS))
    with pytest.raises(InputError, match=r"was begun with other mesh \(data\); use another folder"):
        engine.train(program(None, data=2), POINTS, EXAMPLES, EXAMPLES, folder=folder)


def test_the_same_training_goes_on_where_others_were_refused(folder):
    for settings, _ in OTHERS.values():
        with pytest.raises(InputError):
            train(folder, **settings)
    steps = []
    equal = jax.tree.map(np.array, (POINTS, EXAMPLES))  # other arrays of the same numbers
    state = train(
        folder, points=equal[0], learn=jax.tree.map(jnp.asarray, equal[1]), on_chunk=lambda n, _: steps.append(n)
    )
    assert steps == [24]
    assert_same_bits(state, train())


def test_a_training_may_go_on_with_more_steps_and_not_with_fewer(folder):
    steps = []
    state = train(folder, steps=36, on_chunk=lambda done, _: steps.append(done))
    assert steps == [24, 30, 36]
    assert (np.asarray(state.step) == 36).all()
    with pytest.raises(InputError, match="was begun with steps=36, more than steps=24; use another folder"):
        train(folder, steps=24)


def test_a_killed_training_is_not_cut_short(folder):
    with pytest.raises(InputError, match="was begun with steps=24, more than steps=18; use another folder"):
        train(folder, steps=18)


def search(folder, rungs=(6, 12), **settings):
    made, points = program(1), sweep.grouped_grid(S, cost_weight=(0.0, 0.5), learning_rate=(1e-3, 1e-2, 1e-1, 0.3))
    return engine.search(made, points, EXAMPLES, EXAMPLES, rungs=rungs, folder=folder, **settings)


def test_a_search_goes_on_with_its_own_rungs_alone(tmp_path):
    with pytest.raises(KilledError):
        search(tmp_path, on_chunk=kill_at(12))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"was begun with other rungs; use another folder"):
        search(tmp_path, rungs=(6,))
    with pytest.raises(InputError, match=r"was begun with other keep; use another folder"):
        search(tmp_path, keep=0.75)
    with pytest.raises(InputError, match=r"was begun with other points \(.*hook"):
        train(tmp_path)
    assert contents(tmp_path) == before
    found = search(tmp_path, rungs=(6, 12, 18))  # one more, and it is still to come
    assert sorted(np.unique(found.dropped_at)) == [-1, 6, 12]


def test_rows_on_disk_are_told_apart_by_their_contents(tmp_path):
    first, other = (jax.tree.map(lambda x: np.array(x[0]), rows) for rows in (EXAMPLES, EXAMPLES))
    other.outcomes.quality[5, 1] += 0.5
    points, validate = jax.tree.map(lambda x: x[:1], (POINTS, EXAMPLES))
    for name, rows in (("first", first), ("again", first), ("other", other)):
        disk.write(tmp_path / name, [rows], N)

    def trained(name, **settings):
        rows = disk.open_rows(tmp_path / name, block=64, run=8)
        return engine.train(program(1, steps=8), points, rows, validate, folder=tmp_path / "run", **settings)

    with pytest.raises(KilledError):
        trained("first", on_chunk=kill_at(4))
    with pytest.raises(InputError, match=r"was begun with other rows \(learn.outcomes.quality\)"):
        trained("other")
    steps = []
    trained("again", on_chunk=lambda done, _: steps.append(done))
    assert steps == [6, 8]


@pytest.fixture
def former(tmp_path, monkeypatch):
    """A folder as a former version left it: its checkpoints do not say of which training they are."""
    save, digest = checkpoint.save, checkpoint.digest

    def saved(*arguments, about, **settings):
        return save(*arguments, about={name: about[name] for name in about if name != "training"}, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", saved)
        with pytest.raises(KilledError):
            train(tmp_path, on_chunk=kill_at(12))
    assert checkpoint.digest is digest
    return tmp_path


def test_what_a_former_version_wrote_goes_on_where_it_fits(former):
    steps = []
    assert_same_bits(train(former, on_chunk=lambda done, _: steps.append(done)), train())
    assert steps == [18, 24]
    with pytest.raises(InputError, match=r"was begun with other points \(learning_rate\)"):
        train(former, points=OTHERS["learning rate"][0]["points"])


@pytest.mark.parametrize("name", ["features", "layers"])
def test_what_a_former_version_wrote_of_other_shapes_is_refused_and_stays(former, name):
    before = contents(former)
    with pytest.raises(InputError, match=r"numbers of points or features, or another network; use another folder"):
        train(former, **OTHERS[name][0])
    assert contents(former) == before


def test_words_that_are_damaged_are_no_other_training(folder, capsys):
    """A digest of the newest checkpoint with another digit: the one before is used, and nothing is refused."""
    path = folder / "18" / "_CHECKPOINT_METADATA"
    words = json.loads(path.read_text())
    parts = words["custom_metadata"]["about"]["training"]["parts"]
    parts["points.seed"] = parts["points.seed"][::-1]
    path.write_text(json.dumps(words))
    steps = []
    state = train(folder, on_chunk=lambda done, _: steps.append(done))
    assert steps == [18, 24]
    assert "checkpoint 18" in capsys.readouterr().out
    assert_same_bits(state, train())


def scaled(by):
    def loss(scores, utility, where, h):
        return by * regret(scores, utility, where, h)

    return loss


def with_default(by=1.0):
    return by


def with_keyword(*, by=1.0):
    return by


def changed(function, **changes):
    made = type(function)(function.__code__, function.__globals__, function.__name__)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@dataclass(frozen=True)
class Scaled:
    by: float

    def __call__(self, scores):
        return self.by * scores


class Holder:
    def __init__(self, by):
        self.by = by

    def loss(self, scores):
        return self.by * scores


PAIRS = {
    "closure": (scaled(1.0), scaled(2.0)),
    "closure over an array": (scaled(np.ones(3)), scaled(np.ones(4))),
    "partial": (partial(regret, h=1), partial(regret, h=2)),
    "default": (changed(with_default, __defaults__=(1.0,)), changed(with_default, __defaults__=(2.0,))),
    "keyword": (changed(with_keyword, __kwdefaults__={"by": 1.0}), changed(with_keyword, __kwdefaults__={"by": 2.0})),
    "constant in the code": (lambda x: x + 1.0, lambda x: x + 2.0),
    "function in the code": (lambda x: jnp.sin(x), lambda x: jnp.cos(x)),
    "nested code": (lambda x: [y + 1 for y in x], lambda x: [y + 2 for y in x]),
    "instance": (Scaled(1.0), Scaled(2.0)),
    "method": (Holder(1.0).loss, Holder(2.0).loss),
    "jit": (jax.jit(scaled(1.0)), jax.jit(scaled(2.0))),
    "network": (networks.affine(3, (8,), 0.1), networks.affine(3, (8,), 0.2)),
    "library": (OBJECTIVES["rm_classification"], OBJECTIVES["rm_classification_gap"]),
    "no code": (np.sin, np.cos),
}


@pytest.mark.parametrize("name", PAIRS)
def test_functions_are_told_apart_by_what_they_do(name):
    one, other = PAIRS[name]
    assert identity.described(one) != identity.described(other)


def test_functions_made_again_are_the_same():
    def itself(x):
        return itself(x)

    assert identity.described(scaled(1.0)) == identity.described(scaled(1.0))
    assert identity.described(Holder({"b": 1, "a": {2, 3}}).loss) == identity.described(
        Holder({"a": {3, 2}, "b": 1}).loss
    )
    assert "again" in identity.described(itself)


def parts_of_tasks():
    """Of every task with every loss of the library, as lines."""
    found = []
    for network, task, learn, validate in small.TASKS.values():
        for objective in OBJECTIVES.values():
            made = engine.Program(network, objective, small.SPEC, sweep.mesh(), task)
            found.append(identity.parts(made, POINTS, learn, validate))
    return found


def test_another_process_finds_the_same_parts():
    code = "import json, test_engine_identity as t; print(json.dumps(t.parts_of_tasks()))"
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env)
    here = parts_of_tasks()
    assert json.loads(done.stdout.splitlines()[-1]) == here
    assert len({json.dumps(found) for found in here}) == len(here)
