"""What commands say on stderr while they work: notes, and what is being done."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jaxroute.system.printing import plain, say

EVERY = 5.0
"""Seconds between two lines about progress, where there is no terminal."""
QUIET = ContextVar("quiet", default=False)
"""Whether --quiet was given; `output` sets it."""


def note(message: str) -> None:
    """Print a line on stderr, so that stdout holds only the result; nothing with --quiet."""
    if not QUIET.get():
        say(message, to=sys.stderr)


@contextmanager
def progress(begins: Mapping[str, float]) -> Iterator[Callable[[str], None]]:
    """What is being done, on stderr: a spinner on a terminal, elsewhere a line every few seconds; none with --quiet.

    Args:
        begins: the stages, each with the share of the whole time after which it usually begins.

    Yields:
        A function to be called with the name of every stage when it begins.
    """
    if QUIET.get():
        yield lambda stage: None
        return
    if sys.stderr.isatty() and not plain():
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("reading", total=None)
            yield lambda stage: bar.update(task, description=stage)
        return
    started, done = time.monotonic(), threading.Event()
    now: dict[str, Any] = {"stage": "reading", "share": 0.0, "at": 0.0}

    def stage(name: str) -> None:
        share = max(now["share"], begins.get(name, now["share"]))
        now.update(stage=name, share=share, at=time.monotonic() - started)

    def lines() -> None:
        while not done.wait(EVERY):
            say(progress_line(now["stage"], now["share"], now["at"], time.monotonic() - started), to=sys.stderr)

    thread = threading.Thread(target=lines, daemon=True)
    thread.start()
    try:
        yield stage
    finally:
        done.set()
        thread.join()


@contextmanager
def doing(stage: str, *, bar: bool = False) -> Iterator[None]:
    """``progress`` of a single stage, of which nobody knows how long it takes.

    Args:
        stage: its name. bar: on a terminal it shows a bar of its own, as encoding does.
    """
    if bar and sys.stderr.isatty():
        yield
        return
    with progress({}) as on_stage:
        on_stage(stage)
        yield


def progress_line(stage: str, share: float, at: float, elapsed: float) -> str:
    """Stage, share done and time left.

    Args:
        share: of the whole, done when the stage began. at: seconds when it began. elapsed: seconds until now.

    Example:
        >>> progress_line("distilling", 0.5, 10.0, 14.0), progress_line("reading", 0.0, 0.0, 5.0)
        ('distilling: 70% done, some 6 s left', 'reading: 5 s so far')
    """
    if not share:
        return f"{stage}: {elapsed:.0f} s so far"
    whole = at / share
    if elapsed >= 0.99 * whole:
        return f"{stage}: more than 99% done, {elapsed:.0f} s so far"
    return f"{stage}: {100 * elapsed / whole:.0f}% done, some {whole - elapsed:.0f} s left"
