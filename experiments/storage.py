"""The folder of a run: where it is, what it holds, and how files are written whole or not at all."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import source
from experiments.settings import Config, dataset_name
from jaxroute.types import InputError

T = TypeVar("T")
_LINES = threading.Lock()  # one line is written at a time
LINE_AT_MOST = 65536  # bytes of one object in metrics.jsonl
PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy", "pandas", "scikit-learn", "orbax-checkpoint")


def write_text(path: Path, text: str) -> None:
    """Write through a temporary file: a killed run leaves the old file or the new one, nothing between."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As atomically as `write_text`."""
    temporary = path.with_name(f"{path.name}.{platform.node()}-{os.getpid()}.part")  # in containers process ids repeat
    temporary.write_bytes(content)
    os.replace(temporary, path)


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Parquet, as atomically as `write_text`."""
    write_bytes(path, frame.to_parquet(index=False))


def write_arrays(path: Path, tree: Any) -> None:
    """The arrays of a tree as safetensors, which is no pickle, as atomically as `write_text`."""
    from safetensors.numpy import save

    arrays = {_name(where): np.asarray(leaf, order="C") for where, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    write_bytes(path, save(arrays))


def read_arrays(path: Path, like: T) -> T:
    """What `write_arrays` wrote, to the same bits, in the structure of ``like``."""
    from safetensors.numpy import load_file

    arrays = load_file(path)
    return jax.tree_util.tree_map_with_path(lambda where, _: jnp.asarray(arrays[_name(where)]), like)


def _name(where: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(where, simple=True, separator="/")


class BusyError(InputError):
    """Another process is at work in the folder."""


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; a second run on it is refused. The kernel lets go when the process ends,
    however it ends, so no stale lock can be left behind.

    Raises:
        BusyError: another process is at work in the folder.
    """
    path = folder.with_name(folder.name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BusyError(
                f"{folder}: process {holder} is at work here; wait until it ends, or give another --out"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def data_digest(data: str) -> str:
    """Digest of the table's files, names and bytes: a changed table starts a new run, a copied one goes on."""
    if data == "synthetic":
        return data
    path = Path(data)
    files = sorted(f for f in path.glob("*") if f.is_file()) if path.is_dir() else [path]
    parts = []
    for file in files:
        with file.open("rb") as content:
            parts.append(f"{file.name}:{hashlib.file_digest(content, 'sha256').hexdigest()}")
    return "|".join(parts)


def environment() -> dict[str, Any]:
    """Versions, machine and revision, for the record beside every result."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(source.ROOT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "git_revision": git("rev-parse", "--short", "HEAD") or "not a checkout",
        "git_changed_files": len(git("status", "--porcelain").splitlines()),
    }


def run_folder(out: Path, config: Config, functions: Iterable[Callable[..., Any]]) -> Path:
    """results/<experiment>/<dataset>-<digest>: one folder for one config, table, library set and source.

    functions: those that make the run's results.
    """
    versions = [importlib.metadata.version(name) for name in PACKAGES]
    parts = [repr(config), data_digest(config.data), source.digest(*functions), *versions, jax.default_backend()]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
    return out / config.name / f"{dataset_name(config.data, config.tasks).replace(':', '-')}-{digest}"


def begin(folder: Path, config: Config) -> None:
    """Make a run's folder and write down its config and environment; for the one who holds it (`only_run`)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.json", json.dumps(dataclasses.asdict(config), indent=1))
    write_text(folder / "environment.json", json.dumps(environment(), indent=1))


def log_line(folder: Path, **fields: Any) -> None:
    """Append one object to metrics.jsonl; half a line that a killed run left is cut off first."""
    with _LINES, (folder / "metrics.jsonl").open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LINE_AT_MOST))
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
        file.write(json.dumps(fields).encode() + b"\n")
