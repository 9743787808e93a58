"""Generated logs and tables, most of them broken: each loads with exact content or fails with our own error.

Every cell comes with what it means, so what must come out is known without reading anything. FUZZ_CASES is how many
cases there are in all; `make fuzz` runs 20,000 and says how many loaded.
"""

import contextlib
import csv
import gzip
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import test_router_replay
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxroute.data import harness, logs, prices, shapes, tables
from jaxroute.data.benchmarks import (
    correctness,
    leaderboard,
    llmrouterbench,
    paretobandit,
    routellm,
    routerbench,
    routereval,
    sprout,
)
from jaxroute.data.logs import feedback
from jaxroute.types import InputError, Outcomes, Table

CASES = int(os.environ.get("FUZZ_CASES", "800"))
PROPERTIES = 12  # the last one has 20 cases only
MISSING, BAD = "missing", "bad"
HERE = Path(__file__).parent

fuzz = settings(
    max_examples=-(-CASES // PROPERTIES),
    derandomize="FUZZ_CASES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def tally():
    count = Counter()
    yield count
    print(f"\n{sum(count.values())} cases: {count['loaded']} loaded, {count['refused']} refused by our own error")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def attempt(tally, load):
    """What ``load`` returns, or None where it raised our own error; nothing else may happen."""
    loaded = None
    with contextlib.suppress(InputError):
        loaded = load()
    tally["refused" if loaded is None else "loaded"] += 1
    return loaded


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(str.strip)
unit = st.floats(0, 1, allow_subnormal=False)
amount = st.floats(0, 1e300)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=3,
)


def same(cells):
    return cells.map(lambda cell: (cell, cell))


def means(meaning, *cells):
    return st.sampled_from([(cell, meaning) for cell in cells])


as_text = {  # text cells, as of a CSV file
    "prompt": same(words) | means("[1]", "[1]") | means(MISSING, "", " "),
    "model": same(st.sampled_from("abc")) | means(MISSING, ""),
    "quality": unit.map(lambda x: (repr(x), x)) | means(1.0, "1", "True", " 1.0 ") | means(MISSING, "", "nan")
    | means(BAD, "good", "1,5", "0x1", "1_0", "2", "-1", "inf", "[1]"),
    "cost": amount.map(lambda x: (repr(x), x)) | means(BAD, "", "free", "-1", "inf", "nan", "{}"),
    "propensity": means(MISSING, "") | means(0.5, "0.5", "5e-1") | means(BAD, "0", "1.01", "x"),
    "timestamp": means(MISSING, "") | means(0.0, "1970-01-01", "0", "1970-01-01T01:00:00+01:00")
    | means(BAD, "x", "1970-13-01"),
    "request_id": means(MISSING, "") | same(st.sampled_from("xyz")),
    "available": means((), "") | means(("a", "b"), "a|b", " a | b |", '["a", "b"]') | means(("d", "a"), "d|a")
    | means(BAD, "[1]", "{}", '[""]'),
}  # fmt: skip
as_json = {
    "prompt": same(words) | means("hi", [{"role": "user", "content": "hi"}]) | means(MISSING, "", None)
    | means(BAD, 5, True, {}, [1], "\ud800"),
    "model": same(st.sampled_from("abc")) | means(MISSING, "", None) | means(BAD, ["a"], {"a": 1}, False),
    "quality": same(unit) | means(1.0, 1, True, "1") | means(MISSING, None, float("nan"))
    | means(BAD, "good", [1], {}, 2, -1, 10**400, float("inf")),
    "cost": same(amount) | means(1.0, 1, "1") | means(BAD, None, "", -1, [1], {"usd": 1}, float("inf"), 10**400),
    "propensity": means(MISSING, None) | means(0.5, 0.5, "0.5") | means(BAD, 0, 1.01, [0.5]),
    "timestamp": means(MISSING, None) | means(0.0, 0, "1970-01-01T00:00:00Z") | means(BAD, True, [], "x", 10**400),
    "request_id": means(MISSING, None) | same(st.sampled_from("xyz")) | means("7", 7) | means(BAD, [1], {}, True),
    "available": means((), None) | means(("a", "b"), ["a", "b"], "a|b", ["a", "b", "a"]) | means(("d", "a"), ["d", "a"])
    | means(BAD, 5, {}, [1], [["a"]], [None]),
}  # fmt: skip


@st.composite
def rows(draw, cells):
    """Good rows with some cells changed: dictionaries of (cell, meaning)."""
    size = draw(st.integers(0, 6))
    found = [{f: (v, v) for f, v in (("prompt", f"p{i}"), ("model", "ab"[i % 2]))} for i in range(size)]
    for row in found:
        row |= {"quality": ("1", 1.0), "cost": ("1", 1.0)}
    optional = [f for f in cells if f not in ("prompt", "model", "quality", "cost") and draw(st.booleans())]
    for row in found:
        row |= {f: ("" if cells is as_text else None, () if f == "available" else MISSING) for f in optional}
    if size:
        for _ in range(draw(st.integers(0, 5))):
            field = draw(st.sampled_from([f for f in cells if f in found[0]]))
            found[draw(st.integers(0, size - 1))][field] = draw(cells[field])
    return found


def good_rows(found):
    """The rows that must come out, and how many are there twice: every other one has a bad cell or lacks its model."""
    kept, seen, twice = [], set(), 0
    names = Counter(row["request_id"][1] for row in found if "request_id" in row)
    for row in found:
        said = {field: meaning for field, (_, meaning) in row.items()}
        name = said.get("request_id", MISSING)
        if name not in (MISSING, BAD) and names[name] > 1:
            same = tuple(str(said.get(f)) for f in ("request_id", "prompt", "model", "timestamp", "cost", "quality"))
            if same in seen:
                twice += 1
                continue
            seen.add(same)
        lacks = said.get("available", ()) and said["model"] not in said["available"]
        if not (lacks or BAD in said.values() or MISSING in (said["prompt"], said["model"])):
            kept.append(said)
    return kept, twice


def write(file, found):
    columns = list(found[0]) if found else ["prompt", "model", "quality", "cost"]
    cells = [{field: cell for field, (cell, _) in row.items()} for row in found]
    if file.suffix == ".parquet":
        pd.DataFrame(cells, columns=columns, dtype=object).astype("string").to_parquet(file)
    elif ".csv" in file.suffixes:
        with (gzip.open if file.suffix == ".gz" else open)(file, "wt", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, columns)
            writer.writeheader()
            writer.writerows(cells)
    else:
        with (gzip.open if file.suffix == ".gz" else open)(file, "wt", encoding="utf-8") as handle:
            handle.write("\n".join(map(json.dumps, cells)))


def column(kept, field):
    return [np.nan if row.get(field, MISSING) == MISSING else row[field] for row in kept]


kinds = st.sampled_from(["log.csv", "log.csv.gz", "log.parquet", "log.jsonl", "log.jsonl.gz"])


@fuzz
@given(data=st.data(), name=kinds, drop_bad=st.booleans())
def test_logs_of_broken_cells(place, tally, data, name, drop_bad):
    found = data.draw(rows(as_json if "json" in name else as_text))
    (kept, twice), file = good_rows(found), place / name
    write(file, found)
    log = attempt(tally, lambda: logs.load(file, drop_bad=drop_bad))
    file.unlink()
    models = {row["model"] for row in kept}.union(*(row.get("available", ()) for row in kept))
    assert (log is None) == (len(models) < 2 or (len(kept) + twice < len(found) and not drop_bad))
    if log is None:
        return
    assert log.models == tuple(sorted(models))
    assert log.prompt.tolist() == column(kept, "prompt")
    assert [log.models[k] for k in log.action] == column(kept, "model")
    for field in ("quality", "cost", "propensity"):
        np.testing.assert_array_equal(getattr(log, field), column(kept, field))
    if log.timestamp is not None:
        np.testing.assert_array_equal(log.timestamp, column(kept, "timestamp"))
    every = [set(row.get("available") or log.models) for row in kept]
    assert log.available.tolist() == [[model in names for model in log.models] for names in every]
    assert log.counts["dropped"] == len(found) - len(kept) - twice


def sound(log):
    """What holds for any log that loads."""
    N, K = log.available.shape
    assert len(log) == N == len(log.quality) == len(log.cost)
    assert len(log.models) == K >= 2
    assert (np.isnan(log.quality) | ((log.quality >= 0) & (log.quality <= 1))).all()
    assert (np.isfinite(log.cost) & (log.cost >= 0)).all()
    assert log.available[np.arange(N), log.action].all()


@st.composite
def damage(draw):
    """A function that damages bytes: cuts, flips, inserts, deletes."""
    kinds = st.sampled_from(["cut", "flip", "insert", "delete"])
    steps = draw(st.lists(st.tuples(kinds, st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3))

    def damaged(content):
        for kind, share, some in steps:
            at = int(share * len(content))
            if kind == "cut":
                content = content[:at]
            elif kind == "flip" and content:
                at = min(at, len(content) - 1)
                content = content[:at] + bytes([content[at] ^ some[0]]) + content[at + 1 :]
            elif kind == "insert":
                content = content[:at] + some + content[at:]
            else:
                content = content[:at] + content[at + some[0] % 16 :]
        return content

    return damaged


@fuzz
@given(name=kinds, damaged=damage(), drop_bad=st.booleans())
def test_logs_of_broken_bytes(place, tally, name, damaged, drop_bad):
    file = place / name
    write(
        file,
        [
            {"prompt": (f"p{i}", 0), "model": ("ab"[i % 2], 0), "quality": ("0.5", 0), "cost": ("1", 0)}
            for i in range(9)
        ],
    )
    file.write_bytes(damaged(file.read_bytes()))
    log = attempt(tally, lambda: logs.load(file, drop_bad=drop_bad))
    if log is not None:
        sound(log)


RECORD = {
    "call_type": "acompletion",
    "response_cost": 1,
    "startTime": 0,
    "messages": [{"role": "user", "content": "x"}],
    "metadata": {"rating": 1},
    "cache_hit": None,
    "status": "success",
    "end_user": "u",
    "id": None,
}
ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.usage.cost": 1,
    "gen_ai.input.messages": [{"role": "user", "parts": []}],
    "gen_ai.prompt": "x",
}
SPAN = {
    "start_time": 0,
    "name": "chat",
    "context": {},
    "status": {},
    "events": [{"name": "e", "attributes": {}}],
    "attributes": ATTRIBUTES,
}


def spots(value, path=()):
    """Every place in a nested value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [spot for key, item in inner for spot in spots(item, (*path, key))]


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@fuzz
@given(data=st.data(), drop_bad=st.booleans())
def test_gateways_records_of_any_shape(place, tally, data, drop_bad):
    span = data.draw(st.booleans())
    base = SPAN if span else RECORD
    found = []
    for i in range(4):
        record = base | ({} if span else {"model": "ab"[i % 2]})
        if span:
            record["attributes"] = ATTRIBUTES | {"gen_ai.request.model": "ab"[i % 2]}
        for _ in range(data.draw(st.integers(0, 2)) if i > 1 else 0):
            record = replaced(record, data.draw(st.sampled_from(spots(record))), data.draw(junk))
        found.append(record)
    file = place / "log.jsonl"
    if span and data.draw(st.booleans()):
        found = [{"resourceSpans": [{"scopeSpans": [{"spans": found}]}]}]
    file.write_text("\n".join(map(json.dumps, found)))
    log = attempt(tally, lambda: logs.load(file, drop_bad=drop_bad))
    assert log is not None or not drop_bad  # the first two records are good
    if log is not None:
        sound(log)
        assert log.prompt[:2].tolist() == ["x", "x"]


TOOLS = {
    file.name: [json.loads(line) for line in file.read_text().splitlines()]
    for file in sorted((HERE / "data" / "logs").glob("*.jsonl"))
    if "batches" not in file.name  # payloads, many a line
} | {"router replay": [test_router_replay.record(i, np.random.default_rng(i)) for i in range(9)]}
SEVERAL = ("traceloop-and-openinference.jsonl", "logfire-5.4.0.jsonl")
"""Files with several records of one request, whose rows change where one of them is broken."""
PRICES = prices.load()


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(TOOLS)))
def test_real_records_of_every_tool(place, tally, data, name):
    """A record is broken in one or two places: the requests in the others are all read."""
    records = TOOLS[name]
    place_of = data.draw(st.integers(0, len(records) - 1))
    broken = records[place_of]
    for _ in range(data.draw(st.integers(1, 2))):
        broken = replaced(broken, data.draw(st.sampled_from(spots(broken))), data.draw(junk))
    file = place / "log.jsonl"
    file.write_text("\n".join(map(json.dumps, [*records[:place_of], broken, *records[place_of + 1 :]])))
    log = attempt(tally, lambda: logs.load(file, prices=PRICES, drop_bad=True))
    if log is not None:
        sound(log)
    if log is not None and name not in SEVERAL:
        with contextlib.suppress(InputError):  # fewer than two models without it
            others = logs.load([*records[:place_of], *records[place_of + 1 :]], prices=PRICES, drop_bad=True)
            assert not Counter(others.prompt.tolist()) - Counter(log.prompt.tolist())


cell_text = same(words) | means("7", 7) | means(BAD, None, "", [1], {"a": 1}, float("nan"), b"x", True, "\ud800")
cell_quality = (
    same(unit)
    | means(1.0, 1, True, "1")
    | means(MISSING, None, float("nan"))
    | means(BAD, 2, "x", [1], {}, 10**400, -0.1, float("inf"))
)
cell_cost = (
    same(amount)
    | means(1.0, 1, "1")
    | means(MISSING, None, float("nan"))
    | means(BAD, -1, "x", [1], {}, 10**400, float("inf"))
)


@fuzz
@given(data=st.data())
def test_long_tables(tally, data):
    N, K = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    query = [{name: (f"{name[0]}{i}", f"{name[0]}{i}") for name in ("query_id", "prompt", "task")} for i in range(N)]
    answer = [
        {"query_id": query[i]["query_id"], "model": (f"m{k}", f"m{k}"), "quality": (0.5, 0.5), "cost": (1.0, 1.0)}
        for i in range(N)
        for k in range(K)
    ]
    kinds = {"quality": cell_quality, "cost": cell_cost}
    for _ in range(data.draw(st.integers(0, 3))):
        what = data.draw(st.sampled_from(["query_id", "prompt", "task", "model", "quality", "cost", "drop", "twice"]))
        row = data.draw(st.integers(0, len(answer) - 1))
        if what == "drop":
            answer = answer[:row] + answer[row + 1 :] or answer
        elif what == "twice":
            answer.append(dict(answer[row]))
        else:
            (query[row % N] if what in ("prompt", "task") else answer[row])[what] = data.draw(
                kinds.get(what, cell_text)
            )
    frames = [
        pd.DataFrame({name: pd.Series([row[name][0] for row in rows], dtype=object) for name in rows[0]})
        for rows in (query, answer)
    ]
    table = attempt(tally, lambda: shapes.from_long(*frames))
    query, answer = ([{name: said for name, (_, said) in row.items()} for row in rows] for rows in (query, answer))
    pairs = {(row["query_id"], row["model"]) for row in answer}
    fits = not any(said in (BAD, MISSING) for row in query + answer for said in row.values())
    fits = fits and {row["query_id"] for row in answer} == {row["query_id"] for row in query}
    fits = fits and len(pairs) == len(answer) and len({row["model"] for row in answer}) > 1
    assert (table is not None) == fits
    if fits:
        assert table.prompt.tolist() == [row["prompt"] for row in query]
        assert list(table.models) == list(dict.fromkeys(row["model"] for row in answer))
        expected = np.full((2, N, len(table.models)), np.nan)
        for row in answer:
            expected[:, int(row["query_id"][1:]), table.models.index(row["model"])] = row["quality"], row["cost"]
        np.testing.assert_array_equal(table.outcomes.quality, expected[0])
        np.testing.assert_array_equal(table.outcomes.cost, expected[1])
        assert len(answer) == table.available.sum()


@fuzz
@given(data=st.data())
def test_wide_tables(tally, data):
    N, K = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    columns = {"sample_id": [(f"q{i}", f"q{i}") for i in range(N)], "prompt": [(f"p{i}", f"p{i}") for i in range(N)]}
    columns["eval_name"] = [("t", "t")] * N
    for k in range(K):
        columns |= {f"m{k}": [(0.5, 0.5)] * N, f"m{k}|total_cost": [(1.0, 1.0)] * N}
    for _ in range(data.draw(st.integers(0, 4))):
        name = data.draw(st.sampled_from(list(columns)))
        kind = cell_cost if "total" in name else cell_quality if name[0] == "m" else cell_text
        columns[name] = list(columns[name])
        columns[name][data.draw(st.integers(0, N - 1))] = data.draw(kind)
    frame = pd.DataFrame(
        {name: pd.Series([cell for cell, _ in cells], dtype=object) for name, cells in columns.items()}
    )
    said = {name: [meaning for _, meaning in cells] for name, cells in columns.items()}
    quality = np.array([[np.nan if m == MISSING else m for m in said[f"m{k}"]] for k in range(K)], object).T
    cost = np.array([[np.nan if m == MISSING else m for m in said[f"m{k}|total_cost"]] for k in range(K)], object).T
    table = attempt(tally, lambda: shapes.from_wide(frame))
    fits = not any(BAD in cells for cells in said.values()) and K > 1 and len(set(said["sample_id"])) == N
    if fits:
        quality, cost = quality.astype(float), cost.astype(float)
        fits = not np.isnan(quality).all(1).any() and not (np.isnan(cost) & ~np.isnan(quality)).any()
    assert (table is not None) == fits
    if fits:
        assert table.prompt.tolist() == said["prompt"]
        np.testing.assert_array_equal(table.outcomes.quality, quality)
        np.testing.assert_array_equal(table.outcomes.cost, np.where(np.isnan(quality), np.nan, cost))
        np.testing.assert_array_equal(table.available, ~np.isnan(quality))


def small():
    """A table of three queries and two models, with a hole."""
    quality = np.array([[1.0, 0.0], [0.5, np.nan], [0.0, 1.0]])
    text = np.array(["a", "b", "c"], object)
    outcomes = Outcomes(quality, np.where(np.isnan(quality), np.nan, 0.25))
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    return Table(text, text, text, np.arange(3), features, ("x", "y"), outcomes, ~np.isnan(quality))


def whole(table):
    assert table.available.any(1).all()
    np.testing.assert_array_equal(table.available, ~np.isnan(table.outcomes.quality))
    assert np.isfinite(table.features).all()
    assert (np.isnan(table.outcomes.quality) | (abs(table.outcomes.quality - 0.5) <= 0.5)).all()
    assert (table.outcomes.cost[table.available] >= 0).all()


def a_folder(folder):
    tables.save(small(), folder / "table")
    return lambda: tables.load(folder / "table")


def a_wide_file(folder):
    (folder / "t.csv").write_text(
        "sample_id,prompt,eval_name,a,b,a|total_cost,b|total_cost\nq,2+2?,t,1,0,1,2\nr,x,t,0,,1,\n"
    )
    return lambda: tables.load(folder / "t.csv")


def a_matrix(folder):
    np.savez(folder / "m.npz", models=["a", "b"], prompts=["p", "q"], scores=[[1.0, 0.0], [0.0, np.nan]])
    return lambda: correctness.matrix(folder / "m.npz", cost=1.0)


def a_long_csv(folder):
    (folder / "e.csv").write_text("prompt_id,model_name,prompt,label\n1,a,2+2?,1\n1,b,2+2?,0\n")
    return lambda: correctness.embedllm(folder / "e.csv", cost=0.1)


def two_models(folder):
    (folder / "gsm8k.csv").write_text("prompt,a,b,a_response,b_response\n2+2?,False,True,5,4\n")
    return lambda: routellm.load(folder / "gsm8k.csv", cost=0.1)


def json_records(folder):
    for model in ("a", "b"):
        records = [{"index": 1, "prompt": "2+2?", "score": 1.0, "cost": 0.1}]
        about = {"dataset_name": "d", "split": "test", "model_name": model, "records": records}
        (folder / f"{model}.json").write_text(json.dumps(about))
    return lambda: llmrouterbench.load(folder)


def price_list(folder):
    (folder / "p.csv").write_text("model,input,output,source,date\na,1,2,list,2025\n")
    return lambda: prices.load(folder / "p.csv")


def ratings(folder):
    (folder / "f.csv").write_text("request_id,quality\na,1\nb,\n")
    ids = {"request": np.array(["a", "b", None], object)}
    return lambda: feedback.join(feedback.read(folder / "f.csv"), ids, np.array([0.5, 0.5, 0.5]))


def rewards(folder):
    arms = {"a": {"reward": 1, "cost": 0.1}, "b": {"reward": 0, "cost": 0.2}}
    (folder / "v_k4.jsonl").write_text(json.dumps({"prompt": "2+2?", "source": "mbpp", "arms": arms}))
    return lambda: paretobandit.load(folder)


def structs(folder):
    answer = [{"score": 1.0, "num_input_tokens": 1000, "num_output_tokens": 100}]
    columns = {
        "key": ["k"],
        "dataset": ["math"],
        "prompt": ["2+2?"],
        "openai-gpt-4o": answer,
        "openai-gpt-4o-mini": answer,
    }
    pq.write_table(pa.table(columns), folder / "test.parquet")
    return lambda: sprout.load(folder / "test.parquet")


def an_archive(folder):
    json_records(folder)
    with tarfile.open(folder / "bench.tar.gz", "w:gz") as archive:
        for file in sorted(folder.glob("*.json")):
            archive.add(file, f"bench/{file.name}")
            file.unlink()
    return lambda: llmrouterbench.load(folder / "bench.tar.gz")


POOL = {"model": ["a", "b"], "data": {f"{split}_score": np.eye(2) for split in routereval.SPLITS}}
ARC = {"hard": {10: {"strong_to_weak": POOL}}, "prompt": {f"{s}_prompt": ["p", "q"] for s in routereval.SPLITS}}


def a_zip(folder):
    with zipfile.ZipFile(folder / "router_dataset.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("router_dataset/arc_router_dataset.pkl", pickle.dumps(ARC))
    return lambda: routereval.load(folder / "router_dataset.zip", "arc")


FILES = [a_folder, a_wide_file, a_matrix, a_long_csv, two_models, json_records, price_list, ratings, rewards, structs]
FILES += [an_archive, a_zip]


@fuzz
@given(make=st.sampled_from(FILES), damaged=damage(), which=st.integers(0, 2))
def test_tables_of_broken_bytes(tmp_path_factory, tally, make, damaged, which):
    folder = tmp_path_factory.mktemp("table")
    load = make(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    file = files[which % len(files)]
    file.write_bytes(damaged(file.read_bytes()))
    table = attempt(tally, load)
    if isinstance(table, Table):
        whole(table)


@fuzz
@given(share=st.floats(0, 1), which=st.sampled_from(["1.5", "2.2", "3.0"]))
def test_pickles_cut_short(place, tally, share, which):
    content = (HERE / "data" / f"wide_pandas{which}.pkl").read_bytes()
    (place / "r.pkl").write_bytes(content[: int(share * len(content))])
    kept = len(list(place.rglob("*.parquet")))
    table = attempt(tally, lambda: routerbench.load(place / "r.pkl"))
    if table is None:
        assert len(list(place.rglob("*"))) <= kept + 3  # the pickle, two folders, and no half of a copy
        assert len(list(place.rglob("*.parquet"))) == kept
    else:
        assert table.prompt.tolist() == ["What is 2 + 2?", "None", "Write a poem about a ríver."]


@fuzz
@given(data=st.data(), new=junk)
def test_pools_of_any_shape(place, tally, data, new):
    file = place / "arc_router_dataset.pkl"
    file.write_bytes(pickle.dumps(replaced(ARC, data.draw(st.sampled_from(spots(ARC))), new)))
    table = attempt(tally, lambda: routereval.load(file, "arc"))
    if table is not None:
        whole(table)


@fuzz
@given(data=st.data(), new=junk)
def test_scenarios_of_any_shape(place, tally, data, new):
    name = "leaderboard_mmlu_pro"
    models = ["open-llm-leaderboard/google__gemma-2-9b-it-details", "open-llm-leaderboard/google__gemma-2b-it-details"]
    files = [{name: {"Qs": ["p", "q"]}}, {name: {"correctness": np.eye(2), "models": models}}]
    which = data.draw(st.integers(0, 1))
    files[which] = replaced(files[which], data.draw(st.sampled_from([(), *spots(files[which])])), new)
    (place / "data_QA.json").write_text(json.dumps(files[0]))
    (place / "new_leaderboard_processed_20241205.pickle").write_bytes(pickle.dumps(files[1]))
    table = attempt(tally, lambda: leaderboard.load(place, parts=["mmlu_pro"]))
    if table is not None:
        whole(table)


@fuzz
@given(data=st.data(), new=junk)
def test_json_records_of_any_shape(tmp_path_factory, tally, data, new):
    folder = tmp_path_factory.mktemp("records")
    load = json_records(folder)
    found = json.loads((folder / "a.json").read_text())
    (folder / "a.json").write_text(json.dumps(replaced(found, data.draw(st.sampled_from(spots(found))), new)))
    table = attempt(tally, load)
    if table is not None:
        whole(table)


RESULTS = {
    "a.json": "inspect/choice.json",
    "b.json": "promptfoo/tiny.json",
    "c.json": "deepeval/small.json",
    "helm/per_instance_stats.json": "helm/small/per_instance_stats.json",
    "helm/scenario_state.json": "helm/small/scenario_state.json",
    "samples_tiny_mc_2026-11-28T10-52-00.859789.jsonl": None,
}


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(RESULTS)), new=junk)
def test_results_of_any_shape(tmp_path_factory, tally, data, name, new):
    """A place in a tool's file replaced by something else: read, or our own error."""
    stored = HERE / "data" / "harness"
    folder = tmp_path_factory.mktemp("results")
    shutil.copytree(stored / "helm" / "small", folder / "helm")
    whole = (stored / (RESULTS[name] or f"lm_eval/small/{name}")).read_text()
    found = list(map(json.loads, whole.splitlines())) if name.endswith("l") else json.loads(whole)
    found = replaced(found, data.draw(st.sampled_from(spots(found))), new)
    (folder / name).write_text("\n".join(map(json.dumps, found)) if name.endswith("l") else json.dumps(found))
    runs = attempt(tally, lambda: harness.read((folder / name).parent if "helm" in name else folder / name))
    other = harness.read(f"other={stored / 'ragas' / 'small.csv'}")
    for want in ("score", "Exact", "exact_match", "choice", "acc") if runs else ():
        with contextlib.suppress(InputError):
            harness.join([*runs, *other], wanted=[want, "exact_match"])


@fuzz
@given(fails=st.integers(0, 4), occupied=st.booleans(), lost=st.booleans())
def test_a_save_that_fails_leaves_nothing(tmp_path_factory, tally, fails, occupied, lost):
    """Each write in turn finds the disk full; what stands at the place afterwards is all of it or what was there."""
    folder = tmp_path_factory.mktemp("save") / "table"
    if occupied:
        folder.mkdir()
        (folder / "mine").touch()
    table = small()
    if lost:
        table.available[:, 1] = False
    calls = Counter()

    def failing(function):
        def wrapper(*args, **kwargs):
            calls["all"] += 1
            if calls["all"] == fails:
                raise OSError(28, "No space left on device")
            return function(*args, **kwargs)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "save", failing(np.save))
        patch.setattr(pd.DataFrame, "to_parquet", failing(pd.DataFrame.to_parquet))
        patch.setattr(tables.os, "replace", failing(os.replace))
        with contextlib.suppress(OSError):
            attempt(tally, lambda: tables.save(table, folder) or True)
    if occupied:
        assert [file.name for file in folder.iterdir()] == ["mine"]
    elif lost or 1 <= fails <= 4:
        assert list(folder.parent.iterdir()) == []
    else:
        back = tables.load(folder)
        np.testing.assert_array_equal(back.outcomes.quality, table.outcomes.quality)
        np.testing.assert_array_equal(back.features, table.features)
