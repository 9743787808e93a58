"""Every method from a log to a saved router: judged by rows that it never saw, and what its record says is so."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

import jaxroute as jr
from jaxroute import cli, counterfactual, nuisance, recipe, sweep
from jaxroute.learn import every_weight, fitting, inputs, members, methods, neighbours, training_set
from jaxroute.serving import kinds
from jaxroute.serving.router import Router
from jaxroute.system import threads
from jaxroute.types import Examples, Hyperparams, InputError, Logs, NuisanceSpec, Outcomes, Spec

STUDY = Path(__file__).parents[1] / "experiments" / "results" / "study.parquet"
K, N = 3, 240
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N + 200, 4)).astype(np.float32)
MEAN = (1 / (1 + np.exp(-3 * X[:, :K]))).astype(np.float32)
QUALITY = (RNG.random(MEAN.shape) < MEAN).astype(np.float32)
COST = (np.array([0.001, 0.002, 0.004]) * np.exp(0.2 * RNG.normal(size=MEAN.shape))).astype(np.float32)
ACTION = RNG.integers(0, K, N).astype(np.int32)
ROWS = np.arange(N)
EVERY = np.ones((N, K), bool)
LOGS = Logs(X[:N], ACTION, QUALITY[ROWS, ACTION], COST[ROWS, ACTION], np.full(N, 1 / K, np.float32), EVERY)
NEW, MODELS = X[N:], ("small", "medium", "large")
SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(10.0,))
SMALL = Spec((8,), steps=40, chunk=20, dropout=0.0)
QUICK = ("rm_softmax", "knn_guarded")
BETTER = ("recommended", "rm_softmax", "rm_interval", "rm_affine")  # than any single model, also from so small a log
NEEDS = {"plug_in_mlp": {"epochs": 2, "snapshots": 1, "hidden": (8,)}, "plug_in_knn": {"neighbours": (20,)}}
WEIGHTS = (0.0, 30.0, 100.0)


def fit(method, logs=LOGS, **changes):
    given = {"spec": SPEC, "cost_weights": WEIGHTS, "hidden": (8,), "steps": 100, **changes}
    if not isinstance(method, str) or methods.METHODS[method].decides:
        given = {"training": SMALL, **given}
    return fitting.fit(jax.random.key(2), logs, MODELS, method=method, **given)


def value(choice, weight):
    """Of decisions on the new prompts, by the known means."""
    utility = MEAN[N:] - weight * np.array([0.001, 0.002, 0.004]) * np.exp(0.02)
    return utility[np.arange(len(choice)), choice].mean(), utility.mean(0).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.modes) if n in QUICK else n for n in methods.METHODS],
)
def test_every_method_gives_a_router_to_keep(name, tmp_path):
    """Fitted, judged, saved, loaded; by cost weight and budget it decides alike; worth more than any single model."""
    if name == "plug_in_xgboost":
        pytest.importorskip("xgboost")
    router = fit(name, spec=dataclasses.replace(SPEC, **NEEDS.get(name, {})))
    router.save(tmp_path / "router")
    again = Router.load(tmp_path / "router")
    spent = float(np.median(router.curve.cost))
    for asked in ({"cost_weight": 30.0}, {"normalised_cost_weight": 0.2}, {"budget": spent}):
        before, after = (r.route(NEW, **asked) for r in (router, again))
        np.testing.assert_array_equal(before.index, after.index)
    assert again.summary == json.loads(json.dumps(router.summary))
    assert router.summary["method"] == name
    assert router.summary["kind"] == kinds.name_of(router.kind)
    judged = router.summary["by_cost_weight"]
    assert [row["cost_weight"] for row in judged] == pytest.approx(WEIGHTS, rel=1e-6)
    assert all(row["interval"][0] < row["value"] < row["interval"][1] for row in judged)
    for row in judged:
        ours, best = value(again.route(NEW, cost_weight=row["cost_weight"]).index, row["cost_weight"])
        assert ours > best + (0.1 if name in BETTER else -0.05)
        assert abs(row["value"] - ours) < 0.15  # 240 rows
    cost = COST[N:][np.arange(200), again.route(NEW, budget=spent).index].mean()
    assert abs(cost - spent) < 0.4 * spent
    lines = cli.fitted.made(router.summary)
    assert lines[0].startswith(f"method: {name}")
    assert ("networks trained on" in "".join(lines)) == ("training" in router.summary)


def given(logs=LOGS, fits=None, **changes):
    """What a method gets, nuisances and all from the log itself unless given."""
    logs = jax.tree.map(jnp.asarray, logs)
    fits = fits or (nuisance.fit(jax.random.key(1), logs, SPEC),)
    robust = counterfactual.doubly_robust(logs, fits[0][0], clip=0.05)
    record = inputs.MethodInput(
        jax.random.key(2), logs, None, fits[0][0], fits, robust, 0.01, WEIGHTS, range(1), SPEC, None, SMALL,
        members.HYPERPARAMS, (8,), 60, sweep.mesh(), lambda _: None, None,
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rm_softmax", "rm_interval", "rm_affine", "knn_guarded"])
def test_no_row_has_a_part_in_its_own_decision(name):
    """With the nuisances as they were, nonsense answers in fold 1 leave the policy on its rows as it was."""
    fits = (nuisance.fit(jax.random.key(1), jax.tree.map(jnp.asarray, LOGS), SPEC),)
    before = given(fits=fits)
    if name == "rm_softmax":
        key = jax.random.split(before.training_key, 3)[1]
    else:
        key = jax.random.split(before.training_key)[0]
    own = training_set.of_method(key, before).folds.fold == 1
    poisoned = LOGS._replace(
        quality=np.where(own, 1 - LOGS.quality, LOGS.quality), cost=np.where(own, 9 * LOGS.cost, LOGS.cost)
    )
    asked = (0.0, 10.0, 55.0, 100.0)
    first, second = (
        np.asarray(methods.METHODS[name].make(record).policy(asked)) for record in (before, given(poisoned, fits))
    )
    np.testing.assert_array_equal(first[:, own], second[:, own])
    if name != "rm_affine":  # it may stay its plug-in, which the nuisances alone decide
        assert (first[:, ~own] != second[:, ~own]).any()


@pytest.mark.slow
def test_the_curve_of_the_affine_router_is_what_its_policy_spends():
    """What the curve says of a cost weight is what the policy spends there."""
    record = given()
    made = methods.METHODS["rm_affine"].make(record)
    policy = np.asarray(made.policy((0.0, 37.0)))
    cost = (policy * np.asarray(record.robust.cost)).sum(-1).mean(1)
    at = np.searchsorted(made.curve.cost_weight, (0.0, 37.0), side="right") - 1
    np.testing.assert_allclose(made.curve.cost[at], cost, rtol=1e-4)


@pytest.mark.slow
def test_the_interval_router_is_its_members_mean(monkeypatch):
    """What is saved, asked on the log's rows, is the mean over folds of what each fold's members say of them."""
    monkeypatch.setattr(every_weight, "EVIDENCE", -1e9)
    made = methods.METHODS["rm_interval"].make(given())
    assert made.kind.ends[0] == 0
    assert float(made.kind.ends[-1]) == pytest.approx(100.0)
    scores = jax.jit(lambda of: of.scores(X[:N], np.full(N, 42.0, np.float32)))(made.kind)
    mine = np.asarray(made.policy((42.0,)))[0].argmax(1)
    assert (np.asarray(scores).argmax(1) == mine).mean() > 0.6  # five folds agree on most prompts


@pytest.mark.modes
def test_neighbours_bounds_match_a_loop():
    """Own row left out, padding no neighbour, a model that was hardly seen never chosen."""
    rng = np.random.default_rng(0)
    x, quality = rng.normal(size=(60, 3)), rng.random((60, 3))
    available = np.ones((60, 3), bool)
    available[:, 2] = np.arange(60) < 2
    available[55:] = False
    known = Examples(*jax.tree.map(jnp.asarray, (np.float32(x), Outcomes(quality, quality / 2), available)))
    neighbours_of = lambda i: [j for j in np.argsort(((x - x[i]) ** 2).sum(1)) if j != i and j < 55][:50]
    bounds = jax.jit(neighbours.lower_bounds)(known, known, known.features, np.float32([0.5]), itself=np.arange(60))
    found = np.asarray(bounds)[0]
    utility = quality - 0.5 * quality / 2
    means = [utility[:55, 0].mean(), utility[:55, 1].mean(), utility[:2, 2].mean()]
    best = int(np.argmax(means))
    for i in range(55):
        near = [j for j in neighbours_of(i) if available[j, best]]
        for k in range(3):
            gains = [utility[j, k] - utility[j, best] for j in near if available[j, k]]
            if k == best:
                assert found[i, k] == 0
            elif len(gains) < 3:
                assert found[i, k] == -np.inf
            else:
                bound = np.mean(gains) - neighbours.GUARD * np.std(gains, ddof=1) / np.sqrt(len(gains))
                np.testing.assert_allclose(found[i, k], bound, atol=1e-4)


@pytest.mark.slow
def test_a_shadow_sample_is_decided_and_counted():
    part = slice(N, N + 60)
    shadow = Examples(X[part], Outcomes(QUALITY[part], COST[part]), np.ones((60, K), bool))
    for name in ("rm_softmax", "rm_affine"):
        summary = fit(name, shadow=shadow).summary
        assert summary["shadow_prompts"] == 60
        assert all(0 < row["shadow_share"] < 1 for row in summary["by_cost_weight"])


@pytest.mark.slow
def test_ones_own_loss_and_outcome_model_from_a_log_to_a_router(tmp_path):
    """`jr.fit` on records, with a function and a scikit-learn regressor as they are."""
    names = np.array(MODELS)[ACTION]
    columns = (X[:N].tolist(), names, LOGS.quality, LOGS.cost)
    log = [dict(zip(("features", "model", "quality", "cost"), row, strict=True)) for row in zip(*columns, strict=True)]

    def value_lost(scores, utility, *, where=None, temperature=1.0):
        policy = jr.policies.softmax(scores, temperature=temperature, available=where)
        return -(policy * utility).sum(-1)

    mine = Ridge(5.0)
    router = jr.fit(log, value_lost, cost_weights=[0.0, 50.0], outcome_models=["mean", mine], training=SMALL)
    router.save(tmp_path / "router")
    kept = Router.load(tmp_path / "router").summary
    assert kept["method"] == "value_lost"
    assert (kept["seed"], kept["cores"]) == (0, threads.cores())
    ours, best = value([MODELS.index(m) for m in router.route(NEW, cost_weight=0.0).models], 0.0)
    assert ours > best + 0.1
    assert not hasattr(mine, "coef_")
    arrays = jr.fit(LOGS, value_lost, models=MODELS, cost_weights=[0.0, 50.0], spec=SPEC, training=SMALL)
    assert arrays.models == MODELS
    assert arrays.summary["seed"] == 0


def never(*_, **__):
    raise AssertionError("something was fitted")


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        ("rm_sofmax", {}, r"unknown method 'rm_sofmax'.* rm_softmax .*recommended, plug_in_stack"),
        ("zzz", {}, "unknown method 'zzz'"),
        (3, {}, "method 3: give a name, or a loss"),
        (lambda s, u, *, where=None: s.sum(), {}, r"loss <lambda>: gives shape \(\)"),
        ("recommended", {"estimator": "dm"}, "estimator= means nothing to recommended"),
        ("plug_in_gp", {"hyperparams": Hyperparams()}, "hyperparams= means nothing to plug_in_gp"),
        ("rm_softmax", {"hyperparams": Hyperparams(temperature=0.0)}, "temperature is 0.0; it must be above 0"),
        ("rm_softmax", {"hyperparams": Hyperparams(clip=np.nan)}, "hyperparams.clip"),
        ("rm_softmax", {"cost_weights": [1.0], "normalised_cost_weights": [1.0]}, "not both"),
        ("rm_softmax", {"cost_weights": [3.0, 1.0]}, "ascend"),
        ("rm_softmax", {"members": 0}, "members is 0; it must be a whole number of at least 1"),
        ("rm_interval", {"cost_weights": [0.0]}, "cost weight above 0"),
    ],
)
def test_bad_settings_are_one_line_before_anything_is_fitted(method, changes, words, monkeypatch):
    if changes != {"cost_weights": [0.0]}:  # this one needs the unit of cost first
        monkeypatch.setattr(nuisance, "fit", never)
    monkeypatch.setattr(jr.engine, "train", never, raising=False)
    settings = {"spec": SPEC, "cost_weights": None, **changes}
    with pytest.raises(InputError, match=words) as caught:
        fitting.fit(jax.random.key(0), LOGS, MODELS, method=method, **settings)
    assert "\n" not in str(caught.value)


def test_logs_of_arrays_need_names_and_others_have_them():
    with pytest.raises(InputError, match="give models="):
        jr.fit(LOGS)
    with pytest.raises(InputError, match="names its models itself"):
        jr.fit([{"prompt": "a", "model": "b", "quality": 1, "cost": 1}], models=["b"])


@pytest.mark.skipif(not STUDY.is_file(), reason="needs experiments/results")
def test_what_the_records_say_is_what_the_study_found():
    """Mean regret over the recommended recipe's at the centre, five real tables and the synthetic problem, by seed."""
    study = pd.read_parquet(STUDY)
    centre = study["hyperparameters"].map(lambda text: json.loads(text)["factor"]) == "centre"
    regret = study[centre & (study["metric"] == "mean_regret")].pivot_table(
        index=["dataset", "seed"], columns="method", values="value"
    )
    behind = 100 * regret.sub(regret["recommended"], axis=0)
    in_study = [m for m in methods.METHODS.values() if m.name in behind and m.name != "recommended"]
    assert {m.name for m in in_study} == {m.name for m in methods.METHODS.values() if m.behind is not None}
    for method in in_study:
        real = behind[method.name].drop("synthetic").groupby("seed").mean()
        for said, found in zip(method.behind, (real, behind[method.name]["synthetic"]), strict=True):
            half = stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
            np.testing.assert_allclose(said, [found.mean(), found.mean() - half, found.mean() + half], atol=0.006)
            assert len(found) == 10


