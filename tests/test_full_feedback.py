"""Routers from a table alone: what they learn from, what is said of them, and unknown costs."""

import dataclasses
import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

import jaxroute as jr
from jaxroute import cli, counterfactual, nuisance
from jaxroute.data import synthetic, tables
from jaxroute.learn import full_feedback, methods
from jaxroute.learn.inputs import MethodResult
from jaxroute.learn.methods import Method
from jaxroute.policies import budgets
from jaxroute.recipe import contrasts
from jaxroute.serving import distil
from jaxroute.serving.kinds import PlugIn
from jaxroute.serving.router import Router
from jaxroute.types import Examples, InputError, NuisanceSpec, Outcomes, Spec

SMALL = {"spec": NuisanceSpec(("mean", "ridge"), folds=3), "hidden": (8,), "steps": 20}
TRAINED = {**SMALL, "training": Spec((8,), steps=20, chunk=10)}
N, K = 120, 3


@pytest.fixture(scope="module")
def made():
    """A table with holes: the third model answered two thirds of the prompts."""
    table = synthetic.make(jax.random.key(0), num_prompts=N, num_models=K)
    available = np.ones((N, K), bool)
    available[::3, 2] = False
    outcomes = Outcomes(*(np.where(available, y, np.nan) for y in table.outcomes))
    return table.models, Examples(np.asarray(table.features), outcomes, available)


class Seen:
    """A method that decides as it is told, and keeps what it was given."""

    def __init__(self, choice):
        self.choice, self.given = choice, None

    def make(self, given):
        self.given = given
        student = nothing(given)
        everywhere = jax.nn.one_hot(jnp.asarray(self.choice), K)
        policy = lambda weights: jnp.broadcast_to(everywhere, (len(weights), N, K))
        curve = budgets.curve(given.robust, given.robust, available=given.available)
        return MethodResult(PlugIn(student, given.hidden), policy, curve, {})

    @property
    def method(self):
        return Method("told", "", "", self.make)


def nothing(given):
    return distil.fit(
        jax.random.key(0),
        given.features,
        given.robust,
        cost_scale=given.cost_scale,
        hidden=given.hidden,
        dimensions=4,
        steps=2,
    )


