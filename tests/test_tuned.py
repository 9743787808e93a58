"""Tuning on logs alone: what is searched, and the choice against loops over plain arrays; a smoke run."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import methods, sweep
from experiments.side import tuned
from experiments.study import design
from experiments.sweep import NUMBERS
from jaxroute.types import InputError

SEEDS, WEIGHTS, SETTINGS = 5, (0.0, 0.5, 2.0), ("own", "b", "a", "c")


def frame(value, regret):
    """A sweep's results of two losses; arrays [2, S, L, T] in the order of LOSSES, seeds, WEIGHTS and SETTINGS."""
    rows = []
    for (m, s, l, t), found in np.ndenumerate(value):
        row = {"method": tuned.LOSSES[m], "seed": s, "cost_weight": WEIGHTS[l], "hyperparameters": SETTINGS[t]}
        rows.append({**row, "split": "validation", "metric": "utility", "value": found})
        rows.append({**row, "split": "validation", "metric": "dropped_at", "value": -1.0})
        rows.append({**row, "split": "test", "metric": "utility", "value": 9.0 - regret[m, s, l, t]})
        rows.append({**row, "split": "test", "metric": "regret", "value": regret[m, s, l, t]})
    return pd.DataFrame(rows)


def random(seed):
    return np.random.default_rng(seed).random((2, SEEDS, len(WEIGHTS), len(SETTINGS)))


def test_what_is_searched_begins_with_the_default_and_sees_no_full_feedback():
    centre = design.centre(design.TABLES[2], Path("data"))
    config = tuned.searched(centre, 12)
    assert methods.full_learners(config) == ()
    untouched = ("data", "tasks", "seeds", "log_size", "cost_weights", "nuisance", "training", "logger", "fractions")
    assert all(getattr(config, name) == getattr(centre, name) for name in untouched)
    points = sweep.settings_of(config)
    assert np.shape(points.seed) == (10, 6 * 12)
    numbers = np.stack([np.reshape(getattr(points, name), (10, 6, 12)) for name in NUMBERS], -1)
    np.testing.assert_array_equal(numbers, np.broadcast_to(numbers[0, 0], numbers.shape))  # the same everywhere
    np.testing.assert_allclose(numbers[0, 0, 0], [2e-3, 1.0, 1.0, 0.1, 0.1, 128], rtol=1e-6)
    assert (numbers[..., -1] == 128).all()
    assert len(np.unique(numbers[0, 0], axis=0)) == 12
    alone = dataclasses.replace(config, axes=dataclasses.replace(config.axes, own=False))
    drawn = np.reshape(sweep.settings_of(alone).clip, (10, 6, 11))
    np.testing.assert_array_equal(numbers[:, :, 1:, 4], drawn)


def test_the_choice_is_that_of_loops_over_plain_arrays():
    value, regret = random(0), random(1)
    found = tuned.choices(frame(value, regret))
    hindsight = {m: min(range(4), key=lambda t: regret[m, :, :, t].mean()) for m in range(2)}
    for m in range(2):
        for s in range(SEEDS):
            row = found.loc[tuned.LOSSES[m], s]
            best = max(range(4), key=lambda t: sum(value[m, s, :, t]))
            each = [regret[m, s, l, max(range(4), key=lambda t: value[m, s, l, t])] for l in range(3)]
            np.testing.assert_allclose(row[tuned.OWN], 100 * regret[m, s, :, 0].mean())
            np.testing.assert_allclose(row[tuned.TUNED], 100 * regret[m, s, :, best].mean())
            np.testing.assert_allclose(row[tuned.PER_WEIGHT], 100 * sum(each) / 3)
            np.testing.assert_allclose(row[tuned.HINDSIGHT], 100 * regret[m, s, :, hindsight[m]].mean())
            assert row["kept"] == (best == 0)
    assert found["kept"].nunique() == 2


