"""Tables of reports, on the console and in Markdown, and the scorecard."""

import io

import pytest
from report_results import simulate
from rich.console import Console

from jaxroute import report
from jaxroute.estimators import evidence
from jaxroute.report.evidence import evidence_tables


@pytest.fixture(scope="module")
def results():
    return simulate()


@pytest.mark.parametrize("seeds", [1, 5])
def test_console_tables_fit_a_pipe(results, capsys, seeds):
    report.print_tables(results[results["seed"] < seeds])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    assert "…" not in text
    for part in ("rm_softmax_entropic_full", "Against plug_in_mlp", "Against best_single", "at cost weight"):
        assert part in text
    assert ("One seed: no interval" in " ".join(text.split())) == (seeds == 1)


def test_console_folds_long_names_and_keeps_numbers(results, capsys):
    long = "single:" + "very-long-model-name-" * 4
    report.print_tables(results.replace({"method": {"single:claude-v1": long}}))
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("±") > 7 * results["method"].nunique() - 1


def test_markdown_table_is_well_formed_and_holds_the_numbers(results):
    odd = results.replace({"method": {"single:claude-v1": "single:a|b"}})
    text = report.markdown_table(odd)
    blocks = [b.splitlines() for b in text.split("\n\n") if b.startswith("|")]
    assert len(blocks) == 2
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block}) == 1
    row = report.summarise(results, "regret").set_index(["method", "cost_weight"]).loc[("rm_softmax", 0.5)]
    assert f"{100 * row['mean']:.2f}±{100 * (row['high'] - row['mean']):.2f}" in text
    assert "`single:a\\|b`" in text


def test_names_reach_the_console_without_acting_on_it(results):
    evil = "\x1b[31m[bold]\x07\u202e"
    named = results["method"].str.replace("claude-v1", evil, regex=False)
    buffer = io.StringIO()
    report.print_tables(results.assign(method=named), console=Console(file=buffer, width=200))
    assert r"single:\x1b[31m[bold]\x07\u202e" in buffer.getvalue()
    assert not set(evil) & set(buffer.getvalue()) - set("[31m[bold]")


def test_the_scorecard_holds_every_number_a_routing_paper_reports(results):
    header, lines, note = report.scorecard(results)
    by_name = {line[0]: dict(zip(header, line, strict=True)) for line in lines}
    mine = results[(results["method"] == "rm_softmax") & (results["metric"] == "regret")]
    grid = report.table_weights(results, "regret")
    mine = mine[mine["cost_weight"].round(6).isin([round(w, 6) for w in grid])]
    mean = 100 * mine.groupby("seed")["value"].mean().mean()
    assert float(by_name["rm_softmax"]["mean regret"].split("±")[0]) == pytest.approx(mean, abs=0.006)
    opponents = [title for title in header if title.startswith("to ")]
    assert len(opponents) == 2
    assert by_name["best_single"]["to best_single"] == "-"
    assert "[" in by_name["rm_softmax"]["to best_single"]
    assert "%" in by_name["rm_softmax"][header[-1]]
    markdown = report.scorecard_markdown(results)
    assert markdown.count("\n|") >= len(lines)
    assert note in markdown


def test_the_scorecard_prints_curve_metrics_and_collapse(results):
    with Console(width=110, record=True, file=io.StringIO()) as console:
        report.print_scorecard(results, console=console)
    text = console.export_text()
    assert "rm_softmax" in text
    assert "nAUC" in text or "RCI" in text


def test_a_page_names_one_gain_over_the_logging_policy():
    """The paired one in both of its tables, as commands print it: the difference of two values is another estimate."""
    found = evidence.example()
    gains = found.gains.assign(gain=[0.112, 0.22, 0.4, 0.5])
    assert gains["against"].tolist() == ["logging policy"] * 2 + ["best single"] * 2
    values = found.values.assign(advantage=[0.107, float("nan")])
    _, of_values, of_gains, _ = evidence_tables(found._replace(values=values, gains=gains))
    place = [head for head, _ in of_values["header"]].index("gain over logger")
    assert [line[place].text for line in of_values["lines"]] == ["+11.2", "-"]
    assert [line[2].text for line in of_gains["lines"]][:1] == ["+11.2"]
    alone = evidence_tables(found._replace(values=values, gains=gains[:0]))[1]
    assert [line[place].text for line in alone["lines"]] == ["+10.7", "-"]
