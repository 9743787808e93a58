"""Ctrl-C ends a command, and once is enough."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

STOPPED = 130
"""The exit code after Ctrl-C, as shells have it."""
AGAIN = 2.0
"""Seconds after which an interrupt that nothing came of is raised again."""


def at_once() -> None:
    """Ctrl-C ends the process; for the time in which libraries are imported, which swallow exceptions."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def heard() -> Iterator[None]:
    """Inside, Ctrl-C raises KeyboardInterrupt, again and again until the block is left.

    An exception that is raised in a callback of a library is printed there and forgotten; raised again, it is heard.

    Example:
        >>> with heard():
        ...     signal.getsignal(signal.SIGINT) is _stop
        True
    """
    before = signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler if before is signal.SIG_DFL else before)


def leave(code: int | str | None) -> NoReturn:
    """Exit; after Ctrl-C at once: a runtime whose threads still compute may hang or crash while it is torn down."""
    if code == STOPPED:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(STOPPED)
    sys.exit(code)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    raise KeyboardInterrupt
