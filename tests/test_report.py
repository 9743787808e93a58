"""Reports against hand computations, on results of a small simulated routing problem."""

import ast
import base64
import hashlib
import io
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from jaxroute import report
from jaxroute.cli import output
from jaxroute.report import artefacts, canvas, summary
from jaxroute.types import InputError

MODELS = {  # name: (ability, cost in USD per prompt)
    "gpt-4-1106-preview": (1.55, 8.2e-3),
    "claude-v2": (0.95, 6.1e-3),
    "claude-v1": (1.0, 5.6e-3),
    "gpt-3.5-turbo-1106": (0.85, 7.1e-4),
    "Yi-34B-Chat": (0.75, 4.4e-4),
    "Mixtral-8x7B-Instruct": (0.6, 3.3e-4),
    "llama-2-70b-chat": (0.35, 4.9e-4),
    "WizardLM-13B-V1.2": (0.2, 1.7e-4),
    "mistral-7b-chat": (-0.1, 1.1e-4),
}
NOISE = {  # spread of the error with which a router predicts quality
    "knn": 0.20,
    "plug_in_ridge": 0.17,
    "plug_in_mlp": 0.14,
    "rm_classification": 0.19,
    "rm_softmax": 0.145,
    "rm_softmax_entropic": 0.12,
    "rm_softmax_entropic_full": 0.04,
}
KINDS = {
    **dict.fromkeys(("knn", "plug_in_ridge", "plug_in_mlp", "recommended"), "plug-in"),
    **dict.fromkeys(("best_single", "cheapest", "random"), "no routing"),
    **dict.fromkeys(("oracle", "conditional_oracle", "rm_softmax_entropic_full"), "ceiling"),
}
COST_SCALE = 0.031
WEIGHTS = (0.0, 0.05, 0.1, 0.17, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)


def tidy(frame):
    """The columns of results, and what reports group by; "rm_..." and one letter are learned."""
    kinds = {m: KINDS.get(m, "no routing" if m.startswith("single:") else "learned") for m in frame["method"].unique()}
    return frame[list(report.COLUMNS)].assign(kind=frame["method"].map(kinds))


def simulate(seeds=5, models=MODELS, noise=NOISE, weights=WEIGHTS, prompts=500):
    """Results of routers that see each model's success probability through noise, in the tidy schema."""
    records = []
    ability, price = (np.array([m[i] for m in models.values()]) for i in (0, 1))
    for seed in range(seeds):
        draw = np.random.default_rng(seed)
        difficulty = draw.normal(size=(prompts, 1))
        chance = 1 / (1 + np.exp(-1.6 * (ability - difficulty + 0.5 * draw.normal(size=(prompts, len(models))))))
        quality = (draw.random(chance.shape) < chance).astype(float)
        cost = price * draw.lognormal(0, 0.4, size=(prompts, 1))
        best = int(chance.mean(0).argmax())
        scores = {m: chance + s * draw.normal(size=chance.shape) for m, s in noise.items()}
        one_hot = np.eye(len(models))
        scores |= {f"single:{m}": np.tile(1e6 * one_hot[k], (prompts, 1)) for k, m in enumerate(models)}
        scores |= {"best_single": np.tile(1e6 * one_hot[best], (prompts, 1)), "oracle": quality}
        scores |= {"cheapest": -1e6 * cost, "random": 1e6 * draw.random(chance.shape)}
        for method, score in scores.items():
            points = []
            for weight in weights:
                utility = quality - weight * cost / COST_SCALE
                choice = np.argmax(score - weight * cost / COST_SCALE, 1)
                row = np.arange(prompts)
                numbers = {
                    "utility": utility[row, choice].mean(),
                    "regret": (utility.max(1) - utility[row, choice]).mean(),
                    "quality": quality[row, choice].mean(),
                    "cost": cost[row, choice].mean(),
                    "rci": np.mean(quality[row, choice] < quality.max(1)),
                }
                numbers |= {f"share:{m}": np.mean(choice == k) for k, m in enumerate(models)}
                points.append(numbers)
                records += [(method, weight, seed, name, value) for name, value in numbers.items()]
            whole = {"mean_regret": np.mean([p["regret"] for p in points])}
            whole["peak"] = max(p["quality"] for p in points)
            whole["qnc"] = np.nan if method == "random" else 0.5
            records += [(method, np.nan, seed, name, value) for name, value in whole.items()]
    frame = pd.DataFrame(records, columns=["method", "cost_weight", "seed", "metric", "value"])
    constants = {"dataset": "simulated", "logger": "uniform", "log_size": 2000, "estimator": "doubly_robust"}
    constants |= {"hyperparameters": "{}", "split": "test", "standard_error": np.nan}
    return tidy(frame.assign(**constants))


