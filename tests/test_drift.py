"""Changes inside a log: the test of one series, its size and power, and what the doctor says and --since leaves out."""

import json

import jax
import numpy as np
import pytest
from scipy.stats import kstwobign

from jaxroute import cli
from jaxroute.data import logs as people
from jaxroute.estimators import drift
from jaxroute.types import InputError, Logs, Nuisances, Outcomes

DRAWS, ROWS, K = 400, 600, 3


def test_the_statistic_is_the_largest_centred_partial_sum_of_groups():
    draws = np.random.default_rng(0)
    residual, time, group = draws.normal(size=60), draws.random(60), draws.integers(0, 25, 60)
    names = np.unique(group)
    totals = [(time[group == g].mean(), (residual - residual.mean())[group == g].sum()) for g in names]
    walk = np.cumsum([total for _, total in sorted(totals)])
    largest = np.abs(walk[:-1]).argmax()
    p, at = drift.bridge(residual, time, group)
    np.testing.assert_allclose(p, kstwobign.sf(np.abs(walk[:-1]).max() / np.sqrt(sum(t**2 for _, t in totals))))
    assert at == sorted(totals)[largest + 1][0]
    assert drift.bridge(np.ones(50), np.arange(50.0)) == (1.0, pytest.approx(np.nan, nan_ok=True))


def simulated(seed, *, sessions, worse=0.0, dearer=1.0, tried=None):
    """A log with prompts that get harder over time, sessions of like rows, and changes after two thirds of it."""
    draws = np.random.default_rng(seed)
    late = np.arange(ROWS) >= 2 * ROWS // 3
    group = np.arange(ROWS) // sessions
    x = np.linspace(0, 0.4, ROWS)
    probability = np.where(late[:, None], tried or [0.4, 0.3, 0.3], [0.4, 0.3, 0.3])
    action = (draws.random(ROWS)[:, None] > np.cumsum(probability, 1)).sum(1)
    mood = draws.uniform(-0.2, 0.2, ROWS // sessions)[group]
    believed = np.broadcast_to(0.7 - x[:, None], (ROWS, K))
    chance = 0.7 - x + mood - worse * (late & (action == 1))
    quality = (draws.random(ROWS) < np.clip(chance, 0, 1)).astype(float)
    cost = draws.lognormal(0, 0.3, ROWS) * np.where(late & (action == 2), dearer, 1)
    logs = Logs(x[:, None], action, quality, cost, probability[:, 0], np.ones((ROWS, K), bool), group)
    nuisances = Nuisances(np.full((ROWS, K), [0.4, 0.3, 0.3]), Outcomes(believed, np.ones((ROWS, K))))
    return logs, nuisances, np.arange(ROWS) * 60.0


@pytest.mark.parametrize("sessions", [1, 6])
def test_of_logs_in_which_nothing_changes_one_in_a_hundred_names_a_change(sessions):
    """400 logs: prompts get harder, and rows of a session are alike; the level is 1% of all nine tests together."""
    named = [any(one.changed for one in drift.changes(*simulated(i, sessions=sessions))) for i in range(DRAWS)]
    assert np.mean(named) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / DRAWS)


@pytest.mark.parametrize(
    ("change", "model", "what"),
    [({"worse": 0.4}, 1, "quality"), ({"dearer": 2.0}, 2, "cost"), ({"tried": [0.8, 0.1, 0.1]}, 0, "share")],
)
def test_a_change_is_found_where_it_is(change, model, what):
    first = [drift.changes(*simulated(i, sessions=1, **change))[0] for i in range(20)]
    assert np.mean([(one.model, one.what, one.changed) == (model, what, True) for one in first]) >= 0.85
    at = np.median([one.at for one in first if one.changed]) / 60
    assert abs(at - 2 * ROWS / 3) < ROWS / 20


def test_before_and_after_are_means_of_the_rows_on_either_side_of_the_time():
    logs, nuisances, time = simulated(0, sessions=1, dearer=2.0)
    one = drift.changes(logs, nuisances, time)[0]
    assert (one.model, one.what) == (2, "cost")
    early, late = (logs.cost[(logs.action == 2) & side] for side in (time < one.at, time >= one.at))
    shift = np.log(late).mean() - np.log(early).mean()  # the prediction is 1 on either side
    np.testing.assert_allclose((one.before, one.after, one.shift), (early.mean(), late.mean(), shift))


