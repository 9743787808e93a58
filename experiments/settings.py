"""What a config file says. One frozen record; `load` finds it by name or path and checks it."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from jaxroute.data.encoders import ENCODERS
from jaxroute.nuisance.learners import HOST_LEARNERS, LEARNERS
from jaxroute.types import InputError, NuisanceSpec, Spec

NORMALISED_GRID = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
LOGGERS = ("uniform", "cost_biased", "weak_router", "task_dependent", "deterministic")


@dataclass(frozen=True)
class Axes:
    """What `make sweep` searches, at every cost weight and seed of the config.

    draw="grid": every field lists its values. draw="sobol" or "random": every field with two ends is drawn between
    them (`sweep.draw`), ``count`` settings in all; a field with one value keeps it.
    own: the config's own setting, at the largest width, comes before those drawn and is not counted.
    methods and hidden (depths, static) are looped over; all the rest is one compiled program.
    """

    draw: str = "sobol"
    count: int = 16
    own: bool = False
    learning_rate: tuple[float, ...] = (5e-4, 1e-2)
    weight_decay: tuple[float, ...] = (0.1, 3.0)
    temperature: tuple[float, ...] = (0.3, 3.0)
    entropy: tuple[float, ...] = (0.0, 0.3)
    clip: tuple[float, ...] = (0.02, 0.3)  # of propensities, in the utilities learned from
    width: tuple[float, ...] = (16, 64)  # hidden units in use, of those allocated
    methods: tuple[str, ...] = ("rm_softmax_entropic",)
    hidden: tuple[tuple[int, ...], ...] = ((64, 64),)
    rungs: tuple[int, ...] = ()  # steps after which the worse settings of each cost weight are dropped
    keep: float = 0.5  # share that stays
    block: int | None = 16  # points run at a time on each device; None: as many as fit into its memory

    @property
    def ranges(self) -> dict[str, tuple[float, ...]]:
        names = ("learning_rate", "weight_decay", "temperature", "entropy", "clip", "width")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Config:
    """One experiment: data, logging policy, methods and settings. Everything that changes a number."""

    name: str
    data: str = "synthetic"  # or the folder (or file) of a full-feedback table
    num_prompts: int = 6000  # synthetic only
    tasks: str = ""  # keep only tasks that start with this
    num_models: int | None = None  # keep so many models, evenly spaced by mean cost
    encoder: str = ""  # of the prompts; "": the table's own features
    shuffled: bool = False  # control: every answer belongs to another prompt, so no prompt tells anything
    split: str = "random"  # or "tasks": no task of the test part occurs in the others
    seeds: int = 5
    first_seed: int = 0  # another one draws other splits and logs
    fractions: tuple[float, float, float] = (0.6, 0.15, 0.25)  # train, validation, test
    log_size: int | None = None  # at most this many training log rows
    shadow: int = 0  # training prompts beside the log that every model answered
    logger: str = "weak_router"
    logger_fraction: float = 0.1  # part of the table set aside (from train) for the weak router to be fitted on
    logger_strength: float = 2.0
    logger_floor: float = 0.1
    cost_weights: tuple[float, ...] = NORMALISED_GRID  # normalised
    between: tuple[float, ...] | None = None  # more weights that regret is measured at; None: the grid's midpoints
    cost_scale: float | None = None  # cost units per normalised unit; None: from the full table
    methods: tuple[str, ...] = field(default=())  # (): the main ones of experiments/baselines.py; ("*",): all
    nuisance: NuisanceSpec = NuisanceSpec()
    rivals: tuple[str, ...] = ()  # outcome models fitted beside the nuisances', for their own plug-ins alone
    training: Spec = Spec()
    # Settled on another draw of the synthetic problem (key 1); see experiments/README.md on what was looked at.
    learning_rate: float = 2e-3
    weight_decay: float = 1.0
    temperature: float = 1.0
    entropy: float = 0.1
    learning_clip: float = 0.1  # propensity clip of the utilities that routers learn from
    intervals: int = 5  # of cost weights, for routers of every cost weight
    members: int = 1  # such routers averaged, equal but for their initialisation
    evidence: float = 1.0  # standard errors by which such a router must beat what it started from
    dimensions: int = 128  # principal components that routers see
    axes: Axes = Axes()  # of `make sweep` alone

    @property
    def draws(self) -> range:
        """The seeds of split, log and nuisances."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def weights(self) -> tuple[float, ...]:
        """Every cost weight that methods decide at: the grid and those between its points, ascending."""
        grid = self.cost_weights
        between = tuple((a + b) / 2 for a, b in pairwise(grid)) if self.between is None else self.between
        return tuple(sorted({*grid, *between}))


