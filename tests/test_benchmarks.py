"""LLMRouterBench, EmbedLLM, RouterEval's matrices and RouteLLM: small files of their shapes, and broken ones."""

import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxroute.data import tables
from jaxroute.data.benchmarks import correctness, llmrouterbench, paretobandit, routellm
from jaxroute.types import InputError


def _record(index, score, cost, **more):
    texts = {"origin_query": f"q{index}", "prompt": f"Question: q{index}", "prediction": "4", "raw_output": "4"}
    return {"index": index, **texts, "score": score, "prompt_tokens": 15, "cost": cost, **more}


def _result(folder, dataset, model, records, *, date="20250101_000000", **more):
    file = folder / dataset / "test" / model / f"{dataset}-test-{model}-{date}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    about = {"performance": 0.5, "cost": 0.1, "model_name": model, "dataset_name": dataset, "split": "test"}
    file.write_text(json.dumps({**about, "demo": False, **more, "records": records}), encoding="utf-8")
    return file


def test_llmrouterbench_records_are_joined_by_data_set_and_index(tmp_path):
    _result(tmp_path, "aime", "small", [_record(1, 1.0, 0.001), _record(2, 0.0, 0.002)])
    _result(tmp_path, "aime", "large", [_record(2, 1.0, 0.02), _record(1, 1.0, 0.01)])
    _result(tmp_path, "hle", "small", [_record(1, None, None)])
    _result(tmp_path, "hle", "large", [_record(1, 0.5, 0.03)])
    table = llmrouterbench.load(tmp_path)
    assert table.models == ("large", "small")
    expected = {
        "aime/test/1": ([1.0, 1.0], [0.01, 0.001]),
        "aime/test/2": ([1.0, 0.0], [0.02, 0.002]),
        "hle/test/1": ([0.5, np.nan], [0.03, np.nan]),
    }
    assert set(table.query_id) == set(expected)
    for row, name in enumerate(table.query_id):
        np.testing.assert_array_equal(table.outcomes.quality[row], expected[name][0])
        np.testing.assert_array_equal(table.outcomes.cost[row], expected[name][1])
    assert table.task[table.query_id == "hle/test/1"] == ["hle"]
    assert table.prompt[table.query_id == "aime/test/2"] == ["Question: q2"]


def test_llmrouterbench_takes_the_newest_file_and_no_demo(tmp_path):
    _result(tmp_path, "aime", "large", [_record(1, 1.0, 0.02)])
    _result(tmp_path, "aime", "small", [_record(1, 0.0, 0.001)], date="20250101_000000")
    _result(tmp_path, "aime", "small", [_record(1, 1.0, 0.002)], date="20250301_000000")
    _result(tmp_path, "aime", "small", [_record(1, 0.0, 0.009)], date="20250401_000000", demo=True)
    table = llmrouterbench.load(tmp_path)
    np.testing.assert_array_equal(table.outcomes.cost, [[0.02, 0.002]])