def test_the_recipes_note_has_the_numbers_of_the_studys_page():
    page = STUDY.with_suffix(".md").read_text()
    found = re.search(r"(\d+) comparisons of the recipe .* significantly worse in (\d+) and better in (\d+)", page)
    compared, worse, better = map(int, found.groups())
    note = methods.METHODS["recommended"].note
    assert f"worse than a baseline in {worse} and better in {better} of {compared:,} comparisons" in note


def test_the_command_line_lists_them(capsys):
    cli_main(["methods", "--json"])
    listed = json.loads(capsys.readouterr().out)["methods"]
    assert [row["name"] for row in listed] == list(methods.METHODS)
    assert listed[1]["points_over_recommended"]["real"] == [0.78, 0.31, 1.25]
    cli_main(["methods"])
    text = capsys.readouterr().out
    for name in methods.METHODS:
        assert f"\n{name} " in text


def cli_main(arguments):
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    assert not done.value.code


@pytest.mark.slow
def test_recommended_is_the_mean_of_its_members_recipes():
    """Two nuisance fits, two recipes: the policy on the log and what it spends are those of their mean prediction."""
    logs = jax.tree.map(jnp.asarray, LOGS)
    fits = tuple(nuisance.fit(jax.random.key(seed), logs, SPEC) for seed in (1, 2))
    made = methods.METHODS["recommended"].make(given(fits=fits))
    quality, cost = np.zeros((N, K)), np.zeros((N, K))
    for nuisances, model in fits:
        fitted = recipe.recommend(logs, nuisances, model)
        contrasts = np.asarray(nuisances.outcomes.quality) - np.asarray(fitted.centre)
        quality += (np.asarray(fitted.level) + float(fitted.share) * contrasts) / 2
        cost += np.asarray(nuisances.outcomes.cost) / 2
    robust = np.asarray(given(fits=fits).robust.cost)
    for weight, policy in zip(WEIGHTS, np.asarray(made.policy(WEIGHTS)), strict=True):
        chosen = (quality - weight * cost).argmax(1)
        np.testing.assert_array_equal(policy.argmax(1), chosen)
        at = np.searchsorted(made.curve.cost_weight, weight, side="right") - 1
        assert made.curve.cost[at] == pytest.approx(robust[ROWS, chosen].mean(), rel=1e-4)
