"""How a command ends before its work is done: Ctrl-C, where once is enough, or nobody reads what it prints any more."""

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
CLOSED = 141
"""The exit code where the reader of the output has gone, as of ``jaxroute route ... | head -1``; as shells have it."""
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
    sys.exit(arrived(code))


@contextmanager
def piped() -> Iterator[None]:
    """Inside, output that nobody reads any more ends the command with `CLOSED`.

    Parsers and printers exit with 1 there; what they met is the context of their exit.

    Example:
        >>> try:
        ...     with piped():
        ...         raise BrokenPipeError
        ... except SystemExit as exit_:
        ...     exit_.code == CLOSED
        True
    """
    try:
        yield
    except BrokenPipeError:
        raise SystemExit(CLOSED) from None
    except SystemExit as exit_:
        if isinstance(exit_.__context__, BrokenPipeError):
            raise SystemExit(CLOSED) from None
        raise


def arrived(code: int | str | None) -> int | str | None:
    """The exit code once what was printed has left this process: `CLOSED` where nobody reads it, 2 for a full disk."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except ValueError:  # closed by this process itself
            pass
        except OSError as error:
            code = CLOSED if isinstance(error, BrokenPipeError) else _refused(error)
            with open(os.devnull, "w") as nowhere:  # what is left of it is flushed once more at the end
                os.dup2(nowhere.fileno(), stream.fileno())
    return code


def _refused(error: OSError) -> int:
    with suppress(OSError):
        print(f"error: the output: {error.strerror or error}", file=sys.stderr)
    return 2


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    raise KeyboardInterrupt
