"""Do jaxroute's estimators and SPO+ agree with other libraries on the same inputs?

    make peers            (N=obp for one of them; their environments are created once, some minutes and 10 GB)

Prints the largest difference of values and of standard errors for every library and estimator. A difference is either
below 1e-9 or explained in ``DIFFERENCES`` and in docs/peers.md; anything else is an error. A library that is not
installed is named and left out.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import commands
from experiments.checks.peers import problem
from jaxroute.system import stopping

TOLERANCE = 1e-9
VALUE, ERROR = "value", "error"
SKDR = ("dr", "dr, capped", "switch", "dros", "families")
FIXED = "holds the normaliser fixed in the row estimates that it bootstraps"
DIFFERENCES = {
    ("obp", "snipw", ERROR): FIXED,
    ("obp", "sndr", ERROR): FIXED,
    ("obp", "snipw, capped", VALUE): "ignores its cap",
    ("obp", "snipw, capped", ERROR): f"ignores its cap, and {FIXED}",
    ("obp", "sndr, capped", VALUE): "ignores its cap",
    ("obp", "sndr, capped", ERROR): f"ignores its cap, and {FIXED}",
    **{("skdr", name, ERROR): "divides by N, not by N - 1" for name in SKDR},
    ("skdr", "sndr", ERROR): "gives the error of dr",
    ("skdr", "sndr, capped", ERROR): "gives the error of dr",
    ("cje", "ipw", VALUE): "divides its raw weights by their sum, too",
    ("cje", "ipw", ERROR): "divides its raw weights by their sum, too",
    ("contextualbandits", "snipw, capped", VALUE): "drops the rows whose weight is above the cap",
}
PEERS = ("obp", "skdr", "coba", "contextualbandits", "cje", "pyepo")


def main(arguments: list[str] | None = None) -> int:
    parser = commands.parser("peers", __doc__)
    parser.add_argument("--environments", type=Path, default=Path(".venv-peers"), help="folder with one a library")
    parser.add_argument("--only", choices=PEERS, help="one library")
    options = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    found = problem.cases()
    ours = problem.ours(found)
    unexplained = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npz"
        problem.save(found, path)
        print(f"{len(found)} logs of {len(found[0].target)} rows; largest difference of {VALUE}s and {ERROR}s")
        for peer in PEERS if options.only is None else (options.only,):
            python = options.environments / peer / "bin" / "python"
            if not python.exists():
                print(f"{peer}: not installed in {options.environments / peer}, not compared")
                continue
            try:
                unexplained += _compared(peer, _said(python, peer, path), ours)
            except RuntimeError as error:
                print(f"{peer}: {error}")
                unexplained += 1
    return 0 if unexplained == 0 else 1


def _said(python: Path, peer: str, inputs: Path) -> dict[str, Any]:
    """What a library's script prints."""
    script = Path(__file__).with_name(f"of_{peer}.py")
    ran = subprocess.run([python, script, inputs], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{script.name} failed: {(ran.stderr.strip().splitlines() or [''])[-1]}")
    return json.loads(ran.stdout.splitlines()[-1])


def _compared(peer: str, said: dict[str, Any], ours: dict[str, tuple[np.ndarray, np.ndarray]]) -> int:
    """Print a library's differences; returns how many are neither small nor explained."""
    print(f"{peer} {said['version']}")
    wrong = 0
    for name, theirs in said["found"].items():
        parts = []
        for kind, one, other in zip((VALUE, ERROR), ours[name], theirs, strict=True):
            if other is None:
                parts.append(f"{kind} none     ")
                continue
            difference = float(np.nanmax(np.abs(np.array(other, float) - one)))
            why = DIFFERENCES.get((peer, name, kind), "")
            if (difference > TOLERANCE) != bool(why):
                why, wrong = "NOT EXPLAINED" if not why else f"no longer so: {why}", wrong + 1
            parts.append(f"{kind} {difference:.1e} {why}".rstrip())
        print(f"  {name:14s} " + "   ".join(parts))
    return wrong


if __name__ == "__main__":
    stopping.leave(main())
