"""Results of evaluation tools as tables: files that the tools wrote (tests/data/harness), every value known."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from jaxroute import cli
from jaxroute.data import harness, prices, shadow, tables
from jaxroute.data.harness import inspect_ai, openai_batch, scores
from jaxroute.data.harness.answers import Answer, File
from jaxroute.types import InputError

DATA = Path(__file__).parent / "data" / "harness"
SHARED = Path(__file__).parents[2] / "shared" / "cases" / "harness"
shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared cases are not on this machine")


def joined(*runs, **options):
    return harness.join([one for run in runs for one in harness.read(run)], **options)


def wide(found, column="quality"):
    """{query_id: {model: value}}, models in the table's order."""
    return {
        name: rows.set_index("model")[column].to_dict() for name, rows in found.outcomes.groupby("query_id", sort=False)
    }


def near(expected):
    return {name: {model: pytest.approx(y, nan_ok=True) for model, y in row.items()} for name, row in expected.items()}


def test_inspect_epochs_are_averaged_and_labels_mean_what_they_mean_to_inspect():
    found = joined(DATA / "inspect/quiz_small.eval", DATA / "inspect/quiz_large.eval", wanted=["graded"])
    small, large = "mockllm/small", "mockllm/large"
    assert wide(found) == near(
        {  # C and I; P and P against C and P; C and C against C and I; N and N against C and I
            "quiz/q1": {small: 0.5, large: 1.0},
            "quiz/q2": {small: 0.5, large: 0.75},
            "quiz/q3": {small: 1.0, large: 0.5},
            "quiz/q4": {small: 0.0, large: 0.5},
        }
    )
    assert found.queries["prompt"].tolist()[1] == "Name a colour of the French flag."
    assert set(found.queries["task"]) == {"quiz"}
    assert found.counts["models"] == [small, large]
    assert found.counts["repeats_averaged"] == found.counts["cost_unknown"] == 8
    assert found.outcomes["input_tokens"].unique().tolist() == [
        13.0
    ]  # 10 in the first epoch, 11 + 5 from a cache in the second
    assert found.outcomes["output_tokens"].unique().tolist() == [2.0]
    other = joined(DATA / "inspect", wanted=["graded"], labels={"P": 0.0, "N": 0.25})
    assert wide(other)["quiz/q2"] == {small: 0.0, large: 0.5}
    assert wide(other)["quiz/q4"] == {small: 0.25, large: 0.5}


def test_inspect_scorers_of_several_values_are_named_by_their_parts():
    run = (DATA / "inspect/quiz_small.eval", DATA / "inspect/quiz_large.eval")
    with pytest.raises(InputError, match=r"choose with --score NAME: graded, style\.brevity, style\.warmth, length$"):
        joined(*run)
    with pytest.raises(InputError, match="--score match: no such score; the scores are: graded, style"):
        joined(*run, wanted=["match"])
    assert joined(*run, wanted=["warmth"]).outcomes["quality"].tolist() == [0.5] * 8
    brevity = wide(joined(*run, wanted=["style.brevity"]))
    assert brevity["quiz/q4"] == {"mockllm/small": 1.0, "mockllm/large": 0.5}  # 1 / (1 + letters)


def test_inspect_usage_of_a_grader_that_is_the_same_model_is_not_the_answers():
    first, second, third = inspect_ai.read(File(DATA / "inspect/grader.json"))
    assert first.tokens[:2] == (10, 2)  # of 20 and 4, where the grader had 10 and 2
    assert first.scores == {"judged": 1}
    assert (second.failed, dict(second.scores)) == ("ValueError", {})
    assert np.isnan(third.scores["judged"])
    assert third.failed == ""


def test_inspect_choices_are_part_of_the_prompt():
    first, second = inspect_ai.read(File(DATA / "inspect/choice.json"))
    assert first.prompt == "Which is even?\n\nA) 1\nB) 2"
    assert second.prompt == "Which is even?\n\nA) 4\nB) 5"
    assert (first.scores, second.scores) == ({"choice": "C"}, {"choice": "I"})


