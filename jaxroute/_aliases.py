"""Public names of the former layout, and where they are now: one table and one import hook, for one release.

    import jaxroute.budgets                 DeprecationWarning: jaxroute.budgets is now jaxroute.policies.budgets
    from jaxroute.recipe import temper      DeprecationWarning: ... is now jaxroute.recipe.shrink_contrasts

An old module name gives a module that takes its attributes from the new place. Names inside a module that stayed where
it was are looked up only when the module has no such attribute. Names in the tables are without "jaxroute.".
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

PACKAGE = "jaxroute"
LAST = "0.3"
"""The release in which the old names go."""

FIXED = {"router": "serving.router"}
"""Modules whose old name is as good as the new one: no warning, and it stays."""

MODULES = {
    "budgets": "policies.budgets",
    "checkpoint": "engine.checkpoint",
    "conditional": "learn.conditional",
    "contrasts": "recipe.contrasts",
    "distil": "serving.distil",
    "evidence": "estimators.evidence",
    "export": "serving.export",
    "fitting": "learn.fitting",
    "interpolation": "engine.interpolation",
    "levels": "recipe.levels",
    "logged": "learn.examples",
    "memory": "engine.memory",
    "networks": "engine.networks",
    "ondisk": "engine.disk",
    "pessimism": "estimators.pessimism",
    "population": "engine.loop",
    "rows": "engine.program",
    "search": "engine.halving",
    "streaming": "engine.disk",
    "training": "engine.training",
    "nuisance.logger": "nuisance.checks",
    "policies.deciding": "policies.decisions",
    "policies.pieces": "policies.piecewise",
    "data.answers": "data.benchmarks.answers",
    "data.cells": "data.logs.cells",
    "data.correctness": "data.benchmarks.correctness",
    "data.exports": "data.logs.formats",
    "data.feedback": "data.logs.feedback",
    "data.leaderboard": "data.benchmarks.leaderboard",
    "data.llmrouterbench": "data.benchmarks.llmrouterbench",
    "data.logging": "data.simulate",
    "data.paretobandit": "data.benchmarks.paretobandit",
    "data.routellm": "data.benchmarks.routellm",
    "data.routerbench": "data.benchmarks.routerbench",
    "data.routereval": "data.benchmarks.routereval",
    "data.sprout": "data.benchmarks.sprout",
}

NAMES = {
    "cli.doctor.QUICK": "cli.examined.QUICK",
    "cli.doctor.SHADOW": "cli.advice.SHADOW",
    "cli.evaluate.RouterPath": "cli.options.RouterPath",
    "cli.evaluate.SPEC": "serving.views.SPEC",
    "cli.reading.Column": "cli.options.Column",
    "cli.reading.DropBad": "cli.options.DropBad",
    "cli.reading.Encoder": "cli.options.Encoder",
    "cli.reading.Feedback": "cli.options.Feedback",
    "cli.reading.Form": "cli.options.Form",
    "cli.reading.LogPath": "cli.options.LogPath",
    "cli.reading.Prices": "cli.options.Prices",
    "cli.reading.QualityRange": "cli.options.QualityRange",
    "cli.reading.Shadow": "cli.options.Shadow",
    "cli.reading.normalised": "cli.judged.normalised",
    "cli.reading.show": "cli.sheets.show",
    "cli.reading.write_page": "cli.judged.write_page",
    "cli.shadow.SIZES": "cli.shadow_plan.SIZES",
    "conditional.continuum_loss": "learn.conditional.loss",
    "conditional.continuum_values": "learn.conditional.values",
    "conditional.train_chunk": "learn.conditional.EVERY_WEIGHT",
    "contrasts.DOUBT": "recipe.contrasts.SHARE_DEVIATION",
    "data.cells.Bad": "data.logs.convert.Bad",
    "data.cells.UNFIT": "data.logs.convert.UNFIT",
    "data.cells.repeated": "data.logs.merging.repeated",
    "data.encoders.encoding.ENCODERS": "data.encoders.choosing.ENCODERS",
    "data.encoders.encoding.MODELS": "data.encoders.choosing.MODELS",
    "data.exports.text_of": "data.messages.text_of",
    "data.splits.Leakage": "data.ties.Leakage",
    "data.splits.leakage": "data.ties.leakage",
    "data.splits.near_duplicates": "data.ties.near_duplicates",
    "data.tables.COST_SUFFIX": "data.shapes.COST_SUFFIX",
    "data.tables.WIDE_TEXT": "data.shapes.WIDE_TEXT",
    "data.tables.from_long": "data.shapes.from_long",
    "data.tables.from_wide": "data.shapes.from_wide",
    "estimators.influence.half_width": "estimators.intervals.half_width",
    "estimators.influence.interval": "estimators.intervals.interval",
    "estimators.sensitivity.BISECTIONS": "estimators.odds.BISECTIONS",
    "estimators.sensitivity.REPLICATES_AT_ONCE": "estimators.odds.REPLICATES_AT_ONCE",
    "estimators.support.BINS": "estimators.calibration.BINS",
    "evidence.FEWEST_APART": "estimators.by_weight.FEWEST_DIFFERING",
    "evidence.gains": "estimators.by_weight.gains",
    "evidence.logging_policy": "estimators.by_weight.logging_policy",
    "fitting.ROWS_A_MODEL": "learn.sufficiency.ROWS_A_MODEL",
    "fitting.answers": "learn.sufficiency.answers",
    "fitting.rows_needed": "learn.sufficiency.rows_needed",
    "gateway.gate.load_settings": "gateway.settings.load_settings",
    "levels.VAGUE": "recipe.levels.PRIOR_DEVIATION",
    "levels.foreseen": "recipe.contenders.errors",
    "levels.means": "recipe.means.doubly_robust",
    "logged.examples": "learn.examples.at_clip",
    "logged.train_chunk": "learn.examples.LOGGED",
    "nuisance.crossfit.assign_folds": "nuisance.folding.assign_folds",
    "nuisance.crossfit.rows_of_folds": "nuisance.folding.rows_of_folds",
    "nuisance.fitting.as_cells": "nuisance.observed.as_cells",
    "ondisk.corrected": "learn.examples.corrected",
    "policies.deciding.at_the_door": "policies.decisions.masked",
    "population.choose": "engine.evaluation.choose",
    "population.evaluate": "engine.evaluation.evaluate",
    "population.grouped_grid": "sweep.grouped_grid",
    "population.plan": "engine.program.plan",
    "population.template": "engine.program.template",
    "population.trainers": "engine.program.compiled_chunk",
    "recipe.beside": "recipe.shadow_predictions",
    "recipe.choose_share": "recipe.estimate_share",
    "recipe.log_levels": "recipe.estimate_levels",
    "recipe.temper": "recipe.shrink_contrasts",
    "report.artefacts.ALONG_WEIGHTS": "report.sections.ALONG_WEIGHTS",
    "report.artefacts.DARK": "report.svg.DARK",
    "report.artefacts.WHOLE_CURVE": "report.sections.WHOLE_CURVE",
    "report.summary.CELL": "report.results.CELL",
    "report.summary.COLUMNS": "report.results.COLUMNS",
    "report.summary.TABLE_WEIGHTS": "report.results.TABLE_WEIGHTS",
    "report.summary.cells": "report.results.cells",
    "report.summary.check_columns": "report.results.check_columns",
    "report.summary.compare": "report.comparison.compare",
    "report.summary.headline": "report.comparison.headline",
    "report.summary.table_weights": "report.results.table_weights",
    "report.tables.CONSOLE_WIDTH": "report.console.CONSOLE_WIDTH",
    "report.tables.markdown_name": "report.markdown.markdown_name",
    "report.tables.markdown_rows": "report.markdown.markdown_rows",
    "report.tables.markdown_table": "report.markdown.markdown_table",
    "report.tables.print_tables": "report.console.print_tables",
    "router.ARRAYS": "serving.folder.ARRAYS",
    "router.META": "serving.folder.META",
    "router.ROWS_PER_BLOCK": "serving.blocks.ROWS",
    "router.SCHEMA": "serving.folder.SCHEMA",
    "rows.averaged": "engine.training.averaged",
    "rows.train_chunk": "engine.program.advance",
    "search.train": "engine.halving.search",
    "streaming.train": "engine.loop.train",
    "training.train_chunk": "engine.program.advance",
    "types.Continuum": "types.ConditionalExamples",
}

_REASONS = {
    "a command returns a Result, which jaxroute.cli.output prints": "cli.fit.report cli.reading.Json",
    "decisions no longer travel in a request's metadata": "gateway.hooks.KEY gateway.hooks.row",
    "there is one training loop, and what is done between its chunks is a Hook; see jaxroute.engine": (
        "population.begin population.worth streaming.BLOCK streaming.RUN"
    ),
    "jaxroute.learn.fitting.fit averages several recipes, with members=...": (
        "recipe.Ensemble recipe.fit_ensemble recipe.predict_ensemble"
    ),
    "api.steps.check_made_by refuses what features_by cannot have made, in Python and on the command line": (
        "cli.reading.made_by"
    ),
    "what kind of method a row belongs to is the column kind of the results, not read from the method's name": (
        "report.summary.kind"
    ),
    "a pickle is read by an interpreter that knows data only, so no function is admitted": (
        "data.unpickle.ADMITTED data.unpickle.ARRAY data.unpickle.MOVED data.unpickle.OLD_NUMPY"
    ),
    "what to do about a bad row is said with its reason; see jaxroute.data.logs.problems": "data.logs.HINTS",
    "every format of logs is a Format record in a module of its own; see jaxroute.data.logs.formats": (
        "data.exports.LITELLM data.exports.LITELLM_CALLS data.exports.LITELLM_READ data.exports.OPENTELEMETRY"
        " data.exports.OPERATIONS data.exports.OTLP data.exports.Row data.exports.SPAN data.exports.START"
        " data.exports.check data.exports.rows data.exports.wanted"
    ),
}
REMOVED = {name: reason for reason, names in _REASONS.items() for name in names.split()}
"""Old names without a successor, each with the reason."""


def install() -> None:
    """Make the old names importable. They are found before the package's own modules, and cost one look-up each."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def resolve(name: str) -> Any:
    """What a name in the tables' form stands for in the present layout."""
    module, _, attribute = f"{PACKAGE}.{name}".rpartition(".")
    found = importlib.import_module(module)
    return getattr(found, attribute) if hasattr(found, attribute) else importlib.import_module(f"{module}.{attribute}")


