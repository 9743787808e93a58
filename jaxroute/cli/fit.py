"""``jaxroute fit LOG --out ROUTER``: from a log, or from a table, to a saved router, by any method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from jaxroute.cli import reading
from jaxroute.data import saving
from jaxroute.serving import folder
from jaxroute.system.printing import say
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    from jaxroute.estimators.evidence import Evidence
    from jaxroute.serving.router import Router


def fit(
    log: reading.MaybeLog = None,
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
    how: reading.How = reading.AS_IT_IS,
    encoder: reading.Encoder = "hashed",
    features_by: Annotated[
        str | None,
        typer.Option(
            help="The encoder that made the log's features. With it the router accepts texts, otherwise only features."
        ),
    ] = None,
    shadow: reading.Shadow = None,
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
            help="Random seed; the same seed gives the same router on as many cores. Another number of cores rounds "
            "sums differently, and then a few decisions in a hundred, all of them close, may differ."
        ),
    ] = 0,
) -> None:
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

      jaxroute fit requests.parquet --method rm_softmax_pessimistic --members 3 --out router

      jaxroute fit --table table/ --out router
    """
    import jax

    from jaxroute import api
    from jaxroute.data import encoders, fingerprints
    from jaxroute.data import logs as people
    from jaxroute.data import shadow as shadows
    from jaxroute.learn import fitting, full_feedback
    from jaxroute.learn import methods as registry

    saving.check_folder(out, folder.OWNED)
    chosen = registry.named(method)
    weights = _numbers(normalised_cost_weights)
    fitting.weights_of(None, weights)
    for name in (encoder, *([] if features_by is None else [features_by])):
        encoders.check(name)
    if (log is None) == (table is None):
        raise InputError("give a log, or --table FOLDER: one of the two")
    if table is not None:
        if shadow is not None or replace(how, prices=None, reprice=False) != reading.AS_IT_IS:
            raise InputError("--table: --shadow and the options that say how to read a log belong to a log")
        if split_time is not None:
            raise InputError("--split-time belongs to a log, because a table has no timestamps; use --holdout")
        answers, used = _answers(table, how, encoder, features_by)
        held_prompts = None
        if holdout is not None:
            answers, held_prompts = api.held_out_prompts(seed, answers, holdout)
        with _progress() as on_stage:
            router = full_feedback.of_table(
                jax.random.key(seed),
                answers,
                encoder=used,
                method=chosen,
                normalised_cost_weights=weights,
                members=members,
                on_stage=on_stage,
            )
        router.summary["seed"] = seed
        marks = fingerprints.of_table(answers, texts=used is not None) if fingerprint else None
        router = api.judged(replace(router, fingerprint=marks), held_prompts)
        router.save(out)
        report(router)
        weight = "--normalised-cost-weight 0.5" if router.costs_known else "--cost-weight 0"
        say(f"saved: {out}", f"next: jaxroute route {out} {weight} --input PROMPTS.jsonl")
        return
    assert log is not None
    rows, held = reading.read(log, how), None
    if holdout is not None or split_time is not None:
        rows, held = people.hold_out(seed, rows, share=holdout, moment=api.moment(split_time))
    beside = reading.shadow_table(shadow, rows, how)
    own = None if beside is None else shadows.matched(beside, rows.models)
    by = None if features_by is None else reading.made_by(features_by, rows)
    fitting.check_rows(chosen, rows, own)
    logs, used = reading.as_logs(rows, encoder)
    used = by or used
    answered = None if beside is None else shadows.examples(beside, rows.models, encoder=used)
    gathered: list[Evidence] = []
    with _progress() as on_stage:
        router = fitting.fit(
            jax.random.key(seed),
            logs,
            rows.models,
            method=chosen,
            normalised_cost_weights=weights,
            shadow=answered,
            encoder=used,
            members=members,
            on_stage=on_stage,
            on_evidence=gathered.append,
        )
    router.summary.update({"chat": rows.chat, "seed": seed, "usage": rows.usage})
    own = None if beside is None else shadows.matched(beside, rows.models)
    marks = fingerprints.of_log(rows, own, texts=used is not None) if fingerprint else None
    router = api.judged(replace(router, fingerprint=marks), held)
    router.save(out)
    page = reading.write_page(out, reading.normalised(gathered[0], router.cost_scale), router.cost_scale, str(log))
    report(router)
    say(
        f"saved: {out}",
        f"report: {page}",
        f"next: jaxroute route {out} --normalised-cost-weight 0.5 --input PROMPTS.jsonl",
    )


def epilog() -> str:
    """The end of the help: every method, what it takes and what the study found of it."""
    from jaxroute.cli import methods

    return methods.table()


