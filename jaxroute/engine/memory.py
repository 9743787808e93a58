"""Memory: bytes that a compiled program needs, bytes there are, and how many points fit at a time.

    block = memory.plan(lambda block: sweep.over_points(train_one, mesh, block=block), count, (points, data), mesh=mesh)

Nothing is guessed: the compiler says what each program allocates. The program for all points at once is asked
first, and is the one that runs if it fits (compiled once); only else are others compiled to find a block.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxroute.types import InputError

SHARE = 0.8  # of free memory that is planned with; the rest is for what no compiler knows of


def needed(compiled: Any, resident: Any = ()) -> int:
    """Bytes that one device must have free to run a compiled program.

        arguments + results + temporaries - results that take the place of donated arguments - resident

    Args:
        compiled: ``jitted.lower(...).compile()``.
        resident: a tree of JAX arrays among the arguments that are on the devices already.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.ones((256, 256))
        >>> program = jax.jit(lambda x: jnp.stack([x, 2 * x])).lower(x).compile()
        >>> print(needed(program) // x.nbytes, needed(program, x) // x.nbytes)
        3 2
    """
    said = compiled.memory_analysis()
    there = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(resident))
    total = said.argument_size_in_bytes + said.output_size_in_bytes + said.temp_size_in_bytes
    return total - said.alias_size_in_bytes - there


def free(mesh: Mesh) -> int:
    """Bytes free on the fullest device of the mesh, the same answer on every host.

    CPU devices share their host's memory equally.
    """
    devices = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
    stats = [device.memory_stats() for device in devices]
    if all(each and "bytes_limit" in each for each in stats):
        there = min(each["bytes_limit"] - each["bytes_in_use"] for each in stats)
    else:
        there = host_free() // len(devices)
    if jax.process_count() > 1:  # hosts that planned differently would run different programs, and wait for ever
        from jax.experimental import multihost_utils

        there = 1024 * int(multihost_utils.process_allgather(np.int32(min(there // 1024, 2**31 - 1))).min())
    return there


def host_free(limits: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process can still get: what the system has available, or less in a container.

    limits: where Linux says what the container may use (memory.max of cgroup v2); absent elsewhere.
    """
    import psutil

    there = psutil.virtual_memory().available
    try:
        limit = int((limits / "memory.max").read_text())  # "max" where there is none
        used = int((limits / "memory.current").read_text())
        stat = dict(line.split() for line in (limits / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return there
    return max(0, min(there, limit - used + int(stat.get("inactive_file", 0))))


def largest_block(needed_at: Callable[[int], int], count: int, budget: int) -> int:
    """The fewest batches of ``count`` points that fit, as points per batch.

    Need is taken to be a line through one point at a time and all at once; what is chosen is checked, and takes the
    place of "all at once" if it needs more.

    Args:
        needed_at: points at a time -> bytes. Called for ``count``, and if that is too much for 1 and a few others.
        count: points in all, at least 1. budget: bytes.

    Returns:
        ``count`` if all fit at once, else the block; batches are as equal as can be.

    Raises:
        InputError: not even one at a time fits.

    Example:
        >>> print(largest_block(lambda block: 100 + 10 * block, count=20, budget=190))
        7
    """
    everything = needed_at(count)
    if everything <= budget:
        return count
    least = needed_at(1) if count > 1 else everything
    if least > budget:
        raise InputError(
            f"{count} points on a device need {_size(least)} even one at a time, but only {_size(budget)} may be used; "
            f"use fewer points (about {count * budget // least}), a smaller network, or more devices"
        )
    block, need = count, everything
    while block > 1 and need > budget:
        slope = max(need - least, 1) / (block - 1)
        block = _equal(count, min(block - 1, 1 + int((budget - least) / slope)))
        need = needed_at(block) if block > 1 else least
    return block


def plan(
    program: Callable[[int | None], Any],
    count: int,
    arguments: tuple[Any, ...],
    *,
    mesh: Mesh,
    resident: Any = (),
    budget: int | None = None,
) -> int | None:
    """How many of its ``count`` points a device should run at a time.

    Args:
        program: block -> jitted program (``sweep.over_points``, say).
        arguments: what it will be called with: arrays or ``jax.ShapeDtypeStruct`` with shardings.
        resident: those of the arguments that are on the devices already.
        budget: bytes a device may use; None: ``SHARE`` of what is free now.

    Returns:
        The block; None: all at once.

    Raises:
        InputError: not even one at a time fits.
    """

    def needed_at(block: int) -> int:
        return needed(program(None if block == count else block).lower(*arguments).compile(), resident)

    block = largest_block(needed_at, count, int(SHARE * free(mesh)) if budget is None else budget)
    return None if block == count else block


def _equal(count: int, block: int) -> int:
    """The smallest block that makes no more batches than ``block`` does."""
    block = max(block, 1)
    return -(-count // -(-count // block))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