@pytest.mark.slow
def test_what_methods_learn_from_is_the_table_itself(made):
    models, table = made
    seen = Seen(np.zeros(N, int))
    full_feedback.fit(jax.random.key(1), table, models, method=seen.method, **SMALL)
    given = seen.given
    robust = counterfactual.doubly_robust(given.logs, given.nuisances, clip=0.05)
    for found, y in zip((*robust, *given.robust), (*table.outcomes, *table.outcomes), strict=True):
        np.testing.assert_allclose(np.asarray(found)[table.available], y[table.available], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(given.available, table.available)
    assert given.cells.available.sum() == table.available.sum()


@pytest.mark.slow
def test_the_recipe_takes_levels_and_contrasts_from_all_answers(made):
    models, table = made
    seen = Seen(np.zeros(N, int))
    full_feedback.fit(jax.random.key(1), table, models, method=seen.method, **SMALL)
    (recipe,), ((_, model),) = seen.given.recipes, seen.given.fits
    predicted = np.asarray(nuisance.out_of_fold(model.outcomes).quality, np.float64)
    error = np.where(table.available, np.nan_to_num(table.outcomes.quality) - predicted, 0.0)
    level = predicted.mean(0) + error.sum(0) / table.available.sum(0)
    np.testing.assert_allclose(recipe.level, level, atol=1e-5)
    np.testing.assert_allclose(recipe.level[:2], table.outcomes.quality[:, :2].mean(0), atol=1e-5)  # no holes: means
    np.testing.assert_allclose(recipe.share, contrasts.share(contrasts.of_shadow(seen.given.answers, model)))


def test_values_and_gains_are_those_of_the_answers(made):
    models, table = made
    choice = np.arange(N) % 2  # never the model with holes
    seen = Seen(choice)
    weights = [0.0, 2.0]
    router = full_feedback.fit(jax.random.key(1), table, models, method=seen.method, cost_weights=weights, **SMALL)
    for row, weight in zip(router.summary["by_cost_weight"], weights, strict=True):
        utility = table.outcomes.quality - weight * table.outcomes.cost
        z = utility[np.arange(N), choice]
        best = int(np.argmax(np.nanmean(utility, 0)))
        order = np.argsort(-np.nanmean(utility, 0))
        single = utility[np.arange(N), [next(k for k in order if there[k]) for there in table.available]]
        assert (row["best_single"], row["verdict"]) == (best, "caution")
        wider = stats.norm.isf(0.025 / 3) / stats.norm.isf(0.025)  # the best of three models, picked on these prompts
        for name, y, side in (("value", z, 1), ("gain", z - single, wider)):
            half = stats.t.ppf(0.975, N - 1) * y.std(ddof=1) / N**0.5
            np.testing.assert_allclose(row[name], y.mean(), atol=1e-5)
            interval = row["interval" if name == "value" else "gain_interval"]
            np.testing.assert_allclose(interval, [y.mean() - half, y.mean() + side * half], atol=1e-5)
    assert router.summary["answers_by_model"] == dict(zip(models, (120, 120, 80), strict=True))


@pytest.mark.slow
def test_a_student_has_no_more_directions_than_its_rows_can_tell(made):
    """Whitened directions of a few rows are noise: a quarter as many as rows at most."""
    _, table = made
    taught = jax.tree.map(jnp.nan_to_num, table.outcomes)
    for rows, directions in ((40, 10), (3, 1)):
        part = jax.tree.map(lambda y, rows=rows: jnp.asarray(y)[:rows], (table.features, taught))
        student = distil.fit(jax.random.key(0), *part, cost_scale=1.0, hidden=(8,), dimensions=64, steps=2)
        assert student.linear.shape == (min(directions, 32), 2 * K)


def test_groups_share_folds_and_cluster_intervals(made):
    models, table = made
    seen, alone = Seen(np.zeros(N, int)), Seen(np.zeros(N, int))
    group = np.arange(N) // 6
    clustered = full_feedback.fit(jax.random.key(1), table, models, method=seen.method, group=group, **SMALL)
    plain = full_feedback.fit(jax.random.key(1), table, models, method=alone.method, **SMALL)
    fold = np.asarray(seen.given.fits[0][1].outcomes.fold)
    assert all(len(set(fold[group == g])) == 1 for g in range(N // 6))
    z = table.outcomes.quality[:, 0]
    deviation = np.bincount(group, z - z.mean())
    error = np.sqrt((deviation**2).sum() * 20 / 19) / N
    low, high = clustered.summary["by_cost_weight"][0]["interval"]
    np.testing.assert_allclose((high - low) / 2, stats.t.ppf(0.975, 20 - 1) * error, rtol=1e-4)
    assert plain.summary["by_cost_weight"][0]["interval"] != [low, high]


@pytest.mark.parametrize("method", ["recommended", "plug_in_ridge", pytest.param("rm_softmax", marks=pytest.mark.slow)])
def test_methods_make_routers_that_are_saved_and_loaded(made, tmp_path, method):
    models, table = made
    given = TRAINED if method == "rm_softmax" else SMALL
    router = full_feedback.fit(jax.random.key(1), table, models, method=method, **given)
    assert (router.summary["method"], router.summary["table_prompts"]) == (method, N)
    router.save(tmp_path / "router")
    loaded = Router.load(tmp_path / "router")
    for ask in ({"normalised_cost_weight": 0.5}, {"budget": float(np.nanmean(table.outcomes.cost))}):
        again, first = (one.route(table.features, **ask).index for one in (loaded, router))
        np.testing.assert_array_equal(again, first)


def test_a_table_teaches_what_a_log_cannot(made):
    """Every prompt is decided by fits that never saw it, and still the models' strengths are found."""
    models, table = made
    x = np.random.default_rng(0).normal(size=table.features.shape).astype(np.float32) * (np.arange(32) < 1)
    quality = np.stack([x[:, 0] > 0, x[:, 0] <= 0, x[:, 0] > 9], 1).astype(float)
    table = Examples(x, Outcomes(quality, np.ones((N, K))), np.ones((N, K), bool))
    row = full_feedback.fit(jax.random.key(0), table, models, method="plug_in_ridge", **SMALL).summary["by_cost_weight"]
    assert row[0]["value"] > 0.9
    assert row[0]["gain_interval"][0] > 0.3


def test_unknown_costs_leave_cost_weight_0_alone(made, tmp_path):
    models, table = made
    cost = table.outcomes.cost.copy()
    cost[4, 1] = np.nan
    unpriced = table._replace(outcomes=table.outcomes._replace(cost=cost))
    fit = partial(full_feedback.fit, jax.random.key(1), unpriced, models, method="plug_in_ridge", **SMALL)
    with pytest.raises(InputError, match=r"1 of 320 answers have no cost: only cost weight 0 means something; give"):
        fit(normalised_cost_weights=[0.0, 1.0])
    router = fit()
    assert [row["cost_weight"] for row in router.summary["by_cost_weight"]] == [0.0]
    router.save(tmp_path / "router")
    loaded = Router.load(tmp_path / "router")
    assert not loaded.costs_known
    decision = loaded.route(table.features, cost_weight=0.0)
    assert np.isnan(decision.cost).all()
    assert np.isfinite(decision.quality).all()
    for ask in ({"cost_weight": 1.0}, {"normalised_cost_weight": 0.1}):
        with pytest.raises(InputError, match="costs are unknown, so it takes cost weight 0 alone"):
            loaded.route(table.features, **ask)
    with pytest.raises(InputError, match="curve"):
        loaded.route(table.features, budget=1.0)


def test_tables_that_cannot_be_learnt_from(made):
    models, table = made
    with pytest.raises(InputError, match="20 rows are too few to fit and judge a router with 3 folds"):
        full_feedback.fit(jax.random.key(0), jax.tree.map(lambda y: y[:20], table), models, **SMALL)
    silent = table._replace(available=table.available & (np.arange(K) != 1))
    with pytest.raises(InputError, match=f"model '{models[1]}' has no answer in the table: leave it out"):
        full_feedback.fit(jax.random.key(0), silent, models, **SMALL)
    with pytest.raises(InputError, match="unknown method 'rm_sofmax'"):
        full_feedback.fit(jax.random.key(0), table, models, method="rm_sofmax", **SMALL)
    with pytest.raises(InputError, match="not both"):
        full_feedback.fit(jax.random.key(0), table, models, cost_weights=[0.0], normalised_cost_weights=[0.0], **SMALL)


@pytest.fixture
def folder(tmp_path):
    """A folder as jaxroute table writes it: prompts of two kinds, each with its model; the last two are alike."""
    prompts = [f"sum {i} and {i + 1}" if i % 2 else f"poem on {i} rivers" for i in range(60)] + ["The end.", "the end"]
    answers = {
        "query_id": [str(i) for i in range(62) for _ in "ab"],
        "model": ["a", "b"] * 62,
        "quality": [float((i % 2 == 1) == (model == "a")) for i in range(62) for model in "ab"],
        "cost": [0.25] * 124,
    }
    import pandas as pd

    queries = pd.DataFrame({"query_id": [str(i) for i in range(62)], "prompt": prompts, "task": "all"})
    tables.write(tmp_path / "table", queries, pd.DataFrame(answers))
    return tmp_path / "table"


@pytest.mark.slow
def test_fit_by_the_library(folder):
    table = jr.read_table(folder)
    small = {"outcome_models": ["ridge"], "hidden": (8,), "steps": 20}
    router = jr.fit(table, "plug_in_stack", seed=3, **small)
    assert router.summary["conclusion"] == []
    alone = np.arange(2) == np.arange(len(table))[:, None] % 2
    (said,) = jr.fit(dataclasses.replace(table, available=alone), "plug_in_stack", **small).summary["conclusion"]
    assert said.endswith("fit to them as a log: jr.fit(jr.read_log(FILE)).")
    assert router.encoder == "hashed"
    assert router.summary["seed"] == 3
    assert router.route(["sum 3 and 9"], cost_weight=0.0).models[0] in "ab"
    assert jr.fit(table, "plug_in_stack", encoder=None, **small).encoder is None
    with pytest.raises(InputError, match="belong to a log"):
        jr.fit(table, shadow=table)


@pytest.mark.slow
def test_the_command(folder, tmp_path):
    run = CliRunner().invoke
    out = str(tmp_path / "router")
    said = run(cli.app, ["fit", "--table", str(folder), "--out", out, "--method", "plug_in_ridge"])
    assert said.exit_code == 0, said.exception
    assert "value on the table, out of fold" in said.stdout
    assert "62 prompts; answers: a 62, b 62" in said.stdout
    held = run(cli.app, ["fit", "--table", str(folder), "--out", out, "--method", "plug_in_ridge", "--holdout", "0.2"])
    assert held.exit_code == 0, held.exception
    assert re.match(r"On 1[0-9] prompts that were held out: at a normalised cost weight of 0 the value is", held.stdout)
    assert "value on the prompts that were held out" in held.stdout
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "sum 7 and 8"}))
    routed = run(cli.app, ["route", out, "--cost-weight", "0", "--input", str(tmp_path / "prompts.jsonl")])
    assert json.loads(routed.stdout.splitlines()[0])["model"] == "a"
    for arguments, message in (
        (["fit", "--out", out], "give a log, or --table FOLDER: one of the two"),
        (["fit", "x.csv", "--table", str(folder), "--out", out], "one of the two"),
        (["fit", "--table", str(folder), "--out", out, "--drop-bad"], "belong to a log"),
        (["fit", "--table", str(folder), "--out", out, "--shadow", str(folder)], "belong to a log"),
    ):
        assert message in str(run(cli.app, arguments).exception)


@pytest.mark.slow
def test_a_prompts_own_answers_have_no_share_in_its_decision(made):
    models, table = made
    trained = methods.named("rm_softmax")

    def decided(answers):
        kept = []

        def make(given):
            result = trained.make(given)
            kept.append(np.asarray(result.policy(given.cost_weights)))
            return result

        watched = dataclasses.replace(trained, make=make)
        full_feedback.fit(jax.random.key(3), answers, models, method=watched, cost_weights=[0.0], **TRAINED)
        return kept[0]

    quality = np.asarray(table.outcomes.quality).copy()
    quality[0] = 1 - quality[0]
    other = table._replace(outcomes=table.outcomes._replace(quality=quality))
    np.testing.assert_array_equal(decided(table)[:, 0], decided(other)[:, 0])
