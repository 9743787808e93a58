"""A judge's scores that people's ratings correct: against NumPy, by simulated coverage, and in the commands."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import router_kinds
from scipy import stats

import jaxroute as jr
from jaxroute import cli, estimators
from jaxroute.estimators import judge
from jaxroute.estimators.prediction_powered import by_judge
from jaxroute.types import InputError, Logs, Nuisances, Outcomes

K, BIAS = 3, np.array([0.0, 0.15, -0.1])


def simulated(seed, rows=1500, noise=0.2):
    """A log by a softmax policy; the judge is too kind to one model; a fifth is rated, longer prompts more often."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 2)).astype(np.float32)
    mean = 0.5 + 0.15 * np.tanh(x @ np.array([[1.0, 0.0, -1.0], [0.5, -1.0, 0.5]])) + np.array([0.1, 0.0, -0.05])
    propensity = np.exp(x @ np.array([[0.5, -0.5, 0.0], [0.0, 0.3, -0.3]]))
    propensity /= propensity.sum(1, keepdims=True)
    action = (draw.random((rows, 1)) > propensity.cumsum(1)).sum(1)
    chosen = np.arange(rows), action
    human = mean[chosen] + 0.1 * draw.normal(size=rows)
    quality = human + BIAS[action] + noise * draw.normal(size=rows)
    rate = np.where(x[:, 0] > 0, 0.3, 0.1)
    rated = draw.random(rows) < rate
    logs = Logs(x, action, quality, 0.1 + 0.1 * action, propensity[chosen], np.ones((rows, K), bool))
    logs = logs._replace(human_quality=np.where(rated, human, np.nan), human_rate=rate)
    predicted = Outcomes(mean + BIAS + 0.05, np.tile(0.1 + 0.1 * np.arange(K), (rows, 1)))
    target = np.eye(K)[np.where(x[:, 1] > 0, 0, 1)]
    return jax.tree.map(lambda y: jnp.asarray(y, jnp.float32) if y.dtype.kind == "f" else jnp.asarray(y),
                        (logs, Nuisances(propensity, predicted), target, (target * mean).sum(1).mean()))  # fmt: skip


def test_values_are_those_of_the_formula():
    """In plain NumPy, self-normalised: J + H - J' - (1 - l) (J - J'), l of least variance, over costs of all rows."""
    given = simulated(0, rows=200)
    found = estimators.self_normalised_doubly_robust(given[0], given[2], 0.7, given[1])
    logs, nuisances, target, _ = jax.tree.map(lambda y: np.asarray(y, float), given)
    rows, action = np.arange(200), logs.action.astype(int)
    importance = target[rows, action] / nuisances.propensity[rows, action]

    def influence(outcome, predicted, own):
        direct = (target * predicted).sum(1)
        error = np.where(own > 0, np.nan_to_num(outcome) - predicted[rows, action], 0)
        mean = (own * error).sum() / own.sum()
        return direct + mean + own / own.mean() * (error - mean)

    rated = np.isfinite(logs.human_quality)
    by_rate = importance * rated / logs.human_rate
    q, c = nuisances.outcomes
    J, H, there = (
        influence(y, q, w)
        for y, w in ((logs.quality, importance), (logs.human_quality, by_rate), (logs.quality, by_rate))
    )
    z = J - 0.7 * influence(logs.cost, c, importance) + H - there
    distrust = np.clip(np.cov(z, J - there)[0, 1] / np.var(J - there, ddof=1), 0, 1)
    assert 0.02 < distrust < 0.98
    z = z - distrust * (J - there)
    influence_rows = estimators.rows(given[0], given[2], 0.7, given[1], self_normalised=True)
    np.testing.assert_allclose(influence_rows.influence, z, atol=1e-3)
    np.testing.assert_allclose(found.value, z.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.standard_error, z.std(ddof=1) / 200**0.5, rtol=1e-3)
    np.testing.assert_allclose(found.effective_sample_size, by_rate.sum() ** 2 / (by_rate**2).sum(), rtol=1e-4)


