"""What the fields of a log mean: prices, scales, candidate sets, features, times, and ratings that came later."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from log_rows import GOOD, lines

from jaxroute import estimators
from jaxroute.data import logs, prices, records, simulate, synthetic
from jaxroute.types import InputError


def test_tokens_prices_and_names(tmp_path):
    file = tmp_path / "log.jsonl"
    rows = [{"q": "x", "model": m, "quality": 1, "input_tokens": 1000, "output_tokens": 500} for m in "ab"]
    file.write_text("\n".join(map(json.dumps, rows)))
    log = logs.load(file, columns={"prompt": "q"}, prices={"a": (1, 2), "b": prices.Price(10, 20, "", "")})
    np.testing.assert_allclose(log.cost, [0.002, 0.02])
    (tmp_path / "prices.csv").write_text("model,input,output\na,1,2\nb,10,20\n")
    np.testing.assert_allclose(logs.load(file, columns={"prompt": "q"}, prices=tmp_path / "prices.csv").cost, log.cost)
    named = {"prompt": "q", "model": "name"}
    known = [{**row, "name": name} for row, name in zip(rows, ("gpt-4o", "gpt-4o-mini"), strict=True)]
    np.testing.assert_allclose(logs.load(known, columns=named, prices="default").cost, [0.0075, 0.00045])
    with pytest.raises(InputError, match=r"model is not in the price table: 1 row.*\n.*row 1, column 'model': 'b'"):
        logs.load(file, columns={"prompt": "q"}, prices={"a": (1, 2)})


def test_costs_are_called_dollars_where_that_is_known():
    tokens = {"prompt": "x", "quality": 1, "input_tokens": 1000, "output_tokens": 500}
    priced = [{"model": model, **tokens} for model in "ab"]
    listed = {"a": (1, 2), "b": (3, 4)}
    assert logs.load(priced, prices=listed).currency == "USD"
    mixed = [{**row, "cost": cost} for row, cost in zip(priced, (None, 7.0), strict=True)]
    assert logs.load(mixed, prices=listed).currency == ""  # nobody says what the 7.0 are
    assert logs.load(mixed, prices=listed, reprice=True).currency == "USD"
    own = [{**row, "cost_usd": 1.0} for row in priced]
    assert logs.load(own, columns={"cost": "cost_usd"}).currency == "USD"
    spend = {"spend": 0.1, "prompt_tokens": 9, "completion_tokens": 9, "startTime": "2026-11-01T00:00:00Z"}
    rows = [{"request_id": m, "model": m, "messages": [{"role": "user", "content": "x"}], **spend} for m in "ab"]
    assert logs.load(rows, drop_bad=True).currency == "USD"


def test_a_currency_beside_the_dollars_of_prices_or_of_a_tool_is_refused(tmp_path):
    """Costs that are filled in from prices are US dollars, and so are those that LiteLLM records."""
    rows = [{"prompt": f"p{i}", "model": "ab"[i % 2], "quality": i % 2, "cost": 0.5, "currency": "EUR",
             "input_tokens": 100, "output_tokens": 50} for i in range(8)]  # fmt: skip
    unknown = [row | ({"cost": None} if i < 2 else {}) for i, row in enumerate(rows)]
    listed = {"a": (1, 2), "b": (1, 2)}
    with pytest.raises(
        InputError, match=r"another currency than most: 2 row\(s\) \(a 1, b 1\); .*US dollars.* of prices"
    ):
        logs.load(unknown, prices=listed)
    assert logs.load(unknown, prices=listed, reprice=True).currency == "USD"
    assert logs.load([row | {"currency": "$"} for row in unknown], prices=listed).currency == "USD"
    assert logs.load([row | {"currency": "usd"} for row in rows]).currency == "USD"
    assert logs.load(rows).currency == ""
    spent = {"call_type": "acompletion", "spend": 0.01, "startTime": "2026-01-01T00:00:00Z", "quality": 1}
    spends = [spent | {"request_id": f"r{i}", "model_group": "ab"[i % 2], "messages": f"q{i}"} for i in range(3)]
    for name, content in (("a", rows), ("b", spends)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, content)))
    with pytest.raises(InputError, match=r"another currency than most: 3 row\(s\)"):
        logs.load(tmp_path)
    plain = [{name: cell for name, cell in row.items() if name != "currency"} for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, plain)))  # nobody says what these are in
    assert logs.load(tmp_path).currency == ""


def test_costs_in_several_currencies_are_refused():
    said = ["EUR", "USD", " eur", "€", None, "$", 7, {"a": 1}]
    rows = [{"prompt": f"p{i}", "model": "ab"[i % 2], "quality": 1, "cost": i} for i in range(8)]
    mixed = [{**row, "currency": currency} for row, currency in zip(rows, said, strict=True)]
    message = r"cost is in another currency than most: 2 row\(s\) \(b 2\); .*convert.*\n.*row 1, .*: 1\n.*row 5"
    with pytest.raises(InputError, match=message):
        logs.load(mixed)
    log = logs.load(mixed, drop_bad=True)
    assert log.cost.tolist() == [0, 2, 3, 4, 6, 7]
    assert log.counts["cost is in another currency than most"] == 2
    assert len(logs.load([{**row, "currency": "EUR"} for row in rows])) == 8
    assert len(logs.load([{**row, "currency": i} for i, row in enumerate(rows)])) == 8


def test_stars_and_thumbs(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("prompt,model,quality,cost\np,a,1,1\nq,b,4,1\nr,b,,1\n")
    with pytest.raises(InputError, match=r"quality is outside.*quality_range"):
        logs.load(file)
    np.testing.assert_array_equal(logs.load(file, quality_range=(1, 5)).quality, [0, 0.75, np.nan])
    file.write_text("prompt,model,quality,cost\np,a,True,1\nq,b,false,1\n")
    np.testing.assert_array_equal(logs.load(file).quality, [1, 0])


@pytest.mark.parametrize("sets", [["a|b", None, "b|c"], [["a", "b"], None, ["b", "c"]], ['["a", "b"]', "", "c | b"]])
def test_candidate_sets_and_duplicates(tmp_path, sets):
    file = tmp_path / "log.parquet"
    frame = GOOD.assign(available=sets, request_id=["1", "2", "3"])
    frame.to_parquet(file)
    log = logs.load(file)
    assert log.models == ("a", "b", "c")
    assert log.available.tolist() == [[True, True, False], [True] * 3, [False, True, True]]
    assert log.request_id.tolist() == ["1", "2", "3"]
    frame.assign(model=["b", "a", "a"], request_id=["1", "2", "1"], prompt="same").to_parquet(file)
    with pytest.raises(InputError) as error:
        logs.load(file)
    assert "available lacks the chosen model: 1 row" in str(error.value)
    log = logs.load(file, drop_bad=True)  # an identifier that two requests share is neither's
    assert log.request_id.tolist() == [None, "2"]
    assert log.counts["rows without an identifier of their own"] == 2
    assert log.counts["repeated prompts"] == 1


def test_features_prompts_as_chats_and_nested_names(tmp_path):
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]
    rows = [{"prompt": chat, "features": [1, 2], "more": {"rating": 1}}, {"model": "b", "features": [3, 4.5]}]
    rows = [json.loads(row) for row in lines(*rows, more='{"rating": 0}').splitlines()]
    as_text = [
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()} for row in rows
    ]
    pd.DataFrame(as_text).drop(columns="prompt").to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    del rows[0]["more"], rows[1]["more"]
    pd.DataFrame(rows).assign(prompt=["hi", "p"]).to_parquet(tmp_path / "log.parquet")
    for name in ("log.csv", "log.jsonl", "log.parquet"):
        mapping = {} if "parquet" in name else {"quality": "more.rating"}
        log = logs.load(tmp_path / name, columns=mapping)
        np.testing.assert_array_equal(log.features, np.array([[1, 2], [3, 4.5]], np.float32))
        assert log.features.dtype == np.float32
        assert (log.prompt is None) if name == "log.csv" else (log.prompt.tolist() == ["hi", "p"])
        np.testing.assert_array_equal(log.quality, [1, 0] if mapping else [1, 1])
        record = logs.as_logs(log)
        np.testing.assert_array_equal(record.features, log.features)


def test_features_of_a_long_log_whose_first_rows_have_none(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROWS", 2)
    rows = [{"features": None}] * 3 + [{"features": [1, 2], "model": m} for m in "abab"]
    (tmp_path / "log.jsonl").write_text(lines(*rows))
    log = logs.load(tmp_path / "log.jsonl", drop_bad=True)
    np.testing.assert_array_equal(log.features, [[1, 2]] * 4)
    assert log.counts["dropped"] == 3


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2025-01-01T00:00:00Z", 1735689600.0),
        ("2025-01-01 01:00:00.25+01:00", 1735689600.25),
        ("2025-01-01", 1735689600.0),
        (1735689600, 1735689600.0),
        ("1735689600.5", 1735689600.5),
        (1735689600500, 1735689600.5),
        ("1735689600500000000", 1735689600.5),
        (pd.Timestamp("2025-01-01 00:00:00.25"), 1735689600.25),
        (None, np.nan),
    ],
)
def test_timestamps(tmp_path, written, expected):
    frame = pd.DataFrame({"prompt": "p", "model": ["a", "b"], "quality": 1.0, "cost": 1.0, "timestamp": [written] * 2})
    frame.to_parquet(tmp_path / "log.parquet")
    np.testing.assert_array_equal(logs.load(tmp_path / "log.parquet").timestamp, [expected] * 2)


def test_feedback_that_came_later(tmp_path):
    log = tmp_path / "LOG.CSV"
    log.write_text("request_id,prompt,model,cost\nx,p,a,1\ny,q,b,1\n,r,b,1\nz,s,a,1\n")
    (tmp_path / "feedback").mkdir()
    (tmp_path / "feedback" / "monday.csv").write_text("request_id,quality\nx,1\nother,5\ny,2\n")
    (tmp_path / "feedback" / "tuesday.jsonl").write_text('{"request_id": "y", "quality": 4}\n')
    with pytest.raises(InputError, match="column 'quality' is missing"):
        logs.load(log)
    table = logs.load(log, feedback=tmp_path / "feedback", quality_range=(1, 5))
    np.testing.assert_array_equal(table.quality, [0, 0.75, np.nan, np.nan])
    assert table.counts["feedback on no request of the log"] == 1
    assert table.counts["missing quality"] == 2
    with pytest.raises(
        InputError, match=r"quality is outside \[0, 1\]: 1 row\(s\).*\n.*LOG.CSV, row 1, column 'quality': 4"
    ):
        logs.load(log, feedback=tmp_path / "feedback")
    (tmp_path / "feedback" / "wednesday.jsonl").write_text('{"request_id": "y", "quality": []}\n{"quality": 1}\n{')
    with pytest.raises(InputError) as error:
        logs.load(log, feedback=tmp_path / "feedback")
    assert [line.split(", ", 1)[1].split(":")[0] for line in str(error.value).splitlines()[1:]] == [
        "row 2", "row 1, column 'request_id'", "row 0, column 'quality'"]  # fmt: skip
    log.write_text("prompt,model,quality,cost\np,a,1,1\n")
    with pytest.raises(InputError, match="which the log does not have"):
        logs.load(log, feedback=tmp_path / "feedback")
    (tmp_path / "feedback" / "wednesday.jsonl").write_text('{"id": "y", "quality": 1}')
    log.write_text("prompt,model,quality,cost,request_id\np,a,1,1,x\n")
    with pytest.raises(InputError, match=r"wednesday\.jsonl: column 'request_id' is missing"):
        logs.load(log, feedback=tmp_path / "feedback")


def test_a_written_log_gives_the_estimate_of_the_arrays(tmp_path):
    """From a simulated log to JSON lines and back: the same off-policy estimate."""
    # Named in order, so that actions have the same numbers.
    table = replace(synthetic.make(jax.random.key(0), num_prompts=200, num_models=3), models=("a", "b", "c"))
    arrays = simulate.simulate(jax.random.key(1), table, simulate.uniform())
    heard = np.arange(200) % 5 > 0
    written = pd.DataFrame(
        {
            "features": np.asarray(arrays.features, float).tolist(),
            "model": np.array(table.models, object)[np.asarray(arrays.action)],
            "quality": np.where(heard, np.asarray(arrays.quality, float), np.nan),
            "cost": np.asarray(arrays.cost, float),
            "propensity": np.asarray(arrays.propensity, float),
        }
    )
    written.to_json(tmp_path / "log.jsonl.gz", orient="records", lines=True, double_precision=15)
    read = logs.as_logs(logs.load(tmp_path / "log.jsonl.gz"))
    expected = arrays._replace(quality=jnp.where(heard, arrays.quality, jnp.nan))
    for name in ("features", "action", "quality", "cost", "propensity", "available"):
        np.testing.assert_allclose(getattr(read, name), getattr(expected, name), rtol=1e-6)
    target = jnp.tile(jnp.array([0.2, 0.3, 0.5]), (200, 1))
    estimates = [estimators.ipw(some, target, 0.1) for some in (read, expected)]
    np.testing.assert_allclose(estimates[0].value, estimates[1].value, rtol=1e-5)


def test_feedback_that_meets_no_request_is_named_by_its_first():
    rows = [{"prompt": f"{i}", "model": "ab"[i % 2], "cost": 1, "request_id": f"r{i}"} for i in range(9)]
    ratings = [{"request_id": f"other {i}", "quality": 1} for i in range(100)]
    with pytest.raises(InputError, match=r"none of its 100 request.*the first is 'other 0'"):
        logs.load(rows, feedback=ratings)
