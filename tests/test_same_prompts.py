"""Logs whose prompts cannot be told apart, or whose features are too large, are refused with the reason; logs most of
which is one prompt are fitted."""

import json

import jax
import numpy as np
import pytest

from jaxroute import cli, nuisance
from jaxroute.learn import fitting, sufficiency
from jaxroute.nuisance import gp
from jaxroute.types import Logs, NuisanceSpec, UnsupportedLogError

SPEC = NuisanceSpec(("mean", "gp"), folds=3)


def log_of(features):
    action = np.arange(len(features)) % 3
    return Logs(
        np.float32(features),
        action.astype(np.int32),
        np.float32(np.arange(len(features)) % 4 > action),
        np.float32(0.001 * (1 + action)),
        np.full(len(features), 1 / 3, np.float32),
        np.ones((len(features), 3), bool),
    )


def features_with(share, scale=1.0):
    """Of 150 rows, the first ``share`` have the same features."""
    features = scale * np.random.default_rng(0).standard_normal((150, 3))
    features[: round(150 * share)] = features[0]
    return features


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (features_with(1.0), "every row has the same prompt or features"),
        (features_with(0.0, 1e30), r"feature 0 of row \d+ is .*e\+30, and beyond 1e\+15 squares overflow: scale"),
    ],
)
def test_features_that_nothing_can_be_learnt_from_are_refused_with_the_reason(features, said):
    with pytest.raises(UnsupportedLogError, match=said):
        fitting.fit(jax.random.key(0), log_of(features), ["a", "b", "c"], method="plug_in_ridge", spec=SPEC)


@pytest.mark.parametrize(("share", "rows"), [(0.72, 150), (0.9, 150), (0.99, 150), (0.9, 3200)])
def test_a_log_most_of_which_is_one_prompt_is_fitted(share, rows):
    """A health check, say: the length scale comes from the distances of different prompts. 3,200 rows have centres."""
    features = np.random.default_rng(0).standard_normal((rows, 3)).astype(np.float32)
    features[: round(rows * share)] = features[0]
    given = log_of(features)
    nuisances, model = nuisance.fit(jax.random.key(0), jax.tree.map(jax.numpy.asarray, given), SPEC)
    assert np.isfinite(nuisances.outcomes.quality).all()
    assert np.isfinite(nuisance.predict_outcomes(model.outcomes, np.float32([[5.0, 5.0, 5.0]])).quality).all()


def test_rows_that_set_the_length_scale():
    """The first ones drawn, as without features, unless most of their pairs are of equal rows."""
    seen = np.eye(3, dtype=bool)[np.arange(300) % 3]
    features = np.random.default_rng(0).standard_normal((300, 2))
    np.testing.assert_array_equal(gp.plan(seen, features=features).sample, gp.plan(seen).sample)
    features[:200] = features[0]  # 44% of the pairs
    np.testing.assert_array_equal(gp.plan(seen, features=features).sample, gp.plan(seen).sample)
    features[:280] = features[0]
    sample = gp.plan(seen, features=features).sample
    assert len(sample) == 21
    assert sorted(np.unique(features[sample], axis=0).tolist()) == sorted(np.unique(features, axis=0).tolist())


@pytest.mark.parametrize("command", ["doctor", "fit"])
def test_a_log_of_one_prompt_is_refused_by_the_doctor_as_by_fit(command, tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    rows = [{"prompt": "one", "model": "abc"[i % 3], "quality": i % 2, "cost": 1 + i % 3} for i in range(150)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit) as ended:
        cli.main([command, str(path), *(["--out", str(tmp_path / "router")] if command == "fit" else [])])
    assert ended.value.code == 3
    said = capsys.readouterr()
    assert "every row has the same prompt or features" in said.out + said.err
    assert not (tmp_path / "router").exists()


def test_one_prompt_beside_a_context_that_differs_is_not_refused():
    features = np.ones((150, 2), np.float32)
    assert sufficiency.same(log_of(features)) == 1
    features[::2, 1] = 0
    assert sufficiency.same(log_of(features)) == 0.5
    assert sufficiency.refusal(log_of(features)) == ""
