"""Reports of Pydantic Evals, Langfuse, Opik and Weave as tables: files that they wrote of functions that ask a server.

The smaller model fails on one question and is wrong on another, whose judge of words fails; see
``test_harness_experiments`` for what the server counts.
"""

import json

import pytest
from harness_files import DATA, joined, wide
from test_harness_experiments import ASKED, LISTED, PAID, by_prompt, failures

from jaxroute.data import logs
from jaxroute.types import InputError

UNJUDGED = {text: row for text, row in ASKED.items() if text != "Capital of France?"}
"""The judge of words fails on one question, whoever answers."""


def named(tool, form="{}.json"):
    return [f"{name}={DATA / tool / form.format(name)}" for name in ("small", "large")]


def halves(found):
    return {text: tuple(None if one is None else one / 2 for one in row) for text, row in found.items()}


def test_pydantic_evals_repeats_failures_and_labels():
    files = named("pydantic_evals", "repeated_{}.json")
    with pytest.raises(InputError, match=r"=\[NAME\]: similarity, words, correct, EqualsExpected, verdict"):
        joined(*files)
    found = joined(*files, wanted=["correct"])
    assert by_prompt(found) == ASKED
    assert (failures(found), found.counts["repeats_averaged"]) == ([{"BadRequestError": 2}, {}], 7)
    assert found.queries["query_id"][0] == "quiz/case 0"
    assert found.counts["cost_unknown"] == 7
    unjudged = joined(*files, wanted=["words"])
    assert by_prompt(unjudged) == halves(UNJUDGED)
    assert (unjudged.counts["unscored"], unjudged.counts["prompts_without_a_score"]) == (4, 1)
    with pytest.raises(InputError, match=r"cases, number 0: score 'verdict' is 'good'; say what it is worth"):
        joined(*files, wanted=["verdict"])
    with pytest.raises(InputError, match=r"names no model; name it as NAME="):
        joined(DATA / "pydantic_evals/repeated_small.json", wanted=["correct"])


def test_pydantic_evals_models_and_tokens_of_what_was_recorded(tmp_path):
    """The model is in the report's metadata; cached tokens are part of the input."""
    files = [DATA / f"pydantic_evals/traced_{name}.json" for name in ("small", "large")]
    found = joined(*files, prices=LISTED)
    assert (found.counts["models"], by_prompt(found)) == (["small", "large"], ASKED)
    assert by_prompt(found, "cost")["What is 2 + 2?"] == pytest.approx(tuple(PAID.values()))
    whole = json.loads(files[1].read_text())
    for case in whole["cases"]:
        case["metrics"]["cost"] = 0.25
    (tmp_path / "large.json").write_text(json.dumps(whole))
    own = joined(files[0], tmp_path / "large.json")
    assert {row["large"] for row in wide(own, "cost").values()} == {0.25}
    assert own.counts["cost_unknown"] == 3


@pytest.mark.parametrize("form", ["{}.json", "js_{}.json"])
def test_langfuse_leaves_out_what_failed(form):
    files = named("langfuse", form)
    found = joined(*files, wanted=["correct"])
    assert by_prompt(found) == ASKED
    assert (failures(found), found.counts["missing"]) == ([{}, {}], 1)
    assert by_prompt(joined(*files, wanted=["words"])) == halves(UNJUDGED)


def test_opik_a_metric_that_failed_is_written_as_nothing():
    """Two trials of the smaller model, whose task did not fail: otherwise there is no experiment."""
    files = [f"{name}={DATA / 'opik' / name}.json" for name in ("tiny", "large")]
    found = joined(*files, wanted=["equals_metric"])
    assert by_prompt(found) == {**ASKED, "Largest planet?": (1, 1)}
    assert found.counts["repeats_averaged"] == 4
    unjudged = joined(*files, wanted=["words"])
    assert by_prompt(unjudged) == dict.fromkeys(UNJUDGED, (0.5, 0.5))
    assert (unjudged.counts["unscored"], unjudged.counts["prompts_without_a_score"]) == (3, 1)


def test_opik_exports_name_models_and_failures(tmp_path):
    found = joined(DATA / "opik/export", wanted=["equals_metric"])
    assert (found.counts["models"], by_prompt(found)) == (["small", "large"], ASKED)
    assert failures(found) == [{"no output": 1}, {}]
    assert by_prompt(joined(DATA / "opik/export", wanted=["words"])) == halves(UNJUDGED)
    for path in (DATA / "opik/export").iterdir():
        whole = json.loads(path.read_text())
        for item in whole["items"]:
            judged = item["evaluation_task_output"] == {"output": item["dataset_item_data"]["reference"]}
            item["assertion_results"] = [{"value": "is right", "passed": judged, "reason": None}]
        (tmp_path / path.name).write_text(json.dumps(whole))
    assert by_prompt(joined(tmp_path, wanted=["is right"])) == ASKED


