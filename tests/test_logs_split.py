"""Parts of a log, at random and by time: users and near duplicates stay together, and nothing of the future leaks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jaxroute.data import logs, splits, ties
from jaxroute.types import InputError


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """600 requests of 150 users in random order of time; some users and some prompts come again."""
    rng = np.random.default_rng(0)
    N = 600
    frame = pd.DataFrame(
        {
            "prompt": [f"Prompt {i}!" if i % 20 else f"prompt {i + 1}" for i in range(N)],
            "model": rng.choice(["a", "b"], N),
            "quality": rng.choice([0.0, 1.0], N),
            "cost": 1.0,
            "timestamp": rng.permutation(N),
            "group": [f"u{u}" if u % 10 else None for u in np.arange(N) // 4],
        }
    )
    file = tmp_path_factory.mktemp("logs") / "log.csv"
    frame.to_csv(file, index=False)
    return logs.load(file), frame


def test_random_split_keeps_users_and_near_duplicates_together(long):
    log, frame = long
    parts = logs.split(0, log)
    assert sorted(np.concatenate(parts)) == list(range(len(log)))
    assert ties.leakage(log, parts)[1:] == (0, 0, 0)
    assert ties.leakage(log, parts).near_duplicates == 30
    known = frame["group"].notna().to_numpy()
    assert len(set(log.group[known])) == frame["group"].nunique()
    assert len(set(log.group[~known])) == (~known).sum()  # without a group each stands alone
    assert not set(log.group[known]) & set(log.group[~known])


def test_split_by_time(long):
    log, _ = long
    parts = logs.split_time(log, (0.5, 0.2, 0.3))
    moments = [log.timestamp[part] for part in parts]
    for part in moments:
        assert (np.diff(part) > 0).all()
    assert moments[0].max() < 300 <= moments[1].min() <= moments[1].max() < 420 <= moments[2].min()
    assert len(parts[2]) == 180  # the future is kept whole
    assert ties.leakage(log, parts)[1:] == (0, 0, 0)
    for early, later in ((0, (1, 2)), (1, (2,))):  # and nothing else was left out
        left = set(np.flatnonzero((log.timestamp >= (0, 300)[early]) & (log.timestamp < (300, 420)[early])))
        left -= set(parts[early])
        users = {log.group[i] for p in later for i in np.flatnonzero(log.timestamp >= (300, 420)[p - 1])}
        texts = {log.prompt[i].strip("!").lower() for i in np.flatnonzero(log.timestamp >= (300, 420)[early])}
        assert all(log.group[i] in users or log.prompt[i].strip("!").lower() in texts for i in left)
    with pytest.raises(InputError, match="give parts of"):
        splits.split_time(log, np.zeros(len(log)), (0.5, 0.2, 0.3))
    with pytest.raises(InputError, match="needs a timestamp in every row"):
        logs.split_time(replace(log, timestamp=None))


def test_as_logs(long):
    log, frame = long
    some = log.rows(np.arange(50))
    record = logs.as_logs(some)
    assert record.features.shape == (50, 256)
    np.testing.assert_array_equal(record.action, [("a", "b").index(m) for m in frame["model"][:50]])
    np.testing.assert_array_equal(record.group, some.group)
