"""Reports as pages: self-contained, well-formed, with every name escaped, and written whole or not at all."""

import base64
import hashlib
import re
from html import escape
from html.parser import HTMLParser

import pandas as pd
import pytest
from report_results import META, simulate

from jaxroute import report
from jaxroute.cli.sheets import Sheet
from jaxroute.types import InputError


@pytest.fixture(scope="module")
def results():
    return simulate()


@pytest.fixture(scope="module")
def drawings(results):
    return report.draw_figures(results, META)


def decoded_figures(html):
    return [base64.b64decode(data).decode() for data in re.findall(r"image/svg\+xml;base64,([^\"]+)", html)]


def test_html_is_self_contained(results, drawings, tmp_path):
    path = report.write_html(tmp_path, results, META, drawings)
    html = path.read_text("utf-8")
    figures = decoded_figures(html)
    assert len(figures) == 3
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]+", "", html))
    for svg in figures:
        assert not re.search(r"href=\"(?!#)", svg)
    assert report.headline(results) in html
    for drawing in drawings:
        assert f'alt="{drawing.alt}"'.replace("'", "&#39;") in html
    for part in ("viewport", "prefers-color-scheme: dark", "16.1", "no hidden confounder", "0.10.2", "34 s"):
        assert part in html
    assert list(tmp_path.iterdir()) == [path]


def test_html_tags_are_balanced(results, tmp_path):
    stack = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img", "br", "link"):
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Balance().feed(report.write_html(tmp_path, results, META).read_text("utf-8"))
    assert stack == []


def test_names_are_escaped_everywhere(results, tmp_path):
    evil = "<b>x</b><script>alert(1)</script>"
    odd = results.assign(
        method=results["method"].str.replace("claude-v1", evil, regex=False),
        metric=results["metric"].str.replace("claude-v1", evil, regex=False),
    )
    meta = META | {"models": [evil], "title": evil, "dataset": evil, "config": {evil: evil}, "notes": [evil]}
    meta["environment"] = {evil: evil}
    html = report.write_html(tmp_path, odd, meta, report.draw_figures(odd, meta)).read_text("utf-8")
    assert "<b>" not in html
    assert html.count("<script>") == 1
    assert f"single:{escape(evil)}" in html
    # A page runs the script whose hash it names, and no other: not a handler in an attribute either.
    script = re.search(r"<script>(.*)</script>", html, re.DOTALL)[1]
    named = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert re.search(r"script-src ([^;\"]*)", html)[1] == f"'sha256-{named}'"


def test_html_of_one_seed_says_so(results, tmp_path):
    one = results[results["seed"] == 3]
    html = report.write_html(tmp_path, one, META, report.draw_figures(one, META)).read_text("utf-8")
    assert "One seed: no interval can be given." in html
    assert "no claim" in html
    assert ">nan" not in html


def test_html_has_a_section_per_cell(results, tmp_path):
    both = pd.concat([results, simulate(seeds=2, prompts=200).assign(log_size=5000)])
    drawings = report.draw_figures(both, META)
    assert {d.name for d in drawings} >= {"regret-log-size-2000", "regret-log-size-5000"}
    html = report.write_html(tmp_path, both, META, drawings).read_text("utf-8")
    assert "<h2>Results: log size 2000</h2>" in html
    assert "<h2>Results: log size 5000</h2>" in html


def test_html_of_people_s_logs_reports_utility_and_needs_no_scale(results, tmp_path):
    logs = results[results["metric"] == "utility"]
    html = report.write_html(tmp_path, logs, {}).read_text("utf-8")
    assert "has the highest mean utility" in html
    assert "cost scale of this run was not recorded" in html
    assert "oracle, the best answer after the fact" not in html


def test_results_come_back(results, tmp_path):
    path = report.write_results(tmp_path / "new" / "folder", results)
    pd.testing.assert_frame_equal(pd.read_parquet(path), results)


def test_a_failed_write_leaves_the_old_file(results, tmp_path, monkeypatch):
    path = report.write_results(tmp_path, results[:10])
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match=r"cannot be written \(disk full\)"):
        report.write_results(tmp_path, results)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_of_a_command_is_a_page_that_sorts(tmp_path):
    sheet = Sheet("models", ["model", "rows"], [["<a>", 3], ["b", None]])
    path = report.write_sheets(tmp_path / "page", "A <title>", ["verdict: ok.", "- log more & longer"], [sheet])
    html = path.read_text("utf-8")
    assert html.index("verdict: ok.") < html.index("<li>log more &amp; longer</li>") < html.index("&lt;a&gt;")
    assert '<td data-value="3.0">3</td>' in html
    assert "<td>unknown</td>" in html
    assert "<title>jaxroute: A &lt;title&gt;</title>" in html
