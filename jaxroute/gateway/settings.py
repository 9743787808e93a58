"""The contents of a gateway's ``models.yaml``: which models may answer, who decides, what is logged."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxroute.data import files
from jaxroute.gateway import checking
from jaxroute.serving.exploring import Explorer
from jaxroute.serving.terms import WAYS
from jaxroute.types import InputError

CAPABILITIES = ("tools", "json", "images")
STICKY = ("conversation",)


@dataclass(frozen=True)
class Rollout:
    """A new router beside the present one; it is asked in the same way (cost weight, budget and so on).

    router: folder of the new one. share: of the requests that it decides, at random; with ``sticky`` of the
    conversations. promote: whether it takes over when it is shown to be better, without being asked. margin: loss of
    utility a request that is tolerated before it is sent back. state: file in which `rollout` says how it stands.
    """

    router: str
    share: float
    promote: bool = False
    margin: float = 0.0
    state: str = "rollout.json"

    def __post_init__(self) -> None:
        for name, good, asked in (
            ("share", lambda x: 0 < x < 1, "a share of requests above 0 and below 1"),
            ("margin", lambda x: 0 <= x < math.inf, "a number of at least 0"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not good(value):
                raise InputError(f"rollout: {name} is {value!r}; it must be {asked}")
        for name, kind in (("router", str), ("state", str), ("promote", bool)):
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"rollout: {name} is {getattr(self, name)!r}; it must be of type {kind.__name__}")


@dataclass(frozen=True)
class Settings:
    """What a gate does.

    With a router, give exactly one of cost_weight, normalised_cost_weight, budget and quality_target, as in
    `Router.route`.

    models: the gateway's names of the models that may answer. default: answers if the router cannot.
    router: folder of `Router.save`; None means that there is no router yet, and the default answers with exploration,
    which makes the first log. alias: the model name with which clients ask for routing. epsilon: share of requests
    spread evenly over the candidates. encoder: the router's own, named again where it sends prompts to an endpoint,
    see `Router.load`. max_characters: the router and the log see no more than the end of a longer prompt. seed: of the
    exploration; None draws a new one at every start. Every process has a stream of its own.

    capabilities: {model: what it can do of "tools", "json", "images"}; context: {model: the tokens that it takes}. A
    request that needs what a model lacks is not given to it, as long as any model is left. Of a model that is not named
    LiteLLM's own information counts, in LiteLLM; where there is none it can do everything. sticky: "conversation" keeps
    a conversation on the model of its first decision. reload_seconds: how often the file and its router are looked at
    for a change; 0: never.

    explore: another policy of exploration than an even share ``epsilon``, see `serving.exploring.Explorer`; epsilon is
    then that of the policy. rollout: a new router for a share of the requests, see ``Rollout``.

    sample: share of the answered requests that have a row, or {model: share} by the chosen model, 1 for the others; the
    row's ``weight`` is 1 / share. Every other request has a row of weight 1.

    log: JSONL file to append to; None means no log. log_prompts: False logs the router's features and a hash instead of
    texts, so it needs a router. log_megabytes, log_daily, log_compress: see `LogWriter`. feedback: JSONL file of the
    ratings that clients send; None puts ``feedback.jsonl`` in a folder ``feedback`` beside the log.
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
    encoder: str | None = None
    max_characters: int = 20_000
    seed: int | None = None
    capabilities: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    context: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sticky: str | None = None
    explore: Explorer | None = None
    rollout: Rollout | None = None
    sample: float | Mapping[str, float] = 1.0
    reload_seconds: float = 5.0
    log: str | None = None
    log_prompts: bool = True
    log_megabytes: float | None = None
    log_daily: bool = False
    log_compress: bool = True
    feedback: str | None = None

    def able(self, needs: Collection[str], tokens: int = 0) -> tuple[str, ...]:
        """The models that can do what a request needs, and take so many tokens; all of them where none can."""
        able = (m for m in self.models if m not in self.capabilities or set(needs) <= set(self.capabilities[m]))
        return tuple(m for m in able if tokens <= self.context.get(m, tokens)) or self.models

    def share(self, model: str) -> float:
        """Of the answered requests for which a model was chosen: how many have a row."""
        return float(self.sample.get(model, 1.0) if isinstance(self.sample, Mapping) else self.sample)

    @property
    def feedback_file(self) -> Path | None:
        """Where ratings are written; None without a log."""
        if self.feedback is not None:
            return Path(self.feedback)
        return None if self.log is None else Path(self.log).parent / "feedback" / "feedback.jsonl"


