"""``jaxroute page``: one file that decides as ``jaxroute route`` does; in headless Chromium, where there is one."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import chromium
import numpy as np
import pytest
import router_kinds
from commands import run

from jaxroute.data import logs as people
from jaxroute.policies import budgets
from jaxroute.serving import portable, vectors
from jaxroute.serving.exports import page as pages
from jaxroute.types import InputError

CURVE = budgets.Curve(
    router_kinds.WEIGHTS,
    np.array([0.016, 0.01, 0.001]),
    np.array([0.8, 0.7, 0.5]),
    np.full(3, 0.0004),
    np.full(3, 0.02),
    router_kinds.WEIGHTS,
)
WORDS = "Wieviel ist 2 + 2, and why?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A router that predicts and one of scores alone, a log of three of its models, prompts."""
    folder = tmp_path_factory.mktemp("page")
    for name, encoder in (("plug_in", "hashed"), ("per_weight", "hashed-2"), ("affine", "hashed-2")):
        made = router_kinds.router(name, features=256, encoder=encoder)
        replace(made, curve=CURVE).save(folder / name)
    rows = [
        {"prompt": text, "model": "abc"[i % 3], "quality": 1, "cost": 0.01, "weight": 1 + i % 2,
         "available": ["a"] if i % 6 == 0 else ["a", "b", "c"]}
        for i, text in enumerate(vectors.PROMPTS[:6] * 3)
    ]  # fmt: skip
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    new = [{"model": "d", "expected": 0.9, "deviation": 0.1, "cost": 0.02, "level": 0.8}]
    beyond = {"new_models": new, "measured_without": ["d"]}
    replace(router_kinds.router("plug_in", features=256, encoder="hashed", summary=beyond), curve=CURVE).save(
        folder / "new"
    )
    (folder / "prompts.jsonl").write_text("\n".join(json.dumps({"prompt": p}) for p in (*vectors.PROMPTS, WORDS)))
    return folder


def test_the_file_allows_its_own_script_alone(capsys, monkeypatch, folder):
    monkeypatch.chdir(folder)
    code, out, err = run(capsys, "page", "plug_in", "--log", "log.jsonl", "--out", "page.html", "--json")
    assert (code, err) == (0, "")
    found, html = json.loads(out), (folder / "page.html").read_text()
    assert (found["rows"], found["bytes"]) == (18, len(html.encode()))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    for part, name in (('script type="module"', "script"), ("style", "style")):
        content = html.partition(f"<{part}>")[2].partition(f"</{name}>")[0]
        allowed = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{allowed}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)", html)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("plug_in", "is the predicted utility: quality minus the cost weight times the cost"),
        ("affine", "is 8 times the utility that the router learned, which corrects the predicted quality and cost"),
        ("per_weight", "decides by scores alone: it predicts neither quality nor cost"),
    ],
)
def test_it_says_what_the_scores_are(folder, tmp_path, name, says):
    pages.write(folder / name, tmp_path / "page.html")
    given = re.search('id="given"[^>]*>(.*?)</script>', (tmp_path / "page.html").read_text(), re.S)
    assert says in json.loads(given.group(1))["scores"]


