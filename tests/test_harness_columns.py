"""Tables of columns as OpenRouter and LiteLLM name them, and batches of OpenAI with scores of their own file."""

import json

import numpy as np
import pandas as pd
import pytest
from harness_files import DATA, SHARED, joined, near, shared, wide

from jaxroute.data import harness, prices
from jaxroute.data.harness import openai_batch
from jaxroute.data.harness.answers import File
from jaxroute.types import InputError

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
    with pytest.raises(InputError, match=r"row 0: no answer has a score; give them with data\.harness\.judged"):
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


@shared
def test_the_shared_batches():
    runs = harness.read(SHARED / "openai_batch")
    answers = [answer for run in runs for answer in run.answers]
    assert {answer.model for answer in answers} == {"gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"}
    assert [answer.failed for answer in answers if answer.failed] == ["batch_expired"] * 2
    assert {answer.prompt for answer in answers if answer.id == "q00"} == {
        "What is 29 + 14? Answer with the number only."
    }


# 140 input tokens of which 30 were cached and 10 written to the cache, and 58 output tokens of which 50 are reasoning.
USAGES = (
    {"input_tokens": 100, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 10, "output_tokens": 58},
    {"prompt_tokens": 140, "completion_tokens": 58, "total_tokens": 198,
     "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 10}},
    {"input_tokens": 140, "output_tokens": 58, "total_tokens": 198,
     "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 10},
     "output_tokens_details": {"reasoning_tokens": 50}},
)  # fmt: skip
CACHED = prices.Price(1e6, 1e9, cached_input=1e3, cache_write=1e9)


def test_cached_tokens_of_every_provider_have_their_own_price(tmp_path):
    rows = [{"prompt": "q", "model": f"m{i}", "score": 1, "usage": said} for i, said in enumerate(USAGES)]
    (tmp_path / "nested.jsonl").write_text("\n".join(map(json.dumps, rows)))
    flat = [{"prompt": "q", "model": "flat", "score": 1} | USAGES[0], {"prompt": "q", "model": "m0", "score": 1}]
    pd.DataFrame(flat).to_csv(tmp_path / "flat.csv", index=False)
    listed = dict.fromkeys(("m0", "m1", "m2", "flat"), CACHED)
    right = 100 + 30e-3 + 10e3 + 58e3
    found = wide(joined(tmp_path / "nested.jsonl", prices=listed), "cost")["0"]
    assert found == near({"0": {"m0": right, "m1": right, "m2": right}})["0"]
    assert wide(joined(tmp_path / "flat.csv", prices=listed), "cost")["0"]["flat"] == pytest.approx(right)


def test_batches_of_responses_have_cached_tokens_too(tmp_path):
    asked, answered = [], []
    for model, said in zip(("a", "b", "c"), USAGES, strict=True):
        body = {"model": model, "input": "Question?"}
        asked.append({"custom_id": model, "method": "POST", "url": "/v1/responses", "body": body})
        reply = {"status_code": 200, "body": {"model": model, "usage": said}}
        answered.append({"id": model, "custom_id": model, "response": reply, "error": None})
    (tmp_path / "input.jsonl").write_text("\n".join(map(json.dumps, asked)))
    (tmp_path / "output.jsonl").write_text("\n".join(map(json.dumps, answered)))
    tokens = [answer.tokens for answer in openai_batch.read(File(tmp_path / "output.jsonl"))]
    assert [(one.input_tokens, one.cached, one.written) for one in tokens] == [(140, 30, 10)] * 3
    assert tokens[2].reasoning == 50


@pytest.mark.parametrize("counts", [{"total_tokens": 198}, {"total_tokens": 0}, {"output_tokens": 58}])
def test_a_cost_of_0_beside_a_count_is_unknown(tmp_path, counts):
    """Tools that have no price of a model, or did not see its usage, write 0; without counts, a 0 is meant."""
    row = {"prompt": "q", "score": 1, "cost": 0.0}
    pd.DataFrame([row | {"model": name} | counts for name in "ab"]).to_csv(tmp_path / "rows.csv", index=False)
    assert joined(tmp_path / "rows.csv").counts["cost_unknown"] == 2
    pd.DataFrame([row | {"model": name} for name in "ab"]).to_csv(tmp_path / "rows.csv", index=False)
    assert joined(tmp_path / "rows.csv").outcomes["cost"].tolist() == [0.0, 0.0]


def test_trulens_records_have_the_version_of_the_app_as_their_model(tmp_path):
    found = joined(DATA / "trulens/records.csv", wanted=["short"])
    assert wide(found) == {"0": {"small": 1.0, "large": 1.0}, "1": {"small": 0.0, "large": 0.0}}
    assert found.queries["prompt"].tolist() == ["What is 2 + 2?", "Capital of France?"]
    assert found.counts["cost_unknown"] == 4  # of a model that it has no price for, TruLens writes 0
    path = tmp_path / "records.csv"
    pd.read_csv(DATA / "trulens/records.csv").assign(total_cost=[0.1, 0.2, 0.3, 0.4]).to_csv(path, index=False)
    assert wide(joined(path, wanted=["short"]), "cost")["1"] == {"small": 0.2, "large": 0.4}
    pd.read_csv(DATA / "trulens/records.csv").drop(columns="record_id").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"names no model"):  # a release of another tool's app is no model
        joined(path, wanted=["short"])
    path.write_text((DATA / "trulens/records.csv").read_text().replace(",True,True", ",False,True"))
    with pytest.raises(InputError, match=r"row 0: for score 'short' lower is better"):
        joined(path, wanted=["short"])


