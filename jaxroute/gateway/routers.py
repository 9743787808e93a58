"""The routers of a gate: the one of the settings, the new one of a roll-out, and one that exploration is to value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxroute.data.messages import CHAT
from jaxroute.gateway import rollout
from jaxroute.gateway.deciding import Decider, alike
from jaxroute.gateway.settings import Settings, checked
from jaxroute.gateway.writing import LOG
from jaxroute.types import InputError


class Question(NamedTuple):
    """What `Gate.choose` is asked; it describes the arguments."""

    prompt: str | np.ndarray | None
    candidates: Sequence[str] | None = None
    key: str | None = None
    context: Mapping[str, Any] | None = None


class Reading(NamedTuple):
    """What the routers say of one request.

    features: [D] of the router of the settings; None where there are none. policies: of each router [its features,
    probabilities without exploration or None]; empty where the default decides.
    """

    features: np.ndarray | None = None
    policies: Mapping[Decider, tuple[np.ndarray, np.ndarray | None]] = {}


class Routers:
    """Settings and their routers; one that cannot be loaded leaves the default in its place (`problem` says why)."""

    def __init__(self, settings: Settings) -> None:
        """Load them."""
        self.settings = checked(settings)
        self.old: Decider | None = None
        self.new: Decider | None = None
        self.target: Decider | None = None
        self.rollout: dict[str, Any] | None = None
        self.problem: str | None = None
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
        encoder = None if self.router is None else self.router.encoder
        return encoder is None or set(encoder.split("+")) <= {"hashed-2", "marks"}

    @property
    def chat(self) -> str:
        """Which part of a chat the router sees: the rule that it was fitted with; see ``data.messages``."""
        return CHAT if self.router is None else str(self.router.summary.get("chat", CHAT))

    @property
    def context(self) -> tuple[str, ...]:
        """The columns beside the text that the routers were fitted with; see ``data.context``."""
        deciders = (one for one in (self.old, self.new, self.target) if one is not None)
        return tuple(dict.fromkeys(name for one in deciders for name in one.columns))

    def default(self, allowed: tuple[str, ...]) -> str:
        """Who of these answers where no router decides."""
        return self.settings.default if self.settings.default in allowed else allowed[0]

    def allowed(self, candidates: Sequence[str] | None) -> tuple[str, ...]:
        """The models that may answer: the candidates that are known and are not removed from the router.

        Raises:
            InputError: none of them is known.
        """
        known = self.settings.models
        allowed = known if candidates is None else tuple(m for m in known if m in candidates)
        if not allowed:
            raise InputError(
                f"none of the candidates {list(candidates or ())} is known; use some of {', '.join(known)}"
            )
        if self.router is None or self.router.available.all():
            return allowed
        left = {m for m, kept in zip(self.router.models, self.router.available, strict=True) if kept}
        return tuple(m for m in allowed if m in left) or allowed  # removed models answer where no other may

    def read(self, questions: Sequence[Question], allowed: Sequence[tuple[str, ...]]) -> list[Reading]:
        """What the routers say of every request, each in one pass; nothing of those on which they fail."""
        if self.old is None:
            return [Reading(self.features(question.prompt)) for question in questions]
        found = [Reading()] * len(questions)
        asked = [i for i, question in enumerate(questions) if question.prompt is not None]
        if not asked:
            return found
        prompts, contexts = zip(*((questions[i].prompt, questions[i].context or {}) for i in asked), strict=True)
        models = [allowed[i] for i in asked]
        saying = [*self.deciders(), *(one for one in (self.target,) if one is not None)]
        try:
            encoded = self.old.encoded(prompts)
            features = {one: one.features(encoded, contexts) for one in {self.old, *saying}}
            policies = {one: one.policies(features[one], models) for one in saying}
        except Exception:
            if len(questions) > 1:  # the others are not to suffer
                return [self.read([question], [own])[0] for question, own in zip(questions, allowed, strict=True)]
            LOG.exception("the router failed on a prompt; %s answers", self.default(allowed[0]))
            return found
        for place, i in enumerate(asked):
            said = {one: (features[one][place], several[place]) for one, several in policies.items()}
            found[i] = Reading(features[self.old][place], said)
        return found

    def deciders(self) -> list[Decider]:
        """The routers that decide: two while a roll-out is under way."""
        several = (self.old, self.new) if self.new is not None and 0 < self.share < 1 else (self.present,)
        return [one for one in several if one is not None]

    @property
    def present(self) -> Decider | None:
        """The router that decides where no roll-out is under way: the new one once it was promoted."""
        return self.new if self.share == 1 else self.old

    def features(self, prompt: str | np.ndarray | None, context: Mapping[str, Any] | None = None) -> np.ndarray | None:
        """What the router reads of a prompt, [D]; features as they are without a router; None where there are none."""
        if prompt is None or self.old is None:
            return np.asarray(prompt, np.float32) if isinstance(prompt, np.ndarray) else None
        try:
            return self.old.features(self.old.encoded([prompt]), [context or {}])[0]
        except InputError:
            LOG.exception("a prompt and its context cannot be read")
            return None
