"""What every command shares: its options, and how errors become one line and an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxroute.engine.checkpoint import SaveError
from jaxroute.system import parsing, stopping
from jaxroute.system.printing import say
from jaxroute.types import InputError


def parser(
    module: str, about: str | None, *, config: str = "", out: str = "results", **more: Any
) -> argparse.ArgumentParser:
    """The parser of ``python -m experiments.<module>``: --data, --out and --smoke, with ``config`` also --config."""
    made = parsing.Parser(prog=f"python -m experiments.{module}", description=about, **more)
    if config:
        made.add_argument(
            "--config", default=config, help="name of a config in experiments/configs, or path of a .py file"
        )
        made.add_argument("--data", help="folder (or wide file) of a full-feedback table; see README, Data")
    made.add_argument("--out", type=Path, default=Path(out), help="folder to write results to")
    made.add_argument("--smoke", action="store_true", help="run on a small problem, in seconds")
    return made


def exit_code(work: Callable[[], int | None]) -> int:
    """0 or what ``work`` returns; 2 and one line for bad input or a full disk, 130 where it was stopped.

    141 where the reader of its output has gone (``stopping.CLOSED``).
    """
    try:
        with stopping.heard():
            return work() or 0
    except (InputError, SaveError) as error:
        print(f"error: {error}", file=sys.stderr)
    except BrokenPipeError:
        return stopping.CLOSED
    except OSError as error:  # a full disk met outside a checkpoint
        why = f"{error.filename or 'a result'}: {error.strerror or error}"
        say(f"error: {why}; finished work is saved, so run the same command again", to=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; finished work is saved, and the same command continues from there", file=sys.stderr)
        return stopping.STOPPED
    return 2
