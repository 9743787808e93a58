"""Rows by content hash: only what is new is encoded, damage is noticed, nothing is half-written."""

import numpy as np
import pytest

from jaxroute.data import encoders, saving
from jaxroute.data.encoders import cache, hashed
from jaxroute.types import InputError

TEXTS = [f"Question {n}: " + "word " * (n % 7) for n in range(40)]


@pytest.fixture
def batches(monkeypatch):
    """Every batch that reaches the encoder."""
    seen = []

    def embed(texts):
        seen.append(list(texts))
        return original(texts)

    original = hashed.embed
    monkeypatch.setattr(hashed, "embed", embed)
    return seen


def test_each_text_is_encoded_once_and_the_rows_are_those_of_no_cache(tmp_path, batches):
    plain = encoders.encode(TEXTS)
    batches.clear()
    first = encoders.encode_counted([*TEXTS, TEXTS[3]], cache=tmp_path, batch_size=8)
    assert sorted(text for batch in batches for text in batch) == sorted(TEXTS)
    assert first.num_encoded == 40
    np.testing.assert_array_equal(first.features, np.concatenate([plain, plain[3:4]]))
    batches.clear()
    again = encoders.encode_counted(TEXTS[::-1], cache=tmp_path)
    assert (batches, again.num_encoded) == ([], 0)
    np.testing.assert_array_equal(again.features, plain[::-1])


def test_a_changed_text_encodes_only_that_row(tmp_path, batches):
    encoders.encode(TEXTS, cache=tmp_path)
    batches.clear()
    changed = [*TEXTS[:5], "changed", *TEXTS[6:]]
    x = encoders.encode(changed, cache=tmp_path)
    assert batches == [["changed"]]
    np.testing.assert_array_equal(x, hashed.embed(changed))


def test_batches_hold_like_lengths_longest_first(batches):
    encoders.encode(TEXTS, batch_size=8)
    lengths = [len(text) for batch in batches for text in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert [len(batch) for batch in batches] == [8] * 5


def test_a_killed_run_goes_on(tmp_path, monkeypatch, batches):
    counting = hashed.embed

    def dies(texts):
        if len(batches) == 3:
            raise KeyboardInterrupt
        return counting(texts)

    monkeypatch.setattr(hashed, "embed", dies)
    with pytest.raises(KeyboardInterrupt):
        encoders.encode(TEXTS, cache=tmp_path, batch_size=8)
    monkeypatch.setattr(hashed, "embed", counting)
    done = {text for batch in batches for text in batch}
    batches.clear()
    resumed = encoders.encode_counted(TEXTS, cache=tmp_path, batch_size=8)
    assert resumed.num_encoded == 40 - 24
    assert not done & {text for batch in batches for text in batch}


def test_rows_are_saved_while_it_runs(tmp_path, monkeypatch):
    """A kill that no handler sees loses one shard's worth at most."""
    monkeypatch.setattr(encoders.encoding, "SHARD_ROWS", 8)
    original, held = hashed.embed, []

    def embed(texts):
        held.append(len(list(tmp_path.rglob("*.npz"))))
        return original(texts)

    monkeypatch.setattr(hashed, "embed", embed)
    encoders.encode(TEXTS, cache=tmp_path, batch_size=8)
    assert held == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["bit", "cut", "empty"])
def test_a_damaged_shard_is_noticed_and_encoded_again(tmp_path, monkeypatch, capsys, damage):
    monkeypatch.setattr(encoders.encoding, "SHARD_ROWS", 8)
    x = encoders.encode(TEXTS, cache=tmp_path, batch_size=8)
    shard = sorted(tmp_path.rglob("*.npz"))[2]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes({"bit": bytes(content), "cut": bytes(content[:-40]), "empty": b""}[damage])
    again = encoders.encode_counted(TEXTS, cache=tmp_path)
    assert again.num_encoded == 8
    assert f"{shard} is damaged" in capsys.readouterr().err
    np.testing.assert_array_equal(again.features, x)
    assert encoders.encode_counted(TEXTS, cache=tmp_path).num_encoded == 0


def test_identities_and_truncation_are_kept_apart(tmp_path):
    short, long = cache.Row(np.ones(3, np.float32), False), cache.Row(np.zeros(3, np.float32), True)
    rows = {cache.key("bert", "short"): short, cache.key("bert", "lone \ud800"): long}
    cache.write(tmp_path, rows)
    found = cache.read(tmp_path, [*rows, cache.key("llama", "short")])
    assert {key: row.truncated for key, row in found.items()} == {key: row.truncated for key, row in rows.items()}
    assert cache.key("ab", "c") != cache.key("a", "bc")
    assert cache.folder_of(tmp_path, "bert") != cache.folder_of(tmp_path, "llama")


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving.os, "replace", full)
    with pytest.raises(InputError, match="No space left on device"):
        encoders.encode(TEXTS, cache=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_cache_writes_nothing_and_the_environment_names_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path))
    encoders.encode(TEXTS)
    encoders.encode(TEXTS, cache=False)
    assert list(tmp_path.iterdir()) == []