def _members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: info for info in archive.infolist()}


def test_inspect_logs_that_were_cut_short_or_packed_otherwise(tmp_path):
    """A killed run has no header but a start; Python's zipfile alone packs with deflate."""
    whole = DATA / "inspect/quiz_small.eval"
    other = tmp_path / "cut.eval"
    with zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, info in _members(whole).items():
            if name == "_journal/start.json" or name.startswith("samples/q1"):
                archive.writestr(name, json.dumps(inspect_ai._member(whole, info)))
    first, second = inspect_ai.read(File(other))
    assert (first.model, first.task, first.scores["graded"], second.scores["graded"]) == (
        *("mockllm/small", "quiz", "C", "I"),
    )
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("samples/x.json", "{}")
    with pytest.raises(InputError, match=r"cut\.eval: has no header\.json"):
        list(inspect_ai.read(File(other)))


def test_inspect_logs_that_are_damaged(tmp_path):
    whole = (DATA / "inspect/quiz_small.eval").read_bytes()
    path = tmp_path / "run.eval"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"run\.eval: damaged or truncated"):
        harness.read(path)
    info = _members(DATA / "inspect/quiz_small.eval")["samples/q1_epoch_1.json"]
    at = info.header_offset + 200
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    with pytest.raises(InputError, match=r"run\.eval/samples/q1_epoch_1\.json: damaged or truncated"):
        harness.read(path)


GEN, MC = {"exact_match,first": 0.0, "exact_match,digits": 1.0}, {"acc": 1.0}


def test_lm_eval_filters_metrics_and_names():
    small, large = DATA / "lm_eval/small", DATA / "lm_eval/large"
    with pytest.raises(InputError, match=r"'tiny_gen': several scores; .*: exact_match,first, exact_match,digits$"):
        joined(small, large, wanted=["acc"])
    with pytest.raises(InputError, match=r"tiny_ppl.*row 0: for score 'perplexity' lower is better"):
        joined(small, large, wanted=["digits"])
    found = joined(*(folder / file for folder in (small, large) for file in _samples("gen", "mc")), wanted=["digits"])
    assert found.counts["scores"] == {"tiny_gen": "exact_match,digits", "tiny_mc": "acc"}
    assert found.counts["models"] == ["small", "large"]  # from the model's arguments: the written name is random
    quality = wide(found)
    assert [quality[f"tiny_gen/d{i}"] for i in range(3)] == [{"small": 0.0, "large": 1.0}] * 3
    assert [quality[f"tiny_mc/{i}"]["small"] for i in range(3)] == [0.0, 1.0, 1.0]
    assert found.queries["prompt"][0] == "Q: What is 2 + 2?\nA:"
    assert found.counts["cost_unknown"] == 12
    first = joined(*(folder / file for folder in (small, large) for file in _samples("gen")), wanted=["first"])
    assert first.outcomes["quality"].tolist() == [0.0] * 6
    named = joined(f"a={small / _samples('mc')[0]}", f"b={large / _samples('mc')[0]}")
    assert named.counts["models"] == ["a", "b"]


def _samples(*tasks):
    return [f"samples_tiny_{task}_2026-11-28T10-52-00.859789.jsonl" for task in tasks]


