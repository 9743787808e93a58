"""Results of evaluation tools as one table: runs that are joined or refused, the command, a run of one model."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from harness_files import DATA, joined, wide
from typer.testing import CliRunner

from jaxroute import cli
from jaxroute.data import harness, prices, shadow, tables
from jaxroute.data.harness import scores
from jaxroute.data.harness.answers import Answer
from jaxroute.types import InputError


def rows(*cells, names=("prompt", "model", "quality")):
    return pd.DataFrame(list(cells), columns=list(names))


def test_two_runs_of_one_model(tmp_path):
    """The same prompts twice are repeats; other prompts are refused: which run is meant cannot be told."""
    rows(("p", "a", 1), ("q", "a", 0)).to_csv(tmp_path / "a1.csv", index=False)
    rows(("p", "a", 0), ("q", "a", 0)).to_csv(tmp_path / "a2.csv", index=False)
    rows(("p", "b", 1), ("q", "b", 1)).to_csv(tmp_path / "b.csv", index=False)
    found = joined(tmp_path)
    assert wide(found)["0"] == {"a": 0.5, "b": 1.0}
    rows(("p", "a", 0), ("r", "a", 0)).to_csv(tmp_path / "a2.csv", index=False)
    with pytest.raises(
        InputError, match=r"model 'a': two runs of different prompts, .*a1\.csv \(2\) and .*a2\.csv \(2\)"
    ):
        joined(tmp_path)
    found = joined(tmp_path / "a1.csv", f"again={tmp_path / 'a2.csv'}", tmp_path / "b.csv")
    assert found.counts["models"] == ["a", "again", "b"]
    assert (found.counts["prompts"], found.counts["answers"], found.counts["missing"]) == (3, 6, 3)


def test_what_is_no_table(tmp_path):
    path = tmp_path / "run.csv"
    for frame, message in (
        (rows(("p", "a", 1), ("q", "b", 0)), "no prompt was answered by two models, .* use jaxroute fit LOG"),
        (rows(("p", "a", 1), ("q", "a", 0)), r"run\.csv: all answers are of one model \('a'\); give runs of two"),
        (rows(("p", "a", 7), ("p", "b", 0)), r"run\.csv, row 0: score 'quality' is 7, outside \[0, 1\]"),
        (rows(("p", "a", 1), ("p", "b", None)), r"model 'b' has no answer with a score 'quality' \(1 without it\)"),
        (rows(("p", None, 1), ("p", "b", 1)), r"run\.csv: names no model"),
        (rows((None, "a", 1), ("p", "b", 1)), r"run\.csv, row 0: the prompt is empty"),
        (
            rows(("p", "a", 1), ("p", "b", 0), names=("text", "model", "quality")),
            r"run\.csv: no results of a known tool",
        ),
        (rows(("p", "a", "good"), ("p", "b", "bad")), "row 0: score 'quality' is 'good'; say what it is worth"),
        (
            rows(("p", "a", 1, -1), ("p", "b", 0, 1), names=("prompt", "model", "quality", "cost")),
            r"run\.csv, row 0: cost is '-1', expected a number of at least 0",
        ),
    ):
        frame.to_csv(path, index=False)
        with pytest.raises(InputError, match=message):
            joined(path)
    with pytest.raises(InputError, match=r"none\.csv: no such file or folder"):
        harness.read(tmp_path / "none.csv")
    rows(("p", "a", 1), ("p", "b", 0)).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"x=.*: the results are of 2 models \(a, b\)"):
        harness.read(f"x={path}")


def test_failed_answers_and_near_duplicates_are_counted(tmp_path):
    frame = rows(
        *(("Who?", "a", 1, ""), ("who", "a", 1, ""), ("What?", "a", None, "timeout")),
        *(("Who?", "b", 0, ""), ("who", "b", 0, ""), ("What?", "b", 1, "")),
        names=("prompt", "model", "quality", "error"),
    )
    frame.to_csv(tmp_path / "run.csv", index=False)
    counts = joined(tmp_path / "run.csv").counts
    assert counts["near_duplicate_prompts"] == 1
    assert (counts["missing"], counts["failed"], counts["unscored"]) == (1, 1, 0)
    assert counts["by_model"][0]["failed"] == {"timeout": 1}
    kept = joined(tmp_path / "run.csv", failures="zero")
    assert wide(kept)["2"] == {"a": 0.0, "b": 1.0}
    assert (kept.counts["missing"], kept.counts["failed"]) == (0, 1)
    with pytest.raises(InputError, match="failures is 'keep'; use drop or zero"):
        joined(tmp_path / "run.csv", failures="keep")


def test_labels():
    assert scores.mapping("good=1, bad=0.25") == {"good": 1.0, "bad": 0.25}
    for wrong in ("good", "good=2", "good=x", "=,"):
        with pytest.raises(InputError, match=r"^quality .*: write LABEL=NUMBER"):
            scores.mapping(wrong)
    answer = Answer(at="run.json, row 3", model="m", prompt="p", scores={"verdict": "superb"})
    with pytest.raises(
        InputError, match=r"run\.json, row 3: score 'verdict' is 'superb'; say what it is worth with labels={'superb'"
    ):
        harness.join([harness.Run("run.json", "test", [answer])])


def test_a_run_in_which_everything_failed_says_why():
    answers = [Answer(at=f"run, sample {i}", model="m", prompt="p", failed="ConnectionError") for i in range(3)]
    with pytest.raises(InputError, match=r"run, sample 0: all 3 answers failed \(3 ConnectionError\); run the eval"):
        scores.chosen(answers, ())
    with pytest.raises(InputError, match=r"run, sample 0: no answer has a score; give them with data\.harness.judged"):
        scores.chosen([*answers, Answer(at="run, sample 3", model="m", prompt="p")], ())


def test_a_cost_that_is_not_known_is_kept_as_such(tmp_path):
    found = joined(DATA / "inspect/quiz_small.eval", DATA / "inspect/quiz_large.eval", wanted=["graded"])
    tables.write(tmp_path / "table", found.queries, found.outcomes)
    with pytest.raises(InputError, match=r"outcomes\.parquet, column 'cost', row 0 .*nan is not a finite number"):
        tables.load(tmp_path / "table")
    table = tables.load(tmp_path / "table", unknown_costs=True)
    assert table.available.all()
    assert np.isnan(table.outcomes.cost).all()
    assert not np.isnan(table.outcomes.quality).any()
    with pytest.raises(InputError, match="already exists and is not an empty folder"):
        tables.write(tmp_path / "table", found.queries, found.outcomes)


def test_the_command(tmp_path):
    runs = [str(DATA / "promptfoo/tiny.json")]
    said = CliRunner().invoke(cli.app, ["table", *runs, "--out", str(tmp_path / "t"), "--json"])
    found = json.loads(said.stdout)
    assert {key: found[key] for key in ("models", "prompts", "answers", "missing", "cost_unknown")} == {
        **{"models": ["local:large", "small"], "prompts": 6, "answers": 8, "missing": 4, "cost_unknown": 6},
    }
    assert found["by_model"][0]["cost"] is None
    assert tables.load(tmp_path / "t", unknown_costs=True).models == ("local:large", "small")
    again = CliRunner().invoke(cli.app, ["table", *runs, "--out", str(tmp_path / "t")])
    assert "already exists" in str(again.exception)
    said = CliRunner().invoke(cli.app, ["table", *runs, "--out", str(tmp_path / "u"), "--quality-range", "1,0"])
    assert "6 prompts, 8 answers; quality is score" in said.stdout
    assert "6 costs are unknown, so jaxroute fit --table takes cost weight 0 alone; with token counts" in said.stdout
    assert tables.load(tmp_path / "u", unknown_costs=True).outcomes.quality[1, 0] == pytest.approx(0.1875)
    wrong = CliRunner().invoke(cli.app, ["table", *runs, "--out", str(tmp_path / "v"), "--quality-range", "5"])
    assert "write WORST,BEST" in str(wrong.exception)


def test_the_page_shows_what_the_command_prints(tmp_path, monkeypatch):
    page = (DATA.parents[2] / "docs" / "tables.md").read_text()
    monkeypatch.chdir(DATA.parents[2])
    command, shown = page.split("```")[1].split(), page.split("```")[3].split("\n")[1:-1]
    out = str(tmp_path / "table")
    said = CliRunner().invoke(cli.app, [*command[3:-1], out]).stdout.replace(out, "table")
    words = [" ".join(re.sub("[^ -~]", " ", line).split()) for line in said.splitlines()]
    assert [line for line in words if line] == [" ".join(line.split()) for line in shown]


def test_a_run_of_one_model_is_a_shadow_sample(tmp_path):
    rows(("p", "a", 1), ("q", "a", 0)).to_csv(tmp_path / "run.csv", index=False)
    table = harness.load(tmp_path / "run.csv", alone=True)
    both = shadow.examples(table, ("b", "a"), encoder="hashed")
    assert np.asarray(both.available).tolist() == [[False, True]] * 2
    assert np.asarray(both.outcomes.quality)[:, 1].tolist() == [1.0, 0.0]
    tables.write(tmp_path / "folder", *(pd.DataFrame(c) for c in (
        {"query_id": ["0"], "prompt": ["p"], "task": ["t"]},
        {"query_id": ["0"], "model": ["a"], "quality": [1.0], "cost": [0.5]})))  # fmt: skip
    assert harness.load(tmp_path / "folder", alone=True).models == ("a",)
    with pytest.raises(InputError, match="only one model"):
        harness.load(tmp_path / "folder")


def test_a_truth_value_is_none_of_the_numbers_of_a_scale(tmp_path):
    """On a scale of stars, true is not one star, which would be the worst there is."""
    stars = [{"prompt": f"q{i}", "model": "a", "task": "stars", "score": i} for i in (1, 3, 5)]
    passed = [{"prompt": f"p{i}", "model": "a", "task": "tests", "score": i > 0} for i in range(3)]
    both = [{**row, "model": model} for model in "ab" for row in stars + passed]
    (tmp_path / "run.jsonl").write_text("\n".join(map(json.dumps, both)))
    found = joined(tmp_path / "run.jsonl", quality_range=(1, 5))
    assert found.outcomes["quality"].tolist() == [0, 0.5, 1, 0, 1, 1] * 2
    found = joined(tmp_path / "run.jsonl", quality_range=(1, 5), labels={"True": 0.25})
    assert found.outcomes["quality"].tolist() == [0, 0.5, 1, 0, 0.25, 0.25] * 2


def test_ids_that_look_like_the_numbers_given_to_others(tmp_path):
    cells = [(name, f"p{i}", model, 1) for model in "ab" for i, name in enumerate(("x (2)", "x", "x"))]
    rows(*cells, names=("id", "prompt", "model", "quality")).to_csv(tmp_path / "run.csv", index=False)
    found = joined(tmp_path / "run.csv")
    assert found.queries["prompt"].tolist() == ["p0", "p1", "p2"]
    assert found.queries["query_id"].nunique() == 3


@pytest.mark.parametrize("files", [("run",), ("a", "b")])
def test_costs_in_two_currencies_are_no_costs(tmp_path, files):
    currencies = {"a": "USD", "b": "EUR", "c": None}
    cells = [(f"p{i}", model, 1, 0.5, currency) for model, currency in currencies.items() for i in (0, 1)]
    frame = rows(*cells, names=("prompt", "model", "quality", "cost", "currency"))
    for file in files:
        part = frame if file == "run" else frame[frame["model"] == file]
        part.to_csv(tmp_path / f"{file}.csv", index=False)
    with pytest.raises(InputError, match=r"costs are in several currencies \(eur, usd\): convert them to one"):
        joined(*(tmp_path / f"{file}.csv" for file in files))
    frame.assign(currency="€").to_csv(tmp_path / "one.csv", index=False)
    assert joined(tmp_path / "one.csv").outcomes["cost"].tolist() == [0.5] * 6
    price = {"a": prices.Price(1.0, 1.0)}
    unknown = frame.assign(
        currency="€", input_tokens=9, output_tokens=9, cost=frame["cost"].where(frame["model"] != "a")
    )
    unknown.to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(InputError, match=r"\(eur, usd; prices are in US dollars\)"):
        joined(tmp_path / "one.csv", prices=price)
    unknown.assign(currency="$").to_csv(tmp_path / "one.csv", index=False)
    assert joined(tmp_path / "one.csv", prices=price).counts["cost_unknown"] == 0


def test_models_called_almost_alike_and_repeats_are_said_by_model(tmp_path):
    cells = [("p", "GPT-4o", 1), ("q", "gpt-4o", 0), ("q", "openai/gpt-4o", 0), ("p", "b", 1)]
    rows(*cells, ("q", "b", 1), ("q", "b", 0)).to_csv(tmp_path / "run.csv", index=False)
    found = joined(tmp_path / "run.csv").counts
    assert found["named_alike"] == [["GPT-4o", "gpt-4o", "openai/gpt-4o"]]
    assert {one["model"]: one["repeats_averaged"] for one in found["by_model"]}["b"] == 1
    assert sum(one["repeats_averaged"] for one in found["by_model"]) == found["repeats_averaged"]
    ran = CliRunner().invoke(cli.app, ["table", str(tmp_path / "run.csv"), "--out", str(tmp_path / "table")])
    assert "'GPT-4o', 'gpt-4o' and 'openai/gpt-4o' count as models of their own" in " ".join(ran.output.split())


def test_a_score_of_an_id_is_of_one_answer(tmp_path):
    """A judge's file without a column of models would give every model the same score."""
    cells = [(f"r{i}", f"p{i}", model) for model in "ab" for i in (0, 1)]
    rows(*cells, names=("id", "prompt", "model")).to_csv(tmp_path / "run.csv", index=False)
    judge = rows(("r0", 1), ("r1", 0), names=("id", "quality"))
    judge.to_csv(tmp_path / "judge.csv", index=False)
    runs = harness.read(tmp_path / "run.csv")
    with pytest.raises(InputError, match=r"judge\.csv, row 0: 'r0' is the id of answers of several models \(a, b\)"):
        harness.judged(runs, tmp_path / "judge.csv")
    pd.concat([judge.assign(model=model) for model in "ab"]).to_csv(tmp_path / "judge.csv", index=False)
    found = harness.join(harness.judged(runs, tmp_path / "judge.csv"))
    assert wide(found) == {"r0": {"a": 1, "b": 1}, "r1": {"a": 0, "b": 0}}
    judge.to_csv(tmp_path / "judge.csv", index=False)
    one = [run._replace(answers=[answer for answer in run.answers if answer.model == "a"]) for run in runs]
    assert len(harness.judged(one, tmp_path / "judge.csv")[0].answers) == 2


