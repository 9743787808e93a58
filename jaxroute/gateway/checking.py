"""What each setting of ``models.yaml`` must be by itself; `settings` knows which of them make sense together.

YAML reads ``0.2`` as a number, ``"0.2"`` and ``1,000`` as texts, ``yes`` as a truth value and ``5`` as a number even
where a name is meant. A setting of another type than its own is refused here, by its name, before anything is decided:
``log_prompts: "false"`` is a text, which counts as true, and would write every prompt to the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jaxroute.settings import number, refused, whole

if TYPE_CHECKING:
    from jaxroute.gateway.settings import Settings

Rule = Callable[[str, Any], None]


def each(settings: Settings) -> None:
    """Refuse the first setting that is not what it must be; None is fine where it is the default.

    Raises:
        InputError: names the setting.
    """
    for names, rule in RULES.items():
        for name in names:
            value = getattr(settings, name)
            if value is not None or name not in _LEFT_OUT:
                rule(name, value)


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise refused(name, value, "a text (in YAML a name such as 5 or yes needs quotes)")


def _truth(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise refused(name, value, "true or false, without quotes")


def _names(name: str, value: Any) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) and one for one in value):
        raise refused(name, value, "a list of names (in YAML a name such as 5 or yes needs quotes)")


def _mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise refused(name, value, "keys and values, a model's name and what it can do")


def _finite(name: str, value: Any) -> None:
    number(name, value)


def _share(name: str, value: Any) -> None:
    number(name, value, "a share of requests between 0 and 1", lambda share: 0 <= share <= 1)


def _seconds(name: str, value: Any) -> None:
    number(name, value, "a finite number of seconds of at least 0", lambda x: 0 <= x < math.inf)


def _megabytes(name: str, value: Any) -> None:
    number(name, value, "a finite number of at least 0.001", lambda x: 0.001 <= x < math.inf)


def _count(name: str, value: Any) -> None:
    whole(name, value, 1)


RULES: Mapping[tuple[str, ...], Rule] = {
    ("models",): _names,
    ("default", "alias", "router", "encoder", "log", "feedback"): _text,
    ("log_prompts", "log_daily", "log_compress"): _truth,
    ("capabilities", "context"): _mapping,
    ("cost_weight", "normalised_cost_weight", "budget", "quality_target"): _finite,
    ("epsilon",): _share,
    ("reload_seconds",): _seconds,
    ("log_megabytes",): _megabytes,
    ("max_characters",): _count,
    ("seed",): whole,
}
_LEFT_OUT = {
    "router", "encoder", "log", "feedback", "cost_weight", "normalised_cost_weight", "budget", "quality_target",
    "log_megabytes", "seed",
}  # fmt: skip
