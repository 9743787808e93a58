"""``jaxroute fit LOG --out ROUTER``: from a log, or from a table, to a saved router, by any method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxroute.cli import fitted, judged, options, output, reading
from jaxroute.cli.progress import doing, progress
from jaxroute.data import saving
from jaxroute.serving import folder
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    from jaxroute.estimators.evidence import Evidence

BEGINS = {
    "nuisances, cross-fitted": 0.0,
    "outcome models, cross-fitted": 0.0,
    "distilling into one network": 0.42,
    "evidence from the log": 0.7,
}
"""The stages of a fit, with the share of its time after which each begins: the recipe's, on the demo log."""


def fit(
    log: options.MaybeLog = None,
    *,
    out: Annotated[
        Path, typer.Option(help="Folder to write the router to; a router that is already there is replaced.")
    ],
    method: Annotated[str, typer.Option(help="What the router is fitted with; see the table below.")] = ("recommended"),
    normalised_cost_weights: Annotated[
        str | None,
        typer.Option(
            help="Ascending cost weights, as in 0,0.5,1, at which the router is trained and judged; 1 is the "
            "break-even between the best and the cheapest model.  [default: 0,0.1,0.25,0.5,1,2]"
        ),
    ] = None,
    how: options.How = options.AS_IT_IS,
    encoder: options.Encoder = "hashed",
    features_by: Annotated[
        str | None,
        typer.Option(
            help="The encoder that made the log's features. With it the router accepts texts, otherwise only features."
        ),
    ] = None,
    shadow: options.Shadow = None,
    prior: Annotated[
        Path | None,
        typer.Option(
            help="What is known of the models beside the log: a CSV with columns model, quality and sd (expected "
            "quality in [0, 1] and its standard deviation), a table of other prompts, or comparisons of two answers "
            "(model_a, model_b, winner), as an arena publishes them. The log decides how far it is trusted, and no "
            "value in the report rests on it. A model of the CSV that the log never shows can be chosen as well; its "
            "mean cost of a request stands in a column cost, or follows from --prices."
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="A table in place of a log: the folder that jaxroute table writes, or results of an evaluation tool."
        ),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(
            help="Share of the rows (or of a table's prompts), such as 0.2, that the router does not learn from and is "
            "judged on. They are drawn at random, whole groups and repeated prompts together."
        ),
    ] = None,
    split_time: Annotated[
        str | None,
        typer.Option(
            help="A time such as 2026-11-01: the router learns from earlier rows and is judged on those from then on."
        ),
    ] = None,
    fingerprint: Annotated[
        bool,
        typer.Option(
            "--fingerprint/--no-fingerprint",
            help="Whether the router keeps salted hashes of what it learned from (request ids, else prompts and "
            "models), at most 16 MB, by which evaluate and compare leave these rows out.",
        ),
    ] = True,
    max_latency: Annotated[
        float | None,
        typer.Option(
            help="Seconds. A model is never chosen if the 95th percentile of its latency in the log is above, or is "
            "unknown because the log has too few of its latencies. The router still learns from its answers."
        ),
    ] = None,
    recency: Annotated[
        str | None,
        typer.Option(
            help="Let older rows count less: the days after which a row counts half, or auto, which chooses them by "
            "forward validation and lets all rows count alike if no choice predicts the later rows better. The report "
            "then describes the recent requests."
        ),
    ] = None,
    members: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of routers that are fitted with different seeds and averaged: less noise, and longer fitting.",
        ),
    ] = 1,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=2**63 - 1,
            help="Random seed; the same seed gives the same router on as many cores. Another number of cores rounds "
            "sums differently, and then a few decisions in a hundred, all of them close, may differ.",
        ),
    ] = 0,
) -> output.Result:
    """Fit a router to a log, or to a table of every model's answers, and save it.

    The report is estimated from the log, and every row is decided by a fit that did not use it. The router also learns
    from a shadow sample, whose rows are added to the evidence. Where the log does not support an estimate, the shadow
    sample is the only evidence.

    From a table, the report is cross-validated: every prompt is decided by a fit that did not use it. If the cost of an
    answer is unknown, the router takes cost weight 0 alone.

    With --holdout or --split-time the router is judged on rows that it has not learned from, and that comes first.

    Examples:

      jaxroute fit requests.parquet --out router

      jaxroute fit spend_logs.jsonl --column quality=metadata.rating --quality-range 1,5 --out router

      jaxroute fit requests.parquet --split-time 2026-11-01 --out router

      jaxroute fit requests.parquet --shadow answered_by_all/ --out router

      jaxroute fit requests.parquet --prior leaderboard.csv --out router

      jaxroute fit requests.parquet --max-latency 3 --out router

      jaxroute fit requests.parquet --method rm_softmax_pessimistic --members 3 --out router

      jaxroute fit --table table/ --out router
    """
    saving.check_folder(out, folder.OWNED)
    from jaxroute.api import judging, steps
    from jaxroute.data import encoders, priors
    from jaxroute.learn import fitting, keywords, methods
    from jaxroute.serving import new_models

    given = {"members": members, "seed": seed, "holdout": holdout, "max_latency": max_latency, "recency": recency}
    keywords.check(given)
    chosen, weights = methods.named(method), options.cost_weights(normalised_cost_weights)
    fitting.weights_of(None, weights)
    for name in (encoder, *([] if features_by is None else [features_by])):
        encoders.check(name)
    if (log is None) == (table is None):
        raise InputError("give a log, or --table FOLDER: one of the two")
    settings: dict[str, Any] = {
        "normalised_cost_weights": weights, "members": members, "seed": seed, "fingerprint": fingerprint
    }  # fmt: skip
    if table is not None:
        _check_options(recency, max_latency, prior, shadow, how, split_time)
        answers, used = _answers(table, how, encoder, features_by)
        answers, held_prompts = steps.hold_out_prompts(seed, answers, holdout)
        with progress(BEGINS) as on_stage:
            router = steps.of_table(answers, encoder=used, method=chosen, on_stage=on_stage, **settings)
        router = judging.judged(router, held_prompts)
        router.save(out)
        return fitted.result(router, out)
    assert log is not None
    rows, held = steps.hold_out(seed, reading.read(log, how), holdout, split_time)
    beside = reading.shadow_table(shadow, rows, how)
    if features_by is not None:
        steps.check_made_by(features_by, rows.features, "the log")
    cost_of = priors.by_tokens(options.price_list(how.prices, how.reprice), rows.usage)
    checked = steps.check(rows, chosen, shadow=beside, prior=prior, cost_of=cost_of, max_latency=max_latency)
    fitted.note(checked)
    with doing(f"encoding {len(rows)} prompts", bar=True):
        data = steps.encode(checked, encoder, features_by=features_by, recency=recency)
    fitted.note_recency(data.half_life)
    gathered: list[Evidence] = []
    with progress(BEGINS) as on_stage:
        router = steps.learn(data, on_stage=on_stage, on_evidence=gathered.append, **settings)
    router = judging.judged(router, held)
    router.save(out)
    shown = new_models.unsupported(gathered[0], new_models.of_fit(router.summary))
    page = judged.write_page(out, judged.normalised(shown, router.cost_scale), router.cost_scale, str(log))
    return fitted.result(router, out, page)


