"""The encoders' bench measures what is at hand, says what is not, and leaves a file."""

import json

from experiments.bench import encoding


def test_bench_measures_the_offline_encoder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(encoding, "at_hand", lambda: ["hashed", "bert-mean:/no/such/folder"])
    encoding.main(["--texts", "40", "--out", str(tmp_path)])
    measured = json.loads((tmp_path / "encoding.json").read_text())
    assert set(measured) == {"hashed", "environment"}
    row = measured["hashed"]
    assert (row["texts"], row["width"], row["cut"]) == (40, 256, 0)
    assert 0 < row["texts_per_second"] < 1e6
    assert row["texts_per_second_cached"] > 0
    assert "not measured: /no/such/folder: no such folder" in capsys.readouterr().out


def test_prompts_differ_and_have_the_stated_lengths():
    texts = encoding.prompts(1000)
    assert len(set(texts)) == 1000
    lengths = sorted(len(text.split()) - 1 for text in texts)
    assert lengths[0] >= 3
    assert lengths[-1] <= 300
    assert 30 < lengths[500] < 50
