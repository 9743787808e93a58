"""The ablation: its lines are what they say, and its summary is right against a count by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments import ablation
from jaxroute import contrasts, nuisance, recipe
from jaxroute.data import logging, synthetic
from jaxroute.types import NuisanceSpec

SPEC = NuisanceSpec(("mean", "ridge"), folds=3, penalties=(30.0, 300.0))


def test_every_variant_changes_what_it_names():
    table = synthetic.make(jax.random.key(0), num_prompts=900, num_models=5)
    logs = logging.simulate(jax.random.key(1), table, logging.cost_biased(strength=0.5, floor=0.2))
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
    level = recipe.log_levels(logs, nuisances._replace(propensity=estimated), model.nuisances)
    np.testing.assert_allclose(found["levels: propensities estimated, not known"].quality - half * 2 * model.share,
                               np.broadcast_to(level, none.shape), atol=1e-5)  # fmt: skip
    assert np.abs(level - model.level).max() > 1e-3
    assert np.ptp(found["stack without ridge"].quality, axis=0).max() < 1e-5  # means alone tell prompts not apart


def test_the_summary_is_paired_by_seed():
    found = pd.DataFrame(
        {
            "dataset": ["x"] * 4,
            "seed": [0, 0, 1, 1],
            "variant": [ablation.AS_IS, "other"] * 2,
            "regret": [10.0, 11.0, 20.0, 23.0],
        }
    )
    table = ablation.summary(found).set_index("variant")
    assert table.loc[ablation.AS_IS, "x"] == "15.00"
    assert table.loc["other", "x"] == f"+2.00 ± {12.7062 * np.sqrt(2) / np.sqrt(2):.2f}"
    assert table.loc["other", "mean"] == "+2.00"


@pytest.mark.slow
def test_the_smoke_run_writes_every_variant(tmp_path, capsys):
    assert ablation.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "ablation" / "regret.parquet")
    assert found.groupby("variant")["seed"].nunique().eq(2).all()
    assert found["regret"].between(0, 100).all()
    assert f"| {ablation.AS_IS} |" in capsys.readouterr().out
