"""A router as one HTML file: from a prompt and how much cost matters, the model that would answer, in the browser.

The file holds the ES module of the format ``js``, its weights, and from a log the shares of traffic at many cost
weights. Its Content-Security-Policy allows this one script and no network.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxroute.data import saving
from jaxroute.serving import portable, vectors
from jaxroute.serving.exports import js, writing
from jaxroute.system.wording import named
from jaxroute.types import InputError

if TYPE_CHECKING:
    from jaxroute.data.logs import LogTable

STEPS = tuple(round(x, 6) for x in (*np.arange(0, 1, 0.025), *np.arange(1, 4.001, 0.05)))
"""Normalised cost weights of the slider's 101 places."""


class Traffic(NamedTuple):
    """What share of a log's traffic each model gets.

    of: the log. rows: how many it has. logged: [K] as the log was answered. weights: [W] cost weights. shares: [W, K]
    as the router would decide at each. known: how they were computed, in words.
    """

    of: str
    rows: int
    logged: list[float]
    weights: list[float]
    shares: list[list[float]]
    known: str


def write(path: Path, out: Path, traffic: Traffic | None = None, unit: str = "US dollars") -> dict[str, Any]:
    """Write the page of a router's folder.

    Args:
        path: of the router. out: file to write, completely or not at all. traffic: of a log; None: what the router
            keeps of the log that it was fitted to, if anything. unit: of the log's costs.

    Returns:
        What ``export.json`` of the format ``js`` says.

    Raises:
        InputError: no router; it takes features, context columns, or texts that another encoder makes features of.
    """
    saving.check_file(out)
    router = load(path)
    meta = writing.described(router, "js")
    shown = traffic or stored(router)
    given = {
        "name": path.name or "ROUTER",
        "unit": unit,
        "scores": scored(router),
        "examples": vectors.PROMPTS,
        "steps": STEPS,
        "traffic": None if shown is None else shown._asdict(),
    }
    style, script = _part("page.css"), js.module().decode() + _part("page.mjs")
    html = Template(_part("page.html")).substitute(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        weights=base64.b64encode(js.weights(router, meta)).decode(),
        given=json.dumps(given, allow_nan=False).replace("<", "\\u003c"),
    )
    with saving.text(out) as file:
        file.write(html)
    return meta


def load(path: Path) -> portable.Portable:
    """The router, if a page can encode its prompts; see ``write`` for the errors."""
    router = portable.load(path)
    if router.context:
        names = ", ".join(str(column["name"]) for column in router.context)
        raise InputError(f"{path}: takes the context columns {names} beside the text, which a page does not ask for")
    if router.encoder not in vectors.ENCODERS:
        takes = "takes features" if router.encoder is None else f"encodes texts by {router.encoder}"
        raise InputError(
            f"{path}: {takes}, and a page can run {' and '.join(vectors.ENCODERS)} alone; fit a router on texts with "
            f"one of these ({named('encoder')}), or export it as js, which is given features"
        )
    return router


def of_log(router: portable.Portable, log: LogTable, name: str) -> Traffic:
    """The shares of a log's traffic, at the slider's cost weights and at up to as many of the curve's.

    Args:
        router: of texts. log: checked; a row counts as often as its weight says. name: of the log.

    Raises:
        InputError: the router knows none of the models that could have answered some row.
    """
    features = router.features([str(text) for text in log.prompt] if log.features is None else log.features)  # type: ignore[union-attr]
    allowed = np.zeros((len(features), len(router.models)), bool)
    for k, model in enumerate(router.models):
        if model in log.models and router.available[k]:
            allowed[:, k] = np.asarray(log.available)[:, log.models.index(model)]
    if not (able := allowed.any(1)).all():
        raise InputError(
            f"{name}, row {int(np.argmin(able))}: the router knows none of the models that could have answered it; "
            "drop the row, or give a log of the router's models"
        )
    times = np.ones(len(features)) if log.weight is None else np.asarray(log.weight, float)
    weights = [step / router.cost_scale for step in STEPS] if router.costs_known else [0.0]
    if router.curve is not None and router.costs_known:
        decided = router.curve.cost_weight if router.curve.decided_at is None else router.curve.decided_at
        picked = np.linspace(0, len(decided) - 1, min(len(decided), len(STEPS))).round().astype(int)
        weights = sorted({*weights, *decided[picked].tolist()})

    def shares(chosen: np.ndarray, count: int) -> list[float]:
        found: list[float] = (np.bincount(chosen, times, count) / times.sum()).tolist()
        return found

    by_name = dict(zip(log.models, shares(np.asarray(log.action), len(log.models)), strict=True))
    chosen = (np.where(allowed, router.scores(features, weight), -np.inf).argmax(1) for weight in weights)
    return Traffic(
        name,
        len(features),
        [by_name.get(model, 0.0) for model in router.models],
        weights,
        [shares(one, len(router.models)) for one in chosen],
        _known(router, log, by_name),
    )


def _known(router: portable.Portable, log: LogTable, by_name: dict[str, float]) -> str:
    """How shares were computed, with the models that only one of the two knows: the bars leave them out."""
    could = zip(router.models, router.available.tolist(), strict=True)
    gone = [model for model, left in could if left and model not in log.models]
    other = [model for model in log.models if model not in router.models]
    said = "as it would decide each row" + (f" without {', '.join(gone)}, which the log never shows" if gone else "")
    if not other:
        return said
    return f"{said} ({sum(map(by_name.__getitem__, other)):.0%} were answered by {', '.join(other)}, unknown to it)"


def stored(router: portable.Portable) -> Traffic | None:
    """What a fitted router keeps of its own log: shares out of fold at a few cost weights; None if it keeps none."""
    told: Sequence[dict[str, Any]] = router.summary.get("by_cost_weight") or ()
    rows = router.summary.get("rows_by_model")
    if not rows or not router.available.all() or not told or not all("shares" in one for one in told):
        return None
    total = sum(rows.values())
    return Traffic(
        "the log that it was fitted to",
        total,
        [rows.get(model, 0) / total for model in router.models],
        [one["cost_weight"] for one in told],
        [[one["shares"].get(model, 0.0) for model in router.models] for one in told],
        "estimated out of fold when it was fitted",
    )


def scored(router: portable.Portable) -> str:
    """What the scores are, in words.

    Example:
        >>> from types import SimpleNamespace as Some
        >>> print(scored(Some(kind="affine", per_utility=8.0)))
        The score is 8 times the utility that the router learned, which corrects the predicted quality and cost that \
are shown. The highest score is chosen.
    """
    if router.per_utility is None:
        said = f"This kind of router ({router.kind}) decides by scores alone: it predicts neither quality nor cost."
    elif router.kind == "plug_in":
        said = "The score is the predicted utility: quality minus the cost weight times the cost."
    else:
        said = (
            f"The score is {router.per_utility:g} times the utility that the router learned, which corrects the "
            "predicted quality and cost that are shown."
        )
    return f"{said} The highest score is chosen."


def _part(name: str) -> str:
    return resources.files("jaxroute.serving.exports").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """As a Content-Security-Policy names what it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
