"""`make data`: tables from their origin, with checksums, left alone when nothing changed, honest when offline."""

import http.client
import io
import json
import pickle
import re
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest

from experiments.data import rebuild
from jaxroute.data import hub, tables
from jaxroute.data.benchmarks import routerbench, routereval

PICKLE = Path(__file__).parent / "data" / "wide_pandas2.2.pkl"


@pytest.fixture
def online(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "routerbench_0shot.pkl"
    copy.write_bytes(PICKLE.read_bytes())
    monkeypatch.setattr(hub, "download", lambda repo, file: copy)
    return copy


ONLY = ["--only", "routerbench_0shot"]


def test_a_table_is_built_once_and_loads_back(online, tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "data"), *ONLY]
    assert rebuild.main(arguments) == 0
    assert "3 prompts x 2 models" in capsys.readouterr().out
    folder = tmp_path / "data" / "routerbench_0shot"
    about = json.loads((folder / "origin.json").read_text())
    assert about["sha256"] == {"routerbench_0shot.pkl": hub.checksum(PICKLE)}
    saved, direct = tables.load(folder), routerbench.load(PICKLE)
    np.testing.assert_array_equal(saved.outcomes.quality, direct.outcomes.quality)
    np.testing.assert_array_equal(saved.features, direct.features)
    assert rebuild.main(arguments) == 0
    assert "up to date" in capsys.readouterr().out


def test_an_origin_that_changed_is_refused_and_the_old_table_kept(online, tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "data"), *ONLY]
    rebuild.main(arguments)
    online.write_bytes(PICKLE.with_name("wide_pandas1.5.pkl").read_bytes())
    assert rebuild.main(arguments) == 1
    assert "origin's files changed" in capsys.readouterr().err
    assert len(tables.load(tmp_path / "data" / "routerbench_0shot")) == 3


GITHUB = {
    "routerbench_5shot_subset": (
        "sample_id,prompt,eval_name,a,b,a|model_response,a|total_cost,b|total_cost\n"
        "{name},['What is 2 + 2?'],mbpp,1.0,0.0,['4'],0.1,0.2\n"
    ),
    "routellm_mmlu_gsm8k": "prompt,mixtral-8x7b-instruct-v0.1,gpt-4-1106-preview\nWhat is 2 + 2?,False,True\n",
    "paretobandit": json.dumps(
        {"prompt": "2+2?", "source": "gsm8k", "arms": {m: {"reward": 0.5, "cost": 0.1} for m in ("a", "b")}}
    ),
}


@pytest.mark.parametrize("known", [False, True])
def test_every_table_of_the_hub_that_is_not_a_data_frame(known, monkeypatch, tmp_path, capsys):
    """Made-up files of the published shapes in the place of the downloads; nothing of the origins is read."""
    asked, made = [], tmp_path / "made"

    def download(repo, file, revision="main"):
        asked.append((repo, file, revision))
        return made / file

    made.mkdir()
    for split in ("train", "val", "test"):
        rows = "".join(f"{i},{k},m{k},mmlu,{(i + k) % 2},{split} question {i}\n" for i in range(3) for k in range(2))
        (made / f"{split}.csv").write_text("prompt_id,model_id,model_name,category,label,prompt\n" + rows)
    pool = {"model": ["a", "b"], "data": {f"{split}_score": np.eye(2) for split in routereval.SPLITS}}
    texts = {f"{split}_prompt": [f"{split} 1", f"{split} 2"] for split in routereval.SPLITS}
    with zipfile.ZipFile(made / "router_dataset.zip", "w") as archive:
        for name in routereval.EVALUATIONS:
            whole = {"hard": {10: {"strong_to_weak": pool}}, "prompt": texts}
            archive.writestr(f"router_dataset/{name}_router_dataset.pkl", pickle.dumps(whole))
    with tarfile.open(made / "bench-release.tar.gz", "w:gz") as archive:
        for model, cost in (("dear", 0.1), ("cheap", 0.01), ("own", 0.0)):
            record = {"index": 1, "origin_query": "What is 2 + 2?", "score": 1.0, "cost": cost}
            content = json.dumps({"dataset_name": "aime", "split": "test", "model_name": model, "records": [record]})
            entry = tarfile.TarInfo(f"bench-release/aime/test/{model}/{model}-20250101_000000.json")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "download", download)
    published = rebuild.ORIGINS["llmrouterbench"].known["bench-release.tar.gz"]
    assert re.fullmatch("[0-9a-f]{64}", published)
    if known:
        mine = {"bench-release.tar.gz": hub.checksum(made / "bench-release.tar.gz")}
        origin = rebuild.ORIGINS["llmrouterbench"]._replace(known=mine)
        monkeypatch.setitem(rebuild.ORIGINS, "llmrouterbench", origin)
    names = [name for name in rebuild.ORIGINS if name.startswith(("embedllm", "routereval", "llmrouterbench"))]
    assert len(names) == 3 + 12 + 1
    out = tmp_path / "data"
    assert rebuild.main(["--out", str(out), "--only", *names]) == int(not known)
    said = capsys.readouterr()
    assert set(asked) == {
        ("RZ412/EmbedLLM", "train.csv", "main"),
        ("RZ412/EmbedLLM", "val.csv", "main"),
        ("RZ412/EmbedLLM", "test.csv", "main"),
        ("linggm/RouterEval", "router_dataset.zip", "main"),
        ("NPULH/LLMRouterBench", "bench-release.tar.gz", rebuild.ORIGINS["llmrouterbench"].revision),
    }
    val = tables.load(out / "embedllm_val")
    assert val.prompt.tolist() == [f"val question {i}" for i in range(3)]
    np.testing.assert_array_equal(val.outcomes.quality, [[0, 1], [1, 0], [0, 1]])
    assert not val.outcomes.cost.any()
    arc = tables.load(out / "routereval_arc")
    assert (len(arc), arc.models) == (6, ("a", "b"))
    assert set(arc.task) == {"arc"}
    about = json.loads((out / "routereval_arc" / "origin.json").read_text())
    assert about["note"].startswith("pool hard/10/strong_to_weak; the data have no prices: cost is 0")
    assert said.out.count("checksums seen for the first time, kept in origin.json") == 15
    if known:
        bench = tables.load(out / "llmrouterbench")
        assert bench.models == ("cheap", "dear")  # nobody billed the other
        np.testing.assert_array_equal(bench.outcomes.cost, [[0.01, 0.1]])
        assert "checksums as known beforehand; models that were never billed are left out" in said.out
    else:
        assert f"its SHA-256 is {hub.checksum(made / 'bench-release.tar.gz')}, but {published} was expected" in said.err
        assert not (out / "llmrouterbench").exists()


