"""Watching a long run: progress with time left and the best value so far, metrics, a profile, a polite Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import numpy as np

from experiments import storage
from experiments.settings import Config
from jaxroute.types import Hyperparams, InputError

EVERY = 10.0  # seconds between lines of progress


@contextmanager
def writer(folder: Path, *, tensorboard: bool = False) -> Iterator[Callable[..., None]]:
    """``write(step, event=..., name=number, ...)``: metrics.jsonl always, TensorBoard if asked for.

    Raises:
        InputError: TensorBoard is asked for and tensorboardX is not installed.
    """
    if not tensorboard:
        yield lambda step, **fields: storage.log_line(folder, step=step, **fields)
        return
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError("TENSORBOARD=1 needs an extra; run pip install -e '.[tensorboard]'") from None
    board = SummaryWriter(str(folder / "tensorboard"))

    def write(step: int, **fields: Any) -> None:
        storage.log_line(folder, step=step, **fields)
        about = "/".join(str(x) for x in fields.values() if isinstance(x, str))
        for name, value in fields.items():
            if isinstance(value, int | float):
                board.add_scalar(f"{about}/{name}", value, step)

    try:
        yield write
    finally:
        board.close()


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """The first Ctrl-C only leaves a note: ``check()``, called where all is saved, then raises KeyboardInterrupt.

    The second one stops at once.
    """
    asked: list[bool] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)
        print("stopping after this chunk (press Ctrl-C again to stop at once)", file=sys.stderr, flush=True)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def profiled(folder: Path, wanted: bool) -> Iterator[Callable[[], None]]:
    """``tick()`` after every chunk; the second chunk (the first compiles) is traced into folder/profile."""
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if wanted and ticks == 1:
            jax.profiler.start_trace(str(folder / "profile"))
        elif wanted and ticks == 2:
            jax.profiler.stop_trace()

    try:
        yield tick
    finally:
        if wanted and ticks == 1:
            jax.profiler.stop_trace()


def progress(total: int) -> Callable[..., None]:
    """``show(what, steps done now, best value, restored=steps)``: a line every ten seconds and at the end.

    The time left takes steps as equal; halving makes later ones cheaper, so it errs on the long side. ``restored``
    steps, of an earlier run, are done but cost this run no time.
    """
    begun = shown = time.perf_counter()
    done = trained = 0

    def show(what: str, steps: int, best: float, restored: int = 0) -> None:
        nonlocal shown, done, trained
        trained += steps
        done += restored + steps
        now = time.perf_counter()
        if now - shown < EVERY and done < total:
            return
        shown = now
        left = (now - begun) * (total - done) / max(trained, 1)
        print(
            f"{what}: {done}/{total} steps, {now - begun:.0f} s, {left:.0f} s left, best value {best:.4f}",
            file=sys.stderr,
            flush=True,
        )

    return show


def after_chunk(
    config: Config, points: Hyperparams, name: str, watch: tuple[Any, ...]
) -> Callable[[int, np.ndarray, np.ndarray], None]:
    """``on_chunk(step, alive, value)`` of one cell of a sweep: writes, shows and stops after every chunk.

    Args:
        watch: what `writer`, `profiled`, `progress` and `interruptible` gave.
    """
    write, tick, show, stop_if_asked = watch
    spec, begun, trained = config.training, time.perf_counter(), 0

    def on_chunk(step: int, alive: np.ndarray, value: np.ndarray) -> None:
        nonlocal trained
        mean, weights = value[:, alive].mean(0), np.asarray(points.cost_weight)[0, alive]
        best = float(np.mean([mean[weights == w].max() for w in np.unique(weights)]))
        seconds = round(time.perf_counter() - begun, 3)
        write(step, event="chunk", cell=name, alive=len(alive), best=best, seconds=seconds)
        tick()
        restored = 0 if trained else step - spec.chunk
        trained += spec.chunk
        show(f"{name}, {len(alive)} x {config.seeds} routers", spec.chunk, best, restored=restored)
        if step == spec.steps:
            write(step, event="cell", cell=name, seconds=seconds)
        stop_if_asked()

    return on_chunk
