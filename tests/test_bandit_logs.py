"""Logs of people who come from contextual bandits, qualities of which less is better, and tables given as logs."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from jaxroute import cli
from jaxroute.data import logs
from jaxroute.types import InputError


def event(number, *, cost=-1.0, index=3, **more):
    """An event as vowpalwabbit 9.11.9 writes it: a and p are ranked by the policy, _labelIndex counts from 0."""
    actions = [{"m": {"model": f"m{k}"}} for k in range(4)]
    return {
        "_label_cost": cost,
        "_label_probability": 0.25,
        "_label_Action": index + 1,
        "_labelIndex": index,
        "o": [{"v": -cost, "EventId": f"e{number}", "ActionId": None}],
        "Timestamp": "2026-11-01T00:00:00.0000000Z",
        "EventId": f"e{number}",
        "a": [index + 1, *(k + 1 for k in range(4) if k != index)],
        "c": {"User": {"_text": "mbpp task", "x": -0.5}, "_multi": actions},
        "p": [0.25, 0.5, 0.125, 0.125],
        "VWState": {"m": "N/A"},
        **more,
    }


@pytest.fixture
def dsjson(tmp_path):
    lines = [event(0), event(1, cost=-0.75, index=0), event(2, cost=0.0, index=1), event(3, _skipLearn=True)]
    lines += [{"RewardValue": 1.0, "EventId": "e0"}, event(4, _skipLearn=False, cost=-0.25, index=0)]
    path = tmp_path / "vw.dsjson"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_vowpal_wabbit_quality_is_minus_its_cost(dsjson):
    log = logs.load(dsjson)
    assert log.models == ("m0", "m1", "m2", "m3")
    assert [log.models[k] for k in log.action] == ["m3", "m0", "m1", "m0"]  # _labelIndex, not _label_Action
    assert log.quality.tolist() == [1.0, 0.75, 0.0, 0.25]
    assert log.propensity.tolist() == [0.25] * 4
    assert log.available.all()
    assert log.cost.tolist() == [0.0] * 4
    assert set(log.prompt) == {"mbpp task User.x=-0.5"}
    assert log.request_id.tolist() == ["e0", "e1", "e2", "e4"]
    assert log.timestamp[0] == pd.Timestamp("2026-11-01", tz="UTC").timestamp()
    assert log.counts["qualities that are minus _label_cost"] == 4
    assert log.counts["costs taken as 0, as such a log has none"] == 4
    assert log.counts["events that were not to be learnt from (_skipLearn)"] == 1
    assert log.counts["records of another kind"] == 1


def test_vowpal_wabbit_with_a_cost_of_its_own(dsjson):
    rows = [json.loads(line) for line in dsjson.read_text().splitlines()]
    for row in rows:
        row.setdefault("c", {})["price"] = 0.5
    log = logs.load([row for row in rows if "_label_cost" in row], columns={"cost": "c.price"})
    assert log.cost.tolist() == [0.5] * 4
    assert "costs taken as 0, as such a log has none" not in log.counts


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ({"m": {"model": "small"}}, "small"),
        ({"m": {"small": 1}}, "small"),
        ({"_text": "small"}, "small"),
        ({"a": {"name": "small", "by": "x"}}, '{"a": {"by": "x", "name": "small"}}'),
        ({"_tag": "t"}, "action 0"),
    ],
)
def test_vowpal_wabbit_actions_are_called_by_their_text(action, name):
    row = event(0, index=0)
    row["c"] = {"_text": "hello", "_multi": [action, {"m": {"model": "other"}}]}
    log = logs.load([row])
    assert log.models[log.action[0]] == name
    assert log.prompt.tolist() == ["hello"]


def test_vowpal_wabbit_rewards_beyond_one_need_their_range(tmp_path):
    rows = [event(i, cost=-5.0 + i, index=i % 2) for i in range(4)]
    with pytest.raises(InputError, match=r"quality is outside \[0, 1\]: 4 row\(s\)"):
        logs.load(rows)
    assert logs.load(rows, quality_range=(0, 5)).quality.tolist() == [1.0, 0.8, 0.6, 0.4]


def bandit_feedback(rounds=50, position=None):
    """The dictionary of obp.dataset.*.obtain_batch_bandit_feedback (obp 0.5)."""
    random = np.random.default_rng(0)
    return {
        "n_rounds": rounds,
        "n_actions": 3,
        "context": random.normal(size=(rounds, 2)),
        "action_context": np.eye(3),
        "action": random.integers(0, 2, rounds),  # the third was never chosen
        "position": position,
        "reward": random.integers(0, 2, rounds),
        "expected_reward": np.full((rounds, 3), 0.5),
        "pi_b": np.full((rounds, 3, 1), 1 / 3),
        "pscore": np.full(rounds, 1 / 3),
    }


def test_open_bandit_feedback_is_read_as_it_is():
    given = bandit_feedback()
    log = logs.load(given)
    assert log.models == ("action 0", "action 1", "action 2")
    np.testing.assert_array_equal(log.action, given["action"])
    np.testing.assert_array_equal(log.quality, given["reward"])
    np.testing.assert_array_equal(log.propensity, given["pscore"])
    np.testing.assert_allclose(log.features, given["context"], rtol=1e-6)
    assert log.available.all()
    assert log.prompt is None
    assert log.counts["costs taken as 0, as such a log has none"] == 50
    several = logs.load(bandit_feedback(position=np.arange(50) % 3))
    assert several.features[:4, 2].tolist() == [0, 1, 2, 0]


def test_a_dictionary_that_is_no_table():
    with pytest.raises(InputError, match="a dictionary without columns"):
        logs.load({"n_rounds": 3})
    log = logs.load({"prompt": ["p", "q"], "model": ["a", "b"], "quality": [1, 0], "cost": [1.0, 2.0]})
    assert (log.models, log.cost.tolist()) == (("a", "b"), [1.0, 2.0])


def test_qualities_of_which_less_is_better():
    rows = [{"prompt": f"p{i}", "model": "ab"[i % 2], "quality": 1 + i, "cost": 1} for i in range(5)]
    assert logs.load(rows, quality_range=(5, 1)).quality.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    with pytest.raises(InputError, match=r"quality is outside \[1, 4\]: 1 row\(s\)"):
        logs.load(rows, quality_range=(4, 1))
    call = {"messages": "p", "call_type": "completion", "response_cost": 1}
    failed = [{**call, "model": "a", "metadata": {"s": 2}}, {**call, "model": "b", "status": "failure"}]
    log = logs.load(failed, columns={"quality": "metadata.s"}, quality_range=(5, 1), failures="zero")
    assert dict(zip((log.models[k] for k in log.action), log.quality.tolist(), strict=True)) == {"a": 0.75, "b": 0.0}


def table(models="abc", prompts=30):
    return pd.DataFrame(
        [(f"prompt {i}", model, i % 2, 0.1) for i in range(prompts) for model in models],
        columns=["prompt", "model", "quality", "cost"],
    )


@pytest.mark.parametrize("command", ["doctor", "fit", "shadow"])
def test_a_table_given_as_a_log_is_told_from_one(tmp_path, command):
    path = tmp_path / "answers.csv"
    table().sample(frac=1, random_state=0).to_csv(path, index=False)
    more = ["--out", str(tmp_path / "router")] if command == "fit" else []
    error = CliRunner().invoke(cli.app, [command, str(path), *more]).exception
    assert isinstance(error, InputError)
    assert (
        f"answered by 3 models, so this is a table of evaluation results, not a log; use jaxroute fit --table {path}"
        in str(error)
    )


def test_what_is_a_table():
    assert logs.is_table(logs.load(table()))
    assert logs.is_table(logs.load(table("ab").iloc[:-5]))  # with some holes
    assert not logs.is_table(logs.load(table().drop_duplicates("prompt").assign(model=["a", "b", "c"] * 10)))
    assert not logs.is_table(logs.load(table().assign(propensity=0.5)))  # somebody chose
    assert not logs.is_table(logs.load(table().sample(2000, replace=True, random_state=0)))  # a log of few prompts
    assert not logs.is_table(logs.load(table(prompts=10)))


def test_the_outcomes_of_a_table_alone(tmp_path):
    path = tmp_path / "outcomes.csv"
    table().rename(columns={"prompt": "query_id"}).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"outcomes\.csv: the outcomes of a table: .* use jaxroute fit --table"):
        logs.load(path)
