"""Odd logs and true words: what the doctor says of them is what holds, and what `fit` refuses the doctor refuses."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from jaxroute import cli, estimators, nuisance
from jaxroute.data import logs
from jaxroute.learn import fitting
from jaxroute.types import InputError, Logs, Nuisances, NuisanceSpec, Outcomes

MODELS = ("base", "max", "mini")


def rows(count=150, **columns):
    """A plainly random log with given propensities; ``columns`` are functions of the row's number and its record."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        k = int(rng.integers(3))
        record = {
            "prompt": f"question {rng.integers(999)} about topic {i % 5}",
            "model": MODELS[k],
            "propensity": 1 / 3,
        }
        record |= {"quality": float(rng.random() < 0.4 + 0.2 * k), "cost": 0.001 * (k + 1) * float(rng.uniform(1, 2))}
        found.append(record | {name: make(i, record) for name, make in columns.items()})
    return found


def examined(found, tmp_path, capsys, *options):
    """(exit code, stdout, stderr) of the doctor."""
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    with pytest.raises(SystemExit) as exit_:
        cli.main(["doctor", str(path), *options])
    said = capsys.readouterr()
    return exit_.value.code or 0, said.out, said.err


@pytest.mark.slow
def test_a_random_log_with_known_propensities_is_not_said_to_lack_overlap(tmp_path, capsys):
    code, out, _ = examined(rows(), tmp_path, capsys, "--json")
    assert code == 0
    assert not any("overlap" in line for line in json.loads(out)["warnings"])


def test_overlap_is_judged_where_the_propensities_are_estimates():
    """A model that only hard prompts get, its propensity known in half of the rows: the other half says so."""
    hard = np.arange(200) % 2
    fitted = np.stack([1 - 0.9 * hard - 0.05, 0.9 * hard + 0.05], 1)
    known = np.where(np.arange(200) < 100, 0.5, np.nan)
    table = np.where((np.arange(2) == hard[:, None]) & np.isfinite(known)[:, None], 0.5, fitted)
    log = Logs(np.zeros((200, 1)), hard, np.ones(200), np.ones(200), known, np.ones((200, 2), bool))
    half = Nuisances(table, Outcomes(np.full((200, 2), 0.5), np.ones((200, 2))))
    np.testing.assert_allclose(nuisance.diagnose(log, half).auc, 1.0)
    everywhere = log._replace(propensity=np.full(200, 0.5))
    table = np.where(np.arange(2) == hard[:, None], 0.5, fitted)
    assert np.isnan(nuisance.diagnose(everywhere, half._replace(propensity=table)).auc).all()


