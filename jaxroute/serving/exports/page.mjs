// What page.html does: a prompt and how much cost matters, by the router that stands above in this script.

const $ = (id) => document.getElementById(id);
const given = JSON.parse($("given").textContent); // name, unit, scores (what they are), examples, steps (slider to normalised cost weight), traffic
const router = load(Uint8Array.from(atob($("weights").textContent), (c) => c.charCodeAt(0)).buffer);
const { meta, models } = router, whole = router.measured;
const isNew = (k) => router.available[k] && meta.never_logged.includes(models[k]);
const curve = whole ? router.curve : null, predicts = meta.kind === "plug_in" || meta.kind === "affine";
const most = curve && Math.max(...curve.cost), least = curve && Math.min(...curve.cost);
const state = { features: null, byBudget: false, normalised: 0.5, budget: curve && budgetAt(50) };

const digits = (x, n = 3) => String(Number(x.toPrecision(n)));
const money = (x) => (given.unit === "US dollars" ? `$${digits(x)}` : `${digits(x)} ${given.unit}`);
// A network's prediction may be beyond what a quality and a cost can be, which nobody wants to read.
const quality = (x) => Math.min(Math.max(x, 0), 1).toFixed(3), cost = (x) => money(Math.max(x, 0));
const percent = (x) => `${(100 * x).toFixed(x > 0 && x < 0.0995 ? 1 : 0)}%`;

function element(name, content = "", attributes = {}) {
  const made = document.createElement(name);
  made.append(...[content].flat());
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// ---- what is asked

function budgetAt(place) {
  const share = place / 100;
  return least > 0 ? least * (most / least) ** share : least + share * (most - least);
}

function placeOf() {
  if (!state.byBudget) return given.steps.findLastIndex((step) => step <= state.normalised);
  const { budget } = state;
  const share = least > 0 ? Math.log(budget / least) / Math.log(most / least) : (budget - least) / (most - least);
  return Math.round(100 * Math.min(Math.max(share || 0, 0), 1));
}

// [[cost weight, share], ...], the cheaper one first
function asked() {
  const number = state.byBudget ? state.budget : state.normalised;
  if (!(Number.isFinite(number) && number >= 0)) throw new Error("give a number of at least 0");
  if (!state.byBudget) return [[number / meta.cost_scale, 1]];
  if (number < least) throw new Error(`the lowest mean cost per prompt is ${money(least)}; give at least that`);
  return router.weights({ budget: number }).filter(([, share]) => share > 0);
}

// ---- what is shown

function show() {
  $("slide-label").textContent = state.byBudget ? "Budget: mean cost of a prompt" : "Cost weight";
  $("exact-label").textContent = state.byBudget ? `Exactly, in ${given.unit} a prompt` : "Exactly (normalised)";
  let ways = null, problem = "";
  try {
    ways = asked();
  } catch (error) {
    problem = error.message;
  }
  $("problem").textContent = problem;
  $("exact").setAttribute("aria-invalid", String(problem !== ""));
  $("slide").setAttribute("aria-valuetext", state.byBudget ? money(state.budget) : `normalised ${digits(state.normalised)}`);
  $("meaning").textContent = ways ? meaning(ways) : "";
  const option = state.byBudget ? `--budget ${state.budget}` : `--normalised-cost-weight ${state.normalised}`;
  $("command").textContent = `jaxroute route ${given.name} ${option} --input prompts.jsonl`;
  showAnswer(ways);
  showPlace(ways);
  showTraffic(ways);
}

function meaning(ways) {
  if (!meta.costs_known) return "The costs of some answers are unknown to this router, so it takes cost weight 0 alone.";
  if (state.byBudget) {
    const parts = ways.map(([weight, share]) => `${percent(share)} of prompts at cost weight ${digits(weight)}`);
    return `Met on average, by ${parts.join(" and ")} (quality per unit of cost).`;
  }
  const [[weight]] = ways;
  if (weight === 0) return "Cost does not matter: the model of the best quality.";
  return `${digits(weight)} of quality per unit of cost: a point of quality (0.01) may cost ${money(0.01 / weight)} a prompt. ` +
    "At 1, the best and the cheapest model break even on average.";
}

function showAnswer(ways) {
  const decisions = ways && state.features ? ways.map(([weight]) => router.route(state.features, weight)) : [];
  const by = new Map();
  decisions.forEach(({ index }, i) => by.set(index, (by.get(index) ?? 0) + ways[i][1]));
  const [first] = decisions, names = [...by].sort((a, b) => b[1] - a[1]);
  const words = !decisions.length ? (ways ? "Type a prompt." : "") :
    names.length > 1 ? `${names.map(([k, share]) => `${models[k]} for ${percent(share)}`).join(", ")} of such prompts: ` +
      "the budget is met by a mixture of two cost weights."
    : `${models[first.index]} would answer.` + (isNew(first.index) ? " The log never shows this model: what is said of it is expected, not measured." : "") + (first.quality ? ` Predicted quality ${quality(first.quality[first.index])}` +
      (first.cost ? ` at ${cost(first.cost[first.index])}.` : ".") : "");
  $("answer").textContent = words;
  announce(words);
  const columns = ["model", ...(first?.quality ? ["predicted quality"] : []), ...(first?.cost ? ["predicted cost"] : []),
    ...(decisions.length > 1 ? ways.map(([weight]) => `score at ${digits(weight)}`) : ["score"])];
  $("models").tHead.replaceChildren(element("tr", columns.map((name) => element("th", name, { scope: "col" }))));
  $("models").tBodies[0].replaceChildren(...models.map((name, k) => {
    const cell = (x, shown) => element("td", shown(x), { "data-value": x });
    const mark = !router.available[k] ? " (removed)" : isNew(k) ? " (never in the log)" : "";
    const row = element("tr", [element("th", name + mark, { scope: "row" })]);
    if (first?.quality) row.append(cell(first.quality[k], quality));
    if (first?.cost) row.append(cell(first.cost[k], cost));
    for (const { scores } of decisions) row.append(cell(scores[k], (x) => (Number.isFinite(x) ? x.toFixed(3) : "never")));
    if (by.has(k)) {
      row.className = "chosen";
      row.firstChild.append(element("span", " (chosen)", { class: "unseen" }));
    }
    return row;
  }));
}

let waiting;
function announce(words) {
  clearTimeout(waiting);
  waiting = setTimeout(() => { if ($("spoken").textContent !== words) $("spoken").textContent = words; }, 500);
}

const pieceOf = (weight) => Math.max(curve.weight.findLastIndex((begins) => begins <= weight), 0);

function showPlace(ways) {
  if (!curve) {
    $("place").textContent = whole ? "This router has no curve of quality and cost." :
      "The curve of quality and cost was measured among other models than can be chosen now" +
      `${models.some((_, k) => isNew(k)) ? ": the log never shows some of them." : ": some were removed."}`;
    $("curve")?.remove(); // it may be gone since the last time
    return;
  }
  const at = (part) => ways?.reduce((sum, [weight, share]) => sum + share * part[pieceOf(weight)], 0);
  const here = ways && { cost: at(curve.cost), quality: at(curve.quality) };
  draw(here);
  if (!ways) return;
  const error = router.arrays["curve/quality_error"].data[pieceOf(ways[0][0])];
  const range = ways.length > 1 ? "" : ` (95% interval ${[-1, 1].map((s) => (here.quality + 1.96 * s * error).toFixed(3)).join(" to ")})`;
  $("place").textContent = `On what the router was fitted to, this setting has mean quality ${here.quality.toFixed(3)}${range} ` +
    `at a mean cost of ${money(here.cost)} a prompt. The line is what other settings have.`;
}

function ticks(low, high, log) {
  if (log) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const lead of high / low > 200 ? [1] : [1, 2, 5]) found.push(lead * 10 ** power);
    }
    return found.filter((x) => x >= low && x <= high);
  }
  const rough = (high - low) / 6 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((lead) => lead * power >= rough) ?? 10);
  return range(Math.floor(high / step) - Math.ceil(low / step) + 1).map((i) => (Math.ceil(low / step) + i) * step);
}

