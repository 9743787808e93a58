"""`make data`: tables from their origin, with checksums, left alone when nothing changed, honest when offline."""

import http.client
import io
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from experiments.data import rebuild
from jaxroute.data import hub, routerbench, tables

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
    assert "8 of 8 tables were not built" in said.out
    assert list(tmp_path.iterdir()) == []
