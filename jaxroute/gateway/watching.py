"""A new models.yaml, or a new router, is taken up without a restart: validated first, the old one kept on an error."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxroute.gateway.gate import Gate
from jaxroute.gateway.settings import Settings, load_settings
from jaxroute.gateway.writing import LOG
from jaxroute.serving.folder import META
from jaxroute.types import InputError

FIXED = ("log", "feedback", "alias", "log_megabytes", "log_daily", "log_compress", "reload_seconds")
"""Settings that count at the start alone."""


def stamp(path: Path, settings: Settings) -> tuple[Any, ...]:
    """What changes when the settings or their router do."""
    routers = (
        settings.router,
        settings.rollout and settings.rollout.router,
        settings.explore and settings.explore.router,
    )
    state = [] if settings.rollout is None else [Path(settings.rollout.state)]
    return tuple(_stamped(file) for file in (path, *(Path(folder) / META for folder in routers if folder), *state))


def renewed(path: Path, gate: Gate, check: Callable[[Settings], Settings]) -> Gate | None:
    """A gate of the settings as they are now; None, and one line in the log, if they or their router will not do.

    Args:
        path: of models.yaml. gate: the present one. check: the settings with what the gateway knows beside; raises
            InputError for those that it refuses.
    """
    try:
        settings = check(load_settings(path))
        new = Gate(settings)
    except InputError as error:
        LOG.error("%s", f"the change is refused, and the gate stays as it was: {error}")
        return None
    except Exception:  # whoever watches must not end because of one file
        LOG.exception("the change cannot be read, and the gate stays as it was")
        return None
    if new.problem is not None:
        LOG.error("%s", f"the change is refused, and the gate stays as it was: {new.problem}")
        return None
    if late := [name for name in FIXED if getattr(settings, name) != getattr(gate.settings, name)]:
        LOG.warning("%s: %s changed; that counts after a restart", path, ", ".join(late))
    new.apart()
    new.follow(gate)
    new.warm()
    return new


def watch(
    path: Path,
    current: Callable[[], Gate],
    take: Callable[[Gate], None],
    check: Callable[[Settings], Settings],
    every: float,
) -> None:
    """Look at the files again and again, in a thread of its own.

    Args:
        path: of models.yaml. current: the present gate. take: puts a new one in its place. check: see ``renewed``.
        every: seconds.
    """
    pause = threading.Event()

    def look() -> None:
        seen = stamp(path, current().settings)
        while not pause.wait(every):
            if (now := stamp(path, current().settings)) == seen:
                continue
            pause.wait(min(every, 0.2))  # a file that is being written is read when it is whole
            new = renewed(path, current(), check)
            if new is not None:
                take(new)
                LOG.warning("%s: taken up; router %s", path, new.facts["router_version"] or "none")
            seen = stamp(path, current().settings) if new is not None else now

    threading.Thread(target=look, name="jaxroute-watch", daemon=True).start()


def _stamped(file: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def names_of(config: Any) -> list[str] | None:
    """The models that a proxy's configuration lists; None where it takes others too (wildcards, a database)."""
    if not isinstance(config, dict):
        return None
    names = [str(one.get("model_name")) for one in config.get("model_list") or () if isinstance(one, dict)]
    stored = (config.get("general_settings") or {}).get("store_model_in_db")
    return None if stored or not names or any("*" in name for name in names) else names
