"""New prices for a fitted router: costs are tokens times price, and nothing is fitted again."""

import json

import numpy as np
import pytest
import router_kinds
from commands import run

from jaxroute.data import logs as people
from jaxroute.data import prices
from jaxroute.data.prices import Price
from jaxroute.serving import repricing
from jaxroute.serving.router import Router
from jaxroute.types import InputError

OLD = {"a": Price(1.0, 4.0), "b": Price(2.0, 8.0), "c": Price(5.0, 15.0), "d": Price(10.0, 30.0)}
TOKENS = {"a": (300.0, 100.0), "b": (300.0, 200.0), "c": (320.0, 150.0), "d": (280.0, 400.0)}
USAGE = {
    name: {"rows": 50, "cost": (t[0] * OLD[name].input + t[1] * OLD[name].output) / 1e6,
           "input_tokens": t[0], "output_tokens": t[1]}
    for name, t in TOKENS.items()
}  # fmt: skip


def router(name="plug_in"):
    return router_kinds.router(name, summary={"usage": USAGE, "conclusion": ["At the old prices."]})


@pytest.mark.parametrize("name", ["plug_in", "affine"])
def test_half_the_prices_are_half_the_costs_and_nothing_else(name):
    before = router(name)
    half = {model: Price(price.input / 2, price.output / 2) for model, price in OLD.items()}
    after = repricing.repriced(before, half)
    np.testing.assert_allclose(list(after.summary["repriced"].values()), 0.5, rtol=1e-6)
    old, new = (one.route(router_kinds.FEATURES, cost_weight=w) for one, w in ((before, 50.0), (after, 100.0)))
    np.testing.assert_allclose(new.cost, old.cost / 2, rtol=1e-5)
    np.testing.assert_allclose(new.quality, old.quality, rtol=1e-6)
    np.testing.assert_allclose(new.scores, old.scores, rtol=1e-4, atol=1e-6)
    budget = float(before.curve.cost.mean())
    asked = ((before, budget), (after, budget / 2))
    (cheap, share), *_ = (one.weights(budget=b)[0] for one, b in asked)
    np.testing.assert_allclose(after.weights(budget=budget / 2)[0], (2 * cheap, share), rtol=1e-5)
    assert sum(part for _, part in after.weights(budget=budget / 2)) == pytest.approx(1)
    assert "conclusion" not in after.summary


@pytest.mark.parametrize("name", ["plug_in", "affine"])
def test_new_prices_and_the_old_ones_again_are_the_first_router(name):
    before = router(name)
    other = {model: Price(price.input / 2**k, price.output / 2**k) for k, (model, price) in enumerate(OLD.items(), 1)}
    back = repricing.repriced(repricing.repriced(before, other), OLD)
    np.testing.assert_allclose(list(back.summary["repriced"].values()), [2, 4, 8, 16], rtol=1e-6)
    for model, used in back.summary["usage"].items():
        assert used == pytest.approx(USAGE[model])
    old, new = (one.route(router_kinds.FEATURES, cost_weight=50.0) for one in (before, back))
    np.testing.assert_allclose(new.cost, old.cost, rtol=1e-5)
    np.testing.assert_allclose(new.scores, old.scores, rtol=1e-4, atol=1e-6)


def test_one_new_price_changes_one_cost_by_its_bill(tmp_path):
    before = router()
    after = repricing.repriced(before, {"provider/C-2026-11-01": Price(5.0, 1.0), "c": Price(1.0, 2.0)})
    after.save(tmp_path / "router")
    after = Router.load(tmp_path / "router")
    ratio = (320 * 1.0 + 150 * 2.0) / (320 * 5.0 + 150 * 15.0)
    old, new = (one.route(router_kinds.FEATURES, cost_weight=50.0).cost for one in (before, after))
    np.testing.assert_allclose(new, old * [1, 1, ratio, 1], rtol=1e-5)
    assert after.curve is None
    with pytest.raises(InputError, match="no curve"):
        after.weights(budget=0.01)


@pytest.mark.parametrize(
    ("name", "summary", "table", "says"),
    [
        ("per_weight", {"usage": USAGE}, OLD, "predicts no cost"),
        ("plug_in", {}, OLD, "no token counts"),
        ("plug_in", {"usage": USAGE}, {"z": Price(1.0, 1.0)}, "none of the router's models"),
        ("plug_in", {"usage": {"a": USAGE["a"]}}, OLD, "b: the router's log had no tokens"),
        ("plug_in", {"usage": USAGE}, {"a": Price(0.0, 0.0)}, "a: its new price is 0"),
    ],
)
def test_what_cannot_be_priced_anew_is_one_line(name, summary, table, says):
    with pytest.raises(InputError, match=says):
        repricing.repriced(router_kinds.router(name, summary=summary), table)