META = {
    "title": "test: simulated",
    "dataset": "simulated",
    "num_prompts": 500,
    "models": list(MODELS),
    "cost_scale": COST_SCALE,
    "seeds": [0, 1, 2, 3, 4],
    "timing": {"nuisances": "12 s", "sweep": "34 s", "evaluation": "3 s"},
    "config": {"seeds": 5, "methods": list(NOISE), "spec": {"hidden": [128, 128], "steps": 400}},
    "environment": {
        "python": "3.11.9",
        "jax": "0.10.2",
        "device": "cpu",
        "git": "ac28967",
        "packages": {"numpy": "2.4"},
    },
}


@pytest.fixture(scope="module")
def results():
    return simulate()


@pytest.fixture(scope="module")
def drawings(results):
    return report.draw_figures(results, META)


def tiny(values, metric="regret", weights=(0.5,)):
    """One row per method, weight and seed from {method: value per seed}; the same value at every weight."""
    records = [(m, w, s, v) for m, vs in values.items() for w in weights for s, v in enumerate(vs)]
    frame = pd.DataFrame(records, columns=["method", "cost_weight", "seed", "value"])
    filled = dict.fromkeys(("dataset", "logger", "estimator", "hyperparameters", "split"), "x")
    return tidy(frame.assign(metric=metric, log_size=100, standard_error=np.nan, **filled))


# --- numbers -------------------------------------------------------------------------------------------


def test_paired_interval_by_hand():
    frame = tiny({"a": [0.10, 0.20, 0.30], "b": [0.15, 0.21, 0.36]})
    row = report.summarise(frame, "regret", against="b").set_index("method").loc["a"]
    # differences -0.05, -0.01, -0.06: mean -0.04, deviations -0.01, 0.03, -0.02, so
    # sd = sqrt((0.0001 + 0.0009 + 0.0004) / 2), and t at 97.5% with 2 degrees of freedom is 4.3026527
    half = 4.30265272991 * np.sqrt(0.0014 / 2) / np.sqrt(3)
    expected = [-0.04, -0.04 - half, -0.04 + half, 3]
    np.testing.assert_allclose(
        row[["difference", "difference_low", "difference_high", "pairs"]].astype(float), expected
    )
    # a alone: mean 0.2, sd 0.1
    half = 4.30265272991 * 0.1 / np.sqrt(3)
    np.testing.assert_allclose(row[["mean", "low", "high"]].astype(float), [0.2, 0.2 - half, 0.2 + half])


def test_intervals_agree_with_scipy_at_every_weight(results):
    summary = report.summarise(results, "regret", against="plug_in_mlp").set_index(["method", "cost_weight"])
    rows = results[results["metric"] == "regret"]
    for weight in WEIGHTS:
        wide = rows[rows["cost_weight"] == weight].pivot(index="seed", columns="method", values="value")
        test = stats.ttest_rel(wide["rm_softmax"], wide["plug_in_mlp"]).confidence_interval()
        row = summary.loc[("rm_softmax", weight)]
        np.testing.assert_allclose([row["difference_low"], row["difference_high"]], test)


def test_only_common_seeds_are_paired():
    frame = tiny({"a": [1.0, 2.0, 9.0], "b": [0.5, 1.0]})
    row = report.summarise(frame, "regret", against="b").set_index("method").loc["a"]
    assert row["seeds"] == 3
    assert row["pairs"] == 2
    np.testing.assert_allclose(row["difference"], (0.5 + 1.0) / 2)


def test_grid_mean_averages_within_a_seed_first():
    frame = pd.concat([tiny({"a": [1.0, 3.0]}, weights=(0.0,)), tiny({"a": [2.0, 8.0]}, weights=(1.0,))])
    summary = report.summarise(frame, "regret", grid=(0.0, 1.0))
    row = summary[summary["cost_weight"].isna()].iloc[0]
    # seed means 1.5 and 5.5: mean 3.5, sd 4 / sqrt(2), t at 97.5% with 1 degree of freedom 12.7062047
    half = 12.7062047362 * (4 / np.sqrt(2)) / np.sqrt(2)
    np.testing.assert_allclose(row[["mean", "low", "high"]].astype(float), [3.5, 3.5 - half, 3.5 + half])


def test_a_missing_weight_leaves_no_grid_mean():
    frame = pd.concat([tiny({"a": [1.0, 3.0], "b": [1.0, 1.0]}), tiny({"b": [5.0, 5.0]}, weights=(1.0,))])
    summary = report.summarise(frame, "regret", grid=(0.5, 1.0))
    mean = summary[summary["cost_weight"].isna()].set_index("method")["mean"]
    assert np.isnan(mean["a"])
    assert mean["b"] == 3.0


