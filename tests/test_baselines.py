"""Baselines: each on a toy problem whose answer is known, each on a table with holes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import methods, settings
from experiments.loop import bayes
from experiments.methods import bandits, literature, low_rank, policy_forest, reinforce, trained
from experiments.methods.experiment import Experiment
from experiments.problem import build, table
from jaxroute import counterfactual, sweep
from jaxroute.engine import checkpoint
from jaxroute.learn import objectives
from jaxroute.types import NuisanceSpec, Outcomes, Spec, Table

pytestmark = pytest.mark.study
CONFIG = settings.Config(
    name="toy",
    seeds=2,
    cost_weights=(0.0, 1.0),
    between=(),
    logger="uniform",
    nuisance=NuisanceSpec(("ridge", "knn"), folds=2, penalties=(10.0,), neighbours=(20,)),
    training=Spec(hidden=(), batch_size=128, steps=150, chunk=50, dropout=0.0),
    learning_rate=0.05,
    weight_decay=0.01,
)
UNTRAINED = ("cheapest", "dearest", "knn_guarded", "knn_guarded_full", "carrot_knn", "low_rank", "low_rank_full")
BANDITS = ("linucb", "pilot", "barp", "poem", "nn_policy_learner", "policy_forest")
LOG_ONLY = tuple(f"rm_softmax_{name}" for name in methods.ESTIMATORS)
TAUGHT = ("plug_in_student", "plug_in_student_dr", "rm_softmax_entropic_dm")
TRAINED = (
    *TAUGHT,
    "rm_classification_gap",
    "rm_classification_soft",
    "dr_weighted_classification",
    "rm_softmax_ensemble",
)


def toy(rows=1200, holes=False):
    """Three models: the first is right on one half of the prompts, the second on the other, the third dear and weak.

    Cost is 0.1, 0.1 and 1. The best policy asks the right one of the first two: value 0.9 at cost weight 0.
    """
    rng = np.random.default_rng(0)
    side = rng.random(rows) < 0.5
    features = rng.standard_normal((rows, 6)).astype(np.float32)
    features[:, 0] = np.where(side, 2.0, -2.0)
    chance = np.stack([np.where(side, 0.9, 0.2), np.where(side, 0.2, 0.9), np.full(rows, 0.3)], 1)
    quality = (rng.random((rows, 3)) < chance).astype(np.float32)
    cost = np.broadcast_to(np.float32([0.1, 0.1, 1.0]), quality.shape).copy()
    available = np.ones(quality.shape, bool)
    if holes:
        available[np.arange(rows) % 4 == 0, 0] = False
        quality, cost = (np.where(available, y, np.nan) for y in (quality, cost))
    names = np.arange(rows).astype(str)
    return Table(
        names, names, np.full(rows, "t"), np.arange(rows), features, ("a", "b", "c"), Outcomes(quality, cost), available
    )


def experiment_of(made, config=CONFIG):
    data = table.Data(made, table.split(config, made), 1.0, "")
    problems = build.build(config, data, full=methods.full_learners(config))
    return Experiment(config, problems, made.models, sweep.mesh(jax.devices()[:1]))


@pytest.fixture(scope="module")
def experiment():
    return experiment_of(toy())


@pytest.fixture(scope="module")
def with_holes():
    return experiment_of(toy(600, holes=True))


def test_the_config_is_in_a_methods_checkpoints(experiment, tmp_path):
    methods.get("rm_softmax").run(experiment._replace(checkpoints=tmp_path))
    saved = checkpoint.open_folder(tmp_path)
    words = checkpoint.about(saved, CONFIG.training.steps)
    checkpoint.close(saved)
    assert words["config"] == json.loads(json.dumps(dataclasses.asdict(CONFIG)))


def value(experiment, probabilities):
    test = experiment.problems.test
    utility = jnp.stack([counterfactual.utility(test.outcomes, w) for w in experiment.config.weights], 1)
    utility = jnp.where(test.available[:, None], utility, 0.0)
    return np.asarray(jnp.mean(jnp.sum(probabilities * utility, -1), (0, 2)))


def test_the_toy_has_a_best_policy_worth_finding(experiment):
    best = value(experiment, methods.get("best_single").run(experiment))
    right = value(experiment, methods.get("plug_in_ridge").run(experiment))
    assert (best < 0.65).all()
    assert right[0] > 0.85


@pytest.mark.parametrize(
    "name", [n for n in (*UNTRAINED, *BANDITS, *LOG_ONLY, *TRAINED) if n not in ("cheapest", "dearest")]
)
def test_a_baseline_finds_the_right_model_on_each_side(experiment, name):
    found = methods.get(name).run(experiment)
    assert found.shape == (2, 2, *experiment.problems.test.available.shape[1:])
    np.testing.assert_allclose(found.sum(-1), 1.0)
    assert value(experiment, found)[0] > (0.8 if name != "rm_softmax_ipw" else 0.75)


def test_cheapest_and_dearest(experiment):
    for name, models in (("cheapest", (0, 1)), ("dearest", (2,))):
        chosen = np.unique(np.argmax(methods.get(name).run(experiment), -1))
        assert set(chosen) <= set(models)


@pytest.mark.parametrize("name", [*UNTRAINED, *BANDITS, *LOG_ONLY, *TRAINED])
def test_a_missing_model_is_never_chosen(with_holes, name):
    found = np.asarray(methods.get(name).run(with_holes))
    missing = ~np.asarray(with_holes.problems.test.available)
    assert missing.any()
    assert (found[np.broadcast_to(missing[:, None], found.shape)] == 0).all()
    np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-6)


def test_every_method_of_the_list_on_a_table_with_holes(with_holes):
    spec = dataclasses.replace(CONFIG.training, steps=20, chunk=10)
    experiment = with_holes._replace(config=dataclasses.replace(CONFIG, methods=("*",), training=spec))
    chosen = {m.name: m for m in methods.for_table(experiment.config, experiment.models, expected=False)}
    assert set(UNTRAINED) | set(BANDITS) | set(LOG_ONLY) | set(TRAINED) <= set(chosen)
    missing = ~np.asarray(experiment.problems.test.available)
    for name, method in chosen.items():
        found = np.asarray(method.run(experiment))
        assert found.shape == (2, 2, *missing.shape[1:]), name
        assert (found[np.broadcast_to(missing[:, None], found.shape)] == 0).all(), name


def test_the_guard_holds_where_prompts_tell_nothing():
    """Answers that do not depend on the prompt: unguarded neighbours wander, guarded ones stay with the best."""
    made = toy()
    rng = np.random.default_rng(1)
    quality = (rng.random((1200, 3)) < np.array([0.6, 0.5, 0.4])).astype(np.float32)
    experiment = experiment_of(dataclasses.replace(made, outcomes=Outcomes(quality, made.outcomes.cost)))
    guarded, plain = (methods.get(n).run(experiment)[:, 0] for n in ("knn_guarded", "plug_in_knn"))
    stayed = [float(jnp.mean(x[..., 0])) for x in (guarded, plain)]
    assert stayed[0] > 0.85
    assert stayed[0] >= stayed[1]


def test_guarded_bound_matches_a_loop():
    rng = np.random.default_rng(0)
    known, features = rng.standard_normal((40, 3)), rng.standard_normal((5, 3))
    gains = rng.standard_normal((40, 3)) + np.array([0.0, 0.2, 0.4])
    gains -= gains[:, :1]
    rows = literature._nearest(jnp.asarray(known, jnp.float32), jnp.asarray(features, jnp.float32), 20)
    found = literature._guarded(rows[:, :10], jnp.asarray(gains, jnp.float32), jnp.int32(0), jnp.ones((5, 3), bool))
    for i, x in enumerate(features):
        near = gains[np.argsort(((known - x) ** 2).sum(1))[:10]]
        bound = near.mean(0) - literature.GUARD * near.std(0, ddof=1) / np.sqrt(10)
        bound[0] = 0.0
        assert int(jnp.argmax(found[i])) == int(np.argmax(bound))


def test_carrots_convention_changes_no_decision(experiment):
    for ours, theirs in (("plug_in_ridge", "carrot_linear"), ("plug_in_knn", "carrot_knn")):
        np.testing.assert_array_equal(methods.get(ours).run(experiment), methods.get(theirs).run(experiment))


def test_low_rank_reads_only_what_was_answered(experiment):
    outcomes, seen = low_rank.answered(experiment, full=False)
    assert (np.asarray(seen).sum(-1) == 1).all()
    np.testing.assert_array_equal(np.argmax(seen, -1), experiment.problems.train_log.action)
    chosen = np.take_along_axis(
        np.asarray(outcomes.quality), np.asarray(experiment.problems.train_log.action)[..., None], -1
    )
    np.testing.assert_array_equal(chosen[..., 0], experiment.problems.train_log.quality)
    assert np.isnan(np.asarray(outcomes.quality)[~np.asarray(seen)]).all()


def test_low_rank_finds_factors_and_falls_back_to_levels():
    """Two groups of prompts, two models that each know one: factors find it; strong decay leaves the means."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 5)).astype(np.float32)
    quality = np.stack([features[:, 0] > 0, features[:, 0] < 0.5], 1).astype(np.float32)
    seen = np.eye(2, dtype=bool)[rng.integers(2, size=400)]
    free, tied = (low_rank.fit_factors(jax.random.key(0), features, quality, seen, decay) for decay in (1e-3, 0.3))
    chosen = np.asarray(low_rank.logits(free, features)).argmax(1)
    clear = np.abs(features[:, 0] - 0.25) > 0.5
    assert (chosen == (features[:, 0] < 0.25))[clear].mean() > 0.95
    levels = np.asarray(jax.nn.sigmoid(low_rank.logits(tied, features)))
    means = (quality * seen).sum(0) / seen.sum(0)
    np.testing.assert_allclose(levels, np.broadcast_to(means, levels.shape), atol=0.04)


