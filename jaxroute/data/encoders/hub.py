"""Features from sentence-transformers, BERT and Llama: run by torch on this machine, weights by name or path.

Names are downloaded once through huggingface_hub and pinned to a commit. Only safetensors weights are read, no pickle.
``HF_HUB_OFFLINE=1`` uses only what is on disk. Everything runs in float32, so that features do not depend on the
machine.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxroute._lazy import install
from jaxroute.types import InputError

if TYPE_CHECKING:
    import torch

LIMIT = 2048  # tokens, even if the model accepts more, because memory grows with the longest text
WINDOWS = 32  # of whole texts, at a time
FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
Embed = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]  # texts -> features [B, D], truncated [B]


class Weights(NamedTuple):
    """A folder of weights and their revision: a commit on the hub, or a hash of the folder's files."""

    folder: Path
    revision: str


def locate(name: str, revision: str | None = None) -> Weights:
    """Find weights: a folder, or a name on the hub (downloaded or from the local copy).

    Args:
        name: a folder, or a name on the hub such as "bert-base-uncased".
        revision: commit, tag or branch on the hub; None takes the newest one available.

    Returns:
        Weights; ``revision`` changes when the files do.

    Raises:
        InputError: the model is not found, is gated without a token, cannot be reached, or huggingface_hub is missing.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InputError(
                f"{name} is a folder, and revision={revision!r} applies only to names on the hub; leave it out"
            )
        if not any(folder.rglob("*.safetensors")):
            raise InputError(f"{name}: this folder has no .safetensors file; save the model with save_pretrained")
        return Weights(folder, _fingerprint(folder))
    if name.startswith((".", "/", "~")):
        raise InputError(f"{name}: no such folder; check the path")
    hub = _library("huggingface_hub")
    errors = _library("huggingface_hub.errors")
    try:
        # The token is read by huggingface_hub itself, from HF_TOKEN or its own login.
        found = Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except errors.GatedRepoError:
        has = "the token in HF_TOKEN has no access" if os.environ.get("HF_TOKEN") else "HF_TOKEN is not set"
        raise InputError(
            f"{name} is gated and {has}: accept its licence at https://huggingface.co/{name}, then set HF_TOKEN"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        at = f" at revision {revision}" if revision else ""
        raise InputError(
            f"{name}{at}: neither a folder nor a model on the hub ({type(error).__name__}); check the name"
        ) from None
    except Exception as error:  # offline, a proxy, a full disk: each library version has its own class
        raise InputError(
            f"{name}: could not be downloaded and is not on disk ({type(error).__name__}); "
            "give a folder, or run once with a connection (for gated models with HF_TOKEN set)"
        ) from None
    if not any(found.rglob("*.safetensors")):
        raise InputError(f"{name}: has no safetensors weights; other formats are pickles and are not read")
    return Weights(found, found.name)


def sentence(weights: Weights, max_tokens: int | None) -> Embed:
    """A sentence-transformers model with its own pooling and normalisation.

    Args:
        weights: see ``locate``.
        max_tokens: longer texts are truncated; None takes the model's own limit.

    Returns:
        Texts [B] -> (float32 [B, D], truncated [B]).
    """
    library = _library("sentence_transformers")
    model = library.SentenceTransformer(str(weights.folder), device=_device(), local_files_only=True)
    model.max_seq_length = limit = _limit(max_tokens, model.max_seq_length)

    def embed(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        features = model.encode(list(texts), batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(features, np.float32), _counts(model.tokenizer, texts) > limit

    return embed


def whole_sentence(weights: Weights, max_tokens: int | None) -> Embed:
    """The same of whole texts: the mean over windows of as many tokens as the model takes, weighted by their lengths.

        x = sum_j n_j x_j / sum_j n_j,   then brought to the mean of the windows' norms, weighted alike

    x_j is what the model makes of window j and n_j its number of tokens, but for the special ones that every window
    has. A text of one window has the features of ``sentence``.

    Args:
        weights: see ``locate``.
        max_tokens: of a window, with its special tokens; None takes the model's own limit.

    Returns:
        Texts [B] -> (float32 [B, D], truncated [B], which is False).
    """
    torch, library = _library("torch"), _library("sentence_transformers")
    model = library.SentenceTransformer(str(weights.folder), device=_device(), local_files_only=True).eval()
    limit = _limit(max_tokens, model.max_seq_length)

    def embed(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        stripped = [text.strip() for text in texts]  # as the model's own way does
        tokens = model.tokenizer(
            stripped, truncation=True, max_length=limit, return_overflowing_tokens=True, return_special_tokens_mask=True
        )
        of, special = np.array(tokens["overflow_to_sample_mapping"]), tokens["special_tokens_mask"]
        inputs = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in tokens]
        count = np.array([max(sum(1 - mask for mask in masks), 1) for masks in special], float)
        windows = []
        for start in range(0, len(of), WINDOWS):
            some = {name: tokens[name][start : start + WINDOWS] for name in inputs}
            padded = model.tokenizer.pad(some, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                windows.append(model(dict(padded))["sentence_embedding"].float().cpu().numpy())
        return _mean_window(np.concatenate(windows), count, of, len(texts)), np.zeros(len(texts), bool)

    return embed


def _mean_window(windows: np.ndarray, count: np.ndarray, of: np.ndarray, texts: int) -> np.ndarray:
    """The mean of every text's windows by tokens, of their mean norm; float32 [B, D]."""
    share = np.zeros((texts, len(of)))
    share[of, np.arange(len(of))] = count
    share /= share.sum(1, keepdims=True)
    mean, norm = share @ windows, share @ np.linalg.norm(windows, axis=1)
    own = np.linalg.norm(mean, axis=1)
    return np.asarray(mean * np.divide(norm, own, out=np.zeros_like(own), where=own > 0)[:, None], np.float32)