def test_float32_and_float64_cost_weights_are_one():
    frame = tiny({"a": [1.0, 2.0]}, weights=(float(np.float32(0.1)),))
    other = tiny({"b": [1.0, 3.0]}, weights=(0.1,))
    row = report.summarise(pd.concat([frame, other]), "regret", against="b").set_index("method").loc["a"]
    assert row["pairs"] == 2


def test_one_seed_has_a_mean_and_no_interval():
    row = report.summarise(tiny({"a": [0.25]}), "regret", against="a").iloc[0]
    assert row["mean"] == 0.25
    assert row[["low", "high", "difference_low", "difference_high"]].isna().all()


def test_every_interval_is_students():
    values = {"a": [0.1, 0.4, 0.2], "b": [0.3, 0.3, 0.9], "c": [np.nan, 1.0, 2.0], "d": [np.inf, 1.0, 2.0]}
    for _, row in report.summarise(tiny(values), "regret").iterrows():
        expected = report.student_interval(values[row["method"]])
        np.testing.assert_allclose(row[["mean", "low", "high"]].astype(float), expected, rtol=1e-12)


def test_undefined_in_one_seed_is_undefined():
    assert np.isnan(report.student_interval([0.5, np.nan])[0])
    assert report.student_interval([0.5, np.inf])[0] == np.inf


def test_tables_take_the_fixed_grid_and_curves_all(results):
    assert report.table_weights(results, "regret") == report.TABLE_WEIGHTS
    assert report.table_weights(tiny({"a": [1.0]}, weights=(0.3, 0.7)), "regret") == (0.3, 0.7)
    assert len(report.table_weights(tiny({"a": [1.0]}, weights=np.linspace(3, 9, 40)), "regret")) == 7
    assert len(report.summarise(results, "regret").query("method == 'oracle'")) == len(WEIGHTS)


@pytest.mark.parametrize(
    ("router", "plug_in", "phrases"),
    [
        ([0.10, 0.11, 0.12], [0.20, 0.21, 0.22], ["beats the best plug-in (plug_in_mlp) by 10.00 points"]),
        ([0.30, 0.31, 0.33], [0.20, 0.21, 0.22], ["loses to the best plug-in (plug_in_mlp) by 10.33 points"]),
        ([0.10, 0.30, 0.26], [0.20, 0.21, 0.22], ["neither beats nor loses", "1.00 points behind"]),
        ([0.10], [0.20], ["10.00 points ahead", "on one seed; without an interval this supports no claim"]),
    ],
)
def test_headline_says_wins_losses_and_doubt(router, plug_in, phrases):
    frame = tiny({"rm_softmax": router, "plug_in_mlp": plug_in, "plug_in_ridge": [0.4] * len(plug_in)})
    text = report.headline(frame)
    for phrase in phrases:
        assert phrase in text
    assert "No single model was run" in text


def test_a_headline_that_names_the_best_of_a_table_says_that_ceilings_do_not_count():
    rows = {"rm_softmax": [0.2, 0.21], "plug_in_ridge": [0.1, 0.11]}
    assert report.headline(tiny(rows)).startswith("plug_in_ridge (plug-in) has the lowest mean regret in the table: ")
    said = report.headline(tiny(rows | {"oracle": [0.0, 0.0]}))
    assert said.startswith("plug_in_ridge (plug-in) has the lowest mean regret in the table, ceilings aside: 10.50 ±")


def test_headline_intervals_point_the_right_way():
    frame = tiny({"rm_softmax": [0.30, 0.31, 0.33], "best_single": [0.20, 0.21, 0.22]})
    # loses by 0.10, 0.10, 0.11: mean 10.33 points, half width 4.3026527 * 0.57735 / sqrt(3) = 1.434
    assert "loses to the best single model by 10.33 points (95% interval 8.90 to 11.77)" in report.headline(frame)
    better = frame.assign(metric="utility")
    assert "beats the best single model by 10.33 points (95% interval 8.90 to 11.77)" in report.headline(
        better, "utility"
    )


def test_compare_lists_the_weights_of_wins_and_losses():
    wins = tiny({"rm_softmax": [0.1, 0.1], "knn": [0.2, 0.2]}, weights=(0.0,))
    loses = tiny({"rm_softmax": [0.5, 0.5], "knn": [0.2, 0.2]}, weights=(1.0, 2.0))
    row = report.compare(pd.concat([wins, loses])).iloc[0]
    assert (row["against"], row["verdict"]) == ("knn", "worse")
    assert row["better_at"] == (0.0,)
    assert row["worse_at"] == (1.0, 2.0)


