"""Room for compiled programs: each maps memory, and Linux grants a process so many maps.

Every log of another size compiles programs of its own, some two thousand maps a fit, and JAX keeps them all. A process
that fits logs of some 25 sizes would get no more, and end without a word of why.
"""

from __future__ import annotations

from pathlib import Path

MAPS, GRANTED = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
SHARE = 0.5
"""Of the maps that may be in use before programs are let go."""


def make_room(granted: int | None = None) -> bool:
    """Let JAX's compiled programs go where a process has used half of its maps; they are compiled again when needed.

    Args:
        granted: maps that the system grants; None: what Linux says, and nothing is done elsewhere.

    Returns:
        Whether they were let go.

    Example:
        >>> make_room(10**9)
        False
    """
    import jax

    try:
        used = MAPS.read_bytes().count(b"\n")
        granted = int(GRANTED.read_text()) if granted is None else granted
    except OSError:
        return False
    if used <= SHARE * granted:
        return False
    jax.clear_caches()
    return True
