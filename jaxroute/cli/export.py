"""``jaxroute export ROUTER``: StableHLO for runtimes without jaxroute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from jaxroute.cli import output
from jaxroute.cli.reading import RouterPath
from jaxroute.data import saving


def export(
    router: RouterPath,
    out: Annotated[Path, typer.Option(help="File to write; OUT.json beside it holds the model names and units.")],
) -> output.Result:
    """Write a router as one StableHLO program: (features [N, D], cost weight) -> scores [N, K].

    Example:

      jaxroute export router --out router.stablehlo
    """
    from jaxroute.serving import export as exporting
    from jaxroute.serving import kinds
    from jaxroute.serving.router import Router

    saving.check_file(out)
    loaded = Router.load(router)
    content = exporting.stablehlo(loaded)
    meta = {
        "kind": kinds.name_of(loaded.kind),
        "models": list(loaded.models),
        "encoder": loaded.encoder,
        "revision": loaded.revision,
        "num_features": loaded.kind.num_features,
        "cost_scale": loaded.cost_scale,
        "platforms": list(exporting.PLATFORMS),
    }
    for path, data in ((out.with_name(out.name + ".json"), json.dumps(meta, indent=1).encode()), (out, content)):
        with saving.file(path) as file:
            file.write(data)
    said = f"{out}: {len(content) / 1e6:.2f} MB, {len(loaded.models)} models; names and units: {out.name}.json"
    return output.Result({"program": str(out), "bytes": len(content), **meta}, [said])
