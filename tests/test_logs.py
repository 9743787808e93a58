"""People's logs: exact content, or every problem at once."""

import gzip
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxroute import estimators
from jaxroute.data import logs, prices, records, simulate, splits, synthetic
from jaxroute.types import InputError

GOOD = pd.DataFrame(
    {"prompt": ["007", "NA", "c"], "model": ["b", "a", "b"], "quality": [1.0, np.nan, 0.5], "cost": [0.1, 0.2, 0.3]}
)


def lines(*rows, **common):
    """JSON lines of rows that are good but for what is said of them."""
    plain = {"prompt": "p", "model": "a", "quality": 1, "cost": 1}
    return "\n".join(json.dumps(plain | common | row) for row in rows)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "csv.gz", "jsonl.gz"])
def test_exact_content(tmp_path, kind):
    file = tmp_path / "2025" / f"log.{kind}"
    file.parent.mkdir()
    if "jsonl" in kind:
        GOOD.to_json(file, orient="records", lines=True)
    else:
        GOOD.to_csv(file, index=False) if "csv" in kind else GOOD.to_parquet(file)
    (tmp_path / "readme.txt").write_text("not a log")
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "_SUCCESS.csv").write_text("")
    for path in (file, tmp_path):
        log = logs.load(path)
        assert log.prompt.tolist() == ["007", "NA", "c"]
        assert log.models == ("a", "b")
        assert log.action.tolist() == [1, 0, 1]
        np.testing.assert_array_equal(log.quality, GOOD.quality)
        np.testing.assert_allclose(log.cost, GOOD.cost)
        assert log.counts["missing quality"] == 1
        assert np.isnan(log.propensity).all()
        assert len(log) == 3
        assert log.timestamp is log.group is log.features is log.request_id is None


def test_a_folder_is_one_log_and_problems_name_the_file(tmp_path):
    GOOD.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.jsonl").write_text(lines({"prompt": "x", "cost": -1}, {"prompt": "y", "propensity": 0.5}))
    (tmp_path / "c.csv").write_text("")
    log = logs.load(tmp_path, drop_bad=True)
    assert log.prompt.tolist() == ["007", "NA", "c", "y"]
    np.testing.assert_array_equal(log.propensity, [np.nan, np.nan, np.nan, 0.5])
    with pytest.raises(InputError, match=r"b\.jsonl, row 0, column 'cost': -1$"):
        logs.load(tmp_path)


def test_every_problem_is_listed_or_dropped(tmp_path):
    bad = pd.DataFrame({"prompt": ["x"] * 12, "model": "a", "quality": 2.0, "cost": [-1.0] * 2 + [1.0] * 10})
    file = tmp_path / "log.csv"
    pd.concat([GOOD, bad]).to_csv(file, index=False)
    with pytest.raises(InputError) as error:
        logs.load(file)
    said = str(error.value).splitlines()
    assert said[0].startswith("quality is outside [0, 1]: 12 row(s)")
    assert len(said) == 1 + 10 + 1 + 2
    assert said[-1] == f"  {file}, row 4, column 'cost': -1"
    log = logs.load(file, drop_bad=True)
    assert len(log) == 3
    assert log.counts["dropped"] == 12
    assert list(log.problems) == said


ODD = {
    "prompt": [None, "", " \n", 7, True, {"a": 1}, [1], [], "\ud800"],
    "model": [None, "", " ", ["a"], {"name": "a"}, False],
    "quality": ["good", [1], {"a": 1}, 1.5, -0.1, "1_0", float("inf")],
    "cost": [None, "", "free", [1.0], {}, -1, float("inf"), 10**400],
    "propensity": [0, 1.1, "x", [0.5]],
    "timestamp": ["yesterday", {}, [1], True, float("inf")],
    "group": [["u"], {"u": 1}, True],
    "request_id": [[1], {}],
    "available": [5, [1], {"a": 1}, ["b"], "b|c", [["a"]]],
    "features": [[1, 2], [], ["x", 1, 2], [[1, 2, 3]], [1, 2, float("nan")], [1, 2, 1e300], 5, None],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in ODD for value in ODD[field]])
