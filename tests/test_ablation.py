"""The ablation: its lines are what they say, and its summary is right against a count by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.problem import fits
from experiments.side import ablation
from jaxroute import nuisance, recipe
from jaxroute.data import simulate, synthetic
from jaxroute.nuisance import crossfit
from jaxroute.nuisance.learners import candidate_names
from jaxroute.recipe import attributes, caution, contrasts, levels, means
from jaxroute.types import NuisanceSpec

pytestmark = pytest.mark.study
SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(30.0, 300.0))


def test_every_variant_changes_what_it_names():
    table = synthetic.make(jax.random.key(0), num_prompts=900, num_models=5)
    logs = simulate.simulate(jax.random.key(1), table, simulate.cost_biased(strength=0.5, floor=0.2))
    nuisances, model = recipe.fit(jax.random.key(2), logs, SPEC)
    features = jnp.asarray(table.features[:50])
    found = dict(ablation.variants(logs, nuisances, model.nuisances, features, SPEC))
    ours = recipe.predict(model, features)
    np.testing.assert_allclose(found[ablation.AS_IS].quality, ours.quality, rtol=1e-6)
    stack = nuisance.predict_outcomes(model.nuisances.outcomes, features)
    np.testing.assert_array_equal(found["neither levels nor share: the stacked plug-in"].quality, stack.quality)
    none = found["share of contrasts: none: best single by levels"].quality
    np.testing.assert_allclose(none, np.broadcast_to(model.level, none.shape), rtol=1e-6)
    half = found["share of contrasts: a half"].quality - none
    np.testing.assert_allclose(half * float(model.share) / contrasts.SHARE, ours.quality - none, atol=1e-5)
    q, w = np.asarray(logs.quality), 1 / np.maximum(np.asarray(logs.propensity), 0.1)
    chose = np.asarray(logs.action)[:, None] == np.arange(5)
    weighted = (chose * (w * q)[:, None]).sum(0) / (chose * w[:, None]).sum(0)
    np.testing.assert_allclose(found["levels: inverse-propensity means"].quality - half * 2 * model.share,
                               np.broadcast_to(weighted, none.shape), atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(found["levels: the outcome model's means"].quality - half * 2 * model.share,
                               np.broadcast_to(model.centre, none.shape), atol=1e-5)  # fmt: skip
    estimated = nuisance.fit(jax.random.key(0), logs, dataclasses.replace(SPEC, propensity="estimated"))[0].propensity
    level = recipe.estimate_levels(logs, nuisances._replace(propensity=estimated), model.nuisances)
    np.testing.assert_allclose(found["levels: propensities estimated, not known"].quality - half * 2 * model.share,
                               np.broadcast_to(level, none.shape), atol=1e-5)  # fmt: skip
    assert np.abs(level - model.level).max() > 1e-3
    assert np.ptp(found["stack without ridge"].quality, axis=0).max() < 1e-5  # means alone tell prompts not apart
    assert not any(name.startswith("stack with ") for name in found)  # none was fitted beside the stack


def test_a_wider_stack_is_the_recipe_of_that_stack():
    """Fitted beside the stack, a learner changes no other variant; with it, and half of it made even, by hand."""
    table = synthetic.make(jax.random.key(0), num_prompts=300, num_models=4)
    logs = simulate.simulate(jax.random.key(1), table, simulate.uniform())
    cells, features = nuisance.as_cells(logs), jnp.asarray(table.features[:20])
    wider = fits.with_rivals(SPEC, ("knn",))
    both = nuisance.fit(jax.random.key(2), logs, wider)
    nuisances, model = fits.without_rivals(SPEC, *both, *cells)
    found = dict(ablation.variants(logs, nuisances, model, features, SPEC))
    candidates = nuisance.predict_candidates(model.outcomes, features)
    expected = recipe.apply(recipe.recommend(logs, *both), nuisance.mix(both[1].outcomes.weights, candidates))
    np.testing.assert_allclose(found["stack with knn"].quality, expected.quality, atol=1e-5)
    alone = nuisance.fit(jax.random.key(2), logs, SPEC)
    without = dict(ablation.variants(logs, *alone, features, SPEC))
    assert set(found) == set(without) | {"stack with knn"}
    for name in ("equal stack weights", "stack weights 20% equal", ablation.AS_IS):
        np.testing.assert_allclose(found[name].quality, without[name].quality, atol=1e-5)


def test_milder_weights_are_means_of_residuals():
    """Equal weights: a model's level is its mean prediction and the plain mean residual of its rows, then settled."""
    table = synthetic.make(jax.random.key(9), num_prompts=800, num_models=3)
    logs = simulate.simulate(jax.random.key(10), table, simulate.cost_biased(strength=0.5, floor=0.2))
    nuisances, _ = nuisance.fit(jax.random.key(11), logs, SPEC)
    centre = jnp.mean(nuisances.outcomes.quality, 0)
    found = dict(ablation._levels(logs, nuisances, centre, SPEC))
    level = found["all rows weigh the same"] - centre
    r, action = np.asarray(nuisances.outcomes.quality), np.asarray(logs.action)
    error = np.asarray(logs.quality) - r[np.arange(len(r)), action]
    plain = np.array([r[:, k].mean() + error[action == k].mean() for k in range(3)])
    variance = np.mean(error**2) / np.bincount(action, minlength=3)
    count = jnp.zeros(3).at[logs.action].add(1.0)
    sample = means.Sample(jnp.asarray(plain), jnp.diag(jnp.asarray(variance)))
    cost = jnp.mean(nuisances.outcomes.cost, 0)
    posterior = levels.posterior([sample], attributes.columns(count, cost), attributes.from_prices(cost))
    np.testing.assert_allclose(level, caution.settled(posterior, centre, count) - centre, atol=2e-4)