def checked(settings: Settings) -> Settings:
    """The settings, if they make sense together.

    Raises:
        InputError: names the setting that does not.
    """
    checking.each(settings)
    models = tuple(settings.models)
    if not models or len(set(models)) != len(models):
        raise InputError(f"models is {list(models)}; name at least one model, and each only once")
    if settings.default not in models:
        raise InputError(f"default is {settings.default!r}; it must be one of {', '.join(models)}")
    if settings.alias in models:
        raise InputError(f"alias is {settings.alias!r}, which is the name of a model; choose another name")
    for model, can in settings.capabilities.items():
        if model not in models:
            raise InputError(f"capabilities: unknown model {model!r}; the models are: {', '.join(models)}")
        if not isinstance(can, list | tuple) or any(one not in CAPABILITIES for one in can):
            raise InputError(f"capabilities: {model} is {can!r}; give a list of: {', '.join(CAPABILITIES)}")
    for model, most in settings.context.items():
        if model not in models or isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise InputError(f"context: {model} is {most!r}; give a number of tokens for models of the list")
    if settings.sticky is not None and settings.sticky not in STICKY:
        raise InputError(f"sticky is {settings.sticky!r}; it must be {' or '.join(STICKY)}, or be left out")
    if isinstance(settings.sample, Mapping) and (unknown := [m for m in settings.sample if m not in models]):
        raise InputError(f"sample: unknown model {unknown[0]!r}; the models are: {', '.join(models)}")
    shares = settings.sample.values() if isinstance(settings.sample, Mapping) else (settings.sample,)
    if bad := [x for x in shares if isinstance(x, bool) or not isinstance(x, float | int) or not 0 < x <= 1]:
        raise InputError(f"sample is {bad[0]!r}; it must be a share of requests above 0 and at most 1")
    given = [way for way in WAYS if getattr(settings, way) is not None]
    if settings.router is not None and len(given) != 1:
        raise InputError(f"give exactly one of {', '.join(WAYS)}; got {' and '.join(given) or 'none'}")
    if settings.router is None and (part := "explore" if settings.explore else "rollout" if settings.rollout else ""):
        raise InputError(f"{part} needs a router; until there is one, epsilon explores evenly")
    if settings.router is None and settings.log is not None and not settings.log_prompts:
        raise InputError(
            "log_prompts is false and no router is named, so the log would hold neither texts nor features; "
            "name a router, or set log_prompts: true until there is one"
        )
    return dataclasses.replace(settings, models=models)


def known(settings: Settings, names: Collection[str], *, alias: bool = True) -> None:
    """Check the settings' models against the gateway's own list.

    Args:
        settings: checked.
        names: of the gateway's models.
        alias: whether the gateway must list the alias, too.

    Raises:
        InputError: names the first that the gateway lacks.
    """
    wanted = (*settings.models, settings.alias) if alias else settings.models
    if missing := [m for m in wanted if m not in names]:
        raise InputError(
            f"models: {missing[0]!r} is not in the gateway's model_list ({', '.join(sorted(names))}); "
            "add it there, or remove it from the settings"
        )


def _part(key: str, record: type[Any], said: Any, files_of: Sequence[str], folder: Path) -> Any:
    """A record of settings within the settings."""
    names = [f.name for f in dataclasses.fields(record)]
    if not isinstance(said, dict) or (odd := [name for name in said if name not in names]):
        wrong = f"unknown key {odd[0]!r}" if isinstance(said, dict) else f"is {said!r}"
        raise InputError(f"{key}: {wrong}; give keys and values of: {', '.join(names)}")
    if missing := [
        f.name for f in dataclasses.fields(record) if f.default is dataclasses.MISSING and f.name not in said
    ]:
        raise InputError(f"{key}: {missing[0]} is missing")
    defaults = {f.name: f.default for f in dataclasses.fields(record) if f.name in files_of}
    paths = {n: said.get(n, default) for n, default in defaults.items() if isinstance(said.get(n, default), str)}
    return record(**{**said, **{name: str(folder / value) for name, value in paths.items()}})


def load_settings(path: str | os.PathLike[str]) -> Settings:
    """Settings from a YAML file; relative paths in it are relative to its folder.

    Raises:
        InputError: the file is missing or not YAML, a key is unknown or missing, or a value is invalid.
    """
    import yaml

    path = Path(path)
    try:
        said = yaml.safe_load(files.text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(said, dict):
        raise InputError(f"{path}: the file must hold keys and values, such as `default: small`")
    names = {f.name for f in dataclasses.fields(Settings)}
    if unknown := [key for key in said if key not in names]:
        raise InputError(f"{path}: unknown key {unknown[0]!r}; the keys are: {', '.join(sorted(names))}")
    for key in ("router", "log", "feedback"):
        if isinstance(said.get(key), str) and said[key]:
            said[key] = str(path.parent / said[key])
    try:
        for key, record, files_of in (("explore", Explorer, ("router",)), ("rollout", Rollout, ("router", "state"))):
            if said.get(key) is not None:
                said[key] = _part(key, record, said[key], files_of, path.parent)
        return checked(Settings(**{"models": (), **said}))
    except (TypeError, InputError) as error:
        raise InputError(f"{path}: {error}") from None
