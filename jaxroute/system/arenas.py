"""How many arenas glibc's allocator keeps: what a thread freed in an arena of its own, no other thread can use."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

ARENAS = 2
"""Without a limit glibc makes up to eight for every core, and `fit` of the demo log peaks a twelfth higher
(`make bench-fit` prints the peak)."""
_M_ARENA_MAX = -8
"""Of mallopt(3), in glibc's malloc.h."""


def few(arenas: int = ARENAS) -> bool:
    """Have the process keep at most so many, before it starts threads; what the environment says of it stands.

    Returns:
        Whether glibc took it; other C libraries have no arenas to limit.

    Example:
        >>> few() in (True, False)
        True

    Reference:
        https://man7.org/linux/man-pages/man3/mallopt.3.html (M_ARENA_MAX)
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    with suppress(AttributeError, OSError, TypeError):  # no mallopt, no library of the process, Windows
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, arenas))
    return False