def test_nets_are_averaged_on_the_same_folds():
    table = synthetic.make(jax.random.key(12), num_prompts=300, num_models=3)
    logs = jax.tree.map(jnp.asarray, simulate.simulate(jax.random.key(13), table, simulate.uniform()))
    spec = NuisanceSpec(("ridge", "mlp"), folds=3, penalties=(100.0,), hidden=(8,), epochs=2, snapshots=2)
    _, model = nuisance.fit(jax.random.key(14), logs, spec)
    features = jnp.asarray(table.features[:7])
    one = nuisance.predict_candidates(model.outcomes, features)
    averaged, of_new = ablation.with_nets(logs, model.outcomes, one, features, 1)
    jax.tree.map(np.testing.assert_array_equal, (averaged.out_of_fold, of_new), (model.outcomes.out_of_fold, one))
    two, of_two = ablation.with_nets(logs, model.outcomes, one, features, 2)
    given = (jax.random.key(1), logs.features, *nuisance.as_cells(logs), np.asarray(model.outcomes.fold))
    _, alone = crossfit.fit_outcomes(*given, dataclasses.replace(spec, outcome_models=("mlp",)))
    for mine, own, other in zip(two.out_of_fold, model.outcomes.out_of_fold, alone, strict=True):
        np.testing.assert_array_equal(mine[2], own[2])  # the ridge: nets come first, two snapshots
        np.testing.assert_allclose(mine[:2], (own[:2] + other) / 2, rtol=1e-6)
    assert of_two.quality.shape == one.quality.shape
    assert 0 < float(jnp.abs(of_two.quality - one.quality)[:2].max()) < 0.5
    np.testing.assert_array_equal(of_two.quality[2], one.quality[2])


def test_more_nets_are_a_variant_where_there_are_nets(monkeypatch):
    monkeypatch.setattr(ablation, "NETS", 2)
    table = synthetic.make(jax.random.key(12), num_prompts=300, num_models=3)
    logs = jax.tree.map(jnp.asarray, simulate.simulate(jax.random.key(13), table, simulate.uniform()))
    spec = NuisanceSpec(("ridge", "mlp"), folds=3, penalties=(100.0,), hidden=(8,), epochs=2, snapshots=2)
    fitted = nuisance.fit(jax.random.key(14), logs, spec)
    found = dict(ablation.variants(logs, *fitted, jnp.asarray(table.features[:7]), spec))
    change = found["stack with 2 nets, not one"].quality - found[ablation.AS_IS].quality
    assert 0 < float(jnp.abs(change).max()) < 0.5


