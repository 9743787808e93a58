"""The pages' commands run as written, in order, in an empty folder."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import ports
import pytest

import jaxroute
from jaxroute.data.logs.entries import CARRIED  # attributes of spans, whose names look like ours

ROOT = Path(__file__).parents[1]
WRITTEN = [page for folder in ("docs", "experiments/results") for page in (ROOT / folder).glob("*.md")]
PAGES = ["README.md", "experiments/README.md", *sorted(str(page.relative_to(ROOT)) for page in WRITTEN)]


@pytest.mark.slow
def test_from_your_logs_to_a_router_in_five_minutes(tmp_path):
    page = (ROOT / "docs" / "five-minutes.md").read_text()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    blocks = re.findall(r"```(bash|python)\n(.*?)```", page, re.S)
    assert [language for language, _ in blocks].count("bash") == 6
    printed = []
    for language, code in blocks:
        command = ["bash", "-euc", code] if language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        printed.append(done.stdout)
    doctor, fit, evaluate, route, python, again = printed[1:]
    assert "verdict: ok" in doctor
    assert "saved: router" in fit
    assert "gain over logger" in " ".join(evaluate.split())
    assert '"model": "large"' in route
    assert python.strip() == "['large']"
    assert "router_new minus router" in again


def program_for_many_devices():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "many-devices.md").read_text(), re.S)
    return code


@pytest.mark.slow
def test_own_configs_losses_methods_and_tables(tmp_path):
    """The files are written under the names that their first lines say, and the commands run in order."""
    page = (ROOT / "docs" / "config.md").read_text()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    printed = []
    for language, code in re.findall(r"```(bash|python)\n(.*?)```", page, re.S):
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", code)[1]
            (tmp_path / name).write_text(code)
            continue
        done = subprocess.run(["bash", "-euc", code], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        printed.append(done.stdout)
    config, loss, method, table = printed
    assert "rm_softmax" in config
    assert loss.strip() == "value_lost"
    assert method.strip() == "rm_softmax_weighted"
    assert "report: results" in table
    assert jaxroute.Router.load(tmp_path / "my_router").models == ("a", "b")


@pytest.mark.slow
def test_the_program_for_many_devices_on_one_device():
    env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    words = [sys.executable, "-c", program_for_many_devices()]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "{'sweep': 1, 'data': 1}" in done.stdout
    assert done.stdout.count(".") == 9


@pytest.mark.slow
def test_the_program_for_many_devices_on_one_host_and_on_two(tmp_path):
    """Two hosts: two processes that Slurm would have started so, one of them on each node.

    What the program prints goes to a file: on two hosts Gloo's threads write to standard output, in the midst of lines.
    """
    apart = "import runpy, sys; out, *sys.argv = sys.argv[1:]; sys.stdout = open(out, 'w'); runpy.run_path('train.py')"
    (tmp_path / "train.py").write_text(program_for_many_devices())
    port = ports.free()
    slurm = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
    values = {}
    for hosts in (1, 2):
        running = []
        for host in range(hosts):
            env = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(4 // hosts)}
            if hosts > 1:
                env |= {**slurm, "SLURM_PROCID": str(host), "JAX_COORDINATOR_PORT": str(port)}
            said = str(tmp_path / f"said-{hosts}-{host}")
            command = [sys.executable, "-c", apart, said, "train.py", *(["--hosts"] if hosts > 1 else [])]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            running.append(subprocess.Popen(command, cwd=tmp_path, env=env, **pipes))
        try:
            output = [process.communicate(timeout=180) for process in running]
        finally:
            for process in running:
                process.kill()
        assert all(process.returncode == 0 for process in running), output
        values[hosts], *others = ((tmp_path / f"said-{hosts}-{host}").read_text() for host in range(hosts))
        assert not any(others)
    assert "{'sweep': 2, 'data': 2}" in values[1]
    assert values[1].count(".") == 9
    assert values[1] == values[2]


def exists(name: str) -> bool:
    """Whether a dotted name can be imported: the longest prefix that is a module, then attributes of it."""
    module, *attributes = name.split(".")
    found = importlib.import_module(module)
    for attribute in attributes:
        module += f".{attribute}"
        if not hasattr(found, attribute):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                return not str(error.name).startswith("jaxroute")  # an optional dependency is missing, not the name
        found = getattr(found, attribute)
    return True


@pytest.mark.parametrize("page", PAGES)
def test_dotted_names_exist(page):
    names = set(re.findall(r"\bjaxroute(?:\.[A-Za-z_]\w*)+", (ROOT / page).read_text())) - {"jaxroute.toml", *CARRIED}
    assert not [name for name in sorted(names) if not exists(name)]


def test_a_dotted_name_that_does_not_exist_is_found():
    assert exists("jaxroute.losses.softmax_regret")
    assert not exists("jaxroute.losses.soft_regret")
    assert not exists("jaxroute.loss")


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for link, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        if link.startswith("http"):
            continue
        target = (ROOT / page).parent / link if link else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in anchors, f"{page} links to {link}#{heading}"


def test_the_page_for_pypi_has_no_link_that_leads_nowhere_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    links = re.findall(r"\]\(([^)]*)\)", (ROOT / project["readme"]).read_text())
    assert [link for link in links if not link.startswith("https://")] == []
    tools = re.compile("pytest|ruff|mypy|hypothesis|jupy")
    assert not [one for one in project["dependencies"] if tools.match(one)]


def test_sections_that_help_texts_name_exist():
    sources = [file for folder in ("jaxroute", "experiments") for file in (ROOT / folder).rglob("*.py")]
    named = {name for file in sources for name in re.findall(r"see README, (\w+)", file.read_text())}
    assert "Data" in named
    assert named <= set(re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(), re.M))


def test_tests_that_pages_and_commands_name_exist():
    texts = [(ROOT / name).read_text() for name in (*PAGES, "Makefile", ".ci/run", ".ci/versions")]
    named = {name for text in texts for name in re.findall(r"\btest_\w+\*?\.py", text)}
    for text in texts:
        for names, name in re.findall(r"(?:foreach t,|for name in )([a-z_0-9 ]+)[,;].*?tests/(test_\S+\.py)", text):
            named |= {re.sub(r"\$\(?\w+\)?", one, name) for one in names.split()}
    assert {"test_gateway*.py", "test_log_cases.py", "test_arguments.py", "test_drift.py", "test_cli.py"} <= named
    assert not [name for name in sorted(named) if not list((ROOT / "tests").glob(name))]


def test_tests_that_the_pages_promise_exist():
    """In the tables of promises; a name may be shortened by three dots at either end."""
    files = sorted((ROOT / "tests").glob("test_*.py"))
    tests = {name for file in files for name in re.findall(r"def test_(\w+)", file.read_text())}
    pages = [(ROOT / "docs" / name).read_text() for name in ("gateway.md", "reliability.md")]
    lines = [line for page in pages for line in page.splitlines() if line.startswith("|")]
    promised = re.findall(r"`(?:[^`]*::test_)?((?:\.\.\.)?[a-z]\w*_\w*_\w+(?:\.\.\.)?)`", "\n".join(lines))
    assert len(promised) > 50

    def known(name: str) -> bool:
        pattern = re.compile(re.escape(name).replace(r"\.\.\.", r"\w+"))
        return any(pattern.fullmatch(test) for test in tests)

    assert [name for name in promised if not known(name)] == []


def test_the_page_of_the_loop_has_the_numbers_of_its_results():
    """Regret and excess over the real tables, a line a policy, under the policies' names of either page."""
    names = {
        "shadow sample of the dollars of uniform 0.1": "shadow sample",
        "`thompson`, width 0.2": "thompson",
        "the same, width 0.7 to the power of a model's age in rounds": "thompson, fading",
        "`contenders`, loss limit 0.001": "contenders, limited",
        "`for_evaluation`, loss limit 0.0005": "for evaluation, limited",
    }

    def table(page: str, heading: str) -> list[list[str]]:
        lines = re.findall(r"(?:^\|.*\n)+", (ROOT / page).read_text().split(heading, 1)[1], re.M)[0].splitlines()
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]

    measured = [
        {row[0]: row[-1] for row in table("experiments/results/loop.md", f"## Cumulative {what}, nothing changes")}
        for what in ("regret", "excess")
    ]
    shown = table("docs/loop.md", "## What ten rounds of it bring")
    assert len(shown) == 12
    for policy, regret, excess, *_ in shown:
        name = names.get(policy, policy)
        assert (regret, excess) == (measured[0][name], measured[1][name]), policy
