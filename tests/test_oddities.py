"""What the doctor says of logs that can be read and are probably not meant so."""

import gzip
import json
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from commands import run

from jaxroute.cli import advice
from jaxroute.cli.examined import examine
from jaxroute.data import logs
from jaxroute.data.logs import load, oddities
from jaxroute.data.seen import Seen
from jaxroute.system import wording
from jaxroute.types import InputError


def rows(count=200, **columns):
    """A random log of two models; ``columns`` are functions of the row's number and its record."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        k = int(rng.integers(2))
        record = {"prompt": f"question {i}", "model": "ab"[k], "quality": float(rng.random() < 0.5), "propensity": 0.5}
        record |= {"cost": 0.001 * (9 * k + 1) * float(rng.lognormal(0, 0.5))}
        found.append(record | {name: make(i, record) for name, make in columns.items()})
    return found


def said(found):
    return oddities.said(load(found))


def test_an_ordinary_log_is_said_nothing_of():
    assert said(rows()) == []
    assert said(rows(timestamp=lambda i, _: f"2026-11-01T00:{i // 60:02}:{i % 60:02}")) == []
    assert said(rows(timestamp=lambda i, _: i)) == []  # a count, in every row


def test_a_prompt_that_fills_the_log_is_named():
    (line,) = said(rows(prompt=lambda i, r: "ping" if i % 10 else r["prompt"]))
    assert line.startswith("180 of 200 rows have the same prompt, 'ping'")
    assert said(rows(prompt=lambda i, r: "ping" if i % 5 == 0 else r["prompt"])) == []


def test_latencies_in_milliseconds_are_named():
    (line,) = said(rows(latency=lambda i, _: 800 + i))
    assert line.startswith("Half of the latencies are 900 seconds or more. If they are milliseconds, divide them by")
    assert said(rows(latency=lambda i, _: 120 + i / 10)) == []  # long answers
    assert said(rows(latency=lambda i, _: 800 if i < 39 else None)) == []


def test_chats_that_python_printed_and_something_cut_are_named(tmp_path):
    chats = pd.DataFrame(rows(messages=lambda i, row: [{"role": "user", "content": row["prompt"]}])).drop(
        columns="prompt"
    )
    chats.to_csv(tmp_path / "log.csv", index=False)
    assert said(tmp_path / "log.csv") == []  # whole ones are read
    chats["messages"] = chats["messages"].astype(str).str[:-1]
    chats.to_csv(tmp_path / "log.csv", index=False)
    (sentence,) = said(tmp_path / "log.csv")
    assert sentence.startswith("200 of 200 prompts look like messages as Python prints them, and count as texts")


def test_copies_without_ids_are_named_and_with_ids_left_out():
    twice = [*rows()[:150], *rows()[:50]]
    (line,) = said(twice)
    assert line.startswith("50 of 200 rows say what another row says in every column")
    known = load([row | {"request_id": f"r{i % 150}"} for i, row in enumerate(twice)])
    assert len(known) == 150
    assert oddities.said(known) == []
    later = [row | {"timestamp": 1e9 + i} for i, row in enumerate(twice)]  # the same question again is no copy
    assert said(later) == []


def test_costs_in_two_units_are_named_by_model_and_heavy_tails_are_not():
    (line,) = said(rows(cost=lambda i, r: r["cost"] * (100 if i % 4 == 0 else 1)))
    assert "cents beside dollars" in line
    assert "a (" in line
    assert "b (" in line
    tail = np.random.default_rng(1).lognormal(0, 1.5, 400)
    assert said(rows(400, cost=lambda i, r: float(tail[i]))) == []
    assert said(rows(cost=lambda i, r: 1e-6 if i < 3 else r["cost"])) == []  # a few answers from a cache


def test_names_apart_in_case_or_spaces_are_named():
    (line,) = said(rows(model=lambda i, r: r["model"] + " " * (i % 2)))
    assert "'a' and 'a '; 'b' and 'b '" in line


def test_times_before_language_models_are_named():
    (line,) = said(rows(timestamp=lambda i, _: 0 if i % 10 == 0 else 1.7e9 + i))
    assert line.startswith("20 of 200 rows have a time before the year 2000")


def test_one_quality_for_all_is_named():
    (line,) = said(rows(quality=lambda i, _: 1))
    assert line.startswith("Every quality is 1, so models differ in cost alone")


@pytest.mark.slow
def test_the_doctor_says_it(tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    found = rows(prompt=lambda i, r: "ping" if i % 2 else r["prompt"])
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    code, out, _ = run(capsys, "doctor", path)
    assert code == 0
    assert "warning: 100 of 200 rows have the same prompt, 'ping'" in out


def test_bad_cells_say_what_to_write():
    for column, value, why in (
        ("quality", "thumbs up", "write 1 and 0, true and false"),
        ("propensity", 0, "one rounded to 0 is unknown: leave it empty"),
        ("propensity", 20, "a percentage of 20 is written 0.2"),
        ("propensity", {"a": 0.5, "b": 0.5}, "write one number, the probability with which the answering model was"),
        ("cost", "$0.0012", "write digits with a point, without a currency"),
    ):
        with pytest.raises(InputError, match=f"{column} is .*{why}"):
            load(rows(**{column: lambda i, r, column=column, value=value: value if i == 3 else r[column]}))


def test_a_file_of_another_kind_than_its_name_says_is_named(tmp_path):
    text = "".join(json.dumps(row) + "\n" for row in rows()).encode()
    for content, name, why in (
        (gzip.compress(text), "log.jsonl", r"is compressed with gzip: end its name in \.gz"),
        (pa.compress(text, codec="zstd", asbytes=True), "log.jsonl", "is compressed with zstd"),
        (gzip.compress(gzip.compress(text)), "log.jsonl.gz", "is compressed with gzip"),
        (pd.DataFrame(rows()).to_parquet(), "log.csv", r"is a Parquet file: end its name in \.parquet"),
        (pd.DataFrame(rows()).to_csv().encode("utf-16"), "log.csv", "is UTF-16: save it as UTF-8"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: its content {why}"):
            load(path)


def test_a_header_that_is_nearly_right_says_what_is_wrong(tmp_path):
    path = tmp_path / "log.csv"
    table = pd.DataFrame(rows())
    table.to_csv(path, index=False, sep=";")
    with pytest.raises(InputError, match="are missing; its columns are separated by ';': save the file with commas"):
        load(path)
    table.rename(columns={"prompt": "Prompt", "model": " model"}).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"read_log\(columns={'prompt': 'Prompt', 'model': ' model'}\) "):
        load(path)
    with wording.as_options(), pytest.raises(InputError, match="--column prompt=Prompt --column model=' model' "):
        load(path)
    assert len(load(path, columns={"prompt": "Prompt", "model": " model"})) == 200


def test_what_is_said_of_hundreds_of_models_is_short():
    models = [
        {"model": f"m{i}", "judged": 3, "rows_needed": 97, "verdict": "caution", "quality_error": 0.3}
        for i in range(200)
    ]
    assert advice.conclusion("refuse", models).endswith("m9 (3; log 97 more) and 190 more.")
    lines = advice.first("known", [f"model m{i} has 3 rows" for i in range(200)], models, "caution", [], True)
    assert len(lines) < 30
    assert any("m9 and 190 more. Next step" in line for line in lines)


def test_an_id_that_is_met_by_chance_is_not_worth_a_sentence():
    new = np.zeros(2000, bool)
    assert Seen(new, by=("request_id",), chance=1 / 7600, reused=1).said() == []
    (line,) = Seen(new, by=("request_id",), chance=1 / 7600, reused=40).said()
    assert line.startswith("40 rows have the request id of a row that the router learned from, and another prompt")
    (line,) = Seen(new[:20], by=("request_id",), chance=1 / 15000, reused=1).said()
    assert line.startswith("1 row has the request id")


def test_the_doctor_counts_judged_rows_whatever_they_stand_for():
    """Half of the judged rows stand for 10 requests each: the share of requests with feedback is no share of rows."""
    found = [
        row | {"quality": row["quality"] if i % 4 else None, "weight": 10 if i % 4 == 1 else 1}
        for i, row in enumerate(rows(features=lambda i, _: [float(i % 5), float(i % 3)]))
    ]
    log = load(found)
    examined = examine(log, logs.as_logs(log))
    judged = Counter(log.models[k] for k in log.action[np.isfinite(log.quality)])
    assert {m["model"]: m["judged"] for m in examined["models"]} == judged
    for m in examined["models"]:
        assert f"{m['model']} ({judged[m['model']]}; log " in examined["conclusion"]


def test_a_group_that_holds_most_rows_is_the_reason_that_is_said_first():
    crowd = load(rows(group=lambda i, _: "default" if i % 2 else f"user {i}"))
    assert "count as 4 independent ones" in logs.crowded(crowd)
    assert "the largest of 101 groups has 100" in logs.crowded(crowd)
    even = load(rows(group=lambda i, _: f"user {i // 10}"))
    assert "there are 20 groups" in logs.crowded(even)
    assert logs.crowded(load(rows())) == ""
    assert logs.crowded(load(rows(group=lambda i, _: f"user {i}"))) == ""


def test_the_share_that_a_time_holds_out_is_that_of_the_rows():
    """Days are whole: a fifth begins within the last one, which has a third of the rows."""
    log = load(rows(timestamp=lambda i, _: f"2026-11-0{1 + i * 3 // 200}T{i % 24:02d}:00:00Z"))
    moment, share = advice.last_fifth(log)
    assert moment == "2026-11-03"
    since = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    assert share == pytest.approx((log.timestamp >= since).mean())
    assert 0.3 < share < 0.4


@pytest.mark.parametrize("longer", [True, False])
def test_rated_answers_that_cost_more_than_all_are_named(longer):
    """a's dear answers are rated; b's are rated at random; one row in three stands for ten requests."""
    found = rows(600, weight=lambda i, _: 1 if i % 3 else 10)
    for i, row in enumerate(found):
        dear = row["model"] == "a" and longer
        if row["cost"] < 0.001 if dear else i % 2:
            row["quality"] = None
    log = load(found)
    said = logs.rated_costs(log)
    if not longer:
        assert said == ""
        return
    own = [row for row in found if row["model"] == "a"]
    mean, judged = (
        np.average([row["cost"] for row in of], weights=[row["weight"] for row in of])
        for of in (own, [row for row in own if row["quality"] is not None])
    )
    assert f"than all answers do: a {judged / mean - 1:.0%} more. " in said


def test_a_few_users_whose_dear_answers_happen_to_be_rated_are_no_reason_for_a_word():
    """20 users, of whom two have dear prompts; rated were those of two of them and of two others."""
    found = rows(600, group=lambda i, _: f"user {i // 30}")
    for row in found:
        row["cost"] = 3.0 if row["group"] in ("user 0", "user 1") else 1.0
        row["quality"] = 1.0 if row["group"] in ("user 0", "user 1", "user 2", "user 3") else None
    assert logs.rated_costs(load(found)) == ""
    assert "more" in logs.rated_costs(load([{k: v for k, v in row.items() if k != "group"} for row in found]))