def test_the_leaderboard_from_two_files_of_github(monkeypatch, tmp_path, capsys):
    names = [f"open-llm-leaderboard/google__gemma-2-{size}-it-details" for size in ("9b", "27b")]
    scenarios = ("leaderboard_bbh_snarks", "leaderboard_mmlu_pro")
    content = {
        "data_QA.json": json.dumps({name: {"Qs": ["What is 2 + 2?"] * 2} for name in scenarios}).encode(),
        "new_leaderboard_processed_20241205.pickle": pickle.dumps(
            {name: {"correctness": np.eye(2), "models": names} for name in scenarios}
        ),
    }
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        return io.BytesIO(content[Path(address).name])

    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    arguments = ["--out", str(tmp_path / "data"), "--only", "open_llm_lb_v2_carrot"]
    assert rebuild.main(arguments) == 0
    start = "https://raw.githubusercontent.com/somerstep/CARROT/HEAD/data/open-llm-lb-v2/"
    assert asked == [start + name for name in content]
    table = tables.load(tmp_path / "data" / "open_llm_lb_v2_carrot")
    np.testing.assert_array_equal(table.outcomes.quality, [[0, 1], [1, 0]] * 2)
    assert "those of the table that docs/data-cards.md measures were re-aligned" in capsys.readouterr().out
    assert rebuild.main([*arguments, "--encoder", "hashed"]) == 0
    assert "up to date" in capsys.readouterr().out


@pytest.mark.parametrize("name", GITHUB)
def test_tables_from_github(name, monkeypatch, tmp_path, capsys):
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        return io.BytesIO(GITHUB[name].replace("{name}", Path(address).stem).encode())

    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    for _ in range(2):
        assert rebuild.main(["--out", str(tmp_path / "data"), "--only", name]) == 0
    origin = rebuild.ORIGINS[name]
    start = f"https://raw.githubusercontent.com/{origin.repo}/HEAD/"
    assert asked == [start + file for file in origin.files]  # each once: the second run has the copies
    table = tables.load(tmp_path / "data" / name)
    assert len(table) == len(origin.files)
    about = json.loads((tmp_path / "data" / name / "origin.json").read_text())
    assert about["repository"] == origin.repo
    assert set(about["sha256"]) == set(origin.files)
    if name != "paretobandit":
        assert set(table.prompt) == {"What is 2 + 2?"}
    if name == "routellm_mmlu_gsm8k":
        assert len(table) == 58
        k = table.models.index("gpt-4-1106-preview")
        np.testing.assert_allclose(table.outcomes.cost[:, k], (14 / 4 * 10 + 30) / 1e6)


def test_a_download_that_breaks_off_leaves_nothing(monkeypatch, tmp_path, capsys):
    class Torn(io.BytesIO):
        def read(self, size=-1):
            raise http.client.IncompleteRead(b"half")

    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Torn())
    assert rebuild.main(["--out", str(tmp_path / "data"), "--only", "paretobandit"]) == 1
    assert "could not be downloaded (IncompleteRead)" in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_offline_is_said_for_every_table_and_nothing_is_left(monkeypatch, tmp_path, capsys):
    import huggingface_hub

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path / "cache"))
    assert rebuild.main(["--out", str(tmp_path / "data")]) == 1
    said = capsys.readouterr()
    assert said.err.count("could not be downloaded (OSError); connect") == len(rebuild.ORIGINS)
    assert "25 of 25 tables were not built" in said.out
    assert list(tmp_path.iterdir()) == []