def test_shares_are_of_the_traffic_that_the_router_would_send(folder):
    router, log = portable.load(folder / "plug_in"), people.load(folder / "log.jsonl")
    found = pages.of_log(router, log, "log")
    times = np.array([1, 2] * 9)
    assert found.logged == pytest.approx([times[k::3].sum() / 27 for k in range(3)] + [0])
    for place in (0, 30, len(found.weights) - 1):
        scores = router.scores(list(log.prompt), found.weights[place])
        scores[:, 3] = -np.inf  # a model that the log does not have
        scores[::6, 1:] = -np.inf
        chosen = scores.argmax(1)
        assert found.shares[place] == pytest.approx([times[chosen == k].sum() / 27 for k in range(4)])
    assert found.known == "as it would decide each row without d, which the log never shows"
    known = pages.of_log(router.without("d"), log, "log").known
    assert known == "as it would decide each row"
    strange = replace(log, models=("a", "strange", "c"))
    said = pages.of_log(router, strange, "log").known
    assert said.endswith("without b, d, which the log never shows (33% were answered by strange, unknown to it)")
    assert pages.stored(router) is None
    with pytest.raises(InputError, match="log, row 0: the router knows none of the models"):
        pages.of_log(router.without("a"), log, "log")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": 5}, "takes features, and a page can run hashed and hashed-2 alone"),
        ({"features": 5, "encoder": "sentence:x"}, "encodes texts by sentence:x"),
        ({"features": 258, "encoder": "hashed", "summary": {"context": [
            {"name": "length", "kind": "number", "mean": 0.0, "deviation": 1.0}]}}, "takes the context columns length"),
    ],
)  # fmt: skip
def test_a_router_whose_texts_a_browser_cannot_encode_has_no_page(capsys, tmp_path, changes, says):
    router_kinds.router("plug_in", **changes).save(tmp_path / "router")
    code, _, err = run(capsys, "page", tmp_path / "router", "--out", tmp_path / "page.html")
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


@pytest.fixture(scope="module")
def browser(folder):
    for name in ("plug_in", "per_weight", "affine", "new"):
        pages.write(folder / name, folder / f"{name}.html")
    with chromium.browser() as page:
        yield page


READ = """[...document.querySelectorAll('#models tbody tr')].map(row => ({
  model: row.firstChild.firstChild.data, chosen: row.className === 'chosen',
  numbers: [...row.querySelectorAll('td')].map(cell => Number(cell.dataset.value)) }))"""


def named(name):
    return f"document.getElementById('{name}')"


def write(page, **fields):
    for name, value in fields.items():
        page.run(f"(f => {{f.value = {json.dumps(value)}; f.dispatchEvent(new Event('input'))}})({named(name)})")


@pytest.mark.slow
@pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium here")
@pytest.mark.parametrize("name", ["plug_in", "per_weight", "affine"])
def test_its_numbers_are_those_of_route(capsys, monkeypatch, folder, browser, name):
    monkeypatch.chdir(folder)
    router = portable.load(folder / name)
    budget = 0.0037
    (cheap, share), (dear, _) = router.weights(budget=budget)
    browser.open(folder / f"{name}.html", 800)
    for weight in ("0", "0.3", "1.5"):
        _, out, _ = run(capsys, "route", name, "--normalised-cost-weight", weight, "--input", "prompts.jsonl", "--json")
        write(browser, exact=weight)
        for prompt, said in zip((*vectors.PROMPTS, WORDS), json.loads(out)["decisions"], strict=True):
            write(browser, prompt=prompt)
            rows = browser.run(READ)
            assert [row["model"] for row in rows if row["chosen"]] == [said["model"]]
            scores = {row["model"]: row["numbers"][-1] for row in rows}
            assert scores == pytest.approx(said["scores"], rel=1e-5, abs=2e-5)
            answer, numbers = browser.run("answer.textContent"), re.findall(r"[\d.]+", said["reason"])
            if name != "per_weight":
                assert re.findall(r"[\d.]+\d", answer) == [numbers[0], str(float(numbers[1]))]
                quality, cost = router.predict([prompt])
                assert [row["numbers"][:2] for row in rows] == [
                    pytest.approx(both, rel=1e-4) for both in zip(quality[0], cost[0], strict=True)
                ]
            else:
                assert "decides by scores alone" in browser.run("predicts.textContent")
                assert {len(row["numbers"]) for row in rows} == {1}
    browser.run(f"{named('by-budget')}.click()")
    write(browser, exact=budget)
    own = [router.route([WORDS], cost_weight=w) for w in (cheap, dear)]
    rows = browser.run(READ)
    np.testing.assert_allclose(
        [row["numbers"][-2:] for row in rows], np.stack([d.scores[0] for d in own], 1), atol=2e-5
    )
    assert {row["model"] for row in rows if row["chosen"]} == {d.models[0] for d in own}
    assert f"{100 * share:.0f}% of prompts" in browser.run("meaning.textContent")
    write(browser, exact=0)
    assert "lowest mean cost" in browser.run("problem.textContent")
    assert browser.run("exact.getAttribute('aria-invalid')") == "true"
    assert browser.complaints() == []
    browser.close()


