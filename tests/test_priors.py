"""A prior of the models' mean quality: against NumPy, what it is trusted, and how it is read."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxroute as jr
from jaxroute.data import priors as reading
from jaxroute.data import simulate, synthetic
from jaxroute.learn import checks
from jaxroute.recipe import Prior, levels, means, priors
from jaxroute.types import InputError, NuisanceSpec, Outcomes, Table

RNG = np.random.default_rng(0)
NOTHING = jnp.zeros((8, 2))
"""Columns that say nothing of the models."""


def sample(mean, deviation):
    return means.Sample(jnp.asarray(mean, jnp.float32), jnp.diag(jnp.asarray(deviation, jnp.float32) ** 2))


def by_numpy(mean, deviation, about, prior):
    """The posterior mean over the whole grid, and the probability that the prior says something, in float64."""
    K, gap = len(mean), prior.quality - prior.quality.mean()
    share = prior.deviation / np.sqrt(np.mean(prior.deviation**2))
    noise, results = np.diag(deviation**2), []

    def given(expected, covariance):
        total = covariance + noise
        error = mean - expected
        solved = np.linalg.solve(total, error)
        likelihood = -0.5 * error @ solved - 0.5 * np.linalg.slogdet(total)[1]
        return likelihood, expected + covariance @ solved

    for spread, slope in levels.GRID:
        common = slope**2 * about @ about.T + 1.0
        results.append(given(np.full(K, 0.5), spread**2 * np.eye(K) + common))
        w = np.ones(K)
        for _ in range(6):
            _, found = given(0.5 + gap, np.diag((spread * share) ** 2 / w) + common + np.outer(gap, gap))
            away = found - 0.5 - gap
            w = np.minimum(5 / (4 + ((away - w @ away / w.sum()) / (spread * share)) ** 2), 1)
        likelihood, found = given(0.5 + gap, np.diag((spread * share) ** 2 / w) + common + np.outer(gap, gap))
        results.append((likelihood + np.sum(2 * np.log(w) - 2 * (w - 1)), found))
    likelihood = np.array([one[0] for one in results])
    chance = np.exp(likelihood - likelihood.max())
    chance = chance / chance.sum()
    return chance @ np.array([one[1] for one in results]), chance[1::2].sum()


@pytest.mark.modes
def test_the_posterior_is_that_of_numpy():
    mean, deviation = RNG.uniform(0.3, 0.7, 8), RNG.uniform(0.01, 0.1, 8)
    about, prior = RNG.normal(size=(8, 2)), Prior(RNG.uniform(0.2, 0.8, 8), RNG.uniform(0.02, 0.1, 8))
    found = priors.posterior([sample(mean, deviation)], jnp.asarray(about, jnp.float32), prior)
    level, informed = by_numpy(mean, deviation, about, prior)
    np.testing.assert_allclose(found.level.mean, level, atol=2e-3)
    assert found.informed == pytest.approx(informed, abs=0.02)


def test_a_prior_is_followed_where_the_log_is_silent_and_left_where_the_log_contradicts_it():
    truth = np.array([0.70, 0.65, 0.60, 0.55, 0.50, 0.45, 0.40, 0.35])
    seen, silent = truth.copy(), np.full(8, 0.01)
    seen[3], silent[3] = 0.75, 0.4  # a few good answers of a middling model
    prior = Prior(truth - 0.2, np.full(8, 0.05))  # harder prompts, the same order
    found = priors.posterior([sample(seen, silent)], NOTHING, prior)
    assert found.level.mean[3] == pytest.approx(0.55, abs=0.03)
    assert found.slope == pytest.approx(1, abs=0.1)
    assert found.informed > 0.9
    wrong = prior._replace(quality=np.where(np.arange(8) == 0, 0.1, prior.quality))
    found = priors.posterior([sample(truth, np.full(8, 0.01))], NOTHING, wrong)
    assert found.followed.argmin() == 0
    assert found.followed[0] < 0.5 < found.followed[1:].min()
    assert found.level.mean[0] == pytest.approx(0.7, abs=0.01)


def test_the_scale_of_the_deviations_is_learnt():
    one = sample(RNG.uniform(0.3, 0.7, 8), np.full(8, 0.03))
    prior = Prior(RNG.uniform(0.3, 0.7, 8), RNG.uniform(0.02, 0.1, 8))
    found, scaled = (priors.posterior([one], NOTHING, prior._replace(deviation=c * prior.deviation)) for c in (1, 10))
    np.testing.assert_allclose(found.level.mean, scaled.level.mean, atol=1e-5)


def test_shuffled_over_the_models_a_prior_does_not_move_the_levels():
    truth = np.linspace(0.3, 0.7, 8)
    seen = sample(truth + RNG.normal(0, 0.02, 8), np.full(8, 0.02))
    alternate = np.where(np.arange(8) % 2, 0.3, 0.6)
    found = priors.posterior([seen], NOTHING, Prior(alternate, np.full(8, 0.05)))
    assert abs(found.slope) < 0.2
    assert found.informed < 0.25
    alone = levels.posterior([seen], NOTHING)
    np.testing.assert_allclose(found.level.mean, alone.mean, atol=0.01)
    np.testing.assert_allclose(found.log_alone.mean, alone.mean, atol=1e-6)
    np.testing.assert_allclose(found.log_alone.deviation, alone.deviation, atol=1e-6)


MODELS = ("openai/gpt-4o-mini-2024-07-18", "claude", "new")


def test_a_file_is_read_by_name(tmp_path):
    path = tmp_path / "known.csv"
    path.write_text("model,quality,sd\nclaude,0.8,0.02\ngpt-4o-mini,0.6,0.04\n")
    known = reading.load(path, MODELS)
    np.testing.assert_allclose(known.prior.quality, [0.6, 0.8, 0.7])
    np.testing.assert_allclose(known.prior.deviation, [0.04, 0.02, 0.12])
    assert (known.missing, known.new) == (("new",), ())
    table = pd.read_csv(path)
    for held in (table, table.set_index("model"), table.to_dict("records")):
        np.testing.assert_array_equal(reading.load(held, MODELS).prior, known.prior)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,quality\nclaude,0.8\n", "column 'sd' is missing"),
        ("model,quality,sd\nclaude,0.8,0\nnew,0.5,0.1\n", "column 'sd', row 0 (claude): 0.0 is not a number above 0"),
        ("model,quality,sd\nclaude,80,1\nnew,0.5,0.1\n", "column 'quality', row 0 (claude): 80.0 is not in [0, 1]"),
        ("model,quality,sd\nnew,0.5,0.1\nnew,0.5,0.1\n", "column 'model', row 1 (new): stands there twice"),
        ("model,quality,sd\nclaude,0.8,0.1\n", "names 1 of the log's models"),
        ("model,quality,sd\nclaude,much,0.1\nnew,0.5,0.1\n", "row 0 (claude): 'much' is not a number"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, message):
    path = tmp_path / "known.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        reading.load(path, MODELS)
    assert str(error.value).startswith(str(path))


def test_a_table_is_a_prior():
    table = synthetic.make(jax.random.key(0), num_prompts=200, num_models=3)
    first, *others = table.models
    known = reading.load(table, (*others, "new"))
    np.testing.assert_allclose(known.prior.quality[:2], np.asarray(table.outcomes.quality).mean(0)[1:], rtol=1e-5)
    assert (known.missing, known.unused, known.new) == (("new",), (first,), ())


@pytest.mark.slow
def test_a_fitted_router_says_what_the_log_makes_of_its_prior():
    table: Table = synthetic.make(jax.random.key(0), num_prompts=300, num_models=4)
    log = simulate.simulate(jax.random.key(1), table, simulate.uniform())
    quality = Outcomes(*table.outcomes).quality.mean(0)
    known = pd.DataFrame({"model": table.models, "quality": np.clip(quality - 0.1, 0, 1), "sd": 0.05})
    small = {"models": table.models, "spec": NuisanceSpec(("mean",), folds=3), "steps": 20, "hidden": (8,)}
    router = jr.fit(log, prior=known, **small)
    said = router.summary["prior"]
    assert [one["model"] for one in said["by_model"]] == list(table.models)
    assert 0 <= said["slope"] <= 2
    assert said["missing"] == said["unused"] == []
    with pytest.raises(InputError, match="rm_softmax takes no prior; the methods that do: recommended"):
        jr.fit(log, "rm_softmax", prior=known, **small)
    with pytest.raises(InputError, match=r"prior\.deviation: needs a finite number"):
        checks.check_prior(jr.learn.METHODS["recommended"], Prior(np.ones(4), np.zeros(4)), 4)
