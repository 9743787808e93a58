"""Routers: fitted from a log, saved, loaded to the same bits, refused when damaged, and worth what they say."""

import json
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxroute import counterfactual, metrics, policies, recipe
from jaxroute.data import encoders, simulate, synthetic
from jaxroute.learn import fitting, sufficiency
from jaxroute.policies import budgets
from jaxroute.serving import export
from jaxroute.serving.router import Router
from jaxroute.types import Examples, InputError, Logs, NuisanceSpec, Outcomes

SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(30.0, 300.0))


@pytest.fixture(scope="module")
def table():
    return synthetic.make(jax.random.key(0), num_prompts=1500, num_models=5)


@pytest.fixture(scope="module")
def logs(table):
    return simulate.simulate(jax.random.key(1), table.rows(np.arange(1000)), simulate.cost_biased(0.5, floor=0.2))


@pytest.fixture(scope="module")
def router(table, logs):
    return fitting.fit(jax.random.key(2), logs, table.models, spec=SPEC, hidden=(32,), steps=300)


@pytest.fixture
def folder(router, tmp_path):
    router.save(tmp_path / "router")
    return tmp_path / "router"


@pytest.mark.modes
def test_save_and_load_decide_to_the_same_bits(router, folder, table):
    again = Router.load(folder)
    for name, value in (("cost_weight", 3.0), ("normalised_cost_weight", 0.5), ("budget", _budget(router))):
        before, after = (r.route(table.features, **{name: value}) for r in (router, again))
        np.testing.assert_array_equal(before.index, after.index)
        np.testing.assert_array_equal(before.scores, after.scores)
        assert before.models == after.models
    assert again.summary == router.summary


def _budget(router):
    return float(np.median(router.curve.cost))


def test_a_better_choice_than_any_single_model(router, table):
    """Over cost weights, near the single model that the truth would pick (the log knows levels to some points)."""
    test = table.rows(np.arange(1000, 1500))
    leads = []
    for normalised in (0.1, 0.25, 0.5, 1.0):
        weight = normalised / router.cost_scale
        utility = np.asarray(counterfactual.utility(Outcomes(*map(np.asarray, test.expected)), weight))
        ours = utility[np.arange(500), router.route(test.features, cost_weight=weight).index].mean()
        leads.append(ours - utility.mean(0).max())
        assert ours > utility.mean(1).mean() + 0.05
    assert np.mean(leads) > -0.01


def test_a_budget_is_about_what_new_prompts_cost(router, table):
    test = table.rows(np.arange(1000, 1500))
    budget = _budget(router)
    decision = router.route(test.features, budget=budget, seed=3)
    spent = np.asarray(test.outcomes.cost)[np.arange(500), decision.index]
    assert abs(spent.mean() - budget) < 4 * spent.std() / np.sqrt(500) + 0.2 * budget
    assert len(np.unique(decision.cost_weight)) <= 2


def test_a_quality_target_is_the_cheapest_that_reaches_it(router, table):
    target = float(np.median(router.curve.quality))
    decision = router.route(table.features, quality_target=target)
    assert decision.cost_weight[0] == budgets.for_quality(router.curve, target).cost_weight


@pytest.mark.parametrize("given", [{}, {"cost_weight": 1.0, "budget": 1.0}])
def test_exactly_one_preference(router, table, given):
    with pytest.raises(InputError, match="exactly one"):
        router.route(table.features, **given)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_bad_cost_weights(router, table, weight):
    with pytest.raises(InputError, match="cost weight"):
        router.route(table.features, cost_weight=weight)


def test_bad_prompts_are_refused(router, table):
    with pytest.raises(InputError, match=r"takes \[N, "):
        router.route(table.features[:, :3], cost_weight=1.0)
    with pytest.raises(InputError, match="features, not texts"):
        router.route(["a text"], cost_weight=1.0)
    with pytest.raises(InputError, match="row 2"):
        router.route(np.where(np.arange(len(table))[:, None] == 2, np.nan, table.features), cost_weight=1.0)
    assert router.route(table.features[:0], cost_weight=1.0).models == []


@pytest.mark.modes
def test_blocks_do_not_change_decisions(router, table, monkeypatch):
    whole = router.route(table.features, cost_weight=1.0)
    monkeypatch.setattr("jaxroute.serving.blocks.ROWS", 100)
    np.testing.assert_allclose(router.route(table.features, cost_weight=1.0).scores, whole.scores, rtol=1e-5, atol=1e-5)


def test_removed_models_are_never_chosen(router, table, tmp_path):
    favourite = max(set(names := router.route(table.features, cost_weight=0.0).models), key=names.count)
    less = router.without(favourite)
    assert favourite not in less.route(table.features, cost_weight=0.0).models
    less.save(tmp_path / "less")
    assert favourite not in Router.load(tmp_path / "less").route(table.features, cost_weight=0.0).models
    with pytest.raises(InputError, match="fit the router again"):
        less.route(table.features, budget=_budget(router))
    with pytest.raises(InputError, match="unknown model 'nope'"):
        router.without("nope")
    with pytest.raises(InputError, match="no model would be left"):
        router.without(*router.models)