def test_lm_eval_without_results_goes_by_the_folder(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(DATA / "lm_eval/small" / _samples("mc")[0], tmp_path / name)
    assert joined(tmp_path).counts["models"] == ["one", "two"]
    drawn = json.loads((DATA / "lm_eval/small/results_2026-11-28T10-52-00.859789.json").read_text())
    folder = tmp_path / drawn["model_name_sanitized"]
    (tmp_path / "one").rename(folder)
    drawn["config"]["model_args"] = {}
    (folder / "results_2026-11-28T10-52-00.859789.json").write_text(json.dumps(drawn))
    with pytest.raises(InputError, match=r"jsonl: names no model; name it as NAME="):
        joined(tmp_path)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_promptfoo_in_its_three_forms(suffix):
    found = joined(DATA / f"promptfoo/tiny.{suffix}")
    score = 0.81 if suffix == "csv" else 0.8125  # (2 x 1 + 1 + 0.25) / 4; the .csv has two decimals
    both = {"small": score, "local:large": score}
    assert {row["prompt"]: wide(found)[row["query_id"]] for _, row in found.queries.iterrows()} == {
        "Answer: 2 + 2?": both,
        "2 + 2? Be brief, Ann, dear.": both,
        "Answer: 3 * 3?": {"local:large": 1.0},
        "3 * 3? Be brief, Bob.": {"local:large": 1.0},
        "Answer: 10 - 4?": {"local:large": 1.0},
        '10 - 4? Be brief, "Cy".': {"local:large": 1.0},
    }
    counts = found.counts
    assert (counts["prompts"], counts["answers"], counts["missing"], counts["failed"]) == (6, 8, 4, 4)
    # The provider that reports no cost is written as 0 by promptfoo: unknown, as are all in the .csv.
    costs = wide(found, "cost")[found.queries["query_id"][0]]
    expected = {"small": np.nan if suffix == "csv" else 0.001, "local:large": np.nan}
    assert costs == {model: pytest.approx(y, nan_ok=True) for model, y in expected.items()}
    assert set(joined(DATA / f"promptfoo/tiny.{suffix}", wanted=["exact"]).outcomes["quality"]) == {1.0}
    assert set(joined(DATA / f"promptfoo/tiny.{suffix}", wanted=["pass"]).outcomes["quality"]) == {1.0}


def test_promptfoo_exports_of_one_run_count_once():
    assert joined(DATA / "promptfoo").counts["repeats_averaged"] == 0
    assert joined(DATA / "promptfoo").counts["runs"] == {str(DATA / "promptfoo/tiny.json"): "promptfoo"}


def test_promptfoo_answers_from_its_cache_have_no_cost(tmp_path):
    whole = json.loads((DATA / "promptfoo/tiny.json").read_text())
    for result in whole["results"]["results"]:
        if result.get("response"):
            result["response"] |= {"cached": True, "cost": 0, "tokenUsage": {"total": 12, "cached": 12}}
    (tmp_path / "run.json").write_text(json.dumps(whole))
    assert joined(tmp_path / "run.json").counts["cost_unknown"] == 8


def test_promptfoo_columns_that_do_not_say_the_prompt(tmp_path):
    text = (DATA / "promptfoo/tiny.csv").read_text()
    path = tmp_path / "run.csv"
    path.write_text(text.replace("Answer: {{q}}", "my label"))
    with pytest.raises(InputError, match=r"run\.csv, row 0, column '\[small\] my label': holds a label instead of the"):
        harness.read(path)
    path.write_text(text.replace("Answer: {{q}}", "Answer: {{q | upper}}"))
    with pytest.raises(InputError, match=r"run\.csv.* export \.json or \.jsonl instead|holds a label instead"):
        harness.read(path)


def test_deepeval_less_is_better_shows_in_what_passed():
    small, large = DATA / "deepeval/small.json", DATA / "deepeval/large.json"
    found = joined(small, large, wanted=["Exact"])
    assert wide(found) == {
        "test_case_0": {"small": 1.0, "large": 1.0},
        "test_case_1": {"small": 0.0, "large": 1.0},
        "test_case_2": {"small": 1.0, "large": 1.0},
    }
    assert wide(found, "cost")["test_case_1"] == {"small": 0.002, "large": 0.002}
    assert found.counts["cost_unknown"] == 2
    with pytest.raises(InputError, match=r"for score 'Rude' lower is better; give its scale as --quality-range"):
        joined(small, large, wanted=["Rude"])
    turned = joined(small, large, wanted=["Rude"], quality_range=(1, 0))
    assert wide(turned)["test_case_1"] == near({"x": {"small": 0.1, "large": 0.9}})["x"]
    # A metric that failed to judge has no score: a hole, not 0.
    broken = joined(small, large, wanted=["Broken"])
    assert (broken.counts["prompts_without_a_score"], broken.counts["unscored"]) == (1, 2)


def test_helm_trials_are_repeats():
    with pytest.raises(InputError, match=r"choose with --score NAME: exact_match, quasi_exact_match, prefix_exact"):
        joined(DATA / "helm")
    found = joined(DATA / "helm", wanted=["exact_match"])
    assert wide(found) == {
        "tiny/id0": {"tiny/large": 1.0, "tiny/small": 1.0},
        "tiny/id1": {"tiny/large": 1.0, "tiny/small": 0.0},
        "tiny/id2": {"tiny/large": 1.0, "tiny/small": 0.0},
    }
    assert found.queries["prompt"].tolist() == ["What is 2 + 2?", "Capital of France?", "What is 10 - 4?"]
    assert found.counts["repeats_averaged"] == 6
    assert found.outcomes["input_tokens"].tolist() == [68, 72, 69] * 2


def test_helm_runs_that_are_not_whole(tmp_path):
    shutil.copytree(DATA / "helm/small", tmp_path / "run")
    (tmp_path / "run/scenario_state.json").write_text('{"request_states": []}')
    with pytest.raises(InputError, match=r"per_instance_stats\.json, instance 'id0': is not in scenario_state\.json"):
        harness.read(tmp_path)
    (tmp_path / "run/run_spec.json").unlink()
    with pytest.raises(InputError, match=r"per_instance_stats\.json: no run_spec\.json beside it"):
        harness.read(tmp_path)


def test_ragas_columns_name_no_model():
    small, large = DATA / "ragas/small.csv", DATA / "ragas/large.csv"
    with pytest.raises(InputError, match=r"small\.csv: names no model; name it as NAME=.*small\.csv$"):
        joined(small, large, wanted=["exact_match"])
    with pytest.raises(InputError, match="several scores; choose with --score NAME: exact_match, string_present"):
        joined(f"small={small}", f"large={large}")
    found = joined(f"small={small}", f"large={large}", wanted=["exact_match"])
    assert list(wide(found).values()) == [{"small": 1, "large": 1}, {"small": 0, "large": 1}, {"small": 1, "large": 0}]


ROWS = pd.DataFrame(
    {
        "prompt": ["p", "p", "q", "q"],
        "model_permaslug": ["openai/gpt-4o", "meta/llama", "openai/gpt-4o", "meta/llama"],
        "score": [1.0, 0.0, 0.5, None],
        "cost_total": [0.01, 0.0, 0.02, 0.001],
        "tokens_prompt": [10, 10, 20, 20],
        "tokens_completion": [5, 5, 5, 5],
        "finish": ["stop"] * 4,
    }
)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "json"])
def test_columns_as_openrouter_names_them(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    writers = {
        "csv": lambda: ROWS.to_csv(path, index=False),
        "parquet": lambda: ROWS.to_parquet(path),
        "jsonl": lambda: ROWS.to_json(path, orient="records", lines=True),
        "json": lambda: ROWS.to_json(path, orient="records"),
    }
    writers[suffix]()
    found = joined(path)
    assert wide(found) == {"0": {"openai/gpt-4o": 1.0, "meta/llama": 0.0}, "1": {"openai/gpt-4o": 0.5}}
    assert (found.counts["missing"], found.counts["unscored"]) == (1, 1)
    # Tokens were used, so a cost of 0 is none.
    assert wide(found, "cost") == near(
        {"0": {"openai/gpt-4o": 0.01, "meta/llama": np.nan}, "1": {"openai/gpt-4o": 0.02}}
    )
    listed = {"meta/llama": prices.Price(1.0, 2.0, "list", "2026")}
    assert wide(joined(path, prices=listed), "cost")["0"] == {"openai/gpt-4o": 0.01, "meta/llama": 20 / 1e6}
    listed["gpt-4o"] = prices.Price(2.0, 4.0)
    assert wide(joined(path, prices=listed), "cost")["1"] == {"openai/gpt-4o": 0.02}
    assert wide(joined(path, prices=listed, reprice=True), "cost")["1"] == {"openai/gpt-4o": 60 / 1e6}


def test_columns_as_litellm_writes_them(tmp_path):
    rows = [
        {
            "model": model,
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3},
            "response_cost": cost,
            "metadata": {"user": "u"},
            "helpful": good,
        }
        for model, cost, good in (("a", 0.25, True), ("b", None, False))
    ]
    (tmp_path / "spend.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = joined(tmp_path / "spend.jsonl")
    assert found.queries["prompt"].tolist() == ["Hello?"]
    assert wide(found) == {"0": {"a": 1.0, "b": 0.0}}
    assert found.outcomes["input_tokens"].tolist() == [9, 9]
    assert found.counts["cost_unknown"] == 1


def batch(folder, models=("gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"), url="/v1/chat/completions"):
    """Input and output files as documented; the third request of each expires, the fourth is refused."""
    for model in models:
        asked, answered = [], []
        for i in range(4):
            body = {"model": model[:-11], "messages": [{"role": "user", "content": f"Question {i}?"}]}
            asked.append({"custom_id": f"r{i}", "method": "POST", "url": url, "body": body})
            said = {"model": model, "choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}
            line = {"id": f"b{i}", "custom_id": f"r{i}", "response": {"status_code": 200, "body": said}, "error": None}
            if i == 2:
                line |= {"response": None, "error": {"code": "batch_expired", "message": "too late"}}
            if i == 3:
                refused = {"error": {"code": "content_policy_violation", "message": "no"}}
                line |= {"response": {"status_code": 400, "body": refused}}
            answered.append(line)
        for name, lines in (("input", asked), ("output", answered)):
            (folder / f"{name}_{model}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_batches_are_joined_to_their_inputs_and_errors_counted(tmp_path):
    batch(tmp_path)
    output = tmp_path / "output_gpt-4o-mini-2024-07-18.jsonl"
    answers = list(openai_batch.read(File(output)))
    assert [answer.prompt for answer in answers] == [f"Question {i}?" for i in range(4)]
    assert {answer.model for answer in answers} == {"gpt-4o-mini-2024-07-18"}
    assert [answer.failed for answer in answers] == ["", "", "batch_expired", "content_policy_violation"]
    with pytest.raises(InputError, match=r"row 0: no answer has a score; give them with --scores FILE"):
        joined(tmp_path)
    rows = [(f"r{i}", model, i / 2) for model in ("gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06") for i in range(2)]
    pd.DataFrame(rows, columns=["custom_id", "model", "quality"]).to_csv(tmp_path / "judge.csv", index=False)
    runs = harness.judged(list(harness.read(tmp_path)), tmp_path / "judge.csv")
    found = harness.join(runs, prices={"gpt-4o": prices.Price(2.5, 10.0)})  # the snapshot by its undated name
    assert found.counts["prompts_without_a_score"] == 2
    assert wide(found)["r1"] == {"gpt-4o-mini-2024-07-18": 0.5, "gpt-4o-2024-08-06": 0.5}
    assert wide(found, "cost")["r1"]["gpt-4o-2024-08-06"] == pytest.approx((100 * 2.5 + 10 * 10) / 1e6)
    assert found.counts["cost_unknown"] == 2
    assert found.counts["by_model"][0]["failed"] == {"batch_expired": 1, "content_policy_violation": 1}


def test_scores_of_their_own_file_that_do_not_fit(tmp_path):
    runs = harness.read(batch(tmp_path))
    path = tmp_path / "judge.csv"
    for text, message in {
        "custom_id,quality\nr9,1\n": r"judge\.csv, row 0: no answer to 'r9' in the runs",
        "custom_id,model,quality\nr0,gpt-5,1\n": r"row 0: no answer of model 'gpt-5' to 'r0' in the runs \(models: gpt",
        "custom_id,quality\nr0,1\nr0,0\n": r"judge\.csv, row 1: a second row for 'r0'",
        "name,quality\nr0,1\n": r"judge\.csv: no column of ids",
        "custom_id,comment\nr0,good\n": r"judge\.csv: no column of scores",
        "custom_id,quality\n,1\n": r"judge\.csv, row 0: custom_id is empty",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            harness.judged(runs, path)
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        harness.judged(runs, tmp_path / "none.csv")


def test_batches_without_their_input(tmp_path):
    batch(tmp_path)
    for file in tmp_path.glob("input_*"):
        file.unlink()
    with pytest.raises(InputError, match=r"output_gpt.*row 0: no input with custom_id 'r0' beside it"):
        harness.read(tmp_path)


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
        (rows(("p", "a", 1), ("p", "b", None)), r"model 'b' has no answer with a score \(all unscored\)"),
        (rows(("p", None, 1), ("p", "b", 1)), r"run\.csv: names no model"),
        (rows((None, "a", 1), ("p", "b", 1)), r"run\.csv, row 0: the prompt is empty"),
        (
            rows(("p", "a", 1), ("p", "b", 0), names=("text", "model", "quality")),
            r"run\.csv: no result files of a known tool",
        ),
        (rows(("p", "a", "good"), ("p", "b", "bad")), "row 0: no answer has a score"),
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
        with pytest.raises(InputError, match="--quality"):
            scores.mapping(wrong)
    answer = Answer(at="run.json, row 3", model="m", prompt="p", scores={"verdict": "superb"})
    with pytest.raises(
        InputError, match=r"run\.json, row 3: score 'verdict' is 'superb'; say what it is worth with --quality"
    ):
        harness.join([harness.Run("run.json", "test", [answer])])


def test_a_run_in_which_everything_failed_says_why():
    answers = [Answer(at=f"run, sample {i}", model="m", prompt="p", failed="ConnectionError") for i in range(3)]
    with pytest.raises(InputError, match=r"run, sample 0: all 3 answers failed \(3 ConnectionError\); run the eval"):
        scores.chosen(answers, ())
    with pytest.raises(InputError, match="run, sample 0: no answer has a score; give them with --scores"):
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


@shared
def test_the_shared_runs_of_inspect():
    for runs in (("run1.eval", "run2.eval"), (".",)):
        found = joined(*(SHARED / "inspect" / run for run in runs))
        assert (found.counts["prompts"], found.counts["answers"], found.counts["missing"]) == (10, 20, 0)
        means = found.outcomes.groupby("model")[["quality", "cost"]].mean()
        assert means["quality"].to_dict() == pytest.approx({"mockllm/small": 0.6, "mockllm/large": 0.8})
        assert means["cost"].to_dict() == pytest.approx({"mockllm/small": 4.35e-6, "mockllm/large": 9.6e-5})
    both = joined(SHARED / "inspect/run1.json", SHARED / "inspect/run2.json")
    assert wide(both) == {
        "arithmetic/q00": {"mockllm/small": 1.0, "mockllm/large": 0.0},
        "arithmetic/q01": {"mockllm/small": 0.0, "mockllm/large": 0.0},
    }


@shared
def test_the_shared_runs_of_lm_eval():
    with pytest.raises(InputError, match="'local_mc': several scores; choose with --score NAME: acc, acc_norm"):
        joined(SHARED / "lm_eval")
    found = joined(SHARED / "lm_eval/m1", SHARED / "lm_eval/m2", wanted=["acc", "exact_match"])
    assert found.counts["models"] == ["m1", "m2"]
    assert (found.counts["prompts"], found.counts["answers"], found.counts["cost_unknown"]) == (40, 80, 80)
    assert wide(found)["local_mc/q01"] == {"m1": 1.0, "m2": 0.0}


@shared
@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_the_shared_run_of_promptfoo(suffix):
    found = joined(SHARED / f"promptfoo/small_out.{suffix}")
    assert wide(found) == {
        **{f"q0{i}": {"small": float(i % 2), "large": 1.0, "echo": 0.0} for i in range(4)},
    }


@shared
def test_the_shared_batches():
    runs = harness.read(SHARED / "openai_batch")
    answers = [answer for run in runs for answer in run.answers]
    assert {answer.model for answer in answers} == {"gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"}
    assert [answer.failed for answer in answers if answer.failed] == ["batch_expired"] * 2
    assert {answer.prompt for answer in answers if answer.id == "q00"} == {
        "What is 29 + 14? Answer with the number only."
    }


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
