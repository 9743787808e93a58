"""What commands print for machines: objects that the schema describes, exit codes, tables, completion, progress."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import router_kinds
from commands import run

import jaxroute as jr
from jaxroute import cli
from jaxroute.cli import output, route
from jaxroute.cli.sheets import show, write_table
from jaxroute.learn.methods import METHODS
from jaxroute.serving.decisions import Decision
from jaxroute.serving.router import Router
from jaxroute.system import stopping

NAMES = ("large", "medium", "small", "retired")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two random routers of the demo log's models, a log of it, one of certain choices, one of few rows, prompts."""
    folder = tmp_path_factory.mktemp("output")
    for name in ("plug_in", "per_weight"):
        router_kinds.router(name, features=256, models=NAMES, encoder="hashed").save(folder / name)
    with pytest.raises(SystemExit):
        cli.main(["demo-log", str(folder / "log.jsonl"), "--rows", "1200"])
    log = pd.read_json(folder / "log.jsonl", lines=True)
    log.assign(propensity=1.0).to_json(folder / "certain.jsonl", orient="records", lines=True)
    log.head(20).to_json(folder / "few.jsonl", orient="records", lines=True)
    usage = {name: {"input_tokens": 100.0, "output_tokens": 10.0, "cost": 0.001} for name in NAMES}
    with_tokens = {"features": 256, "models": NAMES, "encoder": "hashed", "summary": {"usage": usage}}
    router_kinds.router("plug_in", **with_tokens).save(folder / "priced")
    (folder / "prices.csv").write_text("model,input,output\nlarge,2,8\nsmall,1,2\n")
    answers = [{"prompt": p, "model": m, "quality": 0.5, "cost": 1} for p in log.prompt.head(9) for m in NAMES[:2]]
    pd.DataFrame(answers).to_csv(folder / "answers.csv", index=False)
    log[["prompt"]].head(5).to_json(folder / "prompts.jsonl", orient="records", lines=True)
    return folder


COMMANDS = {
    "demo-log": ["demo-log", "made.jsonl", "--rows", "20"],
    "doctor": ["doctor", "log.jsonl", "--report", "doctored"],
    "methods": ["methods"],
    "prices": ["prices", "gpt-4o"],
    "init": ["init", "log.jsonl", "--out", "described.toml"],
    "shadow": ["shadow", "log.jsonl", "--count", "60", "--report", "planned"],
    "evaluate": ["evaluate", "plug_in", "log.jsonl"],
    "compare": ["compare", "plug_in", "per_weight", "log.jsonl"],
    "rank": ["rank", "log.jsonl", "plug_in", "per_weight", "plug_in"],
    "fit": ["fit", "log.jsonl", "--out", "fitted"],
    "table": ["table", "answers.csv", "--out", "table"],
    "reprice": ["reprice", "priced", "--prices", "prices.csv", "--out", "repriced"],
    "sample-size": ["sample-size", "--gain", "0.1"],
    "route": ["route", "plug_in", "--cost-weight", "1", "--input", "prompts.jsonl"],
    "export": ["export", "plug_in", "--out", "exported"],
    "page": ["page", "plug_in", "--out", "page.html"],
    "verify": ["verify", "plug_in"],
}


SLOW = ("doctor", "fit", "shadow", "evaluate", "compare", "rank")


@pytest.mark.parametrize("command", [pytest.param(c, marks=[pytest.mark.slow] * (c in SLOW)) for c in COMMANDS])
def test_the_schema_describes_the_object(capsys, monkeypatch, folder, command):
    jsonschema = pytest.importorskip("jsonschema")
    monkeypatch.chdir(folder)
    code, out, err = run(capsys, *COMMANDS[command], "--json", "--quiet")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["command"], found["jaxroute"]) == (command, jr.__version__)
    jsonschema.validate(found, output.schema(command))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "command": 3}, output.schema(command))


@pytest.mark.slow
def test_machines_get_the_fields_of_the_records(capsys, monkeypatch, folder):
    monkeypatch.chdir(folder)
    first, second, log = (Router.load("plug_in"), Router.load("per_weight"), jr.read_log("log.jsonl"))
    for arguments, record in (
        (COMMANDS["evaluate"], jr.evaluate(first, log)),
        (COMMANDS["compare"], jr.compare(first, second, log)),
    ):
        _, out, _ = run(capsys, *arguments, "--json", "--write-table", "rows.csv")
        rows, frame = json.loads(out)["by_cost_weight"], record.to_frame()
        assert list(rows[0]) == list(frame) == list(pd.read_csv("rows.csv"))
        value = "value" if "value" in frame else "difference"
        assert [row[value] for row in rows] == frame[value].tolist() == pytest.approx(pd.read_csv("rows.csv")[value])
    run(capsys, *COMMANDS["compare"], "--write-table", "rows.tex")
    assert (folder / "rows.tex").read_text().startswith("\\begin{tabular}")
    code, _, err = run(capsys, *COMMANDS["compare"], "--write-table", "rows.xls")
    assert (code, err) == (2, "error: --write-table rows.xls: give a file that ends in .csv or .tex\n")