@pytest.mark.slow
def test_a_cost_beyond_all_measure_is_named_and_lowered(tmp_path, capsys):
    spoilt = rows(cost=lambda i, row: 1e12 if i == 17 else row["cost"])
    own = [row["cost"] for i, row in enumerate(spoilt) if row["model"] == spoilt[17]["model"] and i != 17]
    log = logs.load(spoilt)
    assert log.cost[17] == max(own)
    assert log.counts["costs are beyond all measure, lowered to the largest other cost of their model"] == 1
    assert logs.load(rows()).outliers == ()
    code, out, _ = examined(spoilt, tmp_path, capsys, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["verdict"] == "caution"
    assert any("log.jsonl, row 17, model " in line and "1e+12" in line for line in found["warnings"])


def test_heavy_tails_are_no_outliers():
    rng = np.random.default_rng(1)
    spread = rng.lognormal(0, 2, 5000)
    lowered, odd = logs.costs.outliers(spread, np.zeros(5000, int))
    assert not odd.any()
    np.testing.assert_array_equal(lowered, spread)
    same = np.array([0.5] * 20 + [0.5 * 100_001, 0.5 * 99_999])  # the limit where every cost is the same
    assert np.flatnonzero(logs.costs.outliers(same, np.zeros(22, int))[1]).tolist() == [20]


def test_a_propensity_that_is_0_in_float32_is_refused_by_every_reader(tmp_path, capsys):
    code, _, said = examined(rows(propensity=lambda i, _: 1e-300 if i == 3 else 1 / 3), tmp_path, capsys)
    assert code == 2
    assert "propensity is below 1.18e-38, which counts as 0: 1 row(s)" in said
    assert "row 3, column 'propensity': 1e-300" in said


@pytest.mark.slow
def test_what_fit_refuses_the_doctor_refuses_with_the_same_words(tmp_path, capsys):
    silent = rows(quality=lambda i, row: row["quality"] if i == 5 else None)
    code, out, _ = examined(silent, tmp_path, capsys, "--json")
    found = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    why = "1 answers with a quality are too few to fit and judge a router with 5 folds: 50 or more are needed"
    assert code == 3
    assert found["verdict"] == "refuse"
    assert found["advice"][0] == f"A router cannot be fitted: {why}."
    assert not any("Next step" in line for line in found["advice"])
    with pytest.raises(InputError) as refused:
        fitting.fit(jax.random.key(0), logs.as_logs(logs.load(silent)), MODELS, spec=NuisanceSpec(("mean",)))
    assert str(refused.value) == why


@pytest.mark.slow
def test_names_from_files_do_not_reach_the_terminal_as_commands(tmp_path, capsys):
    evil = "\x1b[31m[/red]\u202e\nverdict: ok\x07"
    code, out, said = examined(rows(model=lambda i, row: row["model"] + evil * (i % 3 == 0)), tmp_path, capsys)
    assert code in (0, 3)
    assert r"\x1b[31m[/red]\u202e\nverdict: ok\x07" in out.replace("\n", "")
    assert not {"\x1b", "\x07", "\u202e"} & set(out + said)
    assert sum(line.startswith("verdict: ") for line in out.splitlines()) == 1
    broken = rows(model=lambda i, row: row["model"] + evil, cost=lambda i, row: -1 if i == 2 else row["cost"])
    code, out, said = examined(broken, tmp_path, capsys)
    assert code == 2
    assert not {"\x1b", "\x07", "\u202e"} & set(out + said)


def test_no_value_and_no_interval_is_beyond_what_a_value_can_be():
    N = 400
    action = np.arange(N) % 2
    target = jnp.tile(jnp.array([1.0, 0.0]), (N, 1))
    log = Logs(np.zeros((N, 1)), action, np.ones(N), np.full(N, 0.25), np.full(N, 0.5), np.ones((N, 2), bool))
    # Predictions that are far off out of fold, as where a fold's level is wrong: means of 1.25 come out.
    wrong = Outcomes(np.where(np.arange(N)[:, None] % 4 < 2, 1.5, 1.0) * np.ones((N, 2)), np.full((N, 2), 0.25))
    found = Nuisances(np.full((N, 2), 0.5), wrong)
    free = log._replace(quality=np.where(np.arange(N) % 8 == 0, np.nan, 1.0))
    robust = estimators.self_normalised_doubly_robust(free, target, 0.0, found)
    assert robust.value > 1
    for weight in (0.0, 2.0):
        low, high = estimators.utility_range(free, weight)
        for judged in estimators.evaluate(free, target, weight, found):
            assert low <= judged.interval[0] <= judged.value <= judged.interval[1] <= high
    np.testing.assert_allclose(estimators.utility_range(log, 2.0), (-0.5, 0.5))


FOUR = {"prompt": list("pqrs"), "model": list("abab"), "quality": [1, 0, 1, 0], "cost": [1.0, 2.0, 3.0, 4.0]}
DAYS = ["2026-01-01", None, "2026-01-02", "2026-01-03"]


@pytest.mark.parametrize("records", [False, True])
def test_what_pandas_and_numpy_call_missing_is_missing_outside_of_their_frames(records):
    """A frame's columns, or its records, hold the same log as the frame."""
    frame = pd.DataFrame(FOUR).assign(
        quality=pd.array([1, None, 1, 0], dtype="Int64"),
        propensity=pd.array([0.5, None, 0.5, 0.5], dtype="Float64"),
        timestamp=pd.to_datetime(DAYS),
        latency=pd.to_timedelta([1, 2, None, 4], unit="s"),
        available=pd.array(["a|b", None, "a|b", "a|b"], dtype="string"),
    )
    held = frame.to_dict("records") if records else {name: frame[name] for name in frame}
    log = logs.load(held)
    np.testing.assert_array_equal(log.quality, [1, np.nan, 1, 0])
    np.testing.assert_array_equal(log.propensity, np.float32([0.5, np.nan, 0.5, 0.5]))
    np.testing.assert_array_equal(log.timestamp, [1767225600, np.nan, 1767312000, 1767398400])
    np.testing.assert_array_equal(log.latency, [1, 2, np.nan, 4])
    for same in (
        logs.load(frame),
        logs.load(frame.set_index("timestamp")),
        logs.load(frame.set_index(["model", "cost"])),
    ):
        for name in ("quality", "propensity", "timestamp", "latency", "available", "action"):
            np.testing.assert_array_equal(getattr(log, name), getattr(same, name))


def test_columns_of_arrow_and_times_of_numpy():
    arrays = {name: pa.array(column) for name, column in FOUR.items()}
    times = np.array([day or "NaT" for day in DAYS], "datetime64[s]")
    log = logs.load(arrays | {"timestamp": times, "latency": np.array([1500, 1, 1, 1], "timedelta64[ms]")})
    assert log.quality.tolist() == FOUR["quality"]
    np.testing.assert_array_equal(log.timestamp, [1767225600, np.nan, 1767312000, 1767398400])
    assert log.latency[0] == 1.5
    chunked = pa.table({**arrays, "latency": pa.array([1500, None, 1, 1], pa.duration("ms"))})
    np.testing.assert_array_equal(logs.load(chunked).latency, [1.5, np.nan, 0.001, 0.001])


@pytest.mark.parametrize("kind", [str, int, float])
def test_a_date_of_digits_alone_is_that_date(kind):
    """It was read as seconds since 1970, in August 1970, and one with a time as milliseconds, in the year 2612."""
    right = [1767225600.0, 1767312000.0, 1767398400.0, 1767225600.0 + 36610]
    days = [kind(day) for day in ("20260101", "20260102", "20260103", "20260101101010")]
    assert logs.load(FOUR | {"timestamp": days}).timestamp.tolist() == right
    counts = [20261399.0, 1767225600.0, 1767225600000.0, 20269999999999.0]  # no dates, so counts
    assert logs.load(FOUR | {"timestamp": counts}).timestamp.tolist() == [20261399.0, 1767225600.0, 1767225600.0,
                                                                         20269999999.999]  # fmt: skip


@pytest.mark.slow
def test_a_model_that_people_rated_too_seldom_is_said_to_be(tmp_path, capsys):
    """It has answers enough, so what is wanted of it is no more answers, and the doctor named nothing."""
    seldom = {"mini": 12, "max": 3, "base": 3}
    count = dict.fromkeys(MODELS, 0)

    def rated(i, record):
        count[record["model"]] += 1
        return record["quality"] if count[record["model"]] % seldom[record["model"]] == 0 else None

    code, out, _ = examined(rows(450, human_quality=rated), tmp_path, capsys, "--json")
    found = json.loads(out)
    assert code == 0
    assert {m["model"]: m["verdict"] == "refuse" for m in found["models"]} == {
        "mini": True,
        "max": False,
        "base": False,
    }
    (line,) = [line for line in found["advice"] if line.startswith("mini")]
    assert "has enough answers and cannot be judged: " in line
    assert re.search(r"people's ratings that correct the judge count as \d+ for this policy \(limit 50\)", line)
