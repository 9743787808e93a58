"""Open WebUI: chats and feedback that its server wrote of requests to a loopback server, rated as its page does."""

import json
import shutil

import numpy as np
import pytest
from platform_logs import COST, LISTED, rows
from tool_logs import HERE

from jaxroute.data import logs

EXPORTED = HERE / "open-webui-0.12.4"
PRICES = LISTED | {"chunky": LISTED["small"]}
COMPARED = "answers beside those of other models, which a rating compares"
SMALL, LARGE = COST["small"], COST["large"]
RATED = {
    "What is 2 + 2?": ("small", SMALL, 1),
    "And 3 + 3?": ("small", SMALL, 0),
    "Capital of France?": ("large", LARGE, 1),
    "Use the tool to add 2 and 2.": ("small", 2 * SMALL, 1),  # two requests
    "Tallest mountain?": ("chunky", SMALL, 1),  # its server repeats the usage so far in each of three parts
    "Longest river?": ("small", SMALL, 1),
}
UNRATED = {"An unrated one?": ("small", SMALL, -1), "Without a stream?": ("large", LARGE, -1)}


def load(source, **more):
    return logs.load(source, prices=PRICES, drop_bad=True, **more)


def told(log):
    quality = dict(zip(log.prompt, np.nan_to_num(log.quality, nan=-1).tolist(), strict=True))
    return {prompt: (model, pytest.approx(cost), quality[prompt]) for prompt, (model, cost) in rows(log).items()}


@pytest.fixture
def feedback():
    return json.loads((EXPORTED / "feedbacks.json").read_text())


def test_feedback_is_one_answer_each_with_its_prompt_and_its_thumb(feedback):
    log = load(feedback)
    # A model made of another one has that one's price; two have no usage: it is no capability of theirs.
    assert told(log) == RATED | {"How many days has a week?": ("helper", SMALL, 0)}
    assert log.left_out[COMPARED] == {"large": 1}
    assert log.left_out["input_tokens is empty, infinite or negative"] == {"large": 1}
    assert log.left_out["model is not in the price table"] == {"bare": 1}
    assert set(log.group.tolist()) == {0}
    # What a user said in words, from 1 to 10, is another column.
    log = load(feedback, columns={"quality": "data.details.rating"}, quality_range=(1, 10))
    assert {p: q for p, q in zip(log.prompt, log.quality, strict=True) if q == q} == {"What is 2 + 2?": 8 / 9}


def test_chats_are_one_row_an_answer(tmp_path):
    log = load(EXPORTED / "chats.ndjson")
    assert told(log) == RATED | UNRATED
    river = [(one, q) for p, one, q in zip(log.prompt, log.request_id, log.quality, strict=True) if "river" in p]
    assert len(river) == 2  # the second one asked for again, which alone is rated
    assert sorted(np.nan_to_num([q for _, q in river], nan=-1)) == [-1, 1]
    assert log.left_out[COMPARED] == {"small": 1, "large": 1}
    assert log.left_out["failed requests"] == {"large": 1}
    assert load(EXPORTED / "chats.ndjson", failures="zero").counts["failed requests, taken as quality 0"] == 1
    assert "What is 2 + 2?\n\nAnd 3 + 3?" in load(EXPORTED / "chats.ndjson", chat="user").prompt


def test_chats_and_feedback_in_one_folder_are_told_once(tmp_path, feedback):
    shutil.copy(EXPORTED / "chats.ndjson", tmp_path / "chats.ndjson")
    for one in feedback:  # as older versions export it: then the chats have the prompts
        del one["snapshot"]
    (tmp_path / "feedbacks.jsonl").write_text("".join(json.dumps(one) + "\n" for one in feedback))
    log = load(tmp_path)
    assert told(log) == RATED | UNRATED | {"How many days has a week?": ("helper", SMALL, 0)}
    assert len(log.prompt) == 10
    assert set(log.left_out[COMPARED]) == {"small", "large"}
    with pytest.raises(
        ValueError, match=r"prompts that were not recorded: 9 (?s:.)*give the exported chats in the same folder"
    ):
        load(tmp_path / "feedbacks.jsonl")


def changed(feedback, **message):
    """The feedback, with something else in the answer of the model ``chunky``."""
    one = next(one for one in feedback if one["data"]["model_id"] == "chunky")
    one["snapshot"]["chat"]["chat"]["history"]["messages"][one["meta"]["message_id"]] |= message
    return feedback


@pytest.mark.parametrize(
    ("used", "billed"),
    [  # 100 in, 60 of them from a cache, and 20 out; with the cost of the provider, that one
        ({"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 20, "total_tokens": 60}, 246e-6),
        ({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "input_tokens": 100, "output_tokens": 20,
          "cache_read_input_tokens": 60, "prompt_tokens_details": {"cached_tokens": 60}}, 246e-6),
        ({"prompt_tokens": 100, "completion_tokens": 20, "input_tokens": 100, "output_tokens": 20, "cost": 0.5}, 0.5),
        ({"prompt_tokens": 100, "completion_tokens": 20, "cost": 0.01, "is_byok": True,
          "cost_details": {"upstream_inference_cost": 0.2}}, 0.21),
    ],
    ids=["anthropic", "with the cache", "cost", "with a key of one's own"],
)  # fmt: skip
def test_usage_as_providers_name_it(feedback, used, billed):
    assert told(load(changed(feedback, usage=used)))["Tallest mountain?"] == ("chunky", pytest.approx(billed), 1)


def test_answers_that_had_not_ended_or_name_no_model_are_left_out(feedback):
    assert load(changed(feedback, done=False)).left_out["answers that had not ended"] == {"chunky": 1}
    log = load(changed(feedback, done=True, arena=True))
    assert log.left_out["answers of an arena that do not say by which model"] == {"no model": 1}


@pytest.mark.parametrize(("rating", "quality"), [(0, 0.5), ("-1", 0), ("1", 1), (None, -1)])
def test_draws_are_half_and_texts_are_numbers(feedback, rating, quality):
    one = next(one for one in feedback if one["data"]["model_id"] == "chunky")
    one["data"]["rating"], one["propensity"] = rating, 0.5
    log = load(feedback)
    assert told(log)["Tallest mountain?"] == ("chunky", pytest.approx(SMALL), quality)
    assert log.propensity[log.prompt.tolist().index("Tallest mountain?")] == 0.5