BAD_RECORDS = {
    "no score": ({"index": 2, "prompt": "q", "cost": 0.1}, "record 1 has no field 'score'"),
    "list": ([1], "record 1 is not an object"),
    "range": (_record(2, 7, 0.1), "record 1, field 'score': 7 is not a number"),
    "text": (_record(2, "good", 0.1), "record 1, field 'score': 'good'"),
    "cost": (_record(2, 1.0, -0.1), "record 1, field 'cost': -0.1"),
    "no cost": (_record(2, 1.0, None), "record 1, field 'cost': None"),
    "nan": (_record(2, float("nan"), 0.1), "record 1, field 'score': nan"),
    "prompt": (_record(2, 1.0, 0.1, prompt=5, origin_query=None), "record 1: neither prompt nor origin_query"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_llmrouterbench_names_file_and_record(tmp_path, name):
    record, message = BAD_RECORDS[name]
    file = _result(tmp_path, "aime", "small", [_record(1, 1.0, 0.1), record])
    with pytest.raises(InputError, match=re.escape(f"{file}, {message}")):
        llmrouterbench.load(tmp_path)


def test_llmrouterbench_names_broken_files(tmp_path):
    with pytest.raises(InputError, match=r"no \.json file of records"):
        llmrouterbench.load(tmp_path)
    file = _result(tmp_path, "aime", "small", [_record(1, 1.0, 0.1)])
    whole = file.read_text()
    for broken, message in ((whole[:-9], "damaged"), ("[]", "no list 'records'"), ('{"records": 1}', "no list")):
        file.write_text(broken)
        with pytest.raises(InputError, match=re.escape(str(file)) + ".*" + message):
            llmrouterbench.load(tmp_path)


def test_llmrouterbench_second_answer_is_refused(tmp_path):
    _result(tmp_path, "aime", "large", [_record(1, 1.0, 0.02)])
    _result(tmp_path, "aime", "small", [_record(1, 1.0, 0.02), _record(1, 1.0, 0.02)])
    with pytest.raises(InputError, match=r"model 'small' has a second answer to query 'aime/test/1'"):
        llmrouterbench.load(tmp_path)


def test_llmrouterbench_reads_the_archive_as_it_is(tmp_path):
    folder = tmp_path / "bench-release"
    for date, score in (("20250101_000000", 0.0), ("20250301_000000", 1.0)):
        _result(folder, "aime", "small", [_record(1, score, 0.0), _record(2, 0.0, 0.0)], date=date)
    _result(folder, "aime", "large", [_record(1, 1.0, 0.02), _record(2, 1.0, 0.03)])
    file = tmp_path / "bench-release.tar.gz"
    for names in (sorted(folder.rglob("*.json")), sorted(folder.rglob("*.json"), reverse=True)):
        with tarfile.open(file, "w:gz") as archive:
            for name in names:
                archive.add(name, name.relative_to(tmp_path))
            archive.add(names[0], "bench-release/aime/test/small/._aime-test-small-20250901_000000.json")
        packed, unpacked = llmrouterbench.load(file), llmrouterbench.load(folder)
        for table in (packed, unpacked):
            assert table.models == ("large", "small")
            np.testing.assert_array_equal(table.outcomes.quality, [[1, 1], [1, 0]])
        np.testing.assert_array_equal(packed.outcomes.cost, unpacked.outcomes.cost)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench-release", "bench-release.tar.gz"]
    whole = file.read_bytes()
    for broken in (whole[:-40], b"", b"no archive"):
        file.write_bytes(broken)
        with pytest.raises(InputError, match=r"bench-release\.tar\.gz: damaged or truncated"):
            llmrouterbench.load(file)


def test_llmrouterbench_without_the_models_that_nobody_billed(tmp_path):
    _result(tmp_path, "aime", "large", [_record(1, 1.0, 0.02), _record(2, 1.0, 0.0)])
    _result(tmp_path, "aime", "other", [_record(1, 1.0, 0.01), _record(2, None, None)])
    _result(tmp_path, "aime", "own", [_record(1, 1.0, 0.0), _record(2, 1.0, 0.0)])
    assert llmrouterbench.load(tmp_path).models == ("large", "other", "own")
    assert llmrouterbench.load(tmp_path, billed_only=True).models == ("large", "other")
    for model in ("large", "other"):
        _result(tmp_path, "aime", model, [_record(1, 1.0, 0.0)])
    with pytest.raises(InputError, match="no model in it was billed"):
        llmrouterbench.load(tmp_path, billed_only=True)


EMBEDLLM = """prompt_id,model_id,model_name,category,label,prompt
7,0,a/x,mmlu,1,"What is 2 + 2, please?"
7,1,b/y,mmlu,0,"What is 2 + 2, please?"
8,0,a/x,gsm8k,0,Second?
8,1,b/y,gsm8k,0,Second?
8,1,b/y,gsm8k,1,Second?
"""


def test_embedllm(tmp_path):
    file = tmp_path / "train.csv"
    file.write_text(EMBEDLLM)
    table = correctness.embedllm(file, cost={"a/x": 0.01, "b/y": 0.001})
    assert table.models == ("a/x", "b/y")
    assert table.query_id.tolist() == ["7", "8"]
    assert table.task.tolist() == ["mmlu", "gsm8k"]
    assert table.prompt[0] == "What is 2 + 2, please?"
    np.testing.assert_array_equal(table.outcomes.quality, [[1, 0], [0, 1]])  # the best of two labels
    np.testing.assert_array_equal(table.outcomes.cost, [[0.01, 0.001], [0.01, 0.001]])
    with pytest.raises(InputError, match=r"train\.csv: no cost for model 'b/y'"):
        correctness.embedllm(file, cost={"a/x": 0.01})
    file.write_text(EMBEDLLM.replace("gsm8k,0,", "gsm8k,2,"))
    with pytest.raises(InputError, match=r"train\.csv, column 'label', row 2: 2\.0 is outside"):
        correctness.embedllm(file, cost=0.1)
    file.write_text(EMBEDLLM.replace("gsm8k,0,", "gsm8k,yes,"))
    with pytest.raises(InputError, match=r"train\.csv, column 'label', row 2: 'yes' is not a number"):
        correctness.embedllm(file, cost=0.1)
    file.write_text(EMBEDLLM.replace("prompt_id", "id"))
    with pytest.raises(InputError, match=r"train\.csv: column 'prompt_id' is missing"):
        correctness.embedllm(file, cost=0.1)


@pytest.fixture
def arrays():
    return {
        "models": np.array(["a", "b", "c"]),
        "prompts": np.array(["p", "q"]),
        "tasks": np.array(["bbh", "gpqa"]),
        "scores": np.array([[1.0, 0.0, 0.5], [0.0, np.nan, 1.0]]),
    }


def test_matrices(tmp_path, arrays):
    file = tmp_path / "m.npz"
    np.savez(file, **arrays)
    table = correctness.matrix(file, cost=0.5)
    assert table.models == ("a", "b", "c")
    assert table.task.tolist() == ["bbh", "gpqa"]
    np.testing.assert_array_equal(table.outcomes.quality, arrays["scores"])
    np.testing.assert_array_equal(table.outcomes.cost, [[0.5] * 3, [0.5, np.nan, 0.5]])
    costs = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.savez(file, **arrays, costs=costs)
    np.testing.assert_array_equal(
        correctness.matrix(file).outcomes.cost, np.where(np.isnan(arrays["scores"]), np.nan, costs)
    )
    wide = pd.DataFrame(arrays["scores"], columns=arrays["models"]).assign(prompt=["p", "q"])
    wide.to_csv(tmp_path / "m.csv", index=False)
    table = correctness.matrix(tmp_path / "m.csv", cost={"a": 1.0, "b": 2.0, "c": 3.0})
    np.testing.assert_array_equal(table.outcomes.quality, arrays["scores"])
    np.testing.assert_array_equal(table.outcomes.cost[0], [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match=r"m\.csv: has no costs"):
        correctness.matrix(tmp_path / "m.csv")


def test_a_matrix_of_thousands_of_models(tmp_path):
    scores = np.random.default_rng(0).integers(0, 2, (5, 3000)).astype(float)
    np.savez(tmp_path / "m.npz", models=[f"m{k}" for k in range(3000)], prompts=list("pqrst"), scores=scores)
    np.testing.assert_array_equal(correctness.matrix(tmp_path / "m.npz", cost=1.0).outcomes.quality, scores)


def test_matrices_that_do_not_fit(tmp_path, arrays):
    file = tmp_path / "m.npz"
    for changes, message in (
        ({"scores": np.zeros((3, 3))}, r"array 'scores' has shape \(3, 3\), expected \(2, 3\)"),
        ({"tasks": np.array(["x"])}, r"array 'tasks' has shape \(1,\), expected \(2,\)"),
        ({"models": np.array(["a", "a", "b"])}, "names a model twice"),
        ({"scores": np.array([[1.0, 0.0, 0.5], [0.0, 9.0, 1.0]])}, r"column 'b', row 1 \(query '1'\): 9\.0"),
        ({"prompts": np.array(["p", None], object)}, r"not a readable \.npz"),
    ):
        np.savez(file, **(arrays | changes))
        with pytest.raises(InputError, match=r"m\.npz.*" + message):
            correctness.matrix(file, cost=1.0)
    np.savez(file, models=arrays["models"])
    with pytest.raises(InputError, match=r"m\.npz: array 'prompts' is missing"):
        correctness.matrix(file, cost=1.0)
    np.save(tmp_path / "array.npy", np.zeros(3))
    for damaged in (b"", b"PK\x03\x04", b"not a zip file", (tmp_path / "array.npy").read_bytes()):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"m\.npz: not a readable"):
            correctness.matrix(file, cost=1.0)
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        correctness.matrix(tmp_path / "none.npz", cost=1.0)


ROUTELLM = """prompt,mixtral,gpt-4,mixtral_response,gpt-4_response
2+2?,True,True,4,4
"Two,
lines?",False,True," no",yes
"""


def test_routellm(tmp_path):
    file = tmp_path / "gsm8k_responses.csv"
    file.write_text(ROUTELLM)
    table = routellm.load(file, cost={"mixtral": 0.001, "gpt-4": 0.01})
    assert table.models == ("mixtral", "gpt-4")
    assert table.task.tolist() == ["gsm8k", "gsm8k"]
    assert table.prompt.tolist() == ["2+2?", "Two,\nlines?"]
    np.testing.assert_array_equal(table.outcomes.quality, [[1, 1], [0, 1]])
    np.testing.assert_array_equal(table.outcomes.cost, [[0.001, 0.01]] * 2)
    (tmp_path / "mmlu_anatomy.csv").write_text("prompt,mixtral,gpt-4\nWhere?,False,\n")
    table = routellm.load(tmp_path, cost=0.01)
    assert table.query_id.tolist() == ["gsm8k_responses.0", "gsm8k_responses.1", "mmlu_anatomy.0"]
    assert table.available.tolist() == [[True, True], [True, True], [True, False]]
    file.write_text(ROUTELLM.replace("False", "maybe"))
    with pytest.raises(InputError, match=r"gsm8k_responses\.csv, column 'mixtral', row 1: 'maybe' is neither"):
        routellm.load(file, cost=0.01)
    file.write_text("prompt,a,b,c\np,True,True,True\n")
    with pytest.raises(InputError, match=r"3 model columns \(a, b, c\), expected two"):
        routellm.load(file, cost=0.01)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.csv file"):
        routellm.load(tmp_path / "empty", cost=0.01)


def test_routellms_costs_by_list_price(tmp_path):
    names = ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview")
    file = tmp_path / "gsm8k_responses.csv"
    file.write_text(f"prompt,{','.join(names)},{names[0]}_response\n{'p' * 40},False,True,{'r' * 20}\n")
    table = routellm.load(file)
    np.testing.assert_allclose(table.outcomes.cost, [[(10 + 5) * 0.6e-6, (10 * 10 + 1 * 30) * 1e-6]])
    file.write_text("prompt,a,b\np,False,True\n")
    with pytest.raises(InputError, match="no price for model 'a'"):
        routellm.load(file)


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.skipif(not SHARED.exists(), reason="the real tables are not on this machine")
def test_estimated_costs_are_near_those_of_a_tokenizer(tmp_path):
    """RouteLLM's MMLU as the origin has it, re-created from the real table, whose tokens were counted."""
    real = tables.with_task(tables.load(SHARED / "routellm_mmlu_gsm8k"), "mmlu/")
    real = real.rows(np.arange(0, len(real), 20))
    names = {"mistralai/Mixtral-8x7B-Instruct-v0.1": "mixtral-8x7b-instruct-v0.1"}
    frame = pd.DataFrame(real.outcomes.quality > 0, columns=[names.get(name, name) for name in real.models])
    frame.assign(prompt=real.prompt).to_csv(tmp_path / "mmlu_all.csv", index=False)
    table = routellm.load(tmp_path)
    np.testing.assert_array_equal(table.outcomes.quality, real.outcomes.quality)
    assert (table.prompt == real.prompt).all()
    np.testing.assert_allclose(table.outcomes.cost.mean(0), real.outcomes.cost.mean(0), rtol=0.15)
    assert np.corrcoef(table.outcomes.cost[:, 0], real.outcomes.cost[:, 0])[0, 1] > 0.95


def test_paretobandit(tmp_path):
    def line(prompt, **arms):
        given = {model: dict(zip(("reward", "cost"), pair, strict=True)) for model, pair in arms.items()}
        return json.dumps({"prompt": prompt, "source": "bbh/snarks", "arms": given})

    (tmp_path / "val.jsonl").write_text("an earlier version")
    (tmp_path / "val_k4.jsonl").write_text(line("p", a=(1.0, 0.1), b=(0.4, 0.2)))
    file = tmp_path / "test_k4.jsonl"
    file.write_text(line("q", b=(0.6, 0.3)) + "\n" + line("r", a=(0, 0)))
    table = paretobandit.load(tmp_path)
    assert table.query_id.tolist() == ["test_k4.0", "test_k4.1", "val_k4.0"]
    assert table.models == ("b", "a")
    assert set(table.task) == {"bbh/snarks"}
    np.testing.assert_array_equal(table.outcomes.quality, [[0.6, np.nan], [np.nan, 0], [0.4, 1]])
    np.testing.assert_array_equal(table.outcomes.cost, [[0.3, np.nan], [np.nan, 0], [0.2, 0.1]])
    for content, message in (
        ("", "no prompts in it"),
        ('{"prompt": ', r"row 0: not JSON"),
        ('{"prompt": "p", "source": "s"}', "row 0, field 'arms'"),
        (line("p", a=(2.0, 1), b=(1, 1)), "outside"),
        (line("p", a=([], 1), b=(1, 1)), "is not a number"),
        (line(None, a=(1, 1), b=(1, 1)), "empty"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            paretobandit.load(file)
