"""The command line without a router: help, and what bad input says."""

import json
import subprocess
import sys

import numpy as np
import pytest
import router_kinds
from commands import run

import jaxroute
from jaxroute import cli
from jaxroute.data import encoders
from jaxroute.learn.methods import METHODS
from jaxroute.types import InputError


def test_a_demo_log_is_json_lines_and_its_name_says_so(capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["demo-log", str(tmp_path / "log.parquet")])
    assert exit_.value.code == 2
    assert "ends in .jsonl" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_teaches(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in ("doctor", "fit", "shadow", "evaluate", "compare", "route", "export", "demo-log"):
        assert command in out
    code, out, _ = run(capsys, "doctor", "--help")
    assert "jaxroute doctor requests.parquet" in out
    code, out, _ = run(capsys, "fit", "--help")
    assert code == 0
    assert all(f"\n{name} " in out for name in METHODS)
    assert "points of regret" in out
    assert run(capsys, "--version")[:2] == (0, f"jaxroute {jaxroute.__version__}\n")


HELP = """
import sys
from jaxroute import cli
for command in ([], *([name] for name in cli.COMMANDS if name != "fit")):  # whose help has the methods' table
    try:
        cli.main([*command, "--help"])
    except SystemExit as done:
        assert not done.code
heavy = {"jax", "jaxlib", "flax", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "rich"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_of_every_command_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: ") == len(cli.COMMANDS)


def test_every_command_has_its_help(capsys):
    """The functions' own docstrings are what a command's help shows, and a misspelt command is told the near ones."""
    for name in cli.COMMANDS:
        function = cli.imported(name).callback
        _, out, _ = run(capsys, name, "--help")
        assert function.__doc__.split()[:4] == out.split("\n\n")[1].split()[:4]
    _, _, err = run(capsys, "evaluat", "x")
    assert "No such command 'evaluat'" in err


def test_features_by_another_encoder_are_refused(capsys, tmp_path):
    rows = [{"model": "ab"[i % 2], "quality": 1.0, "cost": 0.1, "features": [0.1, 0.2, 0.3]} for i in range(60)]
    file = tmp_path / "log.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = run(capsys, "fit", file, "--out", tmp_path / "router", "--features-by", "hashed")
    assert code == 2
    assert "makes 256 features per prompt and the log has 3" in err
    file.write_text("".join(json.dumps({**row, "prompt": "p"}).replace("features", "other") + "\n" for row in rows))
    code, _, err = run(capsys, "fit", file, "--out", tmp_path / "router", "--features-by", "hashed")
    assert code == 2
    assert "the log has no features" in err
    assert not (tmp_path / "router").exists()


def test_a_log_that_fit_cannot_use_is_refused_before_it_is_encoded(capsys, tmp_path, monkeypatch):
    rows = [{"prompt": f"{i}", "model": "ab"[i % 2], "quality": i % 2, "cost": 1} for i in range(40)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(encoders, "encode", lambda *_, **__: pytest.fail("encoded"))
    code, _, err = run(capsys, "fit", tmp_path / "log.jsonl", "--out", tmp_path / "router")
    assert code in (2, 3)
    assert "40 rows are too few" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["doctor", "no/such.jsonl"], "no/such.jsonl"),
        (["fit", "no/such.jsonl", "--out", "x"], "no/such.jsonl"),
        (["fit", "no/such.jsonl", "--out", "/"], "mounted volume"),
        (["fit", "no/such.jsonl", "--out", "x", "--encoder", "hashd"], "unknown encoder 'hashd'"),
        (["fit", "no/such.jsonl", "--out", "x", "--encoder", "sentence:no/such"], "encoder"),
        (["fit", "no/such.jsonl", "--out", "x", "--normalised-cost-weights", "1,0"], "ascend"),
        (["fit", "no/such.jsonl", "--out", "x", "--method", "rm_soft"], "unknown method"),
        (["route", "no/router", "--cost-weight", "1"], "is not a router"),
        (["evaluate", "no/router", "x.jsonl"], "is not a router"),
        (["shadow", "x.jsonl", "--pool", "y.jsonl"], "must be given together"),
        (["shadow", "x.jsonl", "--pool", "y.jsonl", "--out", "z.jsonl"], "y.jsonl"),
        (["doctor", "x.jsonl", "--column", "quality"], "write FIELD=NAME"),
        (["doctor", "x.jsonl", "--quality-range", "five"], "write WORST,BEST"),
        (["doctor", "x.jsonl", "--quality-range", "1,1"], "--quality-range is (1.0, 1.0); it must be (worst, best)"),
        (["doctor", "x.jsonl", "--failures", "keep"], "--failures is 'keep'; it must be one of drop, zero"),
        (["explore", "x.jsonl", "router", "--loss", "nan"], "--loss is nan; it must be at least 0"),
        (["demo-log", "x.jsonl", "--rows", "0"], "Invalid value for '--rows'"),
        (["demo-log", "x.jsonl", "--seed", "-1"], "Invalid value for '--seed'"),
    ],
)
def test_bad_input_is_one_line_and_code_two(capsys, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_a_platform_that_is_not_there_is_one_line(monkeypatch, capsys):
    def started(arguments):
        raise RuntimeError("Unable to initialize backend 'tpu': no libtpu.so")  # as JAX says it

    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    monkeypatch.setattr(cli, "app", started)
    with pytest.raises(SystemExit) as done:
        cli.main(["doctor", "log.jsonl"])
    assert done.value.code == 2
    assert capsys.readouterr().err == "error: JAX_PLATFORMS=tpu: no such platform here; name another, or leave it out\n"


@pytest.mark.parametrize("command", ["demo-log log.jsonl", "fit log --out r", "shadow log", "route r", "sample-size"])
def test_a_seed_below_0_is_refused_before_any_work(capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *command.split(), "--seed", "-1")
    assert code == 2
    assert "--seed" in err
    assert list(tmp_path.iterdir()) == []


def test_a_seed_that_no_generator_takes_is_refused_in_python():
    with pytest.raises(InputError, match="seed is 9223372036854775808"):
        jaxroute.fit([], seed=2**63)
    with pytest.raises(InputError, match="seed is -1"):
        router_kinds.router("plug_in").route(np.zeros((1, 5)), budget=0.01, seed=-1)
