"""report.html in a real browser: headless Chromium, wide and as narrow as a phone; skipped where there is none."""

import base64
import hashlib
import json
import re
import subprocess

import chromium
import pytest
from study_rows import made_up
from test_evidence import a_case, valued

from experiments.study import report as study_report
from jaxroute import report
from jaxroute.cli.sheets import Sheet

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium here")]
PROBE = """
<script>
const errors = [];
window.addEventListener("error", e => errors.push(String(e.message)));
window.addEventListener("load", () => {
  const table = document.querySelector("table.sortable");
  const column = [...table.querySelectorAll("th")].findIndex(h => /^(mean|value|cost of)/.test(h.textContent));
  const read = () => [...table.tBodies[0].rows].map(r => Number(r.cells[column].dataset.value));
  const button = table.querySelectorAll("th")[column].querySelector("button");
  button.click(); const up = read();
  button.click(); const down = read();
  const unmarked = [...document.querySelectorAll("table.sortable")].map(t => t.parentElement).filter(
    e => e.offsetParent && (e.scrollWidth > e.clientWidth + 1) !== e.classList.contains("wide")).length;
  const clipped = [...document.querySelectorAll("p, h1, h2, h3, dd, dt, figcaption, summary, li")].filter(
    e => e.offsetParent && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 40));
  clipped.push(...[...document.querySelectorAll("figure .scroll")].filter(
    e => e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute("aria-label")));
  const inLines = cell => {
    const all = document.createRange();
    all.selectNodeContents(cell);
    return all.getClientRects().length;
  };
  const folded = [...document.querySelectorAll("td")].filter(
    e => e.offsetParent && e.textContent.length <= 14 && inLines(e) > 1).map(e => e.textContent);
  parent.postMessage({
    folded, unmarked, errors, up, down, clipped, width: innerWidth, page: document.documentElement.scrollWidth,
    images: [...document.images].map(i => [i.naturalWidth > 0, i.alt]),
    colours: [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color],
  }, "*");
});
</script>
"""


def of_study(folder):
    study_report.write(folder, made_up(), [])


def of_log(folder):
    found = valued(*a_case())
    report.write_html(folder, None, {"title": "a log"}, report.draw_evidence(found), evidence=found)


def of_command(folder):
    """As doctor and shadow write it: long names, many columns, a value that is unknown."""
    header = ["model", "mean quality", *(f"a column of number {j}" for j in range(12))]
    lines = [[f"provider/a-model-with-a-long-name-{i}", (i * 7) % 5, *[0.5] * 11, None] for i in range(5)]
    sheet = Sheet("models: rows, shares and qualities, of which there are many", header, lines)
    report.write_sheets(
        folder, "What the log can teach", ["verdict: ok. A router can be learnt.", "- Log more."], [sheet]
    )


def of_exploration(folder):
    """As explore writes it: settings, which are long, and the picture of policies that cost more, and less."""
    rates = [
        {"policy": name, "floor": floor, "extra_cost_per_1000": sign * floor, "loss": floor / 9, "days": 3 / floor}
        for sign, name in enumerate(("thompson", "uniform", "contenders"), -1)
        for floor in (0.01, 0.1, 0.5)
    ]
    setting = "explore: {policy: evaluation, floor: 0.02, router: routers/of-the-next-month-with-more-models}"
    lines = [[setting, one["extra_cost_per_1000"], one["loss"], one["days"]] for one in rates]
    sheet = Sheet("settings of models.yaml", ["setting", "cost of 1,000", "loss", "days"], lines)
    said = [f"Exploring costs 0.1 more per 1,000 requests: set {setting}."]
    figure = report.draw_exploration(rates, rates[0])
    report.write_sheets(folder, "What to explore beside router", said, [sheet], [figure])


@pytest.fixture(
    scope="module",
    params=[(of_study, 5, 2), (of_log, 2, 4), (of_command, 5, 0), (of_exploration, 9, 1)],
    ids=["study", "log", "command", "exploration"],
)
def page(request, tmp_path_factory):
    """(folder with the page, lines of its first table, its figures)."""
    write, lines, figures = request.param
    folder = tmp_path_factory.mktemp("report")
    write(folder)
    html = (folder / "report.html").read_text()
    assert "</head>" in html
    probe = PROBE.partition("<script>")[2].partition("</script>")[0]
    allowed = base64.b64encode(hashlib.sha256(probe.encode()).digest()).decode()
    html = html.replace("script-src ", f"script-src 'sha256-{allowed}' ")
    (folder / "probed.html").write_text(html.replace("</head>", f"{PROBE}</head>"))
    return folder, lines, figures


def look(folder, width, *, dark=False):
    """What the page says about itself in a frame of ``width`` pixels."""
    listen = 'addEventListener("message", e => {document.getElementById("said").textContent = JSON.stringify(e.data)})'
    frame = f'<iframe src="probed.html" style="width:{width}px;height:2000px;border:0"></iframe>'
    (folder / "frame.html").write_text(f'{frame}<pre id="said"></pre><script>{listen}</script>')
    command = [chromium.FOUND, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=15000"]
    command += ["--dump-dom"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run([*command, f"file://{folder}/frame.html"], capture_output=True, text=True, timeout=120)
    said = re.search(r'<pre id="said">(.+?)</pre>', done.stdout, re.DOTALL)
    assert said, done.stderr[-2000:]
    return json.loads(said[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.parametrize("width", [1400, 800, 390])
def test_no_errors_figures_present_tables_sort_and_nothing_is_clipped(page, width):
    folder, lines, figures = page
    said = look(folder, width)
    assert said["errors"] == []
    assert said["width"] == width
    assert said["page"] <= width
    assert said["clipped"] == []
    assert said["unmarked"] == 0
    assert said["folded"] == []  # no short text or number of a table is broken
    assert len(said["images"]) == figures
    assert all(drawn and alt for drawn, alt in said["images"])
    assert len(said["up"]) == lines
    assert said["up"] == sorted(said["up"])
    assert said["down"] == sorted(said["down"], reverse=True)
    assert said["up"] != said["down"]


def test_dark_and_light(page):
    light, dark = (look(page[0], 800, dark=d)["colours"] for d in (False, True))

    assert chromium.brightness(light[0]) > chromium.brightness(light[1])
    assert chromium.brightness(dark[0]) < chromium.brightness(dark[1])
