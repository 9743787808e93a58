"""A router as a thing to keep: saved as a folder of arrays, loaded anywhere, asked for models.

    router = Router.load("router")
    router.route(["What is 2 + 2?"], cost_weight=20.0).models        # quality per unit of cost
    router.route(features, budget=0.002)                             # cost units a prompt on average

The folder holds ``router.json`` (schema, models, encoder, units, training summary, checksum) and
``arrays.safetensors`` (one network's parameters and an aggregated spend curve). No log row and no pickle is
in it; torch is needed only if the encoder needs it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxroute.policies import budgets
from jaxroute.projection import Projection
from jaxroute.serving import distil
from jaxroute.types import InputError

SCHEMA = 1
ROWS_PER_BLOCK = 16384
META, ARRAYS = "router.json", "arrays.safetensors"


@dataclass(frozen=True)
class Decision:
    """What a router says about N prompts.

    models: names [N]. index: [N]. scores: [N, K] predicted utility, -inf for removed models. quality, cost:
    [N, K] as predicted. cost_weight: [N] the one each prompt was decided at.
    """

    models: list[str]
    index: np.ndarray
    scores: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    cost_weight: np.ndarray


@dataclass(frozen=True)
class Router:
    """A fitted router. Made by ``fitting.fit`` or ``load``.

    models: K names. encoder: "kind" or "kind:MODEL" of ``encoders.encode``, None: features are given by the
    caller. cost_scale: cost units per normalised unit. curve: of ``budgets``, thinned. available: [K], False
    for removed models. summary: how it was trained and what the log said about it.
    """

    models: tuple[str, ...]
    student: distil.Student
    hidden: tuple[int, ...]
    cost_scale: float
    curve: budgets.Curve
    available: np.ndarray
    encoder: str | None = None
    revision: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def predict(self, prompts: Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predicted quality and cost, [N, K] each.

        Raises:
            InputError: texts without an encoder, features of another width, a value that is not finite.
        """
        features = self._features(prompts)
        blocks: list[list[Any]] = []
        for start in range(0, len(features), ROWS_PER_BLOCK):
            block = features[start : start + ROWS_PER_BLOCK]
            padded = np.zeros((_padded(len(block)), features.shape[1]), np.float32)
            padded[: len(block)] = block
            found = distil.predict(self.student, jnp.asarray(padded), self.hidden)
            blocks.append([np.asarray(y)[: len(block)] for y in found])
        if not blocks:
            blocks = [[np.zeros((0, len(self.models)), np.float32)] * 2]
        quality, cost = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return quality, cost

    def route(
        self,
        prompts: Sequence[str] | np.ndarray,
        *,
        cost_weight: float | None = None,
        normalised_cost_weight: float | None = None,
        budget: float | None = None,
        quality_target: float | None = None,
        seed: int = 0,
    ) -> Decision:
        """The model of every prompt, at exactly one of four ways to say what cost matters.

        Args:
            prompts: N texts, or features [N, D].
            cost_weight: quality per unit of cost.
            normalised_cost_weight: cost_weight times cost_scale; at 1 the model of best quality and the
                cheapest one break even on average.
            budget: cost units a prompt on average; met in expectation by a mixture of two cost weights.
            quality_target: mean quality in [0, 1], reached as cheaply as can be.
            seed: of the mixture.

        Returns:
            Decision.

        Raises:
            InputError: none or several of the four; a budget or target out of reach, or with models removed.
        """
        asked = {
            "cost_weight": cost_weight,
            "normalised_cost_weight": normalised_cost_weight,
            "budget": budget,
            "quality_target": quality_target,
        }
        given = [name for name, value in asked.items() if value is not None]
        if len(given) != 1:
            raise InputError(f"give exactly one of {', '.join(asked)}; got {' and '.join(given) or 'none'}")
        quality, cost = self.predict(prompts)
        weight = self._weights(len(quality), asked, seed)
        scores = quality - weight[:, None] * cost
        scores = np.where(self.available[None], scores, -np.inf)
        index = np.argmax(scores, 1) if len(scores) else np.zeros(0, int)
        return Decision([self.models[k] for k in index], index, scores, quality, cost, weight)

    def _weights(self, rows: int, asked: dict[str, float | None], seed: int) -> np.ndarray:
        if (weight := asked["cost_weight"]) is None and (normalised := asked["normalised_cost_weight"]) is not None:
            weight = normalised / self.cost_scale
        if weight is not None:
            if not 0 <= weight < np.inf:
                raise InputError(f"cost weight {weight}: give a finite number of at least 0")
            return np.full(rows, weight)
        if not self.available.all():
            raise InputError("budgets and quality targets were measured with every model; models were removed: refit")
        if (budget := asked["budget"]) is not None:
            mixed = budgets.mixture(self.curve, budget)
            cheap = np.random.default_rng(seed).random(rows) < mixed.share
            return np.where(cheap, mixed.cheap.cost_weight, mixed.dear.cost_weight)
        target = asked["quality_target"]
        assert target is not None
        return np.full(rows, budgets.for_quality(self.curve, target).cost_weight)

    def without(self, *names: str) -> Router:
        """The same router, never choosing the named models.

        Raises:
            InputError: an unknown name, or no model left.
        """
        unknown = [name for name in names if name not in self.models]
        if unknown:
            raise InputError(f"unknown model {unknown[0]!r}; the router knows: {', '.join(self.models)}")
        left = self.available & ~np.isin(self.models, names)
        if not left.any():
            raise InputError("no model would be left")
        return dataclasses.replace(self, available=left)

    def _features(self, prompts: Sequence[str] | np.ndarray) -> np.ndarray:
        if not isinstance(prompts, np.ndarray) or prompts.dtype.kind in "OUT":
            if self.encoder is None:
                raise InputError("this router was fitted on features, not texts: pass an array [N, D]")
            from jaxroute.data import encoders

            prompts = encoders.encode(prompts, self.encoder, revision=self.revision)
        width = self.student.axes.mean.shape[0]
        if prompts.ndim != 2 or prompts.shape[1] != width:
            raise InputError(f"features of shape {prompts.shape}: this router takes [N, {width}]")
        features = np.asarray(prompts, np.float32)
        if not (finite := np.isfinite(features).all(1)).all():
            raise InputError(f"features, row {int(np.argmin(finite))}: not finite")
        return features

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the folder, all of it or nothing; an older router at the same place is replaced.

        Raises:
            InputError: the place holds something that is not a router.
        """
        from safetensors.numpy import save

        path = Path(path)
        if path.exists() and not (path / META).is_file() and not (path.is_dir() and not any(path.iterdir())):
            raise InputError(f"{path}: exists and is no router; choose another place or remove it")
        arrays = _flat({"student": self.student, "curve": dataclasses.asdict(self.curve)})
        content = save(arrays)
        meta = {
            "schema": SCHEMA,
            "models": list(self.models),
            "removed": [name for name, left in zip(self.models, self.available, strict=True) if not left],
            "encoder": self.encoder,
            "revision": self.revision,
            "num_features": int(self.student.axes.mean.shape[0]),
            "hidden": list(self.hidden),
            "cost_scale": self.cost_scale,
            "summary": self.summary,
            "sha256": hashlib.sha256(content).hexdigest(),
            "packages": {name: importlib.metadata.version(name) for name in ("jax", "numpy", "flax")},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
            folder = Path(scratch) / "router"
            folder.mkdir()
            (folder / ARRAYS).write_bytes(content)
            (folder / META).write_text(json.dumps(meta, indent=1) + "\n")
            if path.exists():
                os.replace(path, Path(scratch) / "old")
            os.replace(folder, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Router:
        """Read a router's folder; nothing is unpickled.

        Raises:
            InputError: no router there, a newer schema, or a damaged file.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = Path(path)
        if not (path / META).is_file():
            raise InputError(f"{path}: no router here ({META} is missing)")
        try:
            meta = json.loads((path / META).read_text())
            schema = int(meta["schema"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path / META}: damaged ({error}); restore it or fit again") from None
        if schema > SCHEMA:
            raise InputError(f"{path / META}: schema {schema} is newer than {SCHEMA}; update jaxroute to read it")
        try:
            content = (path / ARRAYS).read_bytes()
            if hashlib.sha256(content).hexdigest() != meta["sha256"]:
                raise InputError(f"{path / ARRAYS}: damaged (its checksum is not the one in {META}); fit again")
            tree = _nested(load(content))
            student = tree["student"]
            models = tuple(meta["models"])
            return cls(
                models,
                distil.Student(
                    Projection(*(jnp.asarray(student["axes"][name]) for name in Projection._fields)),
                    jnp.asarray(student["linear"]),
                    jnp.asarray(student["bias"]),
                    jax.tree.map(jnp.asarray, student["mlp"]),
                    jnp.asarray(student["level"]),
                ),
                tuple(meta["hidden"]),
                float(meta["cost_scale"]),
                budgets.Curve(**tree["curve"]),
                ~np.isin(models, meta["removed"]),
                meta["encoder"],
                meta["revision"],
                meta["summary"],
            )
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); restore it or fit again") from None


def _padded(rows: int) -> int:
    """The next power of two: a handful of compiled shapes serves any number of rows."""
    return 1 << max(rows - 1, 0).bit_length()


def _flat(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """A nest of dicts and NamedTuples as {"a/b/c": array}."""
    if hasattr(tree, "_asdict"):
        tree = tree._asdict()
    if not isinstance(tree, dict):
        return {prefix.removesuffix("/"): np.ascontiguousarray(tree)}
    return {name: leaf for key, part in tree.items() for name, leaf in _flat(part, f"{prefix}{key}/").items()}


def _nested(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of ``_flat``, as dicts."""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *path, last = name.split("/")
        place = tree
        for key in path:
            place = place.setdefault(key, {})
        place[last] = leaf
    return tree
