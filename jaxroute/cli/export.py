"""``jaxroute export ROUTER``, ``page ROUTER`` and ``verify PATH``: a router elsewhere, and whether all agree."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from jaxroute.cli import options, output, reading
from jaxroute.cli.options import RouterPath
from jaxroute.data import saving
from jaxroute.system.printing import say
from jaxroute.types import InputError


def export(
    router: RouterPath,
    out: Annotated[Path, typer.Option(help="Folder to write; export.json in it says how to call the program.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="stablehlo: for IREE and other compilers. jax: for jax.export. onnx: for onnxruntime and others. js: "
            "an ES module for Node and browsers.",
        ),
    ] = "jax",
    batch: Annotated[
        list[int] | None,
        typer.Option(
            help="Number of rows of a program of its own, beside the one for any (stablehlo, jax). Repeatable."
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store weights as float16 (onnx); says what that changes.")
    ] = False,
) -> output.Result:
    """Write a router as a program: (features [N, D], cost weight) -> scores [N, K], and what it predicts.

    Examples:

      jaxroute export router --format onnx --out exported

      jaxroute export router --format stablehlo --batch 1 --batch 32 --out exported
    """
    from jaxroute.serving.exports import writing

    meta = writing.write(router, out, form, tuple(batch or (1,)), half)
    size = sum(file.stat().st_size for file in out.iterdir())
    said = [f"{out}: {form}, {size / 1e6:.2f} MB, {len(meta['models'])} models; how to call it: {out / writing.META}"]
    if half:
        found = meta["float16"]
        said.append(f"float16 weights change {found['changed']} of {found['decisions']} decisions on typical rows")
    return output.Result({"folder": str(out), "bytes": size, "export": meta}, said)


def page(
    router: RouterPath,
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    log: Annotated[
        str | None, typer.Option(help="A log, of which the page shows what share of its traffic each model would get.")
    ] = None,
    how: options.How = options.AS_IT_IS,
    unit: Annotated[str, typer.Option(help="Unit of the costs, as the page names it.")] = "US dollars",
) -> output.Result:
    """Write one HTML file in which one types a prompt and sees which model would answer, and at what quality and cost.

    The file needs no network and holds no row of the log; open it in any browser. It shows the predicted quality and
    cost of every model, the point on the curve of quality and cost, and the shares of traffic: those of --log, else
    those that the router keeps of the log that it was fitted to.

    Example:

      jaxroute page router --log requests.parquet --out router.html
    """
    from jaxroute.serving.exports import page as pages

    saving.check_file(out)
    loaded = pages.load(router)
    traffic = None if log is None else pages.of_log(loaded, reading.read(log, how, loaded), Path(log).name)
    pages.write(router, out, traffic, unit)
    size = out.stat().st_size
    rows = None if traffic is None else traffic.rows
    of = "" if traffic is None else f", with the traffic of {rows} rows of {log}"
    said = [f"{out}: {size / 1e6:.2f} MB, {len(loaded.models)} models{of}; open it in a browser"]
    found = {"router": str(router), "page": str(out), "bytes": size, "log": log, "rows": rows}
    return output.Result({**found, "models": list(loaded.models)}, said)


def verify(
    path: Annotated[Path, typer.Argument(help="Folder of a router, or of an export.", show_default=False)],
) -> output.Result:
    """Compute a router's test vectors anew, with every runtime that is installed, and say what differs.

    Example:

      jaxroute verify router
    """
    from jaxroute.serving.exports import checking

    checks = checking.verify(path)
    for check in checks:
        for line in check.differences:
            say(f"{check.runtime}: {line}", to=sys.stderr)
    if wrong := [check.runtime for check in checks if check.differences]:
        raise InputError(
            f"{path}: {', '.join(wrong)}: not what {path / 'vectors.json'} says; the lines above say where"
        )
    if not any(check.ran for check in checks):
        raise InputError(f"{path}: nothing was verified, because {checks[0].why}")
    said = [
        f"{check.runtime}: {check.decisions} decisions are equal; numbers differ by at most {check.worst:.1e}"
        if check.ran
        else f"{check.runtime}: not checked, because {check.why}"
        for check in checks
    ]
    return output.Result({"path": str(path), "checks": [check._asdict() for check in checks]}, said)
