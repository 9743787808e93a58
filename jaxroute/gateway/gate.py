"""Which model answers a request: the router's choice with random exploration, and the exact propensity.

    p_k = (1 - epsilon) 1{k = router's choice} + epsilon / |candidates|

The floor epsilon / |candidates| makes the next log informative: without it nothing can be learnt about models that the
router does not choose. A request is always answered: if the router cannot be loaded or fails on a prompt, the
configured default answers and an error is logged.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxroute.data.messages import CHAT
from jaxroute.serving.router import Router
from jaxroute.types import InputError

LOG = logging.getLogger("jaxroute.gateway")
WAYS = ("cost_weight", "normalised_cost_weight", "budget", "quality_target")


@dataclass(frozen=True)
class Settings:
    """The contents of a gateway's ``models.yaml``.

    With a router, give exactly one of cost_weight, normalised_cost_weight, budget and quality_target, as in
    `Router.route`. models: the gateway's names of the models that may answer. default: answers if the router cannot.
    router: folder of `Router.save`; None means that there is no router yet, and the default answers with exploration,
    which makes the first log. alias: the model name with which clients ask for routing. epsilon: share of requests
    spread evenly over the candidates. log: JSONL file to append to; None means no log. log_prompts: False logs the
    router's features instead of texts, so it needs a router. seed: of the exploration; None draws a new one at every
    start. encoder: the router's own, named again where it sends prompts to an endpoint, see `Router.load`.
    """

    models: tuple[str, ...]
    default: str
    router: str | None = None
    alias: str = "auto"
    epsilon: float = 0.05
    cost_weight: float | None = None
    normalised_cost_weight: float | None = None
    budget: float | None = None
    quality_target: float | None = None
    log: str | None = None
    log_prompts: bool = True
    seed: int | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class Choice:
    """One decision. propensity: of ``model`` among ``candidates``. by: "router", "exploration", "default" or "only".

    features: [D] of the prompt, None if they were not computed.
    """

    model: str
    propensity: float
    candidates: tuple[str, ...]
    by: str
    features: np.ndarray | None = None


class Gate:
    """Settings, a router, and a stream of random numbers; safe to call from several threads.

    Example:
        >>> gate = Gate(Settings(("small", "large"), default="small", epsilon=0.2, seed=0))
        >>> choice = gate.choose("What is 2 + 2?")
        >>> choice.model, choice.propensity, choice.by
        ('small', 0.9, 'default')
    """

    def __init__(self, settings: Settings) -> None:
        """Load the router; one that cannot be loaded leaves the default in its place (`problem` says why)."""
        self.settings = _checked(settings)
        self.router: Router | None = None
        self.problem: str | None = None
        self._random = np.random.default_rng(settings.seed)
        self._lock = threading.Lock()
        if settings.router is None:
            return
        try:
            self.router = _fitting(Router.load(settings.router, settings.encoder), settings)
            self._ways = np.array(weights(self.router, settings))
        except InputError as error:
            self.problem = str(error)
            LOG.error("no router, %s answers: %s", settings.default, error)

    @property
    def chat(self) -> str:
        """Which part of a chat the router sees: the rule that it was fitted with; see ``data.messages``."""
        return CHAT if self.router is None else str(self.router.summary.get("chat", CHAT))

    def choose(self, prompt: str | np.ndarray | None, candidates: Sequence[str] | None = None) -> Choice:
        """The model of one request.

        Args:
            prompt: text, or features [D]; None (no text in the request): the default decides.
            candidates: models that may answer, a part of the settings' (others are ignored); None: all of them.

        Returns:
            Choice.

        Raises:
            InputError: none of the candidates is one of the settings' models.
        """
        known = self.settings.models
        allowed = known if candidates is None else tuple(m for m in known if m in set(candidates))
        if not allowed:
            raise InputError(
                f"none of the candidates {list(candidates or ())} is known; use some of {', '.join(known)}"
            )
        if self.router is not None:  # models removed from the router are not explored, unless no other may answer
            left = {m for m, kept in zip(self.router.models, self.router.available, strict=True) if kept}
            allowed = tuple(m for m in allowed if m in left) or allowed
        if len(allowed) == 1:
            return Choice(allowed[0], 1.0, allowed, "only", self._features(prompt))
        mass, features, by = self._greedy(prompt, allowed)
        chances = (1 - self.settings.epsilon) * mass + self.settings.epsilon / len(allowed)
        with self._lock:
            index = int(self._random.choice(len(allowed), p=chances / chances.sum()))
        if mass[index] == 0:
            by = "exploration"
        return Choice(allowed[index], float(chances[index]), allowed, by, features)

    def _greedy(self, prompt: str | np.ndarray | None, allowed: tuple[str, ...]) -> tuple[np.ndarray, Any, str]:
        """Probabilities before exploration, [len(allowed)], and who they are from."""
        default = self.settings.default if self.settings.default in allowed else allowed[0]
        fallback = np.array([float(m == default) for m in allowed])
        if self.router is None or prompt is None:
            return fallback, self._features(prompt), "default"
        try:
            features = self._features(prompt)
            assert features is not None
            weight, share = self._ways.T
            scores = self.router.scores(np.repeat(features[None], len(weight), 0), weight)
            scores = scores[:, [self.router.models.index(m) for m in allowed]]
            if np.isneginf(scores).all():  # every candidate is removed from the router
                return fallback, features, "default"
            return np.bincount(np.argmax(scores, 1), share, len(allowed)), features, "router"
        except Exception:
            LOG.exception("the router failed on a prompt; %s answers", default)
            return fallback, None, "default"

    def _features(self, prompt: str | np.ndarray | None) -> np.ndarray | None:
        if self.router is None or prompt is None or isinstance(prompt, np.ndarray):
            return None if prompt is None or isinstance(prompt, str) else np.asarray(prompt, np.float32)
        return np.asarray(self.router.features([prompt])[0])


def weights(router: Router, settings: Settings) -> list[tuple[float, float]]:
    """(cost weight, share of requests) that the settings mean for this router: one, or a budget's mixture of two.

    Raises:
        InputError: a budget or quality out of reach.
    """
    return router.weights(**{way: getattr(settings, way) for way in WAYS})


def _checked(settings: Settings) -> Settings:
    models = tuple(settings.models)
    if not models or len(set(models)) != len(models):
        raise InputError(f"models is {list(models)}; name at least one model, and each only once")
    if settings.default not in models:
        raise InputError(f"default is {settings.default!r}; it must be one of {', '.join(models)}")
    if settings.alias in models:
        raise InputError(f"alias is {settings.alias!r}, which is the name of a model; choose another name")
    if not 0 <= settings.epsilon <= 1:
        raise InputError(f"epsilon is {settings.epsilon}; it must be a share of requests between 0 and 1")
    given = [way for way in WAYS if getattr(settings, way) is not None]
    if settings.router is not None and len(given) != 1:
        raise InputError(f"give exactly one of {', '.join(WAYS)}; got {' and '.join(given) or 'none'}")
    if settings.router is None and settings.log is not None and not settings.log_prompts:
        raise InputError(
            "log_prompts is false and no router is named, so the log would hold neither texts nor features; "
            "name a router, or set log_prompts: true until there is one"
        )
    return dataclasses.replace(settings, models=models)


def _fitting(router: Router, settings: Settings) -> Router:
    unknown = [m for m in settings.models if m not in router.models]
    if unknown:
        raise InputError(
            f"{settings.router}: the router does not know {unknown[0]!r}; it knows: {', '.join(router.models)}"
        )
    if router.encoder is not None:
        router.text_encoder()
    ways = weights(router, settings)
    router.scores(np.zeros((len(ways), router.kind.num_features), np.float32), ways[0][0])  # compile before any request
    return router


def load_settings(path: str | os.PathLike[str]) -> Settings:
    """Settings from a YAML file; relative paths in it are relative to its folder.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown or missing, or a value is invalid.
    """
    import yaml

    path = Path(path)
    try:
        said = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(said, dict):
        raise InputError(f"{path}: the file must hold keys and values, such as `default: small`")
    names = {f.name for f in dataclasses.fields(Settings)}
    if unknown := [key for key in said if key not in names]:
        raise InputError(f"{path}: unknown key {unknown[0]!r}; the keys are: {', '.join(sorted(names))}")
    for key in ("router", "log"):
        if said.get(key):
            said[key] = str(path.parent / said[key])
    try:
        return _checked(Settings(**{**said, "models": tuple(said.get("models") or ())}))
    except (TypeError, InputError) as error:
        raise InputError(f"{path}: {error}") from None
