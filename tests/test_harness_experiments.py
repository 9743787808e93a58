"""Experiments of platforms as tables: files that they wrote of functions that ask a loopback server.

The smaller model fails on one question and is wrong on another. The server counts 140 tokens in, 30 of them cached, and
58 out, 50 of them reasoning, and answers as another name with a date.
"""

import json
import shutil

import pandas as pd
import pytest
from harness_files import DATA, joined, wide

from jaxroute.data import logs, prices
from jaxroute.data.harness import mlflow
from jaxroute.data.harness.answers import File
from jaxroute.data.harness.inputs import asked
from jaxroute.types import InputError

ASKED = {
    "What is 2 + 2?": (1, 1),
    "Capital of France?": (0, 1),
    "Largest planet?": (None, 1),
    "What is 10 - 4?": (1, 1),
}
LISTED = {"small": prices.Price(1, 10, cached_input=0.1), "large": prices.Price(5, 50, cached_input=0.5)}
PAID = {"small": (110 + 3 + 580) / 1e6, "large": 5 * (110 + 3 + 580) / 1e6}


def by_prompt(found, column="quality"):
    """{prompt: (of the small, of the large model)}, None for a hole."""
    texts = found.queries.set_index("query_id")["prompt"]
    return {
        texts[name]: (*(row.get(model) for model in found.counts["models"]),)
        for name, row in wide(found, column).items()
    }


def failures(found):
    return [one["failed"] for one in found.counts["by_model"]]


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_phoenix_runs_that_failed_are_scored_and_are_holes(suffix):
    """Two repetitions of the small model; a failed judge is no score, and a label counts where there is no number."""
    files = [f"{name}={DATA / 'phoenix' / name}.{suffix}" for name in ("small", "large")]
    found = joined(*files, wanted=["correct"])
    assert by_prompt(found) == ASKED
    assert (failures(found), found.counts["repeats_averaged"]) == ([{"BadRequestError": 2}, {}], 3)
    unjudged = joined(*files, wanted=["words"])
    assert by_prompt(unjudged)["Capital of France?"] == (0.5, None)
    assert unjudged.counts["unscored"] == 1
    with pytest.raises(InputError, match=r"score 'verdict' is 'good'; say what it is worth with labels="):
        joined(*files, wanted=["verdict"])
    assert by_prompt(joined(*files, wanted=["verdict"], labels={"good": 0.75}))["What is 2 + 2?"] == (0.75, 0.75)
    with pytest.raises(InputError, match=r"names no model; name it as NAME="):
        joined(DATA / f"phoenix/small.{suffix}", wanted=["correct"])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_langsmith_runs_that_failed_are_scored_and_are_holes(tmp_path, suffix):
    for name in ("small", "large"):
        frame = pd.read_csv(DATA / f"langsmith/{name}.csv")
        writers = {"csv": lambda path, frame=frame: frame.to_csv(path, index=False), "parquet": frame.to_parquet,
                   "jsonl": lambda path, frame=frame: frame.to_json(path, orient="records", lines=True)}  # fmt: skip
        writers[suffix](tmp_path / f"{name}.{suffix}")
    files = [f"{name}={tmp_path / name}.{suffix}" for name in ("small", "large")]
    with pytest.raises(InputError, match=r"several scores; choose with wanted=\[NAME\]: correct, style"):
        joined(*files)
    found = joined(*files, wanted=["correct"])
    assert by_prompt(found) == ASKED
    assert failures(found) == [{"BadRequestError": 1}, {}]


