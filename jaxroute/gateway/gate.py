"""Which model answers a request: the router's choice with random exploration, and the exact propensity.

    p_k = (1 - epsilon) 1{k = router's choice} + epsilon / |candidates|

The floor epsilon / |candidates| makes the next log informative: without it nothing can be learnt about models that the
router does not choose. A request is always answered: if the router cannot be loaded or fails on a prompt, the
configured default answers and an error is logged.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxroute.data.messages import CHAT
from jaxroute.gateway.settings import WAYS, Settings, checked
from jaxroute.gateway.writing import LOG
from jaxroute.serving import portable
from jaxroute.serving.asking import ENDPOINT, Asked
from jaxroute.types import InputError

SECRETS = ("LITELLM_MASTER_KEY", "JAXROUTE_KEY")
"""Variables of the environment that every worker of a gateway has and no client."""


@dataclass(frozen=True)
class Choice:
    """One decision. propensity: of ``model`` among ``candidates``. by: "router", "exploration", "default", "only", or
    "sticky" for a later request of a conversation (`conversations`), whose decision is the first one's.

    features: [D] of the prompt, None if they were not computed. exploration: whether the model was drawn although the
    router (or the default) would not have chosen it.
    """

    model: str
    propensity: float
    candidates: tuple[str, ...]
    by: str
    features: np.ndarray | None = None
    exploration: bool = False


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
        self.settings = checked(settings)
        self.router: Any = None
        self.problem: str | None = None
        self._random, self._process = np.random.default_rng(settings.seed), os.getpid()
        self._lock = threading.Lock()
        if settings.router is None:
            return
        try:
            self.router = _fitting(portable.load(settings.router, settings.encoder), settings)
            self._ways = np.array(weights(self.router, settings))
        except InputError as error:
            self.problem = str(error)
            LOG.error("no router, %s answers: %s", settings.default, error)

    @property
    def facts(self) -> dict[str, Any]:
        """What a row says of how its model was chosen: router_version, epsilon, and the cost weight (of a budget's
        mixture the mean one)."""
        weight = None if self.router is None else float(self._ways[:, 0] @ self._ways[:, 1])
        return {
            "router_version": getattr(self.router, "version", None),
            "epsilon": self.settings.epsilon,
            "cost_weight": weight,
        }

    @property
    def quick(self) -> bool:
        """Whether a short text is decided in less time than a thread takes to begin."""
        return self.router is None or self.router.encoder in (None, "hashed-2")

    @property
    def chat(self) -> str:
        """Which part of a chat the router sees: the rule that it was fitted with; see ``data.messages``."""
        return CHAT if self.router is None else str(self.router.summary.get("chat", CHAT))

    def warm(self) -> None:
        """Decide some made-up texts, so that the first request is as fast as the hundredth."""
        if self.router is not None and self.router.encoder is not None and self.quick:
            for text in ("What is 2 + 2?", "Summarise this report. " * 40):
                self._greedy(self.beside(text, dict.fromkeys(self.context)), self.settings.models)

    @property
    def context(self) -> tuple[str, ...]:
        """The columns beside the text that the router was fitted with; see ``data.context``."""
        return () if self.router is None else tuple(str(column["name"]) for column in self.router.context)

    def beside(self, prompt: str | np.ndarray | None, context: Mapping[str, Any]) -> str | np.ndarray | None:
        """What the router reads of a prompt and its context columns, [D]; the prompt itself where it takes none.

        A value that cannot be read leaves the prompt without its context: then the default decides, and an error is
        logged.
        """
        if not self.context or prompt is None:
            return prompt
        try:
            given = [prompt] if isinstance(prompt, str) else np.asarray(prompt, np.float32)[None]
            return np.asarray(self.router.features(given, [dict(context)])[0])
        except InputError:
            LOG.exception("the context of a request cannot be read")
            return prompt

    def apart(self) -> None:
        """Take random numbers of this process alone: several workers with one seed must not explore alike."""
        with self._lock:
            self._apart()

    def _apart(self) -> None:
        seed, self._process = self.settings.seed, os.getpid()
        self._random = np.random.default_rng(None if seed is None else (seed, self._process))

    def choose(
        self, prompt: str | np.ndarray | None, candidates: Sequence[str] | None = None, key: str | None = None
    ) -> Choice:
        """The model of one request.

        Args:
            prompt: text, or features [D]; None (no text in the request): the default decides.
            candidates: models that may answer, a part of the settings' (others are ignored); None: all of them.
            key: takes the place of chance: whoever has the same settings and prompt draws alike for the same key.
                Clients cannot foresee it, as a secret of this side is mixed in. None: chance.

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
            return Choice(allowed[0], 1.0, allowed, "only", self.features(prompt))
        mass, features, by = self._greedy(prompt, allowed)
        chances = (1 - self.settings.epsilon) * mass + self.settings.epsilon / len(allowed)
        index = int(np.searchsorted(np.cumsum(chances / chances.sum())[:-1], self._drawn(key), side="right"))
        explored = bool(mass[index] == 0)
        return Choice(
            allowed[index], float(chances[index]), allowed, "exploration" if explored else by, features, explored
        )

    def _drawn(self, key: str | None) -> float:
        """A number that is uniform on [0, 1)."""
        if key is not None:
            said = json.dumps([self.settings.seed, *(os.environ.get(name) for name in SECRETS), key])
            return int.from_bytes(hashlib.sha256(said.encode("utf-8", "replace")).digest()[:6], "big") / 2**48
        with self._lock:
            if self._process != os.getpid():  # a worker that was forked after the gate was made
                self._apart()
            return float(self._random.random())

    def _greedy(self, prompt: str | np.ndarray | None, allowed: tuple[str, ...]) -> tuple[np.ndarray, Any, str]:
        """Probabilities before exploration, [len(allowed)], and who they are from."""
        default = self.settings.default if self.settings.default in allowed else allowed[0]
        fallback = np.array([float(m == default) for m in allowed])
        if self.router is None or prompt is None:
            return fallback, self.features(prompt), "default"
        try:
            features = self.features(prompt)
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

    def features(self, prompt: str | np.ndarray | None) -> np.ndarray | None:
        """What the router reads of a prompt, [D]; None without a router or a prompt."""
        if self.router is None or prompt is None or isinstance(prompt, np.ndarray):
            return None if prompt is None or isinstance(prompt, str) else np.asarray(prompt, np.float32)
        return np.asarray(self.router.features([prompt])[0])


def weights(router: Asked, settings: Settings) -> list[tuple[float, float]]:
    """(cost weight, share of requests) that the settings mean for this router: one, or a budget's mixture of two.

    Raises:
        InputError: a budget or quality out of reach.
    """
    return router.weights(**{way: getattr(settings, way) for way in WAYS})


def _fitting(router: portable.Portable, settings: Settings) -> portable.Portable:
    unknown = [m for m in settings.models if m not in router.models]
    if unknown:
        raise InputError(
            f"{settings.router}: the router does not know {unknown[0]!r}; it knows: {', '.join(router.models)}"
        )
    if router.encoder is not None:
        router.text_encoder()
        if not router.encoder.startswith(ENDPOINT):
            unknown_values = {str(column["name"]): None for column in router.context}
            router.features(["so that the first request is as fast as the hundredth"], [unknown_values])
    ways = weights(router, settings)
    router.scores(np.zeros((len(ways), router.num_features), np.float32), ways[0][0])
    return router
