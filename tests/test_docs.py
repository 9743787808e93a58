"""The pages' commands run as written, in order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
    assert "gain on the logger" in " ".join(evaluate.split())
    assert '"model": "large"' in route
    assert python.strip() == "['large']"
    assert "router_new minus router" in again


@pytest.mark.parametrize(
    "page", ["README.md", "experiments/README.md", "docs/five-minutes.md", "docs/when-not-to-use.md"]
)
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not link.startswith("http"):
            assert ((ROOT / page).parent / link).exists(), f"{page} links to {link}"