def transformer(weights: Weights, pooling: str, max_tokens: int | None) -> Embed:
    """A transformers encoder or decoder, pooled over the tokens of its last hidden layer.

        mean:  sum_t m_t h_t / sum_t m_t        cls:  h_1        last:  h_T, T the last token with m_T = 1

    Args:
        weights: see ``locate``; BERT and Llama are tested.
        pooling: "mean", "cls" or "last".
        max_tokens: longer texts are truncated; None takes the model's own limit, at most 2048.

    Returns:
        Texts [B] -> (float32 [B, D], truncated [B]).
    """
    torch, library = _library("torch"), _library("transformers")
    device = _device()
    tokenizer = library.AutoTokenizer.from_pretrained(weights.folder, local_files_only=True)
    if tokenizer.pad_token is None:  # Llama has none; masked positions have no effect
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    # Right: a causal model then never sees padding, and positions start at the text.
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    model = library.AutoModel.from_pretrained(
        weights.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    model = model.to(device).eval()
    positions = getattr(model.config, "max_position_embeddings", None) or LIMIT
    limit = _limit(max_tokens, min(tokenizer.model_max_length, positions, LIMIT))

    def embed(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        tokens = tokens.to(device)
        if tokens["input_ids"].shape[1] == 0:  # only empty texts, and a tokenizer without a first token
            return np.zeros((len(texts), model.config.hidden_size), np.float32), np.zeros(len(texts), bool)
        with torch.inference_mode():
            hidden = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
            pooled = pool(hidden, tokens["attention_mask"], pooling)
        return pooled.cpu().numpy().astype(np.float32), _counts(tokenizer, texts) > limit

    return embed


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Token vectors [B, T, D] and mask [B, T], padded on the right -> [B, D]; a text without tokens gives zeros."""
    weight = mask[..., None].to(hidden.dtype)
    count = weight.sum(1)
    if pooling == "mean":
        return (hidden * weight).sum(1) / count.clamp(min=1)
    first_or_last = 0 * count[:, 0].long() if pooling == "cls" else (count[:, 0].long() - 1).clamp(min=0)
    rows = hidden[range(len(hidden)), first_or_last]
    return rows * (count > 0)


def _counts(tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """Number of tokens of each text [B] before truncation."""
    return np.array([len(row) for row in tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]])


def _limit(asked: int | None, own: int | None) -> int:
    own = LIMIT if own is None else own
    if asked is None:
        return own
    if not 1 <= asked <= own:
        raise InputError(f"max_tokens is {asked}; this model accepts 1 to {own}")
    return asked


def _device() -> str:
    torch = _library("torch")
    return "cuda" if torch.cuda.is_available() else "cpu"


def _fingerprint(folder: Path) -> str:
    """Hash of the files that determine the numbers: other weights at the same path are another encoder."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path for pattern in FILES for path in folder.rglob(pattern)):
        digest.update(f"{file.relative_to(folder)}\0".encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def need(library: str) -> None:
    """InputError unless a library is installed; it is not imported."""
    if importlib.util.find_spec(library) is None:
        raise _missing(library)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _missing(name.split(".")[0]) from error


def _missing(library: str) -> InputError:
    return InputError(f"this encoder needs {library}; {install('encoders')}, or use encoder='hashed'")