def test_a_log_keeps_the_mean_tokens_of_every_model():
    rows = [
        {"prompt": f"{i}", "model": "ab"[i % 2], "quality": 1, "cost": 0.1 * (1 + i % 2), "input_tokens": 100 + i}
        | ({"output_tokens": 10, "cached_tokens": 50} if i < 4 else {})
        for i in range(8)
    ]
    usage = people.load(rows).usage
    assert usage["a"] == {"rows": 2, "cost": 0.1, "input_tokens": 101.0, "output_tokens": 10.0, "cached_tokens": 50.0}
    np.testing.assert_allclose([usage["b"]["cost"], usage["b"]["input_tokens"]], [0.2, 102.0])
    assert people.load([{k: v for k, v in row.items() if "tokens" not in k} for row in rows]).usage == {}


@pytest.mark.parametrize(
    "tokens",
    [
        {"input_tokens": 3000, "output_tokens": 200},
        {
            "input_tokens": 10,
            "output_tokens": 200,
            "cached_tokens": 1000,
            "cache_write_tokens": 200,
        },  # beside the input
        {"input_tokens": 300, "output_tokens": 200, "total_tokens": 4000},  # the rest was output
        {"input_tokens": 300, "output_tokens": 200, "reasoning_tokens": 5000},  # more than there was output
    ],
)
def test_the_old_prices_over_again_change_no_cost(tokens):
    """Half of the rows count their tokens in another way than the others: the means are those of what was billed."""
    price = Price(3.0, 15.0, cached_input=0.3, cache_write=3.75, reasoning=20.0)
    plain = {"input_tokens": 2000, "output_tokens": 100}
    rows = [
        {"prompt": f"{i}", "model": "ab"[i % 2], "quality": 1, "weight": 1 + i % 3, **(tokens if i % 4 < 2 else plain)}
        for i in range(40)
    ]
    usage = people.load(rows, prices={"a": price, "b": price}).usage
    before = router_kinds.router("plug_in", summary={"usage": usage})
    np.testing.assert_allclose(list(repricing.ratios(before, {"a": price, "b": price}).values()), 1, rtol=1e-9)


def test_a_cost_beyond_all_measure_makes_no_model_free_at_new_prices():
    rows = [
        {
            "prompt": f"{i}",
            "model": "ab"[i % 2],
            "quality": 1,
            "cost": 0.002,
            "input_tokens": 1000,
            "output_tokens": 500,
        }
        for i in range(40)
    ]
    rows[6]["cost"] = 1e6
    usage = people.load(rows).usage
    assert usage["a"]["cost"] == pytest.approx(0.002)


def test_failed_requests_that_cost_nothing_are_no_tokens_to_price():
    rows = [
        {"prompt": f"{i}", "model": "ab"[i % 2], "quality": 1, "input_tokens": 1000, "output_tokens": 100}
        | ({"cost": 0, "status": "failed"} if i < 10 else {"cost": 0.0006})
        for i in range(40)
    ]
    usage = people.load(rows, form="gateway", failures="zero").usage
    assert usage["a"]["rows"] == 20
    assert usage["a"]["input_tokens"] / usage["a"]["cost"] == pytest.approx(1000 / 0.0006)


def test_prices_are_looked_up_by_the_names_that_people_use(capsys, tmp_path):
    code, out, _ = run(capsys, "prices", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "openai/GPT-4o", "--json")
    assert code == 0
    assert [one["priced_as"] for one in json.loads(out)["prices"]] == ["claude-sonnet-4-5", "gpt-4o"]
    code, _, err = run(capsys, "prices", "gpt4o")
    assert (code, "close: gpt-4o" in err) == (2, True)
    own = tmp_path / "own.csv"
    own.write_text("model,input,output\nhouse-model,1,2\n")
    code, out, _ = run(capsys, "prices", "--prices", own)
    assert "house-model" in out
    assert prices.named({"x-v1": Price(1, 2)}, "x-v2") is None
    assert prices.named({"A.1": Price(1, 2), "a-1": Price(1, 3)}, "a_1") is None  # two prices: whose is not known


def test_reprice_writes_a_router_at_the_new_prices(capsys, tmp_path):
    router().save(tmp_path / "router")
    (tmp_path / "new.csv").write_text("model,input,output\nd,5,15\n")
    code, out, _ = run(
        capsys, "reprice", tmp_path / "router", "--prices", tmp_path / "new.csv", "--out", tmp_path / "r"
    )
    assert code == 0
    assert "their costs stay: a, b, c" in " ".join(out.split())
    assert "if in another, fit again" in " ".join(out.split())  # this log named no currency
    assert Router.load(tmp_path / "r").summary["repriced"] == {"d": 0.5}
