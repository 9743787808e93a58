"""Results of EvalPlus, BigCodeBench, BFCL, OpenCompass and SWE-bench as tables: every value of real files is known.

They name prompts by id: their problems are beside the results, and refused where they are not.
"""

import json
import shutil

import pytest
from harness_files import DATA, joined, wide

from jaxroute.data import harness, prices
from jaxroute.types import InputError

CODE = ("acme/large", "acme/small")


def small(found):
    return [row.get(found.counts["models"][1]) for row in wide(found).values()]


def test_evalplus_passes_where_the_tests_of_both_kinds_pass():
    """The second sample fails further tests, the fourth the first ones, and the fifth is right every other time."""
    found = joined(DATA / "evalplus")
    assert found.counts["models"] == list(CODE)
    assert small(found) == [1, 0, 0, 0, 0.5]
    assert [wide(found)[name][CODE[0]] for name in wide(found)] == [1] * 5
    assert small(joined(DATA / "evalplus", wanted=["base"])) == [1, 1, 0, 0, 0.5]
    assert (found.counts["scores"], found.counts["repeats_averaged"]) == ({"HumanEval": "plus"}, 10)
    assert found.queries["prompt"][0].startswith("def add_0(x: int) -> int:")
    assert found.counts["cost_unknown"] == 10


def test_evalplus_without_its_problems_is_refused(tmp_path):
    name = "acme--small_openai_temp_0.8_eval_results.json"
    shutil.copy(DATA / "evalplus" / name, tmp_path)
    says = r"results\.json, problem 'HumanEval/0': its prompt is in no \.jsonl file .* \(HumanEvalPlus-\*\.jsonl in"
    with pytest.raises(InputError, match=says):
        harness.read(tmp_path)
    problems = (DATA / "evalplus/HumanEvalPlus.jsonl").read_text()
    (tmp_path / "HumanEvalPlus.jsonl").write_text("\n".join(problems.splitlines()[1:]))
    with pytest.raises(InputError, match=says):
        harness.read(tmp_path)
    with pytest.raises(InputError, match=r"HumanEvalPlus\.jsonl: is a part of results of EvalPlus without"):
        joined(tmp_path / "HumanEvalPlus.jsonl")


def test_evalplus_of_the_first_tests_alone_and_of_a_folder(tmp_path):
    """Samples may be in a folder a model; then the folder has the model's name."""
    for name in ("small", "large"):
        folder = tmp_path / f"acme--{name}_vllm_temp_0.0"
        folder.mkdir()
        whole = json.loads((DATA / f"evalplus/acme--{name}_openai_temp_0.8_eval_results.json").read_text())
        for sample in (one for samples in whole["eval"].values() for one in samples):
            sample["plus_status"] = None
        (folder / "eval_results.json").write_text(json.dumps(whole))
    shutil.copy(DATA / "evalplus/HumanEvalPlus.jsonl", tmp_path)
    found = joined(tmp_path)
    assert (found.counts["models"], found.counts["scores"]) == (list(CODE), {"HumanEval": "base"})
    assert small(found) == [1, 1, 0, 0, 0.5]


def test_bigcodebench_prompts_are_of_the_split():
    found = joined(DATA / "bigcodebench/whole")
    assert found.counts["models"] == list(CODE)
    assert small(found) == [1, 0, 0, 0]
    assert found.queries["prompt"][0].startswith("Write add_0, which adds 0 to x.")


