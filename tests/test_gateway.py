"""The gateway's parts that need no gateway: the gate's propensities, its fallbacks, the log's lines."""

import dataclasses
import json
import logging

import jax
import numpy as np
import pytest
import router_kinds
from router_kinds import FEATURES, MODELS

from jaxroute.data import prompts
from jaxroute.gateway import Gate, Settings, gate, load_settings, requests, watching
from jaxroute.gateway.routers import Question
from jaxroute.serving import kinds
from jaxroute.types import InputError


def on_disk(name, folder):
    """A random router of four models, features of prompts, and where the router is."""
    made = router_kinds.router(name)
    made.save(folder / "router")
    return made, np.tile(FEATURES, (2, 1)), folder / "router"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return on_disk("plug_in", tmp_path_factory.mktemp("gateway"))


def gate_of(kept, **changes):
    router, _, path = kept
    given = {"router": str(path), "normalised_cost_weight": 0.5, "epsilon": 0.2, "seed": 0} | changes
    return Gate(Settings(router.models, router.models[1], **given))


@pytest.mark.parametrize("way", [{"normalised_cost_weight": 0.5}, {"budget": None}])
def test_choices_occur_as_often_as_their_propensities_say(kept, way):
    router, features, _ = kept
    if "budget" in way:
        way = {"budget": float(np.mean(router.curve.cost)), "normalised_cost_weight": None}
    g = gate_of(kept, **way)
    said: dict[str, set[float]] = {}
    count = dict.fromkeys(router.models, 0)
    draws = 4000
    for _ in range(draws):
        choice = g.choose(features[3])
        said.setdefault(choice.model, set()).add(round(choice.propensity, 9))
        count[choice.model] += 1
    assert all(len(p) == 1 for p in said.values())
    chances = {m: next(iter(p)) for m, p in said.items()}
    assert sum(chances.values()) == pytest.approx(1.0)
    assert min(chances.values()) >= 0.2 / 4 - 1e-9
    for model, p in chances.items():
        assert abs(count[model] / draws - p) < 4 * np.sqrt(p * (1 - p) / draws)


@pytest.mark.parametrize("name", kinds.KINDS)
def test_without_exploration_the_gate_is_the_router(name, tmp_path):
    kept = router, features, _ = on_disk(name, tmp_path)
    g = gate_of(kept, epsilon=0.0)
    chosen = [g.choose(x) for x in features]
    assert [c.model for c in chosen] == router.route(features, normalised_cost_weight=0.5).models
    assert {(c.propensity, c.by) for c in chosen} == {(1.0, "router")}
    assert len({c.model for c in chosen}) > 1

    budget = float(router.curve.cost.mean())
    (cheap, share), (dear, rest) = router.weights(budget=budget)
    g = gate_of(kept, epsilon=0.0, normalised_cost_weight=None, budget=budget)
    for x in features[:10]:
        mass = dict.fromkeys(router.models, 0.0)
        for weight, part in ((cheap, share), (dear, rest)):
            mass[router.route(x[None], cost_weight=weight).models[0]] += part
        choice = g.choose(x)
        assert choice.propensity == pytest.approx(mass[choice.model])


def test_of_equal_scores_the_routers_first_model_answers_in_whatever_order_the_settings_are(tmp_path):
    made = router_kinds.router("plug_in")
    alike = jax.tree.map(np.zeros_like, made.kind.student)._replace(axes=made.kind.student.axes)
    alike = alike._replace(level=np.full(4, 0.01, np.float32), bias=np.full(8, 0.5, np.float32))
    made = dataclasses.replace(made, kind=dataclasses.replace(made.kind, student=alike))
    made.save(tmp_path / "router")
    assert set(made.route(FEATURES, cost_weight=3.0).models) == {"a"}
    given = {"router": str(tmp_path / "router"), "cost_weight": 3.0, "epsilon": 0.0}
    backwards = Gate(Settings(MODELS[::-1], "d", **given))
    assert backwards.choose(FEATURES[0]).model == "a"
    assert backwards.choose(FEATURES[0], candidates=["d", "c", "b"]).model == "b"