class _Finder(MetaPathFinder):
    """Finds old modules, and the present ones that have lost a name."""

    holders = frozenset(name.rpartition(".")[0] for name in (*NAMES, *REMOVED)) - MODULES.keys() - FIXED.keys()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != PACKAGE:
            return None
        if name in REMOVED:
            raise ModuleNotFoundError(f"{fullname} was removed: {REMOVED[name]}", name=fullname)
        if name in MODULES or name in FIXED:
            return ModuleSpec(fullname, _Former())
        spec = PathFinder.find_spec(fullname, path, target) if name in self.holders else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Renamed(spec.loader)
        return spec


class _Former(Loader):
    """An old module: its attributes are those of the new one."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.removeprefix(f"{PACKAGE}.")
        if name in MODULES:
            _warn(name, MODULES[name], stacklevel=3)
        present = importlib.import_module(f"{PACKAGE}.{MODULES.get(name) or FIXED[name]}")
        module.__doc__ = present.__doc__
        vars(module).update(__getattr__=partial(_former, name, present), __dir__=partial(dir, present))


class _Renamed(Loader):
    """A present module: what it lacks is looked up in the tables."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        own = vars(module).get("__getattr__")
        vars(module)["__getattr__"] = partial(_renamed, module.__name__.removeprefix(f"{PACKAGE}."), own)


def _former(module: str, present: ModuleType, attribute: str) -> Any:
    if f"{module}.{attribute}" in NAMES or f"{module}.{attribute}" in REMOVED:
        return _look_up(module, attribute)
    return getattr(present, attribute)


def _renamed(module: str, own: Any, attribute: str) -> Any:
    if own is not None:
        try:
            return own(attribute)
        except AttributeError:
            pass
    return _look_up(module, attribute)


def _look_up(module: str, attribute: str) -> Any:
    name = f"{module}.{attribute}"
    if name in NAMES:
        _warn(name, NAMES[name], stacklevel=4)
        return resolve(NAMES[name])
    if name in REMOVED:
        raise AttributeError(f"{PACKAGE}.{name} was removed: {REMOVED[name]}")
    raise AttributeError(f"module '{PACKAGE}.{module}' has no attribute {attribute!r}")


def _warn(old: str, new: str, stacklevel: int) -> None:
    message = f"{PACKAGE}.{old} is now {PACKAGE}.{new}; the old name goes in release {LAST}"
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)