def test_a_mean_is_that_of_the_papers_formula():
    """One model, ratings at random: mean(rated Y - l f) + l mean(other f), l = cov(Y, f) / ((1 + n/N) var f)."""
    draw = np.random.default_rng(1)
    rated = np.arange(900) < 150
    score = draw.normal(0.5, 0.2, 900)
    human = score - 0.1 + draw.normal(0, 0.1, 900)
    ones = jnp.ones(900)
    logs = Logs(ones[:, None], jnp.zeros(900, int), jnp.asarray(score), ones, ones, jnp.ones((900, 2), bool))
    logs = logs._replace(human_quality=jnp.asarray(np.where(rated, human, np.nan)))
    found = estimators.snipw(logs, jnp.eye(2)[jnp.zeros(900, int)], 0.0)
    Y, f, other = human[rated], score[rated], score[~rated]
    tuned = np.cov(Y, f)[0, 1] / ((1 + 150 / 750) * np.var(score, ddof=1))
    error = np.sqrt(np.var(Y - tuned * f, ddof=1) / 150 + tuned**2 * np.var(other, ddof=1) / 750)
    np.testing.assert_allclose(found.value, (Y - tuned * f).mean() + tuned * other.mean(), atol=0.1 * error)
    np.testing.assert_allclose(found.standard_error, error, rtol=0.05)


def test_a_judges_bias_and_its_interval_are_those_of_the_formula():
    """Weighted by weight / rate, clustered, Student's t of the effective ratings, for three models together."""
    logs = simulated(3, rows=900)[0]
    group, times = np.arange(900) // 3, 1.0 + np.arange(900) % 4
    found = judge.biases(logs._replace(group=group, weight=times))
    error = np.asarray(logs.quality, float) - np.asarray(logs.human_quality, float)
    for k, one in enumerate(found):
        rows = np.flatnonzero(np.isfinite(error) & (logs.action == k))
        v = times[rows] / np.asarray(logs.human_rate, float)[rows]
        bias = v @ error[rows] / v.sum()
        parts = [((v * (error[rows] - bias))[group[rows] == g]).sum() for g in np.unique(group[rows])]
        standard_error = np.sqrt(np.sum(np.square(parts)) * len(parts) / (len(parts) - 1)) / v.sum()
        half = stats.t.ppf(1 - 0.05 / 3 / 2, v.sum() ** 2 / (v**2).sum() - 1) * standard_error
        np.testing.assert_allclose(one[2:5], (bias, bias - half, bias + half), rtol=1e-6)
        np.testing.assert_allclose(one.spread, np.sqrt(v @ (error[rows] - bias) ** 2 / v.sum()), rtol=1e-6)
        assert one[:2] == (k, len(rows))
    for count in (9, 10):  # nothing is said of fewer than ten ratings
        rated = np.arange(900) < np.flatnonzero(logs.action == 0)[count]
        few = judge.biases(logs._replace(human_quality=np.where(rated, logs.quality, np.nan), human_rate=None))
        assert (few[0].ratings, np.isnan(few[0].low)) == (count, count < 10)


@jax.jit
def three(logs, nuisances, target):
    """Corrected, by the judge alone, and by the rated rows alone."""
    alone, value = by_judge(logs), estimators.self_normalised_doubly_robust
    rated = alone._replace(quality=logs.human_quality), nuisances._replace(response=logs.human_rate)
    return (
        value(logs, target, 0.0, nuisances),
        value(alone, target, 0.0, nuisances),
        value(rated[0], target, 0.0, rated[1]),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "width"), [(0.05, 0.85), (1.0, 1.03)])
def test_intervals_hold_the_truth_and_a_useless_judge_costs_nothing(noise, width):
    truth, draws = 0.609, 200  # of 600,000 prompts
    inside, by_judge_alone, ratio = [], [], []
    for seed in range(draws):
        corrected, plain, rated = three(*simulated(seed, noise=noise)[:3])
        for found, held in ((corrected, inside), (plain, by_judge_alone)):
            low, high = estimators.interval(found)
            held.append(low <= truth <= high)
        ratio.append(float(corrected.standard_error / rated.standard_error))
    assert abs(np.mean(inside) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / draws)
    assert np.mean(ratio) < width
    assert noise > 0.05 or np.mean(by_judge_alone) < 0.2