@pytest.mark.slow
@pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium here")
def test_by_keyboard(folder, browser):
    browser.open(folder / "plug_in.html", 800)
    reached, before = [], browser.run("answer.textContent")
    for _ in range(6):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.className"))
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["prompt", "example", "by-weight", "slide", "exact", "scroll"]
    browser.run(f"{named('prompt')}.focus(); {named('prompt')}.select()")
    browser.type(WORDS)
    said = browser.run("new Promise(done => setTimeout(() => done([answer.textContent, spoken.textContent]), 700))")
    assert said[0] == said[1] != before
    browser.run("slide.focus()")
    browser.press("End")
    assert browser.run("exact.value") == "4"
    browser.press("ArrowLeft", 2)
    assert browser.run("exact.value") == "3.9"
    assert browser.run("slide.getAttribute('aria-valuetext')") == "normalised 3.9"
    browser.run(f"{named('by-weight')}.focus()")
    browser.press("ArrowRight")
    assert browser.run(f"{named('by-budget')}.checked && slide.labels[0].textContent") == (
        "Budget: mean cost of a prompt"
    )
    unnamed = "[...document.querySelectorAll('input, select, textarea')].filter(e => !e.labels[0]?.textContent.trim())"
    assert browser.run(f"{unnamed}.length") == 0
    browser.close()


LOOK = """({ width: innerWidth, page: document.documentElement.scrollWidth,
  clipped: [...document.querySelectorAll('p, h1, h2, h3, figcaption, label, legend, .share span')].filter(
    e => e.offsetParent && !e.matches('.unseen') && getComputedStyle(e).display !== 'inline' &&
      e.scrollWidth > e.clientWidth + 1).length,
  drawn: document.querySelectorAll('#curve .here, #curve .line').length,
  outside: [...document.querySelectorAll('#curve text')].filter(t => { const b = t.getBBox();
    return b.x < 0 || b.x + b.width > curve.clientWidth; }).length,
  colours: [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color] })"""


@pytest.mark.slow
@pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium here")
def test_a_model_that_the_log_never_shows_is_marked_and_no_budget_is_taken(folder, browser):
    router = portable.load(folder / "new")
    with pytest.raises(InputError, match="measured without d"):
        router.weights(budget=0.01)
    browser.open(folder / "new.html", 800)
    assert browser.run("[...document.querySelectorAll('#models tbody th')].map(h => h.firstChild.data)") == [
        *"abc", "d (never in the log)"
    ]  # fmt: skip
    for prompt in vectors.PROMPTS:
        write(browser, exact="0", prompt=prompt)
        chosen = router.route([prompt], cost_weight=0.0).models[0]
        answer = browser.run("answer.textContent")
        assert answer.startswith(f"{chosen} would answer.")
        assert ("The log never shows this model" in answer) is (chosen == "d")
    assert browser.run("document.getElementById('by-budget').disabled")
    assert "the log never shows some of them" in browser.run("place.textContent")
    assert browser.complaints() == []
    browser.close()


@pytest.mark.slow
@pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 800, 1400])
def test_three_widths_dark_and_light(folder, browser, width):
    for dark in (False, True):
        browser.open(folder / "plug_in.html", width, dark=dark)
        said = browser.run(LOOK)
        assert (said["width"], said["clipped"], said["drawn"], said["outside"]) == (width, 0, 2, 0)
        assert said["page"] <= width
        assert (chromium.brightness(said["colours"][0]) < chromium.brightness(said["colours"][1])) is dark
        assert browser.complaints() == []
        browser.close()
