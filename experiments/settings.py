"""What a config says: one frozen record. `experiments.configs` finds configs by name and checks them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from jaxroute.types import NuisanceSpec, Spec

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
    at_most: int | None = None  # keep so many prompts of a real table, drawn at random
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
    methods: tuple[str, ...] = field(default=())  # (): the main ones of experiments/methods; ("*",): all; see there
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


IN_TABLE = ("data", "num_prompts", "at_most", "tasks", "num_models", "encoder", "shuffled", "cost_scale")
"""Fields that are in the table once it is prepared."""
IN_ROWS = ("split", "seeds", "first_seed", "fractions", "log_size", "logger_fraction")
"""Fields that are in the rows of each seed and its number."""
OF_LOG = ("logger", "logger_strength", "logger_floor", "shadow", "rivals")
"""Fields on which fits on the full table do not depend."""
OF_METHODS = (
    *("name", "methods", "training", "learning_rate", "weight_decay", "temperature", "entropy", "learning_clip"),
    *("intervals", "members", "evidence", "dimensions", "cost_weights", "between", "axes"),
)
"""Fields on which no fit depends: they say what is learned from it."""


def blank(config: Config, *fields: str) -> Config:
    """The config with these fields at their defaults: what a result does not depend on is no part of its key."""
    defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(Config)} | {"name": ""}
    return dataclasses.replace(config, **{name: defaults[name] for name in fields})


def dataset_name(data: str, tasks: str = "") -> str:
    """Short name of a table: its folder's name, and the part of its tasks.

    >>> dataset_name("tables/routerbench.parquet", "mmlu")
    'routerbench:mmlu'
    """
    stem = data.rstrip("/").rsplit("/", 1)[-1].removesuffix(".parquet").removesuffix(".csv")
    return f"{stem}:{tasks}" if tasks else stem
