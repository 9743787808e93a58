"""Results of lm-eval, lighteval, promptfoo, DeepEval, HELM and Ragas as tables: every value of real files is known."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from harness_files import DATA, SHARED, joined, near, shared, wide

from jaxroute.data import harness
from jaxroute.types import InputError

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
    with pytest.raises(InputError, match=r"for score 'Rude' lower is better; give its scale as quality_range="):
        joined(small, large, wanted=["Rude"])
    turned = joined(small, large, wanted=["Rude"], quality_range=(1, 0))
    assert wide(turned)["test_case_1"] == near({"x": {"small": 0.1, "large": 0.9}})["x"]
    # A metric that failed to judge has no score: a hole, not 0.
    broken = joined(small, large, wanted=["Broken"])
    assert (broken.counts["prompts_without_a_score"], broken.counts["unscored"]) == (1, 2)


def test_helm_trials_are_repeats():
    with pytest.raises(InputError, match=r"choose with wanted=\[NAME\]: exact_match, quasi_exact_match, prefix_exact"):
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
    with pytest.raises(
        InputError, match=r"small\.csv: names no model; name it as NAME=.*small\.csv, or add a column model$"
    ):
        joined(small, large, wanted=["exact_match"])
    with pytest.raises(InputError, match=r"several scores; choose with wanted=\[NAME\]: exact_match, string_present"):
        joined(f"small={small}", f"large={large}")
    found = joined(f"small={small}", f"large={large}", wanted=["exact_match"])
    assert list(wide(found).values()) == [{"small": 1, "large": 1}, {"small": 0, "large": 1}, {"small": 1, "large": 0}]


@shared
def test_the_shared_runs_of_lm_eval():
    with pytest.raises(InputError, match=r"'local_mc': several scores; choose with wanted=\[NAME\]: acc, acc_norm"):
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


def test_lighteval_empty_answers_of_interfaces_are_failures():
    """The fifth question met a server that was down: lighteval wrote an empty answer, and a score of 0."""
    runs = DATA / "lighteval/details/openai"
    with pytest.raises(InputError, match=r"several scores; choose with wanted=\[NAME\]: em, f1"):
        joined(runs)
    found = joined(runs, wanted=["em"])
    small, large = "openai/small", "openai/large"
    assert wide(found) == {
        "tiny:sums|0/3": {large: 1.0, small: 0.0},
        "tiny:sums|0/1": {large: 1.0, small: 1.0},
        "tiny:sums|0/2": {large: 1.0, small: 0.0},
        "tiny:sums|0/0": {large: 1.0, small: 1.0},
    }
    assert found.queries["prompt"].tolist()[0] == "Largest planet?"
    assert (found.counts["prompts_without_a_score"], found.counts["cost_unknown"]) == (1, 8)
    assert [one["failed"] for one in found.counts["by_model"]] == [{"empty answer": 1}] * 2
    assert joined(runs, wanted=["em"], failures="zero").counts["by_model"][0]["quality"] == pytest.approx(0.8)


@pytest.mark.parametrize(("score", "small"), [("em", [0, 0, 0, 0, 0]), ("acc", [0, 1, 0, 1, 0])])
def test_lighteval_rows_of_one_document_are_one_answer(score, small):
    """A task with generations and log-probabilities has a row a document of each."""
    found = joined(DATA / "lighteval/details/mine-small", DATA / "lighteval/details/mine-large", wanted=[score])
    assert [row["mine-small"] for row in wide(found).values()] == small
    assert [row["mine-large"] for row in wide(found).values()] == [1] * 5
    assert (found.counts["repeats_averaged"], found.counts["unscored"], found.counts["failed"]) == (0, 0, 0)


def test_lighteval_names_models_and_directions_in_its_results(tmp_path):
    shutil.copytree(DATA / "lighteval", tmp_path / "out")
    for path in (tmp_path / "out/results/openai").rglob("*.json"):
        path.write_text(path.read_text().replace('"higher_is_better": true', '"higher_is_better": false'))
    with pytest.raises(InputError, match=r"row 0: for score 'em' lower is better"):
        joined(tmp_path / "out/details/openai", wanted=["em"])
    shutil.rmtree(tmp_path / "out/results")  # the folders name the model too, as a whole
    assert joined(tmp_path / "out/details/openai", wanted=["em"]).counts["models"] == ["openai/large", "openai/small"]
    moved = [file.rename(tmp_path / file.name) for file in sorted((tmp_path / "out").rglob("details_tiny_both*"))]
    with pytest.raises(InputError, match=r"names no model; name it as NAME="):
        joined(*moved, wanted=["em"])
    assert joined(f"a={moved[0]}", f"b={moved[1]}", wanted=["em"]).counts["models"] == ["a", "b"]


def test_lighteval_answers_to_another_prompt_are_failures(tmp_path):
    """A question that was changed: lighteval's cache has the answer to the old one, with what was asked then."""
    shutil.copytree(DATA / "lighteval/details/openai", tmp_path / "details/openai")
    for path in (tmp_path / "details").rglob("*.parquet"):
        frame = pd.read_parquet(path)
        frame["doc"] = [doc | {"query": doc["query"].replace("2 + 2", "3 * 3")} for doc in frame["doc"]]
        frame.to_parquet(path)
    found = joined(tmp_path / "details", wanted=["em"])
    assert "tiny:sums|0/0" not in wide(found)
    assert [one["failed"]["answer to another prompt"] for one in found.counts["by_model"]] == [1, 1]


