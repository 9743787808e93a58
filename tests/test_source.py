"""Finished work stays finished: which edits of a copy of the tree change which keys; and keys miss nothing that ran."""

import dataclasses
import importlib.machinery
import re
import shutil
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import cells, evaluate, methods, run, settings, source, sweep
from experiments.methods.experiment import Experiment
from experiments.problem import build, table
from experiments.side import ablation, shadow
from jaxroute import policies
from jaxroute import sweep as points
from jaxroute.types import NuisanceSpec, Spec

RESULTS = {
    "logs": build.logs_of,
    "fits": build.on_log,
    "fits of the table": build.on_table,
    "plug-in": methods.get("plug_in_stack").run,
    "rm_softmax": methods.get("rm_softmax").run,
    "rm_interval": methods.get("rm_interval").run,
    "measured": evaluate.results,
    "sweep": sweep.trained,
    "ablation": ablation.measure,
    "shadow": shadow.measure,
}
TINY = settings.Config(
    name="tiny",
    num_prompts=200,
    seeds=1,
    cost_weights=(0.0, 1.0),
    methods=("random",),
    nuisance=NuisanceSpec(("mean", "ridge"), folds=2, penalties=(10.0,)),
    training=Spec(hidden=(4,), batch_size=32, steps=2, chunk=1),
    intervals=2,
)


@pytest.fixture
def tree(tmp_path):
    for part in ("jaxroute", "experiments"):
        skipped = shutil.ignore_patterns("__pycache__", "results", "*.jinja", "*.csv")
        shutil.copytree(source.ROOT / part, tmp_path / part, ignore=skipped)
    yield tmp_path
    source._module.cache_clear()
    source._text.cache_clear()


def changed(tree: Path, edits: dict[str, tuple[str, str]]) -> set[str]:
    """The results whose digest an edit changes; edits: file -> (pattern, replacement); "" is the end of the file."""
    before = {name: source.digest(function, root=tree) for name, function in RESULTS.items()}
    for file, (pattern, new) in edits.items():
        path = tree / file
        text = path.read_text() if path.exists() else ""
        assert not pattern or len(re.findall(pattern, text)) == 1, (file, pattern)
        path.write_text(re.sub(pattern, new, text) if pattern else text + new)
    source._module.cache_clear()
    source._text.cache_clear()
    return {name for name, function in RESULTS.items() if source.digest(function, root=tree) != before[name]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "edits",
    [
        {"jaxroute/gateway/gate.py": ("", "\nMORE = 1\n")},
        {"jaxroute/data/benchmarks/another.py": ("", "def load(path):\n    return path\n")},
        {"jaxroute/data/tables.py": ("", "\ndef load_another(path):\n    return path\n")},
        {"jaxroute/report/summary.py": ("def best_plug_in", "ANOTHER = 2\n\n\ndef best_plug_in")},
        {"jaxroute/losses.py": ("", "\n\ndef another(scores, utility, *, where=None):\n    return scores.sum(-1)\n")},
        {"jaxroute/learn/objectives.py": ("LOSSES: (.*) = {", r'LOSSES: \1 = {"another": losses.another,')},
        {"experiments/methods/__init__.py": ("METHODS = ", "OTHER = methods.another\nMETHODS = ")},
        {"experiments/methods/another.py": ("", "def run(experiment):\n    return experiment\n")},
        {"experiments/study/design.py": ("ROWS = 2000", "ROWS = 3000")},
        {"experiments/side/ablation.py": ("def summary", "def another():\n    return 1\n\n\ndef summary")},
        {"experiments/sweep.py": ("def method_of", "def another():\n    return 1\n\n\ndef method_of")},
        {"experiments/storage.py": ("", "\nMORE = 1\n")},
    ],
    ids=lambda edits: next(iter(edits)),
)  # fmt: skip
def test_what_had_no_part_in_a_result_does_not_change_its_key(tree, edits):
    assert changed(tree, edits) == set()


