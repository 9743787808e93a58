"""Figures of reports: written in three formats to the same bytes, titled by what the numbers say, of any names."""

from xml.etree import ElementTree

import pytest
from report_results import META, NOISE, simulate

from jaxroute import report
from jaxroute.report import canvas, sections
from jaxroute.types import InputError


@pytest.fixture(scope="module")
def results():
    return simulate()


@pytest.fixture(scope="module")
def drawings(results):
    return report.draw_figures(results, META)


def test_figures_are_written_and_well_formed(drawings, tmp_path):
    assert [d.name for d in drawings] == ["quality_cost", "regret", "shares"]
    paths = report.write_figures(tmp_path, drawings)
    assert {p.name for p in paths} == {f"{d.name}.{e}" for d in drawings for e in ("svg", "png", "pdf")}
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {p.name for p in paths}
    for path in paths:
        if path.suffix == ".svg":
            ElementTree.parse(path)
            assert "prefers-color-scheme: dark" in path.read_text()
        elif path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF-")
        else:
            data = path.read_bytes()
            assert data[:8] == b"\x89PNG\r\n\x1a\n"
            assert int.from_bytes(data[16:20], "big") == 1800


def test_the_same_results_give_the_same_bytes(results, drawings, tmp_path):
    first, again = (
        report.write_figures(tmp_path / name, [drawing])[0].read_bytes()
        for name, drawing in (("a", drawings[2]), ("b", report.draw_figures(results, META)[2]))
    )
    assert first == again


def test_titles_say_what_the_numbers_say(results, drawings):
    quality_cost, regret, shares = drawings
    best = report.summarise(results, "quality").query("method == 'best_single'")["mean"].iloc[0]
    price = report.summarise(results, "cost").query("method == 'best_single'")["mean"].iloc[0]
    points = report.summarise(results, "quality").merge(report.summarise(results, "cost"), on=["method", "cost_weight"])
    routers = points[points["method"].isin([m for m in NOISE if m != "knn" and not m.endswith("_full")])]
    cheapest = routers[routers["mean_x"] >= best].sort_values("mean_y").iloc[0]
    assert f"{cheapest['method']} reaches" in quality_cost.title
    assert f"{100 * cheapest['mean_y'] / price:.0f}%" in quality_cost.title
    assert "lowest mean regret" in regret.title.lower()
    assert "rm_softmax_entropic moves from gpt-4-1106-preview" in shares.title


def test_figures_of_few_methods(results):
    few = results[results["method"].isin(["rm_softmax", "oracle"]) & ~results["metric"].str.startswith("share:")]
    assert [d.name for d in report.draw_figures(few)] == ["quality_cost", "regret"]
    assert "every cost weight" in report.draw_regret(few).title
    with pytest.raises(InputError, match="method 'rm_softmax' has no share:<model> rows"):
        report.draw_shares(few, "rm_softmax")
    oracle = few[few["method"] == "oracle"]
    assert [d.title for d in report.draw_figures(oracle)][1] == "Mean regret against the cost weight"


def test_free_models_and_odd_names_can_be_drawn(results):
    free = results.replace({"method": {"single:claude-v1": "single:$a$_^{<b>"}})
    free.loc[(free["method"] == "cheapest") & (free["metric"] == "cost"), "value"] = 0.0
    drawing = report.draw_quality_cost(free)
    assert drawing.figure.axes[0].get_xscale() == "symlog"
    assert "$a$_^{<b>" in [text.get_text() for text in drawing.figure.axes[0].texts]


def test_a_character_that_no_font_has_is_an_empty_box_and_a_note(tmp_path, recwarn):
    assert canvas.undrawn(["gpt-4o", "\ue000\ue000x"]) == "\ue000"
    with canvas.styled():
        figure, axes = canvas.new_canvas(2)
        axes.set_title("model \ue000")
        canvas.settle(figure)
    drawing = report.Drawing("boxes", "title", "caption", "alt", figure)
    report.write_figures(tmp_path, [drawing])
    assert [str(one.message) for one in recwarn if "Glyph" in str(one.message)] == []
    assert sections.boxes(["a"]) == []
    assert "\ue000: no font here has it" in sections.boxes(["\ue000"])[0]