def test_an_endpoint_gets_prompts_only_if_the_settings_name_it(tmp_path):
    router_kinds.router("per_weight", encoder="endpoint:small").save(tmp_path / "router")
    given = {"router": str(tmp_path / "router"), "cost_weight": 1.0}
    g = Gate(Settings(MODELS, "a", **given))
    assert "send every text" in g.problem
    assert g.router is None
    assert Gate(Settings(MODELS, "a", encoder="endpoint:small", **given)).router is not None


def test_candidates_and_removed_models(kept):
    router, features, _ = kept
    g = gate_of(kept)
    two = router.models[2:]
    for x in features[:30]:
        choice = g.choose(x, [*two, "somebody-else"])
        assert choice.candidates == two
        assert choice.propensity in (pytest.approx(0.9), pytest.approx(0.1))
    assert g.choose(features[0], [router.models[0]]).by == "only"
    with pytest.raises(InputError, match="none of the candidates"):
        g.choose(features[0], ["somebody-else"])
    favourite = gate_of(kept, epsilon=0.0).choose(features[0]).model
    without = gate_of(kept, epsilon=0.0)
    without.router = router.without(favourite)
    assert without.choose(features[0]).model != favourite
    without.router = router.without(*two)  # none of the candidates is left in it: the settings' default answers
    assert {c.by for c in (without.choose(x, two) for x in features[:5])} == {"default"}


def test_a_router_that_cannot_be_loaded_leaves_the_default_and_says_so(kept, tmp_path, caplog):
    router, features, _ = kept
    with caplog.at_level(logging.ERROR, "jaxroute.gateway"):
        g = gate_of(kept, router=str(tmp_path / "nowhere"))
    assert "is not a router" in g.problem
    assert router.models[1] in caplog.text
    counts = [g.choose(features[0]) for _ in range(200)]
    assert {c.by for c in counts} == {"default", "exploration"}
    assert all(c.propensity == pytest.approx(0.85) for c in counts if c.model == router.models[1])


def test_a_router_that_fails_on_a_prompt_leaves_the_default(kept, caplog):
    g = gate_of(kept, epsilon=0.0)
    for bad in (np.array([np.nan, 1.0], np.float32), "a text, but the router takes features", None):
        choice = g.choose(bad)
        assert (choice.model, choice.by) == (g.settings.default, "default")
    assert "failed on a prompt" in caplog.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"default": "x"}, "default"),
        ({"models": ()}, "models"),
        ({"alias": "a"}, "alias"),
        ({"epsilon": 1.5}, "epsilon"),
        ({"router": "r"}, "exactly one of"),
        ({"router": "r", "budget": 1.0, "cost_weight": 1.0}, "exactly one of"),
        ({"log": "log.jsonl", "log_prompts": False}, "neither texts nor features"),
    ],
)
def test_invalid_settings_are_refused(changes, says):
    with pytest.raises(InputError, match=says):
        Gate(Settings(**({"models": ("a", "b"), "default": "a"} | changes)))


@pytest.mark.parametrize(
    "line",
    [
        "models: small", "models: [a, 5]", "models: {a: 1}", "default: [a]", "alias: 5", "alias: null",
        "epsilon: '0.1'", "epsilon: true", "epsilon: .nan", "log: 5", "feedback: [a]", "router: true", "encoder: 5",
        "log_prompts: 'false'", "log_prompts: 0", "log_daily: 'no'", "max_characters: 1.5", "max_characters: true",
        "reload_seconds: -1", "reload_seconds: .inf", "reload_seconds: null", "log_megabytes: 0",
        "log_megabytes: 5 MB", "seed: abc", "seed: -1", "seed: 1.5", "capabilities: [a]", "capabilities: {a: tools}",
        "capabilities: {a: 5}", "context: 5", "cost_weight: '20'", "cost_weight: [20]", "budget: true",
    ],
)  # fmt: skip
def test_a_setting_of_another_type_is_refused_by_its_name(tmp_path, line):
    """A text counts as true, so log_prompts: 'false' logged every prompt; others were tracebacks or ended the watch."""
    file, (name, _, _) = tmp_path / "models.yaml", line.partition(":")
    given = {"models": "[a, b]", "default": "a"}
    file.write_text("".join(f"{key}: {value}\n" for key, value in given.items() if key != name) + line)
    with pytest.raises(InputError, match=rf"models.yaml: {name}(:| is) "):
        load_settings(file)