def test_lighteval_of_an_earlier_form_is_refused(tmp_path):
    """Its column ``instruction`` is no prompt, and its scores are in a column of records."""
    path = tmp_path / "details_harness|tiny|0_2024-10-12T16-59-31.972299.parquet"
    row = {"full_prompt": "What is 2 + 2?", "instruction": "Be brief.", "metrics": {"em": 1}, "padded": 0}
    pd.DataFrame([row]).to_parquet(path)
    with pytest.raises(InputError, match=r"written by lighteval before 0\.10; run it again with a later version"):
        joined(path)


def test_alpaca_eval_preferences_are_of_the_second_answer():
    """2 where it was preferred to the reference's; the judge was unsure of the third; its price is no answer's."""
    files = [DATA / f"alpaca_eval/{name}.json" for name in ("small", "large")]
    with pytest.raises(InputError, match=r"score 'preference' is 2, outside \[0, 1\]; give its scale as quality_range"):
        joined(*files, wanted=["preference"])
    found = joined(*files, wanted=["preference"], quality_range=(1, 2))
    assert wide(found) == {"tiny/0": {"small": 0.0, "large": 1.0}, "tiny/1": {"small": 1.0, "large": 1.0}}
    assert (found.counts["cost_unknown"], found.counts["prompts_without_a_score"]) == (4, 1)


def test_what_helm_writes_beside_a_run_is_no_answer(tmp_path):
    """helm-summarize writes the instances, which have prompts, into every run's folder: none of them could be read."""
    alone = joined(DATA / "helm", wanted=["exact_match"])
    shutil.copytree(DATA / "helm", tmp_path / "runs")
    for stats in (tmp_path / "runs").rglob("per_instance_stats.json"):
        instances = [{"input": {"text": "What?"}, "references": [], "split": "test", "id": "id1"}]
        stats.with_name("instances.json").write_text(json.dumps(instances))
    found = joined(tmp_path / "runs", wanted=["exact_match"])
    assert wide(found) == wide(alone)
    assert len(found.counts["runs"]) == 2
    assert not found.counts["files_left_out"]


def test_failures_of_early_promptfoo_are_failures(tmp_path):
    """Before there was a failureReason, an answer that failed has the score 0 and no output."""
    whole = json.loads((DATA / "promptfoo/tiny.json").read_text())
    for result in whole["results"]["results"]:
        del result["failureReason"]
    (tmp_path / "tiny.json").write_text(json.dumps(whole))
    found, expected = joined(tmp_path / "tiny.json"), joined(DATA / "promptfoo/tiny.json")
    assert found.counts["by_model"] == expected.counts["by_model"]
    assert found.counts["failed"] == 4


def test_records_that_are_no_answers_are_counted(tmp_path):
    """HELM's perturbed instances and DeepEval's conversations were left out without a word."""
    shutil.copytree(DATA / "helm", tmp_path / "helm")
    for stats in (tmp_path / "helm").rglob("per_instance_stats.json"):
        records = json.loads(stats.read_text())
        stats.write_text(json.dumps([*records, {**records[0], "perturbation": {"name": "typos"}}]))
    found = joined(tmp_path / "helm", wanted=["exact_match"])
    assert wide(found) == wide(joined(DATA / "helm", wanted=["exact_match"]))
    (sentence,) = found.counts["left_out"]
    assert re.fullmatch(r"2 perturbed instances are left out \(1 \S+, 1 \S+\)", sentence)
    (source, *_) = sorted((DATA / "deepeval").rglob("*.json"))
    whole = json.loads(source.read_text())
    (whole.get("testRunData") or whole)["conversationalTestCases"] = [{"turns": []}]
    (tmp_path / "run.json").write_text(json.dumps(whole))
    (run,) = harness.read(f"mine={tmp_path / 'run.json'}")
    assert [tuple(record) for record in run.left_out] == [("mine", "conversations")]
    (whole.get("testRunData") or whole)["testCases"] = []
    (tmp_path / "run.json").write_text(json.dumps(whole))
    with pytest.raises(InputError, match=r"run\.json: 1 conversations are left out \(1 mine\); check the files"):
        joined(f"mine={tmp_path / 'run.json'}")
