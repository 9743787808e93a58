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

from jaxroute.gateway.deciding import Decider
from jaxroute.gateway.deciding import weights as weights
from jaxroute.gateway.routers import Question, Reading, Routers
from jaxroute.gateway.settings import Settings
from jaxroute.gateway.writing import LOG

SECRETS = ("LITELLM_MASTER_KEY", "JAXROUTE_KEY")
"""Variables of the environment that every worker of a gateway has and no client."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision. propensity: of ``model`` among ``candidates``. by: "router", "exploration", "default", "only", or
    "sticky" for a later request of a conversation (`conversations`), whose decision is the first one's.

    features: [D] of the prompt, None if they were not computed. exploration: whether the model was drawn although the
    router (or the default) would not have chosen it. facts: further fields of the row: the version of the router that
    decided, the policy of exploration, of thompson its simulations and the width for each candidate, and of a roll-out
    which router decided and the contrast (p_new - p_old) / p of the chosen model.
    """

    model: str
    propensity: float
    candidates: tuple[str, ...]
    by: str
    features: np.ndarray | None = None
    exploration: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


class Gate(Routers):
    """Settings, a router, and a stream of random numbers; safe to call from several threads.

    Example:
        >>> gate = Gate(Settings(("small", "large"), default="small", epsilon=0.2, seed=0))
        >>> choice = gate.choose("What is 2 + 2?")
        >>> choice.model, choice.propensity, choice.by
        ('small', 0.9, 'default')
    """

    def __init__(self, settings: Settings) -> None:
        """Load the router; one that cannot be loaded leaves the default in its place (`problem` says why)."""
        super().__init__(settings)
        self._random, self._process = np.random.default_rng(settings.seed), os.getpid()
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Decide some made-up texts, so that the first request is as fast as the hundredth."""
        if self.router is not None and self.router.encoder is not None and self.quick:
            self.choose_all([Question(text, key="warm") for text in ("What is 2 + 2?", "Summarise this report. " * 40)])

    def apart(self) -> None:
        """Take random numbers of this process alone: several workers with one seed must not explore alike."""
        with self._lock:
            self._apart()

    def follow(self, before: Gate) -> None:
        """Go on with the random numbers of the gate in whose place this one comes, if both have one seed.

        A stream that began again would decide the first requests after every change of the settings by the same draws.
        """
        if before.settings.seed == self.settings.seed:
            self._random, self._process, self._lock = before._random, before._process, before._lock

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
        return self.choose_all([Question(prompt, candidates, key, context)])[0]

    def choose_all(self, questions: Sequence[Question]) -> list[Choice]:
        """The models of several requests, in one pass of the encoder and of each router; see `choose`."""
        allowed = [self.allowed(question.candidates) for question in questions]
        read = self.read(questions, allowed)
        return [self._choice(*one) for one in zip(questions, allowed, read, strict=True)]

    def _choice(self, question: Question, allowed: tuple[str, ...], reading: Reading) -> Choice:
        """Draw the model of one request."""
        if len(allowed) == 1:
            return Choice(allowed[0], 1.0, allowed, "only", reading.features)
        key, features = question.key, reading.features
        fallback = np.array([float(m == self.default(allowed)) for m in allowed])
        arms = [(fallback, self._evenly(fallback), "default", dict[str, Any]())]
        if reading.policies:
            try:
                arms = [self._arm(one, reading, allowed, fallback, key) for one in self.deciders()]
            except Exception:
                LOG.exception("the router failed on a prompt; %s answers", self.default(allowed))
                features = None
        new = len(arms) > 1 and self._drawn(None if key is None else f"{key} rollout") < self.share
        greedy, own, by, facts = arms[int(new)]
        index = int((own / own.sum())[:-1].cumsum().searchsorted(self._drawn(key), side="right"))
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

    def _arm(
        self, decider: Decider, reading: Reading, allowed: tuple[str, ...], fallback: np.ndarray, key: str | None
    ) -> tuple[np.ndarray, np.ndarray, str, dict[str, Any]]:
        """Of one router: probabilities [len(allowed)] before and after exploration, who they are from, facts."""
        facts: dict[str, Any] = {"router_version": decider.router.version}
        features, greedy = reading.policies[decider]
        if greedy is None:  # every candidate is removed from the router
            return fallback, self._evenly(fallback), "default", facts
        if (explore := self.settings.explore) is None:
            return greedy, self._evenly(greedy), "router", facts
        aim = None if self.target is None else reading.policies[self.target][1]
        scene = decider.scene(features, allowed, greedy, aim)
        simulated = explore.policy == "thompson"
        facts |= {"explore": explore.policy, "simulations": explore.simulations if simulated else None}
        if simulated:
            facts["explore_width"] = explore.widths(scene).tolist()
        rng = None
        if simulated:
            rng = np.random.default_rng(int(self._drawn(None if key is None else f"{key} simulation") * 2**48))
        return greedy, explore.probabilities(scene, rng), "router", facts

    def _evenly(self, mass: np.ndarray) -> np.ndarray:
        return (1 - self.settings.epsilon) * mass + self.settings.epsilon / len(mass)

    def _drawn(self, key: str | None) -> float:
        """A number that is uniform on [0, 1)."""
        if key is not None:
            said = json.dumps([self.settings.seed, *(os.environ.get(name) for name in SECRETS), key])
            return int.from_bytes(hashlib.sha256(said.encode("utf-8", "replace")).digest()[:6], "big") / 2**48
        with self._lock:
            if self._process != os.getpid():  # a worker that was forked after the gate was made
                self._apart()
            return float(self._random.random())