@pytest.mark.slow
def test_few_ratings_of_what_a_policy_chooses_are_refused():
    logs, nuisances, target, _ = simulated(2, rows=3000)
    assert estimators.support(logs, target, nuisances).verdict == "ok"
    without = logs._replace(human_quality=jnp.where(logs.action == 1, jnp.nan, logs.human_quality))
    found = estimators.evaluate(without, jnp.eye(K)[jnp.full(3000, 1)], 0.0, nuisances)[0]
    assert (found.verdict, found.interval) == ("refuse", None)
    assert any("people's ratings" in reason for reason in found.reasons)


def rows_of(count=600, rated=200):
    """Requests to the routers' four models at random; people rate the first ones, and "b" 0.2 below the judge."""
    draw = np.random.default_rng(4)
    for i in range(count):
        model, score = "abcd"[i % 4], draw.uniform(0.3, 0.8)
        human = {"stars": 1 + 4 * (score - 0.2 * (model == "b"))} if i < rated else {}
        features = draw.normal(size=router_kinds.D).tolist()
        yield {
            "features": features,
            "model": model,
            "quality": 1 + 4 * score,
            "cost": 0.01,
            "propensity": 0.25,
            **human,
        }


@pytest.mark.slow
def test_a_logs_ratings_are_read_on_the_scale_of_quality_and_counted():
    log = jr.read_log(list(rows_of()), columns={"human_quality": "stars"}, quality_range=(1, 5))
    assert log.counts["rows with a human rating beside the judge's"] == 200
    assert log.counts["rows without a human rating"] == 400
    logs = jr.data.logs.as_logs(log)
    assert abs(float(np.mean(np.asarray(logs.human_rate))) - 1 / 3) < 0.02
    found = judge.biases(logs)
    np.testing.assert_allclose([one.bias for one in found], [0, 0.2, 0, 0], atol=1e-6)
    assert judge.said(found, "abcd")[0].startswith(
        "The judge rates b 0.2 higher than people do (0.2 to 0.2, 50 answers"
    )
    assert log.rows(np.arange(300)).human_quality.shape == (300,)
    few = jr.read_log(list(rows_of(rated=20)), columns={"human_quality": "stars"}, quality_range=(1, 5))
    assert jr.data.logs.as_logs(few).human_quality is None
    assert "too few" in jr.data.logs.rating(few)
    with pytest.raises(InputError, match=r"human_quality is outside \[0, 1\]"):
        jr.read_log([row | {"quality": 1} for row in rows_of()], columns={"human_quality": "stars"})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rated")
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, rows_of())))
    for name in ("b", "a"):
        router_kinds.router("plug_in").without(*set("abcd") - {name}).save(folder / name)
    return folder


def said(capsys, *command):
    with pytest.raises(SystemExit):
        cli.main([*map(str, command), "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_evaluate_compare_and_doctor_correct_the_judge(files, capsys):
    how = files / "log.jsonl", "--column", "human_quality=stars", "--quality-range", "1,5"
    found = said(capsys, "evaluate", files / "b", *how)
    first = found["by_cost_weight"][0]
    plain = said(capsys, "evaluate", files / "b", how[0], "--quality-range", "1,5")["by_cost_weight"][0]
    assert first["label"] == "self-normalised doubly robust, corrected by people's ratings"
    assert plain["label"] == "self-normalised doubly robust"
    assert abs(plain["value"] - first["value"] - 0.2) < 0.02
    assert any(line.startswith("People rated 200 of the 600 rows") for line in found["conclusion"])
    difference = said(capsys, "compare", files / "b", files / "a", *how)["by_cost_weight"][0]
    assert difference["low"] < -0.2 < difference["high"]
    assert difference["high"] < -0.1
    doctor = said(capsys, "doctor", *how)
    assert [round(one["bias"], 3) for one in doctor["judge"]] == [0, 0.2, 0, 0]
    assert any("judge rates b 0.2 higher" in line for line in doctor["advice"])