function draw(here) {
  const svg = $("curve"), width = svg.clientWidth, height = svg.clientHeight, left = 44, bottom = 42, top = 26;
  const log = least > 0 && most / least > 8, along = log ? Math.log : (x) => x;
  const spread = Math.max(...curve.quality) - Math.min(...curve.quality) || 0.01;
  const low = Math.min(...curve.quality) - 0.08 * spread, high = Math.max(...curve.quality) + 0.08 * spread;
  const x = (cost) => left + 10 + ((along(cost) - along(least)) / (along(most) - along(least) || 1)) * (width - left - 30);
  const y = (quality) => height - bottom - ((quality - low) / (high - low)) * (height - bottom - top);
  const part = (name, attributes, words = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = words;
    return made;
  };
  const drawn = [];
  for (const q of ticks(low, high, false)) {
    drawn.push(part("line", { class: "grid", x1: left, x2: width - 10, y1: y(q), y2: y(q) }));
    drawn.push(part("text", { x: left - 6, y: y(q) + 4, "text-anchor": "end" }, digits(q)));
  }
  let free = -Infinity;
  for (const cost of ticks(least, most, log)) {
    if (x(cost) - free < 46) continue;
    free = x(cost);
    drawn.push(part("line", { class: "grid", x1: x(cost), x2: x(cost), y1: top, y2: height - bottom }));
    drawn.push(part("text", { x: x(cost), y: height - bottom + 16, "text-anchor": "middle" }, digits(cost)));
  }
  drawn.push(part("text", { x: left, y: 14 }, "mean quality"));
  drawn.push(part("text", { x: width - 10, y: height - 8, "text-anchor": "end" }, `mean cost of a prompt, ${given.unit}${log ? ", log scale" : ""}`));
  const between = range(12).map((i) => (i + 1) / 12); // of two settings: mixtures, which a log scale bends
  const mixed = (values, i, share) => values[i] + share * (values[i + 1] - values[i]);
  const line = [[curve.cost[0], curve.quality[0]], ...curve.cost.slice(1).flatMap((_, i) =>
    (curve.cost.length > 200 ? [1] : between).map((share) => [mixed(curve.cost, i, share), mixed(curve.quality, i, share)]))];
  drawn.push(part("polyline", { class: "line", points: line.map(([cost, quality]) => `${x(cost)},${y(quality)}`).join(" ") }));
  if (curve.at) curve.cost.forEach((cost, i) => drawn.push(part("circle", { class: "piece", cx: x(cost), cy: y(curve.quality[i]), r: 3.5 })));
  if (here) drawn.push(part("circle", { class: "here", cx: x(here.cost), cy: y(here.quality), r: 8 }));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...drawn);
}