def test_a_series_of_fewer_than_fifty_groups_is_not_tested():
    logs, nuisances, time = simulated(0, sessions=1)
    pairs = logs._replace(group=np.arange(ROWS) // 2)
    for count, tested in ((49, set()), (50, {(k, "share") for k in range(K)})):
        for given, rows in ((logs, count), (pairs, 2 * count)):
            part = jax.tree.map(lambda x, rows=rows: x[:rows], (given, nuisances, time))
            found = {(one.model, one.what) for one in drift.changes(*part)}
            assert {one for one in found if one[1] == "share"} == tested
            assert tested or not found


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """1,200 rows over 40 days; the large model got dearer and worse on the 21st of January."""
    draws = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("drift") / "log.jsonl"
    with path.open("w") as file:
        for i in range(1200):
            model, late = ("small", "medium", "large")[i % 3], i >= 600
            changed = late and model == "large"
            row = {
                "prompt": f"A question about topic {draws.integers(9)}, number {i}",
                "model": model,
                "quality": int(draws.random() < (0.9 if model == "large" and not changed else 0.5)),
                "cost": float(draws.lognormal(0, 0.2)) * (4 if changed else 2 if model == "large" else 1),
                "propensity": 1 / 3,
                "timestamp": f"2026-01-{1 + i // 30:02}" if i < 930 else f"2026-02-{1 + (i - 930) // 30:02}",
            }
            file.write(json.dumps(row) + "\n")
    return path


@pytest.mark.slow
def test_the_doctor_says_what_changed_and_since_leaves_it_out(log, capsys):
    with pytest.raises(SystemExit):
        cli.main(["doctor", str(log), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {(one["model"], one["what"]) for one in found["changes"]} == {("large", "quality"), ("large", "cost")}
    assert all(one["at"].startswith(("2026-01-2", "2026-01-19")) for one in found["changes"])
    assert found["verdict"] == "caution"
    assert any("--since 2026-01-2" in line for line in found["advice"])
    later = people.load(log, since="2026-01-22")
    assert later.left_out == {"requests before --since": dict.fromkeys(("large", "medium", "small"), 210)}
    assert len(later) == 570


def test_since_needs_times(log):
    with pytest.raises(InputError, match=r"^since is 'soon'; give a date or a time"):
        people.load(log, since="soon")
    rows = [{"prompt": "hi", "model": m, "quality": 1, "cost": 1} for m in "ab"]
    with pytest.raises(InputError, match="the log has no times"):
        people.load(rows, since="2026-01-01")


def test_rows_that_stand_for_many_requests_are_no_change_of_the_share():
    """From half of the log on, one in five rows of model 0 is kept, and stands for five requests."""
    draws = np.random.default_rng(0)
    action, late = draws.integers(0, 2, 3000), np.arange(3000) >= 1500
    kept = (action == 1) | ~late | (draws.random(3000) < 0.2)
    action, late = action[kept], late[kept]
    weight, count = np.where(late & (action == 0), 5.0, 1.0), len(action)
    quality = (draws.random(count) < 0.6).astype(float)
    half = np.full((count, 2), 0.5)
    logs = Logs(np.zeros((count, 1)), action, quality, np.ones(count), half[:, 0], half > 0, None, weight)
    nuisances, time = Nuisances(half, Outcomes(half + 0.1, half + 0.5)), np.arange(float(count))
    assert not any(one.changed for one in drift.changes(logs, nuisances, time))
    share = {one.model: one for one in drift.changes(logs, nuisances, time) if one.what == "share"}[0]
    early = time < share.at
    for rows, said in ((early, share.before), (~early, share.after)):
        np.testing.assert_allclose(said, np.average(action[rows] == 0, weights=weight[rows]))
    unweighted = drift.changes(logs._replace(weight=None), nuisances, time)
    assert {one.what for one in unweighted if one.changed} == {"share"}


@pytest.mark.parametrize("begins", [0.2, 0.8])
def test_the_level_holds_where_weights_change_over_time(begins):
    draws, time = np.random.default_rng(1), np.arange(200.0)
    weight = np.where(time < begins * 200, 1.0, 20.0)
    p = [drift.bridge((draws.random(200) < 0.3).astype(float), time, None, weight)[0] for _ in range(1500)]
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)
    even = drift.bridge(time % 7, time, None, np.full(200, 3.0))
    np.testing.assert_allclose(even, drift.bridge(time % 7, time), rtol=0.05)