@pytest.mark.slow
@pytest.mark.parametrize("log", ["certain.jsonl", "few.jsonl"])
def test_a_log_that_cannot_support_it_gives_code_three(capsys, monkeypatch, folder, log):
    monkeypatch.chdir(folder)
    asked = [["doctor", log]]
    if log == "certain.jsonl":
        asked += [["evaluate", "plug_in", log], ["compare", "plug_in", "per_weight", log]]
    else:
        asked += [["fit", log, "--out", "never"]]
    for arguments in asked:
        assert run(capsys, *arguments)[0] == 3, arguments
    assert run(capsys, "doctor", "nowhere.jsonl")[0] == 2
    assert not (folder / "never").exists()


@pytest.mark.slow
def test_the_conclusion_comes_first_and_tables_last(capsys, monkeypatch, folder):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "90")
    _, out, _ = run(capsys, *COMMANDS["evaluate"])
    found = jr.evaluate("plug_in", "log.jsonl")
    said = found.conclusion()
    lines = out.splitlines()
    assert lines[: len(said)] == said
    assert lines[-1].startswith("└")
    assert 90 >= max(len(line) for line in lines if line.startswith(("┏", "┃", "│"))) > 60
    _, quiet, _ = run(capsys, *COMMANDS["evaluate"], "--quiet")
    assert quiet.splitlines() == said[: len(found.left_out) + 1]


def test_an_interval_is_two_columns_of_a_written_table(tmp_path):
    rows = [{"weight": 0.5, "interval": [0.25, 0.75], "verdict": "ok", "reasons": ["few", "rows"]}]
    rows.append({"weight": 1.0, "interval": None, "verdict": "refuse", "reasons": []})
    write_table(tmp_path / "rows.csv", rows)
    frame = pd.read_csv(tmp_path / "rows.csv")
    assert list(frame) == ["weight", "interval_low", "interval_high", "verdict", "reasons"]
    assert frame["interval_high"][0] == 0.75
    assert frame[["interval_low", "interval_high"]].iloc[1].isna().all()
    write_table(tmp_path / "rows.tex", rows)
    assert "0.5 & 0.25 & 0.75 & ok" in (tmp_path / "rows.tex").read_text()


def test_no_codes_of_a_terminal_where_no_color_asks_for_none(monkeypatch):
    theirs, ours = os.openpty()
    monkeypatch.setattr(sys, "stdout", os.fdopen(ours, "w"))
    for asked, codes in (("1", False), ("", True)):
        monkeypatch.setenv("NO_COLOR", asked)
        monkeypatch.setenv("TERM", "xterm-256color")
        show("models", ["model", "rows"], [["small", 3]])
        sys.stdout.flush()
        assert (b"\x1b" in os.read(theirs, 4096)) == codes
    os.close(theirs)


def test_every_command_has_a_schema_and_the_options():
    for command in cli.COMMANDS:
        assert output.schema(command)["required"][:2] == ["command", "jaxroute"]
        names = {name for one in cli.imported(command).params for name in one.opts}
        assert {"--json", "--quiet", "--write-table"} <= names, command