def test_weights_of_contrasts_are_the_best_on_the_simplex():
    table = synthetic.make(jax.random.key(3), num_prompts=700, num_models=4)
    logs = simulate.simulate(jax.random.key(4), table, simulate.uniform())
    fitted = nuisance.fit(jax.random.key(5), logs, fits.with_rivals(SPEC, ("knn",)))
    _, model = fits.without_rivals(SPEC, *fitted, *nuisance.as_cells(logs))
    own = np.asarray([name != "knn" for name in candidate_names(model.outcomes.spec)])
    assert not own.all()
    r, fold, a = (
        np.asarray(model.outcomes.out_of_fold.quality, float)[own],
        np.asarray(model.outcomes.fold),
        logs.action,
    )
    for f in range(SPEC.folds):
        r[:, fold == f] -= r[:, fold == f].mean(1, keepdims=True)
    difficulty = np.tensordot(np.asarray(model.outcomes.weights.quality)[own], r, 1).mean(1)
    known = np.column_stack([np.eye(4)[a], difficulty])
    hat = known @ np.linalg.pinv(known)
    z = r[:, np.arange(len(a)), a] - r.mean(2)
    z, q = z - z @ hat.T, np.asarray(logs.quality) - hat @ np.asarray(logs.quality)

    def loss(w):
        return np.mean((q - w @ z) ** 2)

    w = np.asarray(ablation.weights_of_contrasts(logs, model.outcomes, jnp.asarray(own)), float)
    assert (w[~own] == 0).all()
    w = w[own]
    assert w.min() >= 0
    assert w.sum() == pytest.approx(1, abs=1e-5)
    others = np.random.default_rng(0).dirichlet(np.full(len(w), 0.3), 4000)
    assert loss(w) <= min(map(loss, [*others, *np.eye(len(w))])) + 1e-6
    assert loss(w) < loss(np.full(len(w), 1 / len(w))) - 1e-6


def test_the_guard_needs_the_evidence_it_names():
    table = synthetic.make(jax.random.key(6), num_prompts=1500, num_models=4)
    logs = simulate.simulate(jax.random.key(7), table, simulate.uniform())
    nuisances, model = recipe.fit(jax.random.key(8), logs, SPEC)
    given = (logs, nuisances, model.level, model.centre, jnp.float32(1.0))
    r, p, k = jax.tree.map(np.asarray, nuisances.outcomes), np.asarray(nuisances.propensity), 4
    level, centre = np.asarray(model.level), np.asarray(model.centre)
    weight = (np.asarray(logs.action)[:, None] == np.arange(k)) / np.maximum(p, 0.05)
    quality = r.quality + weight * (np.asarray(logs.quality)[:, None] - r.quality)
    cost = r.cost + weight * (np.asarray(logs.cost)[:, None] - r.cost)
    gains = []
    for w in recipe.GRID:
        ours = (level + r.quality - centre - w * r.cost).argmax(1)
        single = (level - w * r.cost).argmax(1)
        u = np.asarray(quality - w * cost)
        gains.append(u[np.arange(len(u)), ours] - u[np.arange(len(u)), single])
    gain = np.mean(gains, 0)
    reached = gain.mean() / (gain.std(ddof=1) / np.sqrt(len(gain)))
    assert ablation.beats_best_single(*given, reached - 0.05)
    assert not ablation.beats_best_single(*given, reached + 0.05)


def test_the_summary_is_paired_by_seed():
    found = pd.DataFrame(
        {
            "dataset": ["synthetic"] * 4 + ["x"] * 4 + ["y"] * 4,
            "seed": [0, 0, 1, 1] * 3,
            "variant": [ablation.AS_IS, "other"] * 6,
            "regret": [1.0, 9.0, 1.0, 9.0, 10.0, 11.0, 20.0, 23.0, 5.0, 5.0, 5.0, 7.0],
        }
    )
    table = ablation.summary(found).set_index("variant")
    assert table.loc[ablation.AS_IS, "x"] == "15.00"
    assert table.loc["other", "x"] == f"+2.00 ± {12.7062 * np.sqrt(2) / np.sqrt(2):.2f}"
    half = 12.7062 * np.std([0.5, 2.5], ddof=1) / np.sqrt(2)
    assert table.loc["other", "real tables"] == f"+1.50 ± {half:.2f}"
    assert "real tables" not in ablation.summary(found[found["dataset"] == "x"])


def test_the_smoke_run_writes_every_variant(tmp_path, capsys):
    assert ablation.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "ablation" / "ablation.parquet")
    assert found.groupby("variant")["seed"].nunique().eq(2).all()
    assert found["regret"].between(0, 100).all()
    assert f"| {ablation.AS_IS} |" in capsys.readouterr().out
