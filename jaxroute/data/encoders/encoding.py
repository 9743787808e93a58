"""Texts as features: those that are new are encoded in batches and kept, the others are read."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxroute.data.encoders import cache as shards
from jaxroute.data.encoders import joined
from jaxroute.data.encoders.choosing import OFFLINE, Encoder, choose, of_hub, parts
from jaxroute.system.printing import plain
from jaxroute.types import InputError

SHARD_ROWS, SHARD_SECONDS = 1024, 30.0  # at most this much work is lost when a run is killed
FEW = 64  # texts that an offline encoder takes at once, without looking for those that repeat


class Encoded(NamedTuple):
    """Features, and what was needed to make them.

    features: float32 [N, D].
    truncated: bool [N], True if the encoder saw only the beginning of this text (endpoints do not say: False).
    num_encoded: number of texts encoded in this call, neither cached nor repeated.
    """

    features: np.ndarray
    truncated: np.ndarray
    num_encoded: int


def encode(
    texts: Sequence[str] | np.ndarray,
    encoder: str = "hashed",
    *,
    revision: str | None = None,
    max_tokens: int | None = None,
    batch_size: int | None = None,
    cache: str | os.PathLike[str] | Literal[False] | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Features of texts; a message on stderr says how many texts were truncated.

        row i = encoder(text i), independent of the other texts

    Args:
        texts: N strings.
        encoder: "kind" or "kind:MODEL", or several joined by "+"; see ``choosing``.
        revision: commit, tag or branch of a model on the hub. Default: the newest one available.
        max_tokens: longer texts are truncated, or for sentence-whole divided into windows. Default: the model's own
            limit, at most 2048 for BERT and Llama.
        batch_size: number of texts at a time. Default: 32, and 2048 for the hashed encoder.
        cache: folder of encoded texts. Default: $JAXROUTE_CACHE or ~/.cache/jaxroute, except for the hashed encoder,
            which has none. False: no cache.
        progress: show a progress bar (on terminals only).

    Returns:
        float32 [N, D].

    Raises:
        InputError: the encoder is unknown, a text is not a string, a model cannot be loaded, or an endpoint does not
            answer correctly.

    Example:
        >>> x = encode(["What is 2 + 2?", "What is 2 + 3?", "Translate this poem."])
        >>> x.shape, bool(x[0] @ x[1] > x[0] @ x[2])
        ((3, 256), True)

    Reference:
        Reimers and Gurevych, "Sentence-BERT", arXiv 1908.10084, 2019; for the hashed encoder see ``hashed``.
    """
    encoded = encode_counted(
        texts,
        encoder,
        revision=revision,
        max_tokens=max_tokens,
        batch_size=batch_size,
        cache=cache,
        progress=progress,
    )
    if cut := int(encoded.truncated.sum()):
        print(f"encode: {cut} of {len(texts)} texts are too long for {encoder} and were truncated", file=sys.stderr)
    return encoded.features


