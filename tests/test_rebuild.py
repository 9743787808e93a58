"""`make data`: tables from their origin, with checksums, left alone when nothing changed, honest when offline."""

import json
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


def test_offline_is_said_for_every_table_and_nothing_is_left(monkeypatch, tmp_path, capsys):
    import huggingface_hub

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    assert rebuild.main(["--out", str(tmp_path / "data")]) == 1
    said = capsys.readouterr()
    assert said.err.count("NOT built: hub data set") == len(rebuild.ORIGINS)
    assert "5 of 5 tables were not built" in said.out
    assert not (tmp_path / "data").exists()