def test_a_file_that_breaks_its_reader_does_not_end_the_watch(tmp_path, monkeypatch, caplog):
    path = tmp_path / "models.yaml"
    path.write_text("models: [a, b]\ndefault: a\n")
    present = Gate(load_settings(path))

    def broken(settings):
        raise KeyError("a fault")

    assert watching.renewed(path, present, broken) is None
    assert "the gate stays as it was" in caplog.text


@pytest.mark.parametrize("way", ["budget", "quality_target"])
def test_a_budget_that_was_measured_with_other_models_is_refused_as_by_route(kept, way):
    """A part of the router's models spent twice the budget, and nothing was said."""
    router, features, path = kept
    asked = {way: float(np.mean(getattr(router.curve, way.removesuffix("_target").replace("budget", "cost"))))}
    with pytest.raises(InputError) as refused:
        router.without("b").route(features, **asked)
    part = Gate(Settings(("a", "c", "d"), "a", router=str(path), **asked))
    assert (part.problem, part.router) == (str(refused.value), None)
    assert Gate(Settings(MODELS[::-1], "a", router=str(path), **asked)).problem is None
    assert Gate(Settings(("a", "c", "d"), "a", router=str(path), cost_weight=3.0)).problem is None


def test_new_models_that_the_settings_leave_out_are_no_obstacle_to_a_budget(tmp_path):
    router_kinds.router("plug_in", summary={"measured_without": ["d"]}).save(tmp_path / "router")
    budget = float(np.mean(router_kinds.router("plug_in").curve.cost))
    given = {"router": str(tmp_path / "router"), "budget": budget}
    assert "measured without d" in Gate(Settings(MODELS, "a", **given)).problem
    assert Gate(Settings(MODELS[:3], "a", **given)).problem is None


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t\u3000", "hello" + 9 * " "])
def test_white_space_is_no_text_as_in_a_log(prompt):
    """A row of such a prompt was one that fit refused, and with it the whole log."""
    assert requests.text("atext_completion", {"prompt": prompt}, "last", 9) is None
    assert requests.text("acompletion", {"messages": [{"role": "user", "content": prompt}]}, "last", 9) is None


def test_prompts_need_not_be_logged_where_features_are_or_nothing_is(kept, tmp_path):
    _, features, _ = kept
    assert Gate(Settings(("a", "b"), "a", log_prompts=False)).settings.log is None
    g = gate_of(kept, log=str(tmp_path / "log.jsonl"), log_prompts=False)
    np.testing.assert_array_equal(g.choose(features[0]).features, features[0])


def test_settings_from_a_file(tmp_path):
    file = tmp_path / "models.yaml"
    file.write_text("models: [a, b]\ndefault: a\nrouter: kept\ncost_weight: 20\nlog: logs/log.jsonl\n")
    settings = load_settings(file)
    assert (settings.router, settings.log) == (str(tmp_path / "kept"), str(tmp_path / "logs" / "log.jsonl"))
    wrong = (
        ("modles: [a]", "modles"),
        ("- a", "keys and values"),
        ("a: [", "models.yaml"),
        ("models: [a]", "default"),
        (
            "models: [a]\ndefault: a\nlog: l.jsonl\nlog_prompts: false",
            "models.yaml: log_prompts is false and no router is named",
        ),
    )
    for text, says in wrong:
        file.write_text(text)
        with pytest.raises(InputError, match=says):
            load_settings(file)


