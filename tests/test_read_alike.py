"""A log that judges a router and was read otherwise than the router's own log: refused, or what differs is said."""

import json

import numpy as np
import pandas as pd
import pytest
import router_kinds
from commands import run

import jaxroute as jr
from jaxroute.serving.router import Router
from jaxroute.types import InputError

SMALL = {"outcome_models": ["mean"], "hidden": (4,), "steps": 20}
WEIGHTS = {"normalised_cost_weights": [0.0, 1.0]}
TURNS = [{"role": "user", "content": "What is a proof?"}, {"role": "assistant", "content": "A chain of steps."}]


def rows_of(count, seed=0, **changes):
    """Chats of two turns that ``a`` and ``b`` answered alike often."""
    rng = np.random.default_rng(seed)
    return [
        {"prompt": [*TURNS, {"role": "user", "content": f"And number {seed}-{i}?"}], "model": "ab"[i % 2],
         "quality": float(rng.random() < 0.4 + 0.3 * (i % 2)), "cost": 0.01 * (1 + i % 2), "propensity": 0.5}
        | changes
        for i in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def router():
    return jr.fit(jr.read_log(rows_of(80), chat="user"), "plug_in_mean", **SMALL)


def said(router, log, **options):
    """What each of the three ways to judge says of a log, without what it says of its rows."""
    other = {**WEIGHTS, **options}
    found = [jr.evaluate(router, log, **other), jr.compare(router, router, log, **other)]
    found.append(jr.rank([router, router], log, **other))
    return [list(one.left_out) for one in found]


def test_a_log_read_by_another_rule_for_chats_is_refused(router):
    """The router would see other texts, and its fingerprint would take the rows that it learned from for new ones."""
    assert said(router, rows_of(80, 1)) == [[], [], []]  # what is not read yet is read as the router needs it
    assert said(router, jr.read_log(rows_of(80, 1), chat="user")) == [[], [], []]
    for log in (jr.read_log(rows_of(80, 1)), jr.read_log(rows_of(80)), jr.read_log(rows_of(80, 1), chat="user:9")):
        for call in (
            lambda log=log: jr.evaluate(router, log),
            lambda log=log: jr.compare(router, router, log),
            lambda log=log: jr.rank([router, router], log),
        ):
            with pytest.raises(InputError, match=r"router decides by user: .* count as new; give chat='user' where"):
                call()
    known = jr.evaluate(router, rows_of(80), **WEIGHTS)
    assert known.left_out[0].startswith("No test on new data: the router learned from 80")


def test_a_rule_for_chats_says_nothing_of_plain_texts(router):
    plain = [row | {"prompt": f"Number 1-{i}?"} for i, row in enumerate(rows_of(80, 1))]
    assert said(router, jr.read_log(plain)) == [[], [], []]
    assert said(router, jr.read_log(plain, chat="all:40")) == [[], [], []]
    with pytest.raises(InputError, match="read with the rule all:9 for chats"):
        jr.evaluate(router, jr.read_log(plain, chat="all:9"))
    rest = [0.0] * (router.num_features - 2)  # as wide as texts are, so that nothing is compiled anew
    features = [{**row, "features": [float(i % 3), float(i % 5), *rest]} for i, row in enumerate(rows_of(80))]
    takes_features = jr.fit(jr.read_log(features, chat="user"), "plug_in_mean", **SMALL)
    new = [{**row, "features": [float(i % 4), float(i % 7) / 3, *rest]} for i, row in enumerate(rows_of(80, 1))]
    assert len(jr.evaluate(takes_features, jr.read_log(new), **WEIGHTS).to_frame()) == 2


def test_routers_of_different_rules_are_not_judged_on_chats_together(router, tmp_path, capsys):
    """Also where the log is read for them: the second one was fitted to all of its rows, which it did not know."""
    last = jr.fit(rows_of(80, 1), "plug_in_mean", **SMALL)
    for call in (
        lambda: jr.compare(router, last, rows_of(80, 1)),
        lambda: jr.rank([router, last], rows_of(80, 1)),
    ):
        with pytest.raises(InputError, match=r"different parts of a chat \(user, last\)"):
            call()
    router.save(tmp_path / "user")
    last.save(tmp_path / "last")
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(80, 1)))
    for asked in (
        ("compare", tmp_path / "user", tmp_path / "last", tmp_path / "log.jsonl"),
        ("explore", tmp_path / "log.jsonl", tmp_path / "user", "--candidate", tmp_path / "last"),
    ):
        code, _, err = run(capsys, *asked)
        assert code == 2
        assert "different parts of a chat (user, last)" in err
    code, _, err = run(capsys, "evaluate", tmp_path / "user", tmp_path / "log.jsonl", "--chat", "last")
    assert code == 2
    assert "give --chat user" in err


