"""What the main job refuses, in one clear line: bad configs, options and tables."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from test_experiments import TINY

from experiments import configs, run, settings
from jaxroute.data import synthetic, tables
from jaxroute.types import InputError, NuisanceSpec, Spec

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("methods", ("rm_sotfmax",), "rm_sotfmax"),
        ("methods", ("plug_in_knn",), "'plug_in_knn' needs 'knn' among"),
        ("methods", ("carrot_knn",), "'carrot_knn' needs 'knn' among"),
        ("rivals", ("rigde",), "unknown outcome model"),
        ("cost_weights", (0.0, -1.0), "at least 0"),
        ("cost_weights", (), "at least one"),
        ("cost_weights", (1.0, 0.5), "ascend"),
        ("logger", "weekly", "weekly"),
        ("fractions", (0.5, 0.5, 0.5), "sum to 1"),
        ("seeds", 0, "at least 1"),
        ("cost_scale", -1.0, "above 0"),
        ("cost_scale", "1", "must be a number or None"),
        ("methods", ("oracle", "random", "oracle"), "name each method once"),
        ("methods", "oracle", "must be a tuple of texts"),
        ("num_prompts", "300", "must be a whole number"),
        ("num_prompts", 300.5, "must be a whole number"),
        ("seeds", True, "must be a whole number"),
        ("cost_weights", 0.5, "must be a tuple of numbers"),
        ("fractions", (0.6, 0.4), "must be a tuple of 3 numbers"),
        ("between", (0.1, "a"), "must be a tuple of numbers or None"),
        ("training", None, "must be a Spec"),
        ("training", Spec(hidden=8), "training.hidden=8: must be a tuple of whole numbers"),
        ("nuisance", NuisanceSpec(processes=((1.0, 1.0),)), "nuisance.processes=.*must be a tuple of tuples"),
        ("shuffled", 1, "must be True or False"),
        ("name", "../elsewhere", "name is '../elsewhere'; it must be a folder's name"),
        ("name", "", "must be a folder's name"),
        ("num_prompts", 0, "whole number of at least 1"),
        ("at_most", -1, "whole number of at least 1"),
        ("log_size", -1, "whole number of at least 1"),
        ("dimensions", 0, "whole number of at least 1"),
        ("tasks", "mmlu", "the synthetic problem has no such"),
        ("encoder", "hashed", "the synthetic problem has no texts"),
        ("first_seed", 2**63, "at most 63 bits"),
        ("logger_strength", np.nan, "must be finite"),
        ("logger_floor", 1.5, "from 0 to 1"),
        ("cost_scale", np.inf, "above 0 and finite"),
        ("learning_rate", np.nan, "above 0 and finite"),
        ("weight_decay", -1.0, "at least 0 and finite"),
        ("temperature", 0.0, "above 0 and finite"),
        ("entropy", np.inf, "at least 0 and finite"),
        ("learning_clip", 1.0, "at least 0 and below 1"),
        ("training", Spec(steps=0, chunk=10), "training.steps is 0; it must be a whole number of at least 1"),
        ("training", Spec(chunk=0), "training.chunk is 0"),
        ("training", Spec(dropout=np.nan), "training.dropout is nan"),
        ("training", Spec(hidden=[8]), "training.hidden is .*must be a tuple"),
        ("nuisance", NuisanceSpec(["ridge"]), "nuisance.outcome_models is .*must be a tuple"),
        ("nuisance", NuisanceSpec(("ridge",), propensity_models=("x",)), "nuisance.propensity_models is 'x'"),
        ("nuisance", NuisanceSpec(("ridge",), calibration="x"), "nuisance.calibration is 'x'"),
        ("nuisance", NuisanceSpec(("ridge",), folds=1), "nuisance.folds is 1"),
        ("nuisance", NuisanceSpec(("ridge",), penalties=(0.0,)), r"nuisance.penalties is \(0.0,\)"),
        ("nuisance", NuisanceSpec(("ridge",), penalties=(-1.0,)), "nuisance.penalties is"),
        ("axes", settings.Axes(draw="x"), "axes.draw is 'x'"),
        ("axes", settings.Axes(count=-1), "axes.count is -1"),
        ("axes", settings.Axes(learning_rate=(1e-2, 1e-3)), "axes.learning_rate is .*ends that ascend"),
        ("axes", settings.Axes(width=(0.5, 4)), "axes.width is .*at least 1"),
        ("axes", settings.Axes(clip=(0.1, 1.0)), "axes.clip is .*below 1"),
        ("axes", settings.Axes(methods=()), "axes.methods is"),
        ("axes", settings.Axes(hidden=((0,),)), "axes.hidden is 0"),
        ("axes", settings.Axes(rungs=(0,)), "axes.rungs is 0"),
        ("axes", settings.Axes(keep=np.nan), "axes.keep is nan"),
        ("axes", settings.Axes(block=0), "axes.block is 0"),
    ],
)
def test_bad_configs_are_refused_by_field(field, value, says):
    with pytest.raises(InputError, match=says) as error:
        configs.check(dataclasses.replace(TINY, **{field: value}), "tiny.py")
    assert field in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "nothing"], "no config 'nothing'"),
        (["--data", "no/such/folder"], "no/such/folder"),
    ],
)
def test_bad_input_is_one_line_exit_two_and_nothing_written(arguments, says, tmp_path, capsys):
    assert run.main([*arguments, "--smoke", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [1.5, float("nan")])
def test_a_table_with_bad_quality_is_refused_with_its_place(bad, tmp_path, capsys):
    tables.save(synthetic.make(jax.random.key(3), num_prompts=60), tmp_path / "table")
    path = tmp_path / "table" / "outcomes.parquet"
    outcomes = pd.read_parquet(path)
    outcomes.loc[7, "quality"] = bad
    outcomes.to_parquet(path)
    assert run.main(["--data", str(tmp_path / "table"), "--smoke", "--out", str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err
    for part in ("outcomes.parquet", "quality", "row 7", "1.5" if bad == 1.5 else "NaN"):
        assert part in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("CONFIG = 1", "has no function get_config"),
        ("def get_config(smoke):\n    return {'name': 'mine'}", "returns a dict; it must return a Config"),
    ],
)
def test_a_file_that_is_no_config_is_one_line(tmp_path, content, says):
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(InputError, match=says):
        configs.load(str(tmp_path / "mine.py"))


@pytest.mark.parametrize("smoke", [False, True])
def test_every_config_has_the_types_of_its_fields(smoke):
    names = [path.stem for path in Path(configs.__file__).parent.glob("[!_]*.py")]
    assert len(names) > 5
    for name in names:
        assert configs.load(name, smoke=smoke).name
