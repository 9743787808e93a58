"""Generated logs, most of them broken: each loads with exact content or fails with our own error; see `fuzzing`."""

import csv
import gzip
import json
from collections import Counter

import numpy as np
import pandas as pd
from fuzzing import BAD, MISSING, amount, attempt, damage, fuzz, means, same, sound, unit, words
from hypothesis import given
from hypothesis import strategies as st

from jaxroute.data import logs

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