def epilog() -> str:
    """The end of the help: every method, what it takes and what the study found of it."""
    from jaxroute.cli import methods

    return methods.table()


def _check_options(
    recency: str | None,
    max_latency: float | None,
    prior: Path | None,
    shadow: Path | None,
    how: options.How,
    split_time: str | None,
) -> None:
    """Refuse the options that belong to a log, where a table is given."""
    if recency is not None:
        raise InputError("--recency belongs to a log with times; a table has none")
    if max_latency is not None:
        raise InputError("--max-latency belongs to a log with latencies; a table has none")
    if prior is not None:
        raise InputError("--prior belongs to a log; a table knows the quality of every model")
    if shadow is not None or replace(how, prices=None, reprice=False) != options.AS_IT_IS:
        raise InputError("--table: --shadow and the options that say how to read a log belong to a log")
    if split_time is not None:
        raise InputError("--split-time belongs to a log, because a table has no timestamps; use --holdout")


def _answers(path: Path, how: options.How, encoder: str, features_by: str | None) -> tuple[Table, str | None]:
    """The table, and the encoder of its features; None where they are its own and nobody says what made them."""
    from jaxroute.api import steps
    from jaxroute.data import harness

    if harness.is_run(path):
        prices = options.price_list(how.prices, how.reprice)
        table, own = reading.results(path, encoder=encoder, prices=prices, reprice=how.reprice), False
    else:
        if how != options.AS_IT_IS:
            raise InputError("--prices belong to a log or to results; give them to jaxroute table")
        table, own = harness.load(path, encoder=encoder), any(path.glob("features*.npy"))
    if features_by is not None:
        steps.check_made_by(features_by, table.features if own else None, "the table")
    return table, (features_by if own else encoder)
