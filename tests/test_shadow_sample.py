"""Tables as shadow samples beside a log: other models than the log's, unknown costs, and runs as they are."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxroute as jr
from jaxroute.data import harness, shadow, simulate, synthetic
from jaxroute.learn import fitting
from jaxroute.learn.methods import METHODS, Method
from jaxroute.types import Examples, InputError, NuisanceSpec, Outcomes

DATA = Path(__file__).parent / "data" / "harness"
RUN = DATA / "promptfoo" / "tiny.json"


@pytest.fixture(scope="module")
def world():
    """(a log of three models, its names, a table of further prompts)."""
    table = synthetic.make(jax.random.key(0), num_prompts=160, num_models=3)
    log = simulate.simulate(jax.random.key(1), table.rows(np.arange(120)), simulate.uniform())
    return log, table.models, table.rows(np.arange(120, 160))


def test_models_are_matched_by_name(world):
    _, models, table = world
    found = shadow.matched(table, (models[2], "new", models[0]))
    np.testing.assert_array_equal(found.available, [[True, False, True]] * 40)
    for ours, theirs in zip(found.outcomes, table.outcomes, strict=True):
        np.testing.assert_array_equal(ours[:, [0, 2]], np.asarray(theirs)[:, [2, 0]])
        assert np.isnan(ours[:, 1]).all()
    assert shadow.unmatched(table, (models[2], "new", models[0])) == ([models[1]], ["new"])
    with pytest.raises(InputError, match="no model in common: it has model_1, dominated, model_0, the log other; call"):
        shadow.matched(table, ("other",))


def test_prompts_that_no_shared_model_answered_are_left_out(world):
    _, models, table = world
    available = table.available.copy()
    available[:7, 1:] = False
    only_first = jr.types.Table(**{**vars(table), "available": available, "expected": None})
    found = shadow.matched(only_first, models[1:])
    assert found.query_id.tolist() == table.query_id[7:].tolist()


def test_unknown_costs_are_the_models_means_in_the_log(world):
    log, models, table = world
    cost = np.array(table.outcomes.cost)
    cost[:5, 1] = np.nan
    sample = Examples(table.features, Outcomes(table.outcomes.quality, cost), table.available)
    found = shadow.priced(sample, log, models)
    mean = np.asarray(log.cost)[np.asarray(log.action) == 1].mean()
    np.testing.assert_allclose(found.outcomes.cost[:5, 1], mean, rtol=1e-5)
    np.testing.assert_array_equal(found.outcomes.cost[5:], cost[5:])
    assert shadow.priced(found, log, models) is found
    never = log._replace(action=jnp.where(log.action == 1, 0, log.action))
    with pytest.raises(InputError, match=f"no cost of answers of {models[1]!r}, and the log no row of it"):
        shadow.priced(sample, never, models)


@pytest.mark.slow
def test_a_fit_learns_from_unpriced_answers_and_judges_by_them_at_weight_0_alone(world):
    log, models, table = world
    quality = np.where(np.arange(3) == 1, 1.0, 0.0) * np.ones((40, 1))
    sample = Examples(table.features, Outcomes(quality, np.full((40, 3), np.nan)), table.available)
    given = []
    watched = Method("watched", "", "", lambda g: given.append(g) or METHODS["plug_in_ridge"].make(g), learner="ridge")
    router = fitting.fit(
        jax.random.key(2),
        log,
        models,
        method=watched,
        shadow=sample,
        cost_weights=[0.0, 1.0],
        spec=NuisanceSpec(("mean",), folds=3),
        hidden=(8,),
        steps=20,
    )
    assert router.summary["shadow_costs_unknown"] == 120
    free, priced = router.summary["by_cost_weight"]
    assert free["shadow_share"] > 0
    assert priced["shadow_share"] == 0
    assert "0 prompts of the shadow sample count here: not used below 30" in priced["reasons"]
    assert np.isfinite(given[0].cells.outcomes.cost[120:]).all()
    assert given[0].cells.available.sum() == 120 + 120
    assert np.argmax(given[0].predicted.quality[120:].mean(0)) == 1


def test_runs_are_read_as_they_are(tmp_path):
    table = harness.load(RUN, failures="zero")
    assert table.models == ("local:large", "small")
    assert np.isnan(np.asarray(table.outcomes.cost)).sum() == 10  # 6 answers, and 4 that failed and have none
    assert not harness.is_run(tmp_path / "nothing")
    assert jr.read_table(RUN).features.shape[1] == table.features.shape[1] > 0
    with pytest.raises(InputError, match=r"choose with wanted=\[NAME\].*; or make a table of it with jaxroute table"):
        harness.load(DATA / "lm_eval")


def test_what_is_a_table_already_is_no_run(tmp_path):
    (tmp_path / "wide.csv").write_text("sample_id,prompt,eval_name,a,b,a|total_cost,b|total_cost\nx,Hi,t,1,0,1,2\n")
    (tmp_path / "long.csv").write_text("prompt,model,quality,cost\nHi,a,1,1\nHi,b,0,2\n")
    assert not harness.is_run(tmp_path / "wide.csv")
    assert harness.is_run(tmp_path / "long.csv")
    assert harness.is_run(f"small={RUN}")
    for name in ("wide.csv", "long.csv"):
        table = harness.load(tmp_path / name)
        assert (table.models, table.outcomes.cost.tolist()) == (("a", "b"), [[1.0, 2.0]])
    folder = tmp_path / "table"
    jr.data.tables.save(table, folder)
    assert not harness.is_run(folder)
