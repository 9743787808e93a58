"""The public names of release 0.1 still work, with a warning that says where they are now."""

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from jaxroute import _aliases

OLD = dict(
    line.split(":") for line in (Path(__file__).parent / "old_names.txt").read_text().splitlines() if line[0] != "#"
)
GOES = f"the old name goes in release {_aliases.LAST}"
FIXED = (
    "losses: softmax_regret regret_cross_entropy greedy_regret squared_utility_error spo_plus cost_sensitive_hinge",
    "counterfactual: utility direct inverse_propensity doubly_robust switch_doubly_robust shrinkage_doubly_robust",
    "policies: greedy softmax epsilon_greedy breakpoints envelope",
    "estimators: direct_method ipw snipw doubly_robust self_normalised_doubly_robust switch_doubly_robust",
    "estimators: shrinkage_doubly_robust support",
    "metrics: value regret quality_cost_points aiq aiq_range nauc peak_quality quality_neutral_cost routing_collapse",
    "metrics: routing_shares apgr cpt bootstrap_interval paired_interval",
    "nuisance: fit predict",
    "sweep: grid pad place over_points gather",
    "router: Router",
    "data.synthetic: make",
    "data.tables: load",
    "data.logs: load",
    "data.encoders: encode",
)


def forget(module: str) -> None:
    """As if the old module had not been imported yet."""
    if module in _aliases.MODULES and sys.modules.pop(f"jaxroute.{module}", None) is not None:
        parent, _, name = f"jaxroute.{module}".rpartition(".")
        delattr(sys.modules[parent], name)


@pytest.mark.parametrize("module", OLD)
def test_every_old_name_works_or_is_said_to_be_gone(module):
    if module in _aliases.REMOVED:
        with pytest.raises(ModuleNotFoundError, match="was removed"):
            importlib.import_module(f"jaxroute.{module}")
        return
    if module == "gateway.hooks":
        pytest.importorskip("litellm")
    forget(module)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = importlib.import_module(f"jaxroute.{module}")
    said = {str(w.message) for w in seen if w.category is DeprecationWarning and "jaxroute" in str(w.message)}
    new = _aliases.MODULES.get(module)
    assert said == (set() if new is None else {f"jaxroute.{module} is now jaxroute.{new}; {GOES}"})
    missing = [name for name in OLD[module].split() if not leads_somewhere(found, module, name)]
    assert not missing, f"old names that lead nowhere, of jaxroute.{module}: {' '.join(missing)}"


def leads_somewhere(found, module, name):
    dotted = f"{module}.{name}"
    if dotted in _aliases.REMOVED:
        with pytest.raises(AttributeError, match="was removed"):
            getattr(found, name)
        return True
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        there = hasattr(found, name)
    new = _aliases.NAMES.get(dotted)
    assert [str(w.message) for w in seen] == (
        [] if new is None else [f"jaxroute.{dotted} is now jaxroute.{new}; {GOES}"]
    )
    return there


def test_the_table_holds_old_names_only_and_each_is_needed():
    names = {f"{module}.{name}" for module, names in OLD.items() for name in names.split()}
    assert set(_aliases.MODULES) | set(_aliases.FIXED) <= set(OLD)
    assert set(_aliases.NAMES) <= names
    assert set(_aliases.REMOVED) <= names | set(OLD)
    root = Path(_aliases.__file__).parent
    for module in _aliases.MODULES:
        path = root / module.replace(".", "/")
        assert not path.with_suffix(".py").exists(), f"{module} is there: no alias is needed"
        assert not path.exists()


@pytest.mark.parametrize("line", FIXED)
def test_fixed_names_work_without_a_warning(line):
    module, names = line.split(":")
    code = f"import warnings; warnings.simplefilter('error'); from jaxroute.{module} import {', '.join(names.split())}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(code, {})


def test_the_ways_to_import_an_old_name():
    forget("budgets")
    with pytest.warns(DeprecationWarning, match=r"jaxroute\.budgets is now jaxroute\.policies\.budgets; .* 0\.3"):
        from jaxroute import budgets
    from jaxroute.policies import budgets as present

    assert budgets.for_budget is present.for_budget
    assert "for_budget" in dir(budgets)
    forget("data.logging")
    with pytest.warns(DeprecationWarning, match=r"jaxroute\.data\.logging is now jaxroute\.data\.simulate") as seen:
        from jaxroute.data import logging
    assert seen[0].filename == __file__
    assert callable(logging.simulate)
    with pytest.warns(DeprecationWarning, match=r"is now jaxroute\.recipe\.shrink_contrasts") as seen:
        from jaxroute.recipe import temper
    assert {w.filename for w in seen} == {__file__}
    assert temper.__name__ == "shrink_contrasts"


def test_a_name_that_never_was_is_an_ordinary_error():
    recipe = importlib.import_module("jaxroute.recipe")
    with pytest.raises(AttributeError, match=r"module 'jaxroute\.recipe' has no attribute 'nonsense'"):
        recipe.nonsense  # noqa: B018
    router = importlib.import_module("jaxroute.router")
    with pytest.raises(AttributeError, match="nonsense"):
        router.nonsense  # noqa: B018
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("jaxroute.nonsense")


def test_what_has_been_removed_says_why(monkeypatch):
    monkeypatch.setitem(_aliases.REMOVED, "gone", "nothing used it")
    monkeypatch.setitem(_aliases.REMOVED, "recipe.gone", "nothing used it either")
    with pytest.raises(ModuleNotFoundError, match=r"jaxroute\.gone was removed: nothing used it"):
        importlib.import_module("jaxroute.gone")
    recipe = importlib.import_module("jaxroute.recipe")
    with pytest.raises(AttributeError, match=r"jaxroute\.recipe\.gone was removed: nothing used it either"):
        recipe.gone  # noqa: B018


def test_importing_jaxroute_imports_neither_jax_nor_numpy():
    code = (
        "import sys, jaxroute as jr\n"
        "heavy = {'jax', 'numpy', 'pandas', 'pyarrow', 'sklearn', 'flax'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'losses', 'fit', 'Router', '__version__'} <= set(dir(jr)), dir(jr)\n"
        "assert not {'jax', 'numpy'} & set(sys.modules)\n"
        "assert jr.losses.softmax_regret.__module__ == 'jaxroute.losses'\n"
        "assert jr.data.simulate.__name__ == 'jaxroute.data.simulate'\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_public_surface():
    import jaxroute as jr

    for name in jr.__all__:
        assert getattr(jr, name) is not None
    assert set(jr.__all__) <= set(dir(jr))
    assert {
        "losses", "counterfactual", "policies", "estimators", "metrics", "nuisance", "recipe", "learn", "engine",
        "sweep", "serving", "data", "types", "fit", "evaluate", "compare", "Router", "read_log", "read_table",
    } <= set(jr.__all__)  # fmt: skip
    with pytest.raises(AttributeError, match="nonsense"):
        jr.nonsense  # noqa: B018