def test_weave_scorers_of_several_values():
    """Rows of its results beside the examples. A scorer that fails leaves a row without any score."""
    files = named("weave", "{}.jsonl")
    with pytest.raises(InputError, match=r"choose with wanted=\[NAME\]: model_latency, correct\.correct, words"):
        joined(*files)
    found = joined(*files, wanted=["correct.correct"])
    assert by_prompt(found) == UNJUDGED
    assert (found.counts["unscored"], found.counts["prompts_without_a_score"]) == (3, 1)
    assert by_prompt(joined(*files, wanted=["words"])) == halves(UNJUDGED)


def test_inputs_that_name_their_model_are_that_models(tmp_path):
    """One experiment over a grid of models: answers of several models are no repeats of one."""
    whole = json.loads((DATA / "langfuse/large.json").read_text())
    items = whole["item_results"]
    grid = [json.loads(json.dumps(item)) for _ in "ab" for item in items]
    for i, item in enumerate(grid):
        item["item"]["input"] = {"model": "ab"[i // len(items)], "question": item["item"]["input"], "language": "en"}
        item["evaluations"] = [{"name": "correct", "value": i // len(items)}]
    path = tmp_path / "grid.json"
    path.write_text(json.dumps(whole | {"item_results": grid}))
    found = joined(path)
    assert set(map(str, (row for row in wide(found).values()))) == {"{'a': 0.0, 'b': 1.0}"}
    with pytest.raises(InputError, match=r"grid\.json: the results are of 2 models \(a, b\); pass one run per model"):
        joined(f"mine={path}")


def test_records_that_are_lines_of_a_json_file(tmp_path):
    rows = [{"prompt": f"What is {i} + 2?", "model": name, "score": i % 2} for i in range(4) for name in "ab"]
    (tmp_path / "run.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(wide(joined(tmp_path / "run.json"))) == 4
    (tmp_path / "run.json").write_text(json.dumps(rows[0]) + "\n{")
    with pytest.raises(InputError, match=r"run\.json: damaged or truncated"):
        joined(tmp_path / "run.json")


def test_what_was_answered_and_expected_is_no_score(tmp_path):
    rows = [{"prompt": f"{i} * 1", "model": name, "output": i % 2, "expected": 1} for i in range(4) for name in "ab"]
    (tmp_path / "run.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match=r"no answer has a score"):
        joined(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("pydantic_evals/traced_small.json", "a report of Pydantic Evals: every case's"),
        ("langfuse/small.json", "an experiment of Langfuse: every item's"),
        ("langfuse/js_small.json", "an experiment of Langfuse: every item's"),
        ("opik/tiny.json", "an experiment of Opik: every item's"),
        ("opik/export/experiment_e0.json", "an experiment of Opik: every item's"),
        ("evalplus/acme--small_openai_temp_0.8_eval_results.json", "results of EvalPlus or BigCodeBench: answers"),
        (
            "bfcl/score/gpt-4.1-nano-2025-04-14-FC/non_live/BFCL_v4_irrelevance_score.json",
            "scores of BFCL: wrong answers",
        ),
    ],
)
def test_reports_are_no_logs(path, says):
    with pytest.raises(InputError, match=rf"{says}.*; read them with jaxroute table"):
        logs.load(DATA / path)


@pytest.mark.parametrize(
    ("name", "record", "says"),
    [
        ("rep.report.jsonl", {"entry_type": "start_run setup", "_config.version": "0.17.1"}, "a report of garak: att"),
        ("rep.hitlog.jsonl", {"prompt": "x", "score": 1, "attempt_id": "1", "detector": "d"}, "a hit log of garak: at"),
        ("out.json", {"metadata": {}, "config": {}, "benchmarks": [], "conclusions": []}, "a benchmark of GuideLLM: t"),
        ("out.json", {"request_throughput": 1.5, "mean_ttft_ms": 20.5}, "a benchmark of vLLM: times of requests"),
        ("STS.json", {"task_name": "STS", "mteb_version": "2", "scores": {}}, "results of MTEB: scores of embeddings"),
        ("run.json", [{"task_id": 1, "reward": 1.0, "info": {}, "traj": [], "trial": 0}], "results of tau-bench: con"),
        (".aider.results.json", {"testcase": "t", "tests_outcomes": [True]}, "results of aider's benchmark: exercises"),
    ],
)
def test_results_that_are_known_and_are_no_table(tmp_path, name, record, says):
    (tmp_path / name).write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"{name}: {says}"):
        joined(tmp_path / name)