def encode_counted(
    texts: Sequence[str] | np.ndarray,
    encoder: str = "hashed",
    *,
    revision: str | None = None,
    max_tokens: int | None = None,
    batch_size: int | None = None,
    cache: str | os.PathLike[str] | Literal[False] | None = None,
    progress: bool = True,
) -> Encoded:
    """``encode``, together with which texts were truncated and how many were new.

    New texts are encoded longest first, in batches of similar length, and stored as they are done, so a repeated call
    continues where an interrupted one stopped.

    Args:
        texts, encoder, revision, max_tokens, batch_size, cache, progress: see ``encode``.

    Returns:
        Encoded.

    Raises:
        InputError: see ``encode``.

    Example:
        >>> encode_counted(["a", "b", "a"]).num_encoded
        2
    """
    if isinstance(texts, str):
        raise InputError("encode: expected a list of texts but got one string; put it into a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"encode: text {row} is {text!r}; every text must be a string")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"encode: batch_size is {batch_size}; it must be at least 1")
    if len(several := parts(encoder)) > 1:
        return _joined(several, texts, revision, max_tokens, batch_size=batch_size, cache=cache, progress=progress)
    chosen = choose(encoder, revision, max_tokens)
    folder = _folder(cache, chosen)
    if not len(texts):
        if encoder in OFFLINE:
            return Encoded(np.zeros((0, OFFLINE[encoder]), np.float32), np.zeros(0, bool), 0)
        raise InputError(
            f"encode: there are no texts; the width of {encoder} is unknown without one, so pass at least one"
        )
    if encoder in OFFLINE and folder is None and len(texts) <= min(FEW, batch_size or FEW):
        features, truncated = chosen.load()([*texts])
        return Encoded(features, truncated, len(set(texts)))
    keys = [shards.key(chosen.identity, text) for text in texts]
    known = {} if folder is None else shards.read(folder, keys)
    new = {key: str(text) for key, text in zip(keys, texts, strict=True) if key not in known}
    _encode_new(chosen, new, known, folder, batch_size or chosen.batch_size, progress)
    features = np.stack([known[key].features for key in keys])
    return Encoded(features, np.array([known[key].truncated for key in keys]), len(new))


def _joined(
    several: list[str], texts: Sequence[str] | np.ndarray, revision: str | None, max_tokens: int | None, **how: Any
) -> Encoded:
    """What each encoder makes of the texts, in one row; revision and max_tokens are of the one model of the hub."""
    models = [part for part in several if of_hub(part)]
    if (revision, max_tokens) != (None, None) and len(models) != 1:
        raise InputError(
            f"encode: revision and max_tokens are of one model on the hub, and {'+'.join(several)} has {len(models)}; "
            "leave them out"
        )
    of_model: dict[str, Any] = {"revision": revision, "max_tokens": max_tokens}
    each = [encode_counted(texts, part, **(of_model if part in models else {}), **how) for part in several]
    features = joined.join(several, [one.features for one in each])
    return Encoded(features, np.any([one.truncated for one in each], axis=0), max(one.num_encoded for one in each))


def _shown(starts: Iterable[int]) -> Iterable[int]:
    """The same with a progress bar. For terminals only: in rich 13 even a disabled bar prints an empty line."""
    from rich.console import Console
    from rich.progress import track

    return track(starts, "encoding", console=Console(stderr=True), transient=True)


def _encode_new(
    chosen: Encoder,
    new: dict[bytes, str],
    known: dict[bytes, shards.Row],
    folder: Path | None,
    batch_size: int,
    progress: bool,
) -> None:
    """Encode the new texts into ``known`` and into the folder."""
    if not new:
        return
    embed = chosen.load()
    width = next(iter(known.values())).features.size if known else None
    # Similar lengths together need little padding. Longest first, so that memory runs out at once or not at all.
    order = sorted(new, key=lambda key: len(new[key]), reverse=True)
    starts = range(0, len(order), batch_size)
    shown = progress and len(new) > 1 and sys.stderr.isatty() and not plain()
    unsaved: dict[bytes, shards.Row] = {}
    saved = time.monotonic()
    try:
        for start in _shown(starts) if shown else starts:
            batch = order[start : start + batch_size]
            features, truncated = embed([new[key] for key in batch])
            width = width or features.shape[1]
            if features.shape != (len(batch), width):
                raise InputError(
                    f"encode: {chosen.identity} returned features of shape {features.shape} for {len(batch)} texts; "
                    f"expected ({len(batch)}, {width}); use another model, or another cache if the model changed"
                )
            if not np.isfinite(features).all():
                raise InputError(f"encode: {chosen.identity} returned NaN or infinite features; use another model")
            unsaved |= {key: shards.Row(features[i], bool(truncated[i])) for i, key in enumerate(batch)}
            if len(unsaved) >= SHARD_ROWS or time.monotonic() - saved > SHARD_SECONDS:
                _save(unsaved, known, folder)
                unsaved, saved = {}, time.monotonic()
    finally:
        _save(unsaved, known, folder)


def _save(rows: dict[bytes, shards.Row], known: dict[bytes, shards.Row], folder: Path | None) -> None:
    known |= rows
    if folder is not None:
        shards.write(folder, rows)


def _folder(cache: str | os.PathLike[str] | Literal[False] | None, chosen: Encoder) -> Path | None:
    if cache is False or (cache is None and not chosen.cached):
        return None
    root = cache or os.environ.get("JAXROUTE_CACHE") or "~/.cache/jaxroute"
    return shards.folder_of(Path(root).expanduser(), chosen.identity)