def test_braintrust_results_have_their_scores_in_one_column():
    files = [f"{name}={DATA / 'braintrust' / name}.jsonl" for name in ("small", "large")]
    with pytest.raises(InputError, match=r"several scores; choose with wanted=\[NAME\]: correct, style"):
        joined(*files)
    found = joined(*files, wanted=["correct"])
    assert by_prompt(found) == ASKED
    assert failures(found) == [{"Error code: 400": 1}, {}]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_mlflow_evaluations_know_model_and_usage_from_their_traces(suffix):
    """The large model was asked twice about planets; what was expected (``answer``) is no score."""
    found = joined(DATA / "mlflow/small.csv", DATA / f"mlflow/large.{suffix}", wanted=["correct"], prices=LISTED)
    assert found.counts["models"] == ["small-2026-05-01", "large-2026-05-01"]
    assert by_prompt(found) == ASKED
    assert failures(found) == [{"ERROR": 1}, {}]
    paid = by_prompt(found, "cost")
    assert paid.pop("Largest planet?") == (None, pytest.approx(2 * PAID["large"]))
    assert all(cost == pytest.approx(tuple(PAID.values())) for cost in paid.values())
    with pytest.raises(
        InputError, match=r"several scores; choose with wanted=\[NAME\]: (correct|verdict|words)(, \w+){2}$"
    ):
        joined(DATA / "mlflow/small.csv", DATA / "mlflow/large.csv")
    words = joined(DATA / "mlflow/small.csv", DATA / f"mlflow/large.{suffix}", wanted=["words"])
    assert by_prompt(words)["Capital of France?"] == (0.5, None)


def traces(tmp_path, change):
    """The large model's traces, changed."""
    found = [json.loads(line) for line in (DATA / "mlflow/large.jsonl").read_text().splitlines()]
    for trace in found:
        change(trace)
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(trace) + "\n" for trace in found))
    return list(mlflow.read(File(tmp_path / "traces.jsonl")))


def calls(trace):
    return [span for span in trace["data"]["spans"] if span["parent_span_id"]]


def test_mlflow_of_calls_of_several_models_names_none_and_prices_none(tmp_path):
    def change(trace):
        for number, span in enumerate(calls(trace)):
            answer = json.loads(span["attributes"]["mlflow.spanOutputs"]) | {"model": f"m{number}"}
            span["attributes"]["mlflow.spanOutputs"] = json.dumps(answer)

    twice = [answer for answer in traces(tmp_path, change) if answer.prompt == "Largest planet?"]
    assert [(answer.model, str(answer.tokens.input_tokens)) for answer in twice] == [(None, "nan")]


def test_mlflow_a_framework_around_its_providers_call_counts_once(tmp_path):
    def change(trace):
        for span in calls(trace):
            outer = json.loads(json.dumps(span)) | {"span_id": "AAAAAAAAAAA="}
            trace["data"]["spans"].append(outer)
            span["parent_span_id"] = outer["span_id"]

    first = next(answer for answer in traces(tmp_path, change) if answer.prompt == "What is 2 + 2?")
    assert (first.tokens.input_tokens, first.tokens.cached, first.tokens.output_tokens) == (140, 30, 58)


def test_mlflow_a_call_that_failed_before_another_one_costs_nothing(tmp_path):
    def change(trace):
        for number, span in enumerate(calls(trace)):
            span["attributes"]["mlflow.llm.cost"] = '{"total_cost": 0.25}'
            if trace["info"]["request_preview"].startswith('{"question": "Largest') and not number:
                span["status"]["code"] = "STATUS_CODE_ERROR"
                del span["attributes"]["mlflow.spanOutputs"], span["attributes"]["mlflow.llm.cost"]

    assert [(one.cost, one.model, one.failed) for one in traces(tmp_path, change)] == [
        (0.25, "large-2026-05-01", "")
    ] * 4


def test_mlflow_the_latest_feedback_of_a_name_counts_and_unknown_is_none(tmp_path):
    def change(trace):
        notes = trace["info"]["assessments"]
        older = {"assessment_name": "correct", "last_update_time": "2020-01-01", "feedback": {"value": False}}
        unsure = {"assessment_name": "verdict", "last_update_time": "2030-01-01", "feedback": {"value": "unknown"}}
        trace["info"]["assessments"] = [*notes, older, unsure, older | {"valid": False, "last_update_time": "2031"}]

    assert {(one.scores["correct"], one.scores["verdict"]) for one in traces(tmp_path, change)} == {(True, None)}


def test_mlflow_without_spans_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"traces\.jsonl, row 0: no trace with spans; write result_df"):
        traces(tmp_path, lambda trace: trace["data"].update(spans=[]))