def test_a_score_of_an_id_is_of_one_prompt(tmp_path):
    """Tools number the prompts of each task from 0: a judge's row for 0 would count for all of them."""
    cells = [("0", f"{task}?", model, task) for task in ("x", "y") for model in "ab"]
    rows(*cells, names=("id", "prompt", "model", "task")).to_csv(tmp_path / "run.csv", index=False)
    rows(*(("0", model, 1) for model in "ab"), names=("id", "model", "quality")).to_csv(
        tmp_path / "judge.csv", index=False
    )
    with pytest.raises(InputError, match=r"judge\.csv, row 0: '0' is the id of several prompts \(.*row 0, .*row 2\)"):
        harness.judged(harness.read(tmp_path / "run.csv"), tmp_path / "judge.csv")


@pytest.mark.parametrize(
    ("value", "labels", "worth"),
    [(True, "true=0,false=1", 0), ("True", "true=0", 0), ("PASS", "pass=0.5", 0.5), (1.0, "1=0.25", 0.25),
     ("2.0", "2=0.75", 0.75), ("N/A", "good=1", np.nan), ("None", "good=1", np.nan)],
)  # fmt: skip
def test_labels_count_however_a_tool_writes_them(value, labels, worth):
    """--quality true=0 had no effect on truth values, and pass=0.5 none on PASS: both counted 1."""
    assert scores.quality(value, scores.mapping(labels)) == pytest.approx(worth, nan_ok=True)
    assert scores.labelled(value, scores.mapping(labels)) == (not np.isnan(worth))