def test_comments_docstrings_and_layout_change_no_key(tree):
    edits = {}
    for path in (*tree.glob("jaxroute/**/*.py"), *tree.glob("experiments/**/*.py")):
        if path.read_text().startswith('"""'):
            edits[str(path.relative_to(tree))] = (r'(?s)\A"""', '"""Another docstring. ')
    assert len(edits) > 100
    path = tree / "jaxroute" / "losses.py"
    path.write_text(path.read_text().replace("\n    return ", "\n    # Because.\n\n    return  "))
    source._module.cache_clear()
    before = {name: source.digest(function) for name, function in RESULTS.items()}
    assert {name: source.digest(function, root=tree) for name, function in RESULTS.items()} == before
    assert changed(tree, edits) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "function", "expected"),
    [
        ("jaxroute/nuisance/ridge.py", "fit", {"fits", "fits of the table", "ablation", "shadow"}),
        ("jaxroute/data/simulate.py", "simulate", {"logs", "fits", "ablation", "shadow"}),
        ("jaxroute/metrics/values.py", "regret", {"measured", "sweep", "ablation", "shadow"}),
        ("jaxroute/losses.py", "softmax_regret", {"rm_softmax", "rm_interval"}),
        ("jaxroute/engine/loop.py", "train", {"rm_softmax", "rm_interval", "sweep"}),
        ("experiments/methods/conditional.py", "end_scores", {"rm_interval"}),
        ("experiments/methods/experiment.py", "decide", {"plug-in"}),
        ("experiments/side/shadow.py", "buy", {"shadow"}),
    ],
)
def test_what_made_a_result_changes_its_key(tree, file, function, expected):
    assert changed(tree, {file: (rf"(?m)^def {function}\(", f"def {function}(more, ")}) == expected


@pytest.mark.parametrize("line", ["from experiments import lazy as x", "from experiments.lazy import thing as x"])
def test_a_name_that_is_made_on_demand_is_refused(tmp_path, line):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("")
    (tmp_path / "experiments" / "lazy.py").write_text("def __getattr__(name):\n    return name\n")
    (tmp_path / "experiments" / "source.py").write_text(f"{line}\ndef digest():\n    return x.thing\n")
    with pytest.raises(ImportError, match="does not define thing"):
        source.closure(source.digest, root=tmp_path)