def test_utilities_of_other_estimators_match_the_library(experiment):
    for name, expected in (
        ("dm", counterfactual.direct),
        ("ipw", lambda log, nu: counterfactual.inverse_propensity(log, nu, clip=CONFIG.learning_clip)),
    ):
        found = trained.log_outcomes(experiment, name)
        log, nuisances = (
            jax.tree.map(lambda x: x[1], part)
            for part in (experiment.problems.train_log, experiment.problems.nuisances)
        )
        np.testing.assert_allclose(found.outcomes.quality[1], expected(log, nuisances).quality, rtol=1e-5)


def test_an_ensemble_of_one_is_the_router(experiment):
    objective = objectives.OBJECTIVES["rm_softmax"]
    one = trained.learned(experiment, objective)
    np.testing.assert_array_equal(one, trained.learned(experiment, objective, members=1))
    assert value(experiment, methods.get("rm_softmax_ensemble").run(experiment))[0] >= value(experiment, one)[0] - 0.02


def test_the_stand_in_sees_the_raw_weight(experiment):
    """Trained on every prompt at thirty dollar weights; at those between which nothing changes it decides alike."""
    found = methods.get("published_stand_in").run(experiment._replace(cost_scale=1e-3))
    assert found.shape == (2, 2, *experiment.problems.test.available.shape[1:])
    np.testing.assert_allclose(found.sum(-1), 1.0)
    assert value(experiment, found)[0] > 0.6
    every = methods.chosen(dataclasses.replace(CONFIG, methods=("*",)))
    assert "published_stand_in" not in {method.name for method in every}


