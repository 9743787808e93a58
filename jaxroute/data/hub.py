"""Files of public data sets from the Hugging Face hub and GitHub, and the folder that keeps prepared tables."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxroute._lazy import extra
from jaxroute.data import saving
from jaxroute.types import InputError

if TYPE_CHECKING:
    import datasets
    import pandas as pd


def download(repo: str, file: str, revision: str = "main") -> Path:
    """Local copy of one file of a data set on the Hugging Face hub; downloaded once and kept by huggingface_hub.

    Args:
        repo: such as ``"withmartian/routerbench"``.
        file: its path in the repository.
        revision: branch, tag or commit.

    Returns:
        Path of the copy.

    Raises:
        InputError: the hub cannot be reached or refuses, and there is no local copy.
    """
    hub = extra("huggingface_hub", "experiments")
    try:
        return Path(hub.hf_hub_download(repo, file, repo_type="dataset", revision=revision))
    except Exception as error:  # the client, its HTTP library and the sockets have their own errors
        raise InputError(
            f"hub data set {repo}, file {file}: could not be downloaded ({type(error).__name__}); "
            "connect to the network, or get the file elsewhere and give its path"
        ) from error


def load(
    repo: str, *, split: str = "train", files: str | Sequence[str] | None = None, revision: str | None = None
) -> datasets.Dataset:
    """One split of a data set as ``datasets.load_dataset`` reads it: downloaded once, memory-mapped from its cache.

    Args:
        repo: of the Hugging Face hub, such as ``"CARROT-LLM-Routing/SPROUT"``, or a builder of local files: "parquet",
            "csv" or "json".
        split: of the data set; local ``files`` are the split.
        files: of the repository, or local paths; None: what the repository declares.
        revision: branch, tag or commit; None: the newest.

    Returns:
        Dataset.

    Raises:
        InputError: the hub cannot be reached and there is no local copy, or the files cannot be read.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "one.csv"
        >>> _ = file.write_text("prompt,label\\n2+2?,1\\n")
        >>> load("csv", files=str(file))[0]
        {'prompt': '2+2?', 'label': 1}
    """
    library = extra("datasets", "experiments")
    named = None if files is None else {split: files}
    try:
        return library.load_dataset(repo, data_files=named, split=split, revision=revision)
    except Exception as error:  # the library, its HTTP client and the sockets have their own errors
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"data set {repo}, split {split}: could not be loaded ({type(error).__name__}: {reason}); connect to the "
            "network, or get the files elsewhere and give their path"
        ) from error


def github(repo: str, file: str, revision: str = "HEAD") -> Path:
    """Local copy of one file of a GitHub repository; downloaded once and kept under ``cache_folder``.

    Args:
        repo: such as ``"lm-sys/RouteLLM"``.
        file: its path in the repository.
        revision: branch, tag or commit.

    Returns:
        Path of the copy, which ends in ``file``.

    Raises:
        InputError: GitHub cannot be reached or refuses, and there is no local copy.
    """
    import http.client
    import urllib.parse
    import urllib.request

    kept = cache_folder() / "github" / repo / revision / file
    if kept.exists():
        return kept
    address = f"https://raw.githubusercontent.com/{repo}/{revision}/{urllib.parse.quote(file)}"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=kept.name, dir=kept.parent) as scratch:
                with (Path(scratch) / "part").open("wb") as part:
                    shutil.copyfileobj(answer, part)
                os.replace(part.name, kept)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"GitHub repository {repo}, file {file}: could not be downloaded ({type(error).__name__}); "
            "connect to the network, or get the file elsewhere and give its path"
        ) from error
    return kept


def cache_folder() -> Path:
    """The folder of prepared tables: $JAXROUTE_CACHE, or ~/.cache/jaxroute."""
    return Path(os.environ.get("JAXROUTE_CACHE") or "~/.cache/jaxroute").expanduser()


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "empty"
        >>> file.touch()
        >>> checksum(file)[:8]
        'e3b0c442'
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as Parquet, completely or not at all, even if others write the same file."""
    with saving.file(path) as file:
        frame.to_parquet(file)
