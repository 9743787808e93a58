"""Which model answers a request: the router's choice with random exploration, and the exact propensity.

    p_k = (1 - epsilon) 1{k = router's choice} + epsilon / |candidates|

The floor epsilon / |candidates| makes the next log informative: without it nothing can be learnt about models that the
router does not choose. ``explore`` in the settings takes another policy p (`serving.exploring`). With a roll-out the
request is first given at random to the new router (with probability s) or to the old one, each of which explores, and
the propensity is that of the mixture,

    p_k = (1 - s) p_old,k + s p_new,k

A request is always answered: if the router cannot be loaded or fails on a prompt, the
configured default answers and an error is logged.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxroute.data.messages import CHAT
from jaxroute.gateway import rollout
from jaxroute.gateway.deciding import Decider, alike
from jaxroute.gateway.deciding import weights as weights
from jaxroute.gateway.settings import Settings, checked
from jaxroute.gateway.writing import LOG
from jaxroute.types import InputError

SECRETS = ("LITELLM_MASTER_KEY", "JAXROUTE_KEY")
"""Variables of the environment that every worker of a gateway has and no client."""


@dataclass(frozen=True)
class Choice:
    """One decision. propensity: of ``model`` among ``candidates``. by: "router", "exploration", "default", "only", or
    "sticky" for a later request of a conversation (`conversations`), whose decision is the first one's.

    features: [D] of the prompt, None if they were not computed. exploration: whether the model was drawn although the
    router (or the default) would not have chosen it. facts: further fields of the row: the version of the router that
    decided, the policy of exploration and its simulations, and of a roll-out which router decided and the contrast
    (p_new - p_old) / p of the chosen model.
    """

    model: str
    propensity: float
    candidates: tuple[str, ...]
    by: str
    features: np.ndarray | None = None
    exploration: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


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
        self.old: Decider | None = None
        self.new: Decider | None = None
        self.target: Decider | None = None
        self.rollout: dict[str, Any] | None = None
        self.problem: str | None = None
        self._random, self._process = np.random.default_rng(settings.seed), os.getpid()
        self._lock = threading.Lock()
        if settings.router is None:
            return
        try:
            old = Decider(settings.router, settings)
            if (plan := settings.rollout) is not None:
                self.new = Decider(plan.router, settings)
                alike(old, self.new, f"rollout: {plan.router}")
                self.rollout = rollout.state(plan, self.new.router.version)
            if settings.explore is not None and settings.explore.router is not None:
                self.target = Decider(settings.explore.router, settings)
                alike(old, self.target, f"explore: {settings.explore.router}")
            self.old = old
        except InputError as error:
            self.problem = str(error)
            LOG.error("no router, %s answers: %s", settings.default, error)

    @property
    def router(self) -> Any:
        """The router of the settings, the old one of a roll-out; None without one."""
        return None if self.old is None else self.old.router

    @router.setter
    def router(self, router: Any) -> None:
        assert self.old is not None
        self.old.router = router

    @property
    def share(self) -> float:
        """Of the requests that the new router of a roll-out decides; 0 without one."""
        return 0.0 if self.rollout is None else float(self.rollout["share"])

    @property
    def facts(self) -> dict[str, Any]:
        """What a row says of how its model was chosen: router_version, epsilon, and the cost weight (of a budget's
        mixture the mean one)."""
        return {
            "router_version": getattr(self.router, "version", None),
            "epsilon": self.settings.epsilon,
            "cost_weight": None if self.old is None else self.old.cost_weight,
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
                self._decided(text, self.settings.models, "warm", {})

    @property
    def context(self) -> tuple[str, ...]:
        """The columns beside the text that the routers were fitted with; see ``data.context``."""
        deciders = (one for one in (self.old, self.new, self.target) if one is not None)
        return tuple(dict.fromkeys(name for one in deciders for name in one.columns))

    def apart(self) -> None:
        """Take random numbers of this process alone: several workers with one seed must not explore alike."""
        with self._lock:
            self._apart()

    def _apart(self) -> None:
        seed, self._process = self.settings.seed, os.getpid()
        self._random = np.random.default_rng(None if seed is None else (seed, self._process))

    def choose(
        self,
        prompt: str | np.ndarray | None,
        candidates: Sequence[str] | None = None,
        key: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Choice:
        """The model of one request.

        Args:
            prompt: text, or features [D]; None (no text in the request): the default decides.
            candidates: models that may answer, a part of the settings' (others are ignored); None: all of them.
            key: takes the place of chance: whoever has the same settings and prompt draws alike for the same key.
                Clients cannot foresee it, as a secret of this side is mixed in. None: chance.
            context: values of the columns of ``context``; what is not there is unknown. With a value that cannot be
                read the default decides, and an error is logged.

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
            return Choice(allowed[0], 1.0, allowed, "only", self.features(prompt, context))
        arms, features = self._decided(prompt, allowed, key, context or {})
        new = len(arms) > 1 and self._drawn(None if key is None else f"{key} rollout") < self.share
        greedy, own, by, facts = arms[int(new)]
        index = int(np.searchsorted(np.cumsum(own / own.sum())[:-1], self._drawn(key), side="right"))
        chance = own[index]
        if len(arms) > 1:
            before, after = arms[0][1], arms[1][1]
            chance = (1 - self.share) * before[index] + self.share * after[index]
            contrast = float((after[index] - before[index]) / chance)
            arm = {"rollout": "new" if new else "old", "rollout_contrast": contrast}
            facts = facts | arm | {"candidate": self.new.router.version if self.new else None}
        explored = bool(greedy[index] == 0)
        by = "exploration" if explored else by
        return Choice(allowed[index], float(chance), allowed, by, features, explored, facts)

    def _drawn(self, key: str | None) -> float:
        """A number that is uniform on [0, 1)."""
        if key is not None:
            said = json.dumps([self.settings.seed, *(os.environ.get(name) for name in SECRETS), key])
            return int.from_bytes(hashlib.sha256(said.encode("utf-8", "replace")).digest()[:6], "big") / 2**48
        with self._lock:
            if self._process != os.getpid():  # a worker that was forked after the gate was made
                self._apart()
            return float(self._random.random())

    def _decided(
        self, prompt: str | np.ndarray | None, allowed: tuple[str, ...], key: str | None, context: Mapping[str, Any]
    ) -> tuple[list[tuple[np.ndarray, np.ndarray, str, dict[str, Any]]], np.ndarray | None]:
        """For the router, and for the new one of a roll-out: probabilities [len(allowed)] before and after exploration,
        who they are from, and facts of the row; and the features of the prompt.
        """
        default = self.settings.default if self.settings.default in allowed else allowed[0]
        fallback = np.array([float(m == default) for m in allowed])
        nobody = [(fallback, self._evenly(fallback), "default", dict[str, Any]())]
        if self.old is None or prompt is None:
            return nobody, self.features(prompt, context)
        try:
            encoded = self.old.encoded(prompt)
            deciders = [self.old, self.new] if self.new is not None and 0 < self.share < 1 else [self.present]
            arms = [self._arm(one, encoded, context, allowed, fallback, key) for one in deciders if one is not None]
            return arms, self.old.features(encoded, context)
        except Exception:
            LOG.exception("the router failed on a prompt; %s answers", default)
            return nobody, None

    def _arm(
        self,
        decider: Decider,
        encoded: np.ndarray,
        context: Mapping[str, Any],
        allowed: tuple[str, ...],
        fallback: np.ndarray,
        key: str | None,
    ) -> tuple[np.ndarray, np.ndarray, str, dict[str, Any]]:
        facts: dict[str, Any] = {"router_version": decider.router.version}
        features = decider.features(encoded, context)
        greedy = decider.policy(features, allowed)
        if greedy is None:  # every candidate is removed from the router
            return fallback, self._evenly(fallback), "default", facts
        if (explore := self.settings.explore) is None:
            return greedy, self._evenly(greedy), "router", facts
        target = self.target
        aim = None if target is None else target.policy(target.features(encoded, context), allowed)
        scene = decider.scene(features, allowed, greedy, aim)
        simulated = explore.policy == "thompson"
        facts |= {"explore": explore.policy, "simulations": explore.simulations if simulated else None}
        rng = None
        if simulated:
            rng = np.random.default_rng(int(self._drawn(None if key is None else f"{key} simulation") * 2**48))
        return greedy, explore.probabilities(scene, rng), "router", facts

    def _evenly(self, mass: np.ndarray) -> np.ndarray:
        return (1 - self.settings.epsilon) * mass + self.settings.epsilon / len(mass)

    @property
    def present(self) -> Decider | None:
        """The router that decides where no roll-out is under way: the new one once it was promoted."""
        return self.new if self.share == 1 else self.old

    def features(self, prompt: str | np.ndarray | None, context: Mapping[str, Any] | None = None) -> np.ndarray | None:
        """What the router reads of a prompt, [D]; features as they are without a router; None where there are none."""
        if prompt is None or self.old is None:
            return np.asarray(prompt, np.float32) if isinstance(prompt, np.ndarray) else None
        try:
            return self.old.features(self.old.encoded(prompt), context or {})
        except InputError:
            LOG.exception("a prompt and its context cannot be read")
            return None
