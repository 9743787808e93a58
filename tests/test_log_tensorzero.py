"""TensorZero: tables that its gateway wrote to PostgreSQL of requests to a loopback server, and those of ClickHouse."""

import json
import shutil

import numpy as np
import pytest
from platform_logs import COST, LISTED, rows
from tool_logs import HERE, records_of

from jaxroute.data import logs, prices

TABLES = HERE / "tensorzero-2026.6.0"
PRICES = LISTED | {"claude-small": prices.Price(2, 20, cached_input=0.2, cache_write=2.5)}
SMALL, LARGE = ("small", pytest.approx(0.00072)), ("large", pytest.approx(COST["large"]))
"""The gateway's own cost of the one, which has no price for cached tokens; and what the other's tokens cost."""
RATED = {"What is 2 + 2?": (SMALL, 1), "And 3 + 3?": (LARGE, 1), "Capital of France?": (LARGE, 0),
         "Largest planet?": (SMALL, 0), "Tallest mountain?": (SMALL, 0)}  # fmt: skip
ANSWERED = {prompt: row for prompt, (row, _) in RATED.items()} | {
    "Deepest lake?": SMALL,
    "Largest ocean?": LARGE,
    "Without a function?": SMALL,
    "Asked twice?": SMALL,
    "What is 10 - 4?": ("claude-small", pytest.approx((100 * 2 + 30 * 0.2 + 10 * 2.5 + 58 * 20) / 1e6)),
}
PINNED = ("What is 2 + 2?", "And 3 + 3?", "Largest ocean?", "Asked twice?")


def by_prompt(log, column):
    return dict(zip(log.prompt, np.nan_to_num(getattr(log, column), nan=-1).tolist(), strict=True))


def table(name):
    return records_of(f"{TABLES.name}/{name}.jsonl")


def clickhouse(folder):
    """The same as the tables of ClickHouse have it: the texts as JSON in the rows."""
    for one, data, name in (("chat_inferences", "chat_inference_data", "ChatInference"),
                            ("model_inferences", "model_inference_data", "ModelInference")):  # fmt: skip
        texts = {row["id"]: row for row in table(data)}
        found = [row | {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in texts[row["id"]].items()}
                 for row in table(one)]  # fmt: skip
        for row in found:
            row["timestamp"] = row.pop("created_at")[:19].replace("T", " ")
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    for one in ("boolean_metric_feedback", "float_metric_feedback"):
        shutil.copy(TABLES / f"{one}.jsonl", folder)
    return folder


@pytest.mark.parametrize("database", ["PostgreSQL", "ClickHouse"])
def test_an_inference_is_a_row_of_the_model_that_its_variant_asked(tmp_path, database):
    log = logs.load(clickhouse(tmp_path) if database == "ClickHouse" else TABLES, prices=PRICES, score="correct")
    found = rows(log)
    several = {prompt for prompt in found if prompt == "Best of two?" or prompt.startswith("Here are the candidate")}
    assert {prompt: row for prompt, row in found.items() if prompt not in several} == ANSWERED
    assert len(log.prompt) == 14  # a variant asked two models and a judge, each of which stands alone
    assert {p: q for p, q in by_prompt(log, "quality").items() if q >= 0} == {p: q for p, (_, q) in RATED.items()}
    assert "propensity" not in log.counts
    assert np.isnan(log.propensity).all()
    group = by_prompt(log, "group")  # a user, else the episode
    assert group["What is 2 + 2?"] == group["Deepest lake?"] != group["Without a function?"]
    assert log.latency[log.prompt.tolist().index("Largest ocean?")] == 0.045
    inferences = {row["id"] for row in table("chat_inferences")}
    assert sum(name in inferences for name in log.request_id) == 11


def test_feedback_on_an_episode_is_of_its_only_inference():
    log = logs.load(TABLES, prices=PRICES, score="stars", quality_range=(1, 5))
    assert {p: q for p, q in by_prompt(log, "quality").items() if q >= 0} == {"Largest planet?": 0.25}
    assert log.counts["feedback on identifiers that several requests share"] == 1


def changed(tmp_path, name, change):
    shutil.copytree(TABLES, tmp_path / "log")
    found = table(name)
    for row in found:
        change(row)
    (tmp_path / "log" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return logs.load(tmp_path / "log", prices=PRICES, score="correct")


def test_propensities_of_an_export_are_not_those_of_variants_that_a_caller_named(tmp_path):
    def change(row):
        row["propensity"] = {"cheap": 0.75, "good": 0.25}.get(row["variant_name"])
        if row["variant_name"] == "cheap" and "tensorzero::variant_pinned" in row["tags"]:
            row["tags"]["jaxroute.propensity"] = "0.5"

    found = by_prompt(changed(tmp_path, "chat_inferences", change), "propensity")
    drawn = {"Capital of France?": 0.25, "Largest planet?": 0.75, "Deepest lake?": 0.75, "Tallest mountain?": 0.75}
    assert {prompt: found[prompt] for prompt in drawn} == drawn
    assert [found[prompt] for prompt in PINNED] == [0.5, -1, -1, 0.5]


def test_answers_from_the_cache_are_left_out(tmp_path):
    log = changed(tmp_path, "model_inferences", lambda row: row.update(cached=row["model_name"] == "claude-small"))
    assert log.left_out["answers from a cache"] == {"claude-small": 1}
    assert "What is 10 - 4?" not in log.prompt


def test_variants_can_be_the_models(tmp_path):
    log = logs.load(clickhouse(tmp_path), prices=PRICES, score="correct", columns={"model": "variant_name"})
    assert rows(log)["What is 2 + 2?"] == ("cheap", SMALL[1])
    assert rows(log)["And 3 + 3?"] == ("good", LARGE[1])
