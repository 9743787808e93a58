"""Encoded texts on disk: rows by content hash, in shards that are complete or absent.

A folder holds the rows of one encoder identity. A shard is an .npz file (plain arrays, never a pickle) whose name is
the hash of its bytes. It is written under a temporary name and renamed in one step. A shard whose bytes do not match
its name is deleted, and its texts are encoded again. Concurrent writers do not affect each other.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxroute.data import saving

KEY_BYTES = 16


class Row(NamedTuple):
    """One text's features [D] and whether the encoder saw only the beginning of the text."""

    features: np.ndarray
    truncated: bool


def key(identity: str, text: str) -> bytes:
    """Content hash of one text under one encoder.

        key = BLAKE2b-128(identity, 0, text)

    Args:
        identity: everything that the numbers depend on: encoder, revision, pooling, length limit.
        text: any string, lone surrogates included.

    Returns:
        16 bytes.

    Example:
        >>> key("bert", "a") == key("bert", "a"), key("bert", "a") == key("bert", "b")
        (True, False)
    """
    content = identity.encode() + b"\0" + text.encode(errors="surrogatepass")
    return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()


def folder_of(root: Path, identity: str) -> Path:
    """The folder of one identity's shards under the cache's root."""
    return root / hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()


def read(folder: Path, wanted: Iterable[bytes]) -> dict[bytes, Row]:
    """The wanted rows that the shards hold; damaged shards are removed with a message on stderr.

    Args:
        folder: the folder of one identity; it may be absent.
        wanted: keys.

    Returns:
        Rows by key.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write(folder, {key("bert", "a"): Row(np.ones(3, np.float32), False)})
        >>> list(read(folder, [key("bert", "a"), key("bert", "b")])) == [key("bert", "a")]
        True
    """
    wanted, found = set(wanted), {}
    for shard in sorted(folder.glob("*.npz")):
        content = shard.read_bytes()
        if _digest(content) != shard.stem:
            print(f"encode: {shard} is damaged and was removed; its texts are encoded again", file=sys.stderr)
            shard.unlink(missing_ok=True)
            continue
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            names = [row.tobytes() for row in arrays["key"]]
            held = [row for row, name in enumerate(names) if name in wanted]
            if held:
                # Fancy indexing copies, so the rest of the shard is not kept in memory.
                features, truncated = arrays["features"][held], arrays["truncated"][held]
                for place, row in enumerate(held):
                    found[names[row]] = Row(features[place], bool(truncated[place]))
    return found


def write(folder: Path, rows: dict[bytes, Row]) -> None:
    """Add one shard, completely or not at all.

    Args:
        folder: the folder of one identity; created if absent.
        rows: by key, all of the same width.

    Raises:
        InputError: the folder cannot be written.
    """
    if not rows:
        return
    buffer = io.BytesIO()
    np.savez(
        buffer,
        key=np.frombuffer(b"".join(rows), np.uint8).reshape(-1, KEY_BYTES),
        features=np.stack([row.features for row in rows.values()]).astype(np.float32),
        truncated=np.array([row.truncated for row in rows.values()], bool),
    )
    content = buffer.getvalue()
    with saving.file(folder / f"{_digest(content)}.npz") as file:
        file.write(content)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
