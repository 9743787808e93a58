"""The scores of every kind of router in NumPy, read from its folder: what a process needs that only decides.

    router = load("router")
    router.route(["What is 2 + 2?"], cost_weight=20.0).models

Neither JAX nor SciPy nor scikit-learn is imported; the encoder "hashed" alone needs the last two ("hashed-2" does not).
The formulas are those of `kinds`, and the scores are equal to those of `serving.router.Router` up to rounding. Each
kind is a function (arrays, settings, features [N, D], cost_weight [N]) -> (scores, predicted quality and cost or None),
[N, K] each, of arrays that were made ready once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxroute.policies.curves import Curve
from jaxroute.serving import blocks, dense, folder
from jaxroute.serving.asking import Asked
from jaxroute.serving.decisions import Predicted
from jaxroute.serving.posterior import Posterior
from jaxroute.types import InputError

FLOOR = 0.01
"""Of a relative cost: nothing is for free because of a prediction."""
FEW = 256
"""Rows that are centred before they are projected, which costs a copy of them."""
_FLOOR = np.array(np.float32(FLOOR))
Tree = Mapping[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Portable(Asked):
    """A router that only decides; the fields are those of `serving.router.Router`, version is of its folder's content.

    kind: name of the kind. arrays: of the kind, as nested dictionaries. settings: its static fields.
    """

    models: tuple[str, ...]
    kind: str
    arrays: Tree
    settings: Tree
    cost_scale: float
    curve: Curve | None
    available: np.ndarray
    encoder: str | None
    revision: str | None
    version: str
    summary: dict[str, Any] = field(default_factory=dict)
    may_send: bool = True
    last_layer: Posterior | None = None

    @property
    def num_features(self) -> int:
        """D of the features that the router takes."""
        return int(axes(self.arrays)["mean"].shape[0])

    def score(self, features: np.ndarray, cost_weight: np.ndarray) -> tuple[np.ndarray, Predicted]:
        """See ``asking.Asked.score``."""
        return score(self._ready, features, cost_weight)

    def lines(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """See ``asking.Asked.lines``."""
        return lines(self._ready, features)

    def components(self, features: np.ndarray) -> np.ndarray:
        """See ``asking.Asked.components``."""
        return project(axes(self.arrays), features)

    @property
    def per_utility(self) -> float | None:
        """See ``asking.Asked.per_utility``."""
        return PER_UTILITY.get(self.kind, lambda _: None)(self.settings)

    @cached_property
    def _ready(self) -> Ready:
        return ready(self.kind, self.arrays, self.settings)


def load(path: str | os.PathLike[str], encoder: str | None = None) -> Portable:
    """A router's folder; see `serving.router.Router.load` for the arguments and errors."""
    path = Path(path)
    meta, arrays, curve, last_layer, _ = folder.read(path)
    router = Portable(
        tuple(meta["models"]),
        meta["kind"],
        arrays,
        meta["settings"],
        float(meta["cost_scale"]),
        curve,
        ~np.isin(meta["models"], meta["removed"]),
        meta["encoder"],
        meta["revision"],
        str(meta["sha256"])[:12],
        meta["summary"],
        may_send=encoder is not None,
        last_layer=last_layer,
    )
    if encoder is not None and encoder != router.encoder:
        raise InputError(
            f"{path}: the router's encoder is {router.encoder or 'none'}, not {encoder}; name that one or none"
        )
    return router


def axes(arrays: Tree) -> Tree:
    """The projection of a kind's features."""
    found: Tree = arrays["axes"] if "axes" in arrays else arrays["student"]["axes"]
    return found


class Ready(NamedTuple):
    """A kind of router whose networks were made ready (`dense.ready`)."""

    kind: str
    arrays: Tree
    settings: Tree


def ready(kind: str, arrays: Tree, settings: Tree) -> Ready:
    """Once for a router, before it decides."""

    def of(tree: Any) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        if "scores" in tree.get("params", ()):
            return dense.ready(tree)
        return {name: of(part) for name, part in tree.items()}

    return Ready(kind, of(arrays), settings)


def score(router: Ready, features: np.ndarray, cost_weight: np.ndarray) -> tuple[np.ndarray, Predicted]:
    """Scores [N, K] and predictions of a kind."""
    kind, arrays, settings = KINDS[router.kind], router.arrays, router.settings
    if len(features) <= blocks.ROWS:
        return kind(arrays, settings, features, cost_weight)

    def of(rows: slice) -> tuple[np.ndarray, ...]:
        scores, predicted = kind(arrays, settings, features[rows], cost_weight[rows])
        return scores, *(predicted or ())

    found = [np.empty((len(features), part.shape[1]), part.dtype) for part in of(slice(0, 1))]

    def write(rows: slice) -> None:
        for whole, part in zip(found, of(rows), strict=True):
            whole[rows] = part

    blocks.each(write, len(features))
    scores, *predicted = found
    return scores, (predicted[0], predicted[1]) if predicted else None