def test_openai_evals_first_sampling_is_the_answer():
    """Cached tokens are billed once; the price of the small model is given without its date."""
    files = [DATA / f"evals/quiz_{name}.jsonl" for name in ("small", "large")]
    listed = {"gpt-3.5-turbo": LISTED["small"], "gpt-4": LISTED["large"]}
    found = joined(*files, prices=listed)
    assert found.counts["models"] == ["gpt-3.5-turbo-2026-05-01", "gpt-4-2026-05-01"]
    assert by_prompt(found) == {text: (float(text != "Capital of France?"), 1.0) for text in ASKED}
    assert all(cost == pytest.approx(tuple(PAID.values())) for cost in by_prompt(found, "cost").values())
    assert (found.counts["scores"], found.counts["cost_unknown"]) == ({"quizfuzzy": "correct"}, 0)
    assert by_prompt(joined(*files, wanted=["f1_score"]))["What is 2 + 2?"] == (1, 1)


def test_openai_evals_grades_that_could_not_be_read_are_none():
    """They are written as a score of 0; the grader's sampling is no part of what the model used."""
    found = joined(*(DATA / f"evals/graded_{name}.jsonl" for name in ("small", "large")), prices=LISTED)
    assert by_prompt(found) == {"Capital of France?": (0, 1)}
    assert (found.counts["unscored"], found.counts["prompts_without_a_score"], found.counts["cost_unknown"]) == (
        2,
        1,
        2,
    )


def test_openai_evals_errors_and_samples_without_prompts(tmp_path):
    shutil.copytree(DATA / "evals", tmp_path / "runs")
    path = tmp_path / "runs/quiz_small.jsonl"
    head, *lines = path.read_text().splitlines()
    error = json.loads(lines[0]) | {"type": "error", "event_id": 99, "data": {"type": "Timeout", "message": "late"}}
    path.write_text("\n".join([head, *lines, json.dumps(error)]))
    assert failures(joined(path, tmp_path / "runs/quiz_large.jsonl")) == [{"Timeout": 1}, {}]
    path.write_text("\n".join([head, *(line for line in lines if '"sampling"' not in line)]))
    with pytest.raises(
        InputError, match=r"quiz_small\.jsonl, row \d: sample 'quizfuzzy\.dev\.\d' has no event of type"
    ):
        joined(path)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("phoenix/small.json", "an experiment of Phoenix"),
        ("phoenix/small.csv", "an experiment of Phoenix"),
        ("langsmith/small.csv", "an experiment of LangSmith"),
        ("evals/quiz_small.jsonl", "a run of OpenAI's Evals"),
    ],
)
def test_experiments_are_no_logs(path, says):
    with pytest.raises(InputError, match=rf"{says}: every .* answers; read them with jaxroute table"):
        logs.load(DATA / path)


def test_inputs_of_several_fields():
    assert asked({"topic": "Owls"}, "row 0") == {"prompt": "Owls", "key": ""}
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}
    assert asked(chat, "row 0") == {"prompt": "Hello?", "key": ""}
    first, second = (asked({"context": one, "question": "Who?"}, "row 0") for one in "ab")
    assert first["prompt"] == second["prompt"] == "Who?"
    assert first["key"] != second["key"]
    with pytest.raises(
        InputError, match=r"row 7: the inputs are 'a', 'b', none of which is known to be the prompt; call"
    ):
        asked({"a": "x", "b": "y"}, "row 7")
    with pytest.raises(InputError, match=r"row 7: the inputs are empty, none of which"):
        asked({}, "row 7")
    with pytest.raises(InputError, match=r"row 7: the prompt is a int; it has to be a text or a list of messages"):
        asked({"a": 3}, "row 7")


@pytest.mark.parametrize("cell", [[{"role": "user", "content": "Hello?"}], {"question": "Hello?"}])
def test_messages_as_python_prints_them_are_read_and_what_is_not_whole_is_refused(tmp_path, cell):
    frame = pd.DataFrame({"input": [cell] * 2, "model": ["a", "b"], "score": [0, 1]})
    frame.to_csv(tmp_path / "run.csv", index=False)
    frame.to_json(tmp_path / "run.json", orient="records")
    for name in ("run.csv", "run.json"):
        assert by_prompt(joined(tmp_path / name)) == {"Hello?": (0, 1)}
    frame.astype({"input": str}).replace("'Hello", "nan, 'Hello", regex=True).to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(InputError, match=r"odd\.csv, row 0: the prompt is .*, messages as Python prints them; write"):
        joined(tmp_path / "odd.csv")
