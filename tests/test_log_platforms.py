"""Exports of platforms (Opik, Weave): files that they wrote of requests to a loopback server, and every row's truth."""

import json
import shutil

import numpy as np
import pytest
from platform_logs import COST, LISTED, OPIK, WEAVE, expected, rows
from tool_logs import records_of

from jaxroute.data import logs
from jaxroute.types import InputError


def test_opik_calls_in_traces():
    """Three calls in traces of one thread, of which one is streamed, a failed one, and one that is a trace itself."""
    log = logs.load(OPIK, prices=LISTED, score="correct")
    assert rows(log) == expected(
        {
            "What is 2 + 2?": "small",
            "Capital of France?": "large",
            "Largest planet?": "large",
            "What is 10 - 4?": "small",
        }
    )
    assert log.quality.tolist() == [0, 1, 0, 0]
    assert log.group.tolist() == [0, 0, 0, 1]
    assert log.left_out == {"failed requests": {"small": 1}, "spans of other things": {"no model": 4}}
    assert log.latency == pytest.approx([0.027136, 0.051711, 0.067128, 0.046350], abs=1e-6)
    assert log.counts["feedback on no request of the log"] == 0
    with pytest.raises(InputError, match=r"several evaluations; choose the quality with score=NAME: correct, style"):
        logs.load(OPIK, prices=LISTED)


def changed(tmp_path, change):
    """The first trace, changed."""
    shutil.copytree(OPIK, tmp_path / "log")
    first = sorted((tmp_path / "log").glob("trace_*"))[0]
    trace = json.loads(first.read_text())
    change(trace, next(span for span in trace["spans"] if span["type"] == "llm"))
    first.write_text(json.dumps(trace))
    return tmp_path / "log"


def test_opik_a_score_of_a_trace_of_two_calls_is_of_none_of_them(tmp_path):
    def change(trace, span):
        trace["spans"].append(span | {"id": "another", "metadata": {"id": "chatcmpl-9", "jaxroute.propensity": 0.25}})

    log = logs.load(changed(tmp_path, change), prices=LISTED, score="style", drop_bad=True)
    assert log.counts["missing quality"] == 2
    assert np.nanmin(log.propensity) == 0.25


@pytest.mark.parametrize(
    ("counts", "billed"),
    [  # 100 in, of which 60 read from a cache, and 20 out
        ({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "original_usage.input_tokens": 30,
          "original_usage.output_tokens": 20, "original_usage.cache_read_input_tokens": 60,
          "original_usage.cache_creation_input_tokens": 10}, 40 + 6 + 200),
        ({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "original_usage.prompt_token_count": 100,
          "original_usage.cached_content_token_count": 60, "original_usage.candidates_token_count": 5,
          "original_usage.thoughts_token_count": 15}, 40 + 6 + 200),
        ({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "original_usage.input_tokens": 100,
          "original_usage.input_tokens_details.cached_tokens": 60, "original_usage.output_tokens": 20,
          "original_usage.output_tokens_details.reasoning_tokens": 15}, 40 + 6 + 200),
        ({"prompt_tokens": 100, "completion_tokens": 20}, 100 + 200),
    ],
    ids=["anthropic", "google", "responses", "by hand"],
)  # fmt: skip
def test_opik_counts_of_every_provider(tmp_path, counts, billed):
    log = logs.load(changed(tmp_path, lambda _, span: span.update(usage=counts)), prices=LISTED, score="style")
    assert rows(log)["What is 2 + 2?"] == ("small", pytest.approx(billed / 1e6))


def test_opik_its_own_cost_counts_and_0_is_none(tmp_path):
    log = logs.load(
        changed(tmp_path, lambda _, span: span.update(total_estimated_cost=0.5)), prices=LISTED, score="style"
    )
    assert rows(log)["What is 2 + 2?"] == ("small", 0.5)
    shutil.rmtree(tmp_path / "log")
    log = logs.load(
        changed(tmp_path, lambda _, span: span.update(total_estimated_cost=0.0)), prices=LISTED, score="style"
    )
    assert rows(log)["What is 2 + 2?"] == ("small", pytest.approx(COST["small"]))


def test_opik_as_csv_is_refused(tmp_path):
    (tmp_path / "trace_1.csv").write_text(
        "trace_id,trace_project_id,span_id,span_input_messages\n1,2,3,[{'role': 1}]\n"
    )
    with pytest.raises(InputError, match=r"an export of Opik as CSV: .*; export with --format json"):
        logs.load(tmp_path)