def test_full_feedback_and_oracle_are_never_competitors(results):
    known = results[results["method"] == "oracle"].assign(method="conditional_oracle")
    table = report.compare(pd.concat([results, known]))
    assert "conditional_oracle" not in set(table["router"])
    assert not table["router"].str.endswith("_full").any()
    assert set(table["against"]) == {"plug_in_mlp", "best_single"}


def test_bad_frames_are_named():
    frame = tiny({"a": [1.0]})
    with pytest.raises(InputError, match="no column kind: add one"):
        report.headline(frame.drop(columns="kind"))
    with pytest.raises(InputError, match="method 'a' has kind 'router': give each method one of learned, plug-in"):
        report.headline(frame.assign(kind="router"))
    with pytest.raises(InputError, match="method 'a' has kind"):
        report.headline(pd.concat([frame, frame.assign(kind="plug-in", seed=1)]))
    with pytest.raises(InputError, match="column split is missing"):
        report.summarise(frame.drop(columns="split"), "regret")
    with pytest.raises(InputError, match=r"no rows of metric 'regrets'; the metrics present are: regret"):
        report.summarise(frame, "regrets")
    with pytest.raises(InputError, match=r"2 rows for method 'a'.*differ in log_size"):
        report.summarise(pd.concat([frame, frame.assign(log_size=200)]), "regret")
    with pytest.raises(InputError, match="no rows of method 'b'"):
        report.summarise(frame, "regret", against="b")


# --- tables --------------------------------------------------------------------------------------------


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


# --- files ---------------------------------------------------------------------------------------------


def decoded_figures(html):
    return [base64.b64decode(data).decode() for data in re.findall(r"image/svg\+xml;base64,([^\"]+)", html)]


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


def test_names_reach_the_console_without_acting_on_it(results):
    evil = "\x1b[31m[bold]\x07\u202e"
    named = results["method"].str.replace("claude-v1", evil, regex=False)
    buffer = io.StringIO()
    report.print_tables(results.assign(method=named), console=Console(file=buffer, width=200))
    assert r"single:\x1b[31m[bold]\x07\u202e" in buffer.getvalue()
    assert not set(evil) & set(buffer.getvalue()) - set("[31m[bold]")


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


def test_no_jax_and_no_pyplot():
    for source in Path(report.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            assert not any(re.match(r"jax(\.|$)|flax|optax|(.*\.)?pyplot", name) for name in names), source


def test_the_recommended_recipe_is_compared_with_every_other_kind():
    rows = [
        {"method": m, "seed": s, "value": v + s / 100, "cost_weight": 0.5, "metric": "regret"}
        for m, v in {"recommended": 0.10, "plug_in_ridge": 0.20, "best_single": 0.30, "rm_softmax": 0.15}.items()
        for s in range(3)
    ]
    frame = tidy(pd.DataFrame(rows).reindex(columns=summary.COLUMNS, fill_value=""))
    found = summary.compare(frame).set_index(["router", "against"])["difference"]
    assert found["recommended", "plug_in_ridge"] == pytest.approx(-0.1)
    assert found["recommended", "best_single"] == pytest.approx(-0.2)
    assert found["rm_softmax", "plug_in_ridge"] == pytest.approx(-0.05)
    assert found["rm_softmax", "recommended"] == pytest.approx(0.05)
    assert ("recommended", "recommended") not in found.index
    assert "recommended recipe by 5.00 points" in summary.headline(frame)


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


def test_a_result_of_a_command_is_a_page_that_sorts(tmp_path):
    sheet = output.Sheet("models", ["model", "rows"], [["<a>", 3], ["b", None]])
    path = report.write_sheets(tmp_path / "page", "A <title>", ["verdict: ok.", "- log more & longer"], [sheet])
    html = path.read_text("utf-8")
    assert html.index("verdict: ok.") < html.index("<li>log more &amp; longer</li>") < html.index("&lt;a&gt;")
    assert '<td data-value="3.0">3</td>' in html
    assert "<td>unknown</td>" in html
    assert "<title>jaxroute: A &lt;title&gt;</title>" in html


def test_a_character_that_no_font_has_is_an_empty_box_and_a_note(tmp_path, recwarn):
    assert canvas.undrawn(["gpt-4o", "\ue000\ue000x"]) == "\ue000"
    with canvas.styled():
        figure, axes = canvas.new_canvas(2)
        axes.set_title("model \ue000")
        canvas.settle(figure)
    drawing = report.Drawing("boxes", "title", "caption", "alt", figure)
    report.write_figures(tmp_path, [drawing])
    assert [str(one.message) for one in recwarn if "Glyph" in str(one.message)] == []
    assert artefacts._boxes(["a"]) == []
    assert "\ue000: no font here has it" in artefacts._boxes(["\ue000"])[0]
