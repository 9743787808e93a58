"""A router as a thing to keep: saved as a folder of arrays, loaded anywhere, asked for models.

    router = Router.load("router")
    router.route(["What is 2 + 2?"], cost_weight=20.0).models        # quality per unit of cost
    router.route(features, budget=0.002)                             # cost units a prompt on average

What it decides with is one of `kinds`. Its `folder` holds ``router.json`` (models, encoder, units, training summary),
``arrays.safetensors`` (the networks' parameters and an aggregated spend curve) and ``vectors.json`` (what it decides on
ten fixed prompts). No log row and no pickle is in it; torch is needed only if the encoder needs it. With a fingerprint
it can be told whether a row of a log is one that the router learned from (`data.fingerprints`).
"""

from __future__ import annotations

import dataclasses
import html
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.data.fingerprints import Fingerprint
from jaxroute.policies import budgets
from jaxroute.serving import folder, kinds, layout, portable, vectors
from jaxroute.serving.asking import Asked
from jaxroute.serving.decisions import Decision as Decision
from jaxroute.serving.decisions import Predicted
from jaxroute.serving.inputs import ENDPOINT as ENDPOINT
from jaxroute.serving.posterior import Posterior
from jaxroute.serving.posterior import check as check_posterior
from jaxroute.serving.terms import misnamed
from jaxroute.settings import refused
from jaxroute.types import InputError


@dataclass(frozen=True, eq=False, repr=False)
class Router(Asked):
    """A fitted router of any kind.

    models: K names. kind: what decides, one of ``kinds.KINDS``. cost_scale: cost units per normalised unit. curve:
    what each cost weight spends and gains, of ``budgets``; None: it takes no budgets. available: [K], False for
    removed models; None: none is removed. encoder: "kind" or "kind:MODEL" of ``encoders.encode``, None: features are
    given by the caller. summary: how it was trained and what the log said about it. may_send: whether texts may be
    sent to the encoder's endpoint, see ``load``. fingerprint: of the rows that it learned from; None: it keeps none.
    last_layer: how uncertain it is, see `posterior`; None: it does not know.

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
    fingerprint: Fingerprint | None = None
    last_layer: Posterior | None = None

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

    def _repr_html_(self) -> str:
        """What it is, and what was concluded of it when it was fitted."""
        said = [repr(self), f"models: {', '.join(self.models)}", *self.summary.get("conclusion", ())]
        return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in said)

    @property
    def num_features(self) -> int:
        """D of the features that the router takes."""
        return self.kind.num_features

    def score(self, features: np.ndarray, cost_weight: np.ndarray) -> tuple[np.ndarray, Predicted]:
        """See ``asking.Asked.score``; ``kind.scores`` is the same in JAX, for programs on a device."""
        return portable.score(self._ready, features, cost_weight)

    def lines(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """See ``asking.Asked.lines``."""
        return portable.lines(self._ready, features)

    def components(self, features: np.ndarray) -> np.ndarray:
        """See ``asking.Asked.components``."""
        return portable.project(portable.axes(self._host), features)

    @property
    def per_utility(self) -> float | None:
        """See ``asking.Asked.per_utility``."""
        return portable.PER_UTILITY.get(kinds.name_of(self.kind), lambda _: None)(kinds.settings(self.kind))

    @cached_property
    def _host(self) -> Any:
        """The kind's arrays in NumPy."""
        return kinds.on_host(kinds.arrays(self.kind))

    @cached_property
    def _ready(self) -> portable.Ready:
        return portable.ready(kinds.name_of(self.kind), self._host, kinds.settings(self.kind))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the folder, all of it or nothing; an older router at the same place is replaced.

        Raises:
            InputError: the place holds something that is not a router.
        """
        tree = kinds.arrays(self.kind)
        if self.curve is not None:
            tree["curve"] = {key: part for key, part in dataclasses.asdict(self.curve).items() if part is not None}
        if self.last_layer is not None:
            tree["posterior"] = self.last_layer
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
        if (seen := self.fingerprint) is not None:
            tree["fingerprint"] = seen.bits
            meta["fingerprint"] = {"salt": seen.salt.hex(), "hashes": seen.hashes, "counts": dict(seen.counts)}
        arrays = {name: np.asarray(leaf) for name, leaf in layout.flat(tree).items()}
        folder.write(_folder(path), meta, arrays, vectors.make(self, portable.axes(self._host)))

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
        path = _folder(path)
        meta, arrays, curve, last_layer, marks = folder.read(path)
        with folder.whole(path):
            router = cls(
                tuple(meta["models"]),
                kinds.of_arrays(meta["kind"], arrays, meta["settings"]),
                float(meta["cost_scale"]),
                curve,
                ~np.isin(meta["models"], meta["removed"]),
                meta["encoder"],
                meta["revision"],
                meta["summary"],
                may_send=encoder is not None,
                fingerprint=None if marks is None else _fingerprint(meta["fingerprint"], marks),
                last_layer=last_layer,
            )
        if encoder is not None and encoder != router.encoder:
            raise InputError(
                f"{path}: the router's encoder is {router.encoder or 'none'}, not {encoder}; name that one or none"
            )
        return router


def _folder(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike) or "\0" in str(os.fspath(path)):
        raise refused("path", path, "the folder of a router")
    return Path(path)


def _fingerprint(said: dict[str, Any], bits: np.ndarray) -> Fingerprint:
    return Fingerprint(bytes.fromhex(said["salt"]), bits, int(said["hashes"]), dict(said["counts"]))


def _check(router: Router) -> None:
    models = router.models
    if why := misnamed(models):
        raise InputError(why)
    if router.available.shape != (len(models),) or router.available.dtype != bool or not router.available.any():
        raise InputError(f"available: it must hold {len(models)} booleans, at least one of them True")
    if not (isinstance(router.cost_scale, float) and 0 < router.cost_scale < np.inf):
        raise InputError(f"cost_scale is {router.cost_scale!r}; it must be a positive, finite number")
    if not all(name is None or isinstance(name, str) for name in (router.encoder, router.revision)):
        raise InputError(f"encoder {router.encoder!r}, revision {router.revision!r}: they must be texts or None")
    if not isinstance(router.summary, dict):
        raise InputError(f"summary is a {type(router.summary).__name__}; it must be a dict")
    kinds.check(router.kind, len(models))
    if router.last_layer is not None:
        components = portable.axes(router._host)
        check_posterior(router.last_layer, len(models), np.shape(components["basis"])[1])
