"""The configs: `load` finds one by name or path, and `check` refuses what cannot be run and names the field."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import re
from collections.abc import Callable
from pathlib import Path

from experiments import methods
from experiments.configs._types import mistyped
from experiments.settings import LOGGERS, Axes, Config
from jaxroute import settings
from jaxroute.data.encoders import ENCODERS
from jaxroute.learn import keywords
from jaxroute.nuisance.learners import HOST_LEARNERS, LEARNERS
from jaxroute.types import InputError

_NAME = re.compile(r"(?!\.)[\w .+=-]{1,100}")
_COUNTS = ("num_prompts", "at_most", "log_size", "seeds", "intervals", "members", "dimensions")
_ABOVE_0 = ("above 0 and finite", lambda x: 0 < x < math.inf)
_AT_LEAST_0 = ("at least 0 and finite", lambda x: 0 <= x < math.inf)
_AT_LEAST_1 = ("at least 1 and finite", lambda x: 1 <= x < math.inf)
_NUMBERS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "logger_strength": ("finite", math.isfinite),
    "logger_floor": ("a share from 0 to 1", lambda x: 0 <= x <= 1),
    "cost_scale": _ABOVE_0,
    "learning_rate": _ABOVE_0,
    "weight_decay": _AT_LEAST_0,
    "temperature": _ABOVE_0,
    "entropy": _AT_LEAST_0,
    "learning_clip": ("at least 0 and below 1", lambda x: 0 <= x < 1),
    "evidence": _AT_LEAST_0,
}


def load(name: str, *, smoke: bool = False, data: str | None = None) -> Config:
    """The config called ``name`` (experiments/configs/<name>.py, or a path), checked.

    Raises:
        InputError: no such config, or a value that cannot be meant.
    """
    path = Path(name) if name.endswith(".py") else Path(__file__).parent / f"{name}.py"
    if not path.is_file():
        known = sorted(p.stem for p in Path(__file__).parent.glob("[!_]*.py"))
        raise InputError(f"no config {name!r} ({path} does not exist); the configs are: {', '.join(known)}")
    module_spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not callable(getattr(module, "get_config", None)):
        raise InputError(f"{path}: has no function get_config(smoke), which returns a Config; see docs/config.md")
    try:
        config = module.get_config(smoke=smoke)
    except TypeError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(config, Config):
        raise InputError(f"{path}: get_config returns a {type(config).__name__}; it must return a Config")
    if data is not None:
        # The name of the table, not of the config, tells runs apart.
        config = dataclasses.replace(config, data=data, cost_scale=None)
    return check(config, str(path))


def check(config: Config, where: str) -> Config:
    """The config, unless a field of it cannot be used.

    Raises:
        InputError: names the config (``where``), the field and what it should be.
    """
    for field, value, must in mistyped(config):
        raise InputError(f"{where}: {field}={value!r}: must be {must}")
    try:
        _check_numbers(config)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    learners, weights = (*LEARNERS, *HOST_LEARNERS), config.cost_weights
    fractions, training = config.fractions, config.training
    ends = (min(weights, default=0.0), max(weights, default=0.0))
    rules = (
        ("rivals", set(config.rivals) <= set(learners), f"unknown outcome model; there are: {', '.join(learners)}"),
        ("methods", not (wrong := _wrong_method(config)), wrong),
        (
            "cost_weights",
            bool(weights) and all(math.isfinite(w) and w >= 0 for w in weights),
            "needs at least one, each finite and at least 0",
        ),
        ("methods", len(set(config.methods)) == len(config.methods), "name each method once"),
        ("cost_weights", list(weights) == sorted(set(weights)), "must ascend without repeats"),
        (
            "between",
            all(ends[0] <= w <= ends[1] for w in config.between or ()),
            f"each must lie inside the grid of cost weights, {ends[0]:g} to {ends[1]:g}",
        ),
        ("logger", config.logger in LOGGERS, f"unknown logging policy; there are: {', '.join(LOGGERS)}"),
        (
            "fractions",
            len(fractions) == 3 and min(fractions) > 0 and abs(sum(fractions) - 1) < 1e-9,
            "three positive shares (train, validation, test) that sum to 1",
        ),
        (
            "logger_fraction",
            0 < config.logger_fraction < fractions[0],
            "above 0 and below the training share, which it is taken from",
        ),
        ("first_seed", config.first_seed >= 0, "at least 0"),
        ("split", config.split in ("random", "tasks"), "'random' or 'tasks'"),
        ("encoder", config.encoder in ("", *ENCODERS), f"unknown encoder; there are: {', '.join(ENCODERS)}"),
        ("num_models", config.num_models is None or config.num_models >= 2, "at least 2"),
        ("tasks", not config.tasks or config.data != "synthetic", "the synthetic problem has no such; name a table"),
        ("encoder", not config.encoder or config.data != "synthetic", "the synthetic problem has no texts"),
        (
            "shadow",
            config.shadow == 0 or (config.shadow > 0 and config.log_size is not None),
            "at least 0, and with a log_size: the shadow's prompts are those after the log's",
        ),
        ("training", training.steps % training.chunk == 0, f"steps must be a multiple of chunk={training.chunk}"),
        (
            "logger_floor",
            config.logger != "weak_router" or 0 < config.logger_floor <= 1,
            "in (0, 1]: without a floor the log has no overlap",
        ),
    )
    for field, holds, why in rules:
        if not holds:
            raise InputError(f"{where}: {field}={getattr(config, field)!r}: {why}")
    return config


def _check_numbers(config: Config) -> None:
    """Refuse numbers and names outside what a run can use; those of its records too.

    Raises:
        InputError: names the field.
    """
    if not _NAME.fullmatch(config.name):
        raise settings.refused("name", config.name, "a folder's name: letters, digits, spaces and - _ . + =")
    for field in _COUNTS:
        if (value := getattr(config, field)) is not None:
            settings.whole(field, value, 1)
    settings.seed(config.first_seed + config.seeds, "first_seed")
    for field, (rule, fits) in _NUMBERS.items():
        if (value := getattr(config, field)) is not None:
            settings.number(field, value, rule, fits)
    for record in ("nuisance", "training", "axes"):
        for part, value in vars(getattr(config, record)).items():
            if isinstance(value, list):  # compiled programs are told apart by these records
                raise settings.refused(f"{record}.{part}", value, "a tuple")
    keywords.check_spec("nuisance", config.nuisance)
    keywords.check({"training": config.training})
    settings.whole("training.steps", config.training.steps, 1)
    _check_axes(config.axes)


def _check_axes(axes: Axes) -> None:
    settings.one_of("axes.draw", axes.draw, ("grid", "sobol", "random"))
    settings.whole("axes.count", axes.count, 1)
    for name, values in axes.ranges.items():
        rule = _AT_LEAST_1 if name == "width" else _NUMBERS["learning_clip" if name == "clip" else name]
        settings.numbers(f"axes.{name}", values, *rule)
        if axes.draw != "grid" and list(values) != sorted(values):
            raise settings.refused(f"axes.{name}", values, "one value, or two ends that ascend")
    for name in ("methods", "hidden"):
        if not getattr(axes, name):
            raise settings.refused(f"axes.{name}", getattr(axes, name), "a tuple of one or more")
    for widths in axes.hidden:
        for one in widths:
            settings.whole("axes.hidden", one, 1)
    for steps in axes.rungs:
        settings.whole("axes.rungs", steps, 1)
    settings.number("axes.keep", axes.keep, "a share above 0, at most 1", lambda share: 0 < share <= 1)
    if axes.block is not None:
        settings.whole("axes.block", axes.block, 1)


def _wrong_method(config: Config) -> str:
    """What is wrong with the first method that cannot run, "" where all can."""
    fitted = {*methods.ALONE, *config.nuisance.outcome_models, *config.rivals}
    for name in config.methods:
        try:
            needed = "" if name in ("*", methods.EVERY_SINGLE) else methods.get(name).outcome_model
        except InputError as error:
            return str(error)
        if needed not in fitted:
            return f"{name!r} needs {needed!r} among the nuisances' outcome models or rivals"
    return ""
