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


@pytest.mark.parametrize(("looks", "least", "most"), [("once", 0.75, 0.85), ("always", 0.8, 0.95)])
def test_the_power_is_what_was_planned(looks, least, most):
    gain = 0.08
    rows = planning.rows_needed(gain, planning.split_deviation(**PLAN), looks=looks)
    power = planning.simulated_power(np.random.default_rng(0), gain, int(rows), **PLAN, looks=looks, draws=500)
    assert least < power < most
    wrong = planning.simulated_power(np.random.default_rng(1), 0.0, int(rows), **PLAN, looks=looks, draws=500)
    assert wrong < 0.05


def test_the_command_says_rows_and_days_and_refuses_what_cannot_be(capsys):
    code, out, _ = run(capsys, "sample-size", "--gain", "0.1", "--per-day", "500", "--feedback", "0.5", "--json")
    assert code == 0
    found = json.loads(out)
    (row,) = found["by_gain"]
    assert row["rows_once"] == planning.rows_needed(0.1, found["deviation"])
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
        (("--seed", "-1"), "Invalid value for '--seed'"),
    ):
        code, _, error = run(capsys, "sample-size", *arguments)
        assert code == 2
        assert said in error
    with pytest.raises(InputError, match="differ is 0"):
        planning.split_deviation(0, 0.5, 0.5, 0.4)