def test_test_values_have_no_influence_on_the_choice():
    """Where test regret is the setting's number, it tells which was chosen: the same whatever the test values are."""
    value = random(2)
    number = np.broadcast_to(np.arange(4.0), value.shape)
    before, after = tuned.choices(frame(value, number)), tuned.choices(frame(value, (number + 1) % 4))
    best = value.mean(2).argmax(-1).ravel()
    each = value.argmax(-1)
    np.testing.assert_allclose(before[tuned.TUNED], 100 * best)
    np.testing.assert_allclose(after[tuned.TUNED], 100 * ((best + 1) % 4))
    np.testing.assert_allclose(before[tuned.PER_WEIGHT], 100 * each.mean(-1).ravel())
    np.testing.assert_allclose(after[tuned.PER_WEIGHT], 100 * ((each + 1) % 4).mean(-1).ravel())
    np.testing.assert_array_equal(before["kept"], after["kept"])
    np.testing.assert_array_equal(before["kept"], best == 0)
    np.testing.assert_allclose(before[tuned.HINDSIGHT], 0)  # this one does read them
    np.testing.assert_allclose(after[tuned.HINDSIGHT], 0)


def test_ties_keep_the_default():
    even = np.zeros((2, SEEDS, 3, 4))
    found = tuned.choices(frame(even, random(3)))
    assert found["kept"].all()
    np.testing.assert_allclose(found[tuned.PER_WEIGHT], found[tuned.OWN])


def test_the_summary_is_paired_by_seed():
    found = pd.DataFrame(
        {
            "dataset": "x",
            "method": "rm_softmax",
            "seed": [0, 1],
            tuned.OWN: [10.0, 20.0],
            tuned.TUNED: [11.0, 23.0],
            tuned.PER_WEIGHT: [10.0, 20.0],
            tuned.HINDSIGHT: [9.0, 19.0],
            "kept": [False, True],
            "plug_in_stack": [8.0, 22.0],
        }
    )
    (line,) = tuned.summary(found).to_dict("records")
    assert line["default"] == "15.00"
    assert line["tuned"] == "17.00"
    assert line["tuned less default"] == f"+2.00 ± {12.7062 * np.sqrt(2) / np.sqrt(2):.2f}"
    assert line["best in hindsight less default"] == "-1.00 ± 0.00"
    assert line["tuned less plug_in_stack"] == f"+2.00 ± {12.7062:.2f}"
    assert "tuned less recommended" not in line
    assert line["seeds that chose the default"] == "1 of 2"


def test_the_study_gives_its_own_centre():
    found = tuned.of_study("bbh")
    assert list(found.index) == list(range(10))
    assert list(found.columns) == list(tuned.RIVALS)
    assert found.stack().between(1, 99).all()
    assert tuned.of_study("no table").empty


@pytest.mark.study
def test_the_smoke_run_trains_every_setting_once(tmp_path, capsys, monkeypatch):
    assert tuned.main(["--smoke", "--out", str(tmp_path)]) == 0
    found = pd.read_parquet(tmp_path / "tuned" / "tuned.parquet")
    assert sorted(zip(found["method"], found["seed"], strict=True)) == [(m, s) for m in tuned.LOSSES for s in (0, 1)]
    assert found[[tuned.OWN, tuned.TUNED, tuned.PER_WEIGHT, tuned.HINDSIGHT]].stack().between(0, 100).all()
    table = capsys.readouterr().out.split("| table |")[1]
    (path,) = tmp_path.glob("tuned-smoke/*/results.parquet")
    dropped = pd.read_parquet(path).query("metric == 'dropped_at'")
    assert len(dropped) == 3 * 2 * 3 * 4
    assert (dropped["value"] == -1).all()
    monkeypatch.setattr(sweep, "run", None)  # what is finished is read
    assert tuned.main(["--smoke", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split("| table |")[1] == table


@pytest.mark.parametrize(
    ("error", "code", "said"), [(InputError("no disk"), 2, "error: no disk"), (KeyboardInterrupt(), 130, "stopped;")]
)
def test_what_stops_it_is_said(error, code, said, tmp_path, capsys, monkeypatch):
    def stopped(*_):
        raise error

    monkeypatch.setattr(sweep, "run", stopped)
    assert tuned.main(["--smoke", "--out", str(tmp_path)]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "tuned").exists()