def test_bigcodebench_problems_whose_own_solution_fails_say_nothing(tmp_path):
    """A package was missing where the tests were run: every answer, right ones too, is written as a timeout."""
    with pytest.raises(InputError, match=r"has no answer with a score 'pass' \(8 the reference solution failed\)"):
        joined(DATA / "bigcodebench/broken")
    shutil.copytree(DATA / "bigcodebench", tmp_path / "runs")
    for path in (tmp_path / "runs/whole").glob("*pass_at_k.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"failed_tasks": ["BigCodeBench/1"]}))
    found = joined(tmp_path / "runs/whole")
    assert small(found) == [1, 0, 0]
    assert (found.counts["failed"], found.counts["prompts_without_a_score"]) == (4, 1)


def test_bigcodebench_of_an_unknown_split_is_refused(tmp_path):
    shutil.copy(DATA / "bigcodebench/BigCodeBench.jsonl", tmp_path)
    shutil.copy(next((DATA / "bigcodebench/whole").glob("*small*eval_results.json")), tmp_path / "m_eval_results.json")
    with pytest.raises(InputError, match=r"'BigCodeBench/0': which prompt was asked is unknown; keep the name"):
        harness.read(tmp_path)


def test_bfcl_lists_wrong_answers_and_scores_failed_calls():
    """The smaller model is wrong on the first sum and the second refusal; its call failed on the second sum."""
    found = joined(DATA / "bfcl", prices={"gpt-4o-mini-2024-07-18-FC": prices.Price(1, 10)})
    one, two = found.counts["models"]
    assert (one, two) == ("gpt-4.1-nano-2025-04-14-FC", "gpt-4o-mini-2024-07-18-FC")
    assert wide(found) == {
        "irrelevance/irrelevance_0": {one: 1, two: 1},
        "irrelevance/irrelevance_1": {one: 0, two: 1},
        "irrelevance/irrelevance_2": {one: 1, two: 1},
        "simple_python/simple_python_0": {one: 0, two: 1},
        "simple_python/simple_python_2": {one: 1, two: 1},
        "simple_python/simple_python_1": {two: 1},
    }
    assert found.counts["by_model"][0]["failed"] == {"Error during inference": 1}
    assert set(found.outcomes["cost"].dropna()) == {(140 + 580) / 1e6}
    assert "Find the area of a triangle with a base of 10 units and height of 5 units." in set(found.queries["prompt"])


def test_bfcl_calls_that_failed_where_no_function_was_wanted_are_right_to_it(tmp_path):
    shutil.copytree(DATA / "bfcl", tmp_path / "runs")
    path = next((tmp_path / "runs/result").rglob("*nano*/non_live/*irrelevance_result.json"))
    path.write_text(path.read_text().replace('"I have no function for this."', '"Error during inference: timed out"'))
    found = joined(tmp_path / "runs/score")
    assert found.counts["by_model"][0]["failed"] == {"Error during inference": 3}


def test_bfcl_files_that_do_not_belong_together(tmp_path):
    shutil.copytree(DATA / "bfcl", tmp_path / "runs")
    scores = next((tmp_path / "runs/score").rglob("*nano*/non_live/*irrelevance_score.json"))
    with pytest.raises(InputError, match=r"_result\.json: is a part of results of BFCL without their scores"):
        joined(tmp_path / "runs/result")
    results = next((tmp_path / "runs/result").rglob("*nano*/non_live/*irrelevance_result.json"))
    first, *others = results.read_text().splitlines()
    results.write_text("\n".join(others))
    with pytest.raises(InputError, match=r"score\.json: scores of 3 answers, not of the 2 in BFCL.*; run bfcl"):
        harness.read(scores)
    results.write_text("\n".join([first.replace("irrelevance_0", "irrelevance_9"), *others]))
    with pytest.raises(InputError, match=r"'irrelevance_9': its prompt is not in BFCL_v4_irrelevance\.json; leave"):
        harness.read(scores)
    (tmp_path / "runs/BFCL_v4_irrelevance.json").unlink()
    with pytest.raises(InputError, match=r"no BFCL_v4_irrelevance\.json in the folders around it.*; copy it from"):
        harness.read(scores)
    results.unlink()
    with pytest.raises(InputError, match=r"its results, BFCL_v4_irrelevance_result\.json, are neither beside it nor"):
        harness.read(scores)


@pytest.mark.parametrize(("task", "repeats"), [("em", 0), ("em2", 8), ("detailed", 0)])
def test_opencompass_says_of_each_answer_whether_it_is_right(task, repeats):
    found = joined(*(DATA / f"opencompass/results/{name}/{task}.json" for name in ("tiny", "large")))
    assert wide(found) == {f"{task}/{i}": {"tiny": float(i != 1), "large": 1} for i in range(4)}
    assert found.queries["prompt"][1] == "Capital of France?"
    assert (found.counts["repeats_averaged"], found.counts["cost_unknown"]) == (repeats, 8)


def test_opencompass_predictions_in_parts(tmp_path):
    shutil.copytree(DATA / "opencompass", tmp_path / "run")
    for name in ("tiny", "large"):
        path = tmp_path / f"run/predictions/{name}/em.json"
        listed = list(json.loads(path.read_text()).values())
        for i, half in enumerate((listed[:3], listed[3:])):
            path.with_name(f"em_{i}.json").write_text(json.dumps(dict(enumerate(half))))
        path.unlink()
    found = joined(*(tmp_path / f"run/results/{name}/em.json" for name in ("tiny", "large")))
    assert found.queries["prompt"].tolist()[2:] == ["Largest planet?", "What is 10 - 4?"]


def test_opencompass_without_a_result_of_each_answer_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"bare\.json: does not say which answers are right: run it with --dump-eval-"):
        joined(DATA / "opencompass")
    shutil.copytree(DATA / "opencompass", tmp_path / "run")
    path = tmp_path / "run/results/tiny/em.json"
    shutil.rmtree(tmp_path / "run/predictions/large")
    with pytest.raises(InputError, match=r"large/em\.json, question 0: its prompt is neither there nor in"):
        joined(path, tmp_path / "run/results/large/em.json")
    path.write_text('{"score": 75.0}')
    with pytest.raises(InputError, match=r"em\.json: does not say which answers are right"):
        joined(path)


def test_swe_bench_keeps_what_has_no_verdict_apart(tmp_path):
    """Not resolved, an empty patch, one that could not be evaluated, one without a network, and one not submitted."""
    files = [f"{name}={DATA / f'swe_bench/acme__{name}.first.json'}" for name in ("small", "large")]
    found = joined(*files)
    names = [f"acme__sums-{i}" for i in range(1, 6)]
    assert wide(found) == {
        names[0]: {"small": 1, "large": 1},
        names[1]: {"small": 0, "large": 1},
        names[2]: {"large": 1},
        names[4]: {"large": 1},
    }
    assert found.queries["prompt"][0] == "Sum of an empty list is None instead of 0."
    assert [one["failed"] for one in found.counts["by_model"]] == [
        {"empty patch": 1, "error": 1},
        {"infrastructure": 1},
    ]
    zero = joined(*files, failures="zero")
    assert [one["quality"] for one in zero.counts["by_model"]] == [1 / 4, 4 / 5]
    with pytest.raises(InputError, match=r"acme__large\.first\.json: names no model; name it as NAME="):
        joined(DATA / "swe_bench")
    shutil.copy(DATA / "swe_bench/acme__small.first.json", tmp_path)
    with pytest.raises(InputError, match=r"issue 'acme__sums-1': its text is in no \.parquet or \.jsonl file"):
        joined(f"small={tmp_path}")
    lost = json.loads((tmp_path / "acme__small.first.json").read_text()) | {"unresolved_ids": []}
    (tmp_path / "acme__small.first.json").write_text(json.dumps(lost))
    shutil.copy(DATA / "swe_bench/sums.jsonl", tmp_path)
    with pytest.raises(InputError, match=r"'acme__sums-2': is neither resolved nor unresolved, nor failed; make the"):
        joined(f"small={tmp_path}")
