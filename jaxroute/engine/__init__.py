"""Training: ONE program and ONE loop for every router, on one device or many, from memory or from disk.

    program = engine.Program(network, objective, spec, sweep.mesh())      # all that is static
    state = engine.train(program, points, learn, validate, folder=folder) # leaves [S, P, ...]; resumes from the folder
    chosen = engine.choose(points, state, features, available, network=network, mesh=program.mesh)

`training` is one point, `program` what is compiled for all of them, `loop` the chunks, `evaluation` what trained points
say; `halving` drops points on the way, `disk` feeds rows that do not fit into memory. `checks` says what is refused,
`identity` whose checkpoints a folder holds. Names below are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxroute.engine.evaluation import choose, evaluate
    from jaxroute.engine.halving import search
    from jaxroute.engine.loop import Hook, train
    from jaxroute.engine.program import ROUTER, Program, Task

_HOME = {
    **dict.fromkeys(("Program", "Task", "ROUTER"), "program"),
    **dict.fromkeys(("train", "Hook"), "loop"),
    **dict.fromkeys(("choose", "evaluate"), "evaluation"),
    "search": "halving",
}
__all__ = ["ROUTER", "Hook", "Program", "Task", "choose", "evaluate", "search", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
