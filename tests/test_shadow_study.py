"""The shadow experiment: rules draw with the probabilities they state, weighted levels are unbiased, pairs by seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.side import shadow, shadow_rules
from jaxroute import recipe
from jaxroute.recipe import levels
from jaxroute.types import Examples, Logs, Nuisances, Outcomes


def test_inclusion_is_proportional_and_capped():
    found = shadow_rules.inclusion(np.array([1.0, 1.0, 2.0, 20.0]), 3)
    np.testing.assert_allclose(found, [0.5, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(shadow_rules.inclusion(np.arange(1.0, 11), 4).sum(), 4)


def test_prompts_are_drawn_with_the_stated_probabilities_and_apart():
    rng = np.random.default_rng(0)
    place = np.linspace(0, 1, 10)[:, None]
    probability = shadow_rules.inclusion(np.array([1, 1, 1, 1, 1, 1, 1, 1, 4, 8.0]), 4)
    drawn = np.zeros((3000, 10))
    for repeat in drawn:
        repeat[shadow_rules.draw_spread(rng, probability, place)] = 1
    assert (drawn.sum(1) == 4).all()
    error = np.sqrt(probability * (1 - probability) / 3000)
    assert (np.abs(drawn.mean(0) - probability) <= 4 * error + 1e-9).all()
    together = np.mean(drawn[:, :7] * drawn[:, 1:8])
    apart = np.mean(drawn[:, :4] * drawn[:, 4:8])
    assert together < 0.5 * apart


def test_levels_of_unevenly_drawn_prompts_are_unbiased_when_weighted():
    """Prompts on which the outcome model is wrong are drawn thrice as often."""
    rng = np.random.default_rng(1)
    hard = np.arange(90) % 3 == 0
    error = np.where(hard, 0.3, -0.1)[:, None] * np.array([1.0, -0.5])
    probability = shadow_rules.inclusion(np.where(hard, 3.0, 1.0), 24)
    predicted = np.full((90, 2), 0.5)
    weighted, plain, errors = [], [], []
    for _ in range(225):
        i = shadow_rules.draw_spread(rng, probability, rng.random((90, 1)))
        answers = Outcomes(predicted[i] + error[i], predicted[i])
        sample = Examples(np.zeros((24, 1)), answers, np.ones((24, 2), bool))
        found = shadow_rules.weighted(sample, Outcomes(predicted[i], predicted[i]), np.zeros(2), probability[i])
        weighted.append(found.mean)
        errors.append(np.sqrt(np.diag(found.covariance)))
        plain.append(error[i].mean(0))
    truth, spread = error.mean(0), np.std(weighted, 0)
    assert (np.abs(np.mean(weighted, 0) - truth) < 4 * spread / 15 + 0.005).all()  # ratios: bias of order 1 / S
    assert (np.abs(np.mean(plain, 0) - truth) > 0.02).all()
    assert (np.mean(errors, 0) < 1.6 * spread).all()
    assert (np.mean(errors, 0) > 0.9 * spread).all()


def test_doubt_is_the_expected_gain_of_knowing():
    rng = np.random.default_rng(2)
    quality, cost, deviation = rng.random((3, 5, 3))
    available = np.ones((5, 3), bool)
    available[0, 2] = False
    found = shadow_rules.doubt(quality, cost, 0.3 * deviation, available)
    noise = rng.standard_normal((3, 200_000))
    for i in range(5):
        worth = []
        for weight in recipe.GRID:
            utility = np.where(available[i], quality[i] - weight * cost[i], -np.inf)
            best = utility.argmax()
            gains = [
                np.maximum(
                    utility[k] - utility[best] + 0.3 * (deviation[i, k] * noise[k] - deviation[i, best] * noise[best]),
                    0,
                )
                for k in range(3)
                if k != best and available[i, k]
            ]
            worth.append(max(g.mean() for g in gains))
        np.testing.assert_allclose(found[i], np.mean(worth), rtol=0.03, atol=2e-4)


def _log(rows=30, models=4):
    rng = np.random.default_rng(0)
    quality, cost = rng.random((2, rows, models)).astype(np.float32)
    action = rng.integers(0, models, rows)
    available = np.ones((rows, models), bool)
    available[0, (action[0] + 1) % models] = False
    seen = rng.random(rows) < quality[np.arange(rows), action]
    quarter = jnp.full((rows, models), 1 / models)
    logs = Logs(jnp.zeros((rows, 1)), action, seen.astype(np.float32), cost[:, 0], quarter[:, 0], available)
    nuisances = Nuisances(quarter, Outcomes(jnp.asarray(quality), jnp.asarray(cost)))
    return jax.tree.map(jnp.asarray, logs), nuisances


def test_chances_match_a_loop():
    logs, nuisances = _log()
    key, level = jax.random.key(3), np.array([0.5, 0.45, 0.4, 0.1], np.float32)
    found = shadow_rules.chances(key, logs, nuisances, jnp.asarray(level), draws=20)
    deviation = np.asarray(levels.fit(jax.tree.map(jnp.asarray, logs), nuisances).deviation)
    quality, cost = (np.asarray(y) for y in nuisances.outcomes)
    centre, available = quality.mean(0), np.asarray(logs.available)
    count = np.zeros(4)
    for noise in np.asarray(jax.random.normal(key, (20, 4))):
        for weight in recipe.GRID:
            for i in range(30):
                utility = [
                    level[k] + deviation[k] * noise[k] + 0.5 * (quality[i, k] - centre[k]) - weight * cost[i, k]
                    if available[i, k]
                    else -np.inf
                    for k in range(4)
                ]
                count[np.argmax(utility)] += 1
    np.testing.assert_allclose(found, count / count.sum(), atol=2e-3)


def test_the_fewest_models_that_hold_the_chance():
    chance = np.array([0.3, 0.05, 0.25, 0.4])
    for keep, expected in ((0.5, [0, 3]), (0.65, [0, 3]), (0.7, [0, 3]), (0.71, [0, 2, 3]), (0.96, [0, 1, 2, 3])):
        assert np.flatnonzero(shadow_rules.contenders(chance, keep)).tolist() == expected, keep
    assert shadow_rules.contenders(np.array([0.0, 1.0, 0.0])).sum() == 2  # a contrast needs two


def test_models_chosen_by_the_log_have_unbiased_means_in_the_shadow():
    """600 noisy logs each pick two of four models; the shadow's answers are new, so their means are right."""
    rng = np.random.default_rng(1)
    truth, predicted = np.array([0.5, 0.52, 0.48, 0.55]), np.array([0.6, 0.4, 0.5, 0.5])
    seen = truth + 0.05 * rng.standard_normal((600, 4))
    asked = jnp.asarray(np.argsort(np.argsort(-seen)) < 2)
    answers = jnp.asarray(rng.random((600, 40, 4)) < truth, jnp.float32)
    flat = jnp.broadcast_to(jnp.asarray(predicted, jnp.float32), (40, 4))

    def one(answers, asked):
        shadow = Examples(jnp.zeros((40, 1)), Outcomes(answers, answers), jnp.broadcast_to(asked, (40, 4)))
        return levels.of_shadow(shadow, Outcomes(flat, flat), flat[0])

    samples = jax.vmap(one)(answers, asked)
    for k in range(4):
        mine = np.asarray(samples.mean)[np.asarray(asked)[:, k], k]
        assert abs(mine.mean() - truth[k]) < 4 * mine.std() / np.sqrt(len(mine))
        assert np.allclose(np.asarray(samples.covariance)[~np.asarray(asked)[:, k], k, k], levels.VAGUE**2)
        assert mine.mean() < seen[np.asarray(asked)[:, k], k].mean()  # whom a log picks looks better than it is