def lines(router: Ready, features: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(intercept, slope) [N, K] of a kind whose scores are intercept - w slope; None of the others."""
    arrays, settings = router.arrays, router.settings
    if router.kind == "plug_in":
        return _predicted(arrays["student"], features)
    if router.kind == "affine":
        return _corrected(arrays, settings, features, _predicted(arrays["start"], features))
    return None


def plug_in(arrays: Tree, settings: Tree, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Predicted]:
    """quality - w cost."""
    quality, cost = _predicted(arrays["student"], x)
    return quality - weight[:, None] * cost, (quality, cost)


def per_weight(arrays: Tree, settings: Tree, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Predicted]:
    """log mean_m softmax(z_m / temperature) at the nearest trained cost weight."""
    nearest = np.argmin(np.abs(arrays["cost_weights"][None] - weight[:, None]), 1)
    x = project(arrays["axes"], x)
    scores = np.zeros((len(x), dense.outputs(arrays["params"])), np.float32)
    for place in np.unique(nearest):
        rows = nearest == place
        layers = tuple((kernel[place], bias[place]) for kernel, bias in arrays["params"])
        z = dense.apply(layers, x[rows], int(arrays["width"][place]))
        z = z / arrays["temperature"][place]
        share = z - _logsumexp(z, -1)[..., None]
        scores[rows] = _logsumexp(share, 0) - np.log(np.float32(len(z)))
    return scores, None


def interval(arrays: Tree, settings: Tree, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Predicted]:
    """(1 - alpha) z_lo + alpha z_hi + alpha (1 - alpha) h."""
    x, scale = project(arrays["axes"], x), np.float32(settings["cost_scale"])
    ends, weight = arrays["ends"] * scale, weight * scale
    z = dense.apply(arrays["end_params"], x).mean(1)  # [J, N, K]
    low = np.clip(np.searchsorted(ends, weight, side="right") - 1, 0, len(ends) - 2)
    alpha = np.clip((weight - ends[low]) / (ends[low + 1] - ends[low]), 0.0, 1.0).astype(np.float32)[:, None]
    ends, rows = np.log1p(ends), np.arange(len(x))
    beside = [x, alpha, ends[low][:, None], ends[low + 1][:, None]]
    h = dense.apply(arrays["residual"], np.concatenate(beside, 1)).mean(0)
    return (1 - alpha) * z[low, rows] + alpha * z[low + 1, rows] + alpha * (1 - alpha) * h, None


def affine(arrays: Tree, settings: Tree, x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Predicted]:
    """(quality + residual - w cost exp(log_factor)) / eta, the members' mean; what is predicted is not corrected."""
    predicted = _predicted(arrays["start"], x)
    intercept, slope = _corrected(arrays, settings, x, predicted)
    return intercept - weight[:, None] * slope, predicted


KINDS: dict[str, Callable[[Tree, Tree, np.ndarray, np.ndarray], tuple[np.ndarray, Predicted]]] = {
    "plug_in": plug_in, "per_weight": per_weight, "interval": interval, "affine": affine,
}  # fmt: skip
"""By the name that a saved router has for its kind."""
PER_UTILITY: dict[str, Callable[[Tree], float | None]] = {
    "plug_in": lambda settings: 1.0, "affine": lambda settings: 1 / float(settings["eta"]),
}  # fmt: skip
"""Units of score in a unit of utility, of the kinds whose scores are utilities."""


def _corrected(
    arrays: Tree, settings: Tree, x: np.ndarray, predicted: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(intercept, slope) [N, K] of an affine router's scores, the members' means."""
    out, eta = dense.apply(arrays["params"], project(arrays["axes"], x)), np.float32(settings["eta"])
    quality, cost = predicted
    return (quality + out[..., :-1]).mean(0) / eta, (cost * np.exp(out[..., -1:])).mean(0) / eta


def _predicted(student: Tree, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quality and cost [N, K] of `distil.predict`."""
    x = project(student["axes"], x)
    z = dense.apply(student["mlp"], x)
    z += x.dot(student["linear"])
    z += student["bias"]
    level = student["level"]
    cost = np.maximum(z[:, len(level) :], _FLOOR)
    cost *= level
    return z[:, : len(level)], cost


def project(axes: Tree, x: np.ndarray) -> np.ndarray:
    """Components [N, d] of features; of many without a copy of them, if the mean is too small to cost digits."""
    mean, basis = axes["mean"], axes["basis"]
    if len(x) <= FEW or np.abs(mean).max() > 1:
        return (x - mean).dot(basis)
    z = x.dot(basis)
    z -= mean.dot(basis)
    return z


def _logsumexp(z: np.ndarray, axis: int) -> np.ndarray:
    top = z.max(axis, keepdims=True)
    return np.log(np.exp(z - top).sum(axis)) + top.squeeze(axis)