def test_rivals_get_plug_ins_and_change_nothing_else():
    config = dataclasses.replace(CONFIG, seeds=1, methods=("plug_in_hierarchical", "recommended"), shadow=40)
    alone, beside = (
        experiment_of(toy(600), dataclasses.replace(config, rivals=r)).problems for r in ((), ("hierarchical",))
    )
    assert set(beside.predicted) - set(alone.predicted) == {"hierarchical"}
    assert not any(name.endswith("_full") for name in beside.predicted)
    assert beside.stack_full is None  # no method asks for full feedback
    rest = {name: beside.predicted[name] for name in alone.predicted}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        (alone.learn, alone.validate, alone.nuisances, alone.stack, alone.predicted),
        (beside.learn, beside.validate, beside.nuisances, beside.stack, rest),
    )


def softmax(z):
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def test_objectives_of_logged_rows_match_their_formulas():
    rng = np.random.default_rng(0)
    scores, predicted = rng.standard_normal((2, 30, 3))
    action, reward, propensity = rng.integers(3, size=30), rng.random(30), rng.uniform(0.1, 0.9, 30)
    pi, rows = softmax(scores), np.arange(30)
    ratio = pi[rows, action] / propensity
    u = -reward * np.minimum(ratio, 1.5)
    assert (ratio > 1.5).any()
    found = reinforce.poem_loss(scores, action, reward, propensity, 1.5, 0.7)
    np.testing.assert_allclose(found, u.mean() + 0.7 * np.sqrt(u.var(ddof=1) / 30), rtol=1e-5)
    v = (pi * predicted).sum(1) + ratio * (reward - predicted[rows, action])
    found = reinforce.pipeline_loss(scores, action, reward, propensity, predicted, 0.3, 0.2)
    np.testing.assert_allclose(found, -v.mean() + 0.3 * np.log(ratio.mean()) + 0.2 * v.var(ddof=1), rtol=1e-5)


