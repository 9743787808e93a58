"""Exploration in NumPy is that of `policies.exploration`, and the gateway draws what it logs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import router_kinds

from jaxroute import policies
from jaxroute.gateway import Gate, load_settings, rollout
from jaxroute.gateway.recorder import Recorder
from jaxroute.policies import exploration
from jaxroute.serving import exploring
from jaxroute.types import InputError

rng = np.random.default_rng(0)
MEAN, SD, COST = rng.normal(0.5, 0.1, (50, 4)), rng.uniform(0, 0.2, (50, 4)), rng.uniform(0, 1, (50, 4))
GREEDY, TARGET = np.eye(4)[MEAN.argmax(1)], np.eye(4)[rng.integers(0, 4, 50)]


def each(function):
    return np.stack([function(i) for i in range(len(MEAN))])


def test_the_numpy_twins_are_the_policies_of_jax():
    x = jax.tree.map(lambda y: jnp.asarray(y, jnp.float32), {"mean": MEAN, "sd": SD, "cost": COST, "target": TARGET})
    found = each(lambda i: exploring.contenders(MEAN[i], SD[i], epsilon=0.3, floor=0.1))
    np.testing.assert_allclose(found, exploration.contenders(x["mean"], x["sd"], epsilon=0.3, floor=0.1), atol=1e-5)
    wanted = exploration.for_evaluation(x["target"], x["sd"], floor=0.1, baseline=jnp.asarray(GREEDY, jnp.float32))
    found = each(lambda i: exploring.for_evaluation(TARGET[i], SD[i], floor=0.1, baseline=GREEDY[i]))
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    np.testing.assert_allclose(
        each(lambda i: exploring.softmax(MEAN[i], 0.1)), policies.softmax(x["mean"], temperature=0.1), atol=1e-5
    )
    even = np.full((50, 4), 0.25)
    wanted = exploration.limited(
        jnp.asarray(even, jnp.float32), jnp.asarray(GREEDY, jnp.float32), cost=x["cost"], utility=x["mean"],
        spend=0.05, loss=0.02,
    )  # fmt: skip
    found = each(lambda i: exploring.limited(even[i], GREEDY[i], cost=COST[i], utility=MEAN[i], spend=0.05, loss=0.02))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    exact, error = exploration.thompson(jax.random.key(0), x["mean"], x["sd"], simulations=1000)
    found = each(lambda i: exploring.thompson(np.random.default_rng(i), MEAN[i], SD[i], simulations=1000))
    assert np.abs(found - exact).max() < 8 * np.asarray(error).max()
    exact, error = exploration.thompson(jax.random.key(0), x["mean"], 0.3 * x["sd"], simulations=1000)
    narrow, rng = exploring.Explorer("thompson", floor=0.0, simulations=1000, width=0.3), np.random.default_rng(0)
    found = each(lambda i: narrow.probabilities(exploring.Scene(GREEDY[i], MEAN[i], SD[i]), rng))
    assert np.abs(found - exact).max() < 8 * np.asarray(error).max()


def test_a_limit_on_an_unknown_cost_leaves_no_room():
    router, explore, cost = np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([1.0, np.nan])
    known = {"cost": cost, "utility": np.ones(2)}
    np.testing.assert_array_equal(exploring.limited(explore, router, **known, spend=0.1), router)
    np.testing.assert_array_equal(exploring.limited(explore, router, **known), explore)


@pytest.fixture
def folder(tmp_path):
    """A folder with two routers, one that knows no uncertainty, and a way to write models.yaml."""
    router_kinds.router("plug_in").save(tmp_path / "old")
    router_kinds.router("affine").save(tmp_path / "new")
    router_kinds.router("plug_in", last_layer=None).save(tmp_path / "certain")
    router_kinds.router("per_weight").save(tmp_path / "scores")

    def settings(router="old", **more):
        said = {"models": list(router_kinds.MODELS), "default": "a", "router": router, "cost_weight": 20, "seed": 0}
        (tmp_path / "models.yaml").write_text(json.dumps({**said, **more}))
        return load_settings(tmp_path / "models.yaml")

    return settings


@pytest.mark.parametrize("policy", exploring.POLICIES)
def test_models_are_drawn_as_often_as_is_logged(folder, policy):
    explore = {"policy": policy, "floor": 0.2} | ({"router": "new"} if policy == "evaluation" else {})
    gate, x = Gate(folder(explore=explore)), router_kinds.FEATURES[0]
    choices = [gate.choose(x) for _ in range(400)]
    assert {c.facts["explore"] for c in choices} == {policy}
    assert {c.facts["simulations"] for c in choices} == {256 if policy == "thompson" else None}
    assert min(c.propensity for c in choices) >= 0.05 - 1e-9
    # The inverse propensity weights of every model sum to the number of requests, if they are exact.
    for model in router_kinds.MODELS:
        weights = [1 / c.propensity if c.model == model else 0.0 for c in choices]
        assert abs(np.mean(weights) - 1) < 4 * np.std(weights) / 20


def test_thompson_fades_with_the_rows_in_which_a_model_could_answer(folder, tmp_path):
    """Of three equal models the oldest is certain, and one that just came is not; what is drawn is what is logged."""
    rows = {"a": 3000, "b": 300, "c": 0}  # d is not named: the log never shows it
    aged = router_kinds.router("plug_in", summary={"rows_available_by_model": rows})
    aged.save(tmp_path / "aged")
    gate = Gate(folder("aged", explore={"policy": "thompson", "floor": 0.2}))
    choices = [gate.choose(router_kinds.FEATURES[0]) for _ in range(400)]
    assert choices[0].facts["explore_width"] == pytest.approx([0.7**10, 0.7, 1.0, 1.0])
    for model in router_kinds.MODELS:
        weights = [1 / c.propensity if c.model == model else 0.0 for c in choices]
        assert abs(np.mean(weights) - 1) < 4 * np.std(weights) / 20
    part = gate.choose(router_kinds.FEATURES[0], ["c", "a"])
    assert dict(zip(part.candidates, part.facts["explore_width"], strict=True)) == pytest.approx({"c": 1, "a": 0.7**10})

    own = Gate(folder("aged", explore={"policy": "thompson", "width": 0.5, "fade": 0.5, "fade_rows": 150}))
    assert own.choose(router_kinds.FEATURES[0]).facts["explore_width"] == pytest.approx([0.5**21, 0.125, 0.5, 0.5])
    constant = Gate(folder("aged", explore={"policy": "thompson", "fade": 1}))
    assert constant.choose(router_kinds.FEATURES[0]).facts["explore_width"] == [1.0] * 4
    silent = Gate(folder("old", explore={"policy": "thompson"}))  # of a release that did not count
    assert silent.choose(router_kinds.FEATURES[0]).facts["explore_width"] == [1.0] * 4

    sd = np.full(3, 0.1)
    scene = exploring.Scene(np.eye(3)[0], np.array([0.52, 0.5, 0.5]), sd, age=np.array([3000.0, 3000.0, 0.0]))
    found = exploring.Explorer("thompson", floor=0.0).probabilities(scene, np.random.default_rng(0))
    assert found[1] < 0.01 < 0.3 < found[2]
    wanted = exploring.thompson(np.random.default_rng(0), scene.mean, sd * [0.7**10, 0.7**10, 1.0])
    np.testing.assert_array_equal(found, wanted)


def test_a_router_that_is_fitted_to_the_gateways_rows_explores_a_new_model_most(folder, tmp_path):
    """Rows that a gate wrote, the last ones with a model more, and the router that they make."""
    import jaxroute as jr

    few = {"models": list("abc"), "default": "a", "router": "old", "cost_weight": 20, "seed": 0, "epsilon": 1.0}
    rows = []
    for count, more in ((600, {}), (60, {"models": list(router_kinds.MODELS)})):
        gate = Gate(folder(**few | more))
        for _ in range(count):
            x = rng.standard_normal(router_kinds.FEATURES.shape[1])
            choice = gate.choose(x)
            quality = float(rng.random() < 0.5 + 0.2 * (choice.model == "b"))
            rows.append({"request_id": f"{len(rows)}", "features": x.tolist(), "model": choice.model,
                         "available": list(choice.candidates), "propensity": choice.propensity, "quality": quality,
                         "cost": 0.001, **choice.facts})  # fmt: skip
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = {"outcome_models": ["mean"], "hidden": (4,), "steps": 20}
    router = jr.fit(tmp_path / "log.jsonl", "plug_in_mean", members=1, **small)
    assert router.summary["rows_available_by_model"] == {"a": 660, "b": 660, "c": 660, "d": 60}
    router.save(tmp_path / "next")
    choice = Gate(folder("next", explore={"policy": "thompson"})).choose(rng.standard_normal(5))
    width = dict(zip(choice.candidates, choice.facts["explore_width"], strict=True))
    assert width == pytest.approx(dict.fromkeys("abc", 0.7 ** (660 / 300)) | {"d": 0.7 ** (60 / 300)})


@pytest.mark.parametrize(
    ("router", "explore", "says"),
    [
        ("certain", {"policy": "thompson"}, "thompson needs a router with a posterior"),
        ("certain", {"policy": "uniform", "loss": 0.01}, "loss needs a router with a posterior"),
        ("scores", {"policy": "uniform", "spend": 0.01}, "spend needs predicted costs"),
        ("old", {"policy": "thomson"}, "must be one of uniform"),
        ("old", {"policy": "uniform", "flor": 0.1}, "unknown key 'flor'"),
        ("old", {"policy": "evaluation", "router": "new", "floor": 0.0}, "floor, such as 0.01"),
        ("old", {"policy": "evaluation"}, "router names the router"),
        ("old", {"policy": "thompson", "fade": 1.5}, "fade is 1.5; it must be a number from 0 to 1"),
        ("old", {"policy": "thompson", "fade_rows": 0}, "fade_rows is 0; it must be a number of rows above 0"),
    ],
)
def test_what_cannot_be_explored_is_refused_by_name(folder, router, explore, says):
    try:
        problem = Gate(folder(router, explore=explore)).problem
    except InputError as error:
        problem = str(error)
    assert says in problem


def test_a_roll_out_logs_the_mixtures_propensity_and_its_contrast_is_unbiased(folder):
    gate = Gate(folder(epsilon=0.2, rollout={"router": "new", "share": 0.3}))
    arms = {0: [], 1: []}
    for x in router_kinds.FEATURES:
        old, new = (one.policies(x[None], [router_kinds.MODELS])[0] for one in (gate.old, gate.new))
        if (old == new).all():
            continue
        exact = 0.8 * (0.7 * old + 0.3 * new) + 0.05
        for choice in (gate.choose(x) for _ in range(60)):
            k = router_kinds.MODELS.index(choice.model)
            assert choice.propensity == pytest.approx(exact[k])
            assert choice.facts["rollout_contrast"] == pytest.approx(0.8 * (new[k] - old[k]) / exact[k])
            arms[choice.facts["rollout"] == "new"].append(choice)
    assert len(arms[1]) / (len(arms[0]) + len(arms[1])) == pytest.approx(0.3, abs=0.05)
    assert {c.facts["router_version"] for c in arms[1]} == {gate.new.router.version}
    assert {c.facts["router_version"] for c in arms[0]} == {gate.old.router.version}


def rows_of(gain, count=3000, share=0.3):
    """Rows of a roll-out on which the two routers always differ: model 1 of the new one is better by ``gain``."""
    rng = np.random.default_rng(1)
    for i in range(count):
        new = rng.random() < share
        contrast = 1 / share if new else -1 / (1 - share)
        yield {
            "request_id": str(i), "candidate": "v2", "status": "answered", "by": "router", "timestamp": float(i),
            "rollout_contrast": contrast, "cost_weight": 0.0, "cost": 1.0,
            "quality": float(rng.random() < 0.5 + gain * new),
        }  # fmt: skip


def _unrated(line):
    return json.dumps(json.loads(line) | {"quality": None})


def test_a_roll_out_is_sent_back_when_it_is_worse_and_stays_so(folder, tmp_path):
    plan = folder(rollout={"router": "new", "share": 0.3}).rollout
    worse, same = (rollout.compare(list(rows_of(gain)), {}, "v2") for gain in (-0.2, 0.0))
    assert rollout.decided(worse, plan) == "returned"
    assert worse.lower < -0.2 < worse.upper < 0
    assert (rollout.decided(same, plan), same.lower < 0 < same.upper) == ("running", True)
    assert rollout.decided(rollout.compare(list(rows_of(0.3)), {}, "v2"), plan) == "better"
    few = rollout.compare(list(rows_of(-0.2, 50)), {}, "v2")
    assert (few.lower, rollout.decided(few, plan)) == (None, "running")

    settings = folder(rollout={"router": "new", "share": 0.3}, log="log.jsonl", epsilon=0.2)
    gate = Gate(settings)
    assert gate.share == 0.3
    assert Recorder(gate).ready()["rollout"] == {"router": gate.new.router.version, "status": "running", "share": 0.3}
    version = gate.new.router.version
    with (tmp_path / "log.jsonl").open("w") as log:
        for row in rows_of(-0.2):
            log.write(json.dumps(row | {"candidate": version}) + "\n")
    before = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text("".join(f"{line}\n" for line in map(_unrated, before.splitlines())))
    named = [
        (f"{row['request_id']}", row["quality"], kind, 1.0) for row in rows_of(-0.2) for kind in ("useful", "brief")
    ]
    named = [(name, y if kind == "useful" else 1.0, kind, at) for name, y, kind, at in named]
    named += [("0", 0.0, "useful", 0.0)]  # an earlier one that was written later
    settings.feedback_file.parent.mkdir(exist_ok=True)
    keys = ("request_id", "quality", "name", "timestamp")
    settings.feedback_file.write_text("".join(json.dumps(dict(zip(keys, one, strict=True))) + "\n" for one in named))
    for score in (None, "other"):
        with pytest.raises(
            InputError, match=r"the ratings are called 'brief', 'useful'; name those that count: score=NAME"
        ):
            rollout.look(settings, score=score)
    by_name = rollout.look(settings, score="useful")
    assert by_name["difference"] == pytest.approx(worse.difference)
    settings.feedback_file.unlink()
    (tmp_path / "rollout.json").unlink()
    (tmp_path / "log.jsonl").write_text(before)
    assert rollout.look(settings)["status"] == "returned"
    returned = Gate(settings)
    said = Recorder(returned).ready()["rollout"]
    assert (said["router"], said["status"], said["share"], said["rows"]) == (version, "returned", 0.0, 3000)
    assert said["upper"] < 0
    assert (returned.share, returned.choose(router_kinds.FEATURES[0]).facts.get("rollout")) == (0.0, None)
    (tmp_path / "log.jsonl").unlink()
    assert rollout.look(settings)["status"] == "returned"
    (tmp_path / "rollout.json").write_text("{")
    damaged = Gate(settings)
    assert (damaged.share, damaged.rollout["status"]) == (0.0, "unreadable")
