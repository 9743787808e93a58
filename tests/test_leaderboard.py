"""Open LLM Leaderboard v2 in CARROT's two files: made-up ones, and the real table written back into their shape."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxroute.data import prices, tables
from jaxroute.data.benchmarks import leaderboard
from jaxroute.types import InputError

REAL = Path(__file__).parents[2] / "shared" / "data" / "open_llm_lb_v2_carrot"
NAMES = ["google__gemma-2-9b-it", "Qwen__Qwen2.5-72B-Instruct", "google__gemma-2b-it"]
SNARKS, PRO = "leaderboard_bbh_snarks", "leaderboard_mmlu_pro"


def write(folder, questions, judged, protocol=pickle.HIGHEST_PROTOCOL):
    """The two files; judged is {scenario: (names, scores [models, prompts])}."""
    folder.mkdir(exist_ok=True)
    (folder / "data_QA.json").write_text(json.dumps({name: {"Qs": asked} for name, asked in questions.items()}))
    stored = {
        name: {"correctness": scores, "models": [f"open-llm-leaderboard/{model}-details" for model in models]}
        for name, (models, scores) in judged.items()
    }
    (folder / Path(leaderboard.JUDGED).name).write_bytes(pickle.dumps(stored, protocol))
    return folder


def made_up():
    questions = {SNARKS: ["Which is sarcastic?", "And now?"], PRO: ["What is 2 + 2?" * 4]}
    judged = {
        SNARKS: (NAMES[:2], np.array([[1.0, 0.0], [0.0, 1.0]])),
        PRO: (NAMES[::-1], np.array([[0.0], [1.0], [0.0]])),
        "leaderboard_ifeval": (NAMES, np.zeros((3, 1))),
    }
    return questions, judged


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_models_that_answered_every_scenario_with_their_own_rows(tmp_path, protocol):
    table = leaderboard.load(write(tmp_path / "t", *made_up(), protocol))
    assert table.models == ("Qwen/Qwen2.5-72B-Instruct", "google/gemma-2-9b-it")
    assert table.query_id.tolist() == ["bbh_snarks-0", "bbh_snarks-1", "mmlu_pro-0"]
    assert table.task.tolist() == ["bbh/bbh_snarks", "bbh/bbh_snarks", "mmlu_pro"]
    assert table.prompt.tolist() == ["Which is sarcastic?", "And now?", "What is 2 + 2?" * 4]
    np.testing.assert_array_equal(table.outcomes.quality, [[0, 1], [1, 0], [1, 0]])
    length = np.array([19, 8, 56])
    np.testing.assert_allclose(table.outcomes.cost, length[:, None] / 4 * [1.2, 0.3] / 1e6, rtol=1e-12)


def test_parts_are_chosen_by_name(tmp_path):
    folder = write(tmp_path / "t", *made_up())
    assert len(leaderboard.load(folder, parts=["bbh"])) == 2
    assert set(leaderboard.load(folder, parts=["mmlu_pro"]).models) == {n.replace("__", "/") for n in NAMES}
    with pytest.raises(InputError, match="no scenario of part 'musr'; there are: leaderboard_bbh_snarks"):
        leaderboard.load(folder, parts=["bbh", "musr"])


def test_what_does_not_fit_is_named(tmp_path):
    questions, judged = made_up()
    cases = {
        r"'leaderboard_mmlu_pro': 1 answers a model, but 2 of them": ({**questions, PRO: ["a", "b"]}, judged),
        r"'leaderboard_bbh_snarks': 2 answers a model, but no list 'Qs'": ({PRO: questions[PRO]}, judged),
        r"'leaderboard_mmlu_pro': 3 rows of 'correctness' for 2 models": (
            questions,
            {**judged, PRO: (NAMES[:2], np.zeros((3, 1)))},
        ),
        r"'leaderboard_mmlu_pro': expected 'correctness', an array": (questions, {**judged, PRO: (NAMES, None)}),
        r"column 'google/gemma-2-9b-it', row 2 \(query 'mmlu_pro-0'\): .*2": (
            questions,
            {**judged, PRO: (NAMES[:2], np.array([[2.0], [1.0]]))},
        ),
        r"no price for model 'a/b'": (
            questions,
            {SNARKS: (["a__b"], np.ones((1, 2))), PRO: (["a__b"], np.ones((1, 1)))},
        ),
        r"no model answered all of": (questions, {**judged, PRO: (["a__b"], np.ones((1, 1)))}),
    }
    for i, (message, (asked, answered)) in enumerate(cases.items()):
        with pytest.raises(InputError, match=message):
            leaderboard.load(write(tmp_path / str(i), asked, answered))


def test_files_that_are_missing_or_something_else(tmp_path):
    with pytest.raises(InputError, match=r"data_QA\.json: missing"):
        leaderboard.load(tmp_path)
    folder = write(tmp_path / "t", *made_up())
    stored = folder / Path(leaderboard.JUDGED).name
    whole = stored.read_bytes()
    for broken in (whole[:-3], pickle.dumps(print), pickle.dumps([1]), b"version https://git-lfs.github.com/spec/v1\n"):
        stored.write_bytes(broken)
        with pytest.raises(InputError, match=r"new_leaderboard_processed_20241205\.pickle: "):
            leaderboard.load(folder)
    stored.unlink()
    with pytest.raises(InputError, match="no such file"):
        leaderboard.load(folder)
    (folder / "data_QA.json").write_text("[1]")
    with pytest.raises(InputError, match="holds a list"):
        leaderboard.load(folder)


@pytest.mark.skipif(not REAL.exists(), reason="the real table is not at hand")
def test_the_real_table_written_back_into_the_two_files_comes_out_as_it_was(tmp_path):
    """Qualities exactly; costs up to the count of tokens, which is estimated here."""
    real = tables.load(REAL)
    kept = np.flatnonzero([task in ("bbh/bbh_snarks", "bbh/bbh_navigate") for task in real.task])
    questions, judged = {}, {}
    for task in sorted(set(real.task[kept])):
        rows = kept[real.task[kept] == task]
        name = "leaderboard_" + task.removeprefix("bbh/")
        questions[name] = real.prompt[rows].tolist()
        judged[name] = ([m.replace("/", "__") for m in real.models], real.outcomes.quality[rows].T)
    table = leaderboard.load(write(tmp_path / "t", questions, judged), parts=["bbh"])
    row = {prompt: i for i, prompt in enumerate(real.query_id)}
    assert len(table) == len(kept) == 178 + 250
    same = np.array([row[query] for query in table.query_id])
    columns = [real.models.index(model) for model in table.models]
    assert len(columns) == len(real.models) == 18
    np.testing.assert_array_equal(table.outcomes.quality, real.outcomes.quality[np.ix_(same, columns)])
    assert table.prompt.tolist() == real.prompt[same].tolist()
    assert table.task.tolist() == real.task[same].tolist()
    ratio = table.outcomes.cost / real.outcomes.cost[np.ix_(same, columns)]
    assert 0.7 < np.median(ratio) < 1.4
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(18, 1), rtol=1e-5)  # so the prices are the same ones


def test_every_model_of_the_leaderboard_has_a_price():
    listed = prices.load()
    assert len([name for name in listed if "/" in name]) == 20