@pytest.mark.parametrize("prior", [False, True])
def test_upper_bounds_are_ridge_regressions(experiment, monkeypatch, prior):
    """Without a width: a ridge regression for each model, around 0 or around what the first rows say, in NumPy."""
    monkeypatch.setattr(bandits, "WIDTHS", (0.0,))
    found = np.asarray(bandits.upper_bounds(experiment, prior=prior))[0, 0]
    problems = jax.tree.map(lambda leaf: np.asarray(leaf[0]), experiment.problems)
    scale = problems.axes.deviation / np.linalg.norm(problems.axes.deviation)
    x, new = (
        np.column_stack([np.ones(len(part.features)), part.features * scale])
        for part in (problems.learn, problems.test)
    )
    log = problems.train_log
    first = np.arange(len(x)) < (len(x) // 4 if prior else 0)
    known, expected = np.zeros((3, x.shape[1])), []
    if prior:
        seen = bayes.summed(x, log.action, np.stack([log.quality, log.cost]), first * 1.0, 3)
        known = np.asarray(bayes.fit(seen, bayes.choose(seen)).mean[0])
    for k in range(3):
        mine = ~first & (log.action == k)
        gram = x[mine].T @ x[mine] + np.eye(x.shape[1])
        expected.append(new @ np.linalg.solve(gram, known[k] + x[mine].T @ log.quality[mine]))
    expected = np.stack(expected, 1)
    clear = np.diff(np.sort(expected, 1), axis=1)[:, -1] > 1e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found.argmax(1)[clear], expected.argmax(1)[clear])


def test_the_forests_split_is_the_best_of_all():
    rng = np.random.default_rng(0)
    x, scores = rng.standard_normal((40, 3)).round(1), rng.standard_normal((40, 4))
    gained, feature, threshold = policy_forest.best_split(x, scores, least=5)
    best = -np.inf
    for j in range(3):
        for t in np.unique(x[:, j]):
            low = x[:, j] <= t
            if 5 <= low.sum() <= 35:
                best = max(best, scores[low].sum(0).max() + scores[~low].sum(0).max())
    low = x[:, feature] <= threshold
    assert min(low.sum(), (~low).sum()) >= 5
    np.testing.assert_allclose([gained, scores[low].sum(0).max() + scores[~low].sum(0).max()], best)
    assert policy_forest.best_split(x, np.ones((40, 1)), least=5) is None


def test_a_leafs_value_is_of_rows_that_did_not_grow_the_tree():
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((200, 2)), rng.standard_normal((200, 2))
    side = np.stack([x[:, 0] > 0, x[:, 0] <= 0], 1) + 0.0
    tree = policy_forest.grow(rng, x, side + 5 * noise, (x, side), least=20, depth=1)
    low = x[:, tree.feature] <= tree.threshold
    np.testing.assert_allclose(policy_forest.values(tree, x)[low], np.tile(side[low].mean(0), (low.sum(), 1)))