def test_two_main_scores_are_a_choice(tmp_path):
    """Which file came last decided whether score or quality was meant."""
    rows(("p", "a", 0.5), names=("prompt", "model", "score")).to_csv(tmp_path / "a.csv", index=False)
    both = rows(("p", "b", 0.1, 0.9), names=("prompt", "model", "score", "quality"))
    both.to_csv(tmp_path / "b.csv", index=False)
    for order in (("a.csv", "b.csv"), ("b.csv", "a.csv")):
        with pytest.raises(InputError, match=r"several scores; choose with .*: (score, quality|quality, score)"):
            joined(*(tmp_path / name for name in order))
    assert wide(joined(tmp_path / "a.csv", tmp_path / "b.csv", wanted=["score"]))["0"] == {"a": 0.5, "b": 0.1}


def test_files_that_are_not_read_are_said(tmp_path):
    """A file of the same name in another form, one of unknown columns, and one that is no table went without a word."""
    for name, frame in {
        "run.jsonl": rows(("p", "b", 0)),
        "run.csv": rows(("p", "a", 1)),
        "c.csv": rows(("p", "c", 1)),
        "d.csv": rows(("p", "d", 1), names=("Prompt!", "model", "quality")),
    }.items():
        path = tmp_path / "runs" / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_json(path, orient="records", lines=True)
    (tmp_path / "runs/vllm.json").write_text('{"request_throughput": 1, "mean_ttft_ms": 2}')
    (tmp_path / "runs/notes.txt").write_text("Notes.")
    (tmp_path / "runs/empty.json").write_text('{"results": {"results": []}}')
    found = joined(tmp_path / "runs")
    assert found.counts["models"] == ["c", "b"]
    why = {name.rpartition("/")[2]: why for name, why in found.counts["files_left_out"].items()}
    assert why.pop("vllm.json").startswith("a benchmark of vLLM: times of requests")
    assert why.pop("empty.json") == "no answers in this file of promptfoo"
    assert why == {"run.csv": "taken for another form of run.jsonl", "d.csv": "no answers in a known form"}
    ran = CliRunner().invoke(cli.app, ["table", str(tmp_path / "runs"), "--out", str(tmp_path / "table")])
    assert "4 files are not read" in ran.output
    told = []
    harness.load(tmp_path / "runs", note=told.append)
    assert told[0].endswith("1 prompts, 2 answers; quality is quality")
    assert "4 files are not read" in told[1]


def test_a_score_by_its_whole_name_is_that_one():
    """Where another score had the name as a part, it could not be chosen at all."""
    answer = Answer(at="a", model="m", prompt="p", scores={"judge.correct": 0, "correct": 1, "judge.style": 0})
    assert scores.chosen([answer], ["correct"]) == {"all": "correct"}
    with pytest.raises(InputError, match=r"several scores; .*: judge\.correct, judge\.style$"):
        scores.chosen([answer], ["judge"])