def test_a_bad_cell_is_named_and_costs_its_row_only(tmp_path, field, value):
    common = {"features": [1, 2, 3]} if field == "features" else {}
    file = tmp_path / "log.jsonl"
    file.write_text(lines({}, {field: value}, {"model": "b"}, **common))
    with pytest.raises(InputError, match=rf"log\.jsonl, row 1, column '{field}'") as error:
        logs.load(file)
    assert str(error.value).count("row(s)") == 1
    log = logs.load(file, drop_bad=True)
    assert log.prompt.tolist() == ["p", "p"]
    assert log.counts["dropped"] == 1


def test_rows_that_cannot_be_read(tmp_path):
    good, other = lines({}, {"model": "b"}).splitlines()
    file = tmp_path / "log.jsonl"
    torn = [b'{"prompt": ', b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b"1" * 5000]
    file.write_bytes(b"\xef\xbb\xbf" + b"\n".join([good.encode(), b"", *torn, other.encode()]))
    with pytest.raises(InputError) as error:
        logs.load(file)
    said = str(error.value).splitlines()
    assert said[0].startswith("cannot be read: 5 row(s)")
    assert [line.split(":")[0].strip() for line in said[1:]] == [f"{file}, row {i}" for i in (2, 3, 4, 5, 6)]
    assert logs.load(file, drop_bad=True).models == ("a", "b")
    file = tmp_path / "log.csv"
    file.write_text('prompt,model,quality,cost\np,a,1,1\np,b,1\n"two\nlines",b,1,1\n\np,b,1,1,1\n')
    with pytest.raises(InputError, match=r"row 1: 3 cell\(s\) under 4 columns\n.*row 3: 5 cell"):
        logs.load(file)
    assert logs.load(file, drop_bad=True).prompt.tolist() == ["p", "two\nlines"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.parquet", b"PAR1 torn"),
        ("log.parquet", b""),
        ("log.csv", b'prompt,model,quality,cost\n"open,a,1,1\n'),
        ("log.csv", b"prompt,model,quality,cost,cost\np,a,1,1,1\n"),
        ("log.csv.gz", gzip.compress(b"prompt,model\n" * 99, mtime=0)[:-9]),
        ("log.jsonl.gz", b"not gzipped"),
        ("log.json", b'[{"prompt": '),
        ("log.json", b"[" * 100_000),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    for drop_bad in (False, True):
        with pytest.raises(InputError, match=name.replace(".", r"\.") + ": (damaged|column 'cost' occurs)"):
            logs.load(file, drop_bad=drop_bad)


def test_what_is_missing_is_said(tmp_path):
    file = tmp_path / "log.csv"
    for content, message in (
        ("", "no rows"),
        ("prompt,model,quality,cost\n", "no rows"),
        ("prompt,model,quality,cost\np,a,1,1\n", "good rows of 1 model"),
        ("model,quality,cost\na,1,1\n", "column 'prompt' is missing"),
        ("prompt,model,cost\np,a,1\n", "column 'quality' is missing"),
        ("prompt,model,quality\np,a,1\n", "column 'cost' is missing.*price table"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=rf"log\.csv: {message}"):
            logs.load(file)
    file.write_text("prompt,model,quality,cost\np,a,1,1\n")
    for settings, message in (
        ({"columns": {"promt": "q"}}, "'promt', which is not a field"),
        ({"columns": {"group": "user"}}, "column 'user' is missing"),
        ({"quality_range": (1, 1)}, "quality_range"),
        ({"form": "csv"}, "log format 'csv' is unknown"),
    ):
        with pytest.raises(InputError, match=message):
            logs.load(file, **settings)
    with pytest.raises(InputError, match="no such file"):
        logs.load(tmp_path / "none.csv")
    (tmp_path / "log.txt").touch()
    with pytest.raises(InputError, match=r"cannot read \.txt"):
        logs.load(tmp_path / "log.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="the folder has no log file"):
        logs.load(tmp_path / "folder")


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
    assert splits.leakage(log, parts)[1:] == (0, 0, 0)
    assert splits.leakage(log, parts).near_duplicates == 30
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
    assert splits.leakage(log, parts)[1:] == (0, 0, 0)
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
