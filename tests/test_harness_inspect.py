"""Inspect's logs as tables: epochs, scorers, choices, usage, and logs that are cut or damaged."""

import json
import zipfile

import numpy as np
import pytest
from harness_files import DATA, SHARED, joined, near, shared, wide

from jaxroute.data import harness
from jaxroute.data.harness import inspect_ai
from jaxroute.data.harness.answers import File
from jaxroute.types import InputError


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
    with pytest.raises(InputError, match=r"with wanted=\[NAME\]: graded, style\.brevity, style\.warmth, length$"):
        joined(*run)
    with pytest.raises(InputError, match="wanted match: no such score; the scores are: graded, style"):
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
