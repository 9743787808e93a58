"""An error names what its reader can write: an argument in Python, an option on the command line, never the other."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import router_kinds
from commands import run

import jaxroute as jr
from jaxroute.data.logs import oddities
from jaxroute.system.wording import as_options
from jaxroute.types import InputError


def rows(*without, **more):
    """Sixty requests of two models; without: columns that they do not have. more: functions of the row's number."""
    found = [
        {"prompt": f"question {i}", "model": "ab"[i % 2], "quality": i % 3 / 2, "cost": 1.0 + i % 2,
         "timestamp": 1e9 + 3600 * i, "latency": 1.0, **{name: value(i) for name, value in more.items()}}
        for i in range(60)
    ]  # fmt: skip
    return [{name: value for name, value in row.items() if name not in without} for row in found]


PRIOR = "model,quality,sd\na,0.3,0.1\nb,0.6,0.1\nnew,0.9,0.1\n"
WHEN = {"timestamp": lambda i: 1e9 + i if i else None}
CASES = {
    "recency, no times": (
        rows("timestamp"), {"recency": 2.0}, ["--recency", "2"],
        ": the log has no times; map the column, ",
        ("recency", "read_log(columns={'timestamp': 'NAME'})"), ("--recency", "--column timestamp=NAME"),
    ),
    "recency, a row without a time": (
        rows(**WHEN), {"recency": 2.0}, ["--recency", "2"],
        ": 1 rows have no time; leave them out (",
        ("recency", "read_log(since=...)"), ("--recency", "--since)"),
    ),
    "recency, no days": (
        rows(), {"recency": "soon"}, ["--recency", "soon"], " is 'soon'; give days above 0, or auto",
        ("recency", ""), ("--recency", ""),
    ),
    "latency": (
        rows("latency"), {"max_latency": 3.0}, ["--max-latency", "3"],
        ": the log has no latencies; fit to one with a column latency (seconds), or map it: ",
        ("max_latency", "read_log(columns={'latency': 'NAME'})"), ("--max-latency", "--column latency=NAME"),
    ),
    "split_time": (
        rows("timestamp"), {"split_time": "2026-11-01"}, ["--split-time", "2026-11-01"],
        " needs a timestamp in every row; map the column, ",
        ("split_time", "read_log(columns={'timestamp': 'NAME'})"), ("--split-time", "--column timestamp=NAME"),
    ),
    "prior": (
        rows(), {"prior": "{folder}/prior.csv"}, ["--prior", "{folder}/prior.csv"],
        ", row 2 (new): the log never shows this model, so its cost is unknown; give its mean cost of a request in a "
        "column cost of the prior, ",
        ("prior.csv", "or its price (prices=) for a log with tokens, or drop"),
        ("prior.csv", "or its price (--prices) for a log with tokens, or drop"),
    ),
    "columns": (
        rows("cost"), {}, [], "column 'cost' is missing; add or rename it, or name another one: ",
        ("", "read_log(columns={'cost': 'NAME'}); with token counts, give a price table (prices=)"),
        ("", "--column cost=NAME; with token counts, give a price table (--prices)"),
    ),
    "ratings": (
        rows("quality"), {}, [], "column 'quality' is missing; add or rename it, or name another one: ",
        ("", "read_log(columns={'quality': 'NAME'}); ratings that came later: feedback=FILE"),
        ("", "--column quality=NAME; ratings that came later: --feedback FILE"),
    ),
    "shadow": (
        [row | {"model": "ac"[i % 2], "available": ["a", "b", "c"]} for i, row in enumerate(rows())],
        {"shadow": "{folder}/sample"}, ["--shadow", "{folder}/sample"],
        "the shadow sample has no cost of answers of 'b', and the log no row of it: give costs or prices (",
        ("", "read_table(prices=...))"), ("", "--prices)"),
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A prior that names a new model, and a sample in which the answers of b have no cost."""
    (tmp_path / "prior.csv").write_text(PRIOR)
    (tmp_path / "sample").mkdir()
    asked = [f"q{i}" for i in range(20)]
    pd.DataFrame({"query_id": asked, "prompt": asked, "task": "t"}).to_parquet(tmp_path / "sample" / "queries.parquet")
    answers = {"query_id": [q for q in asked for _ in "abc"], "model": [*"abc"] * 20, "quality": 0.5}
    costs = [None if model == "b" else 1.0 for model in answers["model"]]
    pd.DataFrame(answers | {"cost": costs}).to_parquet(tmp_path / "sample" / "outcomes.parquet")
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_python_names_arguments_and_the_command_line_options(name, folder, capsys):
    log, keywords, options, said, python, command = CASES[name]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    keywords = {k: v.format(folder=folder) if isinstance(v, str) else v for k, v in keywords.items()}
    with pytest.raises(InputError) as raised:
        jr.fit(folder / "log.jsonl", **keywords)
    options = [word.format(folder=folder) for word in options]
    code, _, err = run(capsys, "fit", folder / "log.jsonl", "--out", folder / "router", *options)
    assert code == 2
    for text, (before, after) in ((str(raised.value), python), (err.splitlines()[-1], command)):
        assert f"{before}{said}{after}" in text
    assert "--" not in str(raised.value)
    assert not re.search(r"read_(log|table)|max_latency|split_time", err)


BAD = {"quality": lambda i: 4.0 if i == 7 else 1.0}


@pytest.mark.parametrize(
    ("log", "priced", "python", "command"),
    [
        (rows(**BAD), False, "(drop_bad=True), or give quality_range where",
         "(--drop-bad), or give --quality-range where"),
        (rows(cost=lambda i: None if i == 7 else 1.0), False, "give a price table (prices=) where tokens are counted",
         "give a price table (--prices) where tokens are counted"),
        (rows("cost", input_tokens=lambda i: 9, output_tokens=lambda i: 9), True,
         "or give a price table (prices=) that has the model", "or give a price table (--prices) that has the model"),
    ],
    ids=["scale", "cost", "price"],
)  # fmt: skip
def test_what_to_do_about_bad_rows(tmp_path, capsys, log, priced, python, command):
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    with pytest.raises(InputError) as raised:
        jr.read_log(tmp_path / "log.jsonl", prices="default" if priced else None)
    code, _, err = run(capsys, "doctor", tmp_path / "log.jsonl", *(["--prices", "default"] if priced else []))
    assert code == 2
    assert python in str(raised.value).splitlines()[0]
    assert command in err.splitlines()[0]


def test_the_four_ways_to_say_how_much_cost_matters(tmp_path, capsys):
    router = router_kinds.router("plug_in")
    router.save(tmp_path / "router")
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"features": [0.0] * 5}))
    with pytest.raises(InputError, match="cost_weight, normalised_cost_weight, budget, quality_target; got none"):
        router.route(np.zeros((1, 5), np.float32))
    route = ["route", tmp_path / "router", "--input", tmp_path / "prompts.jsonl"]
    code, _, err = run(capsys, *route, "--budget", "1", "--cost-weight", "1")
    assert code == 2
    given = "--cost-weight, --normalised-cost-weight, --budget, --quality-target; got --cost-weight and --budget"
    assert f"give exactly one of {given}" in err


def test_how_to_leave_out_a_model_that_nobody_rated():
    """``fit``, which says it, has no option --without."""
    log = jr.read_log(rows(quality=lambda i: None if i % 2 else 1.0))
    (python,) = oddities.unrated(log, None, None)
    with as_options():
        (command,) = oddities.unrated(log, None, None)
    assert python.endswith("leave it out with router.without('b').")
    assert command.endswith("leave it out with jaxroute route --without b.")