@pytest.mark.study
def test_a_command_has_the_keys_of_its_module(monkeypatch):
    """``python -m experiments.side.shadow`` calls the module ``__main__``; a script that is no module has no key."""
    command = types.FunctionType(shadow.measure.__code__, shadow.measure.__globals__, "measure")
    command.__module__, main = "__main__", types.ModuleType("__main__")
    main.__spec__ = importlib.machinery.ModuleSpec("experiments.side.shadow", None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert len(source.closure(command)) > 100
    assert source.digest(command) == source.digest(shadow.measure)
    main.__spec__ = None
    with pytest.raises(ImportError, match="measure is not defined in a module"):
        source.digest(command)


@pytest.mark.slow
def test_everything_that_runs_is_in_the_key():
    """Every function of this repository that is called while a result is made is one of its symbols."""
    config = dataclasses.replace(TINY, methods=("rm_interval", "knn_guarded"))
    data = table.prepare(config)

    def ran(work):
        called = {}  # by identity: code objects are compared by all that is in them

        def look(frame, event, _):  # it returns None, so that it hears of calls alone
            called[id(frame.f_code)] = frame.f_code

        jax.clear_caches()
        sys.settrace(look)
        try:
            made = work()
        finally:
            sys.settrace(None)
        return made, {symbol for code in called.values() if (symbol := symbol_of(code))}

    def symbol_of(code):
        """The symbol of this repository that a code object belongs to; None where there is none."""
        path, name = Path(code.co_filename), code.co_qualname.split(".")[0]
        if not path.is_relative_to(source.ROOT) or name[0] == "<" or name == "__getattr__":
            return None
        path = path.relative_to(source.ROOT).with_suffix("")
        finds_imports = path.stem in ("_aliases", "_lazy")  # they lead to code, and are no part of a result
        ours = path.parts[0] in ("jaxroute", "experiments")  # the environment may lie in the same folder
        return (
            source.Symbol(".".join(path.parts).removesuffix(".__init__"), name) if ours and not finds_imports else None
        )

    for name in dir(policies):  # imported when first used, and the bodies of its classes would run inside ``ran``
        getattr(policies, name)
    kept, made_by = {}, {"log": build.on_log, "table": build.on_table}

    def keep(what, place, make, like):
        kept[what], seen = ran(make)
        assert seen <= source.closure(made_by[what]), what
        assert len(seen) > 20
        return kept[what]

    problems = build.build(config, data, full=methods.full_learners(config), keep=keep)
    assert ran(lambda: build.logs_of(config, data, 0))[1] <= source.closure(build.logs_of)
    assert ran(lambda: build.one(config, data, 0, keep=lambda what, *_: kept[what]))[1] <= source.closure(build.one)
    experiment = Experiment(config, problems, data.table.models, points.mesh(jax.devices()[:1]))
    for method in methods.chosen(config):
        shown = run._seen(method, experiment)
        probabilities, seen = ran(lambda: method.run(shown))  # noqa: B023
        assert seen <= source.closure(method.run), method.name
        _, seen = ran(lambda: evaluate.results(experiment, method.name, probabilities))  # noqa: B023
        assert seen <= source.closure(evaluate.results)


OTHER = {
    "num_prompts": 300, "shuffled": True, "num_models": 4, "cost_scale": 2.0, "split": "tasks", "first_seed": 1,
    "fractions": (0.5, 0.2, 0.3), "log_size": 50, "logger_fraction": 0.2, "shadow": 20, "logger": "uniform",
    "logger_strength": 3.0, "logger_floor": 0.2, "nuisance": NuisanceSpec(("mean",), folds=2), "rivals": ("knn",),
    "name": "other", "methods": ("oracle",), "axes": settings.Axes(count=3), "training": Spec(hidden=(8,)),
    "learning_rate": 1e-3, "weight_decay": 0.5, "temperature": 2.0, "entropy": 0.2, "learning_clip": 0.2,
    "intervals": 3, "members": 2, "evidence": 2.0, "dimensions": 8, "cost_weights": (0.0, 2.0), "between": (0.1,),
}  # fmt: skip
NOT_HERE = {"data", "at_most", "tasks", "encoder", "seeds"}
"""A real table's bytes are in the key, whatever its path and however few of its prompts are kept; more seeds are more
keys."""


def keys(config):
    """Keys of the fits on the log and on the full table, and of two methods' results."""
    data = table.prepare(config)
    fitted = cells.KeptFits(cells.Cells(Path("nowhere")), config, data)
    found = {what: fitted.key(what, 0, ("ridge", "stack")) for what in ("log", "table")}
    experiment = Experiment(run.reduced(config), None, data.table.models, None, cost_scale=data.scale)
    of = {what: [key] for what, key in found.items()}
    return found | {name: run._key(methods.get(name), experiment, of) for name in ("random", "plug_in_ridge_full")}


@pytest.mark.study
def test_every_field_of_a_config_is_in_the_keys_of_what_it_changes():
    assert set(OTHER) | NOT_HERE == {field.name for field in dataclasses.fields(settings.Config)}
    base = dataclasses.replace(TINY, log_size=60)
    before = keys(base)
    for field, value in OTHER.items():
        after = keys(dataclasses.replace(base, **{field: value}))
        moved = {name for name in before if before[name] != after[name]}
        if field in ("name", "methods", "axes"):
            expected = set()
        elif field in settings.OF_METHODS:
            expected = {"random", "plug_in_ridge_full"}
        elif field in settings.OF_LOG and field != "shadow":  # a shadow's prompts are rows of the full table, too
            expected = set(before) - {"table"}
        else:
            expected = set(before)
        assert moved == expected, field


def test_fingerprints_tell_values_apart():
    array = np.arange(3, dtype=np.float32)
    assert cells.fingerprint(array) == cells.fingerprint(array.copy())
    others = (array + 1, array[None], array.astype(np.float64), [*array], "x", None)
    assert len({cells.fingerprint(value) for value in (array, *others)}) == len(others) + 1
    assert cells.fingerprint("a", "bc") != cells.fingerprint("ab", "c")
