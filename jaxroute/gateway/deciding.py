"""What a router says of one request: its choice at the settings' cost weights, and what exploration asks of it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxroute.gateway.settings import Settings
from jaxroute.serving import portable
from jaxroute.serving.asking import Asked
from jaxroute.serving.exploring import UNCERTAIN, Explorer, Scene, ages
from jaxroute.serving.inputs import endpoints
from jaxroute.serving.terms import WAYS
from jaxroute.types import InputError


class Decider:
    """A router that was loaded and fits the settings, with its cost weights and their shares of the requests."""

    def __init__(self, folder: str | os.PathLike[str], settings: Settings) -> None:
        """Load the router.

        Raises:
            InputError: it cannot be loaded, lacks a model, cannot be asked as the settings say, or cannot say what the
                exploration needs.
        """
        self.router = fitting(portable.load(folder, settings.encoder), folder, settings)
        self.ways = np.array(weights(self.router, settings))
        self.cost_weight = float(self.ways[:, 0] @ self.ways[:, 1])  # of a budget's mixture the mean one
        self._age = ages(self.router.models, self.router.summary)
        self._place = {name: k for k, name in enumerate(self.router.models)}
        if settings.explore is not None:
            able(self.router, settings.explore, folder)

    @property
    def columns(self) -> list[str]:
        """Names of the context columns that the router reads."""
        return [str(column["name"]) for column in self.router.context]

    def encoded(self, prompts: Sequence[str | np.ndarray]) -> list[np.ndarray]:
        """The encoder's features of each text, in one pass; features as they are."""
        texts = [prompt for prompt in prompts if isinstance(prompt, str)]
        found = iter(self.router.encoded(texts) if texts else ())
        return [next(found) if isinstance(prompt, str) else np.asarray(prompt, np.float32) for prompt in prompts]

    def features(self, encoded: Sequence[np.ndarray], contexts: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """What the router reads of N requests, [N, D]: the encoder's features, and those of its context columns.

        Raises:
            InputError: features of another width, or a value of a context that cannot be read.
        """
        whole = not self.router.context or len(encoded[0]) == self.router.num_features
        names = self.columns
        beside = None if whole else [{name: context.get(name) for name in names} for context in contexts]
        return self.router.features(np.stack(encoded), beside)

    def policies(self, features: np.ndarray, models: Sequence[tuple[str, ...]]) -> list[np.ndarray | None]:
        """Of N requests: probabilities of the models that may answer it, without exploration.

        None where every one of them is removed from the router.

        Args:
            features: [N, D]. models: of each request.
        """
        weight, share = self.ways.T
        rows = np.repeat(features, len(weight), 0) if len(weight) > 1 else features
        scores = self.router.answers(rows, np.tile(weight, len(features)))[0]
        found: list[np.ndarray | None] = []
        for own, names in zip(scores.reshape(len(features), len(weight), -1), models, strict=True):
            places: Any = slice(None)
            left = own
            if names != self.router.models:
                places, left = self._places(names), np.full_like(own, -np.inf)
                left[:, places] = own[:, places]  # of equal scores the router's first model, as everywhere
            removed = left[0].max() == -np.inf
            found.append(None if removed else np.bincount(left.argmax(1), share, len(self._place))[places])
        return found

    def scene(self, features: np.ndarray, models: Sequence[str], greedy: np.ndarray, aim: np.ndarray | None) -> Scene:
        """What exploration knows of a request.

        Args:
            features: [D]. models: that may answer. greedy: of ``policy``. aim: that of the router that is to be valued.
        """
        places, row, weight = self._places(models), features[None], self.cost_weight
        mean = sd = error = None
        if (layer := self.router.last_layer) is not None:
            means, deviations = self.router.posterior(row, weight)
            mean, sd = means[0, places], deviations[0, places]
            error = np.sqrt(sd**2 + layer.noise[0, places] ** 2 + (weight * layer.noise[1, places]) ** 2)
        cost = self.router.predict(row)[1][0, places]
        age = None if self._age is None else self._age[places]
        return Scene(greedy, mean, sd, error, cost, greedy if aim is None else aim, age)

    def _places(self, models: Sequence[str]) -> list[int]:
        return [self._place[model] for model in models]


def weights(router: Asked, settings: Settings) -> list[tuple[float, float]]:
    """(cost weight, share of requests) that the settings mean for this router: one, or a budget's mixture of two.

    Raises:
        InputError: a budget or quality out of reach.
    """
    return router.weights(**{way: getattr(settings, way) for way in WAYS})


def able(router: portable.Portable, explore: Explorer, folder: str | os.PathLike[str]) -> None:
    """Refuse an exploration that needs what a router does not know.

    Raises:
        InputError: names the policy or limit, and what is missing.
    """
    if explore.uncertain and router.last_layer is None:
        needs = explore.policy if explore.policy in (*UNCERTAIN, "softmax") else "loss"
        raise InputError(
            f"{folder}: explore: {needs} needs a router with a posterior, and this one has none; fit it again with "
            "this release, or explore uniformly"
        )
    if math.isfinite(explore.spend) and (router.per_utility is None or not router.costs_known):
        raise InputError(f"{folder}: explore: spend needs predicted costs, and this router predicts none; leave it out")


def alike(one: Decider, other: Decider, what: str) -> None:
    """Refuse a second router that does not read requests as the first does.

    Raises:
        InputError: another encoder, width of its features or rule for chats; context columns may differ.
    """
    facts: list[tuple[Any, ...]] = [
        (r.encoder, r.revision, r.text_features, r.summary.get("chat")) for r in (one.router, other.router)
    ]
    if facts[0] != facts[1]:
        raise InputError(
            f"{what}: encoder, revision, width and rule for chats are {facts[1]}, and those of the present router "
            f"{facts[0]}; fit both alike"
        )


def fitting(router: portable.Portable, folder: str | os.PathLike[str], settings: Settings) -> portable.Portable:
    """The router, once it has decided: it knows the settings' models, and what it loads lazily is loaded.

    Its other models are left out, as by ``without``: a budget or quality target that was measured with them is refused.

    Raises:
        InputError: an unknown model, none that is left, or an encoder that cannot be used.
    """
    unknown = [m for m in settings.models if m not in router.models]
    if unknown:
        raise InputError(f"{folder}: the router does not know {unknown[0]!r}; it knows: {', '.join(router.models)}")
    router = router.without(*(m for m in router.models if m not in settings.models))
    if router.encoder is not None:
        router.text_encoder()
        if not endpoints(router.encoder):
            unknown_values = {str(column["name"]): None for column in router.context}
            router.features(["so that the first request is as fast as the hundredth"], [unknown_values])
    ways = weights(router, settings)
    router.scores(np.zeros((len(ways), router.num_features), np.float32), ways[0][0])
    return router
