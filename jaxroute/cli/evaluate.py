"""``jaxroute evaluate ROUTER LOG``, ``compare A B LOG`` and ``rank LOG A B C``: judge routers on a log that is new to
them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from jaxroute.cli import judged, options, output, reading
from jaxroute.cli.progress import doing, note
from jaxroute.cli.sheets import records
from jaxroute.data import saving
from jaxroute.types import InputError, Table

if TYPE_CHECKING:
    from jaxroute.serving import evaluation
    from jaxroute.serving.router import Router
    from jaxroute.serving.unseen import Stored


def evaluate(
    router: options.RouterPath,
    log: Annotated[str | None, typer.Argument(help="A log that the router was not fitted on.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="A full table instead of a log; the result then includes the regret.")
    ] = None,
    how: options.How = options.AS_IT_IS,
    shadow: options.Shadow = None,
    encoder: options.RouterEncoder = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Folder for report.html with the evidence of the log, and for its figures as SVG, PNG and PDF.",
        ),
    ] = None,
) -> output.Result:
    """Estimate the value of a router by cost weight, with intervals and verdicts, on a log it was not fitted on.

    Rows that the router learned from are left out, if it keeps a fingerprint of them (see jaxroute fit). If it learned
    from all rows, the value that fit stored is printed instead, estimated out of fold.

    "flips at" is the factor by which a hidden confounder would have to change the odds of the logged choices before the
    sign of the gain over the logging policy is no longer certain; 1.1 is weak and 3 is strong. With --shadow, the
    answers of a shadow sample that the router was not fitted on are pooled with the rows of the log.

    Examples:

      jaxroute evaluate router later_requests.parquet --report page

      jaxroute evaluate router later_requests.parquet --shadow later_answered_by_all/

      jaxroute evaluate router --table tables/routerbench
    """
    from jaxroute.serving import evaluation
    from jaxroute.serving.router import Router

    if page is not None:
        saving.check_file(page / "report.html")
    loaded = Router.load(router, encoder)
    if (log is None) == (table is None):
        raise InputError("give either a LOG or --table FOLDER")
    for option, given in (("--report", page), ("--shadow", shadow)):
        if given is not None and log is None:
            raise InputError(f"{option} needs a log; give a LOG")
    written: str | None = None
    found: evaluation.LogEvaluation | evaluation.TableEvaluation | Stored
    if table is not None:
        answers = reading.results(table)
        found = evaluation.on_table(loaded, answers, normalised_cost_weights=_grid(loaded, answers=answers))
    else:
        assert log is not None
        log_rows = reading.read(log, how, loaded)
        answered = reading.shadow_table(shadow, log_rows, how)
        weights = _grid(loaded)
        with doing("evidence from the log"):
            found = evaluation.on_log(
                loaded, log_rows, shadow=answered, name=Path(router).name, normalised_cost_weights=weights
            )
        if page is not None and not isinstance(found, evaluation.LogEvaluation):
            note(f"note: no report is written, as these are no new data; see {router / 'report.html'}")
        elif page is not None:
            assert isinstance(found, evaluation.LogEvaluation)
            shown = judged.normalised(found.evidence, found.cost_scale)
            title = f"{router} on {log}"
            written = str(
                judged.write_page(page, shown, found.cost_scale, title, left_out=found.left_out, figures=True)
            )
    rows = records(found.to_frame())
    currency = getattr(found, "currency", "")
    return output.Result(
        {"router": str(router), "on": str(log or table), "conclusion": found.conclusion(), "left_out": found.left_out,
         "currency": currency, "report": written, "by_cost_weight": rows},
        [*found.conclusion(), *judged.reasons(rows), *([f"report: {written}"] if written else [])],
        judged.sheets(rows, str(log or table), currency),
        rows,
        any(row.get("verdict", "ok") != "refuse" for row in rows),
        before=len(found.left_out),
    )  # fmt: skip


def compare(
    a: options.RouterPath,
    b: options.RouterPath,
    log: options.LogPath,
    how: options.How = options.AS_IT_IS,
    shadow: options.Shadow = None,
    encoder: options.RouterEncoder = None,
) -> output.Result:
    """Compare two routers on a log that neither was fitted on: value of A minus value of B, with a 95% interval.

    Rows that one of them learned from are left out, as in jaxroute evaluate. Where the log does not support one of
    them, the difference is the outcome model's guess and is labelled as an extrapolation. With --shadow, the answers of
    a shadow sample that neither was fitted on are pooled with the rows of the log; where the log gives no support, the
    shadow sample is used alone.

    Example:

      jaxroute compare router_new router_old later_requests.parquet
    """
    from jaxroute.serving import comparison
    from jaxroute.serving.router import Router

    first, second = Router.load(a), Router.load(b)
    if encoder is not None:
        if encoder not in (first.encoder, second.encoder):
            raise InputError(
                f"--encoder {encoder}: the routers use {first.encoder} and {second.encoder}; name one of these"
            )
        first, second = (dataclasses.replace(r, may_send=r.encoder == encoder) for r in (first, second))
    table = reading.read(log, how, first, second)
    answered = reading.shadow_table(shadow, table, how)
    weights = _grid(first, second)
    with doing("evidence from the log"):
        found = comparison.compare(first, second, table, shadow=answered, normalised_cost_weights=weights)
    rows = records(found.to_frame())
    said = found.conclusion(str(a), str(b))
    return output.Result(
        {"a": str(a), "b": str(b), "on": str(log), "conclusion": said, "left_out": found.left_out,
         "currency": found.currency, "by_cost_weight": rows},
        said,
        [judged.difference(rows, f"{a} minus {b} on {log} (quality units)")],
        rows,
        any(row["verdict"] != "not supported" for row in rows),
        before=len(found.left_out),
    )  # fmt: skip


def rank(
    log: options.LogPath,
    routers: Annotated[list[Path], typer.Argument(help="Two saved routers or more.", metavar="ROUTER...")],
    how: options.How = options.AS_IT_IS,
    encoder: options.RouterEncoder = None,
) -> output.Result:
    """Find the best of several routers on a log that none of them was fitted on.

    The best of several estimates is too good, because it was picked. The bounds here hold for all differences between
    the routers at all cost weights together, with 95% confidence: a router may be the best one unless another one is
    certainly better. Rows that one of them learned from are left out for all.

    Example:

      jaxroute rank later_requests.parquet router_new router_old router_cheap
    """
    from jaxroute.serving import ranking
    from jaxroute.serving.router import Router

    loaded = [Router.load(router) for router in routers]
    if encoder is not None:
        if encoder not in (made_by := [str(router.encoder) for router in loaded]):
            raise InputError(f"--encoder {encoder}: the routers use {', '.join(made_by)}; name one of these")
        loaded = [dataclasses.replace(router, may_send=router.encoder == encoder) for router in loaded]
    table = reading.read(log, how, *loaded)
    names = [str(router) for router in routers]
    weights = _grid(*loaded)
    with doing("evidence from the log"):
        found = ranking.rank(loaded, table, names=names, normalised_cost_weights=weights)
    rows = records(found.to_frame())
    return output.Result(
        {"routers": names, "on": str(log), "conclusion": found.conclusion(), "left_out": found.left_out,
         "by_cost_weight": rows},
        found.conclusion(),
        [judged.ranking(rows, f"value on {log} (quality units; bounds for all differences together)")],
        rows,
        any(row["verdict"] != ranking.UNKNOWN for row in rows),
        before=len(found.left_out),
    )  # fmt: skip


def _grid(*routers: Router, answers: Table | None = None) -> Sequence[float]:
    """The normalised cost weights to report: 0 alone where a router or a table does not know the costs."""
    from jaxroute.recipe import GRID

    unknown = answers is not None and bool((answers.available & np.isnan(answers.outcomes.cost)).any())
    if all(router.costs_known for router in routers) and not unknown:
        return GRID
    note("note: costs are unknown, so values are given at cost weight 0 alone")
    return (0.0,)
