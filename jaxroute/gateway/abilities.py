"""What LiteLLM knows of the models that the settings do not describe: tools, JSON, images, and tokens of context."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import litellm

from jaxroute.gateway.settings import CAPABILITIES, Settings

ASKED = {
    "tools": "supports_function_calling",
    "json": "supports_response_schema",
    "images": "supports_vision",
}
FORMAT = "response_format"


def informed(settings: Settings, deployments: Sequence[Any]) -> Settings:
    """The settings with the abilities of the models that they do not name.

    A model with several deployments can do what all of them can. A deployment's own ``model_info`` in LiteLLM's
    configuration counts before LiteLLM's table; one that neither knows limits nothing.

    Args:
        settings: of the gate. deployments: LiteLLM's model_list.

    Example:
        >>> deployments = [{"model_name": "small", "litellm_params": {"model": "openai/gpt-3.5-turbo"}}]
        >>> found = informed(Settings(("small", "large"), "small"), deployments)
        >>> found.capabilities["small"], found.context["small"], "large" in found.capabilities
        (('tools', 'json'), 16385, False)
    """
    capabilities, context = dict(settings.capabilities), dict(settings.context)
    for model in settings.models:
        facts = [facts_of(one) for one in deployments if isinstance(one, Mapping) and one.get("model_name") == model]
        limits = [most for most in (one.get("max_input_tokens") for one in facts) if isinstance(most, int) and most > 0]
        lacked = {need for one in facts for need in CAPABILITIES if one.get(ASKED[need]) is False}
        if lacked:
            capabilities.setdefault(model, tuple(need for need in CAPABILITIES if need not in lacked))
        if limits:
            context.setdefault(model, min(limits))
    return dataclasses.replace(settings, capabilities=capabilities, context=context)


def facts_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a deployment, by LiteLLM's names: its own ``model_info``, else LiteLLM's table; {} for nothing.

    In the table's entry of a model an ability that is not said is none, except the JSON mode, which LiteLLM tells by
    the parameters that the model takes.
    """
    given = deployment.get("litellm_params") or {}
    own = {name: value for name, value in (deployment.get("model_info") or {}).items() if value is not None}
    name = own.get("base_model") or given.get("model")
    try:
        table: Mapping[str, Any] = litellm.get_model_info(name)
    except Exception:  # LiteLLM raises what comes for a model that is not in its table
        return own
    if table.get("max_input_tokens") is None and not any(table.get(asked) for asked in ASKED.values()):
        return own  # a price without more: what the configuration registers of an unknown model
    found: dict[str, Any] = {asked: bool(table.get(asked)) for asked in ASKED.values()}
    if not found[ASKED["json"]]:
        try:
            provider = table.get("litellm_provider")
            takes = litellm.get_supported_openai_params(name, custom_llm_provider=provider) or []
        except Exception:
            takes = [FORMAT]
        found[ASKED["json"]] = FORMAT in takes
    found["max_input_tokens"] = table.get("max_input_tokens")
    return found | own