def test_completion_knows_commands():
    env = {**os.environ, "_JAXROUTE_COMPLETE": "complete_bash", "COMP_WORDS": "jaxroute doc", "COMP_CWORD": "1"}
    program = "from jaxroute.cli import app; app(prog_name='jaxroute')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    assert done.stdout.split() == ["doctor"], done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("demo-log", "x.jsonl", "--rows", "50", "--rows", "60"), "--rows is given twice; it takes one value"),
        (("doctor", "x.jsonl", "--drop-bad", "--strict"), "--drop-bad/--strict is given twice; it takes one value"),
        (("route", "x", "--without", "a", "--without", "b", "--budget", "1", "--budget", "1"), "--budget is given"),
        (("doctor", "x.jsonl", "--column", "quality=b", "--column", "quality=c"), "quality is both b and c"),
    ],
)  # fmt: skip
def test_what_is_given_twice_is_never_lost_without_a_word(capsys, monkeypatch, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jsonl").write_text('{"prompt": "a", "model": "b", "quality": 1, "cost": 1}\n')
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert says in err


def test_every_table_that_is_asked_for_is_written(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, _ = run(capsys, "prices", "gpt-4o", "--json", "--json", "--write-table", "a.csv", "--write-table", "a.tex")
    assert code == 0
    assert pd.read_csv("a.csv").model.tolist() == ["gpt-4o"]
    assert (tmp_path / "a.tex").read_text().startswith("\\begin{tabular}")
    code, _, err = run(capsys, "prices", "gpt-4o", "--write-table", "b.csv", "--write-table", "b.xls")
    assert (code, err) == (2, "error: --write-table b.xls: give a file that ends in .csv or .tex\n")
    assert not (tmp_path / "b.csv").exists()


def test_a_prediction_beyond_what_a_quality_can_be_is_not_said():
    scores = np.array([[1.1, 0.2], [0.2, 0.3]])
    beyond = Decision(["a", "b"], np.array([0, 1]), scores, np.array([[1.03, 0.2], [0.2, -0.01]]),
                      np.array([[0.002, 0.1], [0.1, -0.001]]), np.zeros(2))  # fmt: skip
    router = SimpleNamespace(models=("a", "b"), never_logged=(), per_utility=1.0)
    lines = [line["reason"] for line in route._records(router, beyond)]
    assert lines[0].startswith("predicted quality 1.000 at cost 0.002, ")
    assert lines[1].startswith("predicted quality 0.000 at cost 0, ")


def test_the_written_table_of_methods_has_a_number_in_each_column(capsys, tmp_path):
    run(capsys, "methods", "--write-table", tmp_path / "methods.csv", "--quiet")
    found = pd.read_csv(tmp_path / "methods.csv").set_index("name")
    behind = METHODS["plug_in_stack"].behind
    for data in behind._fields:
        names = [f"points_over_recommended_{data}{end}" for end in ("", "_low", "_high")]
        assert found.loc["plug_in_stack", names].astype(float).tolist() == list(getattr(behind, data))
        assert found.loc["recommended", names].isna().all()


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
def test_closed_streams_are_no_traceback(folder, tmp_path):
    """As a daemon or cron may start a command."""

    def closed(command, streams):
        line = f'"$0" -m jaxroute {command} {streams}'
        return subprocess.run(["bash", "-c", line, sys.executable], capture_output=True, text=True, check=False)

    table = tmp_path / "table.csv"
    done = closed(f"sample-size --gain 0.1 --write-table {table}", ">&- 2>&-")
    assert (done.returncode, table.read_text()[:4]) == (0, "gain")
    done = closed(f"route {folder / 'plug_in'} --cost-weight 0", "<&-")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: the standard input is closed; give a file of prompts, or write prompts to it"
    ]


def buffered():
    """The environment of a command whose output is kept back until there is much of it, or until it ends."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.mark.skipif(os.name != "posix", reason="needs pipes as POSIX has them")
@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["route", "plug_in", "--cost-weight", "1", "--input", "many.jsonl"], 1),  # in the middle
        (["route", "plug_in", "--cost-weight", "1", "--input", "prompts.jsonl"], 0),  # at the end
        (["sample-size", "--gain", "0.1"], 0),  # a table
        (["sample-size", "--gain", "0.1", "--json"], 0),
        (["--help"], 0),
        (["--version"], 0),
        (["sample-size", "--gain", "7"], 0),  # an error
        (["sample-size", "--no-such-option"], 0),
    ],
)
def test_output_that_nobody_reads_ends_every_command_alike(folder, arguments, lines):
    """As with ``| head -1``: exit code 141, as shells have it, and not a word."""
    with open(folder / "many.jsonl", "w") as many:
        many.writelines(json.dumps({"prompt": f"What is {i}?"}) + "\n" for i in range(3000))
    error = arguments[-1] in ("7", "--no-such-option")
    reader, writer = os.pipe()
    with open(reader) as read:
        if not lines:
            read.close()
        streams = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE) | {"stderr" if error else "stdout": writer}
        command = [sys.executable, "-m", "jaxroute", *arguments]
        process = subprocess.Popen(command, text=True, cwd=folder, env=buffered(), **streams)
        os.close(writer)
        for _ in range(lines):
            assert read.readline()
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out or "", err or "") == (stopping.CLOSED, "", "")


@pytest.mark.parametrize("module", ["experiments.run", "experiments.bench.fit", "jaxroute.gateway.rollout"])
def test_help_of_other_modules_that_nobody_reads_ends_alike(module):
    """Their parser is argparse's, which does not look whether its help has arrived."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", module, "--help"]
    process = subprocess.Popen(command, text=True, stdout=writer, stderr=subprocess.PIPE, env=buffered())
    os.close(writer)
    assert (process.communicate(timeout=300)[1], process.returncode) == ("", stopping.CLOSED)


def test_a_service_without_its_extra_says_what_to_install():
    """Not a traceback."""
    code = (
        "import runpy, sys; sys.modules['starlette'] = None; sys.argv = ['service', '--help'];"
        "runpy.run_module('jaxroute.gateway.service', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: this needs starlette; ")
    assert "extra sidecar" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_what_is_said_to_a_full_device_is_one_line():
    """What is printed is written when the command ends, and what the system says then counts too."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "jaxroute", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=buffered())
    assert (done.returncode, done.stderr) == (2, "error: the output: No space left on device\n")
