"""Files that are read: regular ones only, under limits, and every oddity is said with its row."""

import gzip
import io
import json
import os
import tarfile
import time
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxroute import gateway
from jaxroute.data import files, frames, logs
from jaxroute.data.benchmarks import llmrouterbench
from jaxroute.types import InputError

ROWS = [{"prompt": f"p{i}", "model": "ab"[i % 2], "quality": i % 2, "cost": 0.5} for i in range(6)]


def as_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "jsonl.gz"])
@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_device_or_a_pipe_is_refused_at_once(tmp_path, kind, suffix):
    path = tmp_path / f"log.{suffix}"
    os.symlink("/dev/zero", path) if kind == "device" else os.mkfifo(path)
    with pytest.raises(InputError, match="a device or a pipe, not a file"):
        logs.load(path)


def test_a_table_and_a_table_of_prices_are_no_devices_either(tmp_path):
    os.symlink("/dev/zero", tmp_path / "t.csv")
    with pytest.raises(InputError, match="a device or a pipe"):
        frames.read(tmp_path / "t.csv")
    os.symlink("/dev/zero", tmp_path / "features.npy")
    with pytest.raises(InputError, match="a device or a pipe"):
        frames.read_features(tmp_path / "features.npy", 3)


@pytest.mark.parametrize("head", [b"", b"prompt,model,quality,cost\n"], ids=["jsonl", "csv"])
def test_a_hundred_megabytes_of_line_breaks_take_no_minutes(tmp_path, head):
    path = tmp_path / ("log.csv.gz" if head else "log.jsonl.gz")
    path.write_bytes(gzip.compress(head + b"\n" * 100_000_000, 1))
    begun = time.process_time()
    with pytest.raises(InputError, match="bytes of nothing but blanks"):
        logs.load(path)
    assert time.process_time() - begun < 1


def test_what_a_compressed_file_may_become_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "GROWN", 100_000)
    words = json.dumps({"text": "a" * 10_000}).encode() + b"\n"
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress(words * 100))
    with pytest.raises(InputError, match="a compressed file may become 100,000 bytes, or 100 times its size"):
        logs.load(path)
    with zipfile.ZipFile(tmp_path / "many.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", words * 100)
    with pytest.raises(InputError, match="a compressed file may become"):
        files.archive(tmp_path / "many.zip")
    with tarfile.open(tmp_path / "many.tar.xz", "w:xz") as archive:
        info = tarfile.TarInfo("a.json")
        info.size = 100 * len(words)
        archive.addfile(info, io.BytesIO(words * 100))
    with pytest.raises(InputError, match="a compressed file may become"):
        llmrouterbench.load(tmp_path / "many.tar.xz")
    same = pa.table({"prompt": pa.array(["a" * 100] * 50_000).dictionary_encode()})
    pq.write_table(same, tmp_path / "log.parquet", compression="zstd")
    with pytest.raises(InputError, match="a compressed file may become"):
        logs.load(tmp_path / "log.parquet")


def test_good_rows_of_a_small_gzip_are_read_as_fast_as_the_plain_file(tmp_path):
    rows = as_lines(ROWS[:2]) * 30_000
    (tmp_path / "log.jsonl").write_text(rows)
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    took = {}
    for name in ("log.jsonl", "log.jsonl.gz"):
        begun = time.process_time()
        assert len(logs.load(tmp_path / name)) == 60_000
        took[name] = time.process_time() - begun
    assert took["log.jsonl.gz"] < 1.5 * took["log.jsonl"]


def test_a_line_and_a_cell_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LINE", 3_000_000)
    (tmp_path / "log.jsonl").write_text(as_lines(ROWS) + '{"prompt": "' + "a" * 5_000_000)
    with pytest.raises(InputError, match=r"log\.jsonl, row 6: a line of more than 3,000,000 bytes"):
        logs.load(tmp_path / "log.jsonl")
    (tmp_path / "log.csv").write_text('prompt,model,quality,cost\n"' + "a" * 5_000_000)
    with pytest.raises(InputError, match=r"log\.csv: .*field larger than field limit"):
        logs.load(tmp_path / "log.csv")


def test_lines_longer_than_a_block_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", 7)
    (tmp_path / "log.jsonl").write_text("\n\n" + as_lines(ROWS) + "\n \n")
    assert logs.load(tmp_path / "log.jsonl").prompt.tolist() == [row["prompt"] for row in ROWS]
    with files.opened(tmp_path / "log.jsonl") as file:
        assert [number for number, _ in files.lines(file, "")] == [2, 3, 4, 5, 6, 7]


def test_bytes_that_are_not_utf8_name_their_row_and_only_that_row_is_dropped(tmp_path):
    path = tmp_path / "log.csv"
    text = "prompt,model,quality,cost\n" + "".join(f"{p},{m},1,1\n" for p, m in zip("xéy", "aba", strict=True))
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"log\.csv, row 1: not UTF-8 \(byte 0xe9"):
        logs.load(path)
    path.write_bytes((text + "z,b,1,1\n").encode("latin-1"))
    log = logs.load(path, drop_bad=True)
    assert log.prompt.tolist() == ["x", "y", "z"]
    assert log.counts["cannot be read"] == 1
    path.write_bytes(text.replace("prompt", "prompté").encode("latin-1"))
    with pytest.raises(InputError, match=r"log\.csv, header: not UTF-8"):
        logs.load(path)
    path.write_text(text)
    assert logs.load(path).prompt.tolist() == list("xéy")


def test_a_key_given_twice_and_a_time_beyond_any_calendar_are_said(tmp_path):
    path = tmp_path / "log.jsonl"
    twice = as_lines(ROWS[:1]).replace('"cost"', '"quality": 1, "cost"')
    path.write_text(as_lines(ROWS) + twice)
    with pytest.raises(InputError, match=r"row 6: key 'quality' is given twice"):
        logs.load(path)
    assert len(logs.load(path, drop_bad=True)) == 6
    path.write_text(as_lines([row | {"timestamp": 1e300 if i == 4 else 1.7e18} for i, row in enumerate(ROWS)]))
    with pytest.raises(InputError, match=r"timestamp is not a time: 1 row(.|\n)*row 4, column 'timestamp': 1e\+300"):
        logs.load(path)
    np.testing.assert_allclose(logs.load(path, drop_bad=True).timestamp, 1.7e9)


def test_a_column_of_nulls_is_said(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(as_lines([row | {"propensity": None, "group": None} for row in ROWS]))
    counts = logs.load(path).counts
    assert counts["rows, in none of which propensity has a value"] == 6
    assert counts["rows, in none of which group has a value"] == 6
    path.write_text(as_lines([row | {"propensity": 0.5 if i else None} for i, row in enumerate(ROWS)]))
    assert not any("in none of which" in kind for kind in logs.load(path).counts)


def test_the_settings_of_a_gateway_are_a_file(tmp_path):
    os.mkfifo(tmp_path / "models.yaml")
    with pytest.raises(InputError, match="a device or a pipe, not a file"):
        gateway.load_settings(tmp_path / "models.yaml")