def test_every_flipped_byte_is_noticed(folder):
    arrays = folder / "arrays.safetensors"
    content = arrays.read_bytes()
    for place in (3, 100, len(content) // 2, len(content) - 1):
        arrays.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError, match="checksum"):
            Router.load(folder)
    arrays.write_bytes(content[:-10])
    with pytest.raises(InputError, match="damaged"):
        Router.load(folder)
    arrays.unlink()
    with pytest.raises(InputError, match="damaged"):
        Router.load(folder)


def test_newer_schema_damaged_json_and_no_router_are_refused(folder, tmp_path):
    meta = json.loads((folder / "router.json").read_text())
    (folder / "router.json").write_text(json.dumps({**meta, "schema": 99}))
    with pytest.raises(InputError, match="schema 99 is newer"):
        Router.load(folder)
    (folder / "router.json").write_text(json.dumps(meta)[:-40])
    with pytest.raises(InputError, match="damaged"):
        Router.load(folder)
    with pytest.raises(InputError, match="is not a router"):
        Router.load(tmp_path / "nothing")


def test_saving_replaces_a_router_and_nothing_else(router, folder, tmp_path):
    router.without(router.models[0]).save(folder)
    assert not Router.load(folder).available[0]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("dear")
    with pytest.raises(InputError, match=r"holds no router\.json"):
        router.save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "dear"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["router", "thesis"]  # no scratch left


def test_no_log_row_and_no_pickle_in_the_artefact(folder, logs):
    content = (folder / "arrays.safetensors").read_bytes()
    rows = np.asarray(logs.features, np.float32)
    assert not any(row.tobytes() in content for row in rows[:200])
    for path in folder.iterdir():
        with pytest.raises(pickle.UnpicklingError):
            pickle.loads(path.read_bytes())
    assert len(Router.load(folder).curve.cost_weight) <= fitting.PIECES