def _answers(path: Path, how: reading.How, encoder: str, features_by: str | None) -> tuple[Table, str | None]:
    """The table, and the encoder of its features; None where they are its own and nobody says what made them."""
    from jaxroute.data import harness

    if harness.is_run(path):
        prices = reading.price_list(how.prices, how.reprice)
        table, own = harness.load(path, encoder=encoder, prices=prices, reprice=how.reprice), False
    else:
        if how != reading.AS_IT_IS:
            raise InputError("--prices belong to a log or to results; give them to jaxroute table")
        table, own = harness.load(path, encoder=encoder), any(path.glob("features*.npy"))
    if features_by is not None:
        reading.check_width(features_by, table.features if own else None, "the table")
    return table, (features_by if own else encoder)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done; nothing where there is no terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("reading", total=None)
        yield lambda stage: progress.update(bar, description=stage)


def report(router: Router) -> None:
    """What the log, or the table, says about the router, as a table."""
    summary: dict[str, Any] = router.summary
    prompts, shadow = summary.get("table_prompts"), summary.get("shadow_prompts", 0)
    lines = []
    for row in summary["by_cost_weight"]:
        interval = "none" if row["interval"] is None else "[{:.3f}, {:.3f}]".format(*row["interval"])
        half = row["gain_interval"]
        gain = f"{row['gain']:+.3f}" + (" (guess)" if half is None else f" ± {half[1] - row['gain']:.3f}")
        single = router.models[row["best_single"]]
        lines.append(
            [row["normalised_cost_weight"], row["cost_weight"], row["value"], interval, gain, single, row["verdict"]]
            + ([f"{row['shadow_share']:.0%}"] if shadow else [])
        )
    if held := summary.get("held_out"):
        _held_out(held)
    for sentence in summary.get("conclusion", ()):  # artefacts of 0.1 have none
        say(sentence)
    header = ["normalised", "cost weight", "value", "95% interval", "gain over best single", "best single", "verdict"]
    on = "the log and its shadow sample" if shadow else "the log" if prompts is None else "the table"
    header += ["shadow's share"] if shadow else []
    reading.show(f"value on {on}, out of fold (quality units)", header, lines)
    if prompts is not None:
        answers = ", ".join(f"{name} {count}" for name, count in summary["answers_by_model"].items())
        say(f"{prompts} prompts; answers: {answers}")
        if unknown := summary["costs_unknown"]:
            say(f"{unknown} of these have no cost, so the router takes cost weight 0 alone")
    else:
        say(
            f"{summary['rows']} rows, {summary['rows_with_feedback']} with feedback, "
            f"{summary['rows_with_known_propensity']} with a known propensity; {shadow} shadow prompts"
        )
    for line in made(summary):
        say(line)
    if shadow:
        say("shadow's share: of the value, by effective rows; 100% where the log supports the router too little")
    if any(row["verdict"] == "refuse" for row in summary["by_cost_weight"]):
        say("where the verdict is refuse, the value is an extrapolation: see jaxroute doctor LOG")


def _held_out(held: dict[str, Any]) -> None:
    """What the rows that were held out say, as a table."""
    import pandas as pd

    from jaxroute.cli import evaluate

    say(f"On {held['rows']:,} rows that were held out:", *held["conclusion"])
    frame = pd.DataFrame(held["by_cost_weight"]).replace({None: np.nan})
    header, lines = (evaluate.of_table if "regret" in frame else evaluate.of_log)(frame)
    reading.show("value on the rows that were held out (quality units)", header, lines)
    say("On the others, out of fold:")


def made(summary: dict[str, Any]) -> list[str]:
    """How the router was made, in sentences, from what its artefact keeps."""
    lines = [f"method: {summary['method']}" + (f", {n} members averaged" if (n := summary["members"]) > 1 else "")]
    if (share := summary.get("share_of_contrasts")) is not None:
        lines[0] += f"; {100 * share:.0f}% of the predicted contrasts kept"
    if training := summary.get("training"):
        lines.append(
            f"{training['networks']} networks trained on the loss {training['loss']}, over {training['folds']} folds; "
            "each row of the log is decided by those that never saw it, a new prompt by all together"
        )
        if (gained := training.get("members_that_gained_on_their_start")) is not None:
            lines.append(
                f"{gained} of {training['members']} members gained a standard error on what they started from, on "
                "their validation rows; the others stay what they started from"
            )
    if loss := summary.get("distilling"):
        otherwise, lost = 100 * loss["decides_otherwise"], 100 * loss["predicted_utility_lost"]
        lines.append(
            f"{_DISTILLED[summary['kind']].format(otherwise)}, a loss of {lost:.2f} points by its own estimate"
        )
    return lines


_DISTILLED = {
    "plug_in": "distilled into one network: {:.1f}% of held-out prompts are decided otherwise than by its teacher",
    "affine": "its plug-in is distilled into one network, which decides {:.1f}% of held-out prompts otherwise",
    "per_weight": "the networks stand in for the neighbours: they decide {:.1f}% of held-out prompts otherwise",
}


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--normalised-cost-weights {text!r}: write numbers with commas, as in 0,0.5,1") from None
