"""A router as a thing to keep: saved as a folder of arrays, loaded anywhere, asked for models.

    router = Router.load("router")
    router.route(["What is 2 + 2?"], cost_weight=20.0).models        # quality per unit of cost
    router.route(features, budget=0.002)                             # cost units a prompt on average

What it decides with is one of `kinds`. Its `folder` holds ``router.json`` (models, encoder, units, training summary)
and ``arrays.safetensors`` (the networks' parameters and an aggregated spend curve). No log row and no pickle is in it;
torch is needed only if the encoder needs it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from jaxroute.policies import budgets
from jaxroute.serving import folder, kinds
from jaxroute.serving.asking import ENDPOINT as ENDPOINT
from jaxroute.serving.asking import Asked
from jaxroute.types import InputError, Outcomes

ROWS_PER_BLOCK = 16384


@dataclass(frozen=True)
class Decision:
    """What a router says about N prompts.

    models: names [N]. index: [N]. scores: [N, K] of the router's kind (a plug-in's are predicted utilities), -inf for
    removed models. quality, cost: [N, K] as predicted, NaN where the kind predicts none. cost_weight: [N] the one each
    prompt was decided at.
    """

    models: list[str]
    index: np.ndarray
    scores: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    cost_weight: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Router(Asked):
    """A fitted router of any kind.

    models: K names. kind: what decides, one of ``kinds.KINDS``. cost_scale: cost units per normalised unit. curve:
    what each cost weight spends and gains, of ``budgets``; None: it takes no budgets. available: [K], False for
    removed models; None: none is removed. encoder: "kind" or "kind:MODEL" of ``encoders.encode``, None: features are
    given by the caller. summary: how it was trained and what the log said about it. may_send: whether texts may be
    sent to the encoder's endpoint, see ``load``.

    Raises:
        InputError: names that are empty or not distinct, a scale that is not positive, arrays that are not finite or
            do not fit together.
    """

    models: tuple[str, ...]
    kind: kinds.Kind
    cost_scale: float
    curve: budgets.Curve | None = None
    available: np.ndarray = None  # type: ignore[assignment]
    encoder: str | None = None
    revision: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    may_send: bool = True

    def __post_init__(self) -> None:
        if self.available is None:
            object.__setattr__(self, "available", np.ones(len(self.models), bool))
        _check(self)

    def __repr__(self) -> str:
        removed = "" if self.available.all() else f" ({(~self.available).sum()} removed)"
        made_by = "" if self.encoder is None else f" of {self.encoder}"
        return (
            f"Router({kinds.name_of(self.kind)}, {len(self.models)} models{removed}, "
            f"{self.kind.num_features} features{made_by}, cost_scale={self.cost_scale:.4g})"
        )

    @property
    def num_features(self) -> int:
        """D of the features that the router takes."""
        return self.kind.num_features

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
            InputError: none or several of the four; a budget or target out of reach, with models removed, or of a
                router without a curve; a cost weight so large that scores overflow.
        """
        ways = self.weights(
            cost_weight=cost_weight,
            normalised_cost_weight=normalised_cost_weight,
            budget=budget,
            quality_target=quality_target,
        )
        features = self.features(prompts)
        weight = np.full(len(features), ways[-1][0])
        if len(ways) > 1:
            (cheap, share), (dear, _) = ways
            weight = np.where(np.random.default_rng(seed).random(len(features)) < share, cheap, dear)
        scores, quality, cost = self._answers(features, weight)
        index = np.argmax(scores, 1) if len(scores) else np.zeros(0, int)
        return Decision([self.models[k] for k in index], index, scores, quality, cost, weight)

    def predict(self, prompts: Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predicted quality and cost, [N, K] each; NaN where the kind predicts none.

        Raises:
            InputError: texts without an encoder, features of another width, a value that is not finite.
        """
        features = self.features(prompts)
        _, quality, cost = self._answers(features, np.zeros(len(features)))
        return quality, cost

    def scores(self, prompts: Sequence[str] | np.ndarray, cost_weight: float | np.ndarray) -> np.ndarray:
        """Scores [N, K], -inf for removed models, at one cost weight or at one for each prompt [N].

        Raises:
            InputError: as for ``predict``; a cost weight that is negative, not finite or too large.
        """
        features = self.features(prompts)
        return self._answers(features, np.broadcast_to(self._weight(cost_weight), len(features)))[0]

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
            raise InputError("no model would be left; remove fewer models")
        return dataclasses.replace(self, available=left)

    def _answers(self, features: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(scores, quality, cost), [N, K] each."""
        shape = len(features), len(self.models)
        scores, quality, cost = (np.full(shape, np.nan, np.float32) for _ in range(3))
        for start in range(0, len(features), ROWS_PER_BLOCK):
            rows = slice(start, min(start + ROWS_PER_BLOCK, len(features)))
            count = rows.stop - start
            inputs = np.zeros((_padded(count), features.shape[1]), np.float32)
            weights = np.zeros(len(inputs), np.float32)
            inputs[:count], weights[:count] = features[rows], weight[rows]
            found, predicted = _scored(self.kind, inputs, weights)
            scores[rows] = np.asarray(found)[:count]
            if predicted is not None:
                quality[rows], cost[rows] = (np.asarray(y)[:count] for y in predicted)
        if not self.costs_known:
            cost[:] = np.nan
        scores[:, ~self.available] = -np.inf
        if not (finite := np.isfinite(scores[:, self.available]).all(1)).all():
            row = int(np.argmin(finite))
            raise InputError(
                f"row {row}: the scores overflow at cost weight {weight[row]:g}; give a smaller cost weight"
            )
        return scores, quality, cost

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the folder, all of it or nothing; an older router at the same place is replaced.

        Raises:
            InputError: the place holds something that is not a router.
        """
        tree = kinds.arrays(self.kind)
        if self.curve is not None:
            tree["curve"] = {key: part for key, part in dataclasses.asdict(self.curve).items() if part is not None}
        meta = {
            "kind": kinds.name_of(self.kind),
            "settings": kinds.settings(self.kind),
            "models": list(self.models),
            "removed": [name for name, left in zip(self.models, self.available, strict=True) if not left],
            "encoder": self.encoder,
            "revision": self.revision,
            "num_features": self.kind.num_features,
            "cost_scale": self.cost_scale,
            "summary": self.summary,
        }
        folder.write(Path(path), meta, {name: np.asarray(leaf) for name, leaf in kinds.flat(tree).items()})

    @classmethod
    def load(cls, path: str | os.PathLike[str], encoder: str | None = None) -> Router:
        """Read a router's folder; nothing in it is run or unpickled.

        Args:
            path: of the folder.
            encoder: the router's own encoder, named again. Only one that sends texts to an endpoint asks for it: a
                folder from elsewhere does not decide where prompts go.

        Raises:
            InputError: no router there, one of a newer version, a damaged file, or another encoder than the named one.
        """
        path = Path(path)
        meta, tree = folder.read(path)
        if meta["schema"] == 1:  # before there were kinds
            meta = {**meta, "kind": "plug_in", "settings": {"hidden": meta.get("hidden")}}
        if meta.get("kind") not in kinds.KINDS:
            raise InputError(
                f"{path}: holds a router of the unknown kind {meta.get('kind')!r}; update jaxroute to read it"
            )
        with folder.whole(path):
            curve = tree.pop("curve", None)
            if not set(meta["removed"]) <= set(meta["models"]):
                raise ValueError("a removed model is none of its models")
            router = cls(
                tuple(meta["models"]),
                kinds.of_arrays(meta["kind"], tree, meta["settings"]),
                float(meta["cost_scale"]),
                None if curve is None else budgets.Curve(**curve),
                ~np.isin(meta["models"], meta["removed"]),
                meta["encoder"],
                meta["revision"],
                meta["summary"],
                may_send=encoder is not None,
            )
        if encoder is not None and encoder != router.encoder:
            raise InputError(
                f"{path}: the router's encoder is {router.encoder or 'none'}, not {encoder}; name that one or none"
            )
        return router


@jax.jit
def _scored(kind: kinds.Kind, features: Array, cost_weight: Array) -> tuple[Array, Outcomes | None]:
    with jax.default_matmul_precision("highest"):
        return kind.scores(features, cost_weight), kind.predict(features)


def _padded(rows: int) -> int:
    """The next power of two: a handful of compiled shapes serves any number of rows."""
    return 1 << max(rows - 1, 0).bit_length()


def _check(router: Router) -> None:
    models = router.models
    if not models or not all(isinstance(name, str) and name.strip() for name in models):
        raise InputError(f"model names {list(models)}: give at least one, none of them empty")
    if len(set(models)) != len(models) or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in "".join(models)):
        raise InputError(f"model names {list(models)}: give each name once, without control characters")
    if router.available.shape != (len(models),) or router.available.dtype != bool or not router.available.any():
        raise InputError(f"available: it must hold {len(models)} booleans, at least one of them True")
    if not (isinstance(router.cost_scale, float) and 0 < router.cost_scale < np.inf):
        raise InputError(f"cost_scale is {router.cost_scale!r}; it must be a positive, finite number")
    if not all(name is None or isinstance(name, str) for name in (router.encoder, router.revision)):
        raise InputError(f"encoder {router.encoder!r}, revision {router.revision!r}: they must be texts or None")
    if not isinstance(router.summary, dict):
        raise InputError(f"summary is a {type(router.summary).__name__}; it must be a dict")
    kinds.check(router.kind, len(models))
