"""Rows that a planned comparison needs, and the simulation that looks at the promise."""

import json

import numpy as np
import pytest
from commands import run

from jaxroute.estimators import planning
from jaxroute.types import InputError

PLAN = {"differ": 0.4, "new": 0.2, "old": 0.7, "error": 0.4}


def test_the_deviation_is_that_of_simulated_rows():
    draws = np.random.default_rng(0)
    n = 400_000
    differs, drawn = draws.random(n) < 0.4, draws.random(n)
    weight = np.select([drawn < 0.2, drawn < 0.9], [1 / 0.2, -1 / 0.7], 0.0)
    rows = np.where(differs, weight * 0.4 * np.where(draws.random(n) < 0.5, 1, -1), 0.0)
    assert rows.std() == pytest.approx(planning.split_deviation(**PLAN), rel=0.01)
    gaining = rows + np.where(differs, 0.2 / 0.4, 0.0)  # 0.2 in the mean, all of it where the routers differ
    assert gaining.std() == pytest.approx(planning.split_deviation(**PLAN, gain=0.2), rel=0.01)


@pytest.mark.parametrize(("looks", "least", "most"), [("once", 0.75, 0.85), ("always", 0.8, 0.95)])
def test_the_power_is_what_was_planned(looks, least, most):
    gain = 0.08
    rows = planning.rows_needed(gain, planning.split_deviation(**PLAN, gain=gain), looks=looks)
    power = planning.simulated_power(np.random.default_rng(0), gain, int(rows), **PLAN, looks=looks, draws=500)
    assert least < power < most
    wrong = planning.simulated_power(np.random.default_rng(1), 0.0, int(rows), **PLAN, looks=looks, draws=500)
    assert wrong < 0.05


def test_the_command_says_rows_and_days_and_refuses_what_cannot_be(capsys):
    code, out, _ = run(capsys, "sample-size", "--gain", "0.1", "--per-day", "500", "--feedback", "0.5", "--json")
    assert code == 0
    found = json.loads(out)
    (row,) = found["by_gain"]
    split = {name: found[name] for name in PLAN}
    assert found["deviation"] == planning.split_deviation(**split, gain=0.1)
    assert row["rows_once"] == planning.rows_needed(0.1, found["deviation"])
    assert row["rows_always"] == planning.rows_needed(0.1, found["deviation"], looks="always")
    assert row["days_once"] == row["rows_once"] / 250
    assert row["rows_always"] > row["rows_once"]
    for arguments, said in (
        (("--gain", "0.4"), "cannot gain more"),
        (("--new", "0.6", "--old", "0.5"), "more than 1 together"),
        (("--feedback", "0"), "--feedback is 0"),
        (("--per-day", "inf"), "--per-day is inf; it must be above 0 and finite"),
        (("--differ", "2"), "--differ is 2.0; it must be above 0 and at most 1"),
        (("--error", "inf"), "--error is inf; it must be at least 0 and finite"),
        (("--level", "nan"), "--level is nan; it must be between 0 and 1"),
        (("--gain", "nan"), "--gain is nan; it must be finite"),
        (("--gain", "-0.1"), "--gain is -0.1; it must be above 0"),
        (("--seed", "-1"), "Invalid value for '--seed'"),
    ):
        code, _, error = run(capsys, "sample-size", *arguments)
        assert code == 2
        assert said in error
    with pytest.raises(InputError, match="differ is 0"):
        planning.split_deviation(0, 0.5, 0.5, 0.4)


@pytest.mark.parametrize(("differ", "gain", "error"), [(0.05, 0.05, 0.2), (0.1, 0.06, 0.1)])
def test_a_gain_that_is_large_where_the_routers_differ_has_its_own_spread(capsys, differ, gain, error):
    """The planned rows prove it as often as asked: by rows of a doubly robust difference drawn here."""
    split = {"differ": differ, "new": 0.5, "old": 0.5, "error": error}
    given = [f"--{name}={value}" for name, value in {**split, "gain": gain}.items()]
    code, out, _ = run(capsys, "sample-size", *given, "--json")
    assert code == 0
    (row,) = json.loads(out)["by_gain"]
    draws, shape = np.random.default_rng(0), (2000, row["rows_once"])
    parts = draws.random(shape) < differ
    wrong = draws.choice([-error, error], shape) * np.where(draws.random(shape) < 0.5, 2, -2)
    values = np.where(parts, gain / differ + wrong, 0.0)
    half = 1.96 * values.std(1, ddof=1) / np.sqrt(shape[1])
    assert row["deviation"] == pytest.approx(values.std(), rel=0.02)
    assert (values.mean(1) > half).mean() > 0.75


def test_looking_always_takes_the_rows_that_the_sequence_asks_for(capsys):
    """Before 100 rows the confidence sequence says nothing, so fewer cannot be promised."""
    given = ("--gain", "0.8", "--differ", "1", "--new", "0.5", "--old", "0.5")
    (row,) = json.loads(run(capsys, "sample-size", *given, "--json")[1])["by_gain"]
    assert (row["rows_once"], row["rows_always"]) == (30, 100)
    assert row["simulated_power_always"] > 0.9


def test_a_gain_beyond_proof_is_said(capsys):
    code, out, _ = run(capsys, "sample-size", "--gain", "1e-9")
    assert code == 0
    assert "takes more than 1,000,000,000,000 rated requests" in " ".join(out.split())
