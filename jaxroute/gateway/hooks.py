"""The two ways to use jaxroute in LiteLLM: a routing strategy for `litellm.Router`, and a handler for its proxy.

    router = litellm.Router(model_list=...)
    install(router, Gate(load_settings("models.yaml")))     # requests for "auto" are routed, answers are logged

    # callbacks.py, beside the proxy's config.yaml:  litellm_settings: {callbacks: callbacks.handler}
    handler = Handler.from_file("models.yaml")

A decision is kept in the request's metadata, and the row is written when the answer arrives. If another model than the
chosen one answers (LiteLLM fell back), the row names that model and has no propensity. Requests for other model names
are passed on unchanged and not logged.
"""

from __future__ import annotations

import os
from typing import Any

from litellm.integrations.custom_logger import CustomLogger
from litellm.types.router import CustomRoutingStrategyBase

from jaxroute.data.messages import text_of
from jaxroute.gateway.gate import LOG, Choice, Gate, load_settings
from jaxroute.gateway.writing import LogWriter
from jaxroute.types import InputError

KEY = "jaxroute"


class Strategy(CustomRoutingStrategyBase):
    """Chooses a model group for requests to the gate's alias; LiteLLM then picks one of its deployments as usual.

    A retry of the same request chooses among the models that have not failed yet.
    """

    def __init__(self, router: Any, gate: Gate) -> None:
        self.gate = gate
        self.pick, self.pick_async = router.get_available_deployment, router.async_get_available_deployment

    async def async_get_available_deployment(
        self,
        model: str,
        messages: Any = None,
        input: Any = None,
        specific_deployment: bool | None = False,
        request_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return await self.pick_async(**self._asked(model, messages, input, specific_deployment, request_kwargs))

    def get_available_deployment(
        self,
        model: str,
        messages: Any = None,
        input: Any = None,
        specific_deployment: bool | None = False,
        request_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self.pick(**self._asked(model, messages, input, specific_deployment, request_kwargs))

    def _asked(
        self,
        model: str,
        messages: Any,
        input: Any,
        specific_deployment: bool | None,
        request_kwargs: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """Arguments for LiteLLM's choice of a deployment: the alias replaced, the decision in the metadata."""
        kwargs = {} if request_kwargs is None else request_kwargs
        return {
            "model": self._model(model, messages, kwargs),
            "messages": messages,
            "input": input,
            "specific_deployment": specific_deployment,
            "request_kwargs": kwargs,
        }

    def _model(self, model: str, messages: Any, kwargs: dict[str, Any]) -> str:
        if model != self.gate.settings.alias:
            return model
        metadata = kwargs.setdefault("metadata", {})
        tried = metadata.get(KEY, {}).get("tried", [])
        left = [m for m in self.gate.settings.models if m not in tried]
        choice = self.gate.choose(text_of(messages, self.gate.chat), left or None)
        metadata[KEY] = _note(choice, [*tried, choice.model])
        return choice.model


class Handler(CustomLogger):
    """Routes before the proxy's call, and logs every routed request that was answered."""

    def __init__(self, gate: Gate, writer: LogWriter | None = None) -> None:
        super().__init__()
        self.gate = gate
        if gate.router is not None and gate.router.encoder is None:
            LOG.error(
                "the router takes features but requests are texts, so %s answers; fit the router with --features-by",
                gate.settings.default,
            )
        log = gate.settings.log
        self.writer = writer if writer is not None or log is None else LogWriter(log)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Handler:
        """From a ``models.yaml``.

        Raises:
            InputError: the file is invalid; see ``load_settings``.
        """
        return cls(Gate(load_settings(path)))

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any
    ) -> Any:
        """Called by the proxy before a request: replaces the alias by the chosen model."""
        if data.get("model") == self.gate.settings.alias:
            choice = self.gate.choose(text_of(data.get("messages") or data.get("input"), self.gate.chat))
            data["model"] = choice.model
            data.setdefault("metadata", {})[KEY] = _note(choice, [choice.model])
        return data

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs, response_obj, start_time, end_time)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._log(kwargs, response_obj, start_time, end_time)

    def _log(self, kwargs: dict[str, Any], response: Any, start: Any, end: Any) -> None:
        """Log one answered request; a failure to write never affects the answer."""
        metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
        note = metadata.get(KEY)
        if self.writer is None or note is None:
            return
        try:
            self.writer.write(
                **row(
                    kwargs,
                    response,
                    start,
                    end,
                    metadata,
                    note,
                    texts=self.gate.settings.log_prompts,
                    chat=self.gate.chat,
                )
            )
        except (OSError, ValueError, TypeError):
            LOG.exception("a row of the log could not be written and is lost")


def row(
    kwargs: dict[str, Any],
    response: Any,
    start: Any,
    end: Any,
    metadata: dict[str, Any],
    note: dict[str, Any],
    *,
    texts: bool,
    chat: str,
) -> dict[str, Any]:
    """The row of one answer. It holds only the fields listed here, so it cannot hold an API key."""
    answered = metadata.get("deployment_model_name") or metadata.get("model_group") or note["model"]
    usage = getattr(response, "usage", None)
    body = {"prompt": text_of(kwargs.get("messages") or kwargs.get("input"), chat)} if texts else {}
    if not texts:
        body = {"features": note["features"]}
    return {
        "request_id": getattr(response, "id", None) or kwargs.get("litellm_call_id"),
        **body,
        "model": answered,
        "quality": None,
        "cost": kwargs.get("response_cost"),
        "input_tokens": getattr(usage, "prompt_tokens", None),
        "output_tokens": getattr(usage, "completion_tokens", None),
        "propensity": note["propensity"] if answered == note["model"] else None,
        "available": note["candidates"],
        "timestamp": start.timestamp(),
        "latency": (end - start).total_seconds(),
        "group": metadata.get("user_api_key_user_id") or kwargs.get("user"),
        "by": note["by"],
    }


def install(router: Any, gate: Gate, writer: LogWriter | None = None) -> Handler:
    """Route a `litellm.Router`'s requests for the gate's alias, and log their answers.

    Args:
        router: its model_list must hold every model of the settings, under the same names, and the alias (with any
            deployment: LiteLLM retries only names that it knows).
        gate: settings and router.
        writer: of the log; None makes the one that the settings name.

    Returns:
        The handler, registered with LiteLLM.

    Raises:
        InputError: a model of the settings, or the alias, is not in the router's list.
    """
    import litellm

    names = set(router.get_model_names())
    missing = [m for m in (*gate.settings.models, gate.settings.alias) if m not in names]
    if missing:
        raise InputError(
            f"models: {missing[0]!r} is not in the gateway's model_list ({', '.join(sorted(names))}); "
            "add it there, or remove it from the settings"
        )
    router.set_custom_routing_strategy(Strategy(router, gate))
    handler = Handler(gate, writer)
    litellm.callbacks.append(handler)
    return handler


def _note(choice: Choice, tried: list[str]) -> dict[str, Any]:
    """The part of a decision that is kept in the request's metadata, as plain JSON."""
    return {
        "model": choice.model,
        "propensity": choice.propensity,
        "candidates": list(choice.candidates),
        "by": choice.by,
        "features": None if choice.features is None else [round(float(x), 6) for x in choice.features],
        "tried": tried,
    }
