"""Choosing an encoder by its name.

    hashed                   word and character n-grams; offline, without a model (the default)
    hashed-2                 the same in NumPy alone, some ten times quicker on one text: for gateways
    marks                    length, code, digits, scripts; NumPy alone: to be joined with another one
    sentence[:MODEL]         sentence-transformers
    sentence-whole[:MODEL]   the same of texts of any length: the mean over windows, instead of the first one
    bert-mean, bert-cls[:MODEL]      BERT, mean or first-token pooling
    llama-mean, llama-last[:MODEL]   Llama, mean or last-token pooling
    endpoint:MODEL           an OpenAI-compatible endpoint: OPENAI_BASE_URL, OPENAI_API_KEY

MODEL is a folder, a name on the Hugging Face hub (each of the three has a default), or the endpoint's own name. Several
are joined by "+", as in hashed+sentence+marks; `joined` says how they are scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxroute.data.encoders import endpoint, hashed, hub, joined, marks, ngrams
from jaxroute.settings import refused
from jaxroute.types import InputError

ENCODERS = (
    *("hashed", "hashed-2", "sentence", "bert-mean", "bert-cls", "llama-mean", "llama-last", "endpoint"),
    *("sentence-whole", "marks"),
)
OFFLINE = {"hashed": hashed.DIMENSIONS, "hashed-2": hashed.DIMENSIONS, "marks": marks.DIMENSIONS}
"""Encoders that need no model, and the number of their features."""
MODELS = {
    "sentence": "sentence-transformers/all-MiniLM-L6-v2",
    "bert": "bert-base-uncased",
    "llama": "meta-llama/Llama-3.2-1B",
}


def check(encoder: str) -> None:
    """What can be known of an encoder before any text: that there is such a one, its libraries and its weights.

    Raises:
        InputError: see ``encode``.

    Example:
        >>> check("hashd")
        Traceback (most recent call last):
        jaxroute.types.InputError: unknown encoder 'hashd'; use one of: hashed, hashed-2, sentence, ...
    """
    for part in parts(encoder):
        if of_hub(part):
            hub.need("sentence_transformers" if part.startswith("sentence") else "transformers")
        choose(part, None, None)


def parts(encoder: str) -> list[str]:
    """The encoders that one such as "hashed+sentence" joins; of any other, itself.

    Raises:
        InputError: a part stands there twice, or it is no text.

    Example:
        >>> parts("hashed+marks"), parts("hashed")
        (['hashed', 'marks'], ['hashed'])
    """
    if not isinstance(encoder, str):
        raise refused("encoder", encoder, "the name of an encoder")
    return joined.parts(encoder, ENCODERS) if "+" in encoder else [encoder]


class Encoder(NamedTuple):
    """How texts are encoded, before anything is loaded."""

    identity: str  # everything that the numbers depend on
    load: Callable[[], hub.Embed]  # called only if some text is new
    batch_size: int
    cached: bool  # by default


def of_hub(part: str) -> bool:
    """Whether an encoder is a model of the Hugging Face hub.

    Example:
        >>> of_hub("sentence:all-MiniLM-L6-v2"), of_hub("hashed")
        (True, False)
    """
    kind = part.partition(":")[0]
    return kind in ENCODERS and kind not in (*OFFLINE, "endpoint")


def choose(encoder: str, revision: str | None, max_tokens: int | None) -> Encoder:
    """The encoder of a name; its weights are found, and loaded when they are needed.

    Raises:
        InputError: see ``encode``.
    """
    kind, _, model = encoder.partition(":")
    if kind not in ENCODERS or (kind in OFFLINE and model):
        raise InputError(f"unknown encoder {encoder!r}; use one of: {', '.join(ENCODERS)}")
    if kind in (*OFFLINE, "endpoint") and (revision, max_tokens) != (None, None):
        raise InputError(f"encode: the encoder {kind} takes neither revision nor max_tokens; leave them out")
    if kind == "hashed":
        return Encoder(hashed.IDENTITY, lambda: _never_cut(hashed.embed), hashed.BLOCK, False)
    if kind == "hashed-2":
        return Encoder(ngrams.IDENTITY, lambda: _never_cut(ngrams.embed), ngrams.BLOCK, False)
    if kind == "marks":
        return Encoder(marks.IDENTITY, lambda: _never_cut(marks.embed), ngrams.BLOCK, False)
    if kind == "endpoint":
        if not model:
            raise InputError("encode: the endpoint's model is missing; write it as in endpoint:text-embedding-3-small")
        url = endpoint.base_url()
        ask = _never_cut(lambda texts: endpoint.embed(texts, model, url))
        return Encoder(f"endpoint {url} {model}", lambda: ask, 32, True)
    family, _, pooling = kind.partition("-")
    weights = hub.locate(model or MODELS[family], revision)
    # A folder is identified by its content, wherever it is.
    name = "" if Path(model).expanduser().is_dir() and model else model or MODELS[family]
    identity = f"{kind} {name} {weights.revision} {max_tokens or 'own limit'}"
    if family == "sentence":
        embed = hub.whole_sentence if pooling == "whole" else hub.sentence
        return Encoder(identity, lambda: embed(weights, max_tokens), 32, True)
    return Encoder(identity, lambda: hub.transformer(weights, pooling, max_tokens), 32, True)


def _never_cut(embed: Callable[[Sequence[str]], np.ndarray]) -> hub.Embed:
    return lambda texts: (embed(texts), np.zeros(len(texts), bool))