function showTraffic(ways) {
  const { traffic } = given;
  if (!traffic) {
    $("shares").textContent = "Traffic shares: write the page with --log LOG.";
    return;
  }
  if (!ways) return;
  const nearest = ways.map(([weight, share]) => {
    const away = traffic.weights.map((known) => Math.abs(known - weight));
    return [away.indexOf(Math.min(...away)), share];
  });
  const now = models.map((_, k) => nearest.reduce((sum, [i, share]) => sum + share * traffic.shares[i][k], 0));
  $("traffic").replaceChildren(...models.map((name, k) => {
    const bar = element("div", [element("div", "", { class: "now" }), element("div", "", { class: "then" })], { class: "track", "aria-hidden": "true" });
    bar.firstChild.style.width = `${100 * now[k]}%`;
    bar.lastChild.style.left = `${100 * traffic.logged[k]}%`;
    const numbers = element("span", `${percent(now[k])} (logged ${percent(traffic.logged[k])})`, { "data-value": now[k] });
    return element("div", [element("div", [element("span", name + (isNew(k) ? " (never in the log)" : "")), numbers]), bar], { class: "share" });
  }));
  const at = nearest.map(([i]) => digits(traffic.weights[i] * meta.cost_scale)).join(" and ");
  $("shares").textContent = `Shares of the traffic of ${traffic.of} (${traffic.rows} rows) that each model would get at normalised ` +
    `cost weight ${at}, ${traffic.known}; the mark on each bar is what it got.`;
}

// ---- what is done

function moveSlider() {
  $("slide").value = placeOf();
}

function writeExact() {
  $("exact").value = state.byBudget ? state.budget : state.normalised;
}

$("slide").addEventListener("input", () => {
  const place = Number($("slide").value);
  if (state.byBudget) state.budget = Number(digits(Math.max(budgetAt(place), least), 6));
  else state.normalised = given.steps[place];
  if (state.byBudget && state.budget < least) state.budget = least; // rounded below it
  writeExact();
  show();
});
$("exact").addEventListener("input", () => {
  state[state.byBudget ? "budget" : "normalised"] = $("exact").value === "" ? NaN : Number($("exact").value);
  moveSlider();
  show();
});
for (const [id, byBudget] of [["by-weight", false], ["by-budget", true]]) {
  $(id).addEventListener("change", () => {
    state.byBudget = byBudget;
    moveSlider();
    writeExact();
    show();
  });
}
$("prompt").addEventListener("input", () => {
  const text = $("prompt").value;
  state.features = text.trim() ? router.features(text) : null;
  show();
});
$("example").addEventListener("change", () => {
  $("prompt").value = given.examples[$("example").selectedIndex];
  $("prompt").dispatchEvent(new Event("input"));
});
addEventListener("resize", show);

for (const text of given.examples) $("example").append(element("option", text.length > 60 ? `${text.slice(0, 57)}...` : text));
$("about").textContent = `The router “${given.name}” chooses among ${models.length} models, prompt by prompt: the best answer for ` +
  "its cost. Write a prompt, say how much cost matters, and see the choice.";
$("predicts").textContent = given.scores;
if (!meta.costs_known) {
  state.normalised = 0;
  $("slide").disabled = $("exact").disabled = true;
}
if (!curve || !meta.costs_known) {
  $("by-budget").disabled = true;
  $("by-budget").parentElement.append(" (this router takes none)");
}
$("prompt").value = given.examples[0];
$("prompt").dispatchEvent(new Event("input"));
moveSlider();
writeExact();