@pytest.mark.slow
def test_texts_without_torch(table, tmp_path):
    """Fitted on the offline encoder's features, loaded and used where torch cannot be imported."""
    texts = [f"question {i} about {('maths', 'poems')[i % 2]}" for i in range(200)]
    features = encoders.encode(texts, "hashed")
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 200)
    quality = ((np.arange(200) % 2 == 0) == (action == 1)).astype(np.float32)
    share = np.full(200, 0.5, np.float32)
    logs = Logs(features, action, quality, np.full(200, 0.01, np.float32), share, np.ones((200, 2), bool))
    names = ("small", "large")
    made = fitting.fit(jax.random.key(0), logs, names, encoder="hashed", spec=SPEC, hidden=(16,), steps=100)
    made.save(tmp_path / "texts")
    code = """
import sys

class NoTorch:
    def find_spec(name, *_):
        if name.split(".")[0] == "torch":
            raise ImportError(name)

sys.meta_path.insert(0, NoTorch)
from jaxroute.serving.router import Router

print(Router.load(sys.argv[1]).route(sys.argv[2:], cost_weight=0.0).models)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "texts"), texts[4], texts[5]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['large', 'small']"


def test_summary_says_what_the_log_says(router, logs):
    summary = router.summary
    assert summary["rows"] == summary["rows_with_known_propensity"] == 1000
    assert sum(summary["rows_by_model"].values()) == 1000
    assert len(summary["by_cost_weight"]) == len(recipe.GRID)
    assert summary["distilling"]["predicted_utility_lost"] < 0.01
    assert json.loads(json.dumps(summary)) == summary


def test_the_value_in_the_summary_is_near_the_truth(router, table):
    test = table.rows(np.arange(1000, 1500))
    for row in router.summary["by_cost_weight"][:3]:
        policy = policies.greedy(router.route(test.features, cost_weight=row["cost_weight"]).scores)
        truth = float(metrics.value(policy, Outcomes(*map(np.asarray, test.expected)), row["cost_weight"]).mean())
        assert abs(row["value"] - truth) < 0.12  # some 200 effective rows


@pytest.mark.slow
def test_a_router_of_two_recipes(router, logs, table):
    two = fitting.fit(jax.random.key(2), logs, table.models, spec=SPEC, members=2, hidden=(32,), steps=300)
    assert (router.summary["members"], two.summary["members"]) == (1, 2)
    gap = [r["interval"][1] - r["interval"][0] for r in two.summary["by_cost_weight"]]
    assert all(0 < g < 0.3 for g in gap)
    before, after = (r.route(table.features, cost_weight=0.0).scores for r in (router, two))
    assert 1e-3 < np.abs(before - after).max() < 0.3


@pytest.mark.slow
def test_a_shadow_sample_helps_where_the_log_is_small(table):
    """100 rows of a log that mostly tried the cheap model, with and without 300 prompts answered by all."""
    policy = simulate.cost_biased(3.0, 0.1)
    logs = simulate.simulate(jax.random.key(5), table.rows(np.arange(100)), policy)
    part = table.rows(np.arange(300, 600))
    shadow = Examples(part.features, part.outcomes, part.available)
    test = table.rows(np.arange(1000, 1500))
    errors = []
    for sample in (None, shadow):
        router = fitting.fit(jax.random.key(0), logs, table.models, shadow=sample, spec=SPEC, hidden=(16,), steps=200)
        assert router.summary["shadow_prompts"] == (0 if sample is None else 300)
        for row in router.summary["by_cost_weight"]:
            assert (row["shadow_share"] == 0) == (sample is None) == (row["gain_shadow_share"] == 0)
        predicted = router.route(test.features, cost_weight=0.0).scores  # quality alone
        errors.append(np.abs(predicted.mean(0) - test.expected.quality.mean(0)).mean())
    assert errors[1] < 0.05
    assert errors[1] < 0.7 * errors[0]
    for row in router.summary["by_cost_weight"]:  # 100 rows support little, so that the shadow alone is the evidence
        truth = Outcomes(*map(np.asarray, test.expected))
        policy = policies.greedy(router.route(test.features, cost_weight=row["cost_weight"]).scores)
        value = float(metrics.value(policy, truth, row["cost_weight"]).mean())
        low, high = row["interval"]
        assert high - low < 0.12
        assert low - 0.04 < value < high + 0.04
        assert row["label"].endswith(("shadow sample alone", "with a shadow sample"))
        assert row["verdict"] in ("ok", "caution")
    with pytest.raises(InputError, match="encode both alike"):
        fitting.fit(
            jax.random.key(0), logs, table.models, shadow=shadow._replace(features=part.features[:, :3]), spec=SPEC
        )


def test_names_and_rows_are_checked(logs, table):
    with pytest.raises(InputError, match="4 model names"):
        fitting.fit(jax.random.key(0), logs, table.models[:4], spec=SPEC)
    with pytest.raises(InputError, match="members is 0; it must be a whole number of at least 1"):
        fitting.fit(jax.random.key(0), logs, table.models, spec=SPEC, members=0)
    few = jax.tree.map(lambda y: y[:20], logs)
    with pytest.raises(InputError, match="20 rows are too few"):
        fitting.fit(jax.random.key(0), few, table.models, spec=SPEC)


def test_rows_needed(logs):
    few = logs._replace(quality=np.where(np.arange(1000) < 50, logs.quality, np.nan), group=None)
    needed = sufficiency.rows_needed(few)
    counts = np.bincount(np.asarray(logs.action)[:50], minlength=5)
    np.testing.assert_array_equal(needed, np.maximum(100 - counts, 0))
    answered, asked = np.ones((30, 5)), np.ones((30, 5), bool)
    answered[:4, 1], asked[:7, 2] = np.nan, False
    shadow = Examples(np.zeros((30, 1)), Outcomes(answered, answered), asked)
    needed = sufficiency.rows_needed(few, shadow)
    np.testing.assert_array_equal(needed, np.maximum(100 - counts - [30, 26, 23, 30, 30], 0))


def test_answers_of_one_group_are_fewer_independent_ones():
    """Simulated: the variance of a model's mean is that of an answer over the number of independent ones."""
    rng = np.random.default_rng(0)
    action, group = rng.integers(2, size=300), rng.integers(40, size=300)
    times = rng.choice([1.0, 3.0], 300)
    counts = np.bincount(action, minlength=2)
    means, found, alone = [], [], []
    for _ in range(1000):
        quality = 0.5 + 0.1 * (np.sqrt(0.6) * rng.normal(size=40)[group] + np.sqrt(0.4) * rng.normal(size=300))
        logs = Logs(np.zeros((300, 1)), action, quality, quality, quality, np.ones((300, 2), bool), group, times)
        means.append([np.average(quality[action == k], weights=times[action == k]) for k in range(2)])
        found.append(sufficiency.independent(logs))
        alone.append(sufficiency.independent(logs._replace(group=None, weight=None)))
    np.testing.assert_array_equal(alone, np.tile(counts, (1000, 1)))
    np.testing.assert_allclose(0.1**2 / np.mean(found, 0), np.var(means, 0), rtol=0.15)
    assert (np.mean(found, 0) < 0.5 * counts).all()
    few = Logs(np.zeros((300, 1)), action, quality, quality, quality, np.ones((300, 2), bool), group)
    assert (sufficiency.rows_needed(few) > 0).all()
    assert (sufficiency.rows_needed(few._replace(group=None)) == 0).all()


@pytest.mark.modes
def test_the_exported_program_decides_as_the_router_does(router, table):
    less = router.without(router.models[0])
    for of in (router, less):
        program = export.call(export.stablehlo(of))
        for rows in (1, 7, 300):
            for weight in (0.0, 0.5 / router.cost_scale, 2.0 / router.cost_scale):
                decision = of.route(table.features[:rows], cost_weight=weight)
                scores = np.asarray(program(np.asarray(table.features[:rows], np.float32), np.float32(weight)))
                np.testing.assert_array_equal(scores.argmax(1), decision.index)
                np.testing.assert_allclose(scores, decision.scores, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="not an exported router"):
        export.call(b"nonsense")