def test_an_instruction_and_its_input_are_one_prompt(tmp_path):
    """The input alone was the prompt: two instructions for one input were averaged as repeats."""
    asked = [("Translate to French.", "Hello", 1), ("Translate to German.", "Hello", 0), ("Tell a joke.", None, 1)]
    rows = [{"instruction": i, "input": x, "model": m, "score": y} for i, x, y in asked for m in "ab"]
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("rows.csv", "rows.jsonl"):
        found = joined(tmp_path / name)
        assert found.queries["prompt"].tolist() == [f"{i}\n\n{x}" if x else i for i, x, _ in asked]
        assert found.outcomes["quality"].tolist() == [1, 1, 0, 0, 1, 1]


def test_times_and_an_index_are_no_scores(tmp_path):
    """Latencies below a second were the quality of a file without a score."""
    frame = pd.DataFrame({"prompt": ["p", "p"], "model": ["a", "b"], "latency": [0.3, 0.9]})
    frame.to_csv(tmp_path / "rows.csv")
    with pytest.raises(InputError, match=r"row 0: no answer has a score"):
        joined(tmp_path / "rows.csv")
    frame.assign(accuracy=[1, 0], verdict=["pass", "N/A"]).to_csv(tmp_path / "rows.csv")
    with pytest.raises(InputError, match=r"several scores; choose with .*: accuracy, verdict$"):
        joined(tmp_path / "rows.csv")
    found = joined(tmp_path / "rows.csv", wanted=["accuracy"])
    assert wide(found) == {"0": {"a": 1, "b": 0}}


def test_what_tools_write_of_no_error_is_no_failure(tmp_path):
    """error: false was refused, and None in a .csv counted as a failure; errors that begin with a bracket did not."""
    none = (False, None, "None", "", 0)
    rows = [{"prompt": f"p{i}", "model": m, "score": 1, "error": e} for i, e in enumerate(none) for m in "ab"]
    broken = ("timeout: 30 s", "timeout: 31 s", "(429) Too many requests", {"code": 500, "message": "?"}, True)
    rows += [{"prompt": f"q{i}", "model": "a", "score": 0, "error": e} for i, e in enumerate(broken)]
    rows += [{"prompt": f"q{i}", "model": "b", "score": 1} for i, _ in enumerate(broken)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    for name in ("rows.jsonl", "rows.csv"):
        counts = joined(tmp_path / name).counts
        assert counts["by_model"][0]["failed"] == {"timeout": 2, "429": 1, "500": 1, "True": 1}
        assert (counts["by_model"][0]["answers"], counts["by_model"][1]["failed"]) == (5, {})