def test_a_mapped_column_in_which_all_rows_have_one_value_is_there():
    asked = [
        {"prompt": f"p{i}", "model": "ab"[i % 2], "quality": 1, "cost": 0.1, "metadata": {"user": "u"}}
        for i in range(4)
    ]
    log = logs.load(asked, columns={"group": "metadata.user"})
    assert log.group.tolist() == [0, 0, 0, 0]
    assert not [name for name in log.counts if name.startswith("rows, in none of which")]
    with pytest.raises(InputError, match=r"no record has 'metadata\.team', which is mapped to group"):
        logs.load(asked, columns={"group": "metadata.team"})


def rated(tmp_path, change):
    """Calls of Weave, changed: each call of a model, and the function that it is in."""
    calls = records_of(WEAVE.name)
    for call in calls:
        change(call, call["attributes"]["weave"].get("kind"))
    (tmp_path / "calls.jsonl").write_text("".join(json.dumps(call) + "\n" for call in calls))
    return tmp_path / "calls.jsonl"


def test_weave_calls_and_the_functions_around_them():
    """What a call used is in the summaries of the functions around it too, and counts once."""
    log = logs.load(WEAVE, prices=LISTED, feedback=[{"request_id": "chatcmpl-9", "quality": 1}])
    answered = {"What is 2 + 2?": "small", "Capital of France?": "large", "Largest planet?": "large"}
    assert rows(log) == expected(answered | {"What is 10 - 4?": "small"})
    assert np.nan_to_num(log.quality, nan=-1).tolist() == [-1, 1, -1, -1]
    assert log.group.tolist() == [0, 0, 0, 1]
    assert log.left_out == {"failed requests": {"small": 1}, "spans of other things": {"no model": 4}}
    assert log.latency == pytest.approx([0.029037, 0.055258, 0.077991, 0.046977], abs=1e-6)


def test_weave_feedback_of_a_call_or_of_the_function_around_it(tmp_path):
    def change(call, kind):
        told = [("wandb.reaction.1", {"emoji": "👎"}, "10:00"), ("wandb.reaction.1", {"emoji": "👍"}, "11:00"),
                ("wandb.annotation.correct", {"value": True}, "10:00"), ("wandb.note.1", {"note": "fine"}, "10:00"),
                ("wandb.runnable.judge", {"output": {"style": 0.5, "why": "dry"}}, "10:00")]  # fmt: skip
        told = told[:2] if kind == "llm" else told[2:]
        call["summary"]["weave"] = {
            "feedback": [{"feedback_type": a, "payload": b, "created_at": f"2026-11-30T{c}:00Z"} for a, b, c in told]
        }

    path = rated(tmp_path, change)
    with pytest.raises(InputError, match=r"choose the quality with score=NAME: correct, judge\.style, reaction"):
        logs.load(path, prices=LISTED)
    for score, quality in {"reaction": [1, 1, 1, 1], "correct": [1, 1, 1, -1], "judge.style": [0.5] * 3 + [-1]}.items():
        log = logs.load(path, prices=LISTED, score=score)
        assert np.nan_to_num(log.quality, nan=-1).tolist() == quality, score


@pytest.mark.parametrize("inside", [True, False])
def test_weave_cached_tokens_of_anthropic_are_read_where_they_are_told(tmp_path, inside):
    """The summary's input_tokens have the cached ones in some versions and not in others."""
    told = {"input_tokens": 30, "output_tokens": 20, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10}

    def change(call, kind):
        if kind == "llm" and call.get("output", {}).get("id") == "chatcmpl-8":
            call["output"]["usage"] = told if inside else None
            call["summary"]["usage"] = {call["output"]["model"]: told | {"input_tokens": 100}}

    path, feedback = rated(tmp_path, change), [{"request_id": "chatcmpl-9", "quality": 1}]
    if inside:
        log = logs.load(path, prices=LISTED, feedback=feedback)
        assert rows(log)["What is 2 + 2?"] == ("small", pytest.approx((30 + 6 + 10 + 200) / 1e6))
    else:
        with pytest.raises(InputError, match=r"input_tokens is empty.*: 1 row.s. .small 1"):
            logs.load(path, prices=LISTED, feedback=feedback)


def test_weave_that_is_stored_elsewhere_has_no_prompt(tmp_path):
    def change(call, kind):
        if call.get("output", "") and kind == "llm" and call["output"]["id"] == "chatcmpl-9":
            call["inputs"]["messages"] = "weave:///me/p/object/messages:1"

    log = logs.load(rated(tmp_path, change), prices=LISTED, feedback=[{"request_id": "chatcmpl-8", "quality": 1}])
    assert sorted(log.prompt) == ["Largest planet?", "What is 10 - 4?", "What is 2 + 2?"]
    assert log.left_out["prompts that were not recorded"] == {"large": 1}