def test_qualities_read_on_another_scale_are_said(tmp_path, capsys):
    """An error flag, of which less is better, is read upside down without its scale."""
    rows = [row | {"prompt": f"p{i}", "quality": 1 - row["quality"]} for i, row in enumerate(rows_of(160))]
    for name, part in (("log", rows[:80]), ("later", rows[80:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    router = jr.fit(jr.read_log(str(tmp_path / "log.jsonl"), quality_range=(1, 0)), "plug_in_mean", **SMALL)
    router.save(tmp_path / "router")
    kept = Router.load(tmp_path / "router").summary["read_as"]
    assert kept == {"quality_range": "1,0", "failures": "drop", "score": ""}
    code, out, _ = run(capsys, "evaluate", tmp_path / "router", tmp_path / "later.jsonl")
    assert code in (0, 3)
    assert "on the scale 0,1 (worst, best), and the router learned from a log that was read on 1,0" in " ".join(
        out.split()
    )
    assert "--quality-range 1,0" in out
    as_fitted = "evaluate", tmp_path / "router", tmp_path / "later.jsonl", "--quality-range", "1,0"
    assert "scale" not in run(capsys, *as_fitted)[1]


def test_another_evaluation_and_other_failures_are_said(router):
    log = jr.read_log(rows_of(80, 1), chat="user")
    log.read_as["score"] = "toxicity"
    log.left_out["failed requests"] = {"a": 3, "b": 2}
    router.summary["read_as"] = {"quality_range": "0,1", "failures": "zero", "score": "correct"}
    try:
        lines = said(router, log)[0]
        router.summary["read_as"] = {}  # of an earlier release
        assert said(router, log)[0] == []
    finally:
        router.summary["read_as"] = {"quality_range": "0,1", "failures": "drop", "score": ""}
    assert lines[0] == "The quality of this log is its evaluation toxicity, and the router learned from correct."
    assert lines[1].startswith("5 failed requests of this log are left out; where the router learned, such requests")
    assert lines[1].endswith("were answers of quality 0. To judge it alike, give failures='zero'.")


@pytest.mark.parametrize("factor", [1000, 0.001])
def test_costs_in_another_unit_are_said(router, factor):
    """A cost weight is quality per unit of cost, so every value above cost weight 0 is of another preference."""
    rows = rows_of(80, 1)
    whose = ("the router expects", "all routers expect", "all routers expect")
    for lines, expects in zip(said(router, [row | {"cost": row["cost"] * factor} for row in rows]), whose, strict=True):
        (line,) = lines
        assert line.startswith(f"Costs of this log are far from those that {expects}, of every model alike")
    cheaper = [row | {"cost": row["cost"] / (100 if row["model"] == "b" else 1.5)} for row in rows]
    assert said(router, cheaper) == [[], [], []]  # new prices of one model
    assert said(router, [row | {"cost": 0.0} for row in rows]) == [[], [], []]


def test_costs_of_one_of_the_routers_in_another_unit_are_said(router):
    """A router that was fitted in cents takes a weight per dollar for one per cent: it would look frugal and bad."""
    cents = [row | {"cost": row["cost"] * 100} for row in rows_of(80)]
    other = jr.fit(jr.read_log(cents, chat="user"), "plug_in_mean", **SMALL)
    log = jr.read_log(rows_of(80, 1), chat="user")
    for found in (jr.compare(router, other, log, **WEIGHTS), jr.rank([router, other], log, **WEIGHTS)):
        (line,) = found.left_out
        assert line.startswith("Costs of this log are far from those that router 2 of 2 expects")
        assert line.endswith("give the log and all routers costs in one unit.")


@pytest.mark.parametrize("known", [True, False])
def test_a_router_that_predicts_no_costs_expects_those_of_its_last_layer(known):
    layer = router_kinds.last_layer()
    layer.weights[1] = 0.0
    layer.weights[1, :, 0] = router_kinds.PRICES
    scores = router_kinds.router("per_weight", last_layer=layer if known else None)
    rng = np.random.default_rng(0)
    rows = [
        {"features": rng.standard_normal(5).tolist(), "model": "abcd"[i % 4], "quality": i % 2, "cost": 100.0}
        for i in range(160)
    ]
    found = jr.evaluate(scores, pd.DataFrame(rows), normalised_cost_weights=[0.0])
    assert any("(a 1e+05, b 2.5e+04, c 1e+04, d 5e+03 times)" in line for line in found.left_out) == known