def load(name: str, *, smoke: bool = False, data: str | None = None) -> Config:
    """The config called ``name`` (experiments/configs/<name>.py, or a path), checked.

    Raises:
        InputError: no such config, or a value that cannot be meant.
    """
    path = Path(name) if name.endswith(".py") else Path(__file__).parent / "configs" / f"{name}.py"
    if not path.is_file():
        known = sorted(p.stem for p in (Path(__file__).parent / "configs").glob("[!_]*.py"))
        raise InputError(f"no config {name!r} ({path} does not exist); there are: {', '.join(known)}")
    module_spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    try:
        config = module.get_config(smoke=smoke)
    except TypeError as error:
        raise InputError(f"{path}: {error}") from None
    if data is not None:
        # The name of the table, not of the config, tells runs apart.
        config = dataclasses.replace(config, data=data, cost_scale=None)
    return check(config, str(path))


def check(config: Config, where: str) -> Config:
    """Refuse what cannot be meant, naming the config and the field."""
    from experiments.methods.registry import CARROT, METHODS, OUTCOME_MODELS

    def refuse(name: str, why: str) -> None:
        raise InputError(f"{where}: {name}={getattr(config, name)!r}: {why}")

    unknown = [m for m in config.methods if m not in (*METHODS, "*") and not m.startswith("single:")]
    if unknown:
        refuse("methods", f"unknown method {unknown[0]!r}; there are: {', '.join(METHODS)}")
    learners = (*LEARNERS, *HOST_LEARNERS)
    if set(config.rivals) - set(learners):
        refuse("rivals", f"unknown outcome model; there are: {', '.join(learners)}")
    fitted = {*config.nuisance.outcome_models, *config.rivals}
    needed = {f"plug_in_{name}{end}": name for name in OUTCOME_MODELS if name != "stack" for end in ("", "_full")}
    needed |= {f"carrot_{name}": model for name, model in CARROT.items()}
    if unfitted := [m for m in config.methods if m in needed and needed[m] not in fitted]:
        refuse(
            "methods", f"{unfitted[0]!r} needs {needed[unfitted[0]]!r} among the nuisances' outcome models or rivals"
        )
    weights = config.cost_weights
    if not weights or any(not math.isfinite(w) or w < 0 for w in weights):
        refuse("cost_weights", "needs at least one, each finite and at least 0")
    if list(weights) != sorted(set(weights)):
        refuse("cost_weights", "must ascend without repeats")
    if any(not weights[0] <= w <= weights[-1] for w in config.between or ()):
        refuse("between", f"each must lie inside the grid of cost weights, {weights[0]:g} to {weights[-1]:g}")
    if config.logger not in LOGGERS:
        refuse("logger", f"unknown logging policy; there are: {', '.join(LOGGERS)}")
    if len(config.fractions) != 3 or min(config.fractions) <= 0 or abs(sum(config.fractions) - 1) > 1e-9:
        refuse("fractions", "three positive shares (train, validation, test) that sum to 1")
    if not 0 < config.logger_fraction < config.fractions[0]:
        refuse("logger_fraction", "above 0 and below the training share, which it is taken from")
    if config.seeds < 1:
        refuse("seeds", "at least 1")
    if config.first_seed < 0:
        refuse("first_seed", "at least 0")
    if config.split not in ("random", "tasks"):
        refuse("split", "'random' or 'tasks'")
    if config.encoder and config.encoder not in ENCODERS:
        refuse("encoder", f"unknown encoder; there are: {', '.join(ENCODERS)}")
    if config.num_models is not None and config.num_models < 2:
        refuse("num_models", "at least 2")
    if config.shadow < 0 or (config.shadow and config.log_size is None):
        refuse("shadow", "at least 0, and with a log_size: the shadow's prompts are those after the log's")
    if not 0 <= config.evidence < math.inf:
        refuse("evidence", "at least 0 and finite")
    for name in ("intervals", "members"):
        if getattr(config, name) < 1:
            refuse(name, "at least 1")
    if config.training.steps % config.training.chunk:
        refuse("training", f"steps must be a multiple of chunk={config.training.chunk}")
    if config.cost_scale is not None and not config.cost_scale > 0:
        refuse("cost_scale", "must be above 0")
    if not 0 < config.logger_floor <= 1 and config.logger == "weak_router":
        refuse("logger_floor", "in (0, 1]: without a floor the log has no overlap")
    return config