def test_workers_with_one_seed_explore_differently():
    settings = Settings(("a", "b"), "a", epsilon=1.0, seed=3)
    alike, again, apart = (Gate(settings) for _ in range(3))
    apart.apart()
    drawn = [[g.choose("x").model for _ in range(40)] for g in (alike, again, apart)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_weights_mean_what_route_means(kept):
    router, _, _ = kept
    settings = Settings(router.models, router.models[0], cost_weight=3.0)
    assert gate.weights(router, settings) == [(3.0, 1.0)]
    target = float(np.mean(router.curve.quality))
    found = gate.weights(router, Settings(router.models, router.models[0], quality_target=target))
    decided = router.route(np.zeros((1, router.kind.num_features), np.float32), quality_target=target)
    assert found == [(float(decided.cost_weight[0]), 1.0)]


def test_a_model_removed_from_the_router_is_not_explored(kept, tmp_path):
    router, features, _ = kept
    removed, *left = router.models
    router.without(removed).save(tmp_path / "router")
    g = gate_of(kept, router=str(tmp_path / "router"), epsilon=1.0)
    choices = [g.choose(features[0]) for _ in range(200)]
    assert {c.model for c in choices} == set(left)
    assert all(c.propensity == pytest.approx(1 / len(left)) for c in choices)
    assert g.choose(features[0], [removed]).model == removed


def test_several_requests_are_decided_in_one_pass_as_one_by_one(kept, caplog):
    """The same models, propensities and draws; a request on which the router fails does not spoil the others."""
    router, features, _ = kept
    two = router.models[2:]
    asked = [Question(x, two if i % 3 == 0 else None) for i, x in enumerate(features[:40])]
    asked[5:5] = [Question(None), Question(np.full_like(features[0], np.nan)), Question(features[0], two[:1])]
    way = {"budget": float(np.mean(router.curve.cost)), "normalised_cost_weight": None}
    one, other = gate_of(kept, **way), gate_of(kept, **way)
    for alone, together in zip([one.choose(*q) for q in asked], other.choose_all(asked), strict=True):
        np.testing.assert_array_equal(alone.features, together.features)
        assert dataclasses.replace(alone, features=None) == dataclasses.replace(together, features=None)
    assert caplog.text.count("failed on a prompt") == 2


@pytest.mark.parametrize("chat", ["last:9", "user:9", "all:9"])
def test_the_gate_sees_the_text_that_a_file_of_prompts_holds(chat):
    """A limit on characters is one of chats: of a plain prompt the gate cut what route and fit read whole."""
    turns = [{"role": "user", "content": "Why is the sky blue?"}, {"role": "assistant", "content": "Rayleigh."}]
    for prompt in ("Why is the sky blue?", json.dumps(turns), '{"prompt": "in JSON, which is a prompt"}'):
        (read,) = next(prompts.read([{"prompt": prompt}], chat=chat))
        assert requests.text("atext_completion", {"prompt": prompt}, chat, 1000) == read
        assert requests.text("aresponses", {"input": prompt}, chat, 1000) == read
    (read,) = next(prompts.read([{"messages": turns}], chat=chat))
    assert requests.text("acompletion", {"messages": turns}, chat, 1000) == read
    assert len(read) <= 9


def test_random_numbers_go_on_when_the_settings_change(tmp_path):
    """A stream that began again with the seed would decide the first requests after every change by the same draws."""
    path, said = tmp_path / "models.yaml", {"models": ["a", "b"], "default": "a", "seed": 3}

    def written(**more):
        path.write_text(json.dumps(said | {"epsilon": 1.0} | more))
        return load_settings(path)

    def drawn(one):
        return [one.choose("hello").model for _ in range(200)]

    gates = [Gate(written())]
    gates[0].apart()
    found = [drawn(gates[0])]
    for margin in (0.9, 0.8):
        written(epsilon=margin)
        gates.append(watching.renewed(path, gates[-1], lambda settings: settings))
        found.append(drawn(gates[-1]))
    for one, other in ((0, 1), (1, 2), (0, 2)):  # in four of five rows the same numbers would draw the same model
        assert np.mean(np.array(found[one]) == np.array(found[other])) < 0.7
    written(seed=4)
    other = watching.renewed(path, gates[-1], lambda settings: settings)
    assert drawn(other) != drawn(gates[-1])