def test_the_summary_pairs_by_table_and_seed():
    bought = {"prompts": 40, "models": 2, "answers": 80, "dollars": 60.0}
    judged = {"log's share": 5.0, "stack": 5.0, "share": 0.5}
    rows = []
    for dataset, of in (
        ("x", ([3.0, 4.0], [2.0, 3.5], [2.5, 3.0])),
        ("y", ([1.0, 1.0], [1.0, 2.0], [0.0, 0.0])),
        ("synthetic", ([9.0, 9.0], [9.0, 9.0], [0.0, 0.0])),
    ):
        for way, regrets in zip(("log", "random 40", "spread 40"), of, strict=True):
            rows += [
                {"dataset": dataset, "seed": seed, "way": way, "recipe": regret} | bought | judged
                for seed, regret in enumerate(regrets)
            ]
    table = shadow.summary(pd.DataFrame(rows)).set_index(["dataset", "way"])
    assert table.loc[("x", "log"), "less log"] == table.loc[("x", "random 40"), "less random"] == "-"
    assert table.loc[("x", "random 40"), "recipe"] == "2.75"
    assert table.loc[("x", "random 40"), "less log"].startswith("-0.75 [")
    assert table.loc[("x", "spread 40"), "less random"].startswith("+0.00 [")
    half = 12.706 * np.std([-0.25, -1.25], ddof=1) / np.sqrt(2)  # seed 0: (0.5 - 1) / 2, seed 1: (-0.5 - 2) / 2
    assert table.loc[("real tables", "spread 40"), "less random"] == f"-0.75 [{-0.75 - half:+.2f}, {-0.75 + half:+.2f}]"


@pytest.mark.slow
def test_the_smoke_run_goes_on_where_it_was(tmp_path, capsys):
    assert shadow.main(["--smoke", "--out", str(tmp_path)]) == 0
    assert "| synthetic | random 40 |" in capsys.readouterr().out
    path = tmp_path / "shadow" / "shadow.parquet"
    first = pd.read_parquet(path)
    assert first.groupby("seed")["way"].agg(set).tolist() == [set(shadow.SMOKE)] * 2
    asked = first[first["way"].str.startswith("contenders")]
    assert (asked["models"] <= 10).all()
    assert (asked["answers"] == asked["models"] * asked["prompts"]).all()
    kept, lost = sorted(tmp_path.glob("shadow-smoke/*/seed-*.parquet"))
    written = kept.stat().st_mtime_ns
    lost.unlink()
    assert shadow.main(["--smoke", "--out", str(tmp_path)]) == 0
    assert kept.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(pd.read_parquet(path), first)
